"""The values of one metric of an arm: seeds that count, runs that do not, and the spread of their pool."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from paperlib.evidence import intervals, metrics, store
from paperlib.evidence.intervals import Spread
from paperlib.evidence.metrics import METRICS
from paperlib.evidence.store import Record, cached, run_of
from paperlib.experiments import declared
from paperlib.experiments.form import Experiment
from paperlib.training import records
from paperlib.training.runs import Run

# ---------------------------------------------------------------------------------------------------------
# The values of one arm


@dataclass(frozen=True)
class Sample:
    """One metric of the recorded runs of an arm: seed -> value of those that count, and how many do not count.

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
        value, end = METRICS[metric](lines), records.of_kind(lines, "end")[0]
        if end["status"] == "diverged":
            diverged += 1
        elif metric in metrics.TIMES:
            if not math.isnan(value):
                values[seed] = value
            elif metrics.stalled(lines):
                stalled[seed] = float(end["steps"])
            elif run_of(lines).stop.threshold is not None:
                caps[seed] = float(end["steps"])
        elif metrics.stalled(lines):
            stalled[seed] = math.nan
        elif math.isfinite(value):
            values[seed] = value
    if metric in metrics.TIMES and not values:  # the whole arm is slow: its cap bounds it
        caps, stalled = caps | stalled, {}
    started = min((lines[0].get("started", "") for _, lines in found), default="")
    return Sample(values, len(found), len(stalled), diverged, caps, started[:10])


# ---------------------------------------------------------------------------------------------------------
# Pools


@cached
def samples_of(name: str, scale: str, metric: str) -> dict[str, Sample]:
    found: dict[str, list[tuple[int, Record]]] = {}
    for arm, seed, lines in store.records_of(name, scale):
        found.setdefault(arm, []).append((seed, lines))
    return {arm: sample_of(of_arm, metric) for arm, of_arm in found.items()}


@functools.cache
def seedless(run: Run) -> Run:
    """What runs that differ only in the seed have in common."""
    return replace(run, seed=0, start=seedless(run.start) if run.start else None)


def pool_of(experiment: Experiment, run: Run) -> Any:
    return experiment.base.model.net, run.sizes, run.stop


@cached
def groups_of(scale: str, metric: str, later: str = "") -> dict[Any, dict[Run, tuple[str, dict[int, float]]]]:
    """Pool -> arms that differ in more than the seed: name, and the metric by seed. A shared run counts once.

    Of all experiments but later controls, or of the one control named ``later`` alone.
    """
    pools: dict[Any, dict[Run, tuple[str, dict[int, float]]]] = {}
    for e in (e for e in declared.DECLARED if e.scale == scale and (e.name == later if later else not e.later)):
        runs_of = {(arm, seed): lines for arm, seed, lines in store.records_of(e.name, scale)}
        samples = samples_of(e.name, scale, metric)
        for (arm, seed), lines in runs_of.items():
            if seed in samples[arm].values:
                run = run_of(lines)
                arms = pools.setdefault(pool_of(e, run), {})
                arms.setdefault(seedless(run), (arm, {}))[1][seed] = samples[arm].values[seed]
    return pools


@cached
def spreads_of(scale: str, metric: str, later: str = "") -> dict[Any, Spread]:
    """Pool -> spread of the metric within arms, over those experiments at a scale that :func:`groups_of` takes."""
    pools = groups_of(scale, metric, later)
    return {key: intervals.pooled([[*values.values()] for _, values in arms.values()]) for key, arms in pools.items()}


def spread_of(experiment: Experiment, arm: str, metric: str) -> Spread:
    """The spread of an arm's pool. A later control adds nothing to a pool, and has its own where there is no other."""
    if arm not in experiment.arms:
        return Spread()
    pool = pool_of(experiment, experiment.run(arm, 0, ""))
    found = spreads_of(experiment.scale, metric).get(pool)
    if found is None and experiment.later:
        found = spreads_of(experiment.scale, metric, experiment.name).get(pool)
    return found or Spread()
