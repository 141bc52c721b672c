"""One picture of all claims by status."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.patches import Patch, Rectangle

from paperlib.evidence import claims, metrics
from paperlib.evidence.rows import Row
from paperlib.evidence.verdict import Verdict
from paperlib.experiments.scales import SCALES
from paperlib.figures.labels import PLAIN
from paperlib.figures.style import PALETTE, Drawing, subplots, use_style

# ---------------------------------------------------------------------------------------------------------
# The table of claims as a picture

GROUPS = {
    "it holds by arithmetic": {"exact": "#029e73", "rounding": "#5cc0a2"},
    "it follows from a formula": {"shown": "#8fd3b0"},
    "it does not hold as printed": {"erratum": "#d55e00", "imprecise": "#e9a27c", "contradicted": "#b04a00"},
    "it holds as the paper measured it": {"reproduced": "#00664a"},
    "it holds at small scale": {"supported (proxy)": "#56a5d8"},
    "it goes the other way at small scale": {"contradicted (proxy)": "#f0b45c"},
    "it shows no effect of interest": {"no effect": "#8fc4e6", "no effect (proxy)": "#c0dff2"},
    "its parts or the scales disagree": {"mixed": "#d9c84a"},
    "it is a procedure": {"implemented": "#dcb8d4"},
    "it is history, or a number of others": {"cited": "#f1e4c3"},
    "it is open": {
        "undecided": "#bdbdbd", "planned": "#e4e4e4", "needs ImageNet": "#e4e4e4", "not tested": "#e4e4e4",
    },
}  # fmt: skip
"""What became of a claim: the statuses of each group with their shade.

