"""Figures 3 and 4 of the paper, from recorded nets."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from paperlib.data import known, sets
from paperlib.data.augment import Augmenter
from paperlib.data.images import Dataset
from paperlib.errors import PaperlibError
from paperlib.evidence import store, weights
from paperlib.evidence.conv1 import colour_index
from paperlib.experiments import declared, form
from paperlib.figures.style import PALETTE, SCALE_NAMES, Drawing, nothing_yet, scale_name, use_style
from paperlib.nets.sizes import FULL_SIZES
from paperlib.training import evaluate, records

# ---------------------------------------------------------------------------------------------------------
# Figure 3: the kernels of conv1, tower by tower


def as_picture(kernel: Tensor) -> Tensor:
    """A kernel (3, h, w) as a picture (h, w, 3) between 0 and 1: its lowest weight black, its highest white."""
    low, high = kernel.min(), kernel.max()
    return ((kernel - low) / (high - low).clamp(min=1e-12)).permute(1, 2, 0)


def draw_kernel(axes: Axes, kernel: Tensor, index: float, x: float, y: float) -> None:
    """A kernel (3, h, w) in the unit square right of ``x`` and below ``y``, and its index of colour below it."""
    axes.imshow(as_picture(kernel).numpy(), extent=(x, x + 1, y + 1, y))
    axes.text(x + 0.5, y + 1.08, f"{index:.2f}", ha="center", va="top", fontsize=8)


def without_axes(axes: Axes, width: float, height: float) -> None:
    """Room for pictures from (0, 0), the upper left corner, to (``width``, ``height``)."""
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set_visible(False)


PITCH, LINE = 1.1, 1.5
"""From one picture to the next beside it, and from one line of kernels to the next, in sides of a picture."""


def kernels_of(experiment: form.Experiment, arm: str) -> dict[int, Tensor]:
    """Seed -> kernels of conv1 (K, 3, h, w), for the seeds whose weights are recorded."""
    runs = store.records_of(experiment.name, experiment.scale)
    nets = {seed: weights.kept(store.run_of(lines)) for of, seed, lines in runs if of == arm}
    return {seed: net.tensors["conv1.weight"].float() for seed, net in nets.items() if net}


def fig3() -> Drawing:
    """Figure 3 of the paper, for the net of the longest full training that is recorded."""
    experiment = declared.FULL_TINY
    if not (found := store.longest(experiment.name, experiment.scale)):
        use_style()
        return nothing_yet(f"net of experiment {experiment.name}", ["tower", "kernel", "colour_index"])
    return fig3_of(weights.checkpoint(store.weights_of(found[2][0])))


def kernels_by_seed() -> Drawing:
    """The kernels of conv1 of five nets on colour patches, tower by tower, one line per seed."""
    use_style()
    found = kernels_of(declared.COLOUR, "baseline")
    if not found:
        return nothing_yet("net of experiment colour", ["seed", "tower", "kernel", "colour_index"])
    count = len(next(iter(found.values())))
    half, gap, rows = count // 2, 0.5, []
    figure, axes = plt.subplots(figsize=(8.6, 0.72 * len(found) + 1.1))
    for line, (seed, kernels) in enumerate(found.items()):
        for number, (kernel, index) in enumerate(zip(kernels, colour_index(kernels).tolist(), strict=True)):
            tower = number // half
            draw_kernel(axes, kernel, index, PITCH * number + gap * tower, LINE * line)
            rows.append({"seed": seed, "tower": 1 + tower, "kernel": number, "colour_index": index})
    frame = pd.DataFrame(rows)
    without_axes(axes, PITCH * count + gap, LINE * len(found))
    axes.set_yticks([LINE * line + 0.5 for line in range(len(found))], [f"seed {seed}" for seed in found], fontsize=9)
    axes.tick_params(length=0)
    for tower in (0, 1):
        axes.text((PITCH * half + gap) * tower, -0.15, f"tower {1 + tower}", fontsize=10, va="bottom")
    means = frame.groupby(["seed", "tower"])["colour_index"].mean().unstack()
    figure.suptitle(
        f"Kernels of conv1, {SCALE_NAMES['photos']}; below each its index of colour, 0 grey to 1", x=0.01, ha="left",
        fontsize=11,
    )  # fmt: skip
    alt = f"The {count} kernels of conv1 of {len(found)} nets. Mean index of colour in the two towers: " + "; ".join(
        f"seed {seed}: {one:.3f} and {two:.3f}" for seed, one, two in means.itertuples()
    )
    apart = (means[1] - means[2]).abs()
    caption = f"A tower's mean index is {means.min().min():.2f} to {means.max().max():.2f} (noise: 0.67). "
    caption += f"The two towers of a net lie {apart.min():.2f} to {apart.max():.2f} apart."
    return Drawing(figure, frame.round(4), alt, caption)


def has_towers_of_colour(found: weights.Checkpoint) -> bool:
    """Whether Figure 3 can be drawn of this net."""
    return (
        "conv1.weight" in found.tensors and found.run.recipe.model.net == "two_tower" and found.run.sizes.channels == 3
    )


def updates_of(found: weights.Checkpoint) -> str:
    """How many updates made this net, in words: its run's, and those of the recorded runs that it starts from."""
    known, starts = store.recorded(), found.run.starts
    if any(run.id not in known for run in starts):
        return f"{found.step:,} updates of its last run"
    updates = found.step + sum(records.of_kind(known[run.id], "end")[0]["steps"] for run in starts)
    return f"{updates:,} updates"


