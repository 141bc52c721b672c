"""Section 6 in pictures: error rates with the luck of their images, neighbours, and selectivity of kernels."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import torch
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from paperlib.evidence import conv1, decide, store
from paperlib.figures import figures3_4
from paperlib.figures.style import PALETTE, SCALE_NAMES, Drawing, subplots
from paperlib.paper import facts
from paperlib.training import records


def standard_error(percent: float, images: int) -> float:
    """Of an error rate (%) measured on that number of independent images: in points."""
    share = percent / 100
    return 100 * (share * (1 - share) / images) ** 0.5


def gain_of(before: float, after: float, images: int) -> tuple[float, float]:
    """Points that an error falls by, and two standard errors of that at most: as if no image had served both."""
    return before - after, 2 * math.hypot(standard_error(before, images), standard_error(after, images))


TOGETHER = "seven nets against the runner-up"


def gains() -> pd.DataFrame:
    """What lowered the paper's top-5 error: nets, images (2012 validation), views (2010 test), all (2012 test)."""
    of_2012 = {row.model: row.val_top5 or 0 for row in facts.TABLE2}
    of_test = {row.model: row.test_top5 or 0 for row in facts.TABLE2}
    ours = next(row for row in facts.TABLE1 if row.ours)
    pairs = {
        "five nets for one": (of_2012["1 CNN"], of_2012["5 CNNs"], 50_000),
        "more training images (and conv6)": (of_2012["1 CNN"], of_2012["1 CNN*"], 50_000),
        "ten views for one": (facts.CENTRE_VIEW[1], ours.test_top5 or 0, facts.ILSVRC[0].test),
        TOGETHER: (max(of_test.values()), of_test["7 CNNs*"], 100_000),
    }
    rows = [(what, *gain_of(*pair)) for what, pair in pairs.items()]
    return pd.DataFrame(rows, columns=["what", "points", "two_standard_errors"])


def published_gains() -> Drawing:
    """The gains of :func:`gains` as bars with two standard errors; dashed, all together against the runner-up."""
    frame = gains()
    figure, axes = subplots(figsize=(7.6, 2.5))
    for y, (what, points, margin) in enumerate(frame.values.tolist()):
        look: dict[str, Any] = {"fill": False, "ls": "--"} if what == TOGETHER else {"color": PALETTE[0], "alpha": 0.8}
        axes.barh(y, points, xerr=margin, height=0.6, ecolor="#333333", **look)
        axes.text(points + margin + 0.15, y, f"{points:.1f}", va="center", fontsize=9)
    axes.set_yticks(range(len(frame)), frame["what"])
    axes.set(xlabel="points of top-5 error; bars: two standard errors of the images", xlim=(0, 12))
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    *parts, together = [f"{row.what} {row.points:.1f}" for row in frame.itertuples()]
    caption = f"In points of top-5 error: {', '.join(parts)}; {together}."
    return Drawing(figure, frame.round(3), f"Four bars. {caption}", caption)


def gained_by_views() -> pd.DataFrame:
    """Top-1 error in the centre view less that in ten views: the paper's net, and recorded ones."""
    paper, ours = facts.CENTRE_VIEW[0], next(row for row in facts.TABLE1 if row.ours)
    rows = [("the paper, ILSVRC-2010 test", *gain_of(paper, ours.test_top1 or 0, facts.ILSVRC[0].test))]
    for name, scale in (("full", "tinyimagenet"), ("net", "cifar10"), ("net", "sample")):
        runs = [lines for _, _, lines in store.records_of(name, scale)]
        for lines in runs:
            errors = {line["views"]: line["top1_error"] for line in records.of_kind(lines, "test")}
            points, two = gain_of(errors[1], errors[10], records.of_kind(lines, "test")[0]["n"])
            seeds = f"{len(runs)} seeds" if name == "net" else f"one seed, {len(store.epochs_of(lines))} epochs"
            rows.append((f"{SCALE_NAMES[scale]}, {seeds}", points, two if name == "full" else math.nan))
    return pd.DataFrame(rows, columns=["net", "points", "two_standard_errors"])


