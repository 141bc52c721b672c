"""One picture of all ablations: what the small nets lose when one thing about them is changed."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from paperlib.evidence import decide
from paperlib.experiments import declared
from paperlib.figures.style import PALETTE, Drawing, nothing_yet, scale_name, use_style

OF = {
    "towers": "03", "lrn": "04", "pool": "05", "augment": "07", "colour": "07", "dropout": "08", "update": "09",
    "depth": "11", "order": "11", "readings": "09",
}  # fmt: skip
"""Experiments whose arms change one thing of one baseline each -> the notebook that explains them."""
PLACES = {"cifar10": (0.0, PALETTE[0], "o"), "photos": (0.24, PALETTE[2], "s"), "sample": (0.24, PALETTE[1], "D")}
"""Scale -> where it stands in an arm's line, its colour and its mark. No arm is at both small scales."""
SHOWN = (-7.0, 11.0)
"""Points of difference that the picture has room for; an interval that reaches beyond is written out."""
COLUMNS = ["experiment", "arm", "scale", "n", "enough", "estimate", "low", "high"]


def differences() -> pd.DataFrame:
    """A row an arm and scale: test error above the baseline's (points), with the interval that decides.

    Of the declared comparisons of test error with the control. An arm that is in two experiments is here once.
    """
    rows, seen = [], set()
    for name in OF:
        for scale in (scale for scale in PLACES if (name, scale) in declared.EXPERIMENTS):
            control = declared.get(name, scale).control
            for v in decide.verdicts_of(name, scale):
                a, b = v.comparison.a, v.comparison.b
                if v.comparison.metric != "test_error" or not b or control not in (a, b) or not v.has_value:
                    continue
                arm, sign = (b, 1) if a == control else (a, -1)
                if (scale, arm) not in seen:
                    seen.add((scale, arm))
                    low, high = sorted((sign * v.low, sign * v.high))
                    rows.append((name, arm, scale, v.n, v.n >= v.fewest, sign * v.estimate, low, high))
    return pd.DataFrame(rows, columns=COLUMNS)


def write_at_the_edge(axes: Axes, y: float, text: str, colour: str) -> None:
    """What the picture has no room for, in numbers."""
    axes.annotate(text, (1, y), xycoords=("axes fraction", "data"), xytext=(0, 3), textcoords="offset points",
                  ha="right", fontsize=8, color=colour)  # fmt: skip


def ablations() -> Drawing:
    """Test error of every arm above its baseline: estimate and simultaneous interval; hollow with too few seeds."""
    use_style()
    frame = differences()
    if frame.empty:
        return nothing_yet("towers", list(frame.columns))
    lines = list(dict.fromkeys(zip(frame["experiment"], frame["arm"], strict=True)))
    figure, axes = plt.subplots(figsize=(8.0, 0.3 * len(lines) + 1.6))
    for row in frame.to_dict("records"):
        offset, colour, mark = PLACES[row["scale"]]
        y = lines.index((row["experiment"], row["arm"])) + offset
        axes.plot([row["low"], row["high"]], [y, y], color=colour, lw=1.6 if row["enough"] else 0.8)
        axes.plot(row["estimate"], y, mark, color=colour, ms=5, mfc=colour if row["enough"] else "none")
        if row["high"] > SHOWN[1] or row["low"] < SHOWN[0]:
            write_at_the_edge(axes, y, f"{row['estimate']:.1f} ({row['low']:.1f} to {row['high']:.1f})", colour)
    axes.axvline(0, color="#555555", lw=0.8)
    for i, (one, two) in enumerate(zip(lines, lines[1:], strict=False)):
        if one[0] != two[0]:
            axes.axhline(i + 0.62, color="#cccccc", lw=0.6)
    axes.set_yticks(range(len(lines)), [f"{OF[name]} {name}: {arm}" for name, arm in lines], fontsize=8.5)
    axes.set(
        xlim=SHOWN,
        ylim=(len(lines) - 0.3, -0.6),
        xlabel="test error above the baseline's (points); above 0, the change hurts",
    )
    axes.grid(axis="y", visible=False)
    for scale, (_, colour, mark) in PLACES.items():
        here = frame[frame["scale"] == scale]
        if len(here):
            few, many = here["n"].min(), here["n"].max()
            seeds = f"n = {few}" if few == many else f"n = {few} to {many}"
            fill = colour if here["enough"].any() else "none"
            axes.plot([], [], mark, color=colour, mfc=fill, label=f"{scale_name(scale)}, {seeds}")
    hollow = "" if frame["enough"].all() else "; hollow: too few seeds to decide"
    axes.set_title(f"One thing changed, with simultaneous 95 % intervals{hollow}")
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    clear = frame[frame["enough"] & ((frame["low"] > 0) | (frame["high"] < 0))]
    alt = f"Test error of {len(frame)} changed nets above their baseline's. Intervals without 0: " + "; ".join(
        f"{row.arm} ({row.scale}) {row.estimate:.1f}" for row in clear.itertuples()
    )
    return Drawing(figure, frame.round(4), alt)
