"""Recipes: changing one dotted field, refusing what does not exist, and the canonical form that run ids hang on."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Callable
from dataclasses import field, replace
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from paperlib.paper import facts
from paperlib.recipe import (
    AugmentRecipe,
    ModelRecipe,
    OptimRecipe,
    Recipe,
    Sizes,
    Stop,
    field_names,
    from_dict,
    recipe_from_dict,
    to_dict,
    value_of,
)
from paperlib.training.runs import Run
from paperlib.values import Checked, RecipeError, adapters

unhurried = settings(suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy

PARTS = {"model": ModelRecipe, "augment": AugmentRecipe, "optim": OptimRecipe}


def takes(name: str, value: Any) -> bool:
    part, _, leaf = name.partition(".")
    try:
        PARTS[part](**{leaf: value})
    except RecipeError:
        return False
    return True


def values(name: str) -> st.SearchStrategy[Any]:
    """Any value that a dotted field takes."""
    part, _, leaf = name.partition(".")
    if name == "optim.freeze_conv1":
        return st.just(()) | st.tuples(st.integers(0, 99), st.integers(0, 99)).map(sorted)
    if name == "optim.drops":
        return st.just("plateau") | st.lists(st.integers(0, 90), max_size=3)
    hint = typing.get_type_hints(PARTS[part])[leaf]
    if typing.get_origin(hint) is Literal:
        return st.sampled_from(typing.get_args(hint))
    return {
        bool: st.booleans(),
        int: st.integers(0, 1000).filter(lambda value: takes(name, value)),
        float: (st.floats(-1, 10) | st.integers(-1, 10)).filter(lambda value: takes(name, value)),
        str: st.sampled_from(["two_tower", "80sec", "a net of a later version"]),
        int | None: st.none() | st.integers(0, 90),
        tuple[str, ...]: st.lists(st.sampled_from(["conv3", "conv4", "fc6", "fc7"]), max_size=3),
    }[hint]


changes = st.lists(st.sampled_from(field_names()), unique=True, max_size=8).flatmap(
    lambda names: st.fixed_dictionaries({name: values(name) for name in names})
)


leaf = value_of


# ------------------------------------------------------------------------------------------ changing fields


@unhurried
@given(changes)
def test_but_changes_the_fields_named_and_no_other(new: dict[str, Any]) -> None:
    before = Recipe()
    after = before.but(**new)
    for name in field_names():
        expected = new.get(name, leaf(before, name))
        if isinstance(expected, list):
            expected = tuple(sorted(expected))
        assert leaf(after, name) == expected
    assert before == Recipe()


@unhurried
@given(changes, changes)
def test_but_twice_is_but_once_with_the_later_values(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert Recipe().but(**first).but(**second) == Recipe().but(**{**first, **second})


@unhurried
@given(changes)
def test_plain_data_and_back(new: dict[str, Any]) -> None:
    recipe = Recipe().but(**new)
    assert recipe_from_dict(to_dict(recipe)) == recipe


@unhurried
@given(st.integers(1, 90), st.none() | st.floats(0, 100), st.integers(0, 500))
def test_plain_data_and_back_of_stops_and_sizes(epochs: int, threshold: float | None, window: int) -> None:
    stop = Stop(epochs=epochs, threshold=threshold if window else None, window=window)
    assert from_dict(Stop, to_dict(stop)) == stop
    sizes = Sizes(side=epochs + 224, kernels=(window + 1, 2, 3))
    assert from_dict(Sizes, to_dict(sizes)) == sizes


def test_field_names_are_all_of_them() -> None:
    assert len(field_names()) == sum(len(dataclasses.fields(part)) for part in PARTS.values())
    assert {"model.lrn", "augment.colour", "optim.lr"} <= set(field_names())


def test_whole_numbers_in_fields_for_real_ones_make_no_other_recipe() -> None:
    """``optim.lr = 1`` must not be another run than ``1.0``, though JSON writes them differently."""
    one = Recipe().but(**{"optim.lr": 1})
    assert type(one.optim.lr) is float and type(OptimRecipe(lr=1).lr) is float
    assert type(replace(one.optim, momentum=0).momentum) is float
    for stop in (Stop(threshold=25, window=1), from_dict(Stop, {"threshold": 25, "window": 1})):
        assert type(stop.threshold) is float


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (Stop(threshold=25, window=1), Stop(threshold=25.0, window=1)),
        (Stop(classes=[1, 0]), Stop(classes=(1, 0))),  # type: ignore[arg-type]
        (Sizes(kernels=[8, 8, 8]), Sizes(kernels=(8, 8, 8))),  # type: ignore[arg-type]
        (AugmentRecipe(colour=-0.0), AugmentRecipe(colour=0.0)),
        (AugmentRecipe(colour=0), AugmentRecipe(colour=0.0)),
        (OptimRecipe(drops=(3, 1)), OptimRecipe(drops=(1, 3))),
        (ModelRecipe(removed=("conv4", "conv3")), ModelRecipe(removed=("conv3", "conv4"))),
    ],
)
def test_one_training_has_one_description(one: Any, two: Any) -> None:
    assert one == two and json.dumps(to_dict(one)) == json.dumps(to_dict(two))


# ------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("name", ["model.lrm", "modle.lrn", "lrn", "", ".", "model.", "model.lrn.n", "optim.momemtum"])
def test_an_unknown_field_is_named_with_those_there_are(name: str) -> None:
    with pytest.raises(RecipeError) as error:
        Recipe().but(**{name: 1})
    message = str(error.value)
    assert repr(name) in message and "model.lrn" in message and "optim.lr" in message and "\n" not in message


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("model.lrn", 1, "bool"),
        ("model.lrn_n", 5.0, "int"),
        ("model.lrn_n", True, "int"),
        ("model.width", "two", "number"),
        ("model.width", True, "number"),
        ("model.net", 3, "str"),
        ("model.removed", "conv3", "tuple"),
        ("model.removed", [3], "str"),
        ("optim.drops", None, "tuple"),
        ("optim.drops", (1.5,), "int"),
        ("optim.drops", ("plateau",), "int"),
        ("optim.drops", "platau", "plateau"),
        ("optim.freeze_conv1", (67,), "two epochs"),
        ("optim.freeze_conv1", (72, 67), "two epochs, of the small rate and then of none"),
        ("optim.freeze_conv1", (-1, 3), "greater than or equal to 0"),
        ("optim.drops", (3, -1), "greater than or equal to 0"),
        ("optim.lr", 0.0, "greater than 0"),
        ("optim.lr", float("nan"), "a finite number"),
        ("optim.lr", float("inf"), "a finite number"),
        ("optim.momentum", 1.0, "less than 1"),
        ("optim.momentum", -0.1, "greater than or equal to 0"),
        ("optim.weight_decay", -5e-4, "greater than or equal to 0"),
        ("optim.batch_size", 0, "greater than 0"),
        ("optim.patience", 0, "greater than 0"),
        ("model.dropout", 1.0, "less than 1"),
        ("model.width", 0.0, "greater than 0"),
        ("model.extra_conv", -1, "greater than or equal to 0"),
        ("model.lrn_n", 0, "greater than 0"),
        ("augment.share", 0, "greater than 0"),
        ("augment.offsets", 34, "32 or 33"),
        ("augment.colour", -0.1, "greater than or equal to 0"),
        ("augment.colour_off_epoch", -1, "greater than or equal to 0"),
        ("augment.colour_off_epoch", "never", "int"),
        ("augment.colour_off_epoch", False, "int"),
        ("model.activation", "rleu", "'relu', 'tanh', 'scaled_tanh', 'sigmoid' or 'tanh_after_relu'"),
        ("augment.mirror", "diagonal", "horizontal"),
    ],
)
def test_a_wrong_value_is_one_sentence(name: str, value: Any, words: str) -> None:
    part, _, rest = name.partition(".")
    ways: list[Callable[[], object]] = [
        lambda: Recipe().but(**{name: value}),
        lambda: PARTS[part](**{rest: value}),
        lambda: replace(getattr(Recipe(), part), **{rest: value}),
        lambda: recipe_from_dict({part: {rest: value}}),
    ]
    messages = []
    for way in ways:
        with pytest.raises(RecipeError) as error:
            way()
        messages.append(str(error.value))
    assert len(set(messages)) == 1
    stored = tuple(value) if isinstance(value, list) else value
    (message,) = set(messages)
    assert message.startswith(name + " must be ") and words in message and message.endswith(f"not {stored!r}")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"epochs": 0}, "stop.epochs must be greater than 0, not 0"),
        ({"epochs": 1.5}, "stop.epochs must be a valid integer, not 1.5"),
        ({"window": -1}, "stop.window must be greater than or equal to 0, not -1"),
        ({"validation": -1}, "stop.validation must be greater than or equal to 0, not -1"),
        ({"train_images": -1}, "stop.train_images must be greater than or equal to 0, not -1"),
        ({"train_images": 100, "validation": 100}, "stop.validation takes fewer images than stop.train_images, 100"),
        ({"threshold": 101, "window": 1}, "stop.threshold must be less than or equal to 100, not 101"),
        ({"threshold": 20.0}, "stop.threshold is compared with the error over a window: set stop.window"),
        ({"classes": (1, 1)}, r"stop.classes takes each class once, not \(1, 1\)"),
        ({"test_train": 1}, "stop.test_train must be a valid boolean, not 1"),
    ],
)
def test_a_stop_that_makes_no_sense_is_refused(changes: dict[str, Any], says: str) -> None:
    """``epochs=0`` never ended; a negative number of held-out images took others away from training."""
    ways: list[Callable[[], object]] = [
        lambda: Stop(**changes), lambda: replace(Stop(), **changes), lambda: from_dict(Stop, changes),
    ]  # fmt: skip
    for way in ways:
        with pytest.raises(RecipeError, match=f"^{says}"):
            way()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"crop": 0}, "sizes.crop must be greater than 0, not 0"),
        ({"kernels": (96, 0)}, r"sizes.kernels must be greater than 0, not \(96, 0\)"),
        ({"pads": (0, -1)}, r"sizes.pads must be greater than or equal to 0, not \(0, -1\)"),
        ({"fc": 4096.0}, "sizes.fc must be a valid integer, not 4096.0"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(changes: dict[str, Any], says: str) -> None:
    for make in (lambda: Sizes(**changes), lambda: replace(Sizes(), **changes)):
        with pytest.raises(RecipeError, match=f"^{says}$"):
            make()


def test_a_part_of_the_wrong_kind_is_refused() -> None:
    with pytest.raises(RecipeError, match="recipe.model must be an instance of ModelRecipe, not"):
        replace(Recipe(), model=OptimRecipe())  # type: ignore[arg-type]


def test_numbers_that_are_odd_but_mean_something_are_taken() -> None:
    assert Recipe().but(**{"optim.lr": 1e30, "model.bias_one": -2.0, "augment.colour": 50.0}).optim.lr == 1e30


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("optm.lr", "optim.lr"), ("lrn", "model.lrn"), ("modle.net", "model.net"), ("augment.lr", "optim.lr"),
        ("model.removd", "model.removed"), ("dropout", "model.dropout"),
    ],
)  # fmt: skip
def test_the_nearest_name(name: str, meant: str) -> None:
    with pytest.raises(RecipeError, match=f"did you mean '{meant}'"):
        Recipe().but(**{name: 1})


@unhurried
@given(st.text(max_size=20) | st.sampled_from(field_names()).flatmap(lambda name: st.permutations(name).map("".join)))
def test_any_other_name_is_refused(name: str) -> None:
    assume(name not in field_names())
    with pytest.raises(RecipeError):
        Recipe().but(**{name: 1})
    for kind in (Sizes, Stop):
        if name not in {f.name for f in dataclasses.fields(kind)}:
            with pytest.raises(RecipeError):
                from_dict(kind, {name: 1})


@pytest.mark.parametrize("kind", [Sizes, Stop])
def test_sizes_and_stops_refuse_unknown_fields(kind: type) -> None:
    with pytest.raises(RecipeError, match=f"{kind.__name__} has no field 'epoch'"):
        from_dict(kind, {"epoch": 3})
    with pytest.raises(RecipeError, match="must be a valid integer"):
        from_dict(kind, {dataclasses.fields(kind)[0].name: "many"})


# ------------------------------------------------------------------------------------------ the canonical form

stops = st.builds(
    Stop,
    epochs=st.integers(1, 90),
    window=st.integers(1, 500),
    threshold=st.none() | st.floats(0, 100) | st.integers(0, 100),
    validation=st.integers(0, 99),
    train_images=st.just(0) | st.integers(100, 10_000),
    classes=st.lists(st.integers(0, 9), unique=True).map(tuple),
    test_train=st.booleans(),
)


@unhurried
@given(changes, stops, st.integers(0, 300), st.integers(1, 5), st.booleans(), st.booleans())
def test_a_run_is_what_its_description_says(
    new: dict[str, Any], stop: Stop, seed: int, members: int, started: bool, rounded: bool
) -> None:
    start = Run(Recipe(), Sizes(), stop, "sha256:x", seed) if started else None
    recipe = Recipe().but(**new)
    run = Run(recipe, Sizes(fc=seed + 1), stop, "sha256:x", seed, start, members, start_rounded=started and rounded)
    for config in (run.config, json.loads(json.dumps(run.config))):
        assert Run.from_config(config) == run
        assert Run.from_config(config).id == run.id and Run.from_config(config).config == run.config


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"membrs": 5}, "a run has no field 'membrs', did you mean 'members'"),
        ({"members": 0}, "run.members must be greater than 0, not 0"),
        ({"members": 2.0}, "run.members must be a valid integer, not 2.0"),
        ({"seed": 1.0}, "run.seed must be a valid integer, not 1.0"),
        ({"seed": True}, "run.seed must be a valid integer, not True"),
        ({"start_rounded": 1}, "run.start_rounded must be a valid boolean, not 1"),
        ({"recipe": {"modle": {}}}, "a recipe has no part 'modle'"),
        ({"recipe": {"model": {"lrm": True}}}, "a recipe has no field 'model.lrm', did you mean 'model.lrn'"),
        ({"recipe": 3}, "not from 3"),
        ({"stop": {"epoch": 1}}, "Stop has no field 'epoch', did you mean 'epochs'"),
        ({"stop": {"epochs": 0}}, "stop.epochs must be greater than 0"),
        ({"sizes": []}, "not from \\[\\]"),
    ],
)
def test_a_description_of_no_run_is_refused(changes: dict[str, Any], says: str) -> None:
    config = Run(Recipe(), Sizes(), Stop(), "sha256:x", 0).config
    with pytest.raises(RecipeError, match=says):
        Run.from_config(config | changes)
    with pytest.raises(RecipeError, match="lacks 'seed'"):
        Run.from_config({name: value for name, value in config.items() if name != "seed"})


def test_what_is_at_its_default_is_left_out() -> None:
    assert to_dict(Recipe()) == {} and to_dict(Sizes()) == {} and to_dict(Stop()) == {}
    changed = Recipe().but(**{"model.lrn": False, "model.dropout": 0.5, "optim.drops": (3,)})
    assert to_dict(changed) == {"model": {"lrn": False}, "optim": {"drops": [3]}}
    assert to_dict(changed.but(**{"model.lrn": True})) == {"optim": {"drops": [3]}}


@pytest.mark.parametrize("made", [Recipe().model, Recipe().augment, Recipe().optim, Sizes(), Stop()])
def test_defaults_are_what_their_fields_take(made: Checked) -> None:
    """Nothing checks them when one is made."""
    for name, adapter in adapters(type(made)).items():
        value = getattr(made, name)
        checked = adapter.validate_python(value, strict=True)
        assert (checked, type(checked)) == (value, type(value))


def test_the_two_readings_differ_in_exactly_the_fields_of_the_table() -> None:
    assert Recipe.paper() == Recipe()
    differ = {name for name in field_names() if leaf(Recipe.paper(), name) != leaf(Recipe.source2012(), name)}
    assert differ == {reading.field for reading in facts.READINGS if not reading.agrees}
    told = to_dict(Recipe.source2012())
    assert {f"{part}.{name}" for part, inner in told.items() for name in inner} == differ


@dataclasses.dataclass(frozen=True)
class LaterModel(ModelRecipe):
    """A recipe of a later version: one field more, whose default is what the code did before."""

    batch_norm: bool = False


@dataclasses.dataclass(frozen=True)
class LaterStop(Stop):
    patience: int = field(default=0)


def test_a_field_added_later_changes_no_id() -> None:
    recipe = Recipe.source2012().but(**{"model.dropout": 0.0})
    old = Run(recipe, Sizes(), Stop(epochs=3), "sha256:x", 1)
    model = LaterModel(**dataclasses.asdict(recipe.model))
    new = Run(replace(recipe, model=model), Sizes(), LaterStop(epochs=3), "sha256:x", 1)
    assert new.config == old.config and new.id == old.id
    other = Run(replace(recipe, model=replace(model, batch_norm=True)), Sizes(), Stop(epochs=3), "sha256:x", 1)
    assert other.id != old.id and other.config["recipe"]["model"]["batch_norm"] is True
