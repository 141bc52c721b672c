"""One picture of all ablations: what the small nets lose when one thing about them is changed."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from paperlib import evidence, experiments
from paperlib.style import PALETTE, Drawing, nothing_yet, scale_name, use_style

OF = {
    "towers": "03", "lrn": "04", "pool": "05", "augment": "07", "colour": "07", "dropout": "08", "update": "09",
    "depth": "11", "order": "11", "readings": "09",
}  # fmt: skip
"""Experiments whose arms change one thing of one baseline each -> the notebook that explains them."""
PLACES = {"cifar10": (0.0, PALETTE[0], "o"), "photos": (0.24, PALETTE[2], "s"), "sample": (0.24, PALETTE[1], "D")}
"""Scale -> where it stands in an arm's line, its colour and its mark. No arm is at both small scales."""
SHOWN = (-7.0, 11.0)
"""Points of difference that the picture has room for; an interval that reaches beyond is written out."""


def differences() -> pd.DataFrame:
    """A row an arm and scale: test error above the baseline's (points), paired over the seeds, with 95 % interval.

    An arm that stands in two experiments stands here once. The interval is left out below five seeds.
    """
    rows, seen = [], set()
    for name in OF:
        for scale in PLACES:
            if (name, scale) not in experiments.EXPERIMENTS:
                continue
            frame = evidence.results(name, scale, "test_error").set_index(["arm", "seed"])["test_error"]
            arms = [arm for arm in experiments.get(name, scale).arms if arm != "baseline"]
            for arm in arms:
                if (scale, arm) in seen or arm not in frame.index or "baseline" not in frame.index:
                    continue
                pairs = pd.concat([frame.loc["baseline"], frame.loc[arm]], axis=1, join="inner").dropna()
                if pairs.empty:
                    continue
                seen.add((scale, arm))
                estimate, low, high, _ = evidence.paired(pairs.iloc[:, 0], pairs.iloc[:, 1], "difference")
                enough = len(pairs) >= evidence.FEWEST_SEEDS
                rows.append(
                    {"experiment": name, "arm": arm, "scale": scale, "n": len(pairs), "estimate": estimate,
                     "low": low if enough else None, "high": high if enough else None,
                     "each": " ".join(f"{d:.2f}" for d in pairs.iloc[:, 1] - pairs.iloc[:, 0])}
                )  # fmt: skip
    columns = ["experiment", "arm", "scale", "n", "estimate", "low", "high", "each"]
    return pd.DataFrame(rows, columns=columns)


def write_at_the_edge(axes: Axes, y: float, text: str, colour: str) -> None:
    """What the picture has no room for, in numbers."""
    axes.annotate(text, (1, y), xycoords=("axes fraction", "data"), xytext=(0, 3), textcoords="offset points",
                  ha="right", fontsize=8, color=colour)  # fmt: skip


def ablations() -> Drawing:
    """Test error of every arm above its baseline: estimate and interval, or, below five seeds, the single seeds."""
    use_style()
    frame = differences()
    if frame.empty:
        return nothing_yet("towers", list(frame.columns))
    lines = list(dict.fromkeys(zip(frame["experiment"], frame["arm"], strict=True)))
    figure, axes = plt.subplots(figsize=(8.0, 0.3 * len(lines) + 1.6))
    for row in frame.to_dict("records"):
        offset, colour, mark = PLACES[row["scale"]]
        y = lines.index((row["experiment"], row["arm"])) + offset
        if row["n"] >= evidence.FEWEST_SEEDS:
            axes.plot([row["low"], row["high"]], [y, y], color=colour, lw=1.6)
            axes.plot(row["estimate"], y, mark, color=colour, ms=5)
            if row["high"] > SHOWN[1] or row["low"] < SHOWN[0]:
                write_at_the_edge(axes, y, f"{row['estimate']:.1f} ({row['low']:.1f} to {row['high']:.1f})", colour)
        else:
            each = [float(d) for d in row["each"].split()]
            axes.plot(each, [y] * len(each), mark, color=colour, ms=5, mfc="none")
            if beyond := [f"{d:.1f}" for d in each if not SHOWN[0] <= d <= SHOWN[1]]:
                write_at_the_edge(axes, y, ", ".join(beyond), colour)
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
            hollow = here["n"].max() < evidence.FEWEST_SEEDS
            fill, label = "none" if hollow else colour, f"{scale_name(scale)}, {seeds}"
            axes.plot([], [], mark, color=colour, mfc=fill, label=label)
    single = (frame["n"] < evidence.FEWEST_SEEDS).any()
    marks = "; hollow: single seeds, too few for an interval" if single else ", with 95 % intervals"
    axes.set_title(f"One thing changed{marks}")
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    clear = frame[(frame["low"] > 0) | (frame["high"] < 0)]
    alt = f"Test error of {len(frame)} changed nets above their baseline's. Intervals that leave out 0: " + "; ".join(
        f"{row.arm} ({row.scale}) {row.estimate:.1f}" for row in clear.itertuples()
    )
    return Drawing(figure, frame.round(4), alt)
