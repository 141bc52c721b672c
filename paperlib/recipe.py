"""Recipes: every choice of the paper, and of the code its authors ran, as one field each.

``Recipe.paper()`` is the text of the paper read literally, ``Recipe.source2012()`` the authors' code
(net #145 of computerhistory/AlexNet-Source-Code). The numbers in brackets below are the rows of the
table of readings in ``paperlib.paper.facts.READINGS``. An ablation is ``recipe.but(**{"model.lrn": False})``:
one dotted field, never a subclass.

A recipe says *what* is trained, :class:`Sizes` how large it is, and :class:`Stop` when it ends.
Values are checked wherever one of these is made: by its constructor, ``replace``, ``but`` or from plain data.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, Literal

from pydantic import NonNegativeInt, PositiveInt

from paperlib.paper.facts import READINGS
from paperlib.values import (
    Ascending,
    Checked,
    Epochs,
    NotNegative,
    Percent,
    Positive,
    Probability,
    Real,
    RecipeError,
    nearest,
)

T = typing.TypeVar("T")


@dataclass(frozen=True)
class ModelRecipe(Checked):
    """The net: architecture, nonlinearity, normalisation, pooling, initial values, dropout."""

    part = "model"

    net: str = "two_tower"  # two_tower | one_tower | 80sec | 19pct | … (nets.table)
    activation: Literal["relu", "tanh", "scaled_tanh", "sigmoid", "tanh_after_relu"] = "relu"
    lrn: bool = True  # section 3.3; False drops spatial_norm too, as run #148 did
    lrn_n: PositiveInt = 5
    lrn_k: Positive = 2.0
    lrn_alpha: NotNegative = 1e-4  # [2] coefficient of the plain sum; the 2012 code divides it by n
    lrn_beta: NotNegative = 0.75
    norm1_before_relu: bool = False  # [1]
    lrn_across_towers: bool = True  # [3]
    spatial_norm: bool = False  # [4]
    pool: Literal["overlapping", "2x2", "2x2_as_run"] = "overlapping"  # z=3, s=2 | as stated | as run #147
    communication: Literal["conv3", "conv4", "never"] = "conv3"  # where the towers read each other
    removed: Annotated[tuple[str, ...], Ascending] = ()  # layers left out, for section 7
    extra_conv: NonNegativeInt = 0  # further 3x3 layers after conv5, for "deeper"
    width: Positive = 1.0  # factor on every hidden layer, for "wider"
    init: Literal["gaussian", "gain_matched", "he", "lecun", "xavier"] = "gaussian"  # the 2012 constants | …
    init_std: NotNegative = 0.01  # [5] of conv3-5
    bias_one: Real = 1.0  # section 5: initial bias of conv2, conv4, conv5, fc6, fc7
    dropout: Probability = 0.5  # probability of setting a unit to zero
    dropout_form: Literal["2012", "inverted"] = "2012"  # halve at test | double in training


@dataclass(frozen=True)
class AugmentRecipe(Checked):
    """What happens to an image on its way into the net."""

    part = "augment"

    pixels: Literal["centred", "standardised"] = "centred"  # 0-255 minus the mean image | zero mean, unit variance
    crop: bool = True
    offsets: Literal[32, 33] = 32  # [13] at 256 -> 224: 32 omits the last offset, 33 has them all
    share: PositiveInt = 1  # [14] consecutive images that share one crop and mirror
    mirror: Literal["horizontal", "none", "vertical", "both"] = "horizontal"
    mean: Literal["place", "centre"] = "place"  # [15] where the mean image is cropped: at the crop's own place | centre
    colour: NotNegative = 0.1  # standard deviation of alpha_i in section 4.1; 0 turns the noise off
    colour_scale: Literal["eigenvalue", "std"] = "eigenvalue"  # [10] 0-1 pixels | 0-255 pixels
    colour_shrink: bool = False  # [11] divide by 1 + colour after adding the noise
    colour_off_epoch: NonNegativeInt | None = None  # [12]
    shuffle: bool = True  # [16]


@dataclass(frozen=True)
class OptimRecipe(Checked):
    """Section 5: stochastic gradient descent with momentum, and its schedule."""

    part = "optim"

    lr: Positive = 0.01
    momentum: Probability = 0.9
    weight_decay: NotNegative = 5e-4
    batch_size: PositiveInt = 128
    bias_lr_factor: NotNegative = 1.0  # [6]
    bias_lr_drops: bool = True  # [6b]
    decay_biases: bool = True  # [7]
    freeze_conv1: tuple[NonNegativeInt, ...] = ()  # [8] epochs: (rate to 1e-5, rate to 0)
    drops: Epochs | Literal["plateau"] = "plateau"  # [9] epochs at which the rate is divided by 10
    patience: PositiveInt = 3  # epochs without a better validation error that make a plateau
    max_drops: NonNegativeInt = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.freeze_conv1) not in (0, 2) or list(self.freeze_conv1) != sorted(self.freeze_conv1):
            raise RecipeError(
                "optim.freeze_conv1 must be two epochs, of the small rate and then of none, or nothing, "
                f"not {self.freeze_conv1!r}"
            )


@dataclass(frozen=True)
class Recipe(Checked):
    """Model, augmentation and optimisation of one training; see the module's docstring."""

    part = "recipe"

    model: ModelRecipe = field(default_factory=ModelRecipe)
    augment: AugmentRecipe = field(default_factory=AugmentRecipe)
    optim: OptimRecipe = field(default_factory=OptimRecipe)

    @classmethod
    def paper(cls) -> Recipe:
        """The paper's text read literally; where it is silent, what the text suggests."""
        return cls()

    @classmethod
    def source2012(cls) -> Recipe:
        """Net #145 as the authors ran it (layers-145.cfg, layer-params-145.cfg, convdata_jpeg.py)."""
        return cls().but(**SOURCE2012)

    def but(self, **changes: Any) -> Recipe:
        """A copy with other values in the dotted fields named, e.g. ``{"model.lrn": False}``.

        Raises :class:`RecipeError` for an unknown field or a value that it does not take.
        """
        parts: dict[str, dict[str, Any]] = {}
        for name, value in changes.items():
            part, _, leaf = name.partition(".")
            known = {f.name for f in fields(self)}
            if part not in known or leaf not in {f.name for f in fields(getattr(self, part))}:
                raise RecipeError(
                    f"a recipe has no field {name!r}, did you mean {nearest(name, field_names())!r}? "
                    f"The fields are {', '.join(field_names())}"
                )
            parts.setdefault(part, {})[leaf] = value
        return replace(self, **{part: replace(getattr(self, part), **new) for part, new in parts.items()})


