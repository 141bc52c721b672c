"""The figures of section 5: what is drawn is what the records say."""

from __future__ import annotations

import math

import pytest

from paperlib.evidence import store
from paperlib.figures import trainings
from paperlib.training import records
from paperlib.training import records as training_records


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


def test_the_schedule_in_words() -> None:
    expected = {
        (1, 1, 1): "the rate never fell", (1, 1, 0.1): "the rate fell after epoch 2",
        (1, 0.1, 0.01, 0.01): "the rate fell after epochs 1 and 2",
    }  # fmt: skip
    for rates, words in expected.items():
        assert store.schedule([{"epoch": k, "lr": lr} for k, lr in enumerate(rates, 1)]) == words


@pytest.mark.parametrize(
    ("scale", "arms"),
    [
        ("sample", ["conv1 frozen late", "bias rate drops"]),
        ("cifar10", ["conv1 frozen late", "bias rate drops", "noise off late"]),
    ],
)
def test_readings_of_the_late_epochs_are_one_net_until_the_rate_falls(scale: str, arms: list[str]) -> None:
    """As notebook 09 says of them: so they tell what a change of the machine does to the baseline's seeds."""
    records = {(arm, seed): lines for arm, seed, lines in store.records_of("readings", scale)}
    seeds = [seed for arm, seed in records if arm == arms[0]]
    assert len(seeds) >= 2
    for seed in seeds:
        epochs = training_records.of_kind(records[arms[0], seed], "epoch")
        falls = max(line["step"] for line in epochs if line["lr"] == epochs[0]["lr"])
        losses = [
            [(w["step"], w["train_loss"]) for w in training_records.of_kind(records[arm, seed], "window")]
            for arm in arms
        ]
        before = [[each for each in line if each[0] <= falls] for line in losses]
        assert all(line == before[0] for line in before) and len(before[0]) > 10
        assert len({tuple(line) for line in losses}) == len(arms)
