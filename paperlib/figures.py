"""The figures and tables of the paper as functions of recorded runs, and the command that draws them all.

A figure function gives a :class:`~paperlib.style.Drawing`: the matplotlib figure, the tidy frame of everything drawn
in it, and its alt text. ``paperlib figures`` writes it to ``figures/`` as PNG, and beside it the numbers as CSV.
Figure 2 stands in :mod:`paperlib.figure2`, what belongs to section 6 in :mod:`paperlib.section6`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, Patch

from paperlib import claims, data, evidence, figure1, paper, runs, section6, verdicts, weights
from paperlib.ablations import ablations
from paperlib.errors import PaperlibError
from paperlib.figure2 import CROSSING, TOWER_COLOURS, fig2
from paperlib.section4 import overfit
from paperlib.section5 import stall, training
from paperlib.section6 import Table, fig3, fig4, kernels_by_seed, table1, table2
from paperlib.style import PALETTE, SCALE_NAMES, Drawing, Picture, png, show, use_style

__all__ = [
    "CROSSING", "DRAWINGS", "PALETTE", "SCALE_NAMES", "TABLES", "TOWER_COLOURS", "Drawing", "Picture", "ablations",
    "curves", "draw", "fig1", "fig2", "fig3", "fig4", "fig_claims", "kernels_by_seed", "overfit", "relu_parts", "show",
    "stall", "table1", "table2", "training", "use_style",
]  # fmt: skip

logger = logging.getLogger(__name__)

FIGURES = runs.ROOT / "figures"
BUILD = runs.ROOT / "build" / "figures"

# ---------------------------------------------------------------------------------------------------------
# Figure 1: training error against time, by unit and setting

UNIT_COLOURS = {"relu": PALETTE[0], "tanh": PALETTE[3], "scaled": PALETTE[1], "sigmoid": PALETTE[4]}
UNIT_NAMES = {"relu": "ReLU", "tanh": "tanh", "scaled": "scaled tanh", "sigmoid": "logistic sigmoid"}
UNIT_DASHES = {"relu": "-", "tanh": "--", "scaled": "-.", "sigmoid": ":"}


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
    run = runs.Run.from_config(lines[0]["config"])
    used = (run.stop.train_images or data.TRAIN_IMAGES[lines[0]["data"]["name"]]) - run.stop.validation
    return used // run.recipe.optim.batch_size


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
    arms = [arm for arm in figure1.FIGURE1_ARMS]
    frame = curves("relu", scale, arms)
    threshold = figure1.UNIT_STOPS[scale].threshold or 0.0
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
    for v in verdicts.verdicts_of("relu", scale):
        if v.comparison.a == f"{setting}/relu" and v.comparison.b == f"{setting}/tanh":
            return f"{v.sentence('tanh takes {}').replace(' times', '×')}, n = {v.seeds}"
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
        for v in verdicts.verdicts_of(name, scale)
        if v.comparison.b.endswith("/tanh") and v.comparison.question == "direction"
    }
    shown = [(s, found[s]) for s in settings if s in found]
    rows = [{"setting": s, **{k: getattr(v, k) for k in ("estimate", "low", "high", "n", "bound")}} for s, v in shown]
    frame = pd.DataFrame(rows, columns=["setting", "estimate", "low", "high", "n", "bound"])
    figure, axes = plt.subplots(figsize=(7.6, 2.9))
    for y, (_, v) in enumerate(shown):
        if not v.has_value:
            continue
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
        xlabel="updates of tanh / updates of ReLU (interval; triangle: bound)",
    )
    axes.set_yticks(range(len(shown)), [f"{settings[s]}, n = {v.seeds}" for s, v in shown])
    axes.set_title(f"Time to {figure1.UNIT_STOPS[scale].threshold:g} % training error, {SCALE_NAMES[scale]}")
    alt = f"Ratio of the times of tanh and ReLU on {SCALE_NAMES[scale]}: " + "; ".join(
        f"{settings[s]}: {v.text}" for s, v in shown
    )
    return Drawing(figure, frame.round(4), alt)


# ---------------------------------------------------------------------------------------------------------
# The table of claims as a picture

STATUS_COLOURS = {
    "exact": PALETTE[2], "rounding": "#8fd0a8", "implemented": "#d9a9d0", "reproduced": PALETTE[0],
    "supported (proxy)": "#7fb8dd", "contradicted": PALETTE[3], "contradicted (proxy)": "#eba57f",
    "erratum": PALETTE[1], "no effect": PALETTE[8], "no effect (proxy)": "#b9d8f2", "mixed": "#c9b8e8",
    "undecided": "#b0b0b0", "cited": "#ead7c0", "needs ImageNet": "#e4efe4", "no measure": "#f5efb8",
    "not run yet": "#dddddd", "not run": "#ffffff",
}  # fmt: skip


def kind_of(status: str) -> str:
    """A status without the size of the effect: "no effect ≥ 0.5 (proxy)" is "no effect (proxy)"."""
    return re.sub(r" ≥ [^(]*?(?= \(|$)", "", status)


def fig_claims() -> Drawing:
    """The table of claims as a picture: one square a row, a line a section, coloured by status."""
    use_style()
    table = claims.rows()
    frame = pd.DataFrame([{"id": r.id, "section": r.section, "status": r.status} for r in table])
    kinds = frame["status"].map(kind_of)
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
            axes.text(
                x + 0.5,
                y + 0.52,
                claim_id.split("-")[1],
                ha="center",
                va="center",
                fontsize=8,
                color="white" if kind == "reproduced" else "#222222",
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
# Writing them

TABLES: dict[str, Callable[[], Table]] = {"table1": table1, "table2": table2}
DRAWINGS: dict[str, Callable[[], Drawing]] = {
    "fig1": fig1,
    "fig2": fig2,
    "fig3": fig3,
    "kernels": kernels_by_seed,
    "fig4": fig4,
    "relu_parts": relu_parts,
    "overfit": overfit,
    "stall": stall,
    "training": training,
    "ablations": ablations,
    "claims": fig_claims,
}


def draw(names: list[str] | None = None, folder: Path | None = None) -> list[Path]:
    """Draw figures and tables (all of them by default) into ``folder``; gives the paths written.

    A figure is NAME.png, a table NAME.md, and beside it stand its numbers, NAME.csv.
    """
    known = [*DRAWINGS, *TABLES]
    unknown = [n for n in names or [] if n not in known]
    if unknown:
        raise PaperlibError(f"there is no figure {unknown[0]!r}; the figures are {', '.join(known)}")
    folder = folder or FIGURES
    with into_files():
        return [path for name in names or known for path in write(name, folder)]


def draw_of(checkpoint: Path, folder: Path = BUILD) -> list[Path]:
    """Figures 3 and 4 of one net, into ``folder``: the latter shows images of its data set, which may not be ours to
    give away. A net that sees no colour, or has no towers, has no Figure 3; one whose data set is too large to be held
    in memory no Figure 4. Raises :class:`PaperlibError` where neither can be drawn.
    """
    found = weights.checkpoint(checkpoint)
    with into_files():
        paths = save(section6.fig3_of(found), "fig3", folder) if section6.has_towers_of_colour(found) else []
        if paths and found.scale not in data.TRAIN_IMAGES:
            logger.warning("Figure 4 would hold all training images in memory, and so is left out")
            return paths
        return paths + save(section6.fig4_of(found), "fig4", folder)


@contextmanager
def into_files() -> Iterator[None]:
    """While it lasts, matplotlib draws into files, without a change to the caller's settings."""
    before = mpl.get_backend(auto_select=False)  # a notebook's own, or none yet
    mpl.use("Agg")
    try:
        with mpl.rc_context():
            yield
    finally:
        if before:
            mpl.use(before)


def write(name: str, folder: Path) -> list[Path]:
    """Draw one figure or table and write it and its numbers."""
    return save(DRAWINGS[name]() if name in DRAWINGS else TABLES[name](), name, folder)


def save(drawn: Drawing | Table, name: str, folder: Path) -> list[Path]:
    """Write a figure or table and its numbers as NAME.png or NAME.md, and NAME.csv."""
    if isinstance(drawn, Drawing):
        suffix, content = ".png", png(drawn.figure)
        plt.close(drawn.figure)
    else:
        suffix, content = ".md", drawn.markdown().encode()
    folder.mkdir(parents=True, exist_ok=True)
    numbers = drawn.data.to_csv(index=False, lineterminator="\n").encode()
    written = []
    for path, inside in ((folder / (name + suffix), content), (folder / f"{name}.csv", numbers)):
        runs.write_whole(path, inside)
        written.append(path)
    return written
