"""The pictures of notebook 02: units, signals and gradients by layer at the start, silent units, a race, its slopes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paperlib.data.augment import Augmenter
from paperlib.data.images import Dataset
from paperlib.evidence import metrics
from paperlib.experiments import relu
from paperlib.figures.figure1 import SETTINGS, UNIT_COLOURS, UNIT_DASHES, UNIT_NAMES, updates_per_epoch
from paperlib.figures.style import SCALE_NAMES, Drawing, bars, subplots
from paperlib.nets.layers import ACTIVATIONS, learned_layers
from paperlib.nets.table import build
from paperlib.training.loop import Trained

SETTING_NAMES = {setting: SETTINGS[setting] for setting in ("2012", "2012+pixels", "2012+init", "today")}
"""Settings that differ in what decides: the scale of the pixels, and the initial weights."""


def slopes() -> Drawing:
    """The four units of section 3.1, and their slopes."""
    x = torch.linspace(-5, 5, 401, requires_grad=True)
    figure, (left, right) = subplots(1, 2, figsize=(8.6, 3.2))
    table = {"x": x.detach().numpy()}
    for name, unit in UNIT_NAMES.items():
        y = ACTIVATIONS[relu.UNITS[name]]()(x)
        (slope,) = torch.autograd.grad(y.sum(), x)
        left.plot(x.detach(), y.detach(), color=UNIT_COLOURS[name], ls=UNIT_DASHES[name], label=unit)
        right.plot(x.detach(), slope, color=UNIT_COLOURS[name], ls=UNIT_DASHES[name], label=unit)
        table |= {f"{name} f(x)": y.detach().numpy(), f"{name} slope": slope.numpy()}
    left.set(title="what a unit passes on", xlabel="input x", ylabel="f(x)", ylim=(-2, 3))
    right.set(title="what it does to the gradient", xlabel="input x", ylabel="slope f′(x)", ylim=(-0.05, 1.3))
    left.legend(loc="upper left")
    alt = (
        "Left: ReLU, tanh, scaled tanh and logistic sigmoid. Right: their slopes; those of the last three go to zero "
        "on both sides, that of ReLU is 1 for all positive inputs."
    )
    most = {UNIT_NAMES[unit]: table[f"{unit} slope"].max() for unit in UNIT_NAMES}
    told = ", ".join(f"{name} {slope:.2f}" for name, slope in most.items())
    caption = f"Largest slopes: {told}. Only ReLU's does not fall for large positive inputs."
    return Drawing(figure, pd.DataFrame(table), alt, caption)


def outputs_of(net: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Learned layer -> its output for the images, before what follows it."""
    seen: dict[str, Tensor] = {}
    handles = [
        layer.register_forward_hook(lambda _, inputs, output, name=name: seen.update({name: output}))
        for name, layer in learned_layers(net).items()
    ]
    net(images)
    for handle in handles:
        handle.remove()
    return seen


