"""Evidence on made-up records: metrics, the choice of rates, statistics and verdicts, each by hand or by SciPy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from paperlib import evidence, experiments
from paperlib.data import FINGERPRINTS
from paperlib.design import Comparison, Experiment
from paperlib.errors import PaperlibError
from paperlib.evidence import Verdict
from paperlib.recipe import Stop
from paperlib.runs import Line

unhurried = settings(suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy

SIZES = replace(tiny.SIZES, classes=10)
FASTER = Comparison("S9-a", "fast", "slow", "updates", "log_ratio", smallest_effect=1.1)
BETTER = Comparison("S9-b", "plain", "better", "test_error", smallest_effect=0.5)
MADE_UP = Experiment(
    "made-up", "sample", "Made up", tiny.PLAIN, SIZES, Stop(epochs=5, threshold=25.0, window=10),
    {"fast": {}, "slow": {"model.activation": "tanh"}}, seeds=(0, 1, 2, 3, 4), comparisons=(FASTER,),
)  # fmt: skip


def declare(monkeypatch: pytest.MonkeyPatch, *made: Experiment) -> None:
    monkeypatch.setattr(experiments, "DECLARED", list(made))
    monkeypatch.setattr(experiments, "EXPERIMENTS", {(e.name, e.scale): e for e in made})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty ``data/recorded`` and one made-up experiment."""
    monkeypatch.setattr(evidence, "RECORDED", tmp_path / "recorded")
    declare(monkeypatch, MADE_UP)
    yield tmp_path / "recorded"
    evidence.forget()


def store(folder: Path, arm: str, seed: int, errors: Sequence[float], *how: str, **more: Any) -> list[Line]:
    """Record a made-up run of the experiment ``of`` (by default ``MADE_UP``)."""
    of = more.pop("of", MADE_UP)
    copy = next(iter(FINGERPRINTS[of.scale].values()))
    lines = tiny.record(of.run(arm, seed, copy), errors, *how, **more)
    tiny.store(folder, of, arm, lines)
    evidence.forget()
    return lines


def epoch(number: int, train_error: float, test_error: float) -> Line:
    return {"kind": "epoch", "epoch": number, "step": 6 * number, "train_loss": train_error / 50,
            "train_error": train_error, "test_error": test_error}  # fmt: skip


def crossing(time: float) -> list[float]:
    """Running errors at updates 5, 15, … 195 that fall by a point an update and cross 25 % at ``time``."""
    steps = np.arange(5, 200, 10)
    return [float(error) for error in np.clip(25 + (time - steps), 0, 90)]


# ------------------------------------------------------------------------------------------ reading records


def test_results_are_one_row_a_recorded_run(folder: Path) -> None:
    assert list(evidence.results("made-up", "sample").columns)[:3] == ["arm", "seed", "status"]
    assert evidence.results("made-up", "sample").empty
    store(folder, "slow", 1, [80, 60], "censored", epochs=[epoch(1, 70, 71.5), epoch(2, 55, 60.25)])
    store(folder, "fast", 1, [80, 40, 20], "reached")
    store(folder, "fast", 0, [80, 15], "reached")
    rows = evidence.results("made-up", "sample").set_index(["arm", "seed"])
    assert list(rows.index) == [("fast", 0), ("fast", 1), ("slow", 1)]  # seeds outermost, as declared
    assert list(rows["status"]) == ["reached", "reached", "censored"]
    assert rows.loc[("fast", 1), "updates"] == pytest.approx(22.5)
    assert math.isnan(rows.loc[("slow", 1), "updates"]) and math.isnan(rows.loc[("fast", 1), "test_error"])
    assert list(rows["steps"]) == [20, 30, 20]
    slow = rows.loc[("slow", 1)]
    assert (slow["train_error"], slow["test_error"], slow["train_loss"]) == (55, 60.25, 1.1)
    assert slow["gap"] == pytest.approx(5.25)


