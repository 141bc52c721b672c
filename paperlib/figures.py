"""Every figure and table as a function of recorded runs: one style, a PNG and beside it the numbers drawn.

A figure function gives a :class:`Drawing`: the matplotlib figure, the tidy frame of everything drawn in it,
and its alt text. Notebooks show it with :func:`show`; ``paperlib figures`` writes it to ``figures/``.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Patch, Polygon, Rectangle
from torch import nn

from paperlib import claims, evidence, experiments, models, paper, runs
from paperlib.errors import PaperlibError
from paperlib.experiments import UNIT_STOPS
from paperlib.recipe import ModelRecipe, Recipe, Sizes

FIGURES = runs.ROOT / "figures"

# ---------------------------------------------------------------------------------------------------------
# Style

PALETTE = sns.color_palette("colorblind").as_hex()
UNIT_COLOURS = {"relu": PALETTE[0], "tanh": PALETTE[3], "scaled": PALETTE[1], "sigmoid": PALETTE[4]}
UNIT_NAMES = {"relu": "ReLU", "tanh": "tanh", "scaled": "scaled tanh", "sigmoid": "logistic sigmoid"}
UNIT_DASHES = {"relu": "-", "tanh": "--", "scaled": "-.", "sigmoid": ":"}
SCALE_NAMES = {
    "sample": "Fashion-MNIST sample (proxy)",
    "photos": "photo patches (proxy)",
    "cifar10": "CIFAR-10 (JPEG copy)",
    "tinyimagenet": "Tiny ImageNet (proxy)",
    "ilsvrc2012": "ILSVRC-2012",
}
STYLE: dict[Any, Any] = {
    "figure.dpi": 110, "savefig.dpi": 110, "figure.figsize": (7.2, 4.0), "figure.constrained_layout.use": True,
    "font.size": 10, "axes.titlesize": 10.5, "axes.titlelocation": "left", "axes.labelsize": 10,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7, "axes.axisbelow": True, "legend.frameon": False, "lines.linewidth": 1.6,
    "axes.prop_cycle": cycler(color=PALETTE),
}  # fmt: skip


def use_style() -> None:
    """The look of all figures: colour-blind-safe, light grid, room for labels."""
    mpl.rcParams.update(STYLE)


def show(figure: Figure, alt: str) -> None:
    """Show a figure in a notebook with a text for those who cannot see it, and close it."""
    from IPython.display import display

    display(Picture(figure, alt))
    plt.close(figure)


class Picture:
    """A PNG for a notebook whose alt text travels with it."""

    def __init__(self, figure: Figure, alt: str) -> None:
        self.png, self.alt = png(figure), alt

    def _repr_mimebundle_(self, **_: object) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
        return {"image/png": base64.b64encode(self.png).decode(), "text/plain": self.alt}, {
            "image/png": {"alt": html.escape(self.alt)}
        }

    def __repr__(self) -> str:
        return self.alt


def png(figure: Figure) -> bytes:
    """The figure as PNG bytes, without dates or versions in it, so that equal drawings are equal files."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


@dataclass
class Drawing:
    """A figure, everything drawn in it as a tidy frame, and its alt text."""

    figure: Figure
    data: pd.DataFrame
    alt: str

    def show(self) -> None:
        """Show it in a notebook."""
        show(self.figure, self.alt)


# ---------------------------------------------------------------------------------------------------------
# Figure 1: training error against time, by unit and setting


def curves(name: str, scale: str, arms: Sequence[str]) -> pd.DataFrame:
    """Running training error of recorded runs: arm, seed, epoch (time), train_error (per cent)."""
    rows = []
    for arm, seed, lines in evidence.records_of(name, scale):
        if arm in arms:
            per_epoch = updates_per_epoch(lines)
            for step, error in zip(*evidence.running_error(lines), strict=True):
                rows.append({"arm": arm, "seed": seed, "epoch": step / per_epoch, "train_error": error})
    return pd.DataFrame(rows, columns=["arm", "seed", "epoch", "train_error"])


def updates_per_epoch(lines: list[runs.Line]) -> int:
    """Updates in an epoch of a recorded run; of its first epoch line, or of the data's size where it has none."""
    epochs = runs.of_kind(lines, "epoch")
    if epochs:
        return int(epochs[0]["step"]) // int(epochs[0]["epoch"])
    sizes = {"sample": 10_000, "cifar10": 50_000}
    return sizes[lines[0]["data"]["name"]] // runs.Run.from_config(lines[0]["config"]).recipe.optim.batch_size


