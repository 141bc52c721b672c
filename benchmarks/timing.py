"""Timing two ways of doing one thing side by side, and what this machine could do at best."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

Work = Callable[[], object]
ROUNDS = 7


@dataclass(frozen=True)
class Result:
    """Ours against the alternative: medians in ``unit``, their ratio (above 1: ours is faster) with the quartiles
    over the rounds, the ``aim`` of the ratio where there is one, and ``reference``, the time at this machine's
    matrix-product or copy rate, where the work is counted.
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


def seconds(work: Work) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(
    what: str, against: str, ours: Work, theirs: Work, *, aim: float | None = None, reference: float | None = None,
    rounds: int = ROUNDS,
) -> Result:  # fmt: skip
    """Time both in turn, after one call of each that does not count; ``reference`` is in seconds."""
    ours()
    theirs()
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(rounds)]
    mine, other = (1e3 * statistics.median(column) for column in zip(*pairs, strict=True))
    ratios = [b / a for a, b in pairs]
    low, _, high = statistics.quantiles(ratios, n=4)
    return Result(
        what, against, round(mine, 3), round(other, 3), "ms", round(statistics.median(ratios), 3), round(low, 3),
        round(high, 3), aim, None if reference is None else round(1e3 * reference, 3),
    )  # fmt: skip


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
