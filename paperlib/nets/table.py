"""The table of all nets, their initial weights (section 5), and the table of a net's layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from paperlib.errors import PaperlibError
from paperlib.nets import sizes
from paperlib.nets.alexnet import one_tower, two_tower, ungrouped
from paperlib.nets.layers import learned_layers, parameter_count
from paperlib.nets.others import FOUR_LAYER_STD, four_layer, mlp, vgg_stack
from paperlib.nets.sizes import CIFAR_SIZES, FULL_SIZES, TINY_SIZES, VGG_FULL_SIZES
from paperlib.recipe import ModelRecipe, Recipe, RecipeError, Sizes
from paperlib.seeding import generator

if TYPE_CHECKING:
    import pandas as pd

# ---------------------------------------------------------------------------------------------------------
# The table of the nets

Builder = Callable[[ModelRecipe, Sizes], nn.Module]
Constant = Callable[[str, ModelRecipe], float]


def alexnet_std(name: str, model: ModelRecipe) -> float:
    """Section 5: 0.01 everywhere; conv3 to conv5 (and later convolutions) have a field of their own (reading 5)."""
    return model.init_std if name.startswith("conv") and int(name[4:]) >= 3 else 0.01


def four_layer_std(name: str, model: ModelRecipe) -> float:
    """initW of the 2012 configurations."""
    return FOUR_LAYER_STD[model.net][name]


def vgg_std(name: str, model: ModelRecipe) -> float:
    """Section 3.1 of the VGG paper: its net A started from N(0, 0.01)."""
    return 0.01


@dataclass(frozen=True)
class Family:
    """A kind of net: how it is made, and what ``gaussian`` and ``gain_matched`` initial values are for it.

    ``std`` is a layer's standard deviation in the net of ``full`` sizes. Biases start at ``model.bias_one`` in the
    layers ``ones``, at 0 in the others. ``fan_in`` names layers that take the place of a layer of another net, and
    the inputs of a unit there.

    ``reads`` are the fields of :class:`ModelRecipe` and of "sizes" that change it, besides its name. Of a field that
    it does not read it takes the values of both readings, which it may have inherited; or else those in ``takes``.
    """

    make: Builder
    full: Sizes
    std: Constant
    reads: frozenset[str]
    ones: tuple[str, ...] = ()
    takes: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    fan_in: Mapping[str, int] = field(default_factory=dict)


SIZES_READ = {"side", "crop", "channels", "classes", "kernels"}
ALL_READ = frozenset({f.name for part in (ModelRecipe, Sizes) for f in fields(part)} - {"net"})
ONE_TOWER_READS = ALL_READ - {"communication", "lrn_across_towers"}
FOUR_LAYER_READS = frozenset({"activation", "init"} | SIZES_READ)
PLAIN_ONLY = {"lrn": (False,), "dropout": (0.0,)}
DROPOUT = {"dropout", "dropout_form"}
LRN = {"lrn", "lrn_n", "lrn_k", "lrn_alpha", "lrn_beta"}
MLP_READS = frozenset({"activation", "init", "width", "bias_one"} | DROPOUT | {f.name for f in fields(Sizes)})
VGG_READS = frozenset({"activation", "init", "width"} | LRN | DROPOUT | SIZES_READ | {"fc"})

# section 5: these convolutions and the hidden fully connected layers give their ReLUs positive inputs at the start
ONES = ("conv2", "conv4", "conv5", "fc6", "fc7")

NETS: dict[str, Family] = {
    "two_tower": Family(two_tower, FULL_SIZES, alexnet_std, ALL_READ, ONES),
    "one_tower": Family(one_tower, FULL_SIZES, alexnet_std, ONE_TOWER_READS, ONES),
    "ungrouped": Family(ungrouped, FULL_SIZES, alexnet_std, ONE_TOWER_READS, ONES),
    "80sec": Family(four_layer, CIFAR_SIZES, four_layer_std, FOUR_LAYER_READS | {"fc"}, takes=PLAIN_ONLY),
    "19pct": Family(four_layer, CIFAR_SIZES, four_layer_std, FOUR_LAYER_READS, takes=PLAIN_ONLY),
    "mlp": Family(
        mlp, FULL_SIZES, alexnet_std, MLP_READS, ("fc1", "fc2"), takes={"lrn": (False, True)},
        # its layers take the places of conv1, which reads pixels too, fc7 and fc8 of the paper's net
        fan_in={"fc1": 3 * 11**2, "fc2": 4096, "fc3": 4096},
    ),
    "vgg_stack": Family(vgg_stack, VGG_FULL_SIZES, vgg_std, VGG_READS),
}  # fmt: skip

READINGS = (Recipe.paper().model, Recipe.source2012().model)


def family_of(model: ModelRecipe) -> Family:
    """The family of a net. Raises :class:`PaperlibError` for one that is not in the table."""
    if model.net not in NETS:
        raise PaperlibError(f"there is no net {model.net!r}; the nets are {', '.join(NETS)}")
    return NETS[model.net]


def values_taken(model: ModelRecipe, name: str) -> tuple[Any, ...]:
    """The values that the net of ``model`` takes for a field which it does not read."""
    return family_of(model).takes.get(name) or tuple(getattr(reading, name) for reading in READINGS)


def check_read(model: ModelRecipe) -> None:
    """Raise :class:`RecipeError` for a field that asks for what the net of ``model`` has not got."""
    family = family_of(model)
    for f in fields(ModelRecipe):
        value = getattr(model, f.name)
        if f.name in family.reads or f.name == "net" or value in (taken := values_taken(model, f.name)):
            continue
        raise RecipeError(
            f"the net {model.net} does not read model.{f.name}, so it cannot be {value!r}: set it to {taken[0]!r}"
        )


PARAMETERS: dict[tuple[str, Sizes], int] = {
    ("two_tower", FULL_SIZES): 60_965_224,
    ("one_tower", FULL_SIZES): 59_798_312,
    ("ungrouped", FULL_SIZES): 62_378_344,
    ("two_tower", sizes.EVIDENCE_SIZES): 708_970,
    ("two_tower", TINY_SIZES): 7_549_704,
    ("vgg_stack", VGG_FULL_SIZES): 132_863_336,
}
"""What every net that is made without change of layers is checked against."""


def make(model: ModelRecipe, sizes: Sizes) -> nn.Module:
    """The net of ``model`` at ``sizes``, its weights not yet those of a seed (see :func:`build`).

    Raises :class:`PaperlibError` for a net that is not in the table, for a field that it does not read and that asks
    for something, and for layers that do not fit together.
    """
    check_read(model)
    net = NETS[model.net].make(model, sizes)
    if model.activation == "tanh_after_relu":
        net.act1 = nn.ReLU()
    unchanged = not model.removed and not model.extra_conv and model.width == 1 and model.communication == "conv3"
    if unchanged and (model.net, sizes) in PARAMETERS:
        assert parameter_count(net) == PARAMETERS[model.net, sizes], parameter_count(net)
    return net


def build(model: ModelRecipe, sizes: Sizes, seed: int) -> nn.Module:
    """The net of ``model`` at ``sizes`` with its initial weights for ``seed``."""
    net = make(model, sizes)
    initialise(net, model, seed)
    return net


# ---------------------------------------------------------------------------------------------------------
# Initial weights (section 5)


@torch.no_grad()
def initialise(net: nn.Module, model: ModelRecipe, seed: int) -> None:
    """Gaussian weights and constant biases (section 5), keyed by (seed, layer, shape): arms share what they can."""
    for name, layer in learned_layers(net).items():
        noise = torch.randn(layer.weight.shape, generator=generator(seed, "init", name, tuple(layer.weight.shape)))
        layer.weight.copy_(noise * weight_std(name, layer, model))
        if layer.bias is not None:
            layer.bias.fill_(model.bias_one if name in NETS[model.net].ones else 0.0)


def weight_std(name: str, layer: nn.Conv2d | nn.Linear, model: ModelRecipe) -> float:
    """Standard deviation of a layer's initial weights under ``model.init``."""
    fan_in = layer.weight[0].numel()
    fan_out = layer.weight.numel() // layer.weight.shape[1]
    if model.init == "he":
        return math.sqrt(2 / fan_in)
    if model.init == "lecun":
        return 1 / math.sqrt(fan_in)
    if model.init == "xavier":
        return math.sqrt(2 / (fan_in + fan_out))
    std = NETS[model.net].std(name, model)
    if model.init == "gain_matched":  # keeps std * sqrt(fan_in), hence the size of the signals, of the full net
        std *= math.sqrt(full_size_fan_in(name, model) / fan_in)
    return std


