"""Which changes of an arm have an effect: the others are refused, or the arm would be its base under another id."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

from paperlib.nets.alexnet import names_of
from paperlib.nets.table import family_of, values_taken
from paperlib.recipe import Recipe, RecipeError, Sizes, field_names, value_of
from paperlib.training.runs import Run


@dataclass(frozen=True)
class Idle:
    """Fields that are not read ``when`` something of the recipe is so; ``because`` says it in words."""

    because: str
    when: Callable[[Recipe], bool]
    fields: tuple[str, ...]


# optim.bias_lr_drops under a constant rate is not here: whole readings are switched, also in runs too short for a drop
IDLE = (
    Idle("model.lrn is False", lambda r: not r.model.lrn,
         ("model.lrn_n", "model.lrn_k", "model.lrn_alpha", "model.lrn_beta", "model.lrn_across_towers",
          "model.spatial_norm", "model.norm1_before_relu")),
    Idle("the towers never communicate", lambda r: r.model.communication == "never", ("model.lrn_across_towers",)),
    Idle("model.dropout is 0", lambda r: not r.model.dropout, ("model.dropout_form",)),
    Idle("model.init has a rule of its own", lambda r: r.model.init not in ("gaussian", "gain_matched"),
         ("model.init_std",)),
    Idle("augment.pixels is 'standardised'", lambda r: r.augment.pixels == "standardised", ("augment.mean",)),
    Idle("augment.crop is False", lambda r: not r.augment.crop, ("augment.offsets",)),
    Idle("images are neither cropped nor mirrored", lambda r: not r.augment.crop and r.augment.mirror == "none",
         ("augment.share",)),
    Idle("augment.colour is 0", lambda r: not r.augment.colour,
         ("augment.colour_scale", "augment.colour_shrink", "augment.colour_off_epoch")),
    Idle("optim.weight_decay is 0", lambda r: not r.optim.weight_decay, ("optim.decay_biases",)),
    Idle("optim.drops are epochs", lambda r: r.optim.drops != "plateau", ("optim.patience", "optim.max_drops")),
    Idle("the net has no conv1", lambda r: r.model.net == "mlp" or "conv1" in names_of(r.model.removed),
         ("optim.freeze_conv1",)),
)  # fmt: skip
"""An arm may not change these fields then. A recipe may have inherited them."""

SWITCHES = ("optim.freeze_conv1", "optim.drops", "augment.colour_off_epoch")  # Fields that are epochs, counted from 0


def check_felt(run: Run, base: Recipe, sizes: Sizes) -> None:
    """Raise :class:`RecipeError` where ``run`` differs from its experiment's base in a field that has no effect."""
    model = run.recipe.model
    reads = family_of(model).reads
    for f in fields(Sizes):
        if f.name not in reads and getattr(run.sizes, f.name) != getattr(sizes, f.name):
            raise RecipeError(f"sizes.{f.name} changes nothing, because the net {model.net} does not read it")
    for name in field_names():
        value, inherited = value_of(run.recipe, name), value_of(base, name)
        if value == inherited:
            continue
        part, _, leaf = name.partition(".")
        unread = part == "model" and leaf not in reads and leaf != "net"
        if unread and inherited in values_taken(model, leaf):  # else the arm has to change it
            raise RecipeError(f"{name} changes nothing, because the net {model.net} does not read it")
        for idle in IDLE:
            if name in idle.fields and idle.when(run.recipe):
                raise RecipeError(f"{name} changes nothing, because {idle.because}")
        epochs = [] if name not in SWITCHES else value if isinstance(value, tuple) else (value,)
        for epoch in epochs:
            if isinstance(epoch, int) and epoch >= run.stop.epochs:
                raise RecipeError(f"{name} never acts in epoch {epoch}: the run has {run.stop.epochs}, counted from 0")
