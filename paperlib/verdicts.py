"""What the records say of each declared comparison: estimate, simultaneous interval, outcome.

The rule. The tests of one experiment share an error rate of 5 %: each of its N different tests gets a share of 5 % / N,
and the k tests of one metric that compare arms with the control get 5 % k / N together, as Dunnett's test. Differences
of errors are differences of means over all recorded seeds of each arm, their standard deviation pooled over all arms of
the same net, sizes and schedule. Times are compared as ratios, on logarithms (Welch). What a single arm measures, and a
comparison declared as paired, has a one-sample t interval. The interval that is printed is the one that decides.

Runs that stalled or diverged are counted and stand outside the means. A run that was stopped before it reached its
threshold gives a bound, which decides a direction and never a size.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from paperlib import design, evidence, experiments, intervals, runs
from paperlib.design import Comparison, Experiment
from paperlib.errors import PaperlibError
from paperlib.evidence import METRICS, UNITS, Record, cached
from paperlib.intervals import Interval, Spread
from paperlib.runs import Run

ALPHA = 0.05
"""Error rate of all tests of one experiment together."""
FACTOR = 1.5
"""A size is reproduced within this factor of the paper's."""
FEWEST, FEWEST_POOLED, POOLED_DF = 5, 3, 20
"""Seeds an arm that a verdict needs; seeds that are enough where the pool has so many degrees of freedom."""

Outcome = Literal["holds", "contradicted", "no effect", "undecided", "mixed"]
"""What became of a comparison ("mixed": only of several together)."""
Test = tuple[str, str, str, str, bool]


def together(outcomes: Iterable[Outcome]) -> Outcome:
    """One outcome for several parts: any contradiction contradicts, support needs every part."""
    kinds = set(outcomes)
    if "contradicted" in kinds:
        return "contradicted"
    if "undecided" in kinds or not kinds:
        return "undecided"
    return kinds.pop() if len(kinds) == 1 else "mixed"


def in_words(outcome: Outcome, proxy: bool, effect: str = "") -> str:
    """The status as it is printed: the only place where an outcome becomes text. ``effect`` is the smallest of
    interest, for "no effect"."""
    if outcome in ("undecided", "mixed"):
        return outcome
    if outcome == "holds":
        return "supported (proxy)" if proxy else "reproduced"
    word = f"no effect ≥ {effect}" if outcome == "no effect" else outcome
    return f"{word} (proxy)" if proxy else word


# ---------------------------------------------------------------------------------------------------------
# The values of one arm


@dataclass(frozen=True)
class Sample:
    """One metric of the recorded runs of an arm: seed -> value of those that count, and how many stand outside.

    ``caps`` has the updates after which a run was stopped that had not reached its threshold.
    """

    values: dict[int, float] = field(default_factory=dict)
    recorded: int = 0
    stalled: int = 0
    diverged: int = 0
    caps: dict[int, float] = field(default_factory=dict)
    first_run: str = ""

    @property
    def n(self) -> int:
        """Seeds that count."""
        return len(self.values) + len(self.caps)

    @property
    def given(self) -> list[float]:
        """The values, and for runs that were stopped the least that they can be."""
        return [*self.values.values(), *self.caps.values()]

    def outside(self, arm: str) -> list[str]:
        """What is said of the runs that do not count."""
        counted = {"never left guessing": self.stalled, "diverged": self.diverged}
        return [f"{arm}: {n} of {self.recorded} {what}" for what, n in counted.items() if n]