def view_gains() -> Drawing:
    """What ten views gain (:func:`gained_by_views`), a dot a net.

    The bars are two standard errors of the images at most, of nets that have no other seeds.
    """
    frame = gained_by_views()
    places = {net: y for y, net in enumerate(dict.fromkeys(frame["net"]))}
    figure, axes = subplots(figsize=(7.6, 0.4 * len(places) + 0.9))
    y, margins = frame["net"].map(places), frame["two_standard_errors"]
    axes.errorbar(frame["points"], y, xerr=margins, fmt="o", ms=5, alpha=0.8)
    for i, v in enumerate(decide.verdicts("S6-b.1")):
        row = next(y for net, y in places.items() if net.startswith(SCALE_NAMES[v.scale]))
        label = "" if i else "interval of the seeds"
        axes.plot([v.low, v.high], [row + 0.25] * 2, lw=4, alpha=0.4, color=PALETTE[1], label=label)
    axes.axvline(0, color="#555555", lw=0.8)
    axes.set_yticks(list(places.values()), list(places))
    axes.set_xlabel("points of top-1 error; thin bars: two standard errors of the images", loc="right")
    axes.legend()
    axes.set_ylim(len(places) - 0.5, -0.5)
    means = frame.groupby("net", sort=False)["points"].mean()
    caption = f"Ten views gain, in points: {'; '.join(f'{net} {points:.2f}' for net, points in means.items())}."
    return Drawing(figure, frame.round(4), f"A dot a net, in points of top-1 error. {caption}", caption)


def fail_together(wrong: Tensor) -> Drawing:
    """Share of the images on which none, one, ... all nets fail; ``wrong`` (nets, images) says which do.

    Dots: what it would be if each net failed as often, but independently of the others.
    """
    nets, images = wrong.shape
    shares = 100 * torch.bincount(wrong.sum(0), minlength=nets + 1).double() / images
    apart = torch.ones(1, dtype=torch.float64)  # the distribution of how many of the nets so far fail
    for p in wrong.double().mean(1):
        apart = torch.cat([apart * (1 - p), torch.zeros(1)]) + torch.cat([torch.zeros(1), apart * p])
    figure, axes = subplots(figsize=(7.2, 3.0))
    axes.bar(range(nets + 1), shares.numpy(), width=0.6, alpha=0.8, label=f"our {nets} nets")
    axes.plot(
        [k + 0.4 for k in range(nets + 1)],
        100 * apart.numpy(),
        "o",
        color=PALETTE[3],
        label="if they failed independently",
    )
    for k, share in enumerate(shares.tolist()):
        axes.text(k, share + 1, f"{share:.1f}", ha="center", fontsize=9)
    axes.set(xlabel=f"how many of the {nets} nets fail on an image", ylabel="images (%)", ylim=(0, 82))
    axes.grid(axis="x", visible=False)
    axes.legend()
    frame = pd.DataFrame({"failing": range(nets + 1), "images": shares, "independent": 100 * apart})
    caption = f"All {nets} fail on {shares[-1]:.1f} % of the images; independent nets would on {100 * apart[-1]:.2f} %."
    told = ", ".join(f"{k}: {share:.1f} %" for k, share in enumerate(shares.tolist()))
    return Drawing(figure, frame.round(4), f"Images by the number of nets that fail. {told}. {caption}", caption)


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
    most = int(frame["neighbours"].max())
    caption = f"Right labels among the {most} nearest: {', '.join(said)}."
    alt = f"Share of neighbours with the right label against their number, for {', '.join(curves)}. {caption}"
    return Drawing(figure, frame, alt, caption)


def colours(kernels: dict[str, Tensor]) -> Drawing:
    """Kernels (3, h, w) by name, as Figure 3 draws them, with the index of colour of each."""
    index = conv1.colour_index(torch.stack(list(kernels.values()))).tolist()
    figure, panels = subplots(1, len(kernels), figsize=(1.6 * len(kernels), 1.7))
    for axes, (name, kernel), of in zip(panels, kernels.items(), index, strict=True):
        figures3_4.draw_kernel(axes, kernel, of, 0, 0)
        figures3_4.without_axes(axes, 1, 1.3)
        axes.set_title(name, fontsize=9, loc="center")
    caption = f"Index of colour: {', '.join(f'{name} {of:.1f}' for name, of in zip(kernels, index, strict=True))}."
    return Drawing(figure, pd.DataFrame({"kernel": list(kernels), "index": index}), f"Patches. {caption}", caption)


