"""Section 6 in pictures: error rates with the luck of their images, neighbours, and selectivity of kernels."""

from __future__ import annotations

from textwrap import shorten

import pandas as pd
import torch
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from paperlib.evidence import conv1
from paperlib.figures.style import PALETTE, Drawing, subplots
from paperlib.figures.tables import AUTHORS, table2
from paperlib.paper import facts

IMAGES = {facts.VAL12: 50_000, "ILSVRC-2012 test": 100_000}
"""Data of Table 2 -> its images."""


def standard_error(percent: float, images: int) -> float:
    """Of an error rate (%) measured on that number of independent images: in points."""
    share = percent / 100
    return 100 * (share * (1 - share) / images) ** 0.5


def published() -> pd.DataFrame:
    """Top-5 errors on ILSVRC-2012 of the paper and of later trainings: sorted, each once, with its standard error."""
    frame = table2().data
    frame = frame[frame["data"].isin(IMAGES) & frame["top-5 error (%)"].notna()]
    frame = frame[(frame["whose"] == AUTHORS) | frame["whose"].str.startswith("later")]
    frame = frame.drop_duplicates(["whose", "what", "top-5 error (%)"])
    errors = [standard_error(e, IMAGES[d]) for e, d in zip(frame["top-5 error (%)"], frame["data"], strict=True)]
    frame = frame.assign(standard_error=errors)
    return frame.sort_values("top-5 error (%)", kind="stable", ignore_index=True)


def gains() -> dict[str, float]:
    """Points of top-5 error that the paper gained: by nets and images on 2012 validation, by views on 2010 test."""
    of_2012 = {row.model: row.val_top5 or 0 for row in facts.TABLE2}
    ours = next(row for row in facts.TABLE1 if row.ours)
    return {
        "five nets for one": of_2012["1 CNN"] - of_2012["5 CNNs"],
        "more training images (and a sixth convolution)": of_2012["1 CNN"] - of_2012["1 CNN*"],
        "ten views for one": facts.CENTRE_VIEW[1] - (ours.test_top5 or 0),
    }


def published_errors() -> Drawing:
    """The paper's top-5 errors on ILSVRC-2012, and those of later trainings of its net: two panels, one scale."""
    frame = published()
    parts = {
        "the paper": frame[frame["whose"] == AUTHORS],
        "nets called AlexNet, later": frame[frame["whose"] != AUTHORS],
    }
    parts = {name: part.head(12).reset_index(drop=True) for name, part in parts.items()}
    heights = [len(part) for part in parts.values()]
    figure, panels = subplots(2, 1, figsize=(8.6, 0.3 * sum(heights) + 1.6), sharex=True, height_ratios=heights)
    marks = {"ten": ("o", PALETTE[0], "ten views"), "centre": ("s", PALETTE[1], "centre view")}
    for axes, (name, part) in zip(panels, parts.items(), strict=True):
        for y, row in enumerate(part.to_dict("records")):
            mark, colour, _ = marks.get(row["views"], ("x", "#555555", ""))
            axes.errorbar(row["top-5 error (%)"], y, xerr=2 * row["standard_error"], fmt=mark, color=colour, ms=5)
        names = [what if name == "the paper" else f"{whose[7:]}: {what}"
                 for whose, what in zip(part["whose"], part["what"], strict=True)]  # fmt: skip
        labels = [shorten(each, 52, placeholder=" …") for each in names]
        tests = [" (test)" * data.endswith("test") for data in part["data"]]
        axes.set_yticks(range(len(part)), [a + b for a, b in zip(labels, tests, strict=True)], fontsize=8)
        axes.set(title=name, ylim=(len(part) - 0.5, -0.5))
    for mark, colour, name in (*marks.values(), ("x", "#555555", "views not said")):
        panels[0].plot([], [], mark, color=colour, label=name)
    panels[0].legend(fontsize=8.5, loc="upper right")
    panels[1].set_xlabel("top-5 error (%), validation or (test); bars: two standard errors", loc="right")
    alt = "Top-5 errors on ILSVRC-2012: " + "; ".join(
        f"{row['what']}{' (test)' * row['data'].endswith('test')} {row['top-5 error (%)']:g} %"
        for row in parts["the paper"].to_dict("records")
    )
    worth = [f"{name} {points:.1f}" for name, points in gains().items() if "views" not in name]
    caption = f"In points of error: {', '.join(worth)}. "
    caption += f"Two standard errors of the images are at most {2 * frame['standard_error'].max():.1f}."
    return Drawing(figure, frame, f"{alt}.", caption)