def sample_of(found: Sequence[tuple[int, Record]], metric: str) -> Sample:
    """The sample of one arm from its (seed, record) pairs."""
    values, caps, diverged, stalled = {}, {}, 0, {}
    for seed, lines in found:
        value, end = METRICS[metric](lines), runs.of_kind(lines, "end")[0]
        if end["status"] == "diverged":
            diverged += 1
        elif metric == "updates":
            if not math.isnan(value):
                values[seed] = value
            elif evidence.stalled(lines):
                stalled[seed] = float(end["steps"])
            elif Run.from_config(lines[0]["config"]).stop.threshold is not None:
                caps[seed] = float(end["steps"])
        elif evidence.stalled(lines):
            stalled[seed] = math.nan
        elif math.isfinite(value):
            values[seed] = value
    if metric == "updates" and not values:  # the whole arm is slow: its cap bounds it
        caps, stalled = caps | stalled, {}
    started = min((lines[0].get("started", "") for _, lines in found), default="")
    return Sample(values, len(found), len(stalled), diverged, caps, started[:10])


# ---------------------------------------------------------------------------------------------------------
# Pools


@cached
def _samples(folder: Path, name: str, scale: str, metric: str) -> dict[str, Sample]:
    found: dict[str, list[tuple[int, Record]]] = {}
    for arm, seed, lines in evidence.records_of(name, scale):
        found.setdefault(arm, []).append((seed, lines))
    return {arm: sample_of(of_arm, metric) for arm, of_arm in found.items()}


def _seedless(run: Run) -> Run:
    return replace(run, seed=0, start=_seedless(run.start) if run.start else None)


def _pool_of(experiment: Experiment, run: Run) -> Any:
    return experiment.base.model.net, run.sizes, run.stop


@cached
def _spreads(folder: Path, scale: str, metric: str) -> dict[Any, Spread]:
    """Pool -> spread of the metric within arms, over all experiments at a scale; a shared run counts once."""
    pools: dict[Any, dict[str, dict[int, float]]] = {}
    for e in (e for e in experiments.DECLARED if e.scale == scale):
        runs_of = {(arm, seed): lines for arm, seed, lines in evidence.records_of(e.name, scale)}
        samples = _samples(folder, e.name, scale, metric)
        for (arm, seed), lines in runs_of.items():
            if seed in samples[arm].values:
                run = Run.from_config(lines[0]["config"])
                arms = pools.setdefault(_pool_of(e, run), {})
                arms.setdefault(_seedless(run).id, {})[seed] = samples[arm].values[seed]
    return {key: intervals.pooled([[*values.values()] for values in arms.values()]) for key, arms in pools.items()}


# ---------------------------------------------------------------------------------------------------------
# The verdict


