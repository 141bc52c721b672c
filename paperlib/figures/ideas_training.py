"""Section 5 in pictures: the path of momentum, the two rules after a drop, the rate as a staircase, signals."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from paperlib import paper
from paperlib.evidence import decide, metrics, store
from paperlib.experiments import declared
from paperlib.figures.style import PALETTE, SCALE_NAMES, Drawing, bars, subplots
from paperlib.recipe import value_of
from paperlib.training import loop, records

STEEP = 400.0
"""Curvature across the valley that is drawn; along it the curvature is 1."""


def descend(
    momentum: float, rate: float, updates: int, start: tuple[float, float] = (-10.0, 0.5), steep: float = STEEP
) -> np.ndarray:
    """The places (updates + 1, 2) of section 5's rule, without decay, in a valley ``steep`` times steeper across."""
    w, v, path = np.array(start), np.zeros(2), [np.array(start)]
    for _ in range(updates):
        v = momentum * v - rate * np.array([1.0, steep]) * w
        w = w + v
        path.append(w)
    return np.array(path)


def valley_height(path: np.ndarray, steep: float = STEEP) -> np.ndarray:
    """The loss at places (n, 2)."""
    return 0.5 * (path**2 @ np.array([1.0, steep]))


def best_momentum(steep: float) -> float:
    """The momentum for a valley ``steep`` times steeper across; an update then leaves its root of the distance."""
    return ((steep**0.5 - 1) / (steep**0.5 + 1)) ** 2


