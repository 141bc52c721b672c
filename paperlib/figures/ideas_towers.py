"""The pictures of notebook 03: memory against a card, who reads whom, each tower's share of the work, the wire."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from paperlib.figures.figure2 import CROSSING, TOWER_COLOURS, draw_box, join
from paperlib.figures.ideas_relu import outputs_of
from paperlib.figures.style import PALETTE, Drawing, subplots
from paperlib.nets.table import build, parameter_count
from paperlib.recipe import ModelRecipe, Sizes

HATCHES = ("", "//", "..", "\\\\", "xx", "++")


def memory(parts: Mapping[str, float], card: float, borrowed: float = 0.0) -> Drawing:
    """Stacked bars of what a training keeps, in 10⁹ bytes: the whole net on one card, and one of two towers.

    A tower has half of each part, but all "images", and holds what it has ``borrowed`` of the other tower.
    """
    figure, axes = subplots(figsize=(7.6, 3.0))
    bars = ("one of two towers", "whole net")
    sizes = {part: (size if part == "images" else size / 2, size) for part, size in parts.items()}
    sizes |= {"maps of the other tower, with gradients": (borrowed, 0.0)} if borrowed else {}
    left = dict.fromkeys(bars, 0.0)
    for (part, size), colour, hatch in zip(sizes.items(), PALETTE, HATCHES, strict=False):
        widths = list(size)
        axes.barh(list(bars), widths, left=list(left.values()), color=colour, label=part, height=0.6, hatch=hatch,
                  edgecolor="white", lw=0)  # fmt: skip
        left = {bar: start + width for (bar, start), width in zip(left.items(), widths, strict=True)}
    for place, end in enumerate(left.values()):
        axes.text(end + 0.04, place, f"{end:.2f}", va="center", fontsize=9)
    axes.axvline(card, color="#111111", lw=1.4)
    axes.text(card - 0.04, 1.48, f"the card, {card:.2f}", ha="right", va="top", fontsize=9)
    axes.set(xlabel="memory (10⁹ bytes), calculated", xlim=(0, card * 1.05), ylim=(-0.5, 1.55))
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8.5)
    total, tower = left["whole net"], left["one of two towers"]
    alt = (
        f"Stacked bars of calculated memory in 10⁹ bytes. Whole net: {total:.2f}, of it "
        + ", ".join(f"{part} {size:.2f}" for part, size in parts.items())
        + f". One of two towers: {tower:.2f}. The card has {card:.2f}."
    )
    whole, one = (f"{100 * size / card:.0f} %" for size in (total, tower))
    caption = f"By our count the whole net fills {whole} of one card, and a tower {one}."
    return Drawing(figure, pd.DataFrame(parts.items(), columns=["part", "gigabytes"]).round(4), alt, caption)


Reads = list[list[bool]]
"""[tower of the layer above][tower of the layer below]: does a gradient arrive?"""


def wiring(model: ModelRecipe, sizes: Sizes) -> dict[tuple[str, str], Reads]:
    """(layer below, layer above) -> which tower reads which, from gradients of a net with larger initial weights.

    A unit's gradient with respect to something that it does not read is exactly zero. Of fc8 each tower has half the
    classes.
    """
    noise = torch.randn(4, sizes.channels, sizes.crop, sizes.crop, generator=torch.Generator().manual_seed(0))
    seen = outputs_of(build(replace(model, init="he"), sizes, seed=0).eval(), noise)
    found: dict[tuple[str, str], Reads] = {}
    for below, above in itertools.pairwise(seen):
        found[below, above] = []
        for tower in seen[above].chunk(2, dim=1):
            (gradient,) = torch.autograd.grad(tower.sum(), seen[below], retain_graph=True)
            found[below, above].append([bool((half != 0).any()) for half in gradient.chunk(2, dim=1)])
    return found


def crossings(wires: Mapping[tuple[str, str], Reads]) -> list[str]:
    """The layers whose units read both towers below."""
    return [above for (_, above), reads in wires.items() if all(all(row) for row in reads)]


def who_reads_whom(wirings: Mapping[str, Mapping[tuple[str, str], Reads]]) -> Drawing:
    """A panel a wiring, by where its towers meet: a line wherever a gradient arrives, orange where it crosses."""
    figure, panels = subplots(1, len(wirings), figsize=(8.8, 2.7), squeeze=False)
    for axes, (where, wires) in zip(panels[0], wirings.items(), strict=True):
        names = [next(iter(wires))[0], *(above for _, above in wires)]
        for x, reads in enumerate(wires.values()):
            for upper, lower in itertools.product(range(2), range(2)):
                if reads[upper][lower]:
                    colour = TOWER_COLOURS[upper] if upper == lower else CROSSING
                    axes.plot([x, x + 1], [-lower, -upper], color=colour, lw=1.4, zorder=1)
        for tower in range(2):
            axes.scatter(range(len(names)), [-tower] * len(names), s=55, color=TOWER_COLOURS[tower], zorder=2)
        axes.set_xticks(range(len(names)), names, rotation=60, fontsize=8)
        axes.set(ylim=(-1.5, 0.5), yticks=[0, -1], xlabel="layer")
        axes.set_yticklabels(["tower 1", "tower 2"] if axes is panels[0][0] else ["", ""])
        axes.set_title("never" if where == "never" else f"meet in {where}")
        axes.grid(False)
    both = {where: ", ".join(crossings(wires)) for where, wires in wirings.items()}
    alt = "Who reads whom, from gradients. " + "; ".join(f"{w}: both towers are read by {b}" for w, b in both.items())
    told = [f"by {b} if they {'never meet' if w == 'never' else f'meet in {w}'}" for w, b in both.items()]
    caption = f"Gradients show both towers read {'; '.join(told)}."
    return Drawing(figure, pd.DataFrame(both.items(), columns=["meet", "layers that read both"]), f"{alt}.", caption)


def errors_by_class(net: nn.Sequential, crops: Tensor, labels: Tensor, silent: Sequence[Collection[int]]) -> Tensor:
    """Test errors (per cent), a row a set of maps of conv5 that are set to zero, a column a class."""
    names = [name for name, _ in net.named_children()]
    at = names.index("act5") + 1
    rows = []
    with torch.no_grad():
        maps = net[:at](crops)
        for each in silent:
            keep = torch.ones(maps.shape[1])
            keep[list(each)] = 0
            wrong = (net[at:](maps * keep[:, None, None]).argmax(1) != labels).double()
            rows.append(torch.stack([100 * wrong[labels == kind].mean() for kind in labels.unique()]))
    return torch.stack(rows)


def random_halves(maps: int, n: int, seed: int = 0) -> list[set[int]]:
    """Half of the ``maps``, as many of each tower, and the other half, ``n`` times: a control for the towers."""
    draw, each = torch.Generator().manual_seed(seed), maps // 4
    halves: list[set[int]] = []
    for _ in range(n):
        chosen = [torch.randperm(maps // 2, generator=draw)[:each] + tower * (maps // 2) for tower in range(2)]
        half = set(torch.cat(chosen).tolist())
        halves += [half, set(range(maps)) - half]
    return halves


def shared_work(errors: Mapping[str, Tensor], control: Tensor, classes: Sequence[str]) -> Drawing:
    """Errors by class of a two-tower net, whole and with one tower only; dots: with random halves of its maps.

    ``control`` is (halves, classes).
    """
    figure, axes = subplots(figsize=(8.6, 3.6))
    frame = pd.DataFrame({name: values.numpy() for name, values in errors.items()}, index=list(classes))
    colours: list[Any] = ["#555555", *TOWER_COLOURS]
    width = 0.2
    for i, (name, colour) in enumerate(zip(frame, colours, strict=True)):
        places = np.arange(len(frame)) + (i - 1.5) * width
        axes.bar(places, frame[name], width, color=colour, edgecolor="white", label=name)
    dots = np.repeat(np.arange(len(frame)) + 1.5 * width, len(control))
    axes.scatter(dots, control.T.flatten(), s=9, color="#888888", lw=0, alpha=0.7, label="random halves")
    axes.axhline(90, color="#555555", lw=0.8)
    axes.text(1.005, 90, "guessing", va="center", fontsize=8, transform=axes.get_yaxis_transform())
    axes.set_xticks(range(len(frame)), list(classes), rotation=30, ha="right")
    axes.set(ylabel="test error of the class (%)", ylim=(-2, 105))
    axes.set_title("Live, one seed, sample (proxy), 2,000 test images")
    axes.grid(axis="x", visible=False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
    alt = (
        "Bars of the test error of each class: of the whole two-tower net, with tower 1 only, and with tower 2 only. "
        "Some errors of one tower are far larger, and largest for other classes with tower 1 than with tower 2. "
        f"Beside them dots for {len(control)} random halves of the maps."
    )
    frame["lowest of random halves"], frame["highest"] = control.amin(0).numpy(), control.amax(0).numpy()
    return Drawing(figure, frame.rename_axis("class").reset_index(), alt)


def apart(errors: Tensor) -> Tensor:
    """Mean difference (points) of a class between one half and the other, of rows that alternate between them."""
    return (errors[::2] - errors[1::2]).abs().mean(1)


def gaps(found: Mapping[str, tuple[Tensor, Tensor]]) -> Drawing:
    """Net -> :func:`apart` of its towers (one number) and of its random halves (one each), a row a net."""
    figure, axes = subplots(figsize=(7.6, 0.34 * len(found) + 1.5))
    for row, (towers, halves) in enumerate(found.values()):
        axes.scatter(
            halves, [row] * len(halves), s=14, color="#888888", lw=0, label="random halves" if not row else None
        )
        axes.scatter(towers, row, s=60, marker="D", color=CROSSING, label="towers" if not row else None)
    axes.set_yticks(range(len(found)), list(found))
    axes.set(
        xlabel="mean difference of a class between two halves (points)", xlim=(0, None), ylim=(len(found) - 0.5, -0.5)
    )
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    rows = [
        (name, float(towers), float(halves.mean()), int((halves < towers).sum()), len(halves))
        for name, (towers, halves) in found.items()
    ]
    frame = pd.DataFrame(rows, columns=["net", "towers", "random halves", "below the towers", "of"]).round(1)
    ours, control = frame["towers"], frame["random halves"]
    counted = frame[~frame["net"].str.startswith("live")]  # a net that is trained here too would be counted twice
    caption = (
        f"Between its towers a net's classes differ by {ours.min():.0f} to {ours.max():.0f} points on average, between "
        f"random halves by {control.min():.0f} to {control.max():.0f}; {counted['below the towers'].sum()} of "
        f"{counted['of'].sum()} random pairs of the recorded nets differ less than the towers of their net."
    )
    alt = "Mean difference of a class between two halves of the maps. " + "; ".join(
        f"{name}: towers {towers:.0f} points, random halves {halves:.0f} on average"
        for name, towers, halves, _, _ in rows
    )
    return Drawing(figure, frame, f"{alt}.", caption)


def rivals(nets: Mapping[str, tuple[ModelRecipe, Sizes]]) -> Drawing:
    """Nets side by side: a row a tower, a square a layer, a line where a gradient says that one reads the other."""
    figure, panels = subplots(1, len(nets), figsize=(9.2, 2.4), sharey=True)
    rows = []
    for axes, (name, (model, sizes)) in zip(panels, nets.items(), strict=True):
        found, count = wiring(model, sizes), parameter_count(build(model, sizes, seed=0))
        places = (0.0,) if model.net == "one_tower" else (1.0, -1.0)
        layers = [next(iter(found))[0], *(above for _, above in found)]
        for x, ((_, layer), reads) in enumerate(found.items()):
            for above, below in itertools.product(range(len(places)), repeat=2):
                if reads[above][below]:
                    colour = TOWER_COLOURS[above] if above == below else CROSSING
                    axes.plot([x, x + 1], [places[below], places[above]], color=colour, lw=1.3)
            crosses = len(places) > 1 and (reads[0][1] or reads[1][0])
            rows.append((name, count, layer, len(places), crosses))
        for y, colour in zip(places, TOWER_COLOURS, strict=False):
            axes.plot(range(len(layers)), [y] * len(layers), "s", color=colour, ms=6)
        axes.set_xticks(range(len(layers)), layers, rotation=90, fontsize=8)
        axes.set(ylim=(-1.5, 1.5), yticks=[], title=f"{name}\n{count:,} parameters")
        axes.grid(False)
    frame = pd.DataFrame(rows, columns=["net", "parameters", "layer", "towers", "reads the other tower"])
    meet = {name: ", ".join(row[2] for row in rows if row[0] == name and row[4]) for name in nets}
    alt = "Nets as rows of squares, one a layer, and where their towers read each other: " + "; ".join(
        f"{name}: {where or 'nowhere'}" for name, where in meet.items()
    )
    return Drawing(figure, frame, f"{alt}.")


def exchange(batch: int, maps: int, side: int, itemsize: int) -> Drawing:
    """What crosses between the towers before conv3, forward and backward: ``maps`` of each, ``side`` x ``side``."""
    count = batch * maps * side**2 * itemsize
    figure, panels = subplots(1, 2, figsize=(8.6, 3.2))
    for axes, (title, what) in zip(panels, {"forward": "maps", "backward": "gradients"}.items(), strict=True):
        boxes = [
            [draw_box(axes, x, y, 96, 27, TOWER_COLOURS[y < 0]) for x in (0.0, 3.0)] for y in (1, -1)
        ]  # [tower][maps of conv2, of conv3]
        for tower, (below, above) in enumerate(boxes):
            other = boxes[1 - tower][0]
            for start, end, colour in ((below, above, TOWER_COLOURS[tower]), (other, above, CROSSING)):
                join(axes, *((start, end) if title == "forward" else (end[:2] * 2, start[2:] * 2)), colour)
        axes.text(1.55, 0, f"{what}: {count:,} bytes\neach way", ha="center", va="center", fontsize=9, color=CROSSING,
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 2})  # fmt: skip
        for x, name in ((0.0, "conv2, pooled"), (3.0, "conv3")):
            axes.text(x, -1.75, name, ha="center", va="top", fontsize=9)
        axes.set(xlim=(-0.6, 3.6), ylim=(-2.1, 1.7), xticks=[], yticks=[1, -1], title=title)
        axes.set_yticklabels(["tower 1", "tower 2"])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.grid(False)
    alt = (
        f"Two towers of two boxes each, conv2 and conv3. Forward, {maps} maps of {side}×{side} of {batch} images cross "
        f"each way, {count:,} bytes. Backward, as many bytes of gradients cross each way, from conv3 to conv2's maps."
    )
    caption = f"At conv3 each tower sends {count:,} bytes of maps forward, and as many bytes of gradients back."
    rows = [(title, batch, maps, side, itemsize, count) for title in ("forward", "backward")]
    heads = ["pass", "images", "maps", "side", "bytes a number", "bytes"]
    return Drawing(figure, pd.DataFrame(rows, columns=heads), alt, caption)
