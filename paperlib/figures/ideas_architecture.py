"""Section 3.5 in pictures: windows at the edge, who reads whom, maps of an untrained net, where the parameters are."""

from __future__ import annotations

import itertools

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle
from torch import Tensor, nn

from paperlib.figures.figure2 import CROSSING
from paperlib.figures.style import PALETTE, Drawing, subplots, use_style
from paperlib.nets import sizes, table
from paperlib.paper import arithmetic, facts
from paperlib.recipe import Recipe

WAYS = {
    "rounded up (2012 source)": (224, 0, True),
    "crops of 227 (Caffe)": (227, 0, False),
    "padded by 2 (torchvision)": (224, 2, False),
    "rounded down": (224, 0, False),
}
"""What becomes of a quarter of a step -> pixels of the image, zeros on each side, whether positions are rounded up."""


def windows_of(way: str) -> list[int]:
    """The first pixel of each window of conv1, along one side."""
    side, pad, up = WAYS[way]
    return [4 * i - pad for i in range(arithmetic.conv_side(side, 11, 4, pad, ceil=up))]


def draw_corner(axes: Axes, photo: Tensor) -> None:
    """The bottom right corner of a photograph (3, 224, 224), and the last two windows, rounded up."""
    shown = np.full((227, 227, 3), 255, dtype=np.uint8)
    shown[:224, :224] = photo.permute(1, 2, 0).numpy()
    axes.imshow(shown, interpolation="nearest")
    for edge in (plt.Rectangle((223.5, 195), 3, 32), plt.Rectangle((195, 223.5), 29, 3)):
        edge.set(facecolor="none", edgecolor="#999999", hatch="////", linewidth=0)
        axes.add_patch(edge)
    for start, colour in ((212, "white"), (216, PALETTE[1])):
        axes.add_patch(plt.Rectangle((start - 0.5, start - 0.5), 11, 11, fill=False, lw=2.2, edgecolor=colour))
    ticks = (200, 212, 216, 223)
    axes.set(xlim=(199.5, 227), ylim=(227, 199.5), xticks=ticks, yticks=ticks, xlabel="pixel", ylabel="pixel")
    axes.set_title("the last two windows, rounded up")
    axes.grid(False)
    whole = axes.inset_axes((0.02, 0.63, 0.36, 0.36), xticks=[], yticks=[])
    whole.imshow(shown)
    whole.add_patch(plt.Rectangle((199.5, 199.5), 27, 27, fill=False, edgecolor="white"))
    whole.grid(False)


def draw_edge(axes: Axes, limits: tuple[float, float], ends: tuple[int, int]) -> None:
    """Two windows of each way between two pixels: grey is the image; the first of ``ends`` is orange."""
    for y, (way, (side, _, _)) in enumerate(WAYS.items()):
        axes.barh(y, side, 0.6, left=-0.5, color="#dddddd")
        for end, up, colour in zip(ends, (0.13, -0.13), (PALETTE[1], "#555555"), strict=True):
            start = windows_of(way)[end]
            axes.plot((start - 0.3, start + 10.3), [y + up] * 2, lw=3, color=colour, solid_capstyle="butt")
    axes.set(xlim=limits, ylim=(3.6, -0.8), yticks=[], xlabel="pixel")
    axes.grid(False)


def edges(photo: Tensor) -> Drawing:
    """224 pixels and 55 positions: the last windows on a photograph (3, 224, 224), and four ways to place them."""
    figure, (corner, left, right) = subplots(1, 3, figsize=(9.2, 3.5), width_ratios=(1.05, 0.6, 1.3))
    draw_corner(corner, photo)
    draw_edge(left, (-3.5, 17.5), (0, 1))
    draw_edge(right, (206.5, 250), (-1, -2))
    left.set(xticks=(0, 10), title="first two windows")
    right.set(xticks=(212, 216, 223), title="last two windows")
    rows, words = [], {}
    for y, (way, (side, pad, _)) in enumerate(WAYS.items()):
        right.text(207, y - 0.36, way, fontsize=8.5, va="bottom")
        starts = windows_of(way)
        end = starts[-1] + 11
        zeros, unseen = max(0, end - side), max(0, side - end)
        over = f"hangs {zeros} pixel{'s' * (zeros > 1)} over" if zeros else "fits"
        words[way] = f"{unseen} pixel never seen" if unseen else over
        right.text(229, y, f"{len(starts)}: {words[way]}", fontsize=9, va="center")
        rows.append({"way": way, "positions": len(starts), "first": starts[0], "last": end - 1, "pad": pad,
                     "zeros": zeros, "unseen": unseen})  # fmt: skip
    alt = "The bottom right corner of a photograph, and two windows at either edge in four ways: " + "; ".join(
        f"{r['way']} {r['positions']} positions from pixel {r['first']} to {r['last']}" for r in rows
    )
    fits = [r["way"] for r in rows if r["positions"] == facts.FIGURE2_SIDES[1]]
    caption = f"{len(fits)} of {len(rows)} ways give 55 positions. The last window (orange), from top to bottom: "
    return Drawing(figure, pd.DataFrame(rows), f"{alt}.", f"{caption}{', '.join(words.values())}.")


