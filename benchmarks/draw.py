"""The kept results as a picture: ratios with their quartiles against the aims, and how the cost of an update grows."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from benchmarks.timing import Result
from paperlib.errors import PaperlibError
from paperlib.figures.draw import FIGURES, save
from paperlib.figures.style import PALETTE, Drawing, use_style

KEPT = Path(__file__).resolve().parent / "results.json"

GROWTH = {
    "images in a batch": r"update of the evidence net, 24x24 pixels, batch (\d+)",
    "side of the image (pixels)": r"update of the evidence net, batch \d+, (\d+)x\d+ pixels",
    "side of the image (pixels),\na net for each": r"update of the .*, at its own size, batch \d+, (\d+)x\d+ pixels",
    "processes (ours),\nthreads in one process": r"update of the evidence net, .* in (\d+) process.*",
}
"""What grows, as a label -> where the texts of the results have it."""

TITLES = ("batch, evidence net", "image, evidence net", "image and net", "processes, evidence net")


def load(path: Path = KEPT) -> list[Result]:
    """The results that were kept."""
    if not path.exists():
        raise PaperlibError(f"{path.name} is missing; measure first, with `make bench`")
    return [Result(**each) for each in json.loads(path.read_text())]


def growing(results: list[Result], pattern: str) -> list[tuple[int, Result]]:
    """(what grows, result), in ascending order, of the results whose text matches."""
    found = [(re.fullmatch(pattern, result.what), result) for result in results]
    return sorted(((int(match[1]), result) for match, result in found if match), key=lambda pair: pair[0])


def draw_ratios(axes: Axes, results: list[Result]) -> None:
    """One line a comparison: median, quartiles, and the aim."""
    for y, result in enumerate(results):
        axes.plot([result.low, result.high], [y, y], color=PALETTE[0], lw=3, solid_capstyle="butt")
        axes.plot(result.ratio, y, "o", ms=5, color=PALETTE[0], label="median, quartiles" if y == 0 else None)
    aims = [(result.aim, y) for y, result in enumerate(results) if result.aim is not None]
    axes.plot([x for x, _ in aims], [y for _, y in aims], "|", ms=13, mew=2.2, color=PALETTE[1], label="aim")
    axes.axvline(1, color="#555555", lw=0.8)
    axes.set_xscale("log")
    ends = [x for r in results for x in (r.low, r.high, r.aim) if x is not None and x > 0]
    ticks = [0.25, 0.5, 1, 2, 4, 8, 16]
    axes.set(xlim=(min([*ends, 0.8]) / 1.15, max([*ends, 2]) * 1.15), ylim=(len(results) - 0.4, -0.6))
    axes.set_xticks([t for t in ticks if axes.get_xlim()[0] <= t <= axes.get_xlim()[1]])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.set_yticks(range(len(results)), [f"{r.what}\nagainst {r.against}" for r in results], fontsize=7.5)
    axes.set_xlabel("time of the alternative / our time (above 1: ours is faster)")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.2)


def draw_growth(axes: Axes, points: list[tuple[int, Result]], label: str) -> None:
    """Time of an update by ours, the alternative, and at the machine's rate where that is known."""
    xs = [x for x, _ in points]
    theirs = "one process" if "processes" in label else "stock modules"
    axes.plot(xs, [r.ours for _, r in points], "o-", color=PALETTE[0], label="ours")
    axes.plot(xs, [r.theirs for _, r in points], "s--", color=PALETTE[1], label=theirs)
    least = [(x, r.reference) for x, r in points if r.reference is not None]
    if least:
        axes.plot(*zip(*least, strict=True), ":", color="#555555", label="machine's rate")
    axes.set_xscale("log")
    if least:  # else it does not grow with a known power
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, 1.15 * max(max(r.ours, r.theirs) for _, r in points))
    axes.set_xticks(xs, [str(x) for x in xs])
    axes.minorticks_off()
    axes.set_xlabel(label, fontsize=9)
    axes.legend(fontsize=8)


def drawing(results: list[Result], machine: str = "") -> Drawing:
    """All results in one figure, the growth in panels below the ratios where it was measured."""
    use_style()
    panels = [
        (title, label, points)
        for title, (label, pattern) in zip(TITLES, GROWTH.items(), strict=True)
        if (points := growing(results, pattern))
    ]
    only_grow = {r.what for _, label, points in panels if "processes" not in label for _, r in points}
    ratios = [r for r in results if r.what not in only_grow and r.unit != "%"]
    heights = (0.42 * len(ratios) + 0.7, 3.1 if panels else 0)
    figure = plt.figure(figsize=(10.5, sum(heights) + 0.3))
    rows = figure.add_gridspec(2 if panels else 1, 1, height_ratios=heights if panels else None)
    draw_ratios(figure.add_subplot(rows[0]), ratios)
    below = rows[-1].subgridspec(1, max(len(panels), 1))
    for i, (title, label, points) in enumerate(panels):
        axes = figure.add_subplot(below[i])
        draw_growth(axes, points, label)
        axes.set_title(title)
        axes.set_ylabel("time of an update (ms)" if i == 0 else "")
    figure.suptitle(machine, x=0.01, ha="left", fontsize=10)
    alt = "How many times as fast ours is. " + "; ".join(
        f"{r.what}, against {r.against}: {r.ratio:.2f}" + (f" (aim {r.aim:g})" if r.aim is not None else "")
        for r in ratios
    )
    for title, label, points in panels:
        times = ", ".join(f"{x}: {r.ours:.0f} ms against {r.theirs:.0f}" for x, r in points)
        alt += f". An update by {' '.join(label.split())} ({title}): {times}"
    return Drawing(figure, pd.DataFrame([asdict(result) for result in results]), alt + ".")


def draw(folder: Path = FIGURES, kept: Path = KEPT) -> list[Path]:
    """benchmarks.png and benchmarks.csv from the kept results; gives the paths written."""
    text = kept.with_suffix(".txt")
    machine = text.read_text().partition("\n")[0] if text.exists() else ""
    mpl.use("Agg")
    with mpl.rc_context():
        return save(drawing(load(kept), machine), "benchmarks", folder)