def agreement(curves: dict[str, Tensor], bank_labels: Tensor, labels: Tensor, title: str) -> Drawing:
    """Share of neighbours with the right label against their number; ``curves`` hold indices (Q, k) into the bank.

    The bands are two standard errors over the Q test images.
    """
    figure, axes = subplots(figsize=(7.2, 3.4))
    rows = []
    for (name, indices), style in zip(curves.items(), ("k:", "-.", "-", "--"), strict=False):
        right = 100 * (bank_labels[indices] == labels[:, None]).double()
        counts = torch.arange(1, right.shape[1] + 1)
        shares = right.cumsum(1) / counts  # (Q, k), of each test image
        mean, band = shares.mean(0), 2 * shares.std(0) / len(shares) ** 0.5
        (line,) = axes.plot(counts, mean, style, label=name)
        axes.fill_between(counts, mean - band, mean + band, color=line.get_color(), alpha=0.2, lw=0)
        rows += [
            {"space": name, "neighbours": k, "share": share, "two_standard_errors": two}
            for k, share, two in zip(counts.tolist(), mean.tolist(), band.tolist(), strict=True)
        ]
    axes.set(xlabel="neighbours looked at", ylabel="with the right label (%)", ylim=(0, 100), title=title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="lower left")
    frame = pd.DataFrame(rows)
    last = frame[frame["neighbours"] == frame["neighbours"].max()].sort_values("share", ascending=False)
    said = [f"{row.space} {row.share:.0f} % (± {row.two_standard_errors:.0f})" for row in last.itertuples()]
    caption = f"Of the {int(frame['neighbours'].max())} nearest have the right label: {', '.join(said)}."
    alt = f"Share of neighbours with the right label against their number, for {', '.join(curves)}. {caption}"
    return Drawing(figure, frame, alt, caption)


def selectivity(kernels: Tensor, chance: Tensor, title: str) -> Drawing:
    """Each kernel's selectivity for orientation and its bandwidth, and those of kernels with shuffled pixels."""
    figure, axes = subplots(figsize=(6.4, 4.0))
    rows = []
    for some, style, name in ((chance, {"ms": 2, "color": "#bbbbbb"}, "shuffled"), (kernels, {"ms": 5}, "trained")):
        oriented, wide = conv1.orientation_selectivity(some), conv1.bandwidth(some)
        axes.plot(oriented, wide, "o", **style, label=name)
        rows.append({"kernels": name, "orientation": float(oriented.median()), "bandwidth": float(wide.median())})
    axes.set(xlabel="selectivity for orientation, 0 to 1", ylabel="bandwidth (octaves)", xlim=(0, 1), ylim=(0, None))
    axes.set_title(title)
    axes.legend(loc="lower left")
    shuffled, trained = rows
    alt = f"Medians: orientation {trained['orientation']:.2f}, shuffled {shuffled['orientation']:.2f}; "
    alt += f"bandwidth {trained['bandwidth']:.2f} octaves, shuffled {shuffled['bandwidth']:.2f}."
    caption = f"Half of the trained kernels have a selectivity for orientation above {trained['orientation']:.2f}; "
    caption += f"with shuffled pixels it is {shuffled['orientation']:.2f}."
    return Drawing(figure, pd.DataFrame(rows), alt, caption)
