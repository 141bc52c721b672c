"""Recipes: changing one dotted field, refusing what does not exist, and the canonical form that run ids hang on."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paperlib.paper import facts
from paperlib.recipe import (
    CHOICES,
    AugmentRecipe,
    ModelRecipe,
    OptimRecipe,
    Recipe,
    RecipeError,
    Sizes,
    Stop,
    field_names,
    from_dict,
    recipe_from_dict,
    to_dict,
)
from paperlib.training.runs import Run

unhurried = settings(suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy

PARTS = {"model": ModelRecipe, "augment": AugmentRecipe, "optim": OptimRecipe}


def values(name: str) -> st.SearchStrategy[Any]:
    """Any value that a dotted field takes."""
    part, _, leaf = name.partition(".")
    if name == "optim.freeze_conv1":
        return st.just(()) | st.tuples(st.integers(0, 99), st.integers(0, 99))
    if name in CHOICES and name != "optim.drops":
        return st.sampled_from(CHOICES[name])
    hint = typing.get_type_hints(PARTS[part])[leaf]
    return {
        bool: st.booleans(),
        int: st.integers(0, 1000),
        float: st.floats(0, 10, allow_nan=False) | st.integers(0, 10),
        str: st.sampled_from(["two_tower", "80sec", "a net of a later version"]),
        int | None: st.none() | st.integers(0, 90),
        tuple[str, ...]: st.lists(st.sampled_from(["conv3", "conv4", "fc6", "fc7"]), max_size=3),
        tuple[int, ...] | str: st.just("plateau") | st.lists(st.integers(0, 90), max_size=3),
    }[hint]


changes = st.lists(st.sampled_from(field_names()), unique=True, max_size=8).flatmap(
    lambda names: st.fixed_dictionaries({name: values(name) for name in names})
)


def leaf(recipe: Recipe, name: str) -> Any:
    part, _, rest = name.partition(".")
    return getattr(getattr(recipe, part), rest)


# ------------------------------------------------------------------------------------------ changing fields


@unhurried
@given(changes)
def test_but_changes_the_fields_named_and_no_other(new: dict[str, Any]) -> None:
    before = Recipe()
    after = before.but(**new)
    for name in field_names():
        expected = new.get(name, leaf(before, name))
        assert leaf(after, name) == (tuple(expected) if isinstance(expected, list) else expected)
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
    stop = Stop(epochs=epochs, threshold=threshold, window=window)
    assert from_dict(Stop, to_dict(stop)) == stop
    sizes = Sizes(side=epochs + 224, kernels=(window + 1, 2, 3))
    assert from_dict(Sizes, to_dict(sizes)) == sizes


def test_field_names_are_all_of_them() -> None:
    assert len(field_names()) == sum(len(dataclasses.fields(part)) for part in PARTS.values())
    assert {"model.lrn", "augment.colour", "optim.lr"} <= set(field_names())


def test_whole_numbers_in_fields_for_real_ones_make_no_other_recipe() -> None:
    """``optim.lr = 1`` must not be another run than ``1.0``, though JSON writes them differently."""
    one = Recipe().but(**{"optim.lr": 1})
    assert type(one.optim.lr) is float
    assert type(from_dict(Stop, {"threshold": 25}).threshold) is float


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
        ("model.width", "two", "float"),
        ("model.width", True, "float"),
        ("model.net", 3, "str"),
        ("model.removed", "conv3", "tuple"),
        ("model.removed", [3], "str"),
        ("optim.drops", None, "tuple"),
        ("optim.drops", (1.5,), "int"),
        ("optim.drops", ("plateau",), "int"),
        ("optim.drops", "platau", "plateau"),
        ("optim.freeze_conv1", (67,), "two epochs"),
        ("augment.colour_off_epoch", "never", "int"),
        ("augment.colour_off_epoch", False, "int"),
        ("model.activation", "rleu", "relu, tanh, scaled_tanh, sigmoid"),
        ("augment.mirror", "diagonal", "horizontal"),
    ],
)
def test_a_wrong_value_is_one_sentence(name: str, value: Any, words: str) -> None:
    with pytest.raises(RecipeError) as error:
        Recipe().but(**{name: value})
    message, stored = str(error.value), tuple(value) if isinstance(value, list) else value
    assert message.startswith(name + " takes ") and words in message and message.endswith(f"not {stored!r}")
    assert "\n" not in message


def test_every_choice_is_taken_and_nothing_else() -> None:
    for name, choices in CHOICES.items():
        for choice in choices:
            assert leaf(Recipe().but(**{name: choice}), name) == choice
        with pytest.raises(RecipeError):
            Recipe().but(**{name: choices[0] + "x"})


@pytest.mark.parametrize("kind", [Sizes, Stop])
def test_sizes_and_stops_refuse_unknown_fields(kind: type) -> None:
    with pytest.raises(RecipeError, match=f"{kind.__name__} has no field 'epoch'"):
        from_dict(kind, {"epoch": 3})
    with pytest.raises(RecipeError, match="takes int"):
        from_dict(kind, {dataclasses.fields(kind)[0].name: "many"})


# ------------------------------------------------------------------------------------------ the canonical form


def test_what_is_at_its_default_is_left_out() -> None:
    assert to_dict(Recipe()) == {} and to_dict(Sizes()) == {} and to_dict(Stop()) == {}
    changed = Recipe().but(**{"model.lrn": False, "model.dropout": 0.5, "optim.drops": (3,)})
    assert to_dict(changed) == {"model": {"lrn": False}, "optim": {"drops": [3]}}
    assert to_dict(changed.but(**{"model.lrn": True})) == {"optim": {"drops": [3]}}


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
