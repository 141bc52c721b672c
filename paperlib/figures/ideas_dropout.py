"""Section 4.2 in pictures: thinned nets, the geometric mean, and a net that memorises 640 images."""

from __future__ import annotations

import itertools

import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from torch import Tensor, nn

from paperlib.figures.style import PALETTE, Drawing, subplots
from paperlib.nets.layers import learned_layers
from paperlib.training import loop, records
from paperlib.training.evaluate import evaluating

WIDTHS = (4, 6, 6, 3)
"""Units of the small net that is drawn: inputs, two hidden layers with dropout, outputs."""


def draw_net(axes: Axes, kept: tuple[Tensor, Tensor]) -> None:
    """A net of :data:`WIDTHS`: the units that are kept and their connections, crosses for those that are not."""
    there = [torch.ones(WIDTHS[0], dtype=torch.bool), *kept, torch.ones(WIDTHS[-1], dtype=torch.bool)]
    places = [[(x, (y - (n - 1) / 2) / 1.2) for y in range(n)] for x, n in enumerate(WIDTHS)]
    for x in range(len(WIDTHS) - 1):
        for (i, a), (j, b) in itertools.product(enumerate(places[x]), enumerate(places[x + 1])):
            if there[x][i] and there[x + 1][j]:
                axes.plot(*zip(a, b, strict=True), color="#b5b5b5", lw=0.7, zorder=1)
    for x, units in enumerate(places):
        for is_there, (px, py) in zip(there[x].tolist(), units, strict=True):
            hidden = 0 < x < len(WIDTHS) - 1
            colour = PALETTE[0] if hidden else "#666666"
            axes.plot(px, py, "o" if is_there else "x", color=colour if is_there else PALETTE[3], ms=7, zorder=2)
    axes.axis("off")