def signals_of(net: nn.Module, images: Tensor, labels: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Layer -> its pre-activations for the images, and the gradient of the loss with respect to its weights."""
    seen = outputs_of(net, images)
    weights = [layer.weight for layer in learned_layers(net).values()]
    gradients = torch.autograd.grad(F.cross_entropy([*seen.values()][-1], labels), weights)
    return {name: (seen[name].detach(), gradient) for name, gradient in zip(seen, gradients, strict=True)}


def first_signals(images: Dataset, settings: Sequence[str] = tuple(SETTING_NAMES), n: int = 256) -> pd.DataFrame:
    """Signals of untrained nets of Figure 1 on the sample: a row a setting, unit and layer.

    Columns setting, unit, layer, logs (log10 of the sizes of the pre-activations), saturated (share, in per cent, above
    2, where tanh has a slope below 0.071), gradient (root mean square of the gradient of the weights).
    """
    rows = []
    for setting in settings:
        for unit in ("relu", "tanh"):
            recipe = relu.PLAIN.but(**relu.unit_arm(f"{setting}/{unit}", "sample"))
            net = build(recipe.model, relu.UNIT_SIZES["sample"], seed=0)
            see = Augmenter(recipe.augment, relu.UNIT_SIZES["sample"], images.train_images)
            found = signals_of(net, see.test_batch(images.train_images[:n]), images.train_labels[:n])
            for layer, (z, gradient) in found.items():
                size = z.abs().flatten().clamp(min=1e-12)
                rows.append({
                    "setting": setting, "unit": unit, "layer": layer, "logs": size.log10().numpy(),
                    "saturated": 100 * float((size > 2).double().mean()),
                    "gradient": float(gradient.square().mean().sqrt()),
                })  # fmt: skip
    return pd.DataFrame(rows)


def signals(frame: pd.DataFrame) -> Drawing:
    """Histograms of the sizes of pre-activations, a row a layer, a column a setting; where tanh saturates is shaded."""
    settings, layers = frame["setting"].unique(), frame["layer"].unique()[:-1]
    figure, panels = subplots(len(layers), len(settings), figsize=(8.6, 5.2), sharex=True, squeeze=False)
    bins = np.linspace(-7, 4, 56)
    row: Any
    for row in frame[frame["layer"].isin(layers)].itertuples():
        axes = panels[list(layers).index(row.layer)][list(settings).index(row.setting)]
        weights = np.full(len(row.logs), 100 / len(row.logs))
        axes.hist(np.clip(row.logs, -7, 4), bins, weights=weights, histtype="step", color=UNIT_COLOURS[row.unit],
                  ls=UNIT_DASHES[row.unit], lw=1.4)  # fmt: skip
    for i, layer in enumerate(layers):
        for j, setting in enumerate(settings):
            axes = panels[i][j]
            axes.axvspan(math.log10(2), 4, color="#e2e2e2", zorder=0)
            axes.set(yticks=[], xlim=(-7, 4))
            axes.set_xticks([-6, -3, 0, 3], ["10⁻⁶", "10⁻³", "1", "10³"])
            axes.set_title(SETTING_NAMES[setting] if i == 0 else "", fontsize=9)
            axes.set_ylabel(layer if j == 0 else "", rotation=0, ha="right", va="center")
    figure.supxlabel("size of a unit's input |x| (logarithmic scale)", fontsize=10)
    handles = [
        plt.Line2D([], [], color=UNIT_COLOURS[u], ls=UNIT_DASHES[u], label=UNIT_NAMES[u]) for u in ("relu", "tanh")
    ]
    handles.append(plt.Rectangle((0, 0), 1, 1, color="#e2e2e2", label="tanh saturates"))  # type: ignore[arg-type]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize=9)
    alt = (
        "Histograms of the sizes of the units' inputs in four layers and four settings. In the setting of 2012 all are "
        "below 1 and shrink from layer to layer. With standardised pixels they are far smaller still. With matched "
        "weights on pixels from 0 to 255 almost all inputs of conv1 are far into the region where tanh saturates; with "
        "ReLU this holds for all layers, with tanh for the first. In today's setting they are around 1."
    )
    return Drawing(figure, frame.drop(columns="logs").round(6), alt)


def gradients(frame: pd.DataFrame) -> Drawing:
    """Size of the first gradient of each layer's weights, a panel a setting, on one axis."""
    settings = frame["setting"].unique()
    figure, panels = subplots(1, len(settings), figsize=(8.6, 2.9), sharey=True)
    for axes, setting in zip(panels, settings, strict=True):
        for unit, of_unit in frame[frame["setting"] == setting].groupby("unit", sort=False):
            axes.plot(of_unit["layer"], of_unit["gradient"], UNIT_DASHES[str(unit)], marker="o", ms=4,
                      color=UNIT_COLOURS[str(unit)], label=UNIT_NAMES[str(unit)])  # fmt: skip
        axes.set(yscale="log", xlabel="layer")
        axes.set_title(SETTING_NAMES[setting], fontsize=9)
        axes.tick_params(axis="x", rotation=60, labelsize=8)
    panels[0].set_ylabel("first gradient of the weights\n(root mean square)")
    panels[0].legend(fontsize=8)
    alt = (
        "Size of the first gradient by layer. In the setting of 2012 and with standardised pixels tanh gets larger "
        "gradients than ReLU; with matched weights on pixels from 0 to 255 ReLU's are about a thousand times tanh's; "
        "in today's setting ReLU's are several times tanh's."
    )
    return Drawing(figure, frame.drop(columns="logs").round(6), alt)


def silent(net: nn.Module, images: Tensor) -> dict[str, float]:
    """Hidden layer -> share (per cent) of its maps or units whose input is below zero for every image and place."""
    with torch.no_grad():
        *hidden, _ = outputs_of(net, images).items()
    return {name: 100 * float((z.transpose(0, 1).flatten(1) <= 0).all(1).double().mean()) for name, z in hidden}


def silent_units(shares: Mapping[str, Mapping[str, float]]) -> Drawing:
    """Bars of :func:`silent`: setting -> layer -> per cent."""
    figure, axes = subplots(figsize=(7.2, 3.0))
    frame = pd.DataFrame(shares)
    bars(axes, frame.rename(columns=SETTING_NAMES), ylabel="silent maps or units (%)", ylim=(0, 105), legend="small")
    axes.set_title("Live, ReLU, after 26 updates, sample (proxy)")
    alt = "Share of maps or units that are silent for all images, by layer and setting, after 26 updates."
    return Drawing(figure, frame.rename_axis("layer").reset_index(), alt)


def half_the_side(images: Dataset) -> Dataset:
    """Grey images with half the side, each pixel the mean of four: a quarter of the work."""
    train, test = (F.avg_pool2d(every.float(), 2).round().byte() for every in (images.train_images, images.test_images))
    return replace(images, train_images=train, test_images=test)


def race(live: Mapping[str, Trained], threshold: float, scale: str) -> Drawing:
    """Training error of ReLU and tanh, just trained; the ratio of their times to the threshold in the title."""
    figure, axes = subplots(figsize=(7.2, 3.6))
    rows, times = [], {}
    for unit, trained in live.items():
        per_epoch = updates_per_epoch(trained.lines)
        steps, errors = metrics.running_error(trained.lines)
        epochs = np.array(steps) / per_epoch
        axes.plot(epochs, errors, UNIT_DASHES[unit], color=UNIT_COLOURS[unit], marker="o", ms=3, label=UNIT_NAMES[unit])
        times[unit] = metrics.updates_to(trained.lines, threshold) / per_epoch
        if not math.isnan(times[unit]):
            axes.plot([times[unit]] * 2, [0, threshold], color=UNIT_COLOURS[unit], ls=UNIT_DASHES[unit], lw=1)
        rows += [{"unit": unit, "epoch": x, "train_error": y} for x, y in zip(epochs, errors, strict=True)]
    axes.axhline(threshold, color="#555555", lw=0.8)
    axes.set(xlabel="epochs", ylabel="training error (%)", ylim=(0, 92), xlim=(0, None))
    ratio = times["tanh"] / times["relu"]
    how_much = f"tanh takes {ratio:.1f} × as long to {threshold:g} %" if ratio > 0 else "one did not get there"
    axes.set_title(f"{how_much}. Live, one seed, {SCALE_NAMES[scale]}")
    axes.legend()
    alt = "Training error against epochs of the two nets just trained, ReLU and tanh, down to the threshold."
    return Drawing(figure, pd.DataFrame(rows), alt)


def mean_slopes(net: nn.Module, images: Tensor, unit: str) -> dict[str, float]:
    """Hidden layer -> mean slope f′ of its units (a key of :data:`relu.UNITS`), over all images and places."""
    with torch.no_grad():
        *hidden, _ = outputs_of(net, images).items()
    means = {}
    for name, z in hidden:
        (slope,) = torch.autograd.grad(ACTIVATIONS[relu.UNITS[unit]]()(z.requires_grad_()).sum(), z)
        means[name] = float(slope.mean())
    return means


def slopes_of_training(means: Mapping[tuple[str, str], Mapping[str, float]], scale: str) -> Drawing:
    """Bars of :func:`mean_slopes`, a panel an arm: (arm, "before" or "after" training) -> layer -> slope."""
    frame = pd.DataFrame(means)
    arms = [str(arm) for arm in frame.columns.unique(0)]
    figure, panels = subplots(1, len(arms), figsize=(8.8, 3.2), sharey=True)
    for axes, arm in zip(panels, arms, strict=True):
        setting, unit = arm.split("/")
        frame[arm].plot.bar(ax=axes, rot=0, width=0.86, color=["#bbbbbb", UNIT_COLOURS[unit]], edgecolor="white")
        for drawn in axes.containers:
            axes.bar_label(drawn, fmt="%.2f", fontsize=7.5)
        axes.set(
            xlabel="layer",
            ylabel="mean slope f′",
            ylim=(0, 1.35),
            title=f"{UNIT_NAMES[unit]}, {SETTING_NAMES[setting]}",
        )
        axes.grid(axis="x", visible=False)
        axes.legend(
            [f"{when} training" for when in frame[arm]], loc="upper left", ncols=2, fontsize=7.5, columnspacing=1
        )
    figure.suptitle(f"Live, one seed, {SCALE_NAMES[scale]}", x=0.01, ha="left", fontsize=10.5)
    alt = (
        "Bars of the mean slope of the units of each hidden layer, before and after training. Those of tanh are 1 "
        "before it and far lower after it, in conv1 almost 0 on raw pixels and about one half on standardised ones. "
        "Those of ReLU are about one half, before and after."
    )
    rows = [(layer, *key, slope) for key, of_net in means.items() for layer, slope in of_net.items()]
    return Drawing(figure, pd.DataFrame(rows, columns=["layer", "arm", "when", "slope"]).round(4), alt)
