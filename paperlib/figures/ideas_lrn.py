"""The pictures of notebook 04: competition at one place, in maps of a photograph, and in trained nets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn

from paperlib.figures.style import PALETTE, Drawing, subplots
from paperlib.nets.lrn import LocalResponseNorm, local_response_norm
from paperlib.paper.facts import LRN

AS_RUN = LRN.alpha / LRN.n
"""The coefficient of the plain sum in the 2012 source, which divides alpha by n."""
NO_COMPETITION = 2**-0.75
"""Output over input where nothing competes: k = 2 to the power of minus beta."""
FELT = 0.9 * NO_COMPETITION
"""Below, competition turns a unit down by more than a tenth."""


def strong_channel(strengths: Sequence[float] = (20.0, 100.0, 300.0)) -> Drawing:
    """Output over input of 21 channels at one place, all at 20 but channel 10."""
    figure, axes = subplots(figsize=(7.6, 3.2))
    table = {"channel": np.arange(21)}
    for strength, style in zip(strengths, ("o-", "s--", "^:"), strict=False):
        a = torch.full((1, 21, 1, 1), 20.0)
        a[0, 10] = strength
        table[f"{strength:g}"] = (local_response_norm(a) / a).flatten().numpy()
        axes.plot(table["channel"], table[f"{strength:g}"], style, ms=4, label=f"{strength:g}")
    axes.axhline(NO_COMPETITION, color="#555555", lw=0.8)
    axes.text(20.4, NO_COMPETITION + 0.01, f"alone: {NO_COMPETITION:.2f}", ha="right", fontsize=9, color="#555555")
    axes.set(xlabel="channel", ylabel="output / input", ylim=(0, 0.66))
    axes.set_xticks(range(0, 21, 5))
    axes.legend(title="activation of channel 10")
    alt = (
        "Output over input of 21 channels for three strengths of channel 10: the stronger it is, the lower the factor "
        "of its two neighbours on either side and its own; all others stay."
    )
    frame = pd.DataFrame(table)
    strongest = frame[f"{max(strengths):g}"]
    down = frame["channel"][strongest < 0.9 * strongest.median()]
    caption = (
        f"Channel 10 at {max(strengths):g} brings channels {down.min()} to {down.max()} to "
        f"{strongest.min():.2f} of their input; all others stay near {strongest.median():.2f}."
    )
    return Drawing(figure, frame, alt, caption)


def plain(alpha: float) -> str:
    """0.00002, not 2e-05."""
    return f"{alpha:.6f}".rstrip("0").rstrip(".")


def unit_alone(alphas: Sequence[float] = (LRN.alpha, AS_RUN), most: float = 1000.0) -> Drawing:
    """Output against input of a unit whose neighbours are silent; the maximum marked."""
    a = np.linspace(0, most, 2001)
    figure, axes = subplots(figsize=(6.8, 3.4))
    table, peaks = {"input": a}, []
    for alpha, dashes, colour in zip(alphas, ("-", "--"), PALETTE, strict=False):
        b = local_response_norm(torch.tensor(a)[:, None, None, None], alpha=alpha).flatten().numpy()
        table[f"{alpha:g}"] = b
        axes.plot(a, b, dashes, color=colour, label=f"α = {plain(alpha)}")
        axes.plot(a[b.argmax()], b.max(), "o", color=colour)
        peaks.append(f"with α = {plain(alpha)} at an input of about {a[b.argmax()]:.0f}")
    axes.plot(a, NO_COMPETITION * a, ":", color="#555555", label="no competition, α = 0")
    axes.set(xlabel="input of the unit", ylabel="output", ylim=(0, 180))
    axes.legend()
    alt = f"Output of a lone unit against its input. It rises, then falls: largest {' and '.join(peaks)}."
    caption = f"A larger input can give a smaller output: it is largest {' and '.join(peaks)}, and falls beyond."
    return Drawing(figure, pd.DataFrame(table), alt, caption)


def oriented_kernels(orientations: int = 12, size: int = 11, wave: float = 6.0, deviation: float = 3.0) -> Tensor:
    """Edge detectors (orientations, 1, size, size), turned step by step, so that neighbours detect similar edges."""
    r = torch.arange(size) - size // 2
    y, x = torch.meshgrid(r, r, indexing="ij")
    kernels = []
    for turn in (math.pi * i / orientations for i in range(orientations)):
        across = x * math.cos(turn) + y * math.sin(turn)
        kernel = torch.exp(-(x**2 + y**2) / (2 * deviation**2)) * torch.sin(2 * math.pi * across / wave)
        kernels.append(kernel / kernel.abs().sum())
    return torch.stack(kernels)[:, None]


def responses(photo: Tensor) -> Tensor:
    """Maps (1, 12, H, W) after the ReLU of twelve orientations on the grey levels of a photograph (3, H, W)."""
    grey = photo.float().mean(0)[None, None]
    return torch.relu(F.conv2d(grey, 2 * oriented_kernels(), padding=5))


def before_and_after(
    maps: Tensor, channel: int, k: float = 2.0, n: int = 5, alpha: float = 1e-4, beta: float = 0.75
) -> Drawing:
    """One map before and after, their quotient where it is active (5 or more), and the quotient without competition."""
    one, after = maps[0, channel], local_response_norm(maps, n, k, alpha, beta)[0, channel]
    silent, most = one < 5, k**-beta
    factor = (after / one.clamp(min=1e-6)).masked_fill(silent, math.nan)
    alone = torch.full_like(one, most).masked_fill(silent, math.nan)
    shown = {
        "before": one, "after": after, f"after / before, α = {plain(alpha)}": factor, "after / before, α = 0": alone,
    }  # fmt: skip
    figure, panels = subplots(2, 2, figsize=(8.0, 6.2))
    for axes, (title, picture) in zip(panels.flat, shown.items(), strict=True):
        look = {"cmap": "viridis", "vmin": 0.4 * most, "vmax": most} if "/" in title else {"cmap": "Greys", "vmin": 0}
        drawn = axes.imshow(picture.numpy(), **look)
        axes.set_title(title)
        axes.axis("off")
        figure.colorbar(drawn, ax=axes, shrink=0.8, label="factor" if "/" in title else "activation")
    alt = (
        "Four maps of a photograph: edges of one orientation before and after normalisation, and the factor between "
        "them. The factor is lowest at strong edges; without competition it is the same everywhere."
    )
    felt = 100 * float((factor[~silent] < 0.9 * most).double().mean())
    caption = (
        f"Competition turns down {felt:.0f} % of the active places of this map, strong edges, by more than a tenth. "
        f"With α = 0 the factor is {most:.2f} everywhere."
    )
    frame = pd.DataFrame({"before": one.flatten(), "factor": factor.flatten()})
    return Drawing(figure, frame, alt, caption)


def at_one_place(maps: Tensor, n: int = 5, least: float = 0.3) -> Drawing:
    """All channels at one place, before and after, each divided by its largest.

    It is the strongest place of those where a channel outside the window of the strongest has at least ``least`` of it.
    """
    after, (largest, channel) = local_response_norm(maps, n), maps[0].max(0)
    numbers = torch.arange(maps.shape[1])[:, None, None]
    outside_window = maps[0].where((numbers - channel).abs() > n // 2, torch.zeros(()))
    inside = (channel >= n // 2) & (channel < maps.shape[1] - n // 2)  # so that its window is whole
    y, x = divmod(int((largest * (inside & (outside_window.amax(0) > least * largest))).argmax()), maps.shape[-1])
    shares = pd.DataFrame({"before": maps[0, :, y, x].numpy(), "after": after[0, :, y, x].numpy()})
    shares /= shares.max()
    top = int(shares["before"].argmax())
    figure, axes = subplots(figsize=(7.6, 3.0))
    axes.axvspan(top - n // 2 - 0.5, top + n // 2 + 0.5, color="#e2e2e2", lw=0, label="window of the strongest")
    shares.plot.bar(ax=axes, rot=0, width=0.8, color=[PALETTE[0], PALETTE[1]], edgecolor="white")
    axes.set(xlabel="channel (direction of its edge)", ylabel="share of the largest channel", ylim=(0, 1.1))
    axes.grid(axis="x", visible=False)
    axes.legend(fontsize=9)
    active = shares[shares["before"] > 0.05]
    gain = active["after"] / active["before"]
    outside = gain[(gain.index - top).map(abs) > n // 2]
    alt = (
        f"Bars of {len(shares)} channels at one place with edges of several directions, before and after "
        f"normalisation, each as a share of the largest. The strongest is channel {top}."
    )
    caption = f"Against channel {top}, the strongest here, active channels outside its window gain "
    caption += f"{100 * (outside.min() - 1):.0f} to {100 * (outside.max() - 1):.0f} %." if len(outside) else "nothing."
    return Drawing(figure, shares.rename_axis("channel").reset_index(), alt, caption)


def factors(maps: Tensor, alphas: Sequence[float] = (LRN.alpha, AS_RUN, 0.0)) -> Drawing:
    """How far the active units of all maps are turned down: histogram of output over input for each alpha."""
    active = maps > 1
    table = {
        f"{alpha:g}": (local_response_norm(maps, alpha=alpha) / maps.clamp(min=1e-6))[active].numpy()
        for alpha in alphas
    }
    figure = draw_factors({f"α = {plain(alpha)}": table[f"{alpha:g}"] for alpha in alphas})
    alt = (
        "Histograms of output over input of all active units. With the alpha of the paper they reach from a quarter to "
        "0.59, with the alpha that was run they stay closer to 0.59, without alpha all are at 0.59."
    )
    told = ", ".join(f"{felt(table[f'{alpha:g}']):.1f} % with α = {plain(alpha)}" for alpha in alphas)
    caption = f"Few units of these maps are turned down by more than a tenth: {told}."
    return Drawing(figure, pd.DataFrame(table), alt, caption)


def draw_factors(table: Mapping[str, np.ndarray]) -> Figure:
    """Histograms of output over input, on a logarithmic axis: label -> the quotients."""
    figure, axes = subplots(figsize=(6.8, 3.2))
    for (label, factor), colour, dashes in zip(table.items(), PALETTE, ("-", "--", ":"), strict=False):
        axes.hist(factor, np.linspace(0.15, 0.61, 93).tolist(), weights=np.full(len(factor), 100 / len(factor)),
                  histtype="step", color=colour, ls=dashes, label=label)  # fmt: skip
    axes.axvline(NO_COMPETITION, color="#555555", lw=0.8)
    axes.set(xlabel="output / input", ylabel="active units (%)", yscale="log", ylim=(1e-3, 200))
    axes.legend(loc="upper left", fontsize=9)
    return figure


def felt(factors: np.ndarray) -> float:
    """Share (per cent) of the units that competition turns down by more than a tenth."""
    return 100 * float((factors < FELT).mean())


def factors_in(net: nn.Module, crops: Tensor) -> dict[str, np.ndarray]:
    """Layer of a net -> output over input of its active units (input above zero), for each response normalisation."""
    found: dict[str, np.ndarray] = {}
    handles = []
    for name, layer in net.named_modules():
        if isinstance(layer, LocalResponseNorm):

            def keep(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor, name: str = name) -> None:
                found[name] = (output / inputs[0])[inputs[0] > 0].numpy()

            handles.append(layer.register_forward_hook(keep))
    with torch.no_grad():
        net(crops)
    for handle in handles:
        handle.remove()
    return found


def trained_factors(ours: np.ndarray, trained: Mapping[str, np.ndarray], seed: int) -> Drawing:
    """The histogram of :func:`factors_in` of one recorded net, beside that of our kernels with the same alpha."""
    figure = draw_factors({"our kernels": ours} | {f"{name} of a trained net": each for name, each in trained.items()})
    figure.axes[0].set_title(f"α = {plain(AS_RUN)}; recorded baseline, seed {seed}, sample (proxy)")
    alt = (
        f"Histograms of output over input of active units: {felt(ours):.1f} % of our kernels' are below {FELT:.2f}, "
        + ", ".join(f"{felt(each):.0f} % in {name}" for name, each in trained.items())
        + f" of a trained net, where they reach down to {min(each.min() for each in trained.values()):.2f}."
    )
    told = " and ".join(f"{felt(each):.0f} % of the active units of {name}" for name, each in trained.items())
    caption = f"In this trained net competition turns down {told} by more than a tenth; {felt(ours):.1f} % with ours."
    table = pd.DataFrame({name: pd.Series(each) for name, each in {"ours": ours, **trained}.items()})
    return Drawing(figure, table, alt, caption)
