"""What the kernels of conv1 have learnt (section 6.1, Figure 3): colour, orientation, frequency, in numbers.

Kernels are (K, C, h, w). The paper only looks at them; what is measured, and against what chance, is ours.
"""

from __future__ import annotations

import torch
from torch import Tensor

from paperlib.errors import PaperlibError

# ---------------------------------------------------------------------------------------------------------
# Colour


def colour_index(kernels: Tensor) -> Tensor:
    """Share of a kernel's energy outside the grey axis: (K,) from kernels (K, 3, h, w); 0 is grey, 1 pure colour.

    At each place of a kernel its three weights are split into their mean, which sees brightness, and the rest, which
    sees colour; the index is the rest's share of the sum of squares. A random kernel has 2/3 on average; one of
    zeros has no colour, 0. (The paper only looks: "largely color-agnostic", "color-specific".)
    """
    if kernels.ndim != 4 or kernels.shape[1] != 3:
        raise PaperlibError(f"a colour index needs kernels (K, 3, h, w), not {tuple(kernels.shape)}")
    weights = kernels.double()
    colour = (weights - weights.mean(1, keepdim=True)).square().sum((1, 2, 3))
    energy = weights.square().sum((1, 2, 3))
    return colour / energy.clamp(min=torch.finfo(torch.float64).tiny)


def tower_colour(kernels: Tensor) -> Tensor:
    """Mean colour index of each tower, (2,), from the kernels (K, 3, h, w) of conv1, tower after tower."""
    return colour_index(kernels).unflatten(0, (2, -1)).mean(1)


def gaps_by_chance(index: Tensor, generator: torch.Generator, splits: int = 10_000) -> Tensor:
    """The distance between the means of two random halves of ``index`` (K,), for each of the halvings: (splits,).

    Two towers always differ somehow: this is by how much, where nothing has specialised them (S6.1-b).
    """
    orders = torch.rand(splits, len(index), generator=generator).argsort(1)
    means = index[orders].unflatten(1, (2, len(index) // 2)).mean(2)
    return (means[:, 0] - means[:, 1]).abs()


# ---------------------------------------------------------------------------------------------------------
# Orientation and frequency

SPECTRUM = 33
"""Frequencies along each axis: kernels are padded with zeros to this side. Odd, so that each has its opposite."""


def spectrum(kernels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Power (K, F, F) of kernels (K, C, h, w) at each frequency, and the frequencies (F, F), vertical and horizontal.

    Frequencies are in cycles a pixel, -0.5 to 0.5. The channels' powers are added. Each channel has its mean taken
    off first: a kernel that averages has no orientation, and no frequency but 0, whose power is left out.
    """
    centred = kernels.double() - kernels.double().mean((2, 3), keepdim=True)
    power = torch.fft.fft2(centred, s=(SPECTRUM, SPECTRUM)).abs().square().sum(1)
    power[:, 0, 0] = 0
    along = torch.fft.fftfreq(SPECTRUM, dtype=torch.float64)
    return power, along[:, None].expand(SPECTRUM, SPECTRUM), along[None].expand(SPECTRUM, SPECTRUM)


def orientation_selectivity(kernels: Tensor) -> Tensor:
    """How far the power of each kernel has one orientation: (K,); 0 none, 1 a grating. One minus the circular variance.

    The length of the mean of exp(2i angle) over the spectrum; twice, as an angle and its opposite are one
    orientation. A kernel without variation has none, 0.
    """
    power, vertical, horizontal = spectrum(kernels)
    angles = 2 * torch.atan2(vertical, horizontal)
    mean = torch.complex(power * angles.cos(), power * angles.sin()).sum((1, 2)).abs()
    return mean / power.sum((1, 2)).clamp(min=torch.finfo(torch.float64).tiny)


def bandwidth(kernels: Tensor) -> Tensor:
    """Over how many octaves the power of each kernel is spread: (K,), the standard deviation of log2 frequency.

    The smaller, the more selective for a frequency. A kernel without variation has no frequency: NaN.
    """
    power, vertical, horizontal = spectrum(kernels)
    octaves = torch.hypot(vertical, horizontal).clamp(min=1 / (2 * SPECTRUM)).log2()
    share = power / power.sum((1, 2), keepdim=True)
    mean = (share * octaves).sum((1, 2), keepdim=True)
    return (share * (octaves - mean).square()).sum((1, 2)).sqrt()


def shuffled(kernels: Tensor, generator: torch.Generator, copies: int = 20) -> Tensor:
    """So many ``copies`` of kernels (K, C, h, w) with their pixels in random order: (copies * K, C, h, w).

    A copy has the colours and contrasts of its kernel, and no orientation or frequency but by chance.
    """
    k, c, h, w = kernels.shape
    orders = torch.rand(copies * k, 1, h * w, generator=generator).argsort(-1)
    flat = kernels.flatten(2).repeat(copies, 1, 1)
    return flat.gather(2, orders.expand(-1, c, -1)).unflatten(2, (h, w))


def as_smooth(kernels: Tensor, generator: torch.Generator, copies: int = 20) -> Tensor:
    """Random kernels with the power of kernels (K, C, h, w) at each radius: (copies * K, C, h, w).

    In the periodic spectrum of h x w frequencies the power of each channel at one distance from zero is dealt out
    anew, at random, to that distance's directions. So a copy is as smooth as its kernel, and oriented by chance.
    """
    k, channels, h, w = kernels.shape
    trained = torch.fft.fft2(kernels.double()).abs().square().repeat(copies, 1, 1, 1)
    noise = torch.randn(copies * k, 1, h, w, dtype=torch.float64, generator=generator).expand(-1, channels, -1, -1)
    drawn = torch.fft.fft2(noise)
    up, along = (torch.fft.fftfreq(n, 1 / n) for n in (h, w))
    radii = (up[:, None].square() + along.square()).round()
    for radius in radii.unique():
        ring = radii == radius
        drawn[..., ring] *= (trained[..., ring].sum(-1) / drawn[..., ring].abs().square().sum(-1)).sqrt()[..., None]
    return torch.fft.ifft2(drawn).real.to(kernels.dtype)
