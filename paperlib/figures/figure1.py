"""Figure 1: training error against updates, and which part of its setting decides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from paperlib.data import known
from paperlib.evidence import decide, intervals, metrics, store, verdict
from paperlib.evidence.verdict import Verdict
from paperlib.experiments import declared, relu
from paperlib.figures.style import PALETTE, SCALE_NAMES, Drawing, nothing_yet, subplots, use_style
from paperlib.paper import facts
from paperlib.training import records

UNIT_COLOURS = {"relu": PALETTE[0], "tanh": PALETTE[3], "scaled": PALETTE[1], "sigmoid": PALETTE[4]}
UNIT_NAMES = {"relu": "ReLU", "tanh": "tanh", "scaled": "scaled tanh", "sigmoid": "logistic sigmoid"}
UNIT_DASHES = {"relu": "-", "tanh": "--", "scaled": "-.", "sigmoid": ":"}


def curves(name: str, scale: str, arms: Sequence[str]) -> pd.DataFrame:
    """Running training error of recorded runs: arm, seed, epoch (time), train_error (per cent)."""
    rows = []
    for arm, seed, lines in store.records_of(name, scale):
        if arm in arms:
            per_epoch = updates_per_epoch(lines)
            for step, error in zip(*metrics.running_error(lines), strict=True):
                rows.append({"arm": arm, "seed": seed, "epoch": step / per_epoch, "train_error": error})
    return pd.DataFrame(rows, columns=["arm", "seed", "epoch", "train_error"])


def updates_per_epoch(lines: list[records.Line]) -> int:
    """Updates in an epoch of a recorded run; of its first epoch line, or of the data's size where it has none."""
    epochs = records.of_kind(lines, "epoch")
    if epochs:
        return int(epochs[0]["step"]) // int(epochs[0]["epoch"])
    run = store.run_of(lines)
    used = (run.stop.train_images or known.TRAIN_IMAGES[lines[0]["data"]["name"]]) - run.stop.validation
    return used // run.recipe.optim.batch_size


def draw_curves(axes: Axes, frame: pd.DataFrame, threshold: float) -> None:
    """Error against epochs, a thin line a seed; below the threshold a dot where a seed gets there, a row a unit."""
    rows = {unit: threshold * (1 - (i + 1) / (len(UNIT_NAMES) + 1)) for i, unit in enumerate(UNIT_NAMES)}
    for arm, of_arm in frame.groupby("arm", sort=False):
        unit = relu.ARMS[str(arm)].unit
        style: dict[str, Any] = {"color": UNIT_COLOURS[unit], "ls": UNIT_DASHES[unit], "lw": 1.1, "alpha": 0.7}
        for i, (_, seed) in enumerate(of_arm.groupby("seed")):
            axes.plot(seed["epoch"], seed["train_error"], label=UNIT_NAMES[unit] if i == 0 else None, **style)
            below = int((seed["train_error"] > threshold).cummin().sum())  # windows before the first that is not above
            if 0 < below < len(seed):
                ends = seed.iloc[below - 1 : below + 1][::-1]
                arrival = np.interp(threshold, ends["train_error"], ends["epoch"])
                axes.scatter(arrival, rows[unit], s=14, color=UNIT_COLOURS[unit])
    axes.axhline(threshold, color="#555555", lw=0.8)
    axes.annotate(f"{threshold:g} %", (1, threshold), xycoords=("axes fraction", "data"), xytext=(-4, -3), ha="right",
                  va="top", textcoords="offset points", fontsize=9, color="#555555")  # fmt: skip
    axes.set_xlabel("epochs")
    axes.set_ylabel("training error (%)")
    axes.set_ylim(0, 92)
    axes.set_xlim(left=0)
    if len(frame):
        axes.legend(loc="upper right")


