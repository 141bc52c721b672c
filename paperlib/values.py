"""What a field of a recipe may hold: its type, its choices, its range; and the sentence for a value that it may not.

Names are dotted, as in "model.lrn".
"""

from __future__ import annotations

import difflib
import functools
import math
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from paperlib.errors import PaperlibError


class RecipeError(PaperlibError):
    """A recipe names a field or a value that does not exist, or one that would be ignored."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The known dotted name that is most like ``name``, as a whole and in its last part."""

    def alike(one: str, two: str) -> float:
        return difflib.SequenceMatcher(None, one, two).ratio()

    return max(known, key=lambda k: alike(name, k) + alike(name.rpartition(".")[2], k.rpartition(".")[2]))


CHOICES: dict[str, tuple[str, ...]] = {
    "model.activation": ("relu", "tanh", "scaled_tanh", "sigmoid"),
    "model.pool": ("overlapping", "2x2", "2x2_as_run"),
    "model.communication": ("conv3", "conv4", "never"),
    "model.init": ("gaussian", "gain_matched", "he", "lecun", "xavier"),
    "model.dropout_form": ("2012", "inverted"),
    "augment.pixels": ("centred", "standardised"),
    "augment.mirror": ("horizontal", "none", "vertical", "both"),
    "augment.mean": ("place", "centre"),
    "augment.colour_scale": ("eigenvalue", "std"),
    "optim.drops": ("plateau",),  # or epochs
}


@dataclass(frozen=True)
class Range:
    """The numbers from ``at_least`` (or those ``above``) to ``at_most`` (or those ``below``)."""

    at_least: float = -math.inf
    above: float = -math.inf
    below: float = math.inf
    at_most: float = math.inf

    def __contains__(self, number: float) -> bool:
        return self.at_least <= number <= self.at_most and self.above < number < self.below

    def __str__(self) -> str:
        ends = {"of at least": self.at_least, "above": self.above, "below": self.below, "at most": self.at_most}
        return " and ".join(f"{word} {end:g}" for word, end in ends.items() if math.isfinite(end))


COUNT, NOT_NEGATIVE, POSITIVE = Range(at_least=1), Range(at_least=0), Range(above=0)
RANGES: dict[str, Range] = {
    "model.lrn_n": COUNT,
    "model.lrn_k": POSITIVE,
    "model.lrn_alpha": NOT_NEGATIVE,
    "model.lrn_beta": NOT_NEGATIVE,
    "model.extra_conv": NOT_NEGATIVE,
    "model.width": POSITIVE,
    "model.init_std": NOT_NEGATIVE,
    "model.dropout": Range(at_least=0, below=1),
    "augment.offsets": Range(at_least=32, at_most=33),
    "augment.share": COUNT,
    "augment.colour": NOT_NEGATIVE,
    "augment.colour_off_epoch": NOT_NEGATIVE,
    "optim.lr": POSITIVE,
    "optim.momentum": Range(at_least=0, below=1),
    "optim.weight_decay": NOT_NEGATIVE,
    "optim.batch_size": COUNT,
    "optim.bias_lr_factor": NOT_NEGATIVE,
    "optim.freeze_conv1": NOT_NEGATIVE,
    "optim.drops": NOT_NEGATIVE,
    "optim.patience": COUNT,
    "optim.max_drops": NOT_NEGATIVE,
    "sizes.side": COUNT,
    "sizes.crop": COUNT,
    "sizes.channels": COUNT,
    "sizes.classes": COUNT,
    "sizes.kernels": COUNT,
    "sizes.kernel_sizes": COUNT,
    "sizes.strides": COUNT,
    "sizes.pads": NOT_NEGATIVE,
    "sizes.pool_pads": NOT_NEGATIVE,
    "sizes.fc": COUNT,
    "stop.epochs": COUNT,
    "stop.threshold": Range(at_least=0, at_most=100),
    "stop.window": NOT_NEGATIVE,
    "stop.validation": NOT_NEGATIVE,
    "stop.train_images": NOT_NEGATIVE,
    "stop.classes": NOT_NEGATIVE,
    "run.members": COUNT,
}
"""What a number means something in; of a tuple, each of its elements."""


IN_ANY_ORDER = ("model.removed", "optim.drops")
"""Tuples that are stored in ascending order, so that one training has one description."""


hints = functools.cache(typing.get_type_hints)  # slow, and asked for once a field of every record


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


@functools.cache
def _origins(hint: Any) -> tuple[type, ...]:
    """``(tuple, str)`` for ``tuple[int, ...] | str``."""
    return tuple(typing.get_origin(t) or t for t in _alternatives(hint))


@functools.cache
def _element(hint: Any) -> type:
    """``int`` for ``tuple[int, ...] | str``."""
    return next(typing.get_args(t)[0] for t in _alternatives(hint) if typing.get_origin(t) is tuple)


def checked(name: str, hint: Any, value: Any) -> Any:
    """``value`` in the field's type (lists become tuples, ints become floats), or a RecipeError in one sentence."""
    if isinstance(value, list):
        value = tuple(value)
    origins = _origins(hint)
    is_bool_for_number = isinstance(value, bool) and bool not in origins
    if float in origins and isinstance(value, int) and not is_bool_for_number:
        value = float(value)
    if is_bool_for_number or not isinstance(value, origins):
        raise RecipeError(f"{name} takes {hint if len(origins) > 1 else origins[0].__name__}, not {value!r}")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise RecipeError(f"{name} takes a finite number, not {value!r}")
        value = float(value) + 0.0  # -0.0 would be another id than 0.0
    if isinstance(value, tuple):
        element = _element(hint)
        if any(type(v) is not element for v in value):
            raise RecipeError(f"{name} takes values of type {element.__name__}, not {value!r}")
    if isinstance(value, str) and value not in CHOICES.get(name, (value,)):
        raise RecipeError(f"{name} takes one of {', '.join(CHOICES[name])}, not {value!r}")
    numbers = value if isinstance(value, tuple) else (value,)
    if name in RANGES and any(v not in RANGES[name] for v in numbers if isinstance(v, int | float)):
        raise RecipeError(f"{name} takes {'numbers' if numbers is value else 'a number'} {RANGES[name]}, not {value!r}")
    return tuple(sorted(value)) if name in IN_ANY_ORDER and isinstance(value, tuple) else value