def full_size_fan_in(name: str, model: ModelRecipe) -> int:
    """Inputs of one unit of layer ``name`` in the full-size net that ``model`` is a small copy of."""
    family = NETS[model.net]
    if name in family.fan_in:
        return family.fan_in[name]
    with torch.device("meta"):
        full = family.make(model, family.full)
    return learned_layers(full)[name].weight[0].numel()


# ---------------------------------------------------------------------------------------------------------
# The table of a net's layers


def summary(model: ModelRecipe, sizes: Sizes) -> pd.DataFrame:
    """Layers with weights, and their sum: output (side x side x maps), parameters, share (per cent), macs, units.

    ``macs`` are multiplications with addition for one image, ``units`` output neurons. No image goes
    through the net and no weight is read, so that the full net costs neither time nor memory.
    """
    import pandas as pd  # here: it takes half a second

    with torch.device("meta"):
        net = make(model, sizes).eval()
    # a pass on "meta" and Module.to_empty import torch's decompositions or sympy, which takes one to two seconds
    state = {name: torch.empty(each.shape, dtype=each.dtype) for name, each in net.state_dict().items()}
    outputs: dict[str, torch.Size] = {}
    learned = learned_layers(net)
    for name, layer in learned.items():
        layer.register_forward_hook(lambda _, __, out, name=name: outputs.update({name: out.shape[1:]}))
    with torch.no_grad():
        torch.func.functional_call(net, state, torch.empty(0, sizes.channels, sizes.crop, sizes.crop))
    shapes = [outputs[name] for name in learned]
    parameters = [parameter_count(layer) for layer in learned.values()]
    macs = [layer.weight.numel() * math.prod(s[1:]) for layer, s in zip(learned.values(), shapes, strict=True)]
    units = [shape.numel() for shape in shapes]
    total = sum(parameters)
    return pd.DataFrame(
        {
            "output": ["x".join(str(n) for n in (*shape[1:], shape[0])) for shape in shapes] + [""],
            "parameters": [*parameters, total],
            "share": [100 * n / total for n in parameters] + [100.0],
            "macs": [*macs, sum(macs)],
            "units": [*units, sum(units)],
        },
        index=pd.Index([*learned, "sum"], name="layer"),
    )