STEPS = tuple(itertools.pairwise(("conv1", "conv2", "conv3", "conv4", "conv5", "fc6")))


def reads(net: nn.Module, below: str, above: str, image: Tensor) -> Tensor:
    """Which maps of ``below`` (columns) reach which maps of ``above`` (rows), by gradients; of fc6 every eighth."""
    names, layers = zip(*net.named_children(), strict=True)
    start, stop = names.index(below) + 1, names.index(above) + 1
    maps = nn.Sequential(*layers[:start])(image).detach().requires_grad_()
    out = nn.Sequential(*layers[start:stop])(maps)
    out = out.flatten(2).sum((0, 2)) if out.ndim == 4 else out.sum(0)
    chosen = out[:: max(1, len(out) // 64)]
    return torch.stack([torch.autograd.grad(o, maps, retain_graph=True)[0].abs().sum((0, 2, 3)) > 0 for o in chosen])


def own_of(n: int, m: int) -> Tensor:
    """Whether row and column lie in the same half: (n, m)."""
    return (torch.arange(n)[:, None] < n // 2) == (torch.arange(m)[None] < m // 2)


def who_reads_whom(recipes: dict[str, Recipe]) -> Drawing:
    """For each recipe a line of matrices: which maps read which of the layer below, in a net at a quarter of the width.

    The units are tanh, because a ReLU that is silent hides what it is connected to.
    """
    noise = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    figure, panels = subplots(len(recipes), len(STEPS), figsize=(8.8, 2.2 * len(recipes)), squeeze=False)
    rows = []
    for line, (reading, recipe) in zip(panels, recipes.items(), strict=True):
        model = recipe.but(**{"model.init": "he", "model.activation": "tanh"}).model
        net = table.build(model, sizes.EVIDENCE_SIZES, seed=0).eval()
        for axes, (below, above) in zip(line, STEPS, strict=True):
            read = reads(net, below, above, noise)
            n, m = read.shape
            own, image = own_of(n, m), np.ones((n, m, 3))
            image[(read & own).numpy()] = mpl.colors.to_rgb(PALETTE[0])
            image[(read & ~own).numpy()] = mpl.colors.to_rgb(CROSSING)
            axes.imshow(image, aspect="auto", interpolation="nearest")
            axes.set(xticks=[m / 2 - 0.5], yticks=[n / 2 - 0.5], xticklabels=[], yticklabels=[])
            axes.set_xlabel(f"maps of {below}", fontsize=9)
            axes.set_ylabel(f"{'units' if above == 'fc6' else 'maps'} of {above}", fontsize=9)
            axes.spines[:].set_visible(True)
            axes.grid(True, color="black", lw=0.6)
            axes.set_axisbelow(False)
            crossing = (read & ~own).any(0)
            if above == "conv2" and crossing.any():
                arrow, to, at = {"arrowstyle": "->", "color": CROSSING}, (0.54 * m, 0.1 * n), (0.6 * m, 0.35 * n)
                axes.annotate("by LRN", to, at, fontsize=6.5, arrowprops=arrow)
            rows.append(
                {"reading": reading, "layer": above, "own": bool(read[own].all()), "other": int(crossing.sum())}
            )
        line[0].set_title(reading)
    names = ((PALETTE[0], "own tower"), (CROSSING, "other tower"), ("white", "not read"))
    patches = [Patch(facecolor=colour, edgecolor="#555555", lw=0.5, label=name) for colour, name in names]
    figure.legend(handles=patches, loc="outside lower center", ncols=3, fontsize=9)
    frame = pd.DataFrame(rows)
    crossings = frame[frame["other"] > 0]
    meet = {name: list(crossings["layer"][crossings["reading"] == name]) for name in recipes}
    by = {"conv2": "conv2 (through normalisation)"}
    caption = "Layers that depend on both towers, up to fc6, " + "; ".join(
        f"by {name}: {', '.join(by.get(layer, layer) for layer in layers)}" for name, layers in meet.items()
    )
    alt = "Matrices of which maps read which maps of the layer below; each layer reads its own tower. " + "; ".join(
        f"{row['reading']}: {row['layer']} reads {row['other']} maps of the other tower" for row in rows if row["other"]
    )
    return Drawing(figure, frame, f"{alt}.", f"{caption}.")


def maps_of_layers(photo: Tensor, outputs: dict[str, Tensor]) -> Drawing:
    """A photograph (3, h, w), and of each convolution's output (B, K, h, w) the map of each tower that varies most."""
    use_style()
    convs = [name for name in outputs if name.startswith("conv")]
    figure, panels = plt.subplot_mosaic(
        [["photo", *(f"{c} 1" for c in convs)], ["photo", *(f"{c} 2" for c in convs)]],
        figsize=(8.8, 3.7), width_ratios=(2.1, *[1] * len(convs)),
    )  # fmt: skip
    panels["photo"].imshow(photo.permute(1, 2, 0).numpy())
    panels["photo"].set_title(f"{photo.shape[1]} × {photo.shape[2]}")
    figure.supxlabel(
        "each map is stretched from black to white on its own; σ: standard deviation of its numbers", fontsize=9
    )
    spreads = []
    for name in convs:
        for tower, maps in enumerate(outputs[name][0].chunk(2), start=1):
            axes = panels[f"{name} {tower}"]
            deviations = maps.flatten(1).std(1)
            axes.imshow(maps[deviations.argmax()].numpy(), cmap="gray", interpolation="nearest")
            axes.set_xlabel(f"GPU {tower}, σ = {deviations.max():.2g}", fontsize=9)
            spreads.append(float(deviations.max()))
        panels[f"{name} 1"].set_title(f"{name}\n{maps.shape[1]} × {maps.shape[2]}")
    for axes in panels.values():
        axes.set(xticks=[], yticks=[])
        axes.grid(False)
    sides = [outputs[name].shape[-1] for name in convs]
    alt = f"A photograph, and one map of each tower after each convolution of an untrained net; sides {sides}."
    alt += " What is shown is recognisable in the first maps, and hardly in the last, where the border shows."
    caption = "An untrained net: the picture in conv1, patches of it in conv3, little but the border of zeros in conv5."
    frame = pd.DataFrame({"layer": convs, "side": sides, "first": spreads[::2], "second": spreads[1::2]})
    return Drawing(figure, frame, alt, caption)


def shares(summary: pd.DataFrame) -> Drawing:
    """Where the parameters are, where the work is, and the convolutions against the paper's bound of 1 %.

    ``summary`` is :func:`nets.summary` of the net, with its sum.
    """
    frame = summary.iloc[:-1]
    convs = frame[frame.index.str.startswith("conv")]
    work = 100 * frame["macs"] / frame["macs"].sum()
    colours = [PALETTE[0] if name.startswith("conv") else PALETTE[1] for name in frame.index]
    figure, (weights, sums, bound) = subplots(1, 3, figsize=(8.8, 3.3), width_ratios=(1, 1, 0.8))
    y = np.arange(len(frame))
    for axes, values, what in ((weights, frame["share"], "parameters"), (sums, work, "multiplications")):
        axes.bar_label(axes.barh(y, values, color=colours), fmt="%.1f", padding=3, fontsize=9)
        axes.set(xlim=(0, 78), ylim=(len(y) - 0.4, -0.6), xlabel=f"share of the {what} (%)")
        axes.grid(axis="y", visible=False)
        axes.set_yticks(y, frame.index if axes is weights else [])
    high = convs["share"] > facts.CONV_SHARE_BOUND
    drawn = bound.bar(range(len(convs)), convs["share"], color=[CROSSING if above else PALETTE[0] for above in high])
    bound.bar_label(drawn, fmt="%.2f", padding=2, fontsize=9)
    bound.axhline(facts.CONV_SHARE_BOUND, color="#555555", lw=1)
    bound.text(-0.45, facts.CONV_SHARE_BOUND + 0.02, "“no more\nthan 1 %”", va="bottom", fontsize=9, color="#555555")
    bound.set(ylim=(0, 1.7), xlabel="convolutional layer", ylabel="share of the parameters (%)")
    bound.set_xticks(range(len(convs)), range(1, len(convs) + 1))
    bound.grid(axis="x", visible=False)
    held, effort = convs["share"].sum(), work[convs.index].sum()
    alt = f"Bars for the layers. The convolutions hold {held:.1f} % of the parameters and do {effort:.1f} % of the "
    alt += f"multiplications; fc6 holds {frame['share']['fc6']:.1f} % of the parameters. Above 1 % of the parameters: "
    alt += ", ".join(f"{name} with {share:.2f} %" for name, share in convs["share"][high].items())
    caption = f"The convolutions hold {held:.1f} % of the parameters and do {effort:.1f} % of the work; "
    caption += f"{' and '.join(convs.index[high])} are above the paper's 1 %."
    return Drawing(figure, frame.assign(work=work).round(4), f"{alt}.", caption)


def symbols() -> Drawing:
    """Two kernels of 3 x 3 that read one map of 6 x 6: two of their 16 positions, and the maps that they make."""
    figure, (image, *maps) = subplots(1, 3, figsize=(6.6, 2.3), width_ratios=(1.5, 1, 1))
    places = {(0, 0): PALETTE[0], (1, 3): PALETTE[3]}  # row and column of a window, and of what it gives
    for axes, side in ((image, 6), *((axes, 4) for axes in maps)):
        axes.imshow(np.ones((side, side)), cmap="gray", vmin=0, vmax=1, extent=(0, side, side, 0))
        axes.set(xticks=range(side + 1), yticks=range(side + 1), xticklabels=[], yticklabels=[])
        axes.grid(True, color="#bbbbbb", lw=0.8)
        for (row, column), colour in places.items():
            window = 3 if axes is image else 1
            axes.add_patch(Rectangle((column, row), window, window, color=colour, alpha=0.45, lw=0))
    image.set_title("d = 1 map, windows of s × s = 3 × 3", fontsize=9)
    for number, axes in enumerate(maps, start=1):
        axes.set_title(f"kernel {number}: p × p = 4 × 4", fontsize=9)
    alt = "A grid of 6 by 6 with a window of 3 by 3 at two of its 16 positions, and two grids of 4 by 4."
    caption = "K = 2 kernels read the same window; each writes one number at its place in its own map."
    return Drawing(figure, pd.DataFrame(list(places), columns=["row", "column"]), alt, caption)


def ports(nets: dict[str, tuple[arithmetic.Layer, ...]]) -> Drawing:
    """Parameters and multiplications of nets, a line each; the first is the paper's, whose counts are the lines."""
    rows = [{"net": name, "parameters": arithmetic.parameter_count(each) / 1e6,
             "multiplications": arithmetic.mac_count(each) / 1e6} for name, each in nets.items()]  # fmt: skip
    frame = pd.DataFrame(rows)
    figure, panels = subplots(1, 2, figsize=(9.2, 0.3 * len(frame) + 1), sharey=True)
    for axes, column in zip(panels, ("parameters", "multiplications"), strict=True):
        of_paper = frame[column][0]
        same = np.isclose(frame[column], of_paper, rtol=1e-9)
        axes.axvline(of_paper, color="#555555", lw=0.9, ls="--")
        axes.scatter(frame[column], frame.index, color=[PALETTE[0] if each else PALETTE[3] for each in same], zorder=3)
        for y, value in enumerate(frame[column]):
            axes.annotate(f"{value:,.4g}", (value, y), (7, 0), textcoords="offset points", va="center", fontsize=8)
        axes.set(xlabel=f"million {column}", xlim=(0, 1.2 * frame[column].max()))
    panels[0].set_yticks(frame.index, frame["net"], fontsize=8)
    panels[0].invert_yaxis()
    alike = frame["net"][1:][np.isclose(frame["parameters"][1:], frame["parameters"][0], rtol=1e-9)]
    caption = f"With the paper's number of parameters, and another net all the same: {', '.join(alike) or 'none'}."
    alt = "; ".join(f"{row['net']} {row['parameters']:.2f} and {row['multiplications']:.0f}" for row in rows)
    return Drawing(figure, frame, f"Million parameters and multiplications: {alt}.", caption)


MASKS = [
    {"model.communication": towers, field: value}
    for towers in ("conv4", "never")
    for field, value in (("model.pool", "2x2_as_run"), ("model.lrn", False), ("model.activation", "tanh"))
]
"""What :func:`masked_port` changes: who reads whom, which counts show, and something that only the layers show."""


def masked_port(number: int) -> nn.Module:
    """A net of full size, without weights, that breaks two lines of section 3.5: notebook 06, exercise 5."""
    with torch.device("meta"):
        return table.make(Recipe.paper().but(**MASKS[number % len(MASKS)]).model, sizes.FULL_SIZES)
