"""A claim of the paper held against a number that was computed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Status = Literal["exact", "rounding", "imprecise", "erratum", "estimate"]


@dataclass(frozen=True)
class Outcome:
    """A claim held against arithmetic.

    ``status`` is "exact" (equal at the precision the paper states), "rounding" (equal only if digits are cut
    off), "imprecise" (true of some of what it is said of), "erratum" (not equal) or "estimate" (a calculation that
    bears on the claim and does not settle it).
    ``value`` is what was computed, ``detail`` a sentence that says how.
    """

    value: str
    status: Status
    detail: str


def agreement(computed: float, stated: float, step: float) -> Status:
    """How ``computed`` agrees with a number stated in multiples of ``step``.

    "exact" if rounding (half up) gives the stated number, "rounding" if only cutting digits off does,
    "erratum" otherwise.
    """
    # 0.3 / 0.1 is a little less than 3 in binary
    dust = 1e-9 * max(1.0, abs(computed / step))
    target = round(stated / step)
    if math.floor(computed / step + 0.5 + dust) == target:
        return "exact"
    return "rounding" if math.floor(computed / step + dust) == target else "erratum"


def holds(condition: bool) -> Status:
    """A statement without a number of its own: "exact" if it is true, "erratum" if it is not."""
    return "exact" if condition else "erratum"


def of_each(*conditions: bool) -> Status:
    """A statement about several cases: "exact" if true of all, "imprecise" if of some, "erratum" if of none."""
    return "exact" if all(conditions) else "imprecise" if any(conditions) else "erratum"


def worst(*statuses: Status) -> Status:
    """The least favourable of several."""
    order: tuple[Status, ...] = ("exact", "rounding", "imprecise", "erratum")
    return max(statuses, key=order.index)


def count(number: int) -> str:
    """12345 as "12,345"."""
    return f"{number:,}"
