"""Confidence intervals: pooled, Welch's and one-sample t, and Dunnett's for many arms against one control.

Every function takes its share of the error rate, so that the intervals of one experiment hold together
(:mod:`paperlib.evidence.decide` divides 5 % among them). Values are points of error or logarithms of times. SciPy is
imported where it is used, and ``scipy.stats`` not at all, since importing that takes most of a second.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval. Both ends are NaN where the data give no width."""

    estimate: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Spread:
    """A variance of single runs and its degrees of freedom."""

    variance: float = math.nan
    df: int = 0


def pooled(groups: Iterable[Sequence[float]]) -> Spread:
    """The variance within groups; a group of one adds nothing."""
    some = [np.asarray(group, dtype=float) for group in groups if len(group) > 1]
    df = sum(len(group) - 1 for group in some)
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in some)
    return Spread(squares / df, df) if df else Spread()


def critical_t(share: float, df: float) -> float:
    """Two-sided critical value of Student's t; NaN without degrees of freedom."""
    from scipy import special

    return float(-special.stdtrit(df, share / 2)) if df > 0 else math.nan


def of_mean(values: Sequence[float], share: float) -> Interval:
    """One-sample t interval of a mean."""
    if not len(values):
        return Interval(math.nan)
    estimate, spread = float(np.mean(values)), pooled([values])
    half = critical_t(share, spread.df) * math.sqrt(spread.variance / len(values))
    return Interval(estimate, estimate - half, estimate + half)


def of_difference(
    a: Sequence[float], b: Sequence[float], spread_a: Spread, spread_b: Spread, share: float, critical: float = math.nan
) -> Interval:
    """Interval of mean(b) - mean(a) with the spread of each arm's pool.

    Equal spreads are one pool: pooled t, or Dunnett's with its ``critical`` value. Different ones are combined as
    Welch does.
    """
    if not (len(a) and len(b)):
        return Interval(math.nan)
    estimate = float(np.mean(b) - np.mean(a))
    parts = (spread_a.variance / len(a), spread_b.variance / len(b))
    if math.isnan(critical):
        df = spread_a.df if spread_a == spread_b else _satterthwaite(parts, (spread_a.df, spread_b.df))
        critical = critical_t(share, df)
    half = critical * math.sqrt(sum(parts))
    return Interval(estimate, estimate - half, estimate + half)


def of_log_ratio(a: Sequence[float], b: Sequence[float], share: float) -> Interval:
    """Welch's interval of mean(log b) - mean(log a)."""
    return welch(np.log(a).tolist(), np.log(b).tolist(), share)


def welch(a: Sequence[float], b: Sequence[float], share: float) -> Interval:
    """Welch's interval of mean(b) - mean(a)."""
    of_a, of_b = pooled([a]), pooled([b])
    if of_a == of_b:  # by chance, and not as arms of one pool
        of_a = of_b = pooled([a, b])
    return of_difference(a, b, of_a, of_b, share)


def _satterthwaite(parts: Sequence[float], dfs: Sequence[int]) -> float:
    if not all(dfs):
        return math.nan
    below = sum(part**2 / df for part, df in zip(parts, dfs, strict=True))
    return sum(parts) ** 2 / below if below else float(sum(dfs))


@cache
def dunnett(arms: tuple[int, ...], control: int, df: int, share: float) -> float:
    """Two-sided critical value of Dunnett's test: c with P(max |T_i| <= c) = 1 - ``share``.

    ``arms`` and ``control`` are numbers of seeds, ``df`` the degrees of freedom of the common variance. The
    correlations are products, rho_ij = l_i l_j with l_i = sqrt(n_i / (n_i + n_0)), so that given the control's mean z
    and the standard deviation s all T_i are independent, and P is an integral over z and s: Gauss quadrature, the same
    on every machine.
    """
    from scipy import optimize

    if df < 1 or not arms:
        return math.nan
    if len(arms) == 1:
        return critical_t(share, df)
    # Bonferroni's value is too large, that of a single comparison too small
    low, high = critical_t(share, df), critical_t(share / len(arms), df)
    return float(optimize.brentq(lambda c: dunnett_probability(c, arms, control, df) - (1 - share), low, high))


def dunnett_probability(c: float, arms: Sequence[int], control: int, df: int) -> float:
    """P(max |T_i| <= c), see :func:`dunnett`."""
    from scipy import special

    z, z_weights, s, s_weights = _grid(df)
    inside = np.ones((len(s), len(z)))
    for n in arms:
        loading = math.sqrt(n / (n + control))
        alone = math.sqrt(1 - loading**2)
        middle, reach = loading * z[None, :] / alone, c * s[:, None] / alone
        inside *= special.ndtr(middle + reach) - special.ndtr(middle - reach)
    return float(s_weights @ inside @ z_weights)


@cache
def _grid(df: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Nodes and weights for a standard normal z, and for s with df s² distributed as chi squared."""
    from scipy import special

    nodes, weights = np.polynomial.legendre.leggauss(160)
    z = 8.5 * nodes
    z_weights = weights * np.exp(-(z**2) / 2)
    low, high = (math.sqrt(2 * tail(df / 2, 1e-13) / df) for tail in (special.gammaincinv, special.gammainccinv))
    s = low + (high - low) * (nodes + 1) / 2
    s_weights = weights * np.exp((df - 1) * np.log(s) - df * (s**2 - 1) / 2)
    return z, z_weights / z_weights.sum(), s, s_weights / s_weights.sum()
