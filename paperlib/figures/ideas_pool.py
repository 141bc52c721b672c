"""The pictures of notebook 05: windows, a grid of numbers pooled both ways, a photograph moved by a pixel."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle
from torch import Tensor

from paperlib.figures.style import PALETTE, Drawing, subplots
from paperlib.nets.layers import MaxPool

POOLS = {2: "z = 2, s = 2", 3: "z = 3, s = 2"}


def winners(grid: Tensor, z: int, s: int = 2) -> Tensor:
    """How many windows each entry of a map (H, W) wins: the gradient of the sum of the pooled map."""
    x = grid.double().requires_grad_()
    torch.nn.functional.max_pool2d(x[None, None], z, s).sum().backward()
    assert x.grad is not None
    return x.grad.int()


def write_numbers(axes: Axes, grid: Tensor, counts: Tensor | None = None) -> None:
    """A map of integers as numbers; entries that win windows are shaded, the darker the more they win."""
    rows, columns = grid.shape
    for r in range(rows):
        for c in range(columns):
            wins = int(counts[r, c]) if counts is not None else 0
            axes.add_patch(Rectangle((c, r), 1, 1, facecolor=to_rgba(PALETTE[1], 0.22 * wins), edgecolor="#bbbbbb"))
            axes.text(c + 0.5, r + 0.5, f"{int(grid[r, c])}", ha="center", va="center", fontsize=11)
    axes.set(xlim=(-0.1, columns + 0.1), ylim=(rows + 0.1, -0.1), aspect="equal")
    axes.axis("off")


def grid_pooled(grid: Tensor) -> Drawing:
    """A map of integers (H, W) with the windows of both pools, and what they pass on."""
    figure, panels = subplots(1, 4, figsize=(9.0, 2.9), width_ratios=(5, 2, 5, 2))
    rows, told, most = [], [], []
    for z, (left, right) in zip(POOLS, (panels[:2], panels[2:]), strict=True):
        pooled = MaxPool(z, 2)(grid.double()[None, None])[0, 0]
        most.append(int(winners(grid, z).max()))
        write_numbers(left, grid, winners(grid, z))
        for i, top in enumerate(range(0, grid.shape[0] - z + 1, 2)):
            for j, start in enumerate(range(0, grid.shape[1] - z + 1, 2)):
                inset = 0.06 + 0.06 * ((i + j) % 2)
                colour = PALETTE[(2 * i + j) % 4]
                box = Rectangle((start + inset, top + inset), z - 2 * inset, z - 2 * inset, fill=False, lw=2, ec=colour)
                left.add_patch(box)
        left.set_title(POOLS[z])
        write_numbers(right, pooled)
        right.set_title("passed on", fontsize=9)
        rows += [{"z": z, "row": r, "column": c, "value": int(v)} for (r, c), v in np.ndenumerate(pooled.numpy())]
        told.append(f"{POOLS[z]} passes on {pooled.int().tolist()}")
    alt = f"A map of integers {grid.tolist()} with the windows of both pools: {'; '.join(told)}."
    caption = f"Without overlap one number wins {most[0]} window at most; with overlap one number wins {most[1]}."
    return Drawing(figure, pd.DataFrame(rows), alt, caption)


def change(maps: Tensor, z: int, pixels: int = 1) -> tuple[Tensor, Tensor, float]:
    """Maps (…, C, H, W), averaged over C and pooled, the change when they move by some pixels, and how large that is.

    The last is the mean size of the change, in per cent of the standard deviation of the pooled maps.
    """
    grey = maps.float().mean(-3, keepdim=True)
    width = grey.shape[-1] - 4
    here, there = (MaxPool(z, 2)(grey[..., start : start + width]) for start in (0, pixels))
    difference = there - here
    return here, difference, 100 * float(difference.abs().mean() / here.std())


def moved_by_a_pixel(photo: Tensor) -> Drawing:
    """The change of both pooled maps when a photograph moves by one pixel, on one scale."""
    figure, panels = subplots(2, 2, figsize=(8.6, 5.2))
    rows = []
    for (left, right), z in zip(panels, POOLS, strict=True):
        here, difference, size = change(photo, z)
        left.imshow(here[0].numpy(), cmap="gray", vmin=0, vmax=255)
        drawn = right.imshow(difference[0].numpy(), cmap="PuOr", vmin=-100, vmax=100)
        left.set_title(f"pooled, {POOLS[z]}")
        right.set_title("changed by moving one pixel")
        figure.colorbar(drawn, ax=right, shrink=0.85, label="grey levels")
        left.axis("off")
        right.axis("off")
        rows.append({"z": z, "change": size})
    alt = (
        "A photograph pooled both ways, and how each pooled map changes when the photograph moves by one pixel. Both "
        "change along edges; the pool without overlap changes more."
    )
    without, with_overlap = (row["change"] for row in rows)
    caption = (
        "Both pooled maps change along edges: "
        f"by {without:.1f} % of their standard deviation without overlap, by {with_overlap:.1f} % with it."
    )
    return Drawing(figure, pd.DataFrame(rows), alt, caption)


def changes(maps: Mapping[str, Tensor], what: str = "photographs", mover: str = "the image") -> Drawing:
    """Relative change of both pooled maps by one pixel's move, a line for each of the ``maps`` (…, C, H, W)."""
    sizes = {name: [change(each, z)[2] for z in POOLS] for name, each in maps.items()}
    ordered = sorted(sizes, key=lambda name: sizes[name][0])
    figure, axes = subplots(figsize=(7.0, 3.2))
    for place, name in enumerate(ordered):
        axes.plot(sizes[name], [place, place], color="#bbbbbb", lw=2, zorder=1)
    for k, (label, mark) in enumerate(zip(POOLS.values(), ("s", "o"), strict=True)):
        axes.scatter([sizes[name][k] for name in ordered], range(len(ordered)), marker=mark, color=PALETTE[k],
                     label=label, zorder=2)  # fmt: skip
    axes.set_yticks(range(len(ordered)), ordered, fontsize=9)
    axes.set(xlabel="mean change of the pooled map (% of its standard deviation)", xlim=(0, None))
    axes.legend()
    less = sum(with_overlap < without for without, with_overlap in sizes.values())
    frame = pd.DataFrame([{"name": name, "z = 2": a, "z = 3": b} for name, (a, b) in sizes.items()])
    means = f"{frame['z = 3'].mean():.0f} in place of {frame['z = 2'].mean():.0f} %"
    alt = f"Change of the pooled maps when {mover} moves by a pixel, for each of {len(sizes)} {what} and both pools."
    caption = f"In {less} of {len(sizes)} {what} the overlapping pool changes less when {mover} moves by a pixel: "
    return Drawing(figure, frame.round(2), alt, f"{caption}{means} on average.")