SOURCE2012: dict[str, Any] = {r.field: r.value for r in READINGS if r.field and not r.agrees}
"""What differs from the paper in the authors' code: field -> the code's value."""


@dataclass(frozen=True)
class Sizes(Checked):
    """How large the net and its images are; the defaults are the paper's own (section 3.5).

    ``kernels`` are the output maps of each convolution, both towers together; ``pool_pads`` pad the pools.
    """

    part = "sizes"

    side: PositiveInt = 256  # of the stored image
    crop: PositiveInt = 224  # of what the net sees
    channels: PositiveInt = 3
    classes: PositiveInt = 1000
    kernels: tuple[PositiveInt, ...] = (96, 256, 384, 384, 256)
    kernel_sizes: tuple[PositiveInt, ...] = (11, 5, 3, 3, 3)
    strides: tuple[PositiveInt, ...] = (4, 1, 1, 1, 1)
    pads: tuple[NonNegativeInt, ...] = (0, 2, 1, 1, 1)
    pool_pads: tuple[NonNegativeInt, ...] = (0, 0, 0)
    fc: PositiveInt = 4096


@dataclass(frozen=True)
class Stop(Checked):
    """When a run ends: after ``epochs``, or as soon as the running training error reaches ``threshold`` (per cent).

    The running error is the mean over ``window`` updates; ``window`` 0 keeps epochs only.
    ``validation`` images of the training set are held out for the schedule (0: none).
    ``train_images`` uses only this number of training images, the first (0: all). ``classes`` uses only the images
    of these classes, in training and test, with their places in the tuple as labels ((): all of them).
    ``test_train`` has the finished net tested on its training images as well, without dropout or augmentation.
    """

    part = "stop"

    epochs: PositiveInt = 90
    threshold: Percent | None = None
    window: NonNegativeInt = 0
    validation: NonNegativeInt = 0
    train_images: NonNegativeInt = 0
    classes: tuple[NonNegativeInt, ...] = ()
    test_train: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.threshold is not None and not self.window:
            raise RecipeError(
                f"stop.threshold is compared with the error over a window: set stop.window, not only {self.threshold:g}"
            )
        if self.train_images and self.validation >= self.train_images:
            raise RecipeError(
                f"stop.validation takes fewer images than stop.train_images, {self.train_images}, not {self.validation}"
            )
        if len({*self.classes}) < len(self.classes):
            raise RecipeError(f"stop.classes takes each class once, not {self.classes!r}")


@functools.cache
def field_names() -> tuple[str, ...]:
    """All dotted field names of a recipe."""
    kinds = (ModelRecipe, AugmentRecipe, OptimRecipe)
    return tuple(f"{kind.part}.{leaf.name}" for kind in kinds for leaf in fields(kind))


def value_of(recipe: Recipe, name: str) -> Any:
    """The value of a dotted field."""
    part, _, leaf = name.partition(".")
    return getattr(getattr(recipe, part), leaf)


def to_dict(value: Any) -> dict[str, Any]:
    """A dataclass as nested plain data with every field that is at its default left out (the canonical form)."""
    out: dict[str, Any] = {}
    kind: type = type(value)
    for f in fields(value):
        mine, default = getattr(value, f.name), getattr(_default(kind), f.name)
        if dataclasses.is_dataclass(mine):
            inner = to_dict(mine)
            if inner:
                out[f.name] = inner
        elif mine != default:
            out[f.name] = list(mine) if isinstance(mine, tuple) else mine
    return out


def recipe_from_dict(data: dict[str, Any]) -> Recipe:
    """The inverse of :func:`to_dict` for a recipe."""
    if not isinstance(data, dict) or not all(isinstance(leaves, dict) for leaves in data.values()):
        raise RecipeError(f"a recipe is read from names of parts with names of fields, not from {data!r}")
    unknown = [part for part in data if part not in {f.name for f in fields(Recipe)}]
    if unknown:
        raise RecipeError(f"a recipe has no part {unknown[0]!r}; its parts are model, augment, optim")
    return Recipe().but(**{f"{part}.{leaf}": value for part, leaves in data.items() for leaf, value in leaves.items()})


def from_dict(kind: type[T], data: dict[str, Any]) -> T:
    """The inverse of :func:`to_dict` for :class:`Sizes` and :class:`Stop`."""
    if not isinstance(data, dict):
        raise RecipeError(f"{kind.__name__} is read from names of fields, not from {data!r}")
    known = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    unknown = sorted(set(data) - set(known))
    if unknown:
        raise RecipeError(
            f"{kind.__name__} has no field {unknown[0]!r}, did you mean {nearest(unknown[0], known)!r}? "
            f"The fields are {', '.join(known)}"
        )
    return kind(**data)


_default = functools.cache(lambda kind: kind())
