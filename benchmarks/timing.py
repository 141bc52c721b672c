"""Timing two ways of doing one thing side by side, and what this machine could do at best."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

Work = Callable[[], object]
ROUNDS = 7


@dataclass(frozen=True)
class Result:
    """Ours against the alternative: medians in ``unit``, their ratio (above 1: ours is faster) with the quartiles
    over the rounds, the ``aim`` of the ratio where there is one, and ``reference``, in ``unit`` too: what this
    machine does at its rate of matrix products or copies, or, of images/s, when it decodes and does nothing else.
    ``aimed_share`` is an aim of its own, as a share of that rate: 0.6 where ours should take at most 1 / 0.6 of it.
    """

    what: str
    against: str
    ours: float
    theirs: float
    unit: str
    ratio: float
    low: float
    high: float
    aim: float | None = None
    reference: float | None = None
    aimed_share: float | None = None


def seconds(work: Work) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(
    what: str, against: str, ours: Work, theirs: Work, *, aim: float | None = None, reference: float | None = None,
    aimed_share: float | None = None, rounds: int = ROUNDS, images: int = 0,
) -> Result:  # fmt: skip
    """Time both in turn, after one call of each that does not count; the rest is :func:`summary`'s."""
    ours()
    theirs()
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(rounds)]
    result = summary(what, against, pairs, aim=aim, reference=reference, images=images)
    return replace(result, aimed_share=aimed_share)


def summary(
    what: str, against: str, pairs: Sequence[tuple[float, float]], *, aim: float | None = None,
    reference: float | None = None, images: int = 0,
) -> Result:  # fmt: skip
    """The result of rounds of (ours, theirs), in seconds as ``reference`` is: in ms, or, of ``images``, in images/s."""

    def number(time: float) -> float:
        return round(images / time if images else 1e3 * time, 3)

    mine, other = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratios = [b / a for a, b in pairs]
    low, _, high = (round(quartile, 3) for quartile in statistics.quantiles(ratios, n=4))
    return Result(
        what, against, number(mine), number(other), "images/s" if images else "ms",
        round(statistics.median(ratios), 3), low, high, aim, None if reference is None else number(reference),
    )  # fmt: skip


def share(what: str, against: str, pairs: Sequence[tuple[float, float]]) -> Result:
    """What part of the whole a part takes, from rounds of (part, whole): in per cent, and as whole / part."""
    result = summary(what, against, pairs)
    return replace(result, ours=round(100 / result.ratio, 3), theirs=100.0, unit="%")


def matmul_rate(size: int = 1536) -> float:
    """Floating-point operations a second in a square matrix product, float32."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    best = min(seconds(lambda: a @ b) for _ in range(9))
    return float(2 * size**3 / best)


def copy_rate(megabytes: int = 128) -> float:
    """Bytes a second that a copy reads and writes together."""
    source = torch.ones(megabytes * 2**18)
    target = torch.empty_like(source)
    target.copy_(source)
    best = min(seconds(lambda: target.copy_(source)) for _ in range(9))
    return 2 * megabytes * 2**20 / best
