"""The declared experiments: what their arms differ in, what they share, and that every recorded run is still theirs."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from paperlib.data.known import FINGERPRINTS
from paperlib.errors import PaperlibError
from paperlib.evidence import claims, metrics, rates, store
from paperlib.experiments import declared, form, relu
from paperlib.experiments.declared import DECLARED, NET_RATES, NET_SWEPT
from paperlib.experiments.form import Experiment
from paperlib.experiments.relu import MIXED_RATE, PLAIN, RATES, SWEPT
from paperlib.recipe import Recipe, RecipeError, Stop, field_names, value_of
from paperlib.training import records
from paperlib.training.runs import Run

RECORDED_IDS = Path(__file__).parents[1] / "recorded_ids.txt"

by_name = pytest.mark.parametrize("experiment", DECLARED, ids=lambda e: f"{e.name}-{e.scale}")


def differing(one: Recipe, two: Recipe) -> set[str]:
    """Dotted fields in which two recipes differ."""
    return {name for name in field_names() if value_of(one, name) != value_of(two, name)}


def leaves_of(run: Run) -> dict[str, Any]:
    """All that an arm may change, by its name."""
    parts = {f"{p.part}.{f.name}": getattr(p, f.name) for p in (run.sizes, run.stop) for f in dataclasses.fields(p)}
    further = {"start": run.start, "start_rounded": run.start_rounded, "members": run.members}
    return {name: value_of(run.recipe, name) for name in field_names()} | parts | further


# ------------------------------------------------------------------------------------------ declarations


SPELT_OUT = {
    # of a sweep, one rate may be the base's; a net's own rate may be its base's
    "": {"optim.lr"},
    # a setting of Figure 1 has all its parts
    "relu": {"model.activation", "model.init", "augment.pixels", "optim.bias_lr_factor"},
    # a reading has all its switches
    "stall": {"model.init_std", "optim.drops", "optim.freeze_conv1"},
    # a line for each number of images, of which one is the base's
    "size": {"stop.epochs", "optim.drops"},
}
"""Experiment (or the beginning of its name) -> fields that arms name though the base has the same value."""


@by_name
def test_an_arm_differs_from_its_base_in_what_it_names(experiment: Experiment) -> None:
    base = leaves_of(experiment.changed({}, "x", 0))
    alike = set()
    for arm, changes in experiment.arms.items():
        run = experiment.run(arm, 0, "x")
        assert Run.from_config(run.config) == run
        mine = leaves_of(run)
        same = {name for name in changes if mine[name] == base[name]}
        assert {name for name in base if mine[name] != base[name]} == {*changes} - same
        alike |= same
        for name in {*changes} - {"start"}:
            assert mine[name] == changes[name]
    allowed = SPELT_OUT[""] | SPELT_OUT.get(experiment.name.split("-")[0], set())
    assert alike <= allowed
    assert experiment.scale in form.SCALES and experiment.title


@by_name
def test_every_run_has_an_id_of_its_own(experiment: Experiment) -> None:
    ids = experiment.ids()
    cells = list(experiment.cells())
    assert len(set(cells)) == len(cells)
    if experiment.scale not in FINGERPRINTS:  # no copy is known yet: everybody prepares one
        assert experiment.scale == "ilsvrc2012" and not ids
        assert len({experiment.run(arm, seed, "sha256:some").id for arm, seed in cells}) == len(cells)
        return
    assert len(ids) == len(cells) * len(FINGERPRINTS[experiment.scale])
    assert {(arm, seed) for arm, seed, _ in ids.values()} == set(cells)
    for run_id, (arm, seed, copy) in ids.items():
        assert experiment.run(arm, seed, FINGERPRINTS[experiment.scale][copy]).id == run_id


@by_name
def test_a_campaign_that_is_broken_off_is_balanced(experiment: Experiment) -> None:
    """At any moment no arm is more than one seed ahead of another that has seeds left."""
    done: Counter[str] = Counter()
    for arm, seed in experiment.cells():
        assert seed == experiment.planned_seeds(arm)[done[arm]]
        for other in experiment.arms:
            assert done[arm] <= done[other] or done[other] == len(experiment.planned_seeds(other))
        done[arm] += 1
    assert done == {arm: len(experiment.planned_seeds(arm)) for arm in experiment.arms if experiment.planned_seeds(arm)}


@by_name
def test_comparisons_are_between_arms_that_there_are(experiment: Experiment) -> None:
    swept = SWEPT.get(experiment.scale, {})
    for c in experiment.comparisons:
        assert c.a != c.b and c.metric in metrics.METRICS
        assert c.question in ("direction", "size", "at least") and c.transform in ("difference", "log_ratio")
        assert (c.question == "direction") == (c.target == 0.0) and c.smallest_effect > 0
        assert not c.claim or c.claim in claims.ids_of(claims.entry_of(c.claim))
        for arm in (c.a, c.b or c.a):  # an arm appears as soon as its rate is chosen
            assert arm in experiment.arms or (arm in swept and arm not in RATES[experiment.scale])
        assert not c.paired or set(experiment.planned_seeds(c.a)) & set(experiment.planned_seeds(c.b))


def test_seeds_that_chose_settings_are_not_used_again() -> None:
    for scale in form.SCALES:
        here = [e for e in DECLARED if e.scale == scale]
        chose = {seed for e in here if e.sweep for _, seed in e.cells()}
        assert not chose & {seed for e in here if not e.sweep for _, seed in e.cells()}
    assert any(e.sweep for e in DECLARED)


def test_experiments_of_one_scale_share_what_is_equal() -> None:
    """Equal runs have one id, so nothing is trained twice; different arms never do."""
    owner: dict[str, Recipe] = {}
    for e in DECLARED:
        for run_id, (arm, _, _) in e.ids().items():
            assert owner.setdefault(run_id, e.recipe(arm)) == e.recipe(arm)


def test_figure_1_is_not_regularised() -> None:
    """Section 3.1: "no regularization of any kind" (S3.1-c), and a constant rate."""
    model, augment, optim = PLAIN.model, PLAIN.augment, PLAIN.optim
    assert not model.lrn and not model.spatial_norm and model.dropout == 0
    assert not augment.crop and augment.mirror == "none" and augment.colour == 0 and augment.shuffle
    assert optim.weight_decay == 0 and optim.drops == () and optim.momentum == 0.9 and optim.batch_size == 128
    for e in DECLARED:
        if e.name.startswith("relu"):
            assert e.base == PLAIN
            named = {field for changes in e.arms.values() for field in changes if not field.startswith("stop.")}
            assert named <= {
                "model.activation", "model.init", "model.net", "augment.pixels", "optim.bias_lr_factor", "optim.lr",
            }  # fmt: skip


def test_units_are_compared_in_one_setting() -> None:
    """Arms of a comparison differ in the unit and the rate chosen for it; today, also in the init matched to it."""
    for e in DECLARED:
        for c in e.comparisons:
            if e.name.startswith("relu") and {c.a, c.b} <= set(e.arms):
                differ = differing(e.recipe(c.a), e.recipe(c.b))
                assert "model.activation" in differ
                assert differ <= {"model.activation", "optim.lr", "model.init"}
                gaussian = e.recipe(c.a).model.init in ("gaussian", "gain_matched", "xavier")
                assert ("model.init" in differ) != gaussian


@pytest.mark.parametrize(
    ("arm", "scale", "changes"),
    [
        ("2012/relu", "cifar10", ("relu", "centred", "gaussian", 2.0)),
        ("2012/relu", "sample", ("relu", "centred", "gain_matched", 2.0)),
        ("today/relu", "sample", ("relu", "standardised", "he", 1.0)),
        ("today/tanh", "cifar10", ("tanh", "standardised", "lecun", 1.0)),
        ("today/scaled", "cifar10", ("scaled_tanh", "standardised", "lecun", 1.0)),
        ("xavier/sigmoid", "sample", ("sigmoid", "standardised", "xavier", 1.0)),
        ("2012+init/relu", "sample", ("relu", "centred", "he", 2.0)),
        ("2012+bias/tanh", "cifar10", ("tanh", "centred", "gaussian", 1.0)),
        ("2012+pixels/tanh", "sample", ("tanh", "standardised", "gain_matched", 2.0)),
    ],
)
def test_what_the_arms_of_figure_1_stand_for(arm: str, scale: str, changes: tuple[Any, ...]) -> None:
    made = relu.unit_arm(arm, scale)
    names = ("model.activation", "augment.pixels", "model.init", "optim.bias_lr_factor")
    assert tuple(made[name] for name in names) == changes and set(made) == set(names)
    assert relu.unit_arm(arm + "/19pct", scale) == {**made, "model.net": "19pct"}


@pytest.mark.parametrize(
    ("name", "scale", "words"),
    [
        ("nonsense", "sample", "no experiment 'nonsense'; the experiments are relu"),
        ("relu", "galaxy", "no scale 'galaxy'; the scales are sample, photos"),
        ("relu-parts", "cifar10", "relu-parts is not declared at scale cifar10; it is at sample"),
    ],
)
def test_what_is_not_declared_is_named(name: str, scale: str, words: str) -> None:
    with pytest.raises(PaperlibError) as error:
        declared.get(name, scale)
    assert words in str(error.value)


def test_an_unknown_arm_is_named_with_those_there_are() -> None:
    with pytest.raises(PaperlibError) as error:
        declared.get("relu", "sample").recipe("2012/rleu")
    assert "no arm '2012/rleu' at scale sample" in str(error.value) and "2012/relu" in str(error.value)


# ------------------------------------------------------------------------------------------ refused


def declare(
    changes: dict[str, Any], base: Recipe = declared.BASELINE, stop: Stop = declared.BASELINE_STOP
) -> Experiment:
    return Experiment("made-up", "sample", "Made up", base, declared.SAMPLE_SIZES, stop, {"a": {}, "b": changes}, (0,))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        # fields that there are not: such an arm had the id of its base
        ({"optm.lr": 0.5}, "there is no field 'optm.lr', did you mean 'optim.lr'?"),
        ({"lrn": True}, "there is no field 'lrn', did you mean 'model.lrn'?"),
        ({"member": 5}, "there is no field 'member', did you mean 'members'?"),
        ({"stop.epoch": 5}, "there is no field 'stop.epoch', did you mean 'stop.epochs'?"),
        ({"start": {"optm.lr": 0.5}}, "there is no field 'optm.lr', did you mean 'optim.lr'?"),
        # values that they do not take
        ({"optim.lr": "fast"}, "optim.lr must be a valid number, not 'fast'"),
        ({"stop.epochs": 0}, "stop.epochs must be greater than 0, not 0"),
        ({"sizes.fc": 1.5}, "sizes.fc must be a valid integer, not 1.5"),
        ({"members": 0}, "run.members must be greater than 0, not 0"),
        ({"members": "five"}, "run.members must be a valid integer, not 'five'"),
        ({"start": True}, "start takes the changes that make the other run, not True"),
        ({"start_rounded": True}, "a run with start_rounded needs a start, "
                                  "the run whose recorded weights it starts from"),
        # nets that there are not, and fields that the net does not read
        ({"model.net": "resnet"}, "there is no net 'resnet'; the nets are "),
        ({"model.net": "mlp", "model.lrn": False},
         "model.lrn changes nothing, because the net mlp does not read it"),
        ({"model.net": "mlp", "model.removed": ("conv1",)},
         "the net mlp does not read model.removed, so it cannot be ('conv1',): set it to ()"),
        ({"model.net": "vgg_stack", "model.norm1_before_relu": False},
         "model.norm1_before_relu changes nothing, because the net vgg_stack does not read it"),
        ({"model.net": "vgg_stack", "sizes.strides": (2, 1, 1, 1, 1)},
         "sizes.strides changes nothing, because the net vgg_stack does not read it"),
        ({"model.net": "80sec"}, "the net 80sec does not read model.lrn, so it cannot be True: set it to False"),
        ({"model.net": "mlp", "optim.freeze_conv1": (1, 2)},
         "optim.freeze_conv1 changes nothing, because the net has no conv1"),
        # fields that the rest of the recipe switches off
        ({"model.lrn": False, "model.lrn_alpha": 1e-4}, "model.lrn_alpha changes nothing, because model.lrn is False"),
        ({"model.dropout": 0.0, "model.dropout_form": "inverted"},
         "model.dropout_form changes nothing, because model.dropout is 0"),
        ({"augment.colour_shrink": False}, "augment.colour_shrink changes nothing, because augment.colour is 0"),
        ({"augment.crop": False, "augment.offsets": 32},
         "augment.offsets changes nothing, because augment.crop is False"),
        ({"optim.patience": 2}, "optim.patience changes nothing, because optim.drops are epochs"),
        # switches that act when all is over, in the six epochs of this base
        ({"optim.freeze_conv1": (5, 6)}, "optim.freeze_conv1 never acts in epoch 6: the run has 6, counted from 0"),
        ({"augment.colour": 0.1, "augment.colour_off_epoch": 6},
         "augment.colour_off_epoch never acts in epoch 6: the run has 6, counted from 0"),
        ({"optim.drops": (4, 7)}, "optim.drops never acts in epoch 7: the run has 6, counted from 0"),
    ],
)  # fmt: skip
def test_a_change_that_is_none_is_refused_where_it_is_declared(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError) as error:
        declare(changes)
    message = str(error.value)
    assert message.startswith(f"experiment made-up at scale sample, arm 'b': {says}") and "\n" not in message


def test_what_the_base_has_is_inherited() -> None:
    """A net need not read it, and a switch of a long training may lie behind the end of a short one."""
    assert declare({"stop.epochs": 3}).recipe("b").optim.drops == (4,)
    late = declared.BASELINE.but(
        **{"augment.colour": 0.1, "augment.colour_off_epoch": 67, "optim.freeze_conv1": (67, 72)}
    )
    declare({"model.lrn": False}, late)
    declare({"model.net": "mlp"})
    declare({"model.net": "80sec", "model.lrn": False, "model.dropout": 0.0})  # which this net has to be told
    declare({"optim.freeze_conv1": (4, 5), "optim.drops": (5,)})
    declare({"start": {}, "start_rounded": True, "members": 2, "sizes.fc": 64})


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.text(max_size=20) | st.sampled_from(form.CHANGEABLE).flatmap(lambda name: st.permutations(name).map("".join)))
def test_any_other_name_is_refused(name: str) -> None:
    assume(name not in form.CHANGEABLE)
    with pytest.raises(RecipeError, match="made-up at scale sample, arm 'b': there is no field"):
        declare({name: 1})


def test_names() -> None:
    assert declared.names() == list(dict.fromkeys(e.name for e in DECLARED))
    assert set(declared.names("sample")) == {e.name for e in DECLARED if e.scale == "sample"}
    assert declared.names("ilsvrc2012") == [e.name for e in DECLARED if e.scale == "ilsvrc2012"]


def test_every_experiment_that_claims_name_is_declared() -> None:
    named = {name for entry in claims.entries() for name in entry.get("experiments", [])}
    assert named and named <= set(declared.names())


# ------------------------------------------------------------------------------------------ what is recorded


def test_every_recorded_run_is_one_that_a_declaration_yields() -> None:
    assert store.recorded(), "no run is recorded"
    assert store.stale() == []


def test_the_id_of_every_recorded_run_is_that_of_its_own_description() -> None:
    for run_id, lines in store.recorded().items():
        run = Run.from_config(lines[0]["config"])
        assert run.id == run_id == lines[0]["id"]
        assert (run.seed, run.data) == (lines[0]["seed"], lines[0]["data"]["fingerprint"])
        assert run.config == lines[0]["config"]


def test_recorded_runs_are_where_their_first_lines_say_and_finished() -> None:
    for path in store.RECORDED.glob("*/*/*.jsonl"):
        lines = records.read_record(path)
        first = lines[0]
        assert path == store.place_of(first) and not {" ", "/"} & set(path.name)
        assert records.status(lines) in ("done", "reached", "censored", "diverged") and lines[-1]["kind"] == "end"
        run = Run.from_config(first["config"])
        steps = [line["step"] for line in records.of_kind(lines, "window")]
        assert steps == [run.stop.window * (i + 1) for i in range(len(steps))]
        assert first["env"]["threads"] == 1


def test_the_ids_of_recorded_runs_are_those_of_the_list() -> None:
    """A change of recipes or of their canonical form must not make evidence stale in silence. To add records:

    ``make ids``
    """
    assert RECORDED_IDS.read_text().split() == sorted(store.recorded())


@pytest.mark.parametrize("scale", ["sample", "cifar10"])
def test_the_learning_rates_are_those_that_the_recorded_sweeps_choose(scale: str) -> None:
    """An arm has a rate as soon as its whole sweep is recorded, and no run before that."""
    recorded = {arm for arm, _, _ in store.records_of("relu-rates", scale)}
    whole = {arm for arm, rates in SWEPT[scale].items() if {f"{arm}@{rate:g}" for rate in rates} <= recorded}
    chosen = {arm: rate for arm, rate in rates.chosen_rates(scale).items() if arm in whole and rate is not None}
    assert RATES[scale] == chosen


def test_the_mixed_net_has_the_rate_that_its_sweep_chooses() -> None:
    assert rates.choose_rate(rates.swept("sample", "relu-mixed-rates")["2012/mixed"]) == MIXED_RATE


@pytest.mark.parametrize(("scale", "net"), [(scale, net) for scale, rates in NET_RATES.items() for net in rates])
def test_the_rates_of_the_nets_are_those_that_their_sweeps_choose(scale: str, net: str) -> None:
    scores = rates.swept(scale, f"{net}-rates").get(net, {})
    if set(scores) == set(NET_SWEPT[scale][net]):
        assert rates.choose_rate(scores) == NET_RATES[scale][net]
    else:  # a rate is chosen among all those of its net, and until then nothing is trained with it that counts
        trained = {e.name for e in DECLARED if e.scale == scale and store.records_of(e.name, scale)}
        assert all(declared.get(name, scale).sweep for name in trained), "recorded before its rate was chosen"
