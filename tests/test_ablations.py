"""The picture of all ablations: each line is the difference from the baseline, with the interval that decides."""

from __future__ import annotations

import pytest

from paperlib.evidence import decide, metrics, store
from paperlib.experiments import declared
from paperlib.figures import forest
from paperlib.training import records


def last_errors(name: str, scale: str, arm: str) -> list[float]:
    """Test errors of the last epoch of an arm, straight from the records."""
    return [
        records.of_kind(lines, "epoch")[-1]["test_error"]
        for of, _, lines in store.records_of(name, scale)
        if of == arm and not metrics.stalled(lines) and records.status(lines) != "diverged"
    ]


def test_each_line_is_a_difference_from_the_baseline() -> None:
    frame = forest.differences()
    assert not frame.duplicated(["scale", "arm"]).any()
    for row in frame.itertuples():
        mine, base = (last_errors(row.experiment, row.scale, arm) for arm in (row.arm, "baseline"))
        assert row.n == min(len(mine), len(base))
        assert row.estimate == pytest.approx(sum(mine) / len(mine) - sum(base) / len(base))
        assert row.low < row.estimate < row.high


def test_every_declared_comparison_with_the_baseline_is_drawn() -> None:
    frame = forest.differences()
    drawn = set(zip(frame["scale"], frame["arm"], strict=True))
    for name in forest.OF:
        for scale in {e.scale for e in declared.DECLARED if e.name == name} & set(forest.PLACES):
            for v in decide.verdicts_of(name, scale):
                arms = {v.comparison.a, v.comparison.b}
                if v.comparison.metric == "test_error" and "baseline" in arms and v.has_value and len(arms) == 2:
                    assert "" in arms or (scale, (arms - {"baseline"}).pop()) in drawn
