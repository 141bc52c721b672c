"""The figures of section 4: what is drawn is what the records say."""

from __future__ import annotations

import statistics

import pytest

from paperlib.evidence import store
from paperlib.experiments import declared
from paperlib.figures import ideas_dropout, trainings
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
        name, recipe = trainings.net_of(experiment, arm), experiment.recipe(arm)
        assert name == f"{'dropout' if recipe.model.dropout else 'none'} at {recipe.optim.lr:g}"


def test_nets_that_differ_in_something_else_have_their_arms_names() -> None:
    drawn = trainings.overfit([(declared.OVERFIT_POOL, arm) for arm in ("baseline", "2x2")]).data
    assert {*drawn["net"]} == {"baseline", "2x2"}


def test_nets_of_both_lengths_are_drawn_from_their_records() -> None:
    drawn = trainings.longer("no dropout").data
    pairs = {("no dropout", 6): ("dropout", "no dropout"), ("baseline", 24): ("size-long", "conv 10000")}
    for (net, epochs), (experiment, arm) in pairs.items():
        of_net = drawn[(drawn["scale"] == "sample") & (drawn["net"] == net) & (drawn["epochs"] == epochs)]
        mine = of_net.set_index("seed")["test_error"]
        known = {seed: lines for of, seed, lines in store.records_of(experiment, "sample") if of == arm}
        ends = {seed: records.of_kind(lines, "epoch")[-1]["test_error"] for seed, lines in known.items()}
        assert mine.to_dict() == pytest.approx(ends, abs=1e-4) and len(ends) >= 5
    assert {*drawn[drawn["scale"] == "cifar10"]["epochs"]} == {7}  # `long` is not recorded yet
    for net, arms in trainings.LENGTHS.items():  # they differ in the length and in nothing else
        (one, arm), (four, of_four) = ((declared.get(name, "sample"), arms[name]) for name in [*arms][:2])
        assert one.recipe(arm).model == four.recipe(of_four).model, net
        assert one.recipe(arm).augment == four.recipe(of_four).augment, net
        assert one.recipe(arm).optim.lr == four.recipe(of_four).optim.lr, net


def test_the_time_to_an_error_is_read_from_the_records() -> None:
    drawn, times = ideas_dropout.converging(20.0), ideas_dropout.epochs_to(20.0)
    seen = {"dropout": 0, "no dropout": 0}
    for arm, _, lines in store.records_of("converge", "sample"):
        errors = [line["test_error"] for line in records.of_kind(lines, "epoch")]
        epoch = times[arm][seen[arm]]
        assert errors[epoch - 1] <= 20 < min(errors[: epoch - 1])
        row = drawn.data.query("arm == @arm").iloc[seen[arm]]
        assert errors[row["lowest"] - 1] == min(errors) and row["epochs"] == len(errors)
        seen[arm] += 1
    ratio = ideas_dropout.times_as_long(20.0)
    means = [statistics.geometric_mean(times[arm]) for arm in ("dropout", "no dropout")]
    assert ratio.low < ratio.estimate < ratio.high and ratio.estimate == pytest.approx(means[0] / means[1])
    assert f"{ratio.estimate:.2f} times" in drawn.caption
