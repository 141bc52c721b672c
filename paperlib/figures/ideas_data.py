"""The pictures of notebook 01: sizes of data sets, an image prepared, shifted images, error against images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from PIL import Image
from torch import Tensor

from paperlib.data import images
from paperlib.evidence import decide, metrics
from paperlib.experiments import declared
from paperlib.figures.style import PALETTE, Drawing, nothing_yet, subplots, use_style

NET_STYLES = {"convolutional": ("-", PALETTE[0]), "fully connected": ("--", PALETTE[1])}


def set_sizes(counts: Mapping[str, int]) -> Drawing:
    """Numbers of images on a logarithmic axis, the smallest set at the bottom."""
    ordered = sorted(counts, key=lambda name: counts[name])
    figure, axes = subplots(figsize=(7.2, 3))
    axes.plot([counts[name] for name in ordered], ordered, "o", color=PALETTE[0])
    axes.set(xscale="log", xlabel="images (logarithmic scale)", xlim=(5e3, 1e8))
    for place, name in enumerate(ordered):
        axes.text(counts[name] * 1.25, place, f"{counts[name]:,}", va="center", fontsize=8)
    alt = "Numbers of images: " + ", ".join(f"{name} {counts[name]:,}" for name in ordered) + "."
    return Drawing(figure, pd.DataFrame({"set": ordered, "images": [counts[name] for name in ordered]}), alt)


def preparation(photo: Image.Image, size: int = 256) -> Drawing:
    """A photograph, the same with a shorter side of ``size`` and the square marked, the square, and all squashed."""
    shorter = min(photo.size)
    scaled = photo.resize([round(side * size / shorter) for side in photo.size], Image.Resampling.BILINEAR)
    square = images.prepare(photo, size).permute(1, 2, 0).numpy()
    corner = [(side - size) // 2 for side in scaled.size]
    figure, panels = subplots(1, 4, figsize=(9.4, 2.5), width_ratios=(1.5, 1.5, 1, 1))
    shown = {
        f"as it comes, {photo.width} × {photo.height}": photo, f"shorter side {size}": scaled,
        "central square": square, "not so: squashed": photo.resize((size, size), Image.Resampling.BILINEAR),
    }  # fmt: skip
    pictures(panels, shown.values(), list(shown))
    panels[1].add_patch(Rectangle((corner[0], corner[1]), size - 1, size - 1, fill=False, color="white", lw=2, ls="--"))
    alt = (
        f"A photograph; the same scaled to a shorter side of {size} pixels with the central square marked; that "
        "square; and, for comparison, the whole photograph squashed into a square."
    )
    lost = 100 * (1 - shorter / max(photo.size))
    caption = f"{lost:.0f} % of this photograph is cut off and never seen, in training or at test."
    return Drawing(figure, pd.DataFrame({"picture": list(shown)}), alt, caption)


def pictures(panels: Iterable[Axes], shown: Iterable[Any], titles: Iterable[str], **style: Any) -> None:
    """One picture a panel, without axes."""
    for axes, picture, title in zip(panels, shown, titles, strict=True):
        axes.imshow(picture, **style)
        axes.set_title(title, fontsize=9)
        axes.axis("off")


def mean_subtracted(image: Tensor, mean: Tensor) -> Drawing:
    """A grey image (H, W), the mean image, and their difference, which has both signs."""
    figure, panels = subplots(1, 3, figsize=(7.6, 2.7))
    difference = image.float() - mean
    for axes, picture, title in zip(
        panels, (image, mean, difference), ("an image", "the mean image", "their difference"), strict=True
    ):
        signed = picture is difference
        drawn = axes.imshow(picture.numpy(), cmap="PuOr" if signed else "Greys", vmin=-255 if signed else 0, vmax=255)
        axes.set_title(title, fontsize=9)
        axes.axis("off")
        figure.colorbar(drawn, ax=axes, shrink=0.8, label="grey levels")
    alt = "A grey image, the mean of the training images, and their difference, which has both signs."
    caption = f"What the net sees has both signs: {difference.min():.0f} to {difference.max():+.0f} grey levels."
    return Drawing(figure, pd.DataFrame({"difference": difference.flatten().numpy()}), alt, caption)


def moved(pictures_: Tensor, pixels: int) -> Tensor:
    """Images (B, C, H, W) moved to the right by some pixels; what leaves is lost, what enters is 0."""
    return F.pad(pictures_, (pixels, 0))[..., : pictures_.shape[-1]]


def shifted(image: Tensor, errors: pd.DataFrame) -> Drawing:
    """One image (1, H, W) moved to the right, above the errors of nets on all images moved so far.

    ``errors``: columns net, pixels, test_error (per cent).
    """
    use_style()
    steps = sorted(errors["pixels"].unique())
    figure = plt.figure(figsize=(7.6, 4.6))
    parts: Any = figure.subfigures(2, 1, height_ratios=(1, 2.2))
    above, below = parts
    shown = [moved(image[None], int(s))[0, 0] for s in steps]
    panels = above.subplots(1, len(steps))
    pictures(panels, shown, [f"moved by {s}" for s in steps], cmap="Greys", vmin=0, vmax=255)
    for axes in panels:  # a frame, without which a shift cannot be seen
        axes.set(xticks=[], yticks=[])
        axes.axis("on")
        axes.spines[:].set_visible(True)
    axes = below.subplots()
    for net, of_net in errors.groupby("net", sort=False):
        dashes, colour = NET_STYLES[str(net)]
        axes.plot(of_net["pixels"], of_net["test_error"], dashes, marker="o", color=colour, label=net)
    axes.set(xlabel="test images moved by (pixels)", ylabel="test error (%)", ylim=(0, 90), xticks=steps)
    axes.axhline(90, color="#555555", lw=0.8)
    axes.set_title("Live, one seed, sample (proxy); guessing has 90 %")
    axes.legend()
    alt = (
        "Above, a garment moved to the right pixel by pixel. Below, the test error of a convolutional and a fully "
        "connected net against the shift: both rise, the fully connected net's much faster."
    )
    return Drawing(figure, errors, alt)


def against_images(points: Sequence[Mapping[str, float]]) -> Drawing:
    """Error on the training images and on test images against their number, the gap shaded.

    Each point has images, train_error, test_error (per cent).
    """
    errors = pd.DataFrame(points)
    figure, axes = subplots(figsize=(6.6, 3.6))
    axes.fill_between(errors["images"], errors["train_error"], errors["test_error"], color="#e2e2e2", label="the gap")
    axes.plot(errors["images"], errors["test_error"], "s--", color=PALETTE[3], label="on 2,000 test images")
    axes.plot(errors["images"], errors["train_error"], "o-", color=PALETTE[0], label="on the training images")
    number_axis(axes, list(errors["images"]))
    axes.set(ylabel="error of the finished net (%)", ylim=(-1, None))
    axes.set_title("Live, one seed, sample (proxy), no regularisation")
    axes.legend()
    alt = (
        "Error against the number of training images. On the training images it begins at zero and rises; on test "
        "images it falls; the gap between them narrows."
    )
    return Drawing(figure, errors, alt)


def continued(points: Sequence[Mapping[str, float]], until: int) -> Drawing:
    """Test errors against the number of training images, continued in two ways to ``until`` images.

    One way loses the same number of points with each tenfold of images, the other the same share.
    """
    errors = pd.DataFrame(points)
    tens = np.log10(errors["images"])
    slope, start = np.polyfit(tens, errors["test_error"], 1)
    power, scale = np.polyfit(tens, np.log10(errors["test_error"]), 1)
    far = np.linspace(tens.min(), np.log10(until), 60)
    line, law = start + slope * far, 10 ** (scale + power * far)
    figure, axes = subplots(figsize=(6.6, 3.4))
    axes.fill_between(10**far, line, law, color="#e2e2e2")
    axes.plot(10**far, line, ":", color=PALETTE[1], label="the same points for each tenfold")
    axes.plot(10**far, law, "--", color=PALETTE[2], label="the same share for each tenfold")
    axes.plot(errors["images"], errors["test_error"], "s", color=PALETTE[3], label="measured, one seed")
    number_axis(axes, [*map(int, errors["images"]), until])
    axes.set(ylabel="test error (%)", ylim=(0, None), xlabel="training images (logarithmic scale)")
    axes.set_title("Live, sample (proxy); beyond the squares nothing is measured")
    axes.legend()
    alt = f"Test errors of {len(errors)} trainings against their images, continued to {until:,} images by a straight "
    alt += "line and by a power law. Both keep falling, and differ beyond the measured points."
    caption = (
        "Continued as it began, the error would fall far below the last measured one. Nothing here shows that it does."
    )
    frame = pd.DataFrame({"images": 10**far, "line": line, "law": law})
    return Drawing(figure, frame, alt, caption)


def weights_drawn(side: int = 4, k: int = 3) -> Drawing:
    """Which weight connects each unit (a row) to each pixel (a column): of a dense layer, and of one k x k kernel."""
    units = side - k + 1
    dense = np.arange(units**2 * side**2, dtype=float).reshape(units**2, side**2)
    shared = np.full_like(dense, np.nan)
    for top, left, row, column in product(range(units), range(units), range(k), range(k)):
        shared[units * top + left, side * (top + row) + left + column] = k * row + column
    figure, panels = subplots(2, 1, figsize=(7.2, 3.6))
    counts = []
    for axes, weights, name, colours in zip(
        panels, (dense, shared), ("fully connected", "one kernel"), ("viridis", "tab10"), strict=True
    ):
        axes.pcolormesh(weights[::-1], cmap=colours, edgecolors="white", lw=1)
        connections, different = int(np.isfinite(weights).sum()), len(np.unique(weights[np.isfinite(weights)]))
        counts.append(f"{connections} connections and {different} weights")
        axes.set_title(f"{name}: {counts[-1]}", fontsize=9)
        axes.set(xticks=[], yticks=[], ylabel=f"{units**2} units", aspect="equal")
        axes.grid(False)
    panels[1].set_xlabel(f"{side**2} pixels; one colour is one weight")
    alt = (
        f"Two grids of {units**2} units by {side**2} pixels. Fully connected: {counts[0]}, all cells filled, each with "
    )
    alt += f"its own colour. One kernel: {counts[1]}; the same colours return in every row, further right."
    caption = f"A dense layer has {counts[0]}; one {k}×{k} kernel has {counts[1]}, the same in every row."
    return Drawing(figure, pd.DataFrame({"dense": dense.flatten(), "kernel": shared.flatten()}), alt, caption)


def number_axis(axes: Axes, numbers: Sequence[int]) -> None:
    """A logarithmic axis of training images with the numbers that occur."""
    axes.set(xscale="log", xlabel="training images (logarithmic scale)")
    axes.set_xticks(list(numbers), [f"{n:,}" for n in numbers])
    axes.minorticks_off()


def recorded_sizes() -> Drawing:
    """Recorded test error of two nets against the number of training images, and the differences with intervals.

    Hollow diamonds, where they are recorded, are means of nets with four times the updates.
    """
    found = [metrics.results(name, "sample", "test_error").assign(experiment=name) for name in ("size", "size-long")]
    frame = pd.concat([each[each["status"] == "done"] for each in found if len(each)] or found[:1])
    if frame.empty:
        return nothing_yet("run of experiment size", ["net", "images", "test_error"])
    frame = frame.assign(
        net=frame["arm"].str.split().str[0].map({"conv": "convolutional", "mlp": "fully connected"}),
        images=frame["arm"].str.split().str[1].astype(int),
    )
    figure, (axes, differences) = subplots(1, 2, figsize=(9.4, 3.6), width_ratios=(1.5, 1))
    described = []
    frame, longer = frame[frame["experiment"] == "size"], frame[frame["experiment"] == "size-long"]
    for net, of_net in frame.groupby("net"):
        dashes, colour = NET_STYLES[str(net)]
        means = longer[longer["net"] == net].groupby("images")["test_error"].mean()
        if len(means):
            axes.plot(means, "D:", ms=6, mfc="white", color=colour, lw=1, label=f"{net}, four times the updates")
            described += [f"{net}, {n:,} images, four times the updates: {error:.1f} %" for n, error in means.items()]
        means = of_net.groupby("images")["test_error"].mean()
        axes.plot(of_net["images"], of_net["test_error"], ".", ms=6, alpha=0.5, color=colour)
        axes.plot(means, dashes, marker="_", ms=14, color=colour, label=net)
        described += [f"{net}, {n:,} images: {error:.1f} %" for n, error in means.items()]
    axes.set(ylabel="test error (%)")
    axes.set_title(f"Recorded, sample (proxy): {frame['seed'].nunique()} seeds and their mean, 470 updates", fontsize=9)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
    for v in decide.verdicts_of("size", "sample"):
        n, other = int(v.comparison.a.split()[1]), v.comparison.b.split()
        if other == ["mlp", str(n)]:
            differences.errorbar(n, v.estimate, [[v.estimate - v.low], [v.high - v.estimate]], fmt="o", color="#333333")
    differences.axhline(0, color="#555555", lw=0.8)
    differences.set(ylabel="difference (points)", ylim=(-0.5, None))
    differences.set_title("fully connected minus convolutional", fontsize=9)
    for each in (axes, differences):
        number_axis(each, list(declared.EPOCHS_OF))
        each.tick_params(axis="x", labelsize=8)
    both = frame.groupby(["net", "images"])["test_error"].mean().unstack("net")
    lower = int((both["convolutional"] < both["fully connected"]).sum()) if both.shape[1] == 2 else 0
    alt = (
        "Test error against the number of training images, and differences of the nets with intervals. Means: "
        + "; ".join(described)
        + "."
    )
    caption = f"The convolutional net has the lower mean error at {lower} of {len(both)} sizes of the training set."
    frame = pd.concat([frame, longer])
    return Drawing(figure, frame[["experiment", "net", "images", "seed", "test_error"]], alt, caption)


Scores = Callable[[Tensor], Tensor]


def shift_errors(nets: Mapping[str, Scores], shifts: Sequence[int], pictures_: Tensor, labels: Tensor) -> pd.DataFrame:
    """Test error (per cent) of nets, functions from images to scores, on images moved to the right.

    Columns net, pixels, test_error.
    """
    rows = []
    for net, scores in nets.items():
        for pixels in shifts:
            wrong = scores(moved(pictures_, pixels)).argmax(1) != labels
            rows.append({"net": net, "pixels": pixels, "test_error": 100 * float(torch.mean(wrong.double()))})
    return pd.DataFrame(rows)