def test_overfitting_is_the_test_error_above_that_on_the_training_images() -> None:
    """Both of the finished net; "gap" has the error on the way, with dropout and on crops."""
    lines: list[Line] = [
        {"kind": "run"}, epoch(1, 70, 71.5), epoch(2, 55, 60.25), {"kind": "fit", "views": 1, "top1_error": 12.5},
        {"kind": "end", "status": "done", "steps": 12},
    ]  # fmt: skip
    assert evidence.METRICS["overfit"](lines) == pytest.approx(47.75)
    assert evidence.METRICS["fit_error"](lines) == 12.5
    assert math.isnan(evidence.METRICS["overfit"](lines[:3]))


def test_what_no_declaration_yields_is_stale_and_never_used(folder: Path) -> None:
    store(folder, "fast", 0, [80, 15])
    stray = store(folder, "fast", 9, [80, 15])  # a seed that is not declared
    assert evidence.stale() == [stray[0]["id"]]
    assert list(evidence.results("made-up", "sample")["seed"]) == [0]
    assert len(evidence.recorded()) == 2


def test_a_run_is_recorded_once_and_shared_between_experiments(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(MADE_UP, name="other", arms={"baseline": {}})
    declare(monkeypatch, MADE_UP, other)
    lines = store(folder, "fast", 2, [80, 15])
    assert [(arm, seed) for arm, seed, _ in evidence.records_of("other", "sample")] == [("baseline", 2)]
    tiny.store(folder, other, "baseline", lines)
    evidence.forget()
    with pytest.raises(PaperlibError, match="recorded elsewhere too"):
        evidence.recorded()


def test_an_unknown_experiment_is_named(folder: Path) -> None:
    with pytest.raises(PaperlibError, match="no experiment 'nonsense'"):
        evidence.results("nonsense", "sample")


# ------------------------------------------------------------------------------------------ times


@pytest.mark.parametrize(
    ("errors", "threshold", "time"),
    [
        ([80, 40, 20], 25.0, 22.5),  # three quarters of the way from (15, 40) to (25, 20)
        ([80, 40, 20], 20.0, 25.0),
        ([80, 25, 20], 25.0, 15.0),
        ([10], 25.0, 5 * 65 / 80),  # from guessing, 90 % at 0, to (5, 10)
        ([10, 5], 50.0, 5 * 40 / 80),
        ([80, 20, 60, 10], 25.0, 5 + 10 * 55 / 60),  # the first time counts
        ([95, 20], 25.0, 5 + 10 * 70 / 75),  # worse than guessing at first
        ([80, 40, 26], 25.0, math.nan),
        ([], 25.0, math.nan),
    ],
)
def test_updates_to_a_threshold_by_hand(errors: list[float], threshold: float, time: float) -> None:
    lines = tiny.record(MADE_UP.run("fast", 0, "x"), errors)
    assert evidence.updates_to(lines, threshold) == pytest.approx(time, nan_ok=True)


@unhurried
@given(st.lists(st.floats(0, 89), min_size=1, max_size=12), st.floats(0.5, 88), st.floats(0.5, 88))
def test_a_lower_threshold_takes_longer(errors: list[float], one: float, two: float) -> None:
    lines = tiny.record(MADE_UP.run("fast", 0, "x"), errors)
    low, high = sorted((one, two))
    late, early = evidence.updates_to(lines, low), evidence.updates_to(lines, high)
    assert math.isnan(late) or early <= late + 1e-9
    assert math.isnan(early) == (min(errors) > high)
    if not math.isnan(early):
        first = next(i for i, error in enumerate(errors) if error <= high)
        assert max(0, 10 * first - 5) - 1e-9 <= early <= 10 * first + 5 + 1e-9


def test_the_running_error_stands_in_the_middle_of_its_window() -> None:
    lines = tiny.record(MADE_UP.run("fast", 0, "x"), [80.0, 40.0])
    assert evidence.running_error(lines) == ([5.0, 15.0], [80.0, 40.0])


# ------------------------------------------------------------------------------------------ learning rates

NAN = math.nan


@pytest.mark.parametrize(
    ("errors", "rate"),
    [
        ({0.1: 30.0, 0.3: 20.0, 1.0: 25.0}, 0.3),
        ({1.0: 25.0, 0.3: 20.0, 0.1: 30.0}, 0.3),  # in any order
        ({0.1: 30.0, 0.3: 20.0, 1.0: NAN}, 0.3),  # a diverged neighbour is a worse one
        ({0.1: NAN, 0.3: 20.0, 1.0: 21.0}, 0.3),
        ({0.1: 20.0, 0.3: 25.0, 1.0: 30.0}, None),  # the best lies at the edge: the sweep must go on
        ({0.1: 30.0, 0.3: 25.0, 1.0: 20.0}, None),
        ({0.1: 30.0, 0.3: 20.0, 1.0: 20.0, 3.0: 40.0}, 0.3),  # equal: the lower one
        ({0.1: 20.0, 0.3: 20.0, 1.0: 30.0}, None),  # equal, the lower one at the edge
        ({0.1: NAN, 0.3: NAN}, None),
        ({0.3: 20.0}, None),
        ({}, None),
    ],
)
def test_the_choice_of_a_rate(errors: dict[float, float], rate: float | None) -> None:
    assert evidence.choose_rate(errors) == rate


def test_rates_are_chosen_from_recorded_sweeps(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the last window; a diverged run counts as one, however well it began."""
    ends = {"a@0.1": [80, 50], "a@0.3": [70, 30], "a@1": [20, 10, 1], "b@0.1": [50, 20], "b@0.3": [50, 30]}
    arms = {arm: {"optim.lr": float(arm[2:]), "model.lrn_k": float(ord(arm[0]))} for arm in ends}
    sweep = replace(MADE_UP, name="relu-rates", arms=arms, seeds=(100,), stop=Stop(epochs=1, window=10), sweep=True)
    declare(monkeypatch, sweep)
    for arm, errors in ends.items():
        store(folder, arm, 100, errors, "diverged" if arm == "a@1" else "done", of=sweep)
    assert evidence.chosen_rates("sample") == {"a": 0.3, "b": None}


# ------------------------------------------------------------------------------------------ paired statistics


def test_a_paired_interval_by_hand() -> None:
    """Differences 1 … 5: mean 3, standard error sqrt(2.5 / 5), t(0.975, 4) = 2.7764451."""
    estimate, low, high, p = evidence.paired([10, 10, 10, 10, 10], [11, 12, 13, 14, 15], "difference")
    half = 2.7764451 * math.sqrt(0.5)
    assert (estimate, low, high) == pytest.approx((3.0, 3 - half, 3 + half), rel=1e-6)
    assert p == pytest.approx(0.013235599, rel=1e-5)


numbers = st.lists(st.tuples(st.floats(1, 1000), st.floats(1, 1000)), min_size=2, max_size=9)


@unhurried
@given(numbers, st.sampled_from(["difference", "log_ratio"]))
def test_paired_statistics_are_those_of_scipy(pairs: list[tuple[float, float]], transform: str) -> None:
    a, b = (np.array(side) for side in zip(*pairs, strict=True))
    x, y = (np.log(a), np.log(b)) if transform == "log_ratio" else (a, b)
    if np.ptp(y - x) < 1e-6:
        return  # SciPy has no interval without a width
    test = stats.ttest_rel(y, x)
    interval = test.confidence_interval(0.95)
    back = np.exp if transform == "log_ratio" else float
    estimate, low, high, p = evidence.paired(list(a), list(b), transform)
    with np.errstate(over="ignore"):
        assert (estimate, p) == pytest.approx((back(np.mean(y - x)), test.pvalue), rel=1e-6, abs=1e-9)
        if interval.high < 600:  # exp of more is no float
            assert (low, high) == pytest.approx((back(interval.low), back(interval.high)), rel=1e-6, abs=1e-9)


def test_one_pair_has_no_interval_and_equal_pairs_no_width() -> None:
    estimate, *rest = evidence.paired([2.0], [5.0], "log_ratio")
    assert estimate == pytest.approx(2.5) and all(math.isnan(value) for value in rest)
    assert evidence.paired([1, 2], [2, 3], "difference") == (1.0, 1.0, 1.0, 0.0)
    assert evidence.paired([1, 2], [1, 2], "difference") == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("ps", "adjusted"),
    [
        ([], []),
        ([0.04], [0.04]),
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),  # 3 × 0.01; 2 × 0.03; 0.04, raised to the one before it
        ([0.01, 0.02, 0.03, 0.005], [0.03, 0.04, 0.04, 0.02]),
        ([0.5, 0.6, 0.9], [1.0, 1.0, 1.0]),
        ([0.01, NAN, 0.04], [0.02, NAN, 0.04]),  # what has no p does not count
        ([NAN], [NAN]),
    ],
)
def test_holm_by_hand(ps: list[float], adjusted: list[float]) -> None:
    assert evidence.holm(ps) == pytest.approx(adjusted, nan_ok=True)


# ------------------------------------------------------------------------------------------ comparisons


def test_a_comparison_pairs_the_seeds(folder: Path) -> None:
    times = {"fast": (40.0, 50.0, 60.0, 45.0, 55.0), "slow": (90.0, 100.0, 110.0, 105.0, 115.0)}
    for arm, of_arm in times.items():
        for seed, time in enumerate(of_arm):
            store(folder, arm, seed, crossing(time), "reached")
    verdict = evidence.compare(MADE_UP, FASTER)
    assert verdict and (verdict.n, verdict.bound, verdict.proxy, verdict.scale) == (5, "", True, "sample")
    test = stats.ttest_rel(np.log(times["slow"]), np.log(times["fast"]))
    assert verdict.estimate == pytest.approx(np.exp(np.mean(np.log(times["slow"]) - np.log(times["fast"]))))
    assert verdict.p == pytest.approx(test.pvalue)
    assert verdict.low == pytest.approx(np.exp(test.confidence_interval().low))
    assert verdict.status == "supported (proxy)" and verdict.text.startswith("2.09 times (")
    assert evidence.compare(replace(MADE_UP, proxy=False), FASTER).status == "reproduced"  # type: ignore[union-attr]


def test_seeds_without_a_partner_do_not_count(folder: Path) -> None:
    assert evidence.compare(MADE_UP, FASTER) is None
    store(folder, "fast", 0, crossing(40))
    store(folder, "slow", 1, crossing(90))
    assert evidence.compare(MADE_UP, FASTER) is None
    store(folder, "slow", 0, crossing(100))
    verdict = evidence.compare(MADE_UP, FASTER)
    assert verdict and (verdict.n, verdict.status) == (1, "inconclusive")
    assert verdict.estimate == pytest.approx(2.5) and math.isnan(verdict.low) and verdict.text == "2.50 times"


def test_a_censored_seed_gives_a_bound_and_no_interval(folder: Path) -> None:
    """The slow arm of seed 3 took more than its 200 updates: the smallest of the ratios is safe to state."""
    for seed in range(5):
        store(folder, "fast", seed, crossing(40.0 + seed), "reached")
        censored = [89.0] * 20 if seed == 3 else crossing(150.0 + seed)
        store(folder, "slow", seed, censored, "censored" if seed == 3 else "reached")
    verdict = evidence.compare(MADE_UP, FASTER)
    assert verdict and verdict.bound == "lower" and verdict.n == 5
    assert verdict.estimate == pytest.approx(min(150 / 40, 151 / 41, 152 / 42, 200 / 43, 154 / 44))
    assert math.isnan(verdict.low) and math.isnan(verdict.high) and math.isnan(verdict.p)
    assert verdict.text == "> 3.50 times (bound)" and verdict.status == "supported (proxy)"


def test_where_both_arms_are_censored_nothing_is_bounded(folder: Path) -> None:
    """The fast one with seed 0 and the slow one with seed 1: their ratio may be anything."""
    for seed in range(5):
        for arm, other in (("fast", 0), ("slow", 1)):
            censored = seed == other
            store(folder, arm, seed, [89.0] * 20 if censored else crossing(40), "censored" if censored else "reached")
    verdict = evidence.compare(MADE_UP, FASTER)
    assert verdict and (verdict.n, verdict.bound, verdict.status) == (5, "both", "inconclusive")
    assert math.isnan(verdict.estimate) and verdict.text == "neither arm got there with all seeds"


def test_differences_in_points(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arms = {"plain": {}, "better": {"model.lrn": True}}
    of = replace(MADE_UP, arms=arms, comparisons=(BETTER,), stop=Stop(epochs=2, window=10))
    declare(monkeypatch, of)
    for seed in range(5):
        store(folder, "plain", seed, [50], of=of, epochs=[epoch(1, 40, 30.0 + seed)])
        store(folder, "better", seed, [50], of=of, epochs=[epoch(1, 40, 28.0 + seed + 0.1 * (seed % 2))])
    (verdict,) = evidence.verdicts_of("made-up", "sample")
    assert verdict.estimate == pytest.approx(-1.96) and verdict.status == "contradicted"  # it says that a errs less
    assert verdict.text.startswith("-1.96 points (") and verdict.p_holm == verdict.p < 0.001


def test_verdicts_are_adjusted_over_an_experiment_and_sorted_by_scale(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Comparison("", "fast", "third", "updates", "log_ratio", smallest_effect=1.1)
    never = Comparison("S9-a", "fast", "absent", "updates", "log_ratio")
    arms = {**MADE_UP.arms, "third": {"model.activation": "sigmoid"}, "absent": {"model.lrn_k": 1.0}}
    small = replace(MADE_UP, arms=arms, comparisons=(FASTER, other, never))
    large = replace(small, scale="cifar10", proxy=False)
    declare(monkeypatch, small, large)
    for of, factor in ((small, 2.0), (large, 3.0)):
        for seed in range(5):
            store(folder, "fast", seed, crossing(40.0 + 3 * seed), of=of)
            store(folder, "slow", seed, crossing(factor * (40.0 + 2 * seed)), of=of)
            store(folder, "third", seed, crossing(41.0 + 2 * seed), of=of)
    found = evidence.verdicts("S9-a")
    assert [(v.scale, v.status) for v in found] == [("cifar10", "reproduced"), ("sample", "supported (proxy)")]
    one, two = evidence.verdicts_of("made-up", "sample")
    assert [one.p_holm, two.p_holm] == pytest.approx(evidence.holm([one.p, two.p]))
    assert one.p < two.p and one.p_holm == pytest.approx(2 * one.p)
    assert evidence.verdicts("S0-x") == []


# ------------------------------------------------------------------------------------------ the status


def verdict(low: float, high: float, *, n: int = 5, bound: str = "", proxy: bool = False, **of: Any) -> Verdict:
    comparison = replace(FASTER, **of)
    estimate = low if bound else (low + high) / 2
    if bound:
        low = high = NAN
    return Verdict(comparison, "made-up", "sample", n, estimate, low, high, 0.01, bound, proxy)


POINTS = {"transform": "difference", "smallest_effect": 0.5}
SIX = {"question": "size", "target": 6.0}  # within a factor of 1.5: 4 to 9
TWO = {"question": "at least", "target": 2.0}


@pytest.mark.parametrize(
    ("v", "status"),
    [
        # direction, as a ratio: the null is 1
        (verdict(1.2, 2.0), "reproduced"),
        (verdict(1.01, 1.05), "reproduced"),  # small, but surely there
        (verdict(1.2, 2.0, proxy=True), "supported (proxy)"),
        (verdict(0.5, 0.9), "contradicted"),
        (verdict(0.5, 0.9, proxy=True), "contradicted"),
        (verdict(0.95, 1.05), "no effect ≥ 1.1"),
        (verdict(0.95, 1.2), "inconclusive"),
        (verdict(0.8, 1.05), "inconclusive"),
        (verdict(1.2, 2.0, n=4), "inconclusive"),
        (verdict(0.5, 0.9, n=4), "inconclusive"),
        (verdict(NAN, NAN, n=1), "inconclusive"),
        (verdict(NAN, NAN), "inconclusive"),  # a seed that diverged
        # direction, in points: the null is 0
        (verdict(0.1, 0.9, **POINTS), "reproduced"),
        (verdict(-0.9, -0.1, **POINTS), "contradicted"),
        (verdict(-0.4, 0.4, **POINTS), "no effect ≥ 0.5"),
        (verdict(-0.4, 0.6, **POINTS), "inconclusive"),
        (verdict(-0.6, 0.4, **POINTS), "inconclusive"),
        # size
        (verdict(5.0, 7.0, **SIX), "reproduced"),
        (verdict(5.0, 7.0, **SIX, proxy=True), "inconclusive"),  # a proxy cannot decide a size, either way
        (verdict(2.1, 2.9, **SIX, proxy=True), "inconclusive"),
        (verdict(1.2, 1.8, **TWO, proxy=True), "inconclusive"),
        (verdict(4.5, 5.5, **SIX), "reproduced"),  # six give or take a factor of 1.5, surely
        (verdict(2.1, 2.9, **SIX), "contradicted"),
        (verdict(3.0, 5.0, **SIX), "contradicted"),
        (verdict(10.0, 12.0, **SIX), "contradicted"),
        (verdict(3.0, 8.0, **SIX), "inconclusive"),
        (verdict(5.0, 20.0, **SIX), "inconclusive"),
        (verdict(2.1, 2.9, **SIX, n=3), "inconclusive"),
        (verdict(NAN, NAN, **SIX), "inconclusive"),
        (verdict(7.0, NAN, **SIX, bound="lower"), "contradicted"),
        (verdict(5.0, NAN, **SIX, bound="lower"), "inconclusive"),
        # at least
        (verdict(2.1, 2.9, **TWO), "reproduced"),
        (verdict(1.2, 1.8, **TWO), "contradicted"),
        (verdict(1.2, 2.5, **TWO), "inconclusive"),
        (verdict(NAN, NAN, **TWO), "inconclusive"),
        (verdict(2.5, NAN, **TWO, bound="lower"), "reproduced"),
        (verdict(1.5, NAN, **TWO, bound="lower"), "inconclusive"),
        # a bound on a direction
        (verdict(1.5, NAN, bound="lower"), "reproduced"),
        (verdict(0.9, NAN, bound="lower"), "inconclusive"),
        (verdict(1.5, NAN, bound="lower", n=2), "inconclusive"),
    ],
)
def test_the_status_of_a_verdict(v: Verdict, status: str) -> None:
    assert evidence.status_of(v) == status


@unhurried
@given(st.floats(0.1, 10), st.floats(0.1, 10), st.sampled_from([{}, SIX, TWO, POINTS]))
def test_a_wider_interval_never_says_the_opposite(one: float, two: float, of: dict[str, Any]) -> None:
    low, high = sorted((one, two))
    narrow, wide = (evidence.status_of(verdict(a, b, **of)) for a, b in ((low, high), (low / 1.5, high * 1.5)))
    assert {narrow, wide} != {"reproduced", "contradicted"}


# ------------------------------------------------------------------------------------------ a user's own runs


def test_agreement_of_a_users_runs(folder: Path, tmp_path: Path) -> None:
    mine = tmp_path / "runs"
    assert evidence.agreement("sample", mine) == "made-up: no run of yours has a recorded twin"
    for seed, errors in enumerate(([80.0, 40.0, 20.0], [82.0, 41.0, 19.0])):
        theirs = store(folder, "fast", seed, errors, losses=[2.0, 1.5, 1.0])
        ours = [dict(line) for line in theirs]
        ours[1]["train_loss"] += 1e-4 * (seed + 1)
        ours[2]["train_loss"] += 1.0  # later windows are not compared in their loss
        ours[3]["train_error"] -= 0.5 * (seed + 1)
        tiny.write(mine / theirs[0]["id"] / "record.jsonl", ours)
    expected = (
        "made-up: 2 runs of yours with a recorded twin; first running loss differs by at most 2.0e-04, "
        "last running training error by at most 1.00 points"
    )
    assert evidence.agreement("sample", mine) == expected
    unfinished = store(folder, "fast", 2, [80.0])
    tiny.write(mine / unfinished[0]["id"] / "record.jsonl", unfinished[:-1])
    only_theirs = store(folder, "fast", 3, [80.0])
    half_a_line = store(folder, "fast", 4, [80.0])
    (mine / half_a_line[0]["id"]).mkdir()
    (mine / half_a_line[0]["id"] / "record.jsonl").write_text('{"kind": "ru')
    assert only_theirs and evidence.agreement("sample", mine) == expected


def test_runs_on_another_copy_of_the_data_are_said_to_be_that(folder: Path, tmp_path: Path) -> None:
    """Their ids differ from the recorded ones, of which no twin can be found."""
    (first, *rest), mine = store(folder, "fast", 0, [80.0]), tmp_path / "runs"
    first |= {"experiment": MADE_UP.name, "scale": MADE_UP.scale}
    tiny.write(mine / "mine" / "record.jsonl", [{**first, "id": "mine"}, *rest])
    assert evidence.agreement("sample", mine).endswith("no run of yours has a recorded twin")
    other = {**first, "id": "mine", "data": {**first["data"], "fingerprint": "sha256:other"}}
    tiny.write(mine / "mine" / "record.jsonl", [other, *rest])
    assert evidence.agreement("sample", mine) == (
        "made-up: no run of yours has a recorded twin; yours are on another copy of the data than the recorded ones"
    )
    for damaged in ("", "{", "[]", '"odd"\n'):  # that of another run, which is none of this
        (mine / "odd").mkdir(exist_ok=True)
        (mine / "odd" / "record.jsonl").write_text(damaged)
        assert "another copy" in evidence.agreement("sample", mine)


def test_agreement_of_runs_that_diverged_at_once(folder: Path, tmp_path: Path) -> None:
    """They have no window to compare."""
    for seed, status in enumerate(("diverged", "censored")):
        theirs = store(folder, "slow", seed, [], "diverged")
        tiny.write(tmp_path / "runs" / theirs[0]["id"] / "record.jsonl", [theirs[0], {**theirs[1], "status": status}])
    assert evidence.agreement("sample", tmp_path / "runs") == (
        "made-up: 2 runs of yours with a recorded twin; first running loss differs by at most 0.0e+00, "
        "last running training error by at most 0.00 points; 1 ended in another way"
    )


def test_agreement_looks_into_the_users_folder(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = store(folder, "fast", 0, [80.0])
    monkeypatch.setenv("PAPERLIB_RUNS", str(tmp_path / "runs"))
    tiny.write(tmp_path / "runs" / theirs[0]["id"] / "record.jsonl", theirs)
    assert "recorded twin; first" in evidence.agreement("sample")


# ------------------------------------------------------------------------------------------ evidence that was altered


def test_the_checksums_list_every_recorded_run() -> None:
    sums = evidence.read_checksums(evidence.RECORDED)
    there = {p.relative_to(evidence.RECORDED).as_posix() for p in evidence.RECORDED.glob("*/*/*.*")}
    assert sums is not None and set(sums) == there


@pytest.mark.parametrize("damage", ["a digit", "cut", "not listed"])
def test_an_altered_record_is_no_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    source = evidence.RECORDED / "relu" / "sample" / "2012-relu-seed0.jsonl"
    copy = tmp_path / "relu" / "sample" / source.name
    copy.parent.mkdir(parents=True)
    copy.write_bytes(source.read_bytes())
    evidence.write_checksums(tmp_path)
    monkeypatch.setattr(evidence, "RECORDED", tmp_path)
    assert len(evidence.recorded()) == 1
    evidence.forget()
    text = copy.read_text()
    changed = {
        "a digit": text.replace("28.0349", "8.0349"),
        "cut": "".join(text.splitlines(True)[:6]),
        "not listed": text,
    }
    copy.write_text(changed[damage])
    if damage == "not listed":
        (tmp_path / evidence.CHECKSUMS).write_text("")
    with pytest.raises(PaperlibError, match="checksum"):
        evidence.recorded()
    evidence.forget()


def test_an_unfinished_run_is_no_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = evidence.RECORDED / "relu" / "sample" / "2012-relu-seed0.jsonl"
    copy = tmp_path / "relu" / "sample" / source.name
    copy.parent.mkdir(parents=True)
    copy.write_text("".join(source.read_text().splitlines(True)[:6]))
    monkeypatch.setattr(evidence, "RECORDED", tmp_path)
    with pytest.raises(PaperlibError, match="did not finish"):
        evidence.recorded()
    evidence.forget()


def test_the_first_loss_is_that_of_the_first_epoch_and_nothing_without_one() -> None:
    epochs = [{"kind": "epoch", "epoch": i, "train_loss": loss} for i, loss in ((1, 2.5), (2, 1.5))]
    assert evidence.METRICS["first_loss"](epochs) == 2.5 and evidence.METRICS["train_loss"](epochs) == 1.5
    assert math.isnan(evidence.METRICS["first_loss"]([{"kind": "end", "steps": 3}]))
