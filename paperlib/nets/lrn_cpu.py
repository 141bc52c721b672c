"""Response normalisation on a CPU, fast: the same formula block by block, or in compiled steps."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

logger = logging.getLogger(__name__)


# ---------------------------------------------------------------------------------------------------------
# In any memory: autograd through the formula would keep five tensors


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
    """A few images of ``maps`` at a time on a CPU, whose temporaries stay in its cache; elsewhere all of them."""
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
"""Columns of a block: more multiply more zeros, fewer are poorly used by a matrix product (measured: 32, 48, all)."""
IN_CACHE = 2**17
"""Numbers of a temporary: a few such stay in a core's second cache."""


def pixels_in_cache(width: int, times: int = 1) -> int:
    """Pixels of ``width`` maps whose numbers are ``times`` :data:`IN_CACHE`."""
    return max(1, times * IN_CACHE // width)


@functools.cache
def band(length: int, n: int, groups: int, dtype: torch.dtype) -> Tensor:
    """The matrix of ones and zeros that sums over the n places around each of ``length``, within its group."""
    with torch.inference_mode(False):  # what is made in that mode could not be used for training later
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


def in_cache(maps: Sequence[Tensor], spare: int, times: int = 1) -> Iterator[tuple[Tensor, ...]]:
    """A few pixels of NHWC ``maps`` at a time, as rows (P, C), and ``spare`` buffers of that shape, used again.

    ``times`` as many pixels where fewer temporaries are made of them.
    """
    rows = [m.permute(0, 2, 3, 1).flatten(0, 2) for m in maps]
    count, width = rows[0].shape
    step = min(count, pixels_in_cache(width, times))
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
    """:class:`ResponseNorm` over the channels of NHWC maps on a CPU: a few pixels at a time, which stay in its cache.

    Fresh pages for temporaries of the maps' size cost more than the arithmetic. Only x is kept; d is computed again.
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


# ---------------------------------------------------------------------------------------------------------
# The same in compiled steps


compiling_now = False


def use_compiler(on: bool = True) -> None:
    """Compile the response normalisation of NHWC maps on a CPU, for this process, from now on.

    Faster after half a minute of compilation, and equal but for rounding. Where torch.compile does not work, as
    without a C++ compiler, a warning says so and nothing changes.
    """
    global compiling_now
    compiling_now = on and compiler()


def compiling() -> bool:
    """Whether :func:`use_compiler` is in force."""
    return compiling_now


@functools.cache
def compiler() -> bool:
    """Whether torch.compile works here; a warning if not."""
    try:
        torch.compile(torch.neg)(torch.ones(2))
    except Exception as error:  # the kinds of failure are torch's own, and many
        logger.warning("torch.compile does not work here (%s): nothing is compiled", type(error).__name__)
        return False
    return True


FEWER = 4
"""Compiled steps make fewer temporaries, so that so many times more pixels stay in the cache."""
Step = Callable[..., Tensor]
"""A part of the arithmetic of a chunk of pixels: rows (P, groups, C / groups), and rows with zeros at both ends."""


@functools.cache
def compiled(step: Step) -> Step:
    """A step, as a kernel of its own for each shape of a chunk; torch keeps eight, and runs others uncompiled."""
    kernel: Step = torch.compile(step, dynamic=False)
    return kernel


def as_it_is(step: Step) -> Step:
    """The step itself."""
    return step


def between(padded: Tensor, maps: int) -> Tensor:
    """What lies between the zeros."""
    margin = (padded.shape[-1] - maps) // 2
    return padded[..., margin : margin + maps]


def shifted_sum(padded: Tensor, maps: int, start: float) -> Tensor:
    """``start`` + the sum over the window around each of ``maps``, which lie between the zeros of ``padded``."""
    total = padded[..., :maps] + start
    for j in range(1, padded.shape[-1] - maps + 1):
        total += padded[..., j : j + maps]
    return total


def square(a: Tensor, squares: Tensor, alpha: float) -> Tensor:
    """alpha a^2, into ``squares``."""
    return between(squares, a.shape[-1]).copy_(alpha * a * a)


def normalise(a: Tensor, squares: Tensor, b: Tensor, k: float, beta: float) -> Tensor:
    """b = a d^-beta with d = k + W(``squares``)."""
    return b.copy_(a * negative_power(shifted_sum(squares, a.shape[-1], k), beta))


def share_out(a: Tensor, g: Tensor, squares: Tensor, shares: Tensor, k: float, beta: float) -> Tensor:
    """g d^-beta, what a neuron's gradient has from its own output; into ``shares`` its part in that of others."""
    d = shifted_sum(squares, a.shape[-1], k)
    own = g * negative_power(d, beta)
    between(shares, a.shape[-1]).copy_(own * a / d)
    return own


def gather(a: Tensor, own: Tensor, shares: Tensor, da: Tensor, factor: float) -> Tensor:
    """da = ``own`` + factor a W(``shares``)."""
    return da.copy_(own + factor * a * shifted_sum(shares, a.shape[-1], 0.0))


class CompiledNorm(torch.autograd.Function):
    """:class:`ChannelNorm` in compiled steps, where sums of shifted rows are faster than products with a matrix."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, n: int, groups: int, k: float, alpha: float, beta: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.n, ctx.groups, ctx.k, ctx.alpha, ctx.beta = n, groups, k, alpha, beta
        y = torch.empty_like(x)
        for done, a, b, squares in in_steps((x, y), groups, n, spare=1):
            done(square)(a, squares, alpha)
            done(normalise)(a, squares, b, k, beta)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        (x,) = ctx.saved_tensors
        g = g.contiguous(memory_format=torch.channels_last)
        dx = torch.empty_like(x)
        for done, a, ga, da, squares, shares in in_steps((x, g, dx), ctx.groups, ctx.n, spare=2):
            done(square)(a, squares, ctx.alpha)
            own = done(share_out)(a, ga, squares, shares, ctx.k, ctx.beta)
            done(gather)(a, own, shares, da, -2 * ctx.alpha * ctx.beta)
        return dx, None, None, None, None, None


def in_steps(maps: Sequence[Tensor], groups: int, n: int, spare: int) -> Iterator[tuple[Any, ...]]:
    """:func:`in_cache` by groups, its buffers padded; first what makes of a step one that runs, compiled or (for the
    pixels that are left over) not.
    """
    buffers: list[Tensor] = []
    for rows in in_cache(maps, spare=0, times=FEWER):
        chunk = [r.unflatten(1, (groups, -1)) for r in rows]
        pixels, _, channels = chunk[0].shape
        if not buffers:
            shape, precise = (pixels, groups, channels + n - 1), torch.promote_types(rows[0].dtype, torch.float32)
            buffers = [rows[0].new_zeros(shape, dtype=precise) for _ in range(spare)]
        done = compiled if pixels == pixels_in_cache(groups * channels, FEWER) else as_it_is
        yield done, *chunk, *(buffer[:pixels] for buffer in buffers)