@dataclass(frozen=True)
class Verdict:
    """What the records say of one comparison.

    ``low`` and ``high`` are the simultaneous interval of ``estimate`` (a difference in the metric's units, or a ratio).
    ``bound`` is "lower" where a run of b was stopped before its threshold, "upper" where one of a was: then
    ``estimate`` is only a bound, without an interval; "both" where runs of both were, and nothing is bounded. ``n`` are
    the seeds that count, of a and of b; ``df`` the degrees of freedom of a pool, 0 where the arms stand alone.
    """

    comparison: Comparison
    experiment: str
    scale: str
    proxy: bool
    n_of: tuple[int, ...]
    estimate: float
    low: float = math.nan
    high: float = math.nan
    bound: Literal["", "lower", "upper", "both"] = ""
    df: int = 0
    outside: tuple[str, ...] = ()
    first_run: str = ""
    declared: str = ""

    @property
    def n(self) -> int:
        """Seeds of the arm with the fewest."""
        return min(self.n_of)

    @property
    def seeds(self) -> str:
        """The seeds of both arms, in words."""
        return " and ".join(map(str, self.n_of if len({*self.n_of}) > 1 else self.n_of[:1]))

    @property
    def ratio(self) -> bool:
        return self.comparison.transform == "log_ratio"

    @property
    def fewest(self) -> int:
        """Seeds an arm that a verdict needs here."""
        return FEWEST_POOLED if self.df >= POOLED_DF else FEWEST

    @property
    def outcome(self) -> Outcome:
        """What the interval says, or the bound; "undecided" with too few seeds."""
        if self.n < self.fewest:
            return "undecided"
        if self.bound:
            ends = {"lower": (self.estimate, math.inf), "upper": (0.0, self.estimate)}.get(self.bound)
            return outcome_of(self.comparison, *ends, proxy=self.proxy, bound=True) if ends else "undecided"
        return outcome_of(self.comparison, self.low, self.high, proxy=self.proxy)

    @property
    def status(self) -> str:
        """The outcome in words."""
        return in_words(self.outcome, self.proxy, f"{self.comparison.smallest_effect:g}")

    # ------------------------------------------------------------------------------------- what would decide

    @property
    def half_width(self) -> float | None:
        """Half the interval's width; of a ratio the factor by which either end is off. None without an interval."""
        if math.isnan(self.low):
            return None
        return math.sqrt(self.high / self.low) if self.ratio else (self.high - self.low) / 2

    @property
    def seeds_to_decide(self) -> int | None:
        """Seeds an arm that would decide an undecided comparison if its estimate stays; None where seeds cannot."""
        c = self.comparison
        if self.outcome != "undecided" or (self.proxy and c.question != "direction") or not self.half_width:
            return None
        scaled: Callable[[float], float] = math.log if self.ratio else float
        needed = distance_to_decide(c, self.estimate)
        if not needed > 0:
            return None
        n = math.ceil(self.n * (scaled(self.half_width) / needed) ** 2)
        return max(n, self.fewest if self.n < self.fewest else self.n + 1)

    # ------------------------------------------------------------------------------------- text

    @property
    def unit(self) -> str:
        """With a space before it; empty for what has none."""
        unit = "times" if self.ratio else UNITS.get(self.comparison.metric, "points")
        return f" {unit}" if unit else ""

    @property
    def has_value(self) -> bool:
        """Whether there is an estimate or a bound."""
        return self.bound != "both" and not math.isnan(self.estimate)

    @property
    def value(self) -> str:
        """Estimate and interval with the unit, or the bound."""
        c = self.comparison
        if self.bound == "both":
            return f"neither {c.a} nor {c.b} reached the threshold with all seeds, so nothing bounds their ratio"
        if not self.has_value:
            return "no value yet"
        if self.bound:
            return f"{'>' if self.bound == 'lower' else '<'} {self.estimate:.2f}{self.unit} (bound)"
        interval = "" if math.isnan(self.low) else f" ({self.low:.2f} to {self.high:.2f})"
        return f"{self.estimate:.2f}{self.unit}{interval}"

    @property
    def text(self) -> str:
        """The result in a few words: the value, and the runs that do not count."""
        return "; ".join([self.value, *self.outside])

    @property
    def outlook(self) -> str:
        """Of an undecided comparison with an interval: its half-width, and the seeds that would decide it."""
        if self.outcome != "undecided" or self.half_width is None:
            return ""
        half = f"×/÷ {self.half_width:.2f}" if self.ratio else f"± {self.half_width:.2f}{self.unit}"
        if self.proxy and self.comparison.question != "direction":
            return f"{half}; a proxy cannot decide a size"
        more = self.seeds_to_decide
        return half if more is None else f"{half}; about {more} seeds an arm would decide it"

    def sentence(self, around: str) -> str:
        """The text in a sentence, ``around``, with {} for the value; where there is no value, the text alone."""
        return "; ".join([around.format(self.value) if self.has_value else self.value, *self.outside])


def outcome_of(c: Comparison, low: float, high: float, *, proxy: bool = False, bound: bool = False) -> Outcome:
    """What an interval (or a bound, with one end open) says of a comparison.

    A proxy can decide a direction, never a size; nor can a bound.
    """
    if math.isnan(low) or math.isnan(high):
        return "undecided"
    if c.question != "direction" and proxy:
        return "undecided"
    if c.question == "size":
        least, most = c.target / FACTOR, c.target * FACTOR
        if bound:
            return "undecided"
        if least <= low and high <= most:
            return "holds"
        return "contradicted" if high < least or low > most else "undecided"
    null = c.target if c.question == "at least" else 1.0 if c.transform == "log_ratio" else 0.0
    if low > null or (c.question == "at least" and low == null):
        return "holds"
    if high < null:
        return "contradicted"
    if c.question == "direction":
        delta = c.smallest_effect
        if (1 / delta < low and high < delta) if c.transform == "log_ratio" else (-delta < low and high < delta):
            return "no effect"
    return "undecided"


