"""The picture of all ablations: each line is the paired difference that the records give."""

from __future__ import annotations

import pytest
from scipy import stats

from paperlib import ablations, evidence, experiments, runs


def last_error(name: str, scale: str) -> dict[tuple[str, int], float]:
    """(arm, seed) -> test error of the last epoch, straight from the records."""
    return {
        (arm, seed): runs.of_kind(lines, "epoch")[-1]["test_error"]
        for arm, seed, lines in evidence.records_of(name, scale)
    }


def test_each_line_is_a_paired_difference_with_its_interval() -> None:
    frame = ablations.differences()
    assert len(frame) >= 24 and not frame.duplicated(["scale", "arm"]).any()
    for row in frame.itertuples():
        errors = last_error(row.experiment, row.scale)
        seeds = [seed for arm, seed in errors if arm == row.arm and ("baseline", seed) in errors]
        pairs = [(errors[row.arm, seed], errors["baseline", seed]) for seed in seeds]
        each = [mine - base for mine, base in pairs]
        assert row.n == len(each) and row.estimate == pytest.approx(sum(each) / len(each))
        if row.n < evidence.FEWEST_SEEDS:
            assert row.low is None or row.low != row.low
            continue
        theirs = stats.ttest_rel(*zip(*pairs, strict=True)).confidence_interval(0.95)
        assert (row.low, row.high) == (pytest.approx(theirs.low), pytest.approx(theirs.high))


def test_every_recorded_arm_of_the_named_experiments_is_drawn() -> None:
    frame = ablations.differences()
    drawn = set(zip(frame["scale"], frame["arm"], strict=True))
    for name in ablations.OF:
        for scale in {e.scale for e in experiments.DECLARED if e.name == name}:
            arms = {arm for arm, _, _ in evidence.records_of(name, scale)} - {"baseline"}
            assert {(scale, arm) for arm in arms} <= drawn
