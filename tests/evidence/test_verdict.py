"""The rule: pools, families, outcomes, bounds, and what stands outside; on made-up records and by simulation."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from paperlib.errors import PaperlibError
from paperlib.evidence import decide, intervals, store
from paperlib.evidence import verdict as evidence_verdict
from paperlib.evidence.intervals import Spread
from paperlib.evidence.samples import Sample
from paperlib.evidence.verdict import Outcome, Verdict
from paperlib.experiments import declared
from paperlib.experiments.form import Comparison, Experiment
from paperlib.recipe import Stop
from tests import simulate_verdicts
from tests.made_up import FASTER, MADE_UP, crossing, declare, epoch, put

NAN = math.nan
unhurried = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)


# ------------------------------------------------------------------------------------------ outcomes

POINTS = {"metric": "test_error", "transform": "difference", "smallest_effect": 0.5}
SIX = {"question": "size", "target": 6.0}  # within a factor of 1.5: 4 to 9
TWO = {"question": "at least", "target": 2.0}


@pytest.mark.parametrize(
    ("low", "high", "of", "outcome"),
    [
        (1.2, 2.0, {}, "holds"), (1.01, 1.05, {}, "holds"),  # small, but surely there
        (0.5, 0.9, {}, "contradicted"), (0.95, 1.05, {}, "no effect"),
        (0.95, 1.2, {}, "undecided"), (0.8, 1.05, {}, "undecided"), (NAN, NAN, {}, "undecided"),
        (0.1, 0.9, POINTS, "holds"), (-0.9, -0.1, POINTS, "contradicted"), (-0.4, 0.4, POINTS, "no effect"),
        (-0.4, 0.6, POINTS, "undecided"), (-0.6, 0.4, POINTS, "undecided"),
        (4.05, 4.8, SIX, "holds"), (3.95, 4.9, SIX, "undecided"), (3.5, 6.1, SIX, "undecided"),
        (5.0, 7.0, SIX, "holds"), (4.0, 9.0, SIX, "holds"), (2.1, 3.9, SIX, "contradicted"),
        (9.1, 12.0, SIX, "contradicted"), (3.0, 4.0, SIX, "undecided"), (5.0, 20.0, SIX, "undecided"),
        (2.1, 2.9, TWO, "holds"), (2.0, 2.9, TWO, "holds"), (1.2, 1.8, TWO, "contradicted"),
        (1.2, 2.5, TWO, "undecided"),
    ],
)  # fmt: skip
def test_the_outcome_of_an_interval(low: float, high: float, of: dict[str, Any], outcome: Outcome) -> None:
    c = replace(FASTER, **of)
    assert evidence_verdict.outcome_of(c, low, high) == outcome
    sized = c.question != "direction"
    assert evidence_verdict.outcome_of(c, low, high, proxy=True) == ("undecided" if sized else outcome)


@pytest.mark.parametrize(
    ("low", "high", "of", "outcome"),
    [
        (1.5, math.inf, {}, "holds"), (0.9, math.inf, {}, "undecided"), (0.0, 0.9, {}, "contradicted"),
        (0.0, 1.05, {}, "undecided"), (2.5, math.inf, TWO, "holds"), (1.5, math.inf, TWO, "undecided"),
        (0.0, 1.5, TWO, "contradicted"), (5.0, math.inf, SIX, "undecided"), (10.0, math.inf, SIX, "undecided"),
        (0.0, 2.0, SIX, "undecided"),
    ],
)  # fmt: skip
def test_a_bound_decides_a_direction_and_never_a_size(
    low: float, high: float, of: dict[str, Any], outcome: Outcome
) -> None:
    assert evidence_verdict.outcome_of(replace(FASTER, **of), low, high, bound=True) == outcome


@pytest.mark.parametrize("of", [{}, POINTS, SIX, TWO, {**SIX, **POINTS}], ids=str)
def test_a_wider_interval_never_says_the_opposite(of: dict[str, Any]) -> None:
    """Over a grid of intervals, each against all that contain it."""
    c = replace(FASTER, **of)
    ends = [0.0, 0.5, 0.95, 1.0, 1.05, 1.9, 2.0, 3.9, 4.0, 4.1, 6.0, 8.9, 9.0, 9.1, 12.0]
    ends = sorted({*ends, *(-each for each in ends)}) if c.transform == "difference" else [x + 1e-3 for x in ends]
    said = {pair: evidence_verdict.outcome_of(c, *pair) for pair in itertools.combinations_with_replacement(ends, 2)}
    assert len({*said.values()}) >= 3
    for (low, high), outcome in said.items():
        for (lower, higher), wider in said.items():
            if lower <= low and high <= higher and outcome in ("holds", "contradicted"):
                assert wider in (outcome, "undecided", "no effect")
                assert wider != "no effect" or c.question == "direction"


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        ([], "undecided"), (["holds"], "holds"), (["holds", "holds"], "holds"),
        (["no effect", "no effect"], "no effect"), (["holds", "contradicted"], "contradicted"),
        (["undecided", "contradicted", "holds"], "contradicted"), (["holds", "undecided"], "undecided"),
        (["holds", "no effect"], "mixed"), (["no effect", "undecided"], "undecided"),
        (["mixed", "contradicted"], "contradicted"),
    ],
)  # fmt: skip
def test_parts_make_a_whole(parts: list[Outcome], whole: Outcome) -> None:
    assert {evidence_verdict.together(order) for order in itertools.permutations(parts)} == {whole}


@pytest.mark.parametrize(
    ("outcome", "own", "proxy"),
    [
        ("holds", "reproduced", "supported (proxy)"), ("contradicted", "contradicted", "contradicted (proxy)"),
        ("no effect", "no effect ≥ 0.5", "no effect ≥ 0.5 (proxy)"), ("undecided", "undecided", "undecided"),
        ("mixed", "mixed", "mixed"),
    ],
)  # fmt: skip
def test_a_proxy_is_marked_whichever_way_it_decides(outcome: Outcome, own: str, proxy: str) -> None:
    assert (
        evidence_verdict.in_words(outcome, False, "0.5") == own
        and evidence_verdict.in_words(outcome, True, "0.5") == proxy
    )


def verdict(low: float = 1.2, high: float = 2.0, n: tuple[int, ...] = (5, 5), **of: Any) -> Verdict:
    known = {name: of.pop(name) for name in ("bound", "df", "proxy", "outside") if name in of}
    estimate = math.sqrt(low * high) if of.get("transform", "log_ratio") == "log_ratio" else (low + high) / 2
    made = {"proxy": False, **known}
    return Verdict(replace(FASTER, **of), "made-up", "sample", n_of=n, estimate=estimate, low=low, high=high, **made)


@pytest.mark.parametrize(
    ("n", "df", "enough"),
    [
        ((5, 5), 0, True), ((4, 5), 0, False), ((15, 4), 19, False), ((15, 3), 20, True), ((3, 3), 139, True),
        ((15, 2), 139, False), ((5,), 0, True), ((4,), 0, False), ((0, 5), 0, False),
    ],
)  # fmt: skip
def test_how_many_seeds_are_enough(n: tuple[int, ...], df: int, enough: bool) -> None:
    assert verdict(n=n, df=df).status == ("reproduced" if enough else "undecided")


@pytest.mark.parametrize(
    ("v", "paper", "told"),
    [
        (verdict(-1.56, 0.91, **POINTS), 2.0, "*slow* has at most 0.91 points more test error than *fast*, and at most "
         "1.56 points less. That excludes the paper's 2."),
        (verdict(0.1, 2.5, **POINTS), 2.0, "*slow* has at least 0.10 and at most 2.50 points more test error than "
         "*fast*. That does not exclude the paper's 2."),
        (verdict(-2.5, -0.001, **POINTS), None,
         "*slow* has at least 0.001 and at most 2.50 points less test error than *fast*."),
        (verdict(0.8, 1.4), 6.0,
         "*slow* takes between 0.80 and 1.40 times as long as *fast*. That excludes the paper's 6."),
        (verdict(-0.6, 1.1, **POINTS | {"b": "", "metric": "ten_views_gain"}), 1.5,
         "The one view minus ten is between -0.60 and 1.10 points. That excludes the paper's 1.5."),
        (verdict(NAN, NAN, **POINTS), 2.0, ""),
    ],
)  # fmt: skip
def test_what_an_interval_excludes(v: Verdict, paper: float | None, told: str) -> None:
    assert v.limits(paper) == told


# ------------------------------------------------------------------------------------------ what would decide


def test_seeds_that_would_decide_by_hand() -> None:
    """0.3 ± 0.6 with five seeds: ± 0.3 excludes 0, which takes four times as many."""
    v = verdict(-0.3, 0.9, **POINTS)
    assert (v.half_width, v.seeds_to_decide) == (pytest.approx(0.6), 20)
    assert v.outlook == "± 0.60 points; about 20 seeds in every arm for an even chance, at most, to decide it"
    assert verdict(-0.55, 0.65, **POINTS | {"smallest_effect": 0.01}).outlook.endswith(
        "more than 100 seeds in every arm for an even chance, at most, to decide it"
    )
    # 0.1 ± 0.6: ± 0.4 lies within ± 0.5, so 5 × 2.25
    assert verdict(-0.5, 0.7, **POINTS).seeds_to_decide == 12
    ratio = verdict(0.9, 1.6)
    needed = math.log(1.2) / math.log(4 / 3)  # its middle is 1.2, either end a factor of 4/3 away
    assert (ratio.half_width, ratio.seeds_to_decide) == (pytest.approx(4 / 3), math.ceil(5 / needed**2))
    size = verdict(3.6, 6.4, **SIX)  # 4.8 is a factor of 1.2 above 4; either end a factor of 4/3 away
    assert size.seeds_to_decide == math.ceil(5 / needed**2)
    assert "×/÷ 1.33" in size.outlook
    # 15 and 5 seeds are worth 7.5 in each arm: 1/15 + 1/5 = 2/7.5
    assert verdict(-0.3, 0.9, **POINTS, n=(15, 5)).seeds_to_decide == 30
    few = verdict(1.2, 2.0, n=(3, 3))
    assert (few.outcome, few.seeds_to_decide) == ("undecided", 5)


def test_what_seeds_cannot_decide() -> None:
    assert "a proxy cannot decide a size" in verdict(3.6, 6.4, **SIX, proxy=True).outlook
    assert verdict(3.6, 6.4, **SIX, proxy=True).seeds_to_decide is None
    for v in (verdict(), verdict(NAN, NAN), verdict(NAN, NAN, n=(3, 3), bound="lower")):
        assert v.seeds_to_decide is None and v.outlook == ""


@unhurried
@given(st.floats(-3, 3), st.floats(0.05, 3), st.integers(5, 30))
def test_so_many_seeds_do_decide(estimate: float, half: float, n: int) -> None:
    """If the estimate stays and the half-width shrinks as one over the root of the seeds."""
    v = verdict(estimate - half, estimate + half, n=(n, n), **POINTS)
    if (more := v.seeds_to_decide) is not None and more < 10_000:
        narrow = half * math.sqrt(n / (more + 1))
        assert verdict(estimate - narrow, estimate + narrow, **POINTS).outcome != "undecided"


# ------------------------------------------------------------------------------------------ the tests of an experiment

BETTER = Comparison("S9-b", "baseline", "b", "test_error", smallest_effect=0.5)
MANY = replace(
    MADE_UP, arms={"baseline": {}, "b": {"optim.momentum": 0.8}, "c": {"optim.momentum": 0.5}},
    stop=Stop(epochs=2, window=10),
    comparisons=(
        BETTER, replace(BETTER, claim="S9-c"), replace(BETTER, claim="", b="c"), replace(BETTER, a="b", b="c"),
        replace(BETTER, b="", metric="ten_views_gain"),
    ),
)  # fmt: skip


def made(values: dict[tuple[str, str], list[float]]) -> dict[tuple[str, str], Sample]:
    return {key: Sample(dict(enumerate(each)), len(each)) for key, each in values.items()}


def test_a_test_that_answers_two_claims_counts_once() -> None:
    assert len(decide.tests_of(MANY)) == 4
    assert len(decide.tests_of(replace(MANY, comparisons=(BETTER, replace(BETTER, paired=True))))) == 2


def test_each_test_gets_its_share_of_the_error_rate() -> None:
    """Four tests: two against the control have Dunnett's value at 2.5 %, the others t at 1.25 %."""
    random = np.random.default_rng(3)
    errors = {
        arm: [float(x) for x in 30 + random.standard_normal(n)] for arm, n in (("baseline", 9), ("b", 5), ("c", 4))
    }
    gains = [float(x) for x in random.standard_normal(9)]
    values = {(arm, "test_error"): each for arm, each in errors.items()} | {("baseline", "ten_views_gain"): gains}
    pool = Spread(0.8, 60)
    found = decide.decide(MANY, lambda arm, metric: made(values)[arm, metric], lambda arm, metric: pool)
    halves = {(test[0], test[1]): (v.high - v.low) / 2 for test, v in found.items()}
    dunnett = intervals.dunnett((4, 5), 9, 60, 0.025)
    assert halves["baseline", "b"] == pytest.approx(dunnett * math.sqrt(0.8 * (1 / 9 + 1 / 5)))
    assert halves["baseline", "c"] == pytest.approx(dunnett * math.sqrt(0.8 * (1 / 9 + 1 / 4)))
    assert halves["b", "c"] == pytest.approx(stats.t.isf(0.00625, 60) * math.sqrt(0.8 * (1 / 5 + 1 / 4)))
    one = stats.ttest_1samp(gains, 0).confidence_interval(1 - 0.0125)
    assert halves["baseline", ""] == pytest.approx((one.high - one.low) / 2)
    for v in found.values():
        assert v.low < v.estimate < v.high
    assert found["baseline", "b", "test_error", "difference", False].n_of == (9, 5)


