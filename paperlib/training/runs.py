"""A run: one training, fully described, with an id that follows from the description."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pydantic import PositiveInt

from paperlib.files import ROOT, in_environment, user_path
from paperlib.recipe import Checked, Recipe, RecipeError, Sizes, Stop, from_dict, nearest, recipe_from_dict, to_dict


@dataclass(frozen=True)
class Run(Checked):
    """One training, fully described; ``data`` is the fingerprint of the data set.

    With ``start``, the first weights are the last ones of that run (section 6, "fine-tuning"); those of the output
    layer only where the classes are the same. With ``start_rounded`` they are the recorded weights, in half precision.
    With ``members`` above 1, the run is the average of that many nets, each a run of its own (section 6, "5 CNNs").
    """

    part = "run"

    recipe: Recipe
    sizes: Sizes
    stop: Stop
    data: str
    seed: int
    start: Run | None = None
    members: PositiveInt = 1
    start_rounded: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start_rounded and self.start is None:
            raise RecipeError("a run with start_rounded needs a start, the run whose recorded weights it starts from")

    @property
    def starts(self) -> list[Run]:
        """The runs that this one starts from, the nearest first."""
        return [self.start, *self.start.starts] if self.start else []

    @property
    def first(self) -> Run:
        """This run, or the one before it that started from its own first weights: all epochs are counted from there."""
        return [self, *self.starts][-1]

    @property
    def config(self) -> dict[str, Any]:
        """The canonical description, plain data, without fields at their default."""
        further: dict[str, Any] = {"start": self.start.config} if self.start else {}
        if self.members != 1:
            further["members"] = self.members
        if self.start_rounded:
            further["start_rounded"] = True
        return further | {
            "recipe": to_dict(self.recipe),
            "sizes": to_dict(self.sizes),
            "stop": to_dict(self.stop),
            "data": self.data,
            "seed": self.seed,
        }

    @property
    def id(self) -> str:
        """sha256 of the canonical JSON of :attr:`config`."""
        return id_of(self.config)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Run:
        """The inverse of :attr:`config`. Raises :class:`RecipeError` for what it would not have written."""
        known = [f.name for f in fields(cls)]
        for name in config:
            if name not in known:
                raise RecipeError(f"a run has no field {name!r}, did you mean {nearest(name, known)!r}?")
        for name in ("recipe", "sizes", "stop", "data", "seed"):
            if name not in config:
                raise RecipeError(f"the description of a run lacks {name!r}")
        return cls(
            recipe_from_dict(config["recipe"]),
            from_dict(Sizes, config["sizes"]),
            from_dict(Stop, config["stop"]),
            config["data"],
            config["seed"],
            cls.from_config(config["start"]) if "start" in config else None,
            config.get("members", 1),
            config.get("start_rounded", False),
        )

    def alone(self) -> list[Run]:
        """The runs of the single nets of an average. Averages of different seeds share none."""
        return [replace(self, members=1, seed=self.members * self.seed + k) for k in range(self.members)]


def id_of(config: dict[str, Any]) -> str:
    """The id of the run with this description."""
    text = json.dumps(config, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def record_path(runs_dir: Path, run_id: str) -> Path:
    """Where a run of a user writes its record."""
    return runs_dir / run_id / "record.jsonl"


def default_runs_dir() -> Path:
    """``PAPERLIB_RUNS``, or ``runs/`` in the checkout."""
    return user_path(in_environment("PAPERLIB_RUNS") or ROOT / "runs")
