"""Section 4.1 in pictures: crops as a map, the ten views, colour noise, mirrors, and what more images are worth."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.axes import Axes
from torch import Tensor

from paperlib.data import augment
from paperlib.data.images import Dataset
from paperlib.figures.style import PALETTE, Drawing, subplots, use_style
from paperlib.training import evaluate

COLOURS = (PALETTE[0], PALETTE[2], PALETTE[1], PALETTE[4], PALETTE[3])
"""One colour a window."""


def draw_photo(axes: Axes, image: Tensor, title: str = "") -> None:
    """An image (C, h, w) of grey levels, cut off at 0 and 255."""
    axes.imshow(image.float().clamp(0, 255).byte().permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=255)
    axes.set_title(title, fontsize=9)
    axes.axis("off")


def outline(axes: Axes, top: int, left: int, size: int, colour: str) -> None:
    """The border of one window."""
    axes.add_patch(plt.Rectangle((left - 0.5, top - 0.5), size, size, fill=False, color=colour, lw=2))


def crops(picture: Tensor, offsets: Sequence[tuple[int, int]], size: int = 224) -> Drawing:
    """Three crops of a photograph (C, h, w), and a map of all: the share of the crops in which each pixel is seen."""
    side = picture.shape[-1]
    figure, panels = subplots(1, 5, figsize=(9.2, 2.5), width_ratios=(1, 1, 1, 1, 1.25))
    draw_photo(panels[0], picture, f"{side} × {side}")
    windows, mirrored = torch.tensor(offsets), torch.zeros(len(offsets), 2, dtype=torch.bool)
    cut = augment.crop_and_mirror(picture.expand(len(offsets), -1, -1, -1), windows, mirrored, size)
    for window, (top, left), axes, colour in zip(cut, offsets, panels[1:4], COLOURS, strict=False):
        outline(panels[0], top, left, size, colour)
        draw_photo(axes, window)
        axes.set_title(f"row {top}, column {left}", fontsize=9, color=colour)
    seen = share_seen(side, size)
    drawn = panels[4].imshow(seen.numpy(), vmin=0, vmax=100, cmap="viridis")
    panels[4].set_title("in how many crops?", fontsize=9)
    panels[4].axis("off")
    figure.colorbar(drawn, ax=panels[4], label="share of the crops (%)", shrink=0.8)
    always = 100 * float((seen == 100).double().mean())
    frame = pd.DataFrame({"pixel": range(side), "share": seen.diagonal().tolist()})
    alt = (
        f"A photograph with the places of three crops, the crops, and a map of how often a pixel is seen. "
        f"The corner is in {seen[0, 0]:.2f} % of the crops; the middle, {always:.0f} % of the pixels, is in all."
    )
    caption = (
        f"Every crop sees the middle {always:.0f} % of the pixels; a corner is in one crop of {100 / seen[0, 0]:.0f}."
    )
    return Drawing(figure, frame.round(4), alt, caption)


def share_seen(side: int, size: int) -> Tensor:
    """Share (%) of all ``size`` × ``size`` windows of ``side`` × ``side`` pixels that hold each pixel: (side, side)."""
    places = torch.arange(side)
    first, last = (places - size + 1).clamp(min=0), places.clamp(max=side - size)
    along = (last - first + 1).double() / (side - size + 1)
    return 100 * along[:, None] * along[None]


def ten_views(picture: Tensor, size: int = 224, view: int = 0) -> Drawing:
    """The ten views of the test: five windows of a photograph (C, h, w), and below them their mirror images.

    With a ``view`` from 1 to 10 only this one is in full strength.
    """
    side = picture.shape[-1]
    last, middle = side - size, (side - size) // 2
    places = {"top left": (0, 0), "top right": (0, last), "centre": (middle, middle), "bottom left": (last, 0),
              "bottom right": (last, last)}  # fmt: skip
    names = [*places, *(f"{name}, mirrored" for name in places)]
    figure, panels = subplots(2, 6, figsize=(9.2, 3.3))
    draw_photo(panels[0, 0], picture, f"{side} × {side}")
    panels[1, 0].axis("off")
    panels[1, 0].text(1.0, 0.5, "mirrored →", ha="right", va="center", fontsize=9, transform=panels[1, 0].transAxes)
    for i, pixels in enumerate(augment.ten_views(picture[None], size)[:, 0]):
        axes, place, colour = panels[i // 5, 1 + i % 5], list(places)[i % 5], COLOURS[i % 5]
        draw_photo(axes, pixels)
        axes.set_title(place if i < 5 else "", fontsize=9, color=colour)
        axes.images[0].set_alpha(1.0 if view in (0, i + 1) else 0.15)
        if view == i + 1 or (view == 0 and i < 5):
            outline(panels[0, 0], *places[place], size, colour)
    frame = pd.DataFrame([{"view": name, "top": top, "left": left} for name, (top, left) in places.items()])
    alt = f"Five windows of {size} × {size} pixels of a photograph, the four corners and the centre, and their mirrors."
    caption = "Ten views of one image: four corners, the centre, and the mirror image of each."
    return Drawing(figure, frame, alt, f"View {view} of 10: {names[view - 1]}." if view else caption)


STRENGTHS = (-3.0, -1.0, 0.0, 1.0, 3.0)


def colour_components(picture: Tensor, pca: tuple[Tensor, Tensor]) -> Drawing:
    """A photograph (3, h, w) shifted along each of three principal components by five strengths, in 2012's units."""
    figure, panels = subplots(3, len(STRENGTHS), figsize=(9.2, 5.7))
    share, rows = 100 * pca[0] / pca[0].sum(), []
    for component, line in enumerate(panels):
        for axes, strength in zip(line, STRENGTHS, strict=True):
            alphas = torch.zeros(1, 3)
            alphas[0, component] = 0.1 * strength * sign_of(pca[1][:, component])
            shift = augment.colour_shift(alphas, pca, "std")[0]
            levels = ", ".join(f"{round(value):+d}" for value in shift.tolist())
            draw_photo(axes, picture + shift[:, None, None], f"α = {0.1 * strength:+.1f}" if strength else "as it is")
            axes.text(0.5, -0.04, levels, ha="center", va="top", fontsize=8, transform=axes.transAxes)
            rows.append({"component": component + 1, "strength": strength, "levels": levels})
        line[0].text(-0.08, 0.5, f"component {component + 1}\n{share[component]:.1f} % of variance", rotation=90,
                     ha="right", va="center", fontsize=8.5, transform=line[0].transAxes)  # fmt: skip
    figure.supxlabel("below each picture: grey levels added to red, green, blue", fontsize=9)
    alt = (
        "A photograph shifted along each principal component of colour by α of -0.3, -0.1, 0, 0.1 and 0.3, which is up "
        "to three standard deviations of the noise. "
        + (
            "; ".join(
                f"Component {row['component']} at +0.3 adds {row['levels']}" for row in rows if row["strength"] == 3
            )
        )
    )
    caption = (
        f"The first component changes brightness and holds {share[0]:.0f} % of the variance. "
        "The second shifts colours between bluish and reddish, the third hardly shows."
    )
    return Drawing(figure, pd.DataFrame(rows), f"{alt} grey levels to red, green and blue.", caption)