def data_of(found: weights.Checkpoint) -> str:
    """What a net was trained on, for a title."""
    return scale_name(found.scale, found.run.sizes != FULL_SIZES) if found.scale in SCALE_NAMES else found.scale


ACROSS = 12  # Kernels in a line


def fig3_of(found: weights.Checkpoint) -> Drawing:
    """Figure 3 of the paper for one net. Raises :class:`PaperlibError` where it has no towers, or sees no colour."""
    use_style()
    if not has_towers_of_colour(found):
        raise PaperlibError("Figure 3 needs a net of two towers trained on colour images; name another checkpoint")
    kernels = found.tensors["conv1.weight"].float()
    half = len(kernels) // 2
    lines, rows = -(-half // ACROSS), []
    figure, panels = plt.subplots(2, 1, figsize=(0.72 * ACROSS, 2 * (0.9 * lines + 0.35) + 0.4))
    for tower, (part, axes) in enumerate(zip(kernels.split(half), panels, strict=True)):
        indices = colour_index(part).tolist()
        for number, (kernel, index) in enumerate(zip(part, indices, strict=True)):
            draw_kernel(axes, kernel, index, PITCH * (number % ACROSS), LINE * (number // ACROSS))
            rows.append({"tower": 1 + tower, "kernel": tower * half + number, "colour_index": index})
        without_axes(axes, PITCH * ACROSS, LINE * lines)
        axes.set_title(f"tower {1 + tower}: mean {sum(indices) / half:.2f}", fontsize=10)
    frame = pd.DataFrame(rows)
    one, two = frame.groupby("tower")["colour_index"].mean()
    freeze = found.run.first.recipe.optim.freeze_conv1
    frozen = f" (frozen after epoch {freeze[1]})" if freeze and found.epochs > freeze[1] else ""
    scale = data_of(found)
    title = f"Kernels of conv1 after {updates_of(found)}{frozen}, {scale}; below: index of colour"
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    alt = (
        f"The {2 * half} kernels of conv1 of one net, {scale}. Mean index of colour, from 0 grey to 1: "
        f"{one:.2f} in tower 1, {two:.2f} in tower 2."
    )
    caption = f"The mean index of colour is {one:.2f} in tower 1 and {two:.2f} in tower 2."
    return Drawing(figure, frame.round(4), alt, caption)


# ---------------------------------------------------------------------------------------------------------
# Figure 4: five best labels, and nearest neighbours

SHOWN, QUERIES = 8, 5
"""Figure 4 has eight test images on the left and five on the right; ours are the first of the test set."""


def draw_picture(axes: Axes, image: Tensor, x: float = 0, y: float = 0, right: bool | None = None) -> None:
    """An image uint8 (C, h, w) in the unit square right of ``x`` and below ``y``.

    Its frame has one colour where ``right``, another where not.
    """
    axes.imshow(image.permute(1, 2, 0).squeeze(-1).numpy(), cmap="Greys", extent=(x, x + 1, y + 1, y))
    colour = {True: PALETTE[2], False: PALETTE[3], None: "#bbbbbb"}[right]
    width, dashes = 0.8 if right is None else 2.2, "--" if right is False else "-"
    axes.add_patch(Rectangle((x, y), 1, 1, fill=False, color=colour, lw=width, ls=dashes, clip_on=False))


def draw_labels(axes: Axes, probabilities: Tensor, classes: Sequence[str], label: int) -> None:
    """The five most probable classes as bars, the right one in another colour."""
    best = probabilities.topk(5)
    names = [classes[i] for i in best.indices]
    colours = [PALETTE[2] if i == label else "#b0b0b0" for i in best.indices.tolist()]
    axes.barh(range(5), best.values.tolist(), color=colours)
    for y, name in enumerate(names):
        axes.text(0.02, y, name, va="center", fontsize=7.5)
    axes.set(xlim=(0, 1), ylim=(4.6, -0.6), xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set_visible(False)


def fig4(trained: tuple[nn.Module, Augmenter] | None = None) -> Drawing:
    """Figure 4 of the paper on the sample, for the recorded net of seed 0 or for ``trained``: :func:`pictures`."""
    sample = sets.load("sample")
    if not trained and declared.NET.run("baseline", 0, sample.fingerprint).id not in store.recorded():
        use_style()
        return nothing_yet("net of experiment net", ["part", "query", "rank", "label", "value", "right"])
    return pictures(*(trained or weights.recorded(declared.NET, "baseline", 0, sample)), sample, scale_name("sample"))


def fig4_of(found: weights.Checkpoint) -> Drawing:
    """Figure 4 of the paper for any net, with images of its data set, which must be here.

    Raises :class:`PaperlibError` where it is missing, another copy, or too large for the memory.
    """
    if found.scale not in known.TRAIN_IMAGES:
        raise PaperlibError(f"Figure 4 holds all training images in memory, and so is not drawn at scale {found.scale}")
    return pictures(*found.on(sets.load(found.scale)), data_of(found))


def pictures(net: nn.Module, augmenter: Augmenter, dataset: Dataset, trained_on: str) -> Drawing:
    """Above, the first test images with the five most probable labels. Below, for some of them, the six nearest
    training images: by features (Euclidean distance in fc7), and by pixels.
    """
    use_style()
    images, labels, names = dataset.test_images[:SHOWN], dataset.test_labels[:SHOWN], sets.shown_classes(dataset)
    probabilities = evaluate.predict(net, augmenter, images, views=10)
    figure = plt.figure(figsize=(8.6, 7.2))
    (upper,), (lower,) = figure.subfigures(2, 1, squeeze=False, height_ratios=(1, 1.25))
    rows = []
    panels = upper.subplots(2, SHOWN, height_ratios=(1, 1.1))
    for column, (image, label, scores) in enumerate(zip(images, labels.tolist(), probabilities, strict=True)):
        draw_picture(panels[0, column], image)
        without_axes(panels[0, column], 1, 1)
        panels[0, column].set_title(names[label], fontsize=8, loc="center")
        draw_labels(panels[1, column], scores, names, label)
        rows += [
            {"part": "labels", "query": column, "rank": rank + 1, "label": names[i],
             "value": 100 * float(scores[i]), "right": i == label}
            for rank, i in enumerate(scores.topk(5).indices.tolist())
        ]  # fmt: skip
    k = weights.NEIGHBOURS
    axes = lower.subplots()
    bank, queries = (evaluate.features(net, augmenter, x) for x in (dataset.train_images, images[:QUERIES]))
    found = {
        "features": evaluate.neighbours(queries, bank, k),
        "pixels": evaluate.neighbours(images[:QUERIES], dataset.train_images, k),
    }
    columns = {"features": 1.3, "pixels": 1.6 + PITCH * k}
    for line in range(QUERIES):
        draw_picture(axes, images[line], 0, PITCH * line)
        for space, (distances, indices) in found.items():
            for rank, (square, i) in enumerate(zip(distances[line].tolist(), indices[line].tolist(), strict=True)):
                right = bool(dataset.train_labels[i] == labels[line])
                draw_picture(axes, dataset.train_images[i], columns[space] + PITCH * rank, PITCH * line, right)
                rows.append(
                    {"part": space, "query": line, "rank": rank + 1, "label": names[dataset.train_labels[i]],
                     "value": square**0.5, "right": right}
                )  # fmt: skip
    without_axes(axes, columns["pixels"] + PITCH * k, PITCH * QUERIES)
    titles = ((0, "test"), (columns["features"], "nearest by features (fc7)"), (columns["pixels"], "nearest by pixels"))
    for x, title in titles:
        axes.text(x, -0.15, title, fontsize=9, va="bottom")
    frame = pd.DataFrame(rows)
    agree = {space: int(frame[frame["part"] == space]["right"].sum()) for space in found}
    first = int(frame[(frame["part"] == "labels") & (frame["rank"] == 1)]["right"].sum())
    figure.suptitle(
        f"A small net on {trained_on}. Frame: same label (green) or another (orange, dashed)",
        x=0.01, ha="left", fontsize=11,
    )  # fmt: skip
    alt = (
        f"Above, {SHOWN} test images with their five most probable labels; the best one is right for {first}. Below, "
        f"{QUERIES} test images with their {k} nearest training images: of {QUERIES * k} by features "
        f"{agree['features']} have the right label, by pixels {agree['pixels']}."
    )
    caption = f"Of {QUERIES * k} neighbours {agree['features']} are right by features, {agree['pixels']} by pixels."
    return Drawing(figure, frame.round(1), alt, caption)
