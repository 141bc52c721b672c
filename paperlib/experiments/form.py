"""The form of an experiment: arms, seeds, stopping rule and the comparisons that answer claims.

An arm differs from its experiment's base in the dotted fields it names, and in nothing else: seeds share initial
weights, order of the data and augmentation. The experiments themselves are in ``paperlib.experiments.declared`` and
``paperlib.experiments.relu``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any

from paperlib.data.known import FINGERPRINTS
from paperlib.errors import PaperlibError
from paperlib.experiments.effect import check_felt
from paperlib.experiments.scales import SCALES
from paperlib.nets.table import check_read
from paperlib.recipe import Recipe, RecipeError, Sizes, Stop, field_names, nearest
from paperlib.training.runs import Run

Changes = dict[str, Any]
CHANGEABLE = (
    *field_names(), *(f"{kind.part}.{f.name}" for kind in (Sizes, Stop) for f in fields(kind)),
    "start", "start_rounded", "members",
)  # fmt: skip
"""What an arm may change."""


def fields_of(changes: Changes, *parts: str) -> Changes:
    """Those of the changes whose dotted names begin with one of ``parts``."""
    return {name: value for name, value in changes.items() if name.partition(".")[0] in parts}


def leaves(changes: Changes, part: str) -> Changes:
    """The changes to one part, without its name: "stop.epochs" becomes "epochs"."""
    return {name.partition(".")[2]: value for name, value in fields_of(changes, part).items()}


@dataclass(frozen=True)
class Comparison:
    """Arm ``a`` against arm ``b``, for one claim.

    ``transform`` "difference" is metric(b) - metric(a); "log_ratio" is metric(b) / metric(a), for times.
    Positive (a ratio above 1) means that the claim's direction holds. Without ``b``, the metric of ``a`` is itself
    such a difference, and held against 0. The question is the "direction" (with
    ``smallest_effect``, in the metric's units or as a ratio, the smallest that would be of interest), the "size"
    (is it ``target``, give or take a factor of 1.5?) or "at least" (is it ``target`` or more?). A comparison
    that no claim of the paper makes has the claim "". ``paired`` compares seed by seed: only for an arm that is the
    other one, bit for bit, until a late switch acts.
    """

    claim: str
    a: str
    b: str
    metric: str
    transform: str = "difference"
    question: str = "direction"
    smallest_effect: float = 0.0
    target: float = 0.0
    paired: bool = False

    @property
    def arms(self) -> str:
        """Who is compared: "a v. b", or "a"."""
        return f"{self.a} v. {self.b}" if self.b else self.a


@dataclass(frozen=True)
class Experiment:
    """Arms times seeds at one scale. ``seeds_of`` lists arms that are planned with other seeds than the rest.

    An arm changes dotted fields of the recipe, of "sizes" and of "stop". "start" holds the changes to the base that
    make the run from whose weights it starts ("start_rounded": rounded as they are recorded); "members" is the number
    of nets that it averages. A ``later`` control has the spread of its net's pool, and does not add to it, so that no
    older interval moves. ``keep`` lists arms whose nets are measured when they are recorded; the weights of the
    first :data:`KEPT` seeds are recorded too. ``control`` is the arm that most others are compared with.

    Raises :class:`RecipeError` for a change that is none: of a field that does not exist, that the arm's net or the
    rest of its recipe does not read, or that acts only after the last epoch.
    """

    name: str
    scale: str
    title: str
    base: Recipe
    sizes: Sizes
    stop: Stop
    arms: dict[str, Changes]
    seeds: tuple[int, ...]
    seeds_of: dict[str, tuple[int, ...]] = field(default_factory=dict)
    comparisons: tuple[Comparison, ...] = ()
    proxy: bool = True  # not in the form the paper has the claim in
    tried: dict[str, tuple[str, float]] = field(default_factory=dict)  # arm of a sweep -> whose rate, and which
    keep: tuple[str, ...] = ()
    control: str = "baseline"
    later: bool = False  # a control, declared when other results on its net were known

    def __post_init__(self) -> None:
        for arm, changes in self.arms.items():
            try:
                self.check(changes)
            except PaperlibError as error:
                raise RecipeError(f"experiment {self.name} at scale {self.scale}, arm {arm!r}: {error}") from error

    def check(self, changes: Changes) -> None:
        """Raise :class:`PaperlibError` where some of the changes would be ignored, or make no run."""
        for name in changes:
            if name not in CHANGEABLE:
                raise RecipeError(f"there is no field {name!r}, did you mean {nearest(name, CHANGEABLE)!r}?")
        if "start" in changes:
            if not isinstance(changes["start"], dict):
                raise RecipeError(f"start takes the changes that make the other run, not {changes['start']!r}")
            self.check(changes["start"])
        run = self.changed(changes, "", 0)
        check_read(run.recipe.model)
        check_felt(run, self.base, self.sizes)

    def changes(self, arm: str) -> Changes:
        """What an arm changes, by dotted field."""
        if arm not in self.arms:
            raise PaperlibError(
                f"experiment {self.name} has no arm {arm!r} at scale {self.scale}; its arms are {', '.join(self.arms)}"
            )
        return self.arms[arm]

    def recipe(self, arm: str) -> Recipe:
        """The full recipe of an arm."""
        return self.recipe_of(self.changes(arm))

    def recipe_of(self, changes: Changes) -> Recipe:
        """The base with those of the changes that are fields of a recipe."""
        return self.base.but(**fields_of(changes, "model", "augment", "optim"))

    @property
    def sweep(self) -> bool:
        """Whether it only chooses a learning rate for other experiments."""
        return bool(self.tried)

    def planned_seeds(self, arm: str) -> tuple[int, ...]:
        """The seeds declared for an arm."""
        return self.seeds_of.get(arm, self.seeds)

    def run(self, arm: str, seed: int, fingerprint: str) -> Run:
        """One run of this experiment on the copy of its data with ``fingerprint``."""
        return self.changed(self.changes(arm), fingerprint, seed)

    def changed(self, changes: Changes, fingerprint: str, seed: int) -> Run:
        """The base with ``changes``, as a run."""
        start = changes.get("start")
        return Run(
            self.recipe_of(changes),
            replace(self.sizes, **leaves(changes, "sizes")),
            replace(self.stop, **leaves(changes, "stop")),
            fingerprint,
            seed,
            start=None if start is None else self.changed(start, fingerprint, seed),
            members=changes.get("members", 1),
            start_rounded=changes.get("start_rounded", False),
        )

    def cells(self) -> Iterator[tuple[str, int]]:
        """All declared (arm, seed), seeds outermost: an interrupted campaign is balanced over the arms."""
        longest = max((len(self.planned_seeds(arm)) for arm in self.arms), default=0)
        for k in range(longest):
            for arm in self.arms:
                if k < len(self.planned_seeds(arm)):
                    yield arm, self.planned_seeds(arm)[k]

    def ids(self) -> dict[str, tuple[str, int, str]]:
        """Run id -> (arm, seed, kind of copy), for every known copy of the data."""
        return {
            self.run(arm, seed, fingerprint).id: (arm, seed, copy)
            for (arm, seed), (copy, fingerprint) in itertools.product(
                self.cells(), FINGERPRINTS.get(self.scale, {}).items()
            )
        }


FIVE = (0, 1, 2, 3, 4)  # The seeds of an experiment that is to decide something
KEPT = 5  # The nets of this many first seeds of an arm have their weights recorded


def sweep(
    name: str, scale: str, title: str, base: Recipe, sizes: Sizes,
    arms: dict[str, Changes], rates: dict[str, tuple[float, ...]],
) -> Experiment:  # fmt: skip
    """Each arm at each of its rates, as "arm@rate", to choose one; the seed is used for nothing else."""
    tried = {f"{arm}@{rate:g}": (arm, rate) for arm in arms for rate in rates[arm]}
    changes = {name: {**arms[arm], "optim.lr": rate} for name, (arm, rate) in tried.items()}
    stop = SCALES[scale].sweep
    assert stop is not None, f"scale {scale} says how long a rate is tried"
    return Experiment(name, scale, title, base, sizes, stop, changes, seeds=(100,), tried=tried)


def lower(claim: str, a: str, b: str, metric: str = "test_error", smallest_effect: float = 0.5) -> Comparison:
    """Arm ``a`` has less of something, by default test error, than arm ``b``; half a point is of interest."""
    return Comparison(claim, a, b, metric, smallest_effect=smallest_effect)
