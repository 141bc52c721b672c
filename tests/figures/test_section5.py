"""The figures of section 5: what is drawn is what the records say."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from paperlib.evidence import store
from paperlib.experiments import declared
from paperlib.figures import trainings
from paperlib.training import loop, records
from tests import tiny


def test_the_stall_is_drawn_from_every_window_of_every_recorded_run() -> None:
    drawn = trainings.stall()
    known = store.records_of("stall", "tinyimagenet")
    assert len(drawn.data) == sum(len(records.of_kind(lines, "window")) for _, _, lines in known) > 0
    for arm, seed, lines in known:
        last = records.of_kind(lines, "window")[-1]
        mine = drawn.data[(drawn.data["arm"] == arm) & (drawn.data["seed"] == seed)].iloc[-1]
        assert (mine["update"], mine["loss"]) == (last["step"], pytest.approx(last["train_loss"], abs=1e-4))
    assert f"{math.log(200):.2f}" in drawn.alt


def test_the_training_is_drawn_with_its_drops() -> None:
    """From records of the experiment, or as an empty picture that says so."""
    drawn = trainings.training()
    known = store.records_of("full", "tinyimagenet")
    if not known:
        assert drawn.data.empty and "nothing to draw" in drawn.alt
        return
    own = {arm: records.of_kind(lines, "epoch") for arm, _, lines in known}
    own |= {"by hand": own["source"] + own["by hand"]} if "by hand" in own else {}  # it starts from the other's net
    epochs = max(own.values(), key=len)
    assert drawn.data["epoch"].tolist() == list(range(1, len(epochs) + 1))
    for column in ("validation_error", "train_error", "lr"):
        assert drawn.data[column].tolist() == pytest.approx([e[column] for e in epochs], abs=1e-4), column
    drops = [k for k in range(1, len(epochs)) if epochs[k]["lr"] < 0.5 * epochs[k - 1]["lr"]]
    upright = [x[0] for line in drawn.figure.axes[0].lines if (x := list(line.get_xdata()))[0] == x[-1]]
    late = [22, 24]  # of 30 epochs, as 67 and 72 of 90: colour noise off and conv1 slowed, conv1 frozen
    assert upright == [epoch + 0.5 for epoch in drops + late]
    assert "after epochs " + " and ".join(map(str, drops)) in drawn.alt
    assert "colour noise off, conv1 slowed after epoch 22; conv1 frozen after epoch 24" in drawn.alt
    assert drawn.data["arm"].tolist() == [arm for arm, lines in (("source", 30), ("by hand", 8)) for _ in range(lines)]
    as_declared = trainings.training(as_declared=True)
    assert as_declared.data.equals(drawn.data.query("arm == 'source'")) and "not the declared" not in as_declared.alt


def test_the_schedule_in_words() -> None:
    expected = {
        (1, 1, 1): "the rate never fell", (1, 1, 0.1): "the rate fell after epoch 2",
        (1, 0.1, 0.01, 0.01): "the rate fell after epochs 1 and 2",
    }  # fmt: skip
    for rates, words in expected.items():
        assert store.schedule([{"epoch": k, "lr": lr} for k, lr in enumerate(rates, 1)]) == words


@pytest.mark.parametrize("arm", declared.ACT_LATE)
def test_a_reading_of_the_late_epochs_is_the_baseline_until_its_switch_acts(arm: str) -> None:
    """Bit for bit, so that what it ends with is compared pair by pair; and then it is another net."""
    late = {
        "conv1 frozen late": {"optim.freeze_conv1": (2, 3)}, "noise off late": {"augment.colour_off_epoch": 2},
        "bias rate drops": {"optim.bias_lr_drops": True},
    }  # fmt: skip
    base = tiny.everything(epochs=4)
    base = replace(base, recipe=base.recipe.but(**{"optim.freeze_conv1": (), "optim.lr": 0.01}))
    assert set(late[arm]) == set(declared.READINGS_FELT[arm])
    one, other = (loop.fit(replace(base, recipe=base.recipe.but(**c)), tiny.dataset()).lines for c in ({}, late[arm]))
    ends = [records.of_kind(lines, "epoch")[1]["step"] for lines in (one, other)]  # two epochs are over
    before, after = (
        [[w["train_loss"] for w in records.of_kind(lines, "window") if (w["step"] <= ends[0]) == early]
         for lines in (one, other)]
        for early in (True, False)
    )  # fmt: skip
    assert before[0] == before[1] and len(before[0]) >= 2 and ends[0] == ends[1]
    assert after[0] != after[1]