def sign_of(vector: Tensor) -> float:
    """1 where the entry of largest size is positive, else -1: an eigenvector may point either way."""
    return float(vector[vector.abs().argmax()].sign())


def largest_shifts(pca: tuple[Tensor, Tensor], alpha: float = 0.1) -> dict[str, Tensor]:
    """The shift (3,) along the first component, in the three readings of the units; 0.1 is a standard deviation."""
    one = torch.tensor([[alpha, 0.0, 0.0]])
    return {
        "eigenvalue, pixels 0–255": alpha * pca[0][0] * pca[1][:, 0],
        "eigenvalue, pixels 0–1": augment.colour_shift(one, pca, "eigenvalue")[0],
        "square root (2012 code)": augment.colour_shift(one, pca, "std")[0],
    }


def colour_readings(picture: Tensor, pca: tuple[Tensor, Tensor]) -> Drawing:
    """Three standard deviations of colour noise along the first component, in three readings of its units."""
    figure, panels = subplots(1, 4, figsize=(9.2, 3.2))
    draw_photo(panels[0], picture, "as it is")
    shifts = largest_shifts(pca, 0.3)
    for axes, (name, shift) in zip(panels[1:], shifts.items(), strict=True):
        draw_photo(
            axes, picture + (sign_of(shift) * shift)[:, None, None], f"{name}:\n{shift.abs().max():.0f} grey levels"
        )
        outline(axes, 0, 0, picture.shape[-1], "#bbbbbb")
    most = {name: float(shift.abs().max()) for name, shift in shifts.items()}
    frame = pd.DataFrame({"reading": list(most), "grey_levels": list(most.values())})
    alt = "A photograph brightened along the first component, α = 0.3: " + "; ".join(
        f"{name} {levels:.0f} grey levels" for name, levels in most.items()
    )
    literal = most["eigenvalue, pixels 0–255"]
    caption = (
        f"Taken literally on pixels from 0 to 255, the formula at α = 0.3 adds {literal:,.0f} levels: nothing is left."
    )
    return Drawing(figure, frame.round(4), f"{alt}.", caption)