def test_an_arm_without_runs_changes_no_interval() -> None:
    values = {("baseline", "test_error"): [30.0, 31, 32, 33, 34], ("b", "test_error"): [29.0, 30, 31, 32, 33]}
    pool = Spread(2.0, 40)

    def half(more: dict[tuple[str, str], list[float]]) -> float:
        samples = made(values | more)
        found = decide.decide(MANY, lambda arm, m: samples.get((arm, m), Sample()), lambda arm, m: pool)
        v = found[decide.test_of(BETTER)]
        return v.high - v.low

    assert half({}) == half({("c", "test_error"): [30.0, 31, 32, 33, 34]})


def test_paired_arms_are_compared_seed_by_seed() -> None:
    """Only with the seeds that both have."""
    c = replace(BETTER, paired=True)
    values = {
        ("baseline", "test_error"): [30.0, 35, 28, 33, 31, 40, 50],
        ("b", "test_error"): [30.1, 35.3, 28, 33.2, 31.2],
    }
    found = decide.decide(
        replace(MANY, comparisons=(c,)), lambda arm, m: made(values)[arm, m], lambda arm, m: Spread(9.0, 99)
    )
    v = found[decide.test_of(c)]
    theirs = stats.ttest_1samp([0.1, 0.3, 0.0, 0.2, 0.2], 0).confidence_interval(0.95)
    assert (v.n_of, v.df) == ((5,), 0)
    assert (v.estimate, v.low, v.high) == (pytest.approx(0.16), pytest.approx(theirs.low), pytest.approx(theirs.high))


