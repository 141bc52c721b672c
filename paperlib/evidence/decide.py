"""The tests of an experiment, with intervals that hold together, and the verdicts of the records."""

from __future__ import annotations

import functools
import math
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace

from paperlib.errors import PaperlibError
from paperlib.evidence import intervals, store
from paperlib.evidence.intervals import Interval, Spread
from paperlib.evidence.samples import Sample, samples_of, spread_of
from paperlib.evidence.store import cached
from paperlib.evidence.verdict import ALPHA, Verdict
from paperlib.experiments import declared
from paperlib.experiments.form import Comparison, Experiment
from paperlib.experiments.scales import LARGEST_FIRST

Test = tuple[str, str, str, str, bool]


# ---------------------------------------------------------------------------------------------------------
# The tests of an experiment


def test_of(c: Comparison) -> Test:
    """What is tested, whatever claim or question it serves: equal tests count once."""
    return c.a, c.b, c.metric, c.transform, c.paired


def tests_of(experiment: Experiment) -> list[Test]:
    """The different tests that an experiment declares, recorded or not."""
    return list(dict.fromkeys(test_of(c) for c in experiment.comparisons))


SampleOf = Callable[[str, str], Sample]
SpreadOf = Callable[[str, str], Spread]


def decide(experiment: Experiment, sample: SampleOf, spread: SpreadOf) -> dict[Test, Verdict]:
    """The verdict of each test of an experiment that has runs of all its arms.

    ``sample`` and ``spread`` give the values of (arm, metric), and the spread of their pool.
    """
    tests = tests_of(experiment)
    comparisons = {test_of(c): c for c in reversed(experiment.comparisons)}
    share = ALPHA / len(tests) if tests else ALPHA
    criticals = critical_values(experiment, tests, sample, spread, share)
    found = {}
    for test in tests:
        a, b, metric, *_ = test
        samples = [sample(arm, metric) for arm in (a, b) if arm]
        if all(each.recorded for each in samples):
            spreads = [spread(arm, metric) for arm in (a, b) if arm]
            found[test] = _verdict(experiment, comparisons[test], samples, spreads, share, criticals.get(test))
    return found


def critical_values(
    experiment: Experiment, tests: Sequence[Test], sample: SampleOf, spread: SpreadOf, share: float
) -> dict[Test, float]:
    """Dunnett's critical value of each test against the control; the family of a metric has their shares together.

    An arm without runs has its planned seeds, so that no interval changes when the others' runs are recorded.
    """
    control, families = experiment.control, dict[str, dict[Test, str]]()
    for test in tests:
        a, b, metric, transform, paired = test
        if control not in (a, b) or not b or transform != "difference" or paired:
            continue
        if spread(a, metric) == spread(b, metric):
            families.setdefault(metric, {})[test] = b if a == control else a

    def seeds(arm: str, metric: str) -> int:
        return sample(arm, metric).n or max(1, len(experiment.planned_seeds(arm)))

    criticals: dict[Test, float] = {}
    for metric, family in families.items():
        arms = tuple(sorted(seeds(arm, metric) for arm in dict.fromkeys(family.values())))
        df = spread(control, metric).df
        value = intervals.dunnett(arms, seeds(control, metric), df, share * len(family))
        criticals |= dict.fromkeys(family, value)
    return criticals


def _verdict(
    experiment: Experiment, c: Comparison, samples: list[Sample], spreads: list[Spread], share: float,
    critical: float | None,
) -> Verdict:  # fmt: skip
    outside = [words for arm, each in zip((c.a, c.b), samples, strict=False) for words in each.outside(arm)]
    started = [each.first_run for each in samples if each.first_run]
    verdict = Verdict(
        c, experiment.name, experiment.scale, experiment.proxy, tuple(each.n for each in samples), math.nan,
        outside=tuple(outside), first_run=min(started, default=""),
    )  # fmt: skip
    if any(each.caps for each in samples) and len(samples) == 2 and verdict.ratio:
        return _bounded(verdict, *samples)
    values = [[*each.values.values()] for each in samples]
    df = 0
    if c.paired:
        common = [seed for seed in samples[0].values if seed in samples[1].values]
        pairs = [(samples[0].values[seed], samples[1].values[seed]) for seed in common]
        logs = [math.log(y / x) if verdict.ratio else y - x for x, y in pairs]
        verdict, found = replace(verdict, n_of=(len(common),)), intervals.of_mean(logs, share)
    elif len(samples) == 1:
        found = intervals.of_mean(values[0], share)
    elif verdict.ratio:
        found = intervals.of_log_ratio(values[0], values[1], share)
    else:
        dunnett = math.nan if critical is None else critical
        found = intervals.of_difference(values[0], values[1], spreads[0], spreads[1], share, dunnett)
        df = min(each.df for each in spreads)
    back = math.exp if verdict.ratio else float
    ends = Interval(*(back(each) for each in (found.estimate, found.low, found.high)))
    return replace(verdict, estimate=ends.estimate, low=ends.low, high=ends.high, df=df)


