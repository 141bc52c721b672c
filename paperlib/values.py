"""What a field of a recipe may hold, as types for pydantic; and the sentence for a value that it may not.

Values are taken strictly: no text for a number, no number for a truth value, a whole number for a real one.
"""

from __future__ import annotations

import difflib
import functools
import typing
from collections.abc import Iterable
from dataclasses import fields
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, NonNegativeInt, TypeAdapter, ValidationError

from paperlib.errors import PaperlibError

Real = Annotated[
    float, Field(allow_inf_nan=False), AfterValidator(lambda x: float(x) + 0.0)
]  # -0.0 would be another id
Positive = Annotated[Real, Field(gt=0)]
NotNegative = Annotated[Real, Field(ge=0)]
Probability = Annotated[Real, Field(ge=0, lt=1)]
Percent = Annotated[Real, Field(ge=0, le=100)]
Ascending = AfterValidator(lambda values: tuple(sorted(values)))  # one training has one description
Epochs = Annotated[tuple[NonNegativeInt, ...], Ascending]


class RecipeError(PaperlibError):
    """A recipe names a field or a value that does not exist, or one that would be ignored."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The known dotted name that is most like ``name``, as a whole and in its last part."""

    def alike(one: str, two: str) -> float:
        return difflib.SequenceMatcher(None, one, two).ratio()

    return max(known, key=lambda k: alike(name, k) + alike(name.rpartition(".")[2], k.rpartition(".")[2]))


class Checked:
    """A frozen dataclass whose values are checked, and brought into their field's type, whenever one is made.

    ``part`` is how error messages call it: "model" for the field "model.lrn". Lists become tuples.
    """

    part: ClassVar[str]

    def __post_init__(self) -> None:
        kind: type = type(self)
        for name, adapter in adapters(kind).items():
            value = getattr(self, name)
            if value is getattr(kind, name, self):  # the default
                continue
            value = tuple(value) if isinstance(value, list) else value
            try:
                object.__setattr__(self, name, adapter.validate_python(value, strict=True))
            except ValidationError as error:
                wanted = dict.fromkeys(each["msg"].removeprefix("Input should be ") for each in error.errors())
                raise RecipeError(f"{self.part}.{name} must be {' or '.join(wanted)}, not {value!r}") from None


@functools.cache
def adapters(kind: type) -> dict[str, TypeAdapter[Any]]:
    """What checks each field of a dataclass."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {f.name: TypeAdapter(hints[f.name]) for f in fields(kind)}