@pytest.mark.parametrize(("seed", "number"), [(2012, 200)])
def test_where_nothing_differs_few_experiments_err(seed: int, number: int) -> None:
    """At most 5 % may; 10 % of 200 would be three standard errors more. ``python -m tests.simulate_verdicts`` runs
    more."""
    interval, verdict_ = simulate_verdicts.rate(number, seed)
    assert 0.01 <= interval <= 0.10 and verdict_ <= interval


# ------------------------------------------------------------------------------------------ from records


def test_arms_are_compared_by_their_means_over_all_their_seeds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unequal numbers of seeds; the pool has the arms of another experiment too, and counts a shared run once."""
    of = replace(MANY, comparisons=(BETTER,), seeds=(0, 1, 2), seeds_of={"baseline": (0, 1, 2, 3, 4, 5)})
    other = replace(
        of, name="other", arms={"baseline": {}, "d": {"optim.momentum": 0.7}}, seeds=tuple(range(20)), comparisons=()
    )
    apart = replace(of, name="apart", arms={"e": {}}, stop=replace(of.stop, epochs=3), comparisons=())
    declare(monkeypatch, of, other, apart)
    errors = {
        "baseline": [30.0, 31.0, 32.0, 30.0, 31.0, 32.0], "b": [33.0, 34.0, 35.0],
        "d": [float(40 + k % 3) for k in range(20)],
    }  # fmt: skip
    for arm, of_arm in errors.items():
        for seed, error in enumerate(of_arm):
            put(folder, arm, seed, [50], of=other if arm == "d" else of, epochs=[epoch(1, 40, error)])
    for seed in range(3):
        put(folder, "e", seed, [50], of=apart, epochs=[epoch(1, 40, 10.0 * seed)])  # another schedule
    (v,) = decide.verdicts_of("made-up", "sample")
    pool = intervals.pooled(errors.values())
    assert (v.n_of, v.seeds, v.df, v.estimate) == ((6, 3), "6 and 3", pool.df, pytest.approx(3.0))
    assert pool.df == 5 + 2 + 19
    half = stats.t.isf(0.025, pool.df) * math.sqrt(pool.variance * (1 / 6 + 1 / 3))
    assert (v.low, v.high) == (pytest.approx(3 - half), pytest.approx(3 + half))
    assert v.status == "supported (proxy)" and v.first_run == "2012-09-30"
    welch = stats.ttest_ind(errors["b"], errors["baseline"], equal_var=False).confidence_interval(0.95)
    own = decide.by_own_spreads(v)
    assert (own.low, own.high) == (pytest.approx(welch.low), pytest.approx(welch.high))
    assert own.estimate == v.estimate and own.outcome == "undecided"  # three seeds are too few without the pool


def test_a_later_control_has_the_spread_of_its_pool_and_does_not_move_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its arms scatter twenty times as much as the others. On a schedule of its own it has its own spread."""
    of = replace(MANY, comparisons=(BETTER,), seeds=(0, 1, 2))
    later = replace(of, name="later", arms={"b": of.arms["b"], "d": {"optim.momentum": 0.7}}, later=True,
                    comparisons=(replace(BETTER, a="b", b="d"),))  # fmt: skip
    apart = replace(later, name="apart", stop=replace(of.stop, epochs=3))
    declare(monkeypatch, of)
    for seed in range(3):
        put(folder, "baseline", seed, [50], of=of, epochs=[epoch(1, 40, 30.0 + seed)])
        put(folder, "b", seed, [50], of=of, epochs=[epoch(1, 40, 33.0 + seed)])
    before = decide.verdicts_of("made-up", "sample")
    declare(monkeypatch, of, later, apart)
    for seed in range(3):
        put(folder, "d", seed, [50], of=later, epochs=[epoch(1, 40, 30.0 + 20 * seed)])
        put(folder, "b", seed, [50], of=apart, epochs=[epoch(1, 40, 33.0 + seed)])
        put(folder, "d", seed, [50], of=apart, epochs=[epoch(1, 40, 30.0 + 20 * seed)])
    assert decide.verdicts_of("made-up", "sample") == before
    (v,), (own,) = decide.verdicts_of("later", "sample"), decide.verdicts_of("apart", "sample")
    assert (v.df, v.high - v.low) == (before[0].df, pytest.approx(before[0].high - before[0].low))
    assert own.df == 4 and own.high - own.low > 10 * (v.high - v.low)