KINDS = ("centre only", "mirrors", "upside down", "crops", "crops and mirrors")


def bank_of(images: Tensor, kind: str, size: int, step: int) -> tuple[Tensor, int]:
    """The views (N·n, C, size, size) that an augmentation makes of images, view by view, and n."""
    side = images.shape[-1]
    places = [(top, left) for top in range(0, side - size + 1, step) for left in range(0, side - size + 1, step)]
    if not kind.startswith("crops"):
        places = [((side - size) // 2,) * 2]
    views = [images[..., top : top + size, left : left + size] for top, left in places]
    if kind.endswith("mirrors"):
        views += [view.flip(-1) for view in views]
    if kind == "upside down":
        views += [view.flip(-2) for view in views]
    return torch.cat(views), len(views)


def nearest_wrong(dataset: Dataset, kind: str, images: int = 300, size: int = 24, step: int = 2) -> tuple[Tensor, int]:
    """Of each of the first 2,000 test images, whether its nearest neighbour by pixels has another label: (Q,).

    The neighbours are the augmented first training images of a shuffle. Also the number of views of each.
    """
    chosen = torch.randperm(len(dataset.train_images), generator=torch.Generator().manual_seed(0))[:images]
    bank, views = bank_of(dataset.train_images[chosen], kind, size, step)
    queries = augment.centre(dataset.test_images[:2000], size)
    nearest = torch.cat([squares.argmin(1) for squares in evaluate.in_chunks(queries, bank)])
    return dataset.train_labels[chosen].repeat(views)[nearest] != dataset.test_labels[:2000], views


def nearest_neighbours(sets: dict[str, Dataset], images: int = 300, more: tuple[int, ...] = (600, 1200)) -> Drawing:
    """Test errors of a nearest neighbour by pixels, with every augmentation, on each of some data sets; and with
    ``more`` training images in place of it.

    ``two_errors`` are two standard errors of the gain over the centre alone, on the same test images.
    """
    rows = []
    for name, dataset in sets.items():
        found = {kind: nearest_wrong(dataset, kind, images) for kind in KINDS}
        found |= {f"{n:,} images, centre": nearest_wrong(dataset, KINDS[0], n) for n in more}
        for kind, (wrong, views) in found.items():
            errors = 100 * wrong.double()
            gains = 100 * found[KINDS[0]][0].double() - errors
            two = 2 * float(gains.std()) / len(gains) ** 0.5
            row = {"data": name, "kind": kind, "views": views, "error": float(errors.mean())}
            rows.append({**row, "gain": float(gains.mean()), "two_errors": two})
    frame = pd.DataFrame(rows)
    figure, panels = subplots(1, len(sets), figsize=(9.2, 3.1), sharex=True, squeeze=False)
    for axes, (title, of_set) in zip(panels[0], frame.groupby("data", sort=False), strict=True):
        colours = [PALETTE[7 if kind == "centre only" else 3 if "images" in kind else 0] for kind in of_set["kind"]]
        labels = [f"{row.kind} ({row.views})" for row in of_set.itertuples()]
        drawn = axes.barh(labels, of_set["error"], color=colours)
        axes.errorbar(
            of_set["error"][1:], labels[1:], xerr=of_set["two_errors"][1:], fmt="none", ecolor="#222222", lw=1.2
        )
        axes.axvline(of_set["error"].iloc[0], color="#555555", lw=0.8, ls="--")
        axes.bar_label(drawn, fmt="%.1f", label_type="center", fontsize=8.5, color="white")
        axes.set(title=str(title), xlabel="error of the nearest neighbour (%)", xlim=(0, 45))
        axes.invert_yaxis()
    panels[0][0].set_ylabel("added (views of each image)", fontsize=9)
    alt = f"Error of the nearest neighbour by pixels among {images} training images and their views: " + "; ".join(
        f"{name}: " + ", ".join(f"{row.kind} ({row.views}) {row.error:.1f} %" for row in of_set.itertuples())
        for name, of_set in frame.groupby("data", sort=False)
    )
    both = frame[frame["kind"] == "crops and mirrors"]
    caption = "Points of error that crops and mirrors together gain, ± two standard errors: " + ", ".join(
        f"{row.data} {row.gain:.1f} ± {row.two_errors:.1f}" for row in both.itertuples()
    )
    return Drawing(figure, frame.round(4), f"{alt}.", f"{caption}.")


def mirrors(dataset: Dataset, names: Sequence[str], pick: Sequence[int]) -> Drawing:
    """Some test images, their two mirror images, and how far each lies from the nearest training image.

    The distance is that of the mean over 300 test images, in grey levels a pixel; the caption also
    names the classes whose mirror images left to right lie farthest and least far.
    """
    use_style()
    ways = {"as it is": (), "left to right": (-1,), "upside down": (-2,)}
    queries = dataset.test_images[:300]
    each = {}
    for way, along in ways.items():
        squares = [found.min(1).values for found in evaluate.in_chunks(queries.flip(along), dataset.train_images)]
        each[way] = (torch.cat(squares) / queries[0].numel()).sqrt()
    far = {way: float(distances.mean()) for way, distances in each.items()}
    of_class = pd.DataFrame({way: values.tolist() for way, values in each.items()})
    of_class = of_class.groupby([names[label] for label in dataset.test_labels[:300].tolist()]).mean()
    farther = (100 * (of_class["left to right"] / of_class["as it is"] - 1)).sort_values()
    figure = plt.figure(figsize=(8.6, 3.3))
    ((left, right),) = figure.subfigures(1, 2, squeeze=False, width_ratios=(1.15, 1))
    panels = left.subplots(3, len(pick))
    for line, (way, along) in zip(panels, ways.items(), strict=True):
        for panel, i in zip(line, pick, strict=True):
            draw_photo(panel, dataset.test_images[i].flip(along))
        line[0].text(-0.15, 0.5, way, ha="right", va="center", fontsize=9, transform=line[0].transAxes)
    for panel, i in zip(panels[0], pick, strict=True):
        panel.set_title(names[int(dataset.test_labels[i])], fontsize=8, loc="center")
    axes = right.subplots()
    drawn = axes.barh(list(far), list(far.values()), color=[PALETTE[7], PALETTE[0], PALETTE[3]])
    axes.bar_label(drawn, fmt="%.1f", padding=3, fontsize=9)
    axes.set(xlabel="distance to the nearest training image\n(grey levels a pixel)", xlim=(0, 1.18 * max(far.values())))
    axes.invert_yaxis()
    alt = (
        "Images, their mirrors left to right and upside down. Mean distance to the nearest training image: "
        + "; ".join(f"{way} {distance:.1f}" for way, distance in far.items())
    )
    more = {way: 100 * (far[way] / far["as it is"] - 1) for way in ways}
    caption = (
        f"A mirror image left to right lies {more['left to right']:.0f} % farther from the training images than the "
        f"image itself, one upside down {more['upside down']:.0f} % (means of {len(queries)} test images). Left to "
        f"right it is {farther.iloc[-1]:.0f} % for {farther.index[-1]}, {farther.iloc[0]:.0f} % for {farther.index[0]}."
    )
    frame = pd.DataFrame({"way": list(far), "distance": list(far.values())}).round(4)
    return Drawing(figure, frame, f"{alt}.", caption)