def fig1(scale: str = "cifar10", units: str = "all") -> Drawing:
    """Figure 1 of the paper: training error against epochs, in the setting of 2012 and in that of today.

    ``units`` are those to draw, keys of :data:`UNIT_NAMES` with spaces between.
    """
    use_style()
    settings = {"2012": "setting of 2012", "today": "setting of today"}
    wanted = list(UNIT_NAMES) if units == "all" else units.split()
    frame = curves("relu", scale, [arm for arm in relu.FIGURE1_ARMS if relu.ARMS[arm].unit in wanted])
    if frame.empty:
        return replace(
            nothing_yet(f"run of Figure 1 on {SCALE_NAMES[scale]}", list(frame.columns)),
            planned=f"this figure on {SCALE_NAMES[scale]}",
        )
    threshold, named = relu.UNIT_STOPS[scale].threshold or 0.0, facts.FIGURE1.training_error
    figure, panels = plt.subplots(1, 2, figsize=(8.6, 4.0), sharex=True, sharey=True)
    for axes, (setting, title) in zip(panels, settings.items(), strict=True):
        draw_curves(axes, frame[frame["arm"].map(lambda arm: relu.ARMS[arm].setting) == setting], threshold)
        axes.set_title(f"{title}\nto {threshold:g} %: {ratio_text(scale, setting)}")
        if threshold != named:
            axes.axhline(named, color="#999999", lw=0.9, ls="--", zorder=0)
            axes.annotate(f"{named:g} %, the paper's", (1, named), xycoords=("axes fraction", "data"), xytext=(-4, 3),
                          ha="right", textcoords="offset points", fontsize=9, color="#666666")  # fmt: skip
    panels[1].set_ylabel("")
    counts = frame.groupby("arm")["seed"].nunique()
    figure.suptitle(
        f"Four-layer net on {SCALE_NAMES[scale]}; one line per seed, a dot where it reaches {threshold:g} %",
        x=0.01, ha="left", fontsize=11,
    )  # fmt: skip
    alt = (
        f"Training error against epochs on {SCALE_NAMES[scale]}. "
        + ". ".join(f"{title}: {ratio_text(scale, s)}" for s, title in settings.items())
        + f". Runs: {', '.join(f'{arm} {n}' for arm, n in counts.items())}."
    )
    caption = "; ".join(f"in the {title} {ratio_text(scale, s)}" for s, title in settings.items())
    caption = f"To {threshold:g} % training error, {caption}."
    if threshold != named:
        caption += f" To the paper's {named:g} %, in the setting of 2012 {ratio_text(scale, '2012', ('relu-25',))}."
    return Drawing(figure, frame.round(4), alt, caption)


def ratio_text(scale: str, setting: str, names: Sequence[str] = ("relu", "relu-others")) -> str:
    """ "tanh takes x times as long (low to high), n = 3", from the records of the first that has the pair."""
    for v in (v for name in names if name in declared.names(scale) for v in decide.verdicts_of(name, scale)):
        if (relu.ARMS[v.comparison.a], relu.ARMS[v.comparison.b]) == (
            relu.Arm(setting, "relu"),
            relu.Arm(setting, "tanh"),
        ):
            return f"{v.sentence('tanh takes {}').replace(' times', '×')}, n = {v.seeds}"
    return "no pair of runs recorded"


SETTINGS = {
    "2012": "2012", "2012/19pct": "2012, second net", "2012+bias": "2012, biases at the weights' rate",
    "2012+pixels": "2012, standardised pixels", "2012+init": "2012, matched weights", "today": "today",
    "xavier": "today, Xavier's weights",
}  # fmt: skip
"""Setting and net of a pair of ReLU and tanh -> its name."""


def pairs(scale: str) -> list[tuple[str, Verdict]]:
    """The recorded pairs of ReLU and tanh, a setting each (key of :data:`SETTINGS`), in the order of that table."""
    found = dict[str, Verdict]()
    for name in ("relu", "relu-others", "relu-parts", "relu-19pct", "relu-xavier"):
        for v in decide.verdicts_of(name, scale) if name in declared.names(scale) else ():
            if relu.ARMS[v.comparison.b].unit == "tanh":
                net = "/19pct" * v.comparison.a.endswith("/19pct")
                found.setdefault(relu.ARMS[v.comparison.a].setting + net, v)
    return [(s, found[s]) for s in SETTINGS if s in found]


THRESHOLDS = (40, 35, 30, 27, 25, 23, 21, 20)


