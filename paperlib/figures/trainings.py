"""Curves of whole trainings, of the stall at the start, and of overfitting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from textwrap import fill

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.ticker import MaxNLocator

from paperlib.evidence import metrics, store
from paperlib.experiments import declared
from paperlib.experiments.form import Experiment
from paperlib.figures.labels import WORDS, with_rate
from paperlib.figures.style import PALETTE, SCALE_NAMES, Drawing, nothing_yet, scale_name, use_style
from paperlib.training import records, runs

READING = {"source": "the code", "paper": "the text"}
WEIGHTS = {
    "": "source, paper: σ scaled to the full net's signals",
    "/std": "/std: with the other reading's σ",
    "/gaussian": "/gaussian: σ not scaled",
}


def stall() -> Drawing:
    """The running loss of the first updates on Tiny ImageNet, for both readings and three choices of first weights."""
    use_style()
    experiment = declared.STALL
    rows = [
        {"arm": arm, "seed": seed, "update": line["step"], "loss": line["train_loss"], "error": line["train_error"]}
        for arm, seed, lines in store.records_of(experiment.name, experiment.scale)
        for line in records.of_kind(lines, "window")
    ]
    columns = ["arm", "seed", "update", "loss", "error"]
    if not rows:
        return nothing_yet(f"run of experiment {experiment.name}", columns)
    frame = pd.DataFrame(rows, columns=columns)
    guessing = math.log(experiment.sizes.classes)
    there = {e: title for e, title in WEIGHTS.items() if frame["arm"].isin([r + e for r in READING]).any()}
    figure, panels = plt.subplots(1, len(there), figsize=(2.9 * len(there) + 0.7, 3.8), sharey=True, squeeze=False)
    for axes, (ending, title) in zip(panels[0], there.items(), strict=True):
        for reading, name in READING.items():
            here, sigma = frame[frame["arm"] == reading + ending], experiment.recipe(reading + ending).model.init_std
            name = f"{name}, σ = {sigma:g}"
            colour = PALETTE[0] if sigma > 0.01 else PALETTE[1]
            for seed, of_seed in here.groupby("seed"):
                style = "-" if reading == "source" else "--"
                axes.plot(of_seed["update"], of_seed["loss"], style, color=colour, label=name if seed == 0 else None)
                axes.plot(*of_seed[["update", "loss"]].iloc[-1], "o", ms=5, color=colour)  # where the run ends
        axes.axhline(guessing, color="#555555", lw=0.8)
        axes.annotate("guessing", (0, guessing), xycoords=("axes fraction", "data"), xytext=(4, -12),
                      textcoords="offset points", fontsize=9, color="#555555")  # fmt: skip
        axes.set(xlabel="updates", title=fill(title, 28), ylim=(guessing - 0.45, guessing + 0.3))
        axes.legend(loc="lower left", fontsize=9.5)
    panels[0][0].set_ylabel("running training loss (nats)")
    about = "one line per seed, with its end; colour: σ of conv3 to conv5"
    title = f"The first updates, {SCALE_NAMES[experiment.scale]}; {about}; full line: code, dashed: text"
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    last = frame.groupby(["arm", "seed"]).last().groupby("arm")
    alt = f"Running training loss of the first updates; guessing is {guessing:.2f} nats. Last: " + "; ".join(
        f"{arm} {of_arm['loss'].min():.2f} to {of_arm['loss'].max():.2f} ({len(of_arm)} seeds)" for arm, of_arm in last
    )
    found = left_guessing(frame, guessing)
    sigmas = {arm: experiment.recipe(arm).model.init_std for arm in found}
    seeds_of = frame.groupby("arm")["seed"].nunique()
    told = []
    for sigma in sorted({*sigmas.values()}, reverse=True):
        arms = [arm for arm in found if sigmas[arm] == sigma]
        left, runs_of = sum(len(found[arm]) for arm in arms), seeds_of[arms].sum()
        told.append(f"{left} of {runs_of} runs ({len(arms)} arms) with σ = {sigma:g} in conv3 to conv5")
    updates = int(frame["update"].max())
    caption = f"Clearly below the loss of guessing within {updates} updates: {' and '.join(told)}."
    return Drawing(figure, frame.round(4), alt, caption)


def left_guessing(frame: pd.DataFrame, guessing: float) -> dict[str, list[int]]:
    """Arm -> the updates after which each of its seeds had a loss 0.05 nats below ``guessing``, of those that had."""
    below = frame[frame["loss"] < guessing - 0.05].groupby(["arm", "seed"])["update"].min()
    return {str(arm): below[arm].tolist() if arm in below else [] for arm in dict.fromkeys(frame["arm"])}


def late_changes(run: runs.Run) -> dict[int, str]:
    """What is turned off towards the end of a full training (readings 8 and 12): epoch after which -> what."""
    first = run.first
    slow, stop = first.recipe.optim.freeze_conv1 or (None, None)
    events: dict[int, list[str]] = {}
    for epoch, what in (
        (first.recipe.augment.colour_off_epoch, "colour noise off"), (slow, "conv1 slowed"), (stop, "conv1 frozen"),
    ):  # fmt: skip
        if epoch is not None:
            events.setdefault(epoch, []).append(what)
    return {epoch: ", ".join(whats) for epoch, whats in events.items()}


def training(*, as_declared: bool = False) -> Drawing:
    """The longest full training on Tiny ImageNet, or the declared one: errors against epochs, where the rate fell."""
    use_style()
    experiment = declared.FULL_TINY
    columns = ["arm", "seed", "epoch", "lr", "train_error", "validation_error"]
    of_arm = {arm: (seed, lines) for arm, seed, lines in store.records_of(experiment.name, experiment.scale)}
    longest = store.longest(experiment.name, experiment.scale)
    if not (found := of_arm.get("source") if as_declared else longest[1:] if longest else None):
        return nothing_yet(f"run of experiment {experiment.name}", columns)
    seed, lines = found
    epochs = store.epochs_of(lines)
    frame = pd.DataFrame([{"arm": line["arm"], "seed": seed, **{k: line[k] for k in columns[2:]}} for line in epochs])
    figure, axes = plt.subplots(figsize=(8.0, 4.0))
    axes.plot(frame["epoch"], frame["train_error"], "--", color=PALETTE[1], label="training, on the way, with dropout")
    axes.plot(frame["epoch"], frame["validation_error"], "-o", ms=3, color=PALETTE[0], label="held out, centre view")
    for drop in store.drops_of(epochs):
        axes.axvline(drop + 0.5, color="#555555", lw=0.8, ls=":")
        axes.annotate("÷ 10", (drop + 0.5, 0), xycoords=("data", "axes fraction"), xytext=(3, 5),
                      textcoords="offset points", fontsize=9, color="#555555")  # fmt: skip
    late = late_changes(store.run_of(lines))
    for epoch, what in late.items():
        axes.axvline(epoch + 0.5, color="#bbbbbb", lw=0.8, ls="--")
        axes.annotate(what, (epoch + 0.5, 1), xycoords=("data", "axes fraction"), xytext=(3, -4), rotation=90,
                      textcoords="offset points", va="top", fontsize=8, color="#555555")  # fmt: skip
    declared_end = int(frame["epoch"][frame["arm"] != frame["arm"].iloc[-1]].max() if frame["arm"].nunique() > 1 else 0)
    if declared_end:
        axes.axvspan(declared_end + 0.5, len(frame) + 0.5, color=PALETTE[3], alpha=0.12, lw=0, label="decided later")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    lowest = frame[["train_error", "validation_error"]].min().min()
    axes.set(xlabel="epoch", ylabel="top-1 error (%)", ylim=(min(50.0, lowest - 3), 100))
    axes.set_title(f"The whole training, {SCALE_NAMES[experiment.scale]}, one seed")
    axes.legend()
    ends = "; ".join(
        f"{line['views']} view{'s' * (line['views'] > 1)}: {line['top1_error']:.2f} %"
        for line in records.of_kind(lines, "test")
    )
    best = frame["validation_error"].min()
    alt = (
        f"Errors over {len(frame)} epochs; {store.schedule(epochs)}; "
        + "".join(f"{what} after epoch {epoch}; " for epoch, what in late.items())
        + f"the held-out error comes down to {best:.2f} %. "
        f"Official validation set, {ends}"
    )
    if declared_end:
        alt += f". After epoch {declared_end} the training was not the declared one any more"
    caption = f"The held-out error falls to {best:.1f} %."
    if not as_declared:
        caption = ten_views_of(experiment.name, experiment.scale) or caption
    return Drawing(figure, frame.round(4), alt, caption)


def ten_views_of(name: str, scale: str) -> str:
    """The top-1 error in ten views of each recorded run: what was declared, and what was decided later."""
    errors = {
        arm: line["top1_error"]
        for arm, _, lines in store.records_of(name, scale)
        for line in records.of_kind(lines, "test")
        if line["views"] == 10
    }
    words = {"source": "As declared", "by hand": "with the epochs that were decided later"}
    return "; ".join(f"{words[arm]}: {errors[arm]:.2f} % in ten views" for arm in words if arm in errors) + "."


WITH = {
    "baseline": "crops, mirrors, dropout", "no augmentation": "dropout", "no dropout": "crops, mirrors",
    "without both": "neither",
}  # fmt: skip
"""Arm of the trainings on 640 images -> what it has against overfitting."""
BY_RATE = [
    (declared.OVERFIT_FAST, "baseline"), (declared.OVERFIT_FAST, "no dropout, its rate"),
    (declared.OVERFIT_RATE, "dropout, its rate"), (declared.OVERFIT_RATE, "no dropout"),
]  # fmt: skip
"""With and without dropout, at the rate of either: of the same seeds."""


def overfit_by_rate() -> Drawing:
    """:func:`overfit` with and without dropout, both at the rate of either."""
    return overfit(BY_RATE)


def net_of(experiment: Experiment, arm: str) -> str:
    """What an arm has against overfitting, and its learning rate; its own name where the experiment asks of others."""
    if words := WORDS.get((experiment.name, arm)):
        return with_rate(words, experiment.name, arm, experiment.scale)
    if not WITH.keys() >= experiment.arms.keys():
        return arm
    return f"{WITH[arm]}, rate {experiment.recipe(arm).optim.lr:g}"


def overfit(arms: Sequence[tuple[Experiment, str]] = ()) -> Drawing:
    """Errors of the finished nets on their training images and on others, one line per seed; of ``overfit``, or of
    ``arms`` (:data:`BY_RATE`), of which those are drawn that have records.
    """
    use_style()
    columns = ["net", "arm", "seed", "fit_error", "test_error"]
    frames = []
    for experiment, arm in arms or [(declared.OVERFIT, arm) for arm in declared.OVERFIT.arms]:
        frame = metrics.results(experiment.name, experiment.scale, *columns[3:])
        frames.append(frame[frame["arm"] == arm].assign(net=net_of(experiment, arm))[columns])
    frame = pd.concat(frames, ignore_index=True)
    if frame.empty:
        return nothing_yet("run of experiment overfit", columns)
    nets = list(dict.fromkeys(frame["net"]))
    figure, axes = plt.subplots(figsize=(7.6, 0.6 * len(nets) + 1.5))
    for y, net in enumerate(nets):
        of_net = frame[frame["net"] == net]
        step = min(0.12, 0.7 / len(of_net))
        ys = [y + step * (k - (len(of_net) - 1) / 2) for k in range(len(of_net))]
        axes.hlines(ys, of_net["fit_error"], of_net["test_error"], color="#bbbbbb", lw=1)
        marks = (("fit_error", "o", PALETTE[1], "training images"), ("test_error", "s", PALETTE[0], "test images"))
        for column, mark, colour, name in marks:
            axes.plot(of_net[column], ys, mark, color=colour, ms=4.5, label=name if y == 0 else None)
    axes.set(xlabel="top-1 error of the finished net (%)", xlim=(-0.5, None), ylim=(len(nets) - 0.5, -0.5))
    axes.set_yticks(range(len(nets)), nets)
    images = f"{declared.OVERFIT.stop.train_images} training images"
    figure.suptitle(
        f"{images}, {SCALE_NAMES[declared.OVERFIT.scale]}; one line per seed", x=0.01, ha="left", fontsize=11
    )
    axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1), ncols=2)
    means = frame.groupby("net", sort=False)[["fit_error", "test_error"]].mean()
    alt = "Mean errors on the training images and on the test images: " + "; ".join(
        f"{net}: {fit:.1f} and {test:.1f} %" for net, fit, test in means.itertuples()
    )
    gaps = (means["test_error"] - means["fit_error"]).sort_values()
    least, most = gaps.index[0], gaps.index[-1]
    lowest, highest = means["test_error"].min(), means["test_error"].max()
    caption = (
        f"The two errors lie {gaps[least]:.1f} points apart in “{least}” and {gaps[most]:.1f} in “{most}”; "
        f"the test errors are {lowest:.1f} to {highest:.1f} %."
    )
    return Drawing(figure, frame.round(4), alt, caption)


LENGTHS = {
    "baseline": {"augment": "baseline", "longer": "conv 10000", "long": "baseline"},
    "no crops, no mirrors": {"augment": "neither", "longer": "neither", "long": "neither"},
    "no dropout": {"dropout": "no dropout", "longer": "no dropout", "long": "no dropout"},
}
"""A net -> experiments that train it for a few epochs and for some four times as many, and its arm there."""


def longer(*nets: str) -> Drawing:
    """Test errors of the baseline and of ``nets`` (of :data:`LENGTHS`) by the epochs trained: a dot a seed, a line the
    means, a panel a scale, the larger first. What has no records is not drawn.
    """
    use_style()
    measured = metrics.METRICS["test_error"]
    rows = [
        {"scale": scale, "net": net, "epochs": store.run_of(lines).stop.epochs, "seed": seed,
         "test_error": measured(lines)}
        for scale in ("cifar10", "sample") for net in ("baseline", *nets) for name, wanted in LENGTHS[net].items()
        if name in declared.names(scale) for arm, seed, lines in store.records_of(name, scale) if arm == wanted
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    means = frame.groupby(["scale", "net", "epochs"], sort=False)["test_error"].mean().reset_index()
    lengths = {scale: sorted({*frame[frame["scale"] == scale]["epochs"]}) for scale in dict.fromkeys(frame["scale"])}
    figure, panels = plt.subplots(
        1, len(lengths), figsize=(7.6, 3.6), width_ratios=[max(len(each), 1.4) for each in lengths.values()],
        squeeze=False,
    )  # fmt: skip
    for axes, (scale, epochs) in zip(panels[0], lengths.items(), strict=True):
        for k, net in enumerate(("baseline", *nets)):
            seeds, mean = (each[(each["scale"] == scale) & (each["net"] == net)] for each in (frame, means))
            shift = 0.06 * (k - len(nets) / 2)
            axes.plot([epochs.index(e) + shift for e in seeds["epochs"]], seeds["test_error"], "o", ms=4, alpha=0.5,
                      color=PALETTE[k])  # fmt: skip
            axes.plot([epochs.index(e) + shift for e in mean["epochs"]], mean["test_error"], "_-", ms=12, lw=1.6,
                      color=PALETTE[k], label=net)  # fmt: skip
        axes.set_xticks(range(len(epochs)), [f"{each} epochs" for each in epochs])
        axes.set(xlim=(-0.3, len(epochs) - 0.7), title=scale_name(scale))
    panels[0][0].set_ylabel("test error (%)")
    panels[0][-1].legend()
    told = [
        f"{scale_name(scale)}, after {each} epochs: "
        + ", ".join(f"{row.test_error:.1f} % ({row.net})" for row in means.itertuples()
                    if (row.scale, row.epochs) == (scale, each))
        for scale, epochs in lengths.items() for each in epochs
    ]  # fmt: skip
    words = "; ".join(told)
    alt = f"A dot a seed, and lines between the means. Test error on {words}."
    return Drawing(figure, frame.round(4), alt, f"Test error on {words}.")
