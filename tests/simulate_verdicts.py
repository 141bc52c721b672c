"""How often the rule errs where nothing differs: simulated experiments in which every null hypothesis is true.

    python -m tests.simulate_verdicts [EXPERIMENTS]

Each has many-to-one families of two metrics (15 seeds of the baseline, 5 or 3 of the arms), pairs of arms, a metric of
a single arm, a ratio of times and a paired comparison. An experiment errs if any interval excludes the truth. A small
number of them is part of the tests.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from dataclasses import replace

import numpy as np

from paperlib.evidence import decide, intervals
from paperlib.evidence.samples import Sample
from paperlib.experiments.form import Comparison, Experiment
from paperlib.recipe import Recipe, Sizes, Stop

ARMS = ("one", "two", "three", "four", "five", "late")
EXPERIMENT = Experiment(
    "simulated", "sample", "nothing differs", Recipe(), Sizes(), Stop(), {"baseline": {}, **{arm: {} for arm in ARMS}},
    seeds=(0, 1, 2, 3, 4), seeds_of={"baseline": tuple(range(15)), "five": (0, 1, 2)},
    comparisons=(
        *(Comparison("S9-a", "baseline", arm, "test_error", smallest_effect=0.5) for arm in ARMS[:5]),
        Comparison("S9-b", "baseline", "one", "test_error", smallest_effect=0.5),  # the same test for another claim
        *(Comparison("S9-c", "baseline", arm, "train_error", smallest_effect=0.5) for arm in ARMS[:2]),
        Comparison("S9-d", "one", "two", "test_error", smallest_effect=0.5),
        Comparison("S9-e", "baseline", "", "ten_views_gain", smallest_effect=0.5),
        Comparison("S9-f", "one", "two", "updates", "log_ratio", smallest_effect=1.1),
        Comparison("S9-g", "baseline", "late", "test_error", smallest_effect=0.5, paired=True),
    ),
)  # fmt: skip
MEAN, SD = {"test_error": 30.0, "train_error": 40.0, "ten_views_gain": 0.0, "updates": math.log(5000)}, 0.7


def samples(random: np.random.Generator) -> dict[tuple[str, str], Sample]:
    """Values of every arm and metric: independent, but for the arm that is paired with the baseline."""
    found = {}
    for arm in EXPERIMENT.arms:
        seeds = EXPERIMENT.planned_seeds(arm)
        for metric, mean in MEAN.items():
            values = mean + SD * random.standard_normal(len(seeds))
            if metric == "updates":
                values = np.exp(values)
            found[arm, metric] = Sample(dict(zip(seeds, map(float, values), strict=True)), len(seeds))
    baseline = found["baseline", "test_error"].values
    noise = 0.1 * random.standard_normal(5)
    late = {seed: baseline[seed] + float(noise[seed]) for seed in range(5)}
    return found | {("late", "test_error"): Sample(late, 5)}


def errors(random: np.random.Generator) -> tuple[int, int]:
    """Tests of one simulated experiment whose interval excludes the truth; verdicts that claim a direction."""
    found = samples(random)
    spreads = {
        metric: intervals.pooled([[*each.values.values()] for (_, m), each in found.items() if m == metric])
        for metric in MEAN
    }
    decided = decide.decide(EXPERIMENT, lambda arm, m: found[arm, m], lambda arm, m: spreads[m])
    truth = {test: 1.0 if v.ratio else 0.0 for test, v in decided.items()}
    wrong = sum(not v.low <= truth[test] <= v.high for test, v in decided.items())
    own = [replace(v, proxy=False).outcome for v in decided.values()]
    return wrong, sum(outcome in ("holds", "contradicted") for outcome in own)


def rate(experiments: int, seed: int = 2012) -> tuple[float, float]:
    """Shares of simulated experiments with a wrong interval, and with a wrong verdict."""
    random = np.random.default_rng(seed)
    counts: Counter[str] = Counter()
    for _ in range(experiments):
        intervals_wrong, verdicts_wrong = errors(random)
        counts["interval"] += intervals_wrong > 0
        counts["verdict"] += verdicts_wrong > 0
    return counts["interval"] / experiments, counts["verdict"] / experiments


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    interval, verdict = rate(number)
    error = math.sqrt(0.05 * 0.95 / number)
    print(f"{number} experiments: {100 * interval:.2f} % with a wrong interval, {100 * verdict:.2f} % with a wrong")
    print(f"verdict; at most 5 % are allowed, known here to ± {100 * error:.2f} points")
