"""Response normalisation (section 3.3): the formula, and the layers of both readings."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paperlib.errors import PaperlibError
from paperlib.nets.lrn_cpu import ChannelNorm, ResponseNorm, band, window_blocks


def local_response_norm(a: Tensor, n: int = 5, k: float = 2.0, alpha: float = 1e-4, beta: float = 0.75) -> Tensor:
    """Section 3.3 as it is written: b_i = a_i / (k + alpha * sum of a_j^2 over the n maps around map i) ** beta.

    ``a`` is (B, C, H, W). ``alpha`` multiplies the plain sum; PyTorch's own layer divides its alpha by n first,
    and so did the authors' code (layer.py:1183). Raises :class:`PaperlibError` for an even ``n``.
    """
    check_norm(n, k)
    maps = a.shape[1]
    squares = F.pad(a**2, (0, 0, 0, 0, n // 2, n // 2))  # the sum is cut off at the first and the last map
    total = sum(squares[:, j : j + maps] for j in range(n))
    return a / (k + alpha * total) ** beta


def check_norm(n: int, k: float) -> None:
    """Refuse an even window, which has no middle map, and a constant at which a silent unit divides by zero."""
    if n < 1 or n % 2 == 0:
        raise PaperlibError(f"response normalisation takes an odd window, not n={n}; its middle is the map itself")
    if k <= 0:
        raise PaperlibError(f"response normalisation needs k > 0, not k={k:g}; the paper has 2")


def window_sum(x: Tensor, n: int, dim: int) -> Tensor:
    """Sums over ``n`` (odd) neighbours along ``dim``, cut off at both ends; the shape and memory format of ``x``."""
    total = x.clone()
    length = x.shape[dim]
    for shift in range(1, min(n // 2, length - 1) + 1):
        rest = length - shift
        total.narrow(dim, shift, rest).add_(x.narrow(dim, 0, rest))
        total.narrow(dim, 0, rest).add_(x.narrow(dim, shift, rest))
    return total


class LocalResponseNorm(nn.Module):
    """Section 3.3: the fast form of :func:`local_response_norm`.

    Args:
        n: maps in the window, odd, the normalised one in the middle.
        k: the constant in the denominator.
        alpha: coefficient of the plain sum of squares (the 2012 code and PyTorch divide theirs by n).
        beta: the exponent.
        groups: towers that are normalised separately, each an equal share of the maps in order.

    Raises :class:`PaperlibError` for an even ``n``, and for maps that ``groups`` does not divide.
    """

    def __init__(self, n: int = 5, k: float = 2.0, alpha: float = 1e-4, beta: float = 0.75, groups: int = 1) -> None:
        super().__init__()
        check_norm(n, k)
        self.n, self.k, self.alpha, self.beta, self.groups = n, k, alpha, beta, groups

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] % self.groups:
            raise PaperlibError(f"{x.shape[1]} maps cannot be shared out among {self.groups} towers")
        half = x.dtype in (torch.bfloat16, torch.float16)
        if half and torch.is_autocast_enabled(x.device.type):  # too few digits for k + a small sum
            x = x.float()
        out: Tensor
        if x.device.type == "cpu" and x.is_contiguous(memory_format=torch.channels_last):
            blocks = window_blocks(x.shape[1], self.n, self.groups, x.dtype)
            out = ChannelNorm.apply(x, blocks, self.k, self.alpha, self.beta)
        else:
            out = ResponseNorm.apply(x, self.window, self.k, self.alpha, self.beta)
        return out

    def window(self, squares: Tensor) -> Tensor:
        """Sums over the n maps around each, within its tower."""
        return window_sum(squares.unflatten(1, (self.groups, -1)), self.n, dim=2).flatten(1, 2)

    def extra_repr(self) -> str:
        return f"n={self.n}, k={self.k:g}, alpha={self.alpha:g}, beta={self.beta:g}, groups={self.groups}"


class SpatialResponseNorm(nn.Module):
    """The third normalisation of net #145, absent from the paper: over ``size`` x ``size`` pixels of a map.

    x / (1 + scale / size^2 * sum of squares) ** power, the sum cut off at the edges of the map. The defaults are
    those of cnorm2 (layers-145.cfg and layer-params-145.cfg; the division by size^2 is layer.py:1183).
    """

    def __init__(self, size: int = 5, scale: float = 1e-3, power: float = 0.75) -> None:
        super().__init__()
        check_norm(size, 1.0)
        self.size, self.scale, self.power = size, scale, power

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = ResponseNorm.apply(x, self.window, 1.0, self.scale / self.size**2, self.power)
        return out

    def window(self, squares: Tensor) -> Tensor:
        """Sums over the square around each pixel: along the columns, then along the rows.

        Over NHWC maps on a CPU, products with a banded matrix take a third of the time of sums of shifted maps.
        """
        if squares.device.type == "cpu" and squares.is_contiguous(memory_format=torch.channels_last):
            pixels = squares.permute(0, 2, 3, 1)
            down, across = (band(side, self.size, 1, squares.dtype) for side in squares.shape[2:])
            columns = torch.matmul(down, pixels.flatten(2)).view(pixels.shape)
            return torch.matmul(across, columns).permute(0, 3, 1, 2)
        return window_sum(window_sum(squares, self.size, dim=2), self.size, dim=3)

    def extra_repr(self) -> str:
        return f"size={self.size}, scale={self.scale:g}, power={self.power:g}"