def draw_curves(axes: Axes, frame: pd.DataFrame, threshold: float) -> None:
    """Error against epochs: thin lines for the seeds, one colour and dash a unit, the threshold marked."""
    for arm, of_arm in frame.groupby("arm", sort=False):
        unit = str(arm).split("/")[1]
        for i, (_, seed) in enumerate(of_arm.groupby("seed")):
            axes.plot(
                seed["epoch"], seed["train_error"], color=UNIT_COLOURS[unit], ls=UNIT_DASHES[unit], lw=1.2, alpha=0.85,
                label=UNIT_NAMES[unit] if i == 0 else None,
            )  # fmt: skip
    axes.axhline(threshold, color="#555555", lw=0.8)
    axes.annotate(f"{threshold:g} %", (0, threshold), xycoords=("axes fraction", "data"), xytext=(4, -11),
                  textcoords="offset points", fontsize=9, color="#555555")  # fmt: skip
    axes.set_xlabel("epochs")
    axes.set_ylabel("training error (%)")
    axes.set_ylim(0, 92)
    axes.set_xlim(left=0)
    if len(frame):
        axes.legend(loc="upper right")


def fig1(scale: str = "cifar10") -> Drawing:
    """Figure 1 of the paper: training error against epochs, in the setting of 2012 and in that of today."""
    use_style()
    settings = {"2012": "setting of 2012", "today": "setting of today"}
    arms = [arm for arm in experiments.FIGURE1_ARMS]
    frame = curves("relu", scale, arms)
    threshold = UNIT_STOPS[scale].threshold or 0.0
    figure, panels = plt.subplots(1, 2, figsize=(8.6, 4.0), sharey=True, width_ratios=(1.25, 1))
    for axes, (setting, title) in zip(panels, settings.items(), strict=True):
        draw_curves(axes, frame[frame["arm"].str.startswith(setting + "/")], threshold)
        axes.set_title(f"{title}\n{ratio_text(scale, setting)}")
    panels[1].set_ylabel("")
    counts = frame.groupby("arm")["seed"].nunique()
    figure.suptitle(
        f"Four-layer net on {SCALE_NAMES[scale]}, no regularisation; one line a seed", x=0.01, ha="left", fontsize=11
    )
    alt = (
        f"Training error against epochs on {SCALE_NAMES[scale]}. "
        + ". ".join(f"{title}: {ratio_text(scale, s)}" for s, title in settings.items())
        + f". Runs: {', '.join(f'{arm} {n}' for arm, n in counts.items())}."
    )
    return Drawing(figure, frame.round(4), alt)


def ratio_text(scale: str, setting: str) -> str:
    """ "tanh takes x times as long (low to high), n = 3", from the records."""
    for v in evidence.verdicts_of("relu", scale):
        if v.comparison.a == f"{setting}/relu" and v.comparison.b == f"{setting}/tanh":
            return f"tanh takes {v.text.replace(' times', '×')}, n = {v.n}"
    return "no pair of runs recorded"


def relu_parts(scale: str = "sample") -> Drawing:
    """How many times as long tanh takes as ReLU, in the setting of 2012, with one part of it changed, and today."""
    use_style()
    settings = {
        "2012": "2012", "2012+bias": "2012, biases at the weights' rate", "2012+pixels": "2012, standardised pixels",
        "2012+init": "2012, matched initial weights", "today": "today (all three)",
    }  # fmt: skip
    found = {
        v.comparison.a.split("/")[0]: v
        for name in ("relu", "relu-parts")
        for v in evidence.verdicts_of(name, scale)
        if v.comparison.b.endswith("/tanh") and v.comparison.question == "direction"
    }
    shown = [(s, found[s]) for s in settings if s in found]
    rows = [{"setting": s, **{k: getattr(v, k) for k in ("estimate", "low", "high", "n", "bound")}} for s, v in shown]
    frame = pd.DataFrame(rows, columns=["setting", "estimate", "low", "high", "n", "bound"])
    figure, axes = plt.subplots(figsize=(7.6, 2.9))
    for y, (_, v) in enumerate(shown):
        if not v.bound:
            axes.plot([v.low, v.high], [y, y], color=PALETTE[0], lw=2)
        axes.plot(v.estimate, y, {"lower": ">", "upper": "<"}.get(v.bound, "o"), ms=7, color=PALETTE[0])
    axes.axvline(1, color="#555555", lw=0.8)
    axes.axvline(paper.FIGURE1.times_faster, color=PALETTE[3], lw=0.9, ls="--")
    axes.annotate("the paper", (paper.FIGURE1.times_faster, 1), xycoords=("data", "axes fraction"), xytext=(4, -10),
                  textcoords="offset points", fontsize=9, color=PALETTE[3])  # fmt: skip
    axes.set_xscale("log")
    ticks = [0.25, 0.5, 1, 2, 3, 6, 10]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.set(
        xlim=(0.22, 12),
        ylim=(max(len(shown), 1) - 0.5, -0.5),
        xlabel="updates of tanh / updates of ReLU (95 % interval; triangle: bound)",
    )
    axes.set_yticks(range(len(shown)), [f"{settings[s]}, n = {v.n}" for s, v in shown])
    axes.set_title(f"Time to {UNIT_STOPS[scale].threshold:g} % training error, {SCALE_NAMES[scale]}")
    alt = f"Ratio of the times of tanh and ReLU on {SCALE_NAMES[scale]}: " + "; ".join(
        f"{settings[s]}: {v.text}" for s, v in shown
    )
    return Drawing(figure, frame.round(4), alt)