def test_runs_from_other_seeds_of_a_start_are_one_arm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run that it starts from has the same seed: that does not make each run an arm of its own."""
    of = replace(MANY, arms={"baseline": {}, "b": {"start": {"optim.momentum": 0.8}}}, comparisons=(BETTER,))
    declare(monkeypatch, of)
    for arm, seed in itertools.product(of.arms, range(5)):
        put(folder, arm, seed, [50], of=of, epochs=[epoch(1, 40, 30.0 + seed)])
    assert decide.verdicts_of("made-up", "sample")[0].df == 8


def test_stalled_and_diverged_runs_are_counted_and_stand_outside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of = replace(MANY, comparisons=(BETTER,), seeds=tuple(range(7)))
    declare(monkeypatch, of)
    for seed in range(7):
        put(folder, "baseline", seed, [50], of=of, epochs=[epoch(1, 40, 30.0 + seed % 2)])
        how = "diverged" if seed == 6 else "done"
        put(folder, "b", seed, [50], how, of=of, epochs=[epoch(1, 40, 89.0 if seed == 5 else 32.0 + seed % 2)])
    (v,) = decide.verdicts_of("made-up", "sample")
    assert v.n_of == (7, 5) and v.df == 6 + 4
    assert v.estimate == pytest.approx(32.4 - (30 + 3 / 7))
    assert v.outside == ("b: 1 of 7 never left guessing", "b: 1 of 7 diverged")
    assert v.text.endswith("; b: 1 of 7 never left guessing; b: 1 of 7 diverged")
    assert v.outcome == "holds"


def test_an_arm_of_which_no_run_counts_decides_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of = replace(MANY, comparisons=(BETTER,))
    declare(monkeypatch, of)
    for seed in range(5):
        put(folder, "baseline", seed, [50], of=of, epochs=[epoch(1, 40, 30.0 + seed)])
        put(folder, "b", seed, [50], of=of, epochs=[epoch(1, 89, 89.0)])
    (v,) = decide.verdicts_of("made-up", "sample")
    assert (v.outcome, v.text, v.outlook) == ("undecided", "no value yet; b: 5 of 5 never left guessing", "")
    assert v.sentence("b takes {}") == v.text


# ------------------------------------------------------------------------------------------ times


def test_times_are_compared_as_ratios(folder: Path) -> None:
    times = {"fast": (40.0, 50.0, 60.0, 45.0, 55.0), "slow": (90.0, 100.0, 110.0, 105.0, 115.0)}
    for arm, of_arm in times.items():
        for seed, time in enumerate(of_arm):
            put(folder, arm, seed, crossing(time), "reached")
    (v,) = decide.verdicts_of("made-up", "sample")
    theirs = stats.ttest_ind(np.log(times["slow"]), np.log(times["fast"]), equal_var=False).confidence_interval()
    assert (v.low, v.high) == (pytest.approx(np.exp(theirs.low)), pytest.approx(np.exp(theirs.high)))
    assert v.estimate == pytest.approx(np.exp(np.mean(np.log(times["slow"])) - np.mean(np.log(times["fast"]))))
    assert (v.n, v.seeds, v.status) == (5, "5", "supported (proxy)")
    assert v.sentence("slow takes {} as many").startswith("slow takes 2.09 times (")


def test_a_value_is_never_minus_zero() -> None:
    v = Verdict(FASTER, "made-up", "sample", True, (5, 5), estimate=-1e-3, low=-4e-3, high=0.9)
    assert v.value == "0.00 times (-0.004 to 0.90)"


def test_a_run_that_was_stopped_early_gives_a_bound(folder: Path) -> None:
    """The slow arm of seed 3 took more than its 200 updates, still learning: the weakest pair is safe to state."""
    for seed in range(5):
        put(folder, "fast", seed, crossing(40.0 + seed), "reached")
        stopped = seed == 3
        put(
            folder,
            "slow",
            seed,
            [60.0] * 20 if stopped else crossing(150.0 + seed),
            "censored" if stopped else "reached",
        )
    (v,) = decide.verdicts_of("made-up", "sample")
    assert (v.bound, v.n, v.estimate) == ("lower", 5, pytest.approx(150 / 44))
    assert v.text == "> 3.41 times (bound)" and v.status == "supported (proxy)" and math.isnan(v.low)


def test_the_upper_bound_is_the_other_way_round() -> None:
    c, five = FASTER, range(5)
    a = Sample({s: 40.0 + s for s in range(4)}, 5, caps={4: 200.0})
    b = Sample({s: 30.0 - s for s in five}, 5)
    found = decide.decide(MADE_UP, lambda arm, m: {"fast": a, "slow": b}[arm], lambda arm, m: Spread())
    v = found[decide.test_of(c)]
    assert (v.bound, v.estimate) == ("upper", 30 / 40) and v.text == "< 0.75 times (bound)"
    assert v.status == "contradicted (proxy)"


def test_a_run_that_never_left_guessing_is_no_bound_where_others_arrive(folder: Path) -> None:
    for seed in range(6):
        of = replace(MADE_UP, seeds=tuple(range(6)))
        put(folder, "fast", seed, crossing(40.0 + seed), "reached", of=of)
        stuck = seed == 5
        put(
            folder,
            "slow",
            seed,
            [89.0] * 20 if stuck else crossing(150.0 + seed),
            "censored" if stuck else "reached",
            of=of,
        )
    with pytest.MonkeyPatch.context() as patch:
        declare(patch, of)
        (v,) = decide.verdicts_of("made-up", "sample")
        assert v.bound == "" and v.n_of == (6, 5) and v.outside == ("slow: 1 of 6 never left guessing",)
    store.forget()


def test_where_no_run_of_an_arm_arrives_all_of_them_bound_it(folder: Path) -> None:
    for seed in range(5):
        put(folder, "fast", seed, crossing(40.0 + seed), "reached")
        put(folder, "slow", seed, [89.0] * 20, "censored")
    (v,) = decide.verdicts_of("made-up", "sample")
    assert (v.bound, v.n, v.estimate, v.outside) == ("lower", 5, pytest.approx(200 / 44), ())


def test_where_both_arms_were_stopped_nothing_is_bounded(folder: Path) -> None:
    """The fast one with seed 0 and the slow one with seed 1: their ratio may be anything."""
    for seed in range(5):
        for arm, other in (("fast", 0), ("slow", 1)):
            stopped = seed == other
            put(folder, arm, seed, [60.0] * 20 if stopped else crossing(40), "censored" if stopped else "reached")
    (v,) = decide.verdicts_of("made-up", "sample")
    sentence = "neither fast nor slow reached the threshold with all seeds, so nothing bounds their ratio"
    assert (v.n, v.bound, v.status, v.text) == (5, "both", "undecided", sentence)
    assert v.sentence("tanh takes {} as many updates") == sentence


# ------------------------------------------------------------------------------------------ which of them


def test_verdicts_of_a_claim_are_sorted_by_scale(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    never = Comparison("S9-a", "fast", "absent", "updates", "log_ratio", smallest_effect=1.1)
    small = replace(MADE_UP, arms={**MADE_UP.arms, "absent": {"optim.momentum": 0.6}}, comparisons=(FASTER, never))
    large = replace(small, scale="cifar10", proxy=False)
    declare(monkeypatch, small, large)
    for of, factor in ((small, 2.0), (large, 3.0)):
        for seed in range(5):
            put(folder, "fast", seed, crossing(40.0 + 3 * seed), of=of)
            put(folder, "slow", seed, crossing(factor * (40.0 + 2 * seed)), of=of)
    found = decide.verdicts("S9-a")
    assert [(v.scale, v.status) for v in found] == [("cifar10", "reproduced"), ("sample", "supported (proxy)")]
    assert decide.verdicts("S0-x") == [] and decide.planned("sample", "S9-a", "S9-z") == 2
    with pytest.raises(PaperlibError, match="has no comparison 'fast v. slow' beside"):
        decide.verdicts_beside("made-up", "fast v. slow")


def test_declarations_are_shown_with_their_verdicts(folder: Path) -> None:
    for arm, seed in itertools.product(("fast", "slow"), range(5)):
        put(folder, arm, seed, crossing(40.0 + seed))
    assert decide.verdicts_of("made-up", "sample")[0].declared == ""
    (folder / "DECLARED.toml").write_text('[declared]\n"made-up/sample" = "abc1234"\n')
    store.forget()
    assert decide.verdicts_of("made-up", "sample")[0].declared == "abc1234"


def test_the_list_of_declarations_names_experiments() -> None:
    known = {f"{e.name}/{e.scale}" for e in declared.DECLARED}
    assert decide.declarations().keys() <= known
    decided = {f"{e.name}/{e.scale}" for e in declared.DECLARED if decide.verdicts_of(e.name, e.scale)}
    assert decided <= decide.declarations().keys()


def test_every_control_is_an_arm_or_compares_nothing() -> None:
    """A mistyped control would make no family of comparisons that are one."""
    e: Experiment
    for e in declared.DECLARED:
        against = [c for c in e.comparisons if e.control in (c.a, c.b)]
        assert e.control in e.arms or not against