def relu_thresholds(scale: str = "sample") -> Drawing:
    """How many times as long tanh takes as ReLU to each of several training errors, from the runs to the last of them.

    Intervals are Welch's, of 95 %, each for itself.
    """
    chosen = [(s, v) for s, v in pairs(scale) if s in ("2012", "2012+bias", "2012/19pct", "today")]
    rows = []
    for place, v in chosen:
        of = {arm: [lines for a, _, lines in store.records_of(v.experiment, scale) if a == arm]
              for arm in (v.comparison.a, v.comparison.b)}  # fmt: skip
        for threshold in THRESHOLDS:
            a, b = ([metrics.updates_to(lines, threshold) for lines in runs] for runs in of.values())
            found = intervals.of_log_ratio(a, b, verdict.ALPHA)
            rows.append((place, threshold, *np.exp([found.estimate, found.low, found.high])))
    frame = pd.DataFrame(rows, columns=["setting", "threshold", "ratio", "low", "high"])
    if frame.empty:
        return nothing_yet(f"comparison of ReLU and tanh on {SCALE_NAMES[scale]}", list(frame.columns))
    figure, axes = subplots(figsize=(7.6, 3.9))
    styles = zip(PALETTE, "osD^", frame.groupby("setting", sort=False), strict=False)
    for i, (colour, marker, (setting, of_setting)) in enumerate(styles):
        x, y = of_setting["threshold"] + 0.3 * (i - 1.5), of_setting["ratio"]
        ends = [y - of_setting["low"], of_setting["high"] - y]
        axes.errorbar(x, y, ends, fmt=f"-{marker}", color=colour, ms=5, elinewidth=0.9, label=SETTINGS[str(setting)])
    axes.axhline(1, color="#555555", lw=0.8)
    for at, whose in ((facts.FIGURE1.training_error, "the paper's"), (THRESHOLDS[-1], "ours")):
        axes.axvline(at, color="#999999", lw=0.9, ls="--", zorder=0)
        axes.annotate(whose, (at, 0.03), xycoords=("data", "axes fraction"), xytext=(3, 0), fontsize=9,
                      textcoords="offset points", color="#666666")  # fmt: skip
    axes.set_yscale("log")
    axes.set_yticks(ticks := [0.5, 0.7, 1, 1.4, 2], [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.set(xlim=(41.5, 18.5), xlabel="training error at which the race is stopped (%)",
             ylabel="updates of tanh / of ReLU", title=f"{SCALE_NAMES[scale]}; above 1 ReLU is faster")  # fmt: skip
    axes.legend(fontsize=8.5, loc="upper left")
    first = frame[frame["setting"] == chosen[0][0]].set_index("threshold")["ratio"]
    ratios = frame.pivot(index="setting", columns="threshold", values="ratio")
    count = int((ratios[20] > ratios[40]).sum())
    better = f"In {count} of {len(ratios)} settings ReLU does better at 20 % than at 40 %"
    told = ", ".join(f"{first[t]:.2f} to {t} %" for t in (40, 30, 25, 20))
    alt = f"Ratio of the times of tanh and ReLU against the training error. In the setting of 2012: {told}."
    caption = f"{better}. Ratios in the setting of 2012: {told}."
    return Drawing(figure, frame.round(4), alt, caption)


def relu_parts(scale: str = "sample") -> Drawing:
    """How many times as long tanh takes as ReLU, in the setting of 2012, with one part of it changed, and today."""
    use_style()
    settings, shown = SETTINGS, pairs(scale)
    rows = [{"setting": s, **{k: getattr(v, k) for k in ("estimate", "low", "high", "n", "bound")}} for s, v in shown]
    frame = pd.DataFrame(rows, columns=["setting", "estimate", "low", "high", "n", "bound"])
    if frame.empty:
        return nothing_yet(f"comparison of ReLU and tanh on {SCALE_NAMES[scale]}", list(frame.columns))
    figure, axes = plt.subplots(figsize=(7.6, 3.4))
    for y, (_, v) in enumerate(shown):
        if not v.has_value:
            continue
        if not v.bound:
            axes.plot([v.low, v.high], [y, y], color=PALETTE[0], lw=2)
        axes.plot(v.estimate, y, {"lower": ">", "upper": "<"}.get(v.bound, "o"), ms=7, color=PALETTE[0])
    axes.axvline(1, color="#555555", lw=0.8)
    axes.axvline(facts.FIGURE1.times_faster, color=PALETTE[3], lw=0.9, ls="--")
    axes.annotate("the paper", (facts.FIGURE1.times_faster, 1), xycoords=("data", "axes fraction"), xytext=(4, -10),
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
    axes.set_yticks(range(len(shown)), [settings[s] for s, _ in shown])
    seeds = " or ".join(dict.fromkeys(v.seeds for _, v in shown))
    axes.set_title(
        f"Time to {relu.UNIT_STOPS[scale].threshold:g} % training error, {SCALE_NAMES[scale]}, n = {seeds}", x=-0.4
    )
    alt = f"Ratio of the times of tanh and ReLU on {SCALE_NAMES[scale]}: " + "; ".join(
        f"{settings[s]}: {v.text}" for s, v in shown
    )
    sides: dict[str, list[str]] = {"ReLU is faster": [], "tanh is faster": [], "not decided": []}
    for s, v in shown:  # by the interval or bound, whatever a claim asks
        low, high = {"lower": (v.estimate, math.inf), "upper": (0.0, v.estimate)}.get(v.bound, (v.low, v.high))
        sides[[*sides][0 if low > 1 else 1 if high < 1 else 2]].append(f"“{settings[s]}”")
    told = "; ".join(f"{side}: {', '.join(those)}" for side, those in sides.items() if those)
    return Drawing(figure, frame.round(4), alt, f"The setting decides. {told[0].upper()}{told[1:]}.")
