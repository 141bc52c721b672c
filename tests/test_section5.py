"""The figures of section 5: what is drawn is what the records say."""

from __future__ import annotations

import math

import pytest

from paperlib import evidence, experiments, runs, section5
from paperlib.optim import plateau_drops


def test_the_stall_is_drawn_from_every_window_of_every_recorded_run() -> None:
    drawn = section5.stall()
    known = evidence.records_of("stall", "tinyimagenet")
    assert len(drawn.data) == sum(len(runs.of_kind(lines, "window")) for _, _, lines in known) > 0
    for arm, seed, lines in known:
        last = runs.of_kind(lines, "window")[-1]
        mine = drawn.data[(drawn.data["arm"] == arm) & (drawn.data["seed"] == seed)].iloc[-1]
        assert (mine["update"], mine["loss"]) == (last["step"], pytest.approx(last["train_loss"], abs=1e-4))
    assert f"{math.log(200):.2f}" in drawn.alt


def test_the_training_is_drawn_with_its_drops() -> None:
    """From records of the experiment, or as an empty picture that says so."""
    drawn = section5.training()
    known = evidence.records_of("full", "tinyimagenet")
    if not known:
        assert drawn.data.empty and "nothing to draw" in drawn.alt
        return
    errors = max(([e["validation_error"] for e in runs.of_kind(lines, "epoch")] for *_, lines in known), key=len)
    assert drawn.data["validation_error"].tolist() == pytest.approx(errors, abs=1e-4)
    rate, drops = 0.01, plateau_drops(experiments.FULL_TINY.base.optim, errors)
    for epoch, lr in zip(drawn.data["epoch"], drawn.data["lr"], strict=True):
        assert lr == pytest.approx(rate / 10 ** sum(epoch > drop for drop in drops), abs=1e-4)