That a procedure is implemented says nothing on whether it is a good one, or what the authors ran. What a proxy
contradicts is not refuted as printed: it goes the other way at small scale.
"""
FAMILIES = {
    "By counting": ["it holds by arithmetic", "it follows from a formula", "it does not hold as printed"],
    "By training": [
        "it holds as the paper measured it", "it holds at small scale", "it goes the other way at small scale",
        "it shows no effect of interest", "its parts or the scales disagree",
    ],
    "By building it": ["it is a procedure"],
    "By a source": ["it is history, or a number of others"],
    "Open": ["it is open"],
}  # fmt: skip
"""How a claim was judged -> its groups."""
PALE = {"it holds by arithmetic": " (pale: digits cut off)", "it does not hold as printed": " (pale: in part)"}
"""What the paler of two shades says, in the legend."""
SHORT = {"needs ImageNet": "ImageNet"}
"""What is written into a square that is open, where it is not the status."""

TOPICS = {
    "abstract": "the net in short", "1": "why a large net", "2": "data set", "3": "eight layers", "3.1": "ReLU",
    "3.2": "two GPUs", "3.3": "normalisation", "3.4": "overlapping pools", "3.5": "architecture", "4": "overfitting",
    "4.1": "crops, mirrors, colours", "4.2": "dropout", "5": "training", "6": "error rates",
    "6.1": "what a net sees", "7": "depth",
}  # fmt: skip
"""Section of a claim -> what it is about."""

STATUS_COLOURS = {kind: colour for kinds in GROUPS.values() for kind, colour in kinds.items()}


def of_group(group: str, table: Sequence[Row]) -> list[Row]:
    """The rows of a group."""
    return [r for r in table if r.word in GROUPS[group]]


def _reserved(group: str, table: Sequence[Row]) -> str:
    """How many rows of a group have a reservation, in brackets; empty where none has."""
    rows = of_group(group, table)
    count = sum(r.reserved for r in rows)
    how_many = f"{count} " if count < len(rows) else "all " * (count > 1)
    return f" ({how_many}with a reservation)" if count else ""


def conclusion(table: Sequence[Row]) -> str:
    """How many rows each group has, in a sentence."""
    n = {group: len(of_group(group, table)) for group in GROUPS}
    said = {
        "it holds by arithmetic": "are arithmetic that comes out",
        "it follows from a formula": "follow from a formula",
        "it does not hold as printed": "do not hold as printed",
        "it holds as the paper measured it": "hold as measured",
        "it holds at small scale": "hold at small scale",
        "it goes the other way at small scale": "{0} the other way there",
        "it shows no effect of interest": "show no effect",
        "its parts or the scales disagree": "{1} mixed",
        "it is a procedure": "are procedures",
        "it is history, or a number of others": "rest on sources",
    }
    told = ", ".join(
        f"{n[group]} {text.format(*('goes', 'is') if n[group] == 1 else ('go', 'are'))}{_reserved(group, table)}"
        for group, text in said.items()
        if n[group]
    )
    only = sum(r.word == "needs ImageNet" for r in table)
    return f"Of {len(table)} rows {told}, and {n['it is open']} are open, {only} of them for want of ImageNet."


def fig_claims() -> Drawing:
    """The table of claims as a picture: a square per claim, a line per section, a hue per group of :data:`GROUPS`.

    What is open is grey and has its status in the square.
    """
    use_style()
    table = claims.rows()
    frame = pd.DataFrame([{"id": r.id, "section": r.section, "status": r.status} for r in table])
    words = list(STATUS_COLOURS)
    squares = frame.assign(
        word=[words.index(r.word) for r in table],
        label=[r.id.split("-")[1] for r in table],
        place=frame.groupby("section").cumcount(),
        line=[f"{r.section} · {TOPICS[r.section]}" for r in table],
    )
    lines = squares["line"].unique()
    grid, labels = (squares.pivot(index="line", columns="place", values=v).reindex(lines) for v in ("word", "label"))
    figure, axes = plt.subplots(figsize=(9.6, 0.34 * len(lines) + 1.9))
    sns.heatmap(
        grid, annot=labels, fmt="", cmap=list(STATUS_COLOURS.values()), vmin=-0.5, vmax=len(words) - 0.5, cbar=False,
        linewidths=1.5, linecolor="white", annot_kws={"fontsize": 8, "va": "bottom"}, ax=axes,
    )  # fmt: skip
    for line, place, status in zip(squares["line"], squares["place"], squares["status"], strict=True):
        if status in GROUPS["it is open"]:
            y = list(lines).index(line) + 0.55
            axes.text(place + 0.5, y, SHORT.get(status, status), fontsize=6, ha="center", va="top")
    axes.set(xlabel="", ylabel="", xticks=[])
    axes.grid(False)
    axes.tick_params(length=0)
    written = {text.get_position(): text for text in axes.texts}
    for line, place, row in zip(squares["line"], squares["place"], table, strict=True):
        if row.reserved:
            written[place + 0.5, list(lines).index(line) + 0.5].set_color("#111111")
            where = (place + 0.03, list(lines).index(line) + 0.04)
            axes.add_patch(Rectangle(where, 0.94, 0.92, fill=False, hatch="//", ec="white", lw=0, gid=row.id))
    handles = [
        Patch(fc=next(iter(shades.values())), ec="#999999", lw=0.4,
              label=f"{group}: {len(of_group(group, table))}{PALE.get(group, '')}")
        for group, shades in GROUPS.items() if of_group(group, table)
    ]  # fmt: skip
    reserved = sum(row.reserved for row in table)
    handles.append(Patch(fc="#888888", ec="white", hatch="//", lw=0, label=f"hatched: with a reservation: {reserved}"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8.5, handlelength=1.2)
    counted = ", ".join(f"{n} {word}" for word, n in claims.tally(table).items())
    alt = f"The {len(frame)} rows of the table of claims by section, coloured by status: {counted}"
    return Drawing(figure, frame, alt, conclusion(table))


def one_verdict(v: Verdict) -> Drawing:
    """A comparison of two arms as a picture: each run, the two means, and the interval of their difference."""
    c, heading = v.comparison, metrics.METRICS[v.comparison.metric].heading
    frame = metrics.results(v.experiment, v.scale, c.metric).dropna(subset=c.metric)
    frame = frame.loc[frame["arm"].isin([c.a, c.b]), ["arm", "seed", c.metric]]
    figure, (runs, difference) = subplots(2, 1, figsize=(7.6, 3.4), height_ratios=(2, 1.1))
    for y, (arm, colour) in enumerate(zip((c.a, c.b), PALETTE, strict=False)):
        values = frame.loc[frame["arm"] == arm, c.metric]
        runs.plot(values, [y] * len(values), "o", color=colour, ms=6, alpha=0.7)
        runs.plot([values.mean()] * 2, [y - 0.3, y + 0.3], color=colour, lw=2.5)
        runs.annotate(f"mean {values.mean():.2f}", (values.mean(), y - 0.34), ha="center", fontsize=9)
    runs.set(ylim=(1.6, -0.8), xlabel=f"{heading} ({v.unit.strip()}), one dot per seed")
    runs.set_yticks([0, 1], [c.a, c.b])
    difference.axvspan(-c.smallest_effect, c.smallest_effect, color="#e2e2e2", lw=0)
    difference.axvline(0, color="#555555", lw=0.8)
    difference.plot([v.low, v.high], [0, 0], color="#111111", lw=2)
    difference.plot(v.estimate, 0, "D", color="#111111", ms=6)
    difference.annotate(v.value, (v.estimate, 0), xytext=(0, 8), textcoords="offset points", ha="center", fontsize=9)
    difference.margins(x=0.12)
    difference.set(ylim=(-0.6, 1.0), yticks=[], xlabel="second mean minus first; grey: too small to be of interest")
    for axes in (runs, difference):
        axes.grid(axis="y", visible=False)
    whole, side = ("", "on both sides") if v.low <= 0 <= v.high else ("whole ", "right" if v.low > 0 else "left")
    caption = f"The means are {abs(v.estimate):.2f} points apart; the {whole}interval lies {side} of zero: {v.status}."
    alt = f"Above, the runs of {c.a} and {c.b} as dots with their means. Below, their difference: {v.value}."
    return Drawing(figure, frame, alt, caption)


def predict_words(found: Sequence[Verdict]) -> Drawing:
    """The intervals of comparisons, a line each, around zero and what is too small to be of interest; no verdicts."""
    figure, axes = subplots(figsize=(7.6, 0.5 * len(found) + 1.1))
    for y, v in enumerate(found):
        effect = v.comparison.smallest_effect
        axes.fill_between([-effect, effect], y - 0.3, y + 0.3, color="#e2e2e2", lw=0)
        axes.plot([v.low, v.high], [y, y], color="#111111", lw=2)
        axes.plot(v.estimate, y, "D", color="#111111", ms=6)
    axes.axvline(0, color="#555555", lw=0.8)
    scales = len({v.scale for v in found}) > 1
    arms = [(v.comparison.a, v.comparison.b, f", {SCALES[v.scale].title}" * scales) for v in found]
    axes.set_yticks(range(len(found)), [f"{a} v. {PLAIN.get(b, b)}{where}" for a, b, where in arms])
    axes.set(
        ylim=(len(found) - 0.5, -0.5), xlabel="second mean minus first (points); grey: too small to be of interest"
    )
    axes.grid(axis="y", visible=False)
    rows = [(v.comparison.arms, v.estimate, v.low, v.high, v.comparison.smallest_effect) for v in found]
    frame = pd.DataFrame(rows, columns=["arms", "estimate", "low", "high", "smallest_effect"]).round(4)
    alt = "Intervals: " + "; ".join(
        f"{v.comparison.arms}{where} {v.value}" for v, (*_, where) in zip(found, arms, strict=True)
    )
    return Drawing(figure, frame, f"{alt}.", f"{len(found)} intervals, from the records.")