def distance_to_decide(c: Comparison, estimate: float) -> float:
    """The half-width (of the logarithm, for ratios) below which an interval around ``estimate`` decides."""
    scaled: Callable[[float], float] = math.log if c.transform == "log_ratio" else float
    if math.isnan(estimate):
        return math.nan
    at = scaled(estimate)
    if c.question == "size":
        return min(abs(at - scaled(c.target / FACTOR)), abs(at - scaled(c.target * FACTOR)))
    if c.question == "at least":
        return abs(at - scaled(c.target))
    return max(abs(at), scaled(c.smallest_effect) - abs(at))


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


def verdicts_of(name: str, scale: str) -> list[Verdict]:
    """The verdicts on all comparisons of an experiment whose arms have records, in the order of declaration."""
    return list(_verdicts_of(evidence.RECORDED, name, scale))


@cached
def _verdicts_of(folder: Path, name: str, scale: str) -> tuple[Verdict, ...]:
    experiment = experiments.get(name, scale)

    def spread(arm: str, metric: str) -> Spread:
        if arm not in experiment.arms:
            return Spread()
        pool = _pool_of(experiment, experiment.run(arm, 0, ""))
        return _spreads(folder, scale, metric).get(pool, Spread())

    found = decide(experiment, lambda arm, metric: _samples(folder, name, scale, metric).get(arm, Sample()), spread)
    declared = declarations(folder).get(f"{name}/{scale}", "")
    return tuple(
        replace(found[test_of(c)], comparison=c, declared=declared)
        for c in experiment.comparisons if test_of(c) in found
    )  # fmt: skip


@cached
def declarations(folder: Path) -> dict[str, str]:
    """ "experiment/scale" -> the commit that declared it, as ``DECLARED.toml`` beside the records lists them."""
    path = folder / "DECLARED.toml"
    return dict(tomllib.loads(path.read_text(encoding="utf-8"))["declared"]) if path.exists() else {}


Bears = Callable[[str, Comparison], bool]


def verdicts(*claims: str) -> list[Verdict]:
    """All verdicts that bear on a claim (under any of its ids), those of the largest scale first."""
    return _where(lambda _, comparison: comparison.claim in claims)


def planned(scale: str, *claims: str) -> int:
    """How many different comparisons are declared for a claim at a scale, recorded or not."""
    return len(
        {
            (e.name, replace(c, claim=""))
            for e in experiments.DECLARED if e.scale == scale for c in e.comparisons if c.claim in claims
        }
    )  # fmt: skip


def verdicts_beside(name: str, arms: str) -> list[Verdict]:
    """The verdicts on a pair of arms of an experiment that bear on no claim, those of the largest scale first.

    Raises :class:`PaperlibError` where no such comparison is declared.
    """

    def beside(experiment: str, comparison: Comparison) -> bool:
        return experiment == name and comparison.arms == arms and not comparison.claim

    if not any(beside(e.name, c) for e in experiments.DECLARED for c in e.comparisons):
        raise PaperlibError(f"experiment {name!r} has no comparison {arms!r} beside those of claims")
    return _where(beside)


def _where(bears: Bears) -> list[Verdict]:
    """The verdicts on those comparisons for which ``bears(experiment's name, comparison)``, largest scale first."""
    found = [
        v for e in experiments.DECLARED if any(bears(e.name, c) for c in e.comparisons)
        for v in verdicts_of(e.name, e.scale) if bears(e.name, v.comparison)
    ]  # fmt: skip
    return sorted(found, key=lambda v: -design.SCALES.index(v.scale))