def thinned_nets(count: int = 7) -> Drawing:
    """A small net whole, and as many thinned nets as dropout could draw of it: one for each training image."""
    draw = torch.Generator().manual_seed(1)
    whole = (torch.ones(WIDTHS[1], dtype=torch.bool), torch.ones(WIDTHS[2], dtype=torch.bool))
    kept = [whole, *(tuple(torch.rand(n, generator=draw) >= 0.5 for n in WIDTHS[1:3]) for _ in range(count))]
    figure, panels = subplots(2, (count + 1) // 2, figsize=(8.8, 4.2))
    rows = []
    for number, (axes, masks) in enumerate(zip(panels.flat, kept, strict=True)):
        draw_net(axes, (masks[0], masks[1]))
        axes.set_title(f"image {number}" if number else "at test: all, halved", fontsize=9, loc="center")
        rows.append({"image": number, "first": int(masks[0].sum()), "second": int(masks[1].sum())})
    hidden = WIDTHS[1] + WIDTHS[2]
    alt = f"A net with {hidden} hidden units, whole, and thinned for each of {count} images: kept are " + ", ".join(
        f"{row['first']} and {row['second']}" for row in rows[1:]
    )
    caption = (
        f"{hidden} hidden units make 2^{hidden} = {2**hidden:,} nets; each image trains one, and all share weights."
    )
    return Drawing(figure, pd.DataFrame(rows), f"{alt} units of {WIDTHS[1]} and {WIDTHS[2]}.", caption)


def one_net(scale: float, draw: torch.Generator, masks: int = 4000, width: int = 40) -> tuple[Tensor, Tensor]:
    """Four class probabilities of one random net with dropout before two layers: geometric mean, and halved net.

    ``scale`` multiplies the last weights, which makes the net more or less sure of itself.
    """
    x = torch.randn(20, generator=draw)
    first_w, second_w = (torch.randn(width, n, generator=draw) * (2 / n) ** 0.5 for n in (20, width))
    last_w = scale * torch.randn(4, width, generator=draw) / width**0.5
    m1, m2 = (torch.rand(masks, width, generator=draw) >= 0.5 for _ in range(2))
    first = torch.relu(first_w @ x)
    second = torch.relu((m1 * first) @ second_w.T)
    mean = torch.softmax(torch.log_softmax((m2 * second) @ last_w.T, 1).mean(0), 0)
    return mean, torch.softmax(last_w @ (0.5 * torch.relu(second_w @ (0.5 * first))), 0)


def halved_against_mean(scales: tuple[float, ...] = (1.0, 6.0), nets: int = 50) -> Drawing:
    """Class probabilities of halved random nets against the geometric mean over masks, for two scales of weights."""
    draw = torch.Generator().manual_seed(3)
    figure, panels = subplots(1, len(scales), figsize=(7.6, 3.8), sharex=True, sharey=True)
    rows = []
    for axes, scale, colour in zip(panels, scales, PALETTE, strict=False):
        pairs = [one_net(scale, draw) for _ in range(nets)]
        across, up = (torch.cat(p) for p in zip(*pairs, strict=True))
        axes.plot([0, 1], [0, 1], color="#555555", lw=0.8)
        axes.plot(across, up, "o", ms=3, color=colour)
        off = sorted(float((a - b).abs().max()) for a, b in pairs)[nets // 2]  # of the class that is off most
        axes.set(title=f"last weights × {scale:g}", xlabel="geometric mean over 4,000 masks", aspect="equal")
        rows.append({"scale": scale, "median_distance": off})
    panels[0].set_ylabel("halved net (probability)")
    told = " and ".join(f"{row['median_distance']:.2f} (× {row['scale']:g})" for row in rows)
    alt = "Class probabilities of halved nets against geometric means over masks; points lie about the diagonal. "
    alt += f"In the middle net the class that is off most is off by {told}."
    caption = (
        "With ReLUs in between, halving is close where nets are unsure (left), and looser where they are sure (right)."
    )
    return Drawing(figure, pd.DataFrame(rows), alt, caption)


def memorising(runs: dict[str, loop.Trained], guessing: float = 90.0) -> Drawing:
    """Errors of some runs against epochs, a panel each: on test images, in training, and of the finished net.

    ``runs`` must have tested their finished nets on the images they were trained on.
    """
    figure, panels = subplots(1, len(runs), figsize=(8.6, 3.5), sharex=True, sharey=True)
    rows = []
    for axes, (name, run) in zip(panels, runs.items(), strict=True):
        epochs = records.of_kind(run.lines, "epoch")
        at = [line["epoch"] for line in epochs]
        fit, test = records.of_kind(run.lines, "fit")[0]["top1_error"], epochs[-1]["test_error"]
        axes.plot(at, [line["test_error"] for line in epochs], color=PALETTE[0], label="test images")
        axes.plot(
            at, [line["train_error"] for line in epochs], ":", color=PALETTE[1], label="training images, on the way"
        )
        axes.plot(at[-1], fit, "o", ms=7, color=PALETTE[1], label="training images, finished net")
        arrow = {"arrowstyle": "<->", "color": "#333333", "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (at[-1] + 1, test), (at[-1] + 1, fit), arrowprops=arrow)
        axes.text(at[-1] + 1.5, (test + fit) / 2, f"{test - fit:.0f}\npoints", va="center", fontsize=8.5)
        axes.axhline(guessing, color="#999999", lw=0.8)
        axes.text(at[-1], guessing + 1, "guessing", va="bottom", ha="right", fontsize=8.5, color="#777777")
        axes.set(title=f"{name}, first rate {epochs[0]['lr']:g}", xlabel="epoch", xlim=(0, at[-1] + 4), ylim=(-2, 104))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        rows.append({"net": name, "fit_error": fit, "test_error": test})
    panels[0].set_ylabel("top-1 error (%)")
    panels[-1].legend(fontsize=8.5, loc="upper right", bbox_to_anchor=(1, 0.88))
    alt = "Two panels, one a net: error on test images and on training images against epochs, a dot for the finished "
    alt += "net on its own training images, and an arrow between the dot and the test error, which is the overfitting."
    caption = "Without dropout the finished net knows its own images better: the arrow is how far it overfits."
    return Drawing(figure, pd.DataFrame(rows), alt, caption)


def classes_without_each_unit(net: nn.Module, inputs: Tensor) -> Tensor:
    """The classes a net gives inputs, whole, then without each one unit of its last hidden layer: (1 + units, B)."""
    last, seen = learned_layers(net)["fc8"], list[Tensor]()
    hook = last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with evaluating(net):
        logits = net(inputs)
    hook.remove()
    shares = zip(seen[0].T, last.weight.detach().T, strict=True)  # what each unit adds to the logits, as a product
    return torch.stack([logits.argmax(1), *((logits - h[:, None] * w).argmax(1) for h, w in shares)])


def without_each_unit(net: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    """Error (%) of a net with all its units, and without each one unit of its last hidden layer: (units,)."""
    whole, *without = 100 * (classes_without_each_unit(net, inputs) != labels).double().mean(1)
    return float(whole), torch.stack(without).float()


def lone_units(nets: dict[str, nn.Module], inputs: Tensor, labels: Tensor) -> Drawing:
    """What one unit of the last hidden layer is worth to each net: a dot a unit, silenced.

    ``rise`` is the change of the test error (points), ``changed`` the share (%) of images with another answer.
    """
    figure, panels = subplots(1, 2, figsize=(8.6, 2.2), sharey=True)
    rows = []
    for y, (name, net) in enumerate(nets.items()):
        classes = classes_without_each_unit(net, inputs)
        errors = 100 * (classes != labels).double().mean(1)
        changed = 100 * (classes[1:] != classes[0]).double().mean(1)
        jitter = y + 0.25 * torch.rand(len(changed), generator=torch.Generator().manual_seed(0)) - 0.125
        for axes, values in zip(panels, (errors[1:] - errors[0], changed), strict=True):
            axes.plot(values, jitter, "o", ms=4, alpha=0.6, color=PALETTE[y])
        pairs = zip((errors[1:] - errors[0]).tolist(), changed.tolist(), strict=True)
        rows += [{"net": name, "rise": rise, "changed": share} for rise, share in pairs]
    panels[0].axvline(0, color="#555555", lw=0.8)
    panels[0].set_yticks(range(len(nets)), list(nets))
    panels[0].set(xlabel="change of the test error (points)", ylim=(len(nets) - 0.5, -0.5))
    panels[1].set(xlabel="answers that change (%)", xlim=(0, None))
    figure.suptitle("one unit of fc7 silenced", fontsize=10)
    frame = pd.DataFrame(rows)
    told = [
        f"{each['changed'].mean():.2f} % of the answers and the error by {(each['rise'] ** 2).mean() ** 0.5:.2f} "
        f"points {name!s}"
        for name, each in frame.groupby("net", sort=False)
    ]
    caption = f"One unit silenced changes {', and '.join(told)}"
    caption += " (mean, and root mean square, over units)."
    return Drawing(figure, frame, f"Two panels, a dot a unit, a line a net. {caption}", caption)


def thinned_log_probabilities(net: nn.Module, inputs: Tensor, masks: int) -> tuple[Tensor, Tensor]:
    """Log-probabilities of a net's classes, (B, classes) of the whole net, halved, and (masks, B, classes) of thinned
    ones: each keeps a random half of the units of fc6 and fc7, the same for all inputs, in the form of 2012.
    """
    layers, seen = dict(net.named_modules()), list[Tensor]()
    hook = layers["fc6"].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with evaluating(net), torch.inference_mode():
        halved = net(inputs).log_softmax(1)
        first = layers["act6"](layers["fc6"](seen[0]))
        draw, thinned = torch.Generator().manual_seed(0), []
        for _ in range(masks):
            kept = (torch.rand(2, first.shape[1], generator=draw) >= 0.5).float()
            second = layers["act7"](layers["fc7"](kept[0] * first))
            thinned.append(layers["fc8"](kept[1] * second).log_softmax(1))
    hook.remove()
    return halved, torch.stack(thinned)


def thinned_and_halved(net: nn.Module, inputs: Tensor, labels: Tensor, masks: int = 100) -> Drawing:
    """Test error (%) of the thinned nets of a net trained with dropout, of geometric means of 2, 5, 10, … of them (the
    mean over groups of that size), and of the whole net, halved.
    """
    halved, thinned = thinned_log_probabilities(net, inputs, masks)
    counts = sorted({n for n in (1, 2, 5, 10, 20, 50) if masks % n == 0} | {masks})
    # the class of a geometric mean is that of the sum of the logarithms
    errors = [100 * (thinned.unflatten(0, (-1, n)).sum(1).argmax(2) != labels).double().mean(1) for n in counts]
    whole = 100 * float((halved.argmax(1) != labels).double().mean())
    agree = 100 * float((thinned.sum(0).argmax(1) == halved.argmax(1)).double().mean())
    figure, (left, right) = subplots(1, 2, figsize=(8.2, 3.2), sharey=True, width_ratios=(1, 1.6))
    left.hist(errors[0].numpy(), bins=20, orientation="horizontal", color=PALETTE[1], alpha=0.8)
    left.set(xlabel=f"number of thinned nets, of {masks}", ylabel="test error (%)")
    means = [float(each.mean()) for each in errors]
    right.plot(range(len(counts)), means, "o-", color=PALETTE[0], label="geometric mean of thinned nets")
    for axes in (left, right):
        axes.axhline(whole, color="#333333", ls="--", lw=1, label="the whole net, halved")
    right.set_xticks(range(len(counts)), [str(n) for n in counts])
    right.set_xlabel("thinned nets in the mean")
    right.legend()
    caption = f"A thinned net has {means[0]:.1f} % test error ({errors[0].min():.1f} to {errors[0].max():.1f}), the "
    caption += f"geometric mean of {masks} of them {means[-1]:.1f} %, the halved net {whole:.1f} %. These two give "
    caption += f"{agree:.0f} % of the images the same class."
    frame = pd.DataFrame({"nets": counts, "error": means}).assign(halved=whole)
    return Drawing(figure, frame.round(3), f"A histogram and a curve of test errors. {caption}", caption)
