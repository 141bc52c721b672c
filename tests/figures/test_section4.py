"""The figure of section 4: what is drawn is what the records say."""

from __future__ import annotations

import pytest

from paperlib.evidence import store
from paperlib.experiments import declared
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
        assert mine["net"] in drawn.alt and f"rate {lines[0]['config']['recipe']['optim']['lr']:g}" in mine["net"]


def test_the_nets_by_rate_are_those_of_their_experiments() -> None:
    """Only what is recorded, with dropout exactly where the name says so."""
    drawn = trainings.overfit_by_rate().data
    assert {*drawn["arm"]} <= {arm for _, arm in trainings.BY_RATE}
    for experiment, arm in trainings.BY_RATE:
        known = {seed for of, seed, _ in store.records_of(experiment.name, "sample") if of == arm}
        assert {*drawn[drawn["net"] == trainings.net_of(experiment, arm)]["seed"]} == known
        assert ("dropout" in trainings.WITH[arm]) == (experiment.recipe(arm).model.dropout > 0)


def test_nets_that_differ_in_something_else_have_their_arms_names() -> None:
    drawn = trainings.overfit([(declared.OVERFIT_POOL, arm) for arm in ("baseline", "2x2")]).data
    assert {*drawn["net"]} == {"baseline", "2x2"}