def race(
    steep: float = STEEP, updates: int = 80, rates: int = 120, momenta: tuple[float, ...] = (0.0, 0.9)
) -> pd.DataFrame:
    """Loss with some momenta at many rates: the largest of the last ten updates, so that no lucky swing counts.

    Columns momentum, rate, loss. The rates, on a logarithmic scale, end where momentum leaves every valley.
    """
    rows = [
        {"momentum": m, "rate": rate, "loss": valley_height(descend(m, rate, updates, steep=steep), steep)[-10:].max()}
        for m in momenta for rate in np.geomspace(0.1 / steep, 4 / steep, rates)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def at_best(of: pd.DataFrame) -> dict[float, tuple[float, float]]:
    """Momentum -> the rate with the lowest loss of a :func:`race`, and that loss."""
    best = of.loc[of.groupby("momentum")["loss"].idxmin()]
    return {float(m): (float(rate), float(loss)) for m, rate, loss in best.to_numpy()}


def momentum_path(updates: int = 80) -> Drawing:
    """Plain descent and momentum of 0.9 in a long valley: the loss at each rate, and the paths at the best rate."""
    frame = race(updates=updates)
    names, best = {0.0: "plain descent", 0.9: "momentum 0.9"}, at_best(frame)
    figure, (left, right) = subplots(1, 2, figsize=(8.8, 3.4), width_ratios=(1, 1.5))
    x, y = np.meshgrid(np.linspace(-11, 5, 200), np.linspace(-0.6, 0.6, 100))
    right.contour(x, y, 0.5 * (x**2 + STEEP * y**2), levels=[0.5, 2, 5, 12, 25, 50], colors="#cccccc", linewidths=0.8)
    for (m, name), colour, mark in zip(names.items(), PALETTE, ("o", "^"), strict=False):
        of_rule = frame[frame["momentum"] == m]
        left.plot(of_rule["rate"], of_rule["loss"], color=colour, label=name)
        left.plot(*best[m], mark, color=colour)
        path = descend(m, best[m][0], updates)
        right.plot(*path.T, "-", marker=mark, ms=3, lw=1, color=colour, label=f"{name}, rate {best[m][0]:.2g}")
    right.plot(0, 0, "k+", ms=10)
    left.set(
        xscale="log", yscale="log", xlabel="learning rate", ylabel=f"loss after {updates} updates", ylim=(1e-3, 1e4)
    )
    left.legend(fontsize=9)
    right.set(
        xlabel="weight along the valley", ylabel="weight across it", title=f"{updates} updates, each at its best rate"
    )
    right.legend(fontsize=9, loc="upper right")
    right.grid(False)
    ends = "; ".join(f"{names[m]} {loss:.2g} at {rate:.2g}" for m, (rate, loss) in best.items())
    alt = (
        f"Left, the loss after {updates} updates in a long valley against the rate: a curve with one lowest point for "
        "each rule. Right, their paths at these rates: plain descent zigzags across the valley and creeps along it, "
        f"momentum swings across in long steps and arrives. Losses at the best rates: {ends}."
    )
    caption = f"After {updates} updates, each at its own best rate, plain descent has a loss of {best[0.0][1]:.0f} and "
    caption += f"momentum of {best[0.9][1]:.2g}."
    return Drawing(figure, frame, alt, caption)


def after_drop(rate: float = 0.01, before: int = 200, after: int = 40) -> Drawing:
    """Steps of the paper's rule and of PyTorch's around a drop of the rate by 10, at a constant gradient of 1."""
    v = u = 0.0
    rows = []
    for i in range(before + after):
        now = rate if i < before else rate / 10
        v, u = 0.9 * v + now, 0.9 * u + 1
        rows.append({"update": i - before + 1, "paper": v / rate, "torch": now * u / rate})
    frame = pd.DataFrame(rows)
    frame["further"] = (frame["paper"] - frame["torch"]).cumsum()
    shown = frame[frame["update"] > -10]
    figure, (steps, further) = subplots(1, 2, figsize=(8.8, 3.2))
    steps.plot(shown["update"], shown["paper"], ".-", color=PALETTE[0], label="the paper's rule")
    steps.plot(shown["update"], shown["torch"], "x-", ms=4, color=PALETTE[1], label="torch.optim.SGD")
    steps.set(ylabel="length (old rate × gradient)", title="one step", ylim=(0, None))
    steps.legend(fontsize=9)
    j = np.arange(1, after + 1)
    formula = 0.9 * 0.9 * (1 - 0.9**j) / 0.1**2
    further.plot(shown["update"], shown["further"], color=PALETTE[0], label="summed")
    further.plot(j, formula, ".", color=PALETTE[3], label="formula")
    further.set(ylabel="further than torch (same unit)", title="all steps since the drop")
    further.legend(fontsize=9)
    for axes in (steps, further):
        axes.axvline(0.5, color="#555555", lw=0.8)
        axes.set_xlabel("updates after the drop", fontsize=9)
    end, limit = float(frame["further"].iloc[-1]), 0.9 * 0.9 / 0.1**2
    alt = "Left, the length of a step: PyTorch's falls to a tenth at once, the paper's by a tenth at each update. "
    alt += f"Right, how much further the paper's rule has gone: it levels off near {limit:.0f} old plain steps."
    caption = "After a drop the paper's velocity fades slowly: "
    caption += f"its rule goes {end:.0f} old plain steps further in {after} updates, {limit:.0f} in the end."
    return Drawing(figure, frame.round(6), alt, caption)


def staircase(errors: list[float], rates: list[float]) -> Drawing:
    """Validation errors of each epoch (%), and the rate of each epoch, on a logarithmic scale."""
    epochs = np.arange(1, len(errors) + 1)
    figure, (upper, lower) = subplots(2, 1, figsize=(7.2, 4.2), sharex=True, height_ratios=(1.3, 1))
    upper.plot(epochs, errors, "o-", ms=4, color=PALETTE[0], label="error of the epoch")
    upper.plot(epochs, np.minimum.accumulate(errors), ":", color="#555555", label="best so far")
    upper.set(ylabel="validation error (%)")
    upper.legend(fontsize=9)
    lower.step(epochs, rates[: len(errors)], where="mid", color=PALETTE[1])
    lower.set(yscale="log", xlabel="epoch", ylabel="learning rate", ylim=(min(rates) / 2, 2 * max(rates)))
    lower.grid(axis="x", visible=False)
    drops = [int(e) for e, now, then in zip(epochs[1:], rates[1 : len(errors)], rates, strict=False) if now < then]
    for drop in drops:
        for axes in (upper, lower):
            axes.axvline(drop - 0.5, color="#999999", lw=0.8, ls="--")
    where = " and ".join(f"epoch {drop}" for drop in drops) or "no epoch"
    alt = f"An error that falls and stalls over {len(errors)} epochs, and the rate below it: divided by ten at {where}."
    caption = f"The rate falls by ten where the best error has not improved for three epochs: at {where}."
    return Drawing(figure, pd.DataFrame({"epoch": epochs, "error": errors, "rate": rates[: len(errors)]}), alt, caption)


def signals(varies: dict[str, dict[str, float]]) -> Drawing:
    """How much the weighted inputs of a fresh net vary from image to image, by layer, a line a way to start."""
    figure, axes = subplots(figsize=(7.6, 3.6))
    for (start, sizes), marker, colour in zip(varies.items(), "os^", PALETTE, strict=False):
        axes.plot(list(sizes), list(sizes.values()), marker=marker, color=colour, label=start)
    axes.set(yscale="log", xlabel="layer", ylabel="std from image to image")
    axes.legend(fontsize=9)
    last = {start: list(sizes.values())[-1] for start, sizes in varies.items()}
    least, most = min(last, key=lambda s: last[s]), max(last, key=lambda s: last[s])
    alt = "How much the weighted input of a unit varies from image to image, layer by layer, for "
    alt += f"{len(varies)} ways to choose the initial weights. In the last layer the order is: " + ", ".join(
        sorted(last, key=lambda s: last[s])
    )
    power = math.floor(math.log10(last[most] / last[least]))
    caption = f"The outputs vary more than {10**power:,} times less with “{least}” than with “{most}”."
    return Drawing(figure, pd.DataFrame(varies), f"{alt}.", caption)


def positive_shares(shares: dict[str, dict[str, float]]) -> Drawing:
    """Share of ReLUs with a positive input in a fresh net (%), by layer, for some choices of biases."""
    figure, axes = subplots(figsize=(7.6, 3.0))
    bars(axes, pd.DataFrame(shares), ylabel="positive inputs of ReLUs (%)", ylim=(0, 100))
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize=9)
    one, zero = shares.values()
    higher = [layer for layer in one if one[layer] > zero[layer] + 1]
    alt = f"Share of ReLUs with a positive input, layer by layer, for {' and '.join(shares)}. Higher with the first in "
    alt += ", ".join(higher)
    caption = f"Biases of 1 give more ReLUs a slope from the start, in {', '.join(higher)}."
    return Drawing(figure, pd.DataFrame(shares), f"{alt}.", caption)