def three_kernels(side: int = 11) -> Drawing:
    """A grating, a blob and noise, each with the two numbers that :func:`selectivity` draws."""
    y, x = torch.meshgrid(*(torch.arange(side) - side // 2,) * 2, indexing="ij")
    blob = torch.exp(-(x**2 + y**2) / (side / 5) ** 2)
    made = {
        "a grating": blob.sqrt() * torch.cos(2 * math.pi * (x + y) / (side / 2)), "a blob": blob,
        "noise": torch.randn(side, side, generator=torch.Generator().manual_seed(1)),
    }  # fmt: skip
    kernels = torch.stack([each[None] for each in made.values()])
    measured = zip(made, conv1.orientation_selectivity(kernels), conv1.bandwidth(kernels), strict=True)
    rows = [{"kernel": name, "orientation": float(one), "bandwidth": float(two)} for name, one, two in measured]
    figure, panels = subplots(1, len(rows), figsize=(7.2, 2.4))
    for axes, kernel, row in zip(panels, kernels[:, 0], rows, strict=True):
        axes.imshow(kernel.numpy(), cmap="gray")
        axes.set_title(f"{row['kernel']}: orientation {row['orientation']:.2f}\n{row['bandwidth']:.2f} octaves",
                       fontsize=9)  # fmt: skip
        axes.axis("off")
    told = "; ".join(f"{row['kernel']} {row['orientation']:.2f} and {row['bandwidth']:.2f} octaves" for row in rows)
    caption = f"Orientation and bandwidth: {told}."
    return Drawing(figure, pd.DataFrame(rows).round(4), f"Three kernels. {caption}", caption)


def selectivity(kernels: Tensor, controls: dict[str, Tensor], title: str) -> Drawing:
    """Each kernel's selectivity for orientation and its bandwidth, and those of ``controls``: name -> kernels.

    A dashed line has 95 % of a control to its left.
    """
    figure, panels = subplots(1, len(controls), figsize=(4.2 * len(controls), 3.6), sharex=True, sharey=True)
    oriented, wide = conv1.orientation_selectivity(kernels), conv1.bandwidth(kernels)
    rows = [{"kernels": "trained", "orientation": float(oriented.median()), "bandwidth": float(wide.median())}]
    for axes, (name, some) in zip(panels, controls.items(), strict=True):
        by_chance, widths = conv1.orientation_selectivity(some), conv1.bandwidth(some)
        edge = float(by_chance.quantile(0.95))
        axes.plot(by_chance, widths, "o", ms=2, color="#bbbbbb", label=name)
        axes.plot(oriented, wide, "o", ms=5, color=PALETTE[0], label="trained")
        axes.axvline(edge, color="#555555", lw=0.9, ls="--")
        axes.set(xlabel="selectivity for orientation, 0 to 1", xlim=(0, 1), ylim=(0, None))
        axes.legend(loc="lower left")
        beyond = 100 * float((oriented > edge).double().mean())
        rows.append({"kernels": name, "orientation": float(by_chance.median()), "bandwidth": float(widths.median()),
                     "beyond": beyond})  # fmt: skip
    panels[0].set_ylabel("bandwidth (octaves)")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    told = [f"{row['kernels']} {row['orientation']:.2f} and {row['bandwidth']:.2f} octaves" for row in rows]
    alt = f"Medians of orientation and bandwidth: {'; '.join(told)}."
    shares = " and ".join(f"{row['beyond']:.0f} % (*{row['kernels']}*)" for row in rows[1:])
    caption = f"More selective for orientation than 95 % of the control are {shares} of the trained kernels; by chance "
    caption += "5 %. Median bandwidth: "
    caption += ", ".join(f"{row['kernels']} {row['bandwidth']:.2f}" for row in rows) + " octaves."
    return Drawing(figure, pd.DataFrame(rows), alt, caption)