def _bounded(verdict: Verdict, a: Sample, b: Sample) -> Verdict:
    """The ratio of times where runs were stopped: the weakest bound that the runs allow."""
    if a.caps and b.caps:
        return replace(verdict, bound="both")
    if not (a.n and b.n):
        return verdict
    if b.caps:
        return replace(verdict, bound="lower", estimate=min(b.given) / max(a.given))
    return replace(verdict, bound="upper", estimate=max(b.given) / min(a.given))


# ---------------------------------------------------------------------------------------------------------
# From the records


@cached
def verdicts_of(name: str, scale: str) -> tuple[Verdict, ...]:
    """The verdicts on all comparisons of an experiment whose arms have records, in the order of declaration."""
    experiment = declared.get(name, scale)
    found = decide(
        experiment,
        lambda arm, metric: samples_of(name, scale, metric).get(arm, Sample()),
        functools.cache(lambda arm, metric: spread_of(experiment, arm, metric)),
    )
    commit = declarations().get(f"{name}/{scale}", "")
    return tuple(
        replace(found[test_of(c)], comparison=c, declared=commit)
        for c in experiment.comparisons if test_of(c) in found
    )  # fmt: skip


def baseline_first(v: Verdict) -> Verdict:
    """A difference that serves no claim, turned where it has the control second: so that all are read in one way."""
    c = v.comparison
    second = not c.claim and c.transform == "difference" and c.b == declared.get(v.experiment, v.scale).control
    return v.turned if second else v


def by_own_spreads(v: Verdict) -> Verdict:
    """The same difference of two arms with each arm's own spread in place of its pool's, as Welch does."""
    c, experiment = v.comparison, declared.get(v.experiment, v.scale)
    found = samples_of(v.experiment, v.scale, c.metric)
    a, b = ([*found[arm].values.values()] for arm in (c.a, c.b))
    share = ALPHA / len(tests_of(experiment))
    own = intervals.welch(a, b, share)
    return replace(v, low=own.low, high=own.high, df=0)


@cached
def declarations() -> dict[str, str]:
    """ "experiment/scale" -> the commit that declared it, as ``DECLARED.toml`` beside the records lists them."""
    path = store.current().folder / "DECLARED.toml"
    return dict(tomllib.loads(path.read_text(encoding="utf-8"))["declared"]) if path.exists() else {}


def verdicts(*claims: str) -> list[Verdict]:
    """All verdicts that bear on a claim (under any of its ids), those of the largest scale first."""
    return _where(lambda _, comparison: comparison.claim in claims)


def planned(scale: str, *claims: str) -> int:
    """How many different comparisons are declared for a claim at a scale, recorded or not."""
    return len(
        {
            (e.name, replace(c, claim=""))
            for e in declared.DECLARED if e.scale == scale for c in e.comparisons if c.claim in claims
        }
    )  # fmt: skip


def verdicts_beside(name: str, arms: str) -> list[Verdict]:
    """The verdicts on a pair of arms of an experiment that bear on no claim, those of the largest scale first.

    Raises :class:`PaperlibError` where no such comparison is declared.
    """

    def beside(experiment: str, comparison: Comparison) -> bool:
        return experiment == name and comparison.arms == arms and not comparison.claim

    if not any(beside(e.name, c) for e in declared.DECLARED for c in e.comparisons):
        raise PaperlibError(f"experiment {name!r} has no comparison {arms!r} beside those of claims")
    return _where(beside)


def _where(bears: Callable[[str, Comparison], bool]) -> list[Verdict]:
    """The verdicts on those comparisons for which ``bears(experiment's name, comparison)``, largest scale first."""
    found = [
        v for e in declared.DECLARED if any(bears(e.name, c) for c in e.comparisons)
        for v in verdicts_of(e.name, e.scale) if bears(e.name, v.comparison)
    ]  # fmt: skip
    return sorted(found, key=lambda v: LARGEST_FIRST.index(v.scale))