# ---------------------------------------------------------------------------------------------------------
# The table of claims as a picture

STATUS_COLOURS = {
    "exact": PALETTE[2], "rounding": "#8fd0a8", "implemented": PALETTE[9], "reproduced": PALETTE[0],
    "supported (proxy)": "#7fb8dd", "contradicted": PALETTE[3], "erratum": PALETTE[1], "no effect": PALETTE[8],
    "inconclusive": PALETTE[7], "cited": "#cfcfcf", "not run": "#f2f2f2",
}  # fmt: skip


def fig_claims() -> Drawing:
    """The table of claims as a picture: one square a row, a line a section, coloured by status."""
    use_style()
    table = claims.rows()
    frame = pd.DataFrame([{"id": r.id, "section": r.section, "status": r.status} for r in table])
    kinds = frame["status"].str.replace(r" ≥.*", "", regex=True)
    sections = list(dict.fromkeys(frame["section"]))
    figure, axes = plt.subplots(figsize=(8.6, 0.34 * len(sections) + 1.1))
    for y, section in enumerate(sections):
        for x, (claim_id, kind) in enumerate(
            zip(frame["id"][frame["section"] == section], kinds[frame["section"] == section], strict=True)
        ):
            axes.add_patch(
                FancyBboxPatch(
                    (x + 0.06, y + 0.1), 0.88, 0.8, boxstyle="round,pad=0,rounding_size=0.12",
                    facecolor=STATUS_COLOURS[kind], edgecolor="#999999", lw=0.4,
                )
            )  # fmt: skip
            dark = kind in {"exact", "implemented", "reproduced", "contradicted", "erratum"}
            axes.text(
                x + 0.5,
                y + 0.52,
                claim_id.split("-")[1],
                ha="center",
                va="center",
                fontsize=8,
                color="white" if dark else "#333333",
            )
    widest = int(frame.groupby("section").size().max())
    axes.set(xlim=(0, widest), ylim=(len(sections), 0), yticks=np.arange(len(sections)) + 0.5, xticks=[])
    axes.set_yticklabels([s if s == "abstract" else f"section {s}" for s in sections])
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    seen = [k for k in STATUS_COLOURS if (kinds == k).any()]
    handles = [
        Patch(facecolor=STATUS_COLOURS[k], edgecolor="#999999", lw=0.4, label=f"{k} ({(kinds == k).sum()})")
        for k in seen
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=9)
    alt = f"The {len(frame)} rows of the table of claims by section, coloured by status: " + ", ".join(
        f"{(kinds == k).sum()} {k}" for k in seen
    )
    return Drawing(figure, frame, alt)


# ---------------------------------------------------------------------------------------------------------
# Figure 2: the net itself

AFTER = {"act": "ReLU", "norm": "LRN", "pool": "pool", "drop": "dropout", "spatial": "5×5 norm"}
"""What stands between two layers with weights: how its name in the net begins, and what Figure 2 calls it."""
TOWER_COLOURS = (PALETTE[0], PALETTE[2])
CROSSING = PALETTE[3]


