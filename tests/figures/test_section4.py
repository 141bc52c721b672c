"""The figure of section 4: what is drawn is what the records say."""

from __future__ import annotations

import pytest

from paperlib.evidence import store
from paperlib.figures import trainings
from paperlib.training import records


def test_overfitting_is_drawn_from_every_recorded_run() -> None:
    drawn = trainings.overfit()
    known = store.records_of("overfit", "sample")
    assert len(drawn.data) == len(known) > 0
    for arm, seed, lines in known:
        (fit,), last = records.of_kind(lines, "fit"), records.of_kind(lines, "epoch")[-1]
        mine = drawn.data[(drawn.data["arm"] == arm) & (drawn.data["seed"] == seed)].iloc[0]
        assert mine["fit_error"] == pytest.approx(fit["top1_error"], abs=1e-4)
        assert mine["test_error"] == pytest.approx(last["test_error"], abs=1e-4)
        assert arm in drawn.alt