def first_losses(runs: dict[str, loop.Trained], classes: int = 10) -> Drawing:
    """The training loss of some runs against their updates, and the loss of guessing."""
    figure, axes = subplots(figsize=(7.6, 3.4))
    rows = []
    looks = (("o", "-", PALETTE[0]), ("^", "-", PALETTE[2]), ("s", ":", PALETTE[3]))  # the colours of signals()
    for (name, run), (marker, line, colour) in zip(runs.items(), looks, strict=False):
        losses = [window["train_loss"] for window in records.of_kind(run.lines, "window")]
        updates = metrics.running_error(run.lines)[0]
        axes.plot(updates, losses, line, marker=marker, ms=4, color=colour, label=name)
        rows.append({"start": name, "last_loss": losses[-1]})
    axes.axhline(math.log(classes), color="#555555", lw=0.8)
    axes.text(0.02, math.log(classes) - 0.02, "guessing", va="top", fontsize=9, color="#555555",
              transform=axes.get_yaxis_transform())  # fmt: skip
    axes.set(xlabel="updates", ylabel="training loss (nats)")
    axes.legend(fontsize=9, loc="lower left")
    alt = f"Training loss against updates for {', '.join(runs)}; a line marks the loss of guessing, ln {classes}."
    caption = "Weights that are too small leave the loss at that of guessing for longer."
    return Drawing(figure, pd.DataFrame(rows), alt, caption)


def by_arm(name: str, scale: str) -> Drawing:
    """A panel for each recorded comparison of an experiment: a dot for each seed, the means, the interval."""
    found = [v for v in decide.verdicts_of(name, scale) if v.has_value]
    figure, panels = subplots(1, len(found), figsize=(8.8, 2.3), squeeze=False)
    rows, told = [], []
    for axes, v in zip(panels.flat, found, strict=True):
        c, measure = v.comparison, metrics.METRICS[v.comparison.metric]
        frame = metrics.results(name, scale, c.metric)
        for y, arm in enumerate((c.a, c.b)):
            values = frame.loc[frame["arm"] == arm, c.metric]
            axes.plot(values, [y] * len(values), "o", ms=5, alpha=0.6, color=PALETTE[0])
            axes.plot(values.mean(), y, "|", ms=22, mew=2.5, color=PALETTE[3])
            rows += [{"measure": c.metric, "arm": arm, "value": value} for value in values]
        told.append(f"“{c.b}” changes the {measure.heading} by {v.text}, {v.status}")
        axes.set_yticks([0, 1], [c.a, c.b])
        axes.set(xlabel=f"{measure.heading} ({measure.unit})", ylim=(1.5, -0.5))
        axes.set_title(f"{c.b} minus {c.a}: {v.text}", fontsize=9, loc="right")
    caption = f"{SCALE_NAMES[scale]}: {'; '.join(told)}."
    return Drawing(figure, pd.DataFrame(rows), f"One dot per seed, a line for each mean. {caption}", caption)


def switches(scales: tuple[str, ...] = ("sample", "cifar10")) -> pd.DataFrame:
    """The arms of the experiment `readings`: number of the reading, field, its value in baseline and arm, runs."""
    experiment = declared.get("readings", scales[-1])
    number_of = {reading.field: reading.number for reading in paper.READINGS if reading.field}
    records_of = {scale: [arm for arm, _, _ in store.records_of("readings", scale)] for scale in scales}
    rows = []
    for arm, change in list(experiment.arms.items())[1:]:
        ((field, value),) = change.items()
        start = value_of(experiment.recipe("baseline"), field)
        runs = {f"runs, {scale}": arms.count(arm) for scale, arms in records_of.items()}
        rows.append({"arm": arm, "number": number_of[field], "switch": f"`{field}`", "baseline": start,
                     "the arm": value, **runs})  # fmt: skip
    return pd.DataFrame(rows, dtype=object)