def layers_of(model: ModelRecipe, sizes: Sizes) -> pd.DataFrame:
    """What Figure 2 draws: the rows of :func:`models.summary` without the sum, with further columns.

    ``maps`` of both towers (units of a fully connected layer), their ``side``, ``kernel``, ``stride``, ``reads``
    (image, own tower, both), what follows ``then``, and ``paper_units``, the neurons that the caption gives.
    """
    with torch.device("meta"):
        net = models.make(model, sizes)
    rows, then = [], "softmax"  # which belongs to the loss
    for name, layer in reversed(list(net.named_children())):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            kernel, stride = "", 1
            if isinstance(layer, nn.Conv2d):
                kernel, stride = "×".join(map(str, (*layer.kernel_size, layer.weight.shape[1]))), layer.stride[0]
            reads = "own" if getattr(layer, "groups", 1) > 1 else "both"
            rows.append((name, layer.weight.shape[0], kernel, stride, reads, then))
            then = ""
        else:
            after = next((text for start, text in AFTER.items() if name.startswith(start)), "")
            then = f"{after}, {then}".strip(", ")
    frame = pd.DataFrame(rows[::-1], columns=["layer", "maps", "kernel", "stride", "reads", "then"])
    frame.loc[0, "reads"] = "image"
    frame = frame.join(models.summary(model, sizes), on="layer")
    frame["side"] = [int(output.split("x")[0]) if "x" in output else 1 for output in frame["output"]]
    frame["paper_units"] = paper.FIGURE2_NEURONS[1:]
    return frame


