"""Response normalisation on a CPU, fast: the same formula block by block."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# ---------------------------------------------------------------------------------------------------------
# In any memory format


class ResponseNorm(torch.autograd.Function):
    """x * d ** -beta with d = k + coefficient * W(x^2), where W sums over a window and is its own transpose.

    The derivative needs W once more: dx = g d^-beta - 2 coefficient beta x W(g x d^(-beta-1)). Only x and d are
    kept for it; autograd through the formula keeps five tensors of that size.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, window: Callable[[Tensor], Tensor], k: float, coefficient: float, beta: float
    ) -> Tensor:
        d, y, constant = torch.empty_like(x), torch.empty_like(x), x.new_tensor(k)
        for a, part, b in images_in_cache(x, d, y):
            torch.add(constant, window(a * a), alpha=coefficient, out=part)
            torch.mul(negative_power(part, beta), a, out=b)
        ctx.save_for_backward(x, d)
        ctx.window, ctx.coefficient, ctx.beta = window, coefficient, beta
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None, None, None]:
        x, d = ctx.saved_tensors
        dx = torch.empty_like(x)
        for a, part, ga, da in images_in_cache(x, d, g, dx):
            scaled = negative_power(part, ctx.beta).mul_(ga)
            shared = ctx.window((scaled * a).div_(part))
            torch.addcmul(scaled, shared, a, value=-2 * ctx.coefficient * ctx.beta, out=da)
        return dx, None, None, None, None


def images_in_cache(*maps: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """A few images of ``maps`` at a time on a CPU, so that temporaries stay in its cache; elsewhere all images."""
    images, numbers = len(maps[0]), maps[0][:1].numel()
    step = max(1, IN_CACHE // numbers) if maps[0].device.type == "cpu" and numbers else max(1, images)
    return zip(*(each.split(step) for each in maps), strict=True)


def negative_power(d: Tensor, beta: float, out: Tensor | None = None, spare: Tensor | None = None) -> Tensor:
    """d ** -beta; two square roots for the paper's 0.75, where a power costs several times more."""
    if beta == 0.75:
        root = torch.rsqrt(d, out=out)
        return root.mul_(torch.sqrt(root, out=spare))
    return torch.pow(d, -beta, out=out)


# ---------------------------------------------------------------------------------------------------------
# Over NHWC maps on a CPU: a few pixels at a time, sums as products with a banded matrix


Block = tuple[slice, slice, Tensor]
"""Maps read, maps written, and the matrix of ones and zeros between them."""
BLOCK = 32
"""Columns of a block: more columns multiply more zeros, fewer make matrix products slow (measured: 32, 48, all)."""
IN_CACHE = 2**17  # Numbers in a temporary; a few of that size fit into a core's second cache


@functools.cache
def band(length: int, n: int, groups: int, dtype: torch.dtype) -> Tensor:
    """The matrix of ones and zeros that sums over the n places around each of ``length``, within its group."""
    with torch.inference_mode(False):  # tensors made in that mode cannot be used for training later
        place = torch.arange(length)
        near = (place[:, None] - place).abs() <= n // 2
        return (near & (place[:, None] * groups // length == place * groups // length)).to(dtype)


@functools.cache
def window_blocks(maps: int, n: int, groups: int, dtype: torch.dtype) -> tuple[Block, ...]:
    """The sum over the n maps around each, within its tower, as products with blocks of a banded matrix."""
    blocks = []
    with torch.inference_mode(False):
        for start in range(0, maps, BLOCK):
            out = slice(start, min(start + BLOCK, maps))
            read = slice(max(0, out.start - n // 2), min(maps, out.stop + n // 2))
            blocks.append((read, out, band(maps, n, groups, dtype)[read, out].clone()))
    return tuple(blocks)


def in_cache(maps: Sequence[Tensor], spare: int) -> Iterator[tuple[Tensor, ...]]:
    """A few pixels of NHWC ``maps`` at a time, as rows (P, C), and ``spare`` buffers of that shape, reused."""
    rows = [m.permute(0, 2, 3, 1).flatten(0, 2) for m in maps]
    count, width = rows[0].shape
    step = min(count, max(1, IN_CACHE // width))
    buffers = [rows[0].new_empty(step, width) for _ in range(spare)]
    for start in range(0, count, step):
        here = [r[start : start + step] for r in rows]
        yield (*here, *(buffer[: len(here[0])] for buffer in buffers))


def sum_windows(rows: Tensor, blocks: Sequence[Block], out: Tensor) -> Tensor:
    """out = sums over windows of the columns of ``rows``."""
    for read, written, part in blocks:
        torch.mm(rows[:, read], part, out=out[:, written])
    return out


class ChannelNorm(torch.autograd.Function):
    """:class:`ResponseNorm` over the channels of NHWC maps on a CPU, a few pixels at a time, so that they stay cached.

    Fresh pages for temporaries as large as the maps cost more than the arithmetic. Only x is kept; d is recomputed.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, blocks: tuple[Block, ...], k: float, alpha: float, beta: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.blocks, ctx.k, ctx.alpha, ctx.beta = blocks, k, alpha, beta
        y, constant = torch.empty_like(x), x.new_tensor(k)
        for a, b, squares, d in in_cache((x, y), spare=2):
            sum_windows(torch.mul(a, a, out=squares), blocks, out=d)
            torch.add(constant, d, alpha=alpha, out=d)
            torch.mul(negative_power(d, beta, out=squares, spare=d), a, out=b)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None, None, None]:
        (x,) = ctx.saved_tensors
        g = g.contiguous(memory_format=torch.channels_last)
        dx, constant = torch.empty_like(x), x.new_tensor(ctx.k)
        for a, ga, da, scaled, d, spare in in_cache((x, g, dx), spare=3):
            sum_windows(torch.mul(a, a, out=spare), ctx.blocks, out=d)
            torch.add(constant, d, alpha=ctx.alpha, out=d)
            negative_power(d, ctx.beta, out=scaled, spare=spare).mul_(ga)
            sum_windows(torch.mul(scaled, a, out=spare).div_(d), ctx.blocks, out=d)
            torch.addcmul(scaled, d, a, value=-2 * ctx.alpha * ctx.beta, out=da)
        return dx, None, None, None, None
