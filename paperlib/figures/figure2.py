"""Figure 2 of the paper, drawn from a recipe: the net as two towers of boxes, and the counts below."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Polygon, Rectangle
from torch import nn

from paperlib.errors import PaperlibError
from paperlib.figures.style import PALETTE, Drawing, use_style
from paperlib.nets import sizes as nets_sizes
from paperlib.nets import table
from paperlib.paper import facts
from paperlib.recipe import ModelRecipe, Recipe, Sizes

AFTER = {"act": "ReLU", "norm": "LRN", "pool": "pool", "drop": "dropout", "spatial": "5×5 norm"}
"""Modules between two layers with weights: how their names in the net begin -> what Figure 2 calls them."""
TOWER_COLOURS = (PALETTE[0], PALETTE[2])
CROSSING = PALETTE[3]


def layers_of(model: ModelRecipe, sizes: Sizes) -> pd.DataFrame:
    """What Figure 2 draws: the rows of :func:`models.summary` without the sum, with further columns.

    ``maps`` of both towers (units of a fully connected layer), their ``side``, ``kernel``, ``stride``, ``reads``
    (image, own tower, both), what follows ``then``, and ``paper_units``, the neurons that the caption gives.
    """
    with torch.device("meta"):
        net = table.make(model, sizes)
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
    frame = frame.join(table.summary(model, sizes), on="layer")
    frame["side"] = [int(output.split("x")[0]) if "x" in output else 1 for output in frame["output"]]
    frame["paper_units"] = facts.FIGURE2_NEURONS[1:]
    return frame


def fig2(model: ModelRecipe | None = None, counts: bool = True) -> Drawing:
    """Figure 2 of the paper, drawn from a recipe: two towers of boxes, which reads which, and below the ``counts``.

    Boxes are as high as the square root of their maps' side, and as wide as that of their number. Another recipe
    gives another picture. Raises :class:`PaperlibError` where the net has no towers or not the eight layers.
    """
    use_style()
    model = model or Recipe.paper().model
    if model.net != "two_tower" or model.removed or model.extra_conv:
        raise PaperlibError("Figure 2 has two towers and eight layers: draw it from a two_tower net with all of them")
    sizes = nets_sizes.FULL_SIZES
    frame = layers_of(model, sizes)
    figure, axes = plt.subplots(figsize=(8.6, 5.9 if counts else 3.8))
    axes.set(xlim=(-0.45, 8.5), ylim=(-4.2 if counts else -1.75, 2.0), aspect="equal", xticks=[])
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
            axes.text(x, here[0][1] - 0.62, f"{row['maps']}\n(on GPU 1)", ha="center", va="top", fontsize=8)
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
            crosses = x == last and tower == 1  # the output layer is on the first GPU
            join(axes, before[tower], here[tower], CROSSING if crosses else colour if x > 1 else grey)
            if row["reads"] == "both" and x < last:
                join(axes, before[1 - tower], here[tower], CROSSING)
        before = here
    if counts:
        write_counts(axes, frame, sizes)
    else:
        axes.set_yticks([])
    crossing = ", ".join(frame["layer"][frame["reads"] == "both"])
    axes.text(4, 0, f"both towers are read by\n{crossing}", ha="center", va="center", fontsize=9, color=CROSSING)
    wrong = frame[frame["units"] != frame["paper_units"]] if counts else frame[:0]
    alt = (
        f"The net of Figure 2 as two towers of boxes, one above the other, from the image to {frame['maps'].iloc[-1]} "
        f"outputs. Both towers are read by {crossing}. "
        + "Below, kernels, neurons and parameters of each layer. " * counts
        + ". ".join(
            f"{r['layer']} has {r['units']:,} neurons, not {r['paper_units']:,} as the paper says"
            for r in wrong.to_dict("records")
        )
    )
    caption = f"Both towers are read by {crossing}; fc8 lies on the first GPU."
    if len(wrong):
        caption += f" Of the paper's {len(frame)} counts of neurons {len(wrong)} is wrong."
    return Drawing(figure, frame.round(4), alt.strip(), caption)


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
        "in the paper": [f"{n:,}" for n in facts.FIGURE2_NEURONS],
        "parameters": ["", *(f"{n:,}" for n in frame["parameters"])],
        "their share": ["", *(f"{share:.2f} %" for share in frame["share"])],
    }
    tops = (-1.9, -2.15, -2.4, -3.2, -3.45, -3.7, -3.95)
    axes.set_yticks(tops, rows, fontsize=8, color="#555555", va="top")
    axes.tick_params(length=0)
    counts = [inputs, *frame["units"]]
    for (name, cells), top in zip(rows.items(), tops, strict=True):
        for x, cell in enumerate(cells):
            wrong = name == "in the paper" and counts[x] != facts.FIGURE2_NEURONS[x]
            axes.text(
                x, top, cell, ha="center", va="top", fontsize=8, linespacing=1.1,
                color=CROSSING if wrong else "black", weight="bold" if wrong or name == "layer" else "normal",
            )  # fmt: skip
