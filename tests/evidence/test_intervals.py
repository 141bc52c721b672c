"""Intervals and Dunnett's critical values: SciPy's, published tables, and calculations by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from paperlib.evidence import intervals
from paperlib.evidence.intervals import Spread

unhurried = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=40)


def groups(*sizes: int, seed: int = 0) -> list[list[float]]:
    random = np.random.default_rng(seed)
    return [[float(x) for x in 30 + i + 0.7 * random.standard_normal(n)] for i, n in enumerate(sizes)]


# ------------------------------------------------------------------------------------------ Dunnett


@pytest.mark.parametrize(
    ("k", "df", "share", "value"),  # Dunnett (1964), two-sided, as textbooks print them
    [
        (2, 10, 0.05, 2.57), (3, 20, 0.05, 2.54), (5, 30, 0.05, 2.66), (2, 20, 0.05, 2.38), (9, 60, 0.05, 2.77),
        (2, 10, 0.01, 3.53), (3, 20, 0.01, 3.29), (2, 20, 0.01, 3.13),
    ],
)  # fmt: skip
def test_critical_values_are_those_of_the_tables(k: int, df: int, share: float, value: float) -> None:
    assert intervals.dunnett((5,) * k, 5, df, share) == pytest.approx(value, abs=0.006)


@unhurried
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 200), st.sampled_from([0.05, 0.01, 0.003]))
def test_with_one_arm_it_is_students_t(n: int, control: int, df: int, share: float) -> None:
    c = stats.t.isf(share / 2, df)
    assert intervals.dunnett((n,), control, df, share) == pytest.approx(c)
    assert intervals.dunnett_probability(c, (n,), control, df) == pytest.approx(1 - share, abs=2e-6)


@unhurried
@given(st.lists(st.integers(2, 15), min_size=2, max_size=8), st.integers(2, 20), st.integers(3, 120))
def test_it_lies_between_one_comparison_and_bonferroni(arms: list[int], control: int, df: int) -> None:
    c = intervals.dunnett(tuple(arms), control, df, 0.05)
    assert stats.t.isf(0.025, df) < c <= stats.t.isf(0.025 / len(arms), df) + 1e-9


@pytest.mark.parametrize("sizes", [(5, 5, 5, 5), (15, 5, 5, 5, 3), (4, 8)])
def test_intervals_are_those_of_scipys_dunnett(sizes: tuple[int, ...]) -> None:
    """Where family and pool coincide. SciPy integrates by random points."""
    control, *arms = groups(*sizes)
    theirs = stats.dunnett(*arms, control=control, random_state=np.random.default_rng(1)).confidence_interval(0.95)
    spread = intervals.pooled([control, *arms])
    critical = intervals.dunnett(tuple(map(len, arms)), len(control), spread.df, 0.05)
    for arm, low, high in zip(arms, theirs.low, theirs.high, strict=True):
        mine = intervals.of_difference(control, arm, spread, spread, 0.05, critical)
        assert mine.estimate == pytest.approx((low + high) / 2)
        assert mine.high - mine.low == pytest.approx(high - low, rel=0.01)


# ------------------------------------------------------------------------------------------ t


@unhurried
@given(st.integers(2, 9), st.integers(2, 15), st.integers(0, 99), st.sampled_from([0.05, 0.01]))
def test_t_intervals_are_those_of_scipy(n: int, m: int, seed: int, share: float) -> None:
    a, b = groups(n, m, seed=seed)
    spread = intervals.pooled([a, b])
    cases = [
        (intervals.of_difference(a, b, spread, spread, share), stats.ttest_ind(b, a)),
        (intervals.welch(a, b, share), stats.ttest_ind(b, a, equal_var=False)),
        (intervals.welch(a, [x + 1.0 for x in a], share), stats.ttest_ind([x + 1.0 for x in a], a, equal_var=False)),
        (intervals.of_log_ratio(a, b, share), stats.ttest_ind(np.log(b), np.log(a), equal_var=False)),
        (intervals.of_mean(a, share), stats.ttest_1samp(a, 0)),
    ]  # fmt: skip
    for mine, theirs in cases:
        expected = theirs.confidence_interval(1 - share)
        assert (mine.low, mine.high) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_a_pool_by_hand() -> None:
    """Squares 2 + 2 + 0 about means 1, 5 and 9; degrees of freedom 2 + 1 + 0."""
    assert intervals.pooled([[0, 1, 2], [4, 6], [9], []]) == Spread(4 / 3, 3)
    assert intervals.pooled([[1], []]).df == 0


def test_a_larger_pool_narrows_the_interval_of_the_same_arms() -> None:
    a, b, *others = groups(3, 3, *[5] * 20)
    alone, together = intervals.pooled([a, b]), intervals.pooled([a, b, *others])
    assert together.df == alone.df + 80
    critical = [intervals.critical_t(0.05, each.df) for each in (alone, together)]
    assert critical[1] < 0.75 * critical[0]


def test_without_degrees_of_freedom_there_is_no_interval() -> None:
    for found in (
        intervals.of_mean([2.0], 0.05), intervals.of_log_ratio([1.0], [2.0, 3.0], 0.05),
        intervals.of_difference([1.0], [2.0], Spread(), Spread(), 0.05),
    ):  # fmt: skip
        assert math.isfinite(found.estimate) and math.isnan(found.low) and math.isnan(found.high)
    assert math.isnan(intervals.dunnett((3, 3), 3, 0, 0.05)) and math.isnan(intervals.of_mean([], 0.05).estimate)
    assert math.isnan(intervals.of_log_ratio([], [2.0], 0.05).estimate)