def fig2(model: ModelRecipe | None = None) -> Drawing:
    """Figure 2 of the paper, drawn from a recipe: two towers of boxes, who reads whom, and the counts below.

    Boxes are as high as the square root of their maps' side, and as wide as that of their number. Another recipe
    gives another picture. Raises :class:`PaperlibError` where the net has no towers or not the eight layers.
    """
    use_style()
    model = model or Recipe.paper().model
    if model.net != "two_tower" or model.removed or model.extra_conv:
        raise PaperlibError("Figure 2 has two towers and eight layers: draw it from a two_tower net with all of them")
    sizes = models.FULL_SIZES
    frame = layers_of(model, sizes)
    figure, axes = plt.subplots(figsize=(8.6, 5.9))
    axes.set(xlim=(-0.45, 8.5), ylim=(-4.2, 2.0), aspect="equal", xticks=[])
    axes.set_xlabel(
        "height of a box: square root of the side of its maps; width: square root of their number", fontsize=9
    )
    axes.spines[:].set_visible(False)
    axes.grid(False)
    grey, last = "#8a8a8a", len(frame)
    image = draw_box(axes, 0, 0, sizes.channels, sizes.crop, grey)
    axes.text(0.05, -1.02, f"image\n{sizes.crop}×{sizes.crop}×{sizes.channels}", ha="center", va="top", fontsize=8)
    before = [image, image]
    for x, row in enumerate(frame.to_dict("records"), start=1):
        if x == last:  # one output layer, on one of the two GPUs
            here = [draw_bar(axes, x, 0, row["maps"], grey)] * 2
            axes.text(x, here[0][1] - 0.62, f"{row['maps']}", ha="center", va="top", fontsize=8)
        elif row["side"] > 1:
            here = [draw_box(axes, x, y, row["maps"] // 2, row["side"], TOWER_COLOURS[y < 0]) for y in (1, -1)]
        else:
            here = [draw_bar(axes, x, y, row["maps"] // 2, TOWER_COLOURS[y < 0]) for y in (1, -1)]
        if x < last:
            label = f"{row['maps'] // 2}" + (f" of\n{row['side']}×{row['side']}" if row["side"] > 1 else "\n")
            axes.text(x + 0.03, 1.93, label, ha="center", va="top", fontsize=8)
        if row["stride"] > 1:
            axes.text(x - 0.33, 0, f"stride {row['stride']}", ha="center", va="center", fontsize=8)
        for tower, colour in enumerate(TOWER_COLOURS):
            join(axes, before[tower], here[tower], colour if x > 1 else grey)
            if row["reads"] == "both" and x < last:
                join(axes, before[1 - tower], here[tower], CROSSING)
        before = here
    write_counts(axes, frame, sizes)
    crossing = ", ".join(frame["layer"][frame["reads"] == "both"])
    axes.text(4, 0, f"both towers are read by\n{crossing}", ha="center", va="center", fontsize=9, color=CROSSING)
    wrong = frame[frame["units"] != frame["paper_units"]]
    alt = (
        f"The net of Figure 2 as two towers of boxes, one above the other, from the image to {frame['maps'].iloc[-1]} "
        f"outputs. Both towers are read by {crossing}. Below, kernels, neurons and parameters of each layer. "
        + ". ".join(
            f"{r['layer']} has {r['units']:,} neurons, not {r['paper_units']:,} as the paper says"
            for r in wrong.to_dict("records")
        )
    )
    return Drawing(figure, frame.round(4), alt)


def draw_box(axes: Axes, x: float, y: float, maps: int, side: int, colour: str) -> tuple[float, float, float, float]:
    """A box of ``maps`` maps around (x, y); gives x of its left edge, its y, x of its right edge, its y."""
    width, height = 0.022 * maps**0.5, 0.107 * side**0.5
    dx, dy = 0.22 * height, 0.16 * height
    x0, x1, y0, y1 = x - width / 2 - dx / 2, x + width / 2 - dx / 2, y - height / 2 - dy / 2, y + height / 2 - dy / 2
    faces = {
        0.30: [(x0, y0), (x1, y0), (x1, y1), (x0, y1)],
        0.18: [(x0, y1), (x1, y1), (x1 + dx, y1 + dy), (x0 + dx, y1 + dy)],
        0.50: [(x1, y0), (x1 + dx, y0 + dy), (x1 + dx, y1 + dy), (x1, y1)],
    }
    for shade, corners in faces.items():
        face = mpl.colors.to_rgba(colour, shade)
        axes.add_patch(Polygon(corners, facecolor=face, edgecolor=colour, lw=0.9, zorder=3))
    return x0, y, x1 + dx, y


def draw_bar(axes: Axes, x: float, y: float, units: int, colour: str) -> tuple[float, float, float, float]:
    """A column of ``units`` units around (x, y); gives what :func:`draw_box` gives."""
    width, height = 0.13, 0.029 * units**0.5
    face = mpl.colors.to_rgba(colour, 0.3)
    corner = (x - width / 2, y - height / 2)
    axes.add_patch(Rectangle(corner, width, height, facecolor=face, edgecolor=colour, lw=0.9, zorder=3))
    return x - width / 2, y, x + width / 2, y


def join(axes: Axes, a: Sequence[float], b: Sequence[float], colour: str) -> None:
    """An arrow from the right edge of ``a`` to the left edge of ``b``."""
    axes.annotate("", (b[0], b[1]), (a[2], a[3]), zorder=2,
                  arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.1, "shrinkA": 2, "shrinkB": 2})  # fmt: skip


def write_counts(axes: Axes, frame: pd.DataFrame, sizes: Sizes) -> None:
    """The table under Figure 2, a column a layer; where the paper's caption differs, in colour."""
    inputs = sizes.channels * sizes.crop**2
    rows = {
        "layer": ["", *frame["layer"]],
        "kernels": ["", *(k or "–" for k in frame["kernel"])],
        "then": ["", *frame["then"].str.replace(", ", "\n")],
        "neurons": [f"{inputs:,}", *(f"{n:,}" for n in frame["units"])],
        "in the paper": [f"{n:,}" for n in paper.FIGURE2_NEURONS],
        "parameters": ["", *(f"{n:,}" for n in frame["parameters"])],
        "their share": ["", *(f"{share:.2f} %" for share in frame["share"])],
    }
    tops = (-1.9, -2.15, -2.4, -3.2, -3.45, -3.7, -3.95)
    axes.set_yticks(tops, rows, fontsize=8, color="#555555", va="top")
    axes.tick_params(length=0)
    counts = [inputs, *frame["units"]]
    for (name, cells), top in zip(rows.items(), tops, strict=True):
        for x, cell in enumerate(cells):
            wrong = name == "in the paper" and counts[x] != paper.FIGURE2_NEURONS[x]
            axes.text(
                x, top, cell, ha="center", va="top", fontsize=8, linespacing=1.1,
                color=CROSSING if wrong else "black", weight="bold" if wrong or name == "layer" else "normal",
            )  # fmt: skip


# ---------------------------------------------------------------------------------------------------------
# Writing them

DRAWINGS: dict[str, Callable[[], Drawing]] = {
    "fig1": fig1,
    "fig2": fig2,
    "relu_parts": relu_parts,
    "claims": fig_claims,
}


def draw(names: list[str] | None = None, folder: Path | None = None) -> list[Path]:
    """Draw figures (all of them by default) into ``folder``: NAME.png and NAME.csv; gives the paths written."""
    unknown = [n for n in names or [] if n not in DRAWINGS]
    if unknown:
        raise PaperlibError(f"there is no figure {unknown[0]!r}; the figures are {', '.join(DRAWINGS)}")
    folder = folder or FIGURES
    before = mpl.get_backend(auto_select=False)  # a notebook's own, or none yet
    mpl.use("Agg")
    try:
        with mpl.rc_context():
            return [path for name in names or DRAWINGS for path in write(name, folder)]
    finally:
        if before:
            mpl.use(before)


def write(name: str, folder: Path) -> list[Path]:
    """Draw one figure and write its PNG and CSV."""
    drawing, written = DRAWINGS[name](), []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, content in (
            (".png", png(drawing.figure)),
            (".csv", drawing.data.to_csv(index=False, lineterminator="\n").encode()),
        ):
            path = folder / (name + suffix)
            runs.write_whole(path, content)
            written.append(path)
    finally:
        plt.close(drawing.figure)
    return written
