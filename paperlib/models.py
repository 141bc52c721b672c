"""The nets: from a :class:`ModelRecipe` and :class:`Sizes` to modules with their initial weights.

From top to bottom: nonlinearities, the paper's net and its ablations, the four-layer nets of Figure 1, two nets to
compare with, the table of them all, initial weights, and :func:`summary`, the table of a net's layers.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import pandas as pd
import torch
from torch import Tensor, nn

from paperlib.errors import PaperlibError
from paperlib.layers import Dropout, GroupedLinear, MaxPool, PadToCeil, output_side
from paperlib.normalisation import LocalResponseNorm, SpatialResponseNorm
from paperlib.recipe import ModelRecipe, Sizes
from paperlib.seeding import generator

# ---------------------------------------------------------------------------------------------------------
# Nonlinearities (section 3.1)


class ScaledTanh(nn.Module):
    """1.7159 tanh(2x/3), the scaled hyperbolic tangent of LeCun et al. 1998: f(1) = 1, f(-1) = -1."""

    def forward(self, x: Tensor) -> Tensor:
        return 1.7159 * torch.tanh(x * (2 / 3))


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "scaled_tanh": ScaledTanh,
    "sigmoid": nn.Sigmoid,
}

# ---------------------------------------------------------------------------------------------------------
# The net of the paper (section 3.5, Figure 2) and its ablations

FULL_SIZES = Sizes()
"""Section 3.5: 224x224 crops of 256x256 colour images, 1000 classes; sides 55, 27, 13, 6."""

EVIDENCE_SIZES = Sizes(
    side=32, crop=24, classes=10, kernels=(24, 64, 96, 96, 64), kernel_sizes=(5, 5, 3, 3, 3),
    strides=(1, 1, 1, 1, 1), pads=(2, 2, 1, 1, 1), pool_pads=(1, 1, 1), fc=512,
)  # fmt: skip
"""A quarter of the kernels, for 24x24 crops of 32x32 colour images; sides 24, 12, 6, 3."""

SAMPLE_SIZES = replace(EVIDENCE_SIZES, side=28, channels=1, kernels=(12, 32, 48, 48, 32), fc=256)
"""Half of the evidence net, for 24x24 crops of 28x28 grey images."""

TINY_SIZES = Sizes(
    side=64, crop=56, classes=200, kernels=(48, 128, 192, 192, 128), kernel_sizes=(7, 5, 3, 3, 3),
    strides=(2, 1, 1, 1, 1), pads=(3, 2, 1, 1, 1), pool_pads=(1, 1, 0), fc=2048,
)  # fmt: skip
"""Half of the kernels, for 56x56 crops of the 64x64 images of Tiny ImageNet; sides 28, 14, 7, 3."""


def two_tower(model: ModelRecipe, sizes: Sizes) -> nn.Sequential:
    """Figure 2 in one process: images (B, C, crop, crop) to logits (B, classes).

    Where a layer reads its own tower only, it has two groups; the first half of its maps is the upper tower.
    """
    return alexnet(model, sizes, towers=2)


def one_tower(model: ModelRecipe, sizes: Sizes) -> nn.Sequential:
    """Footnote 2 (#145-half): half the kernels in conv1 to conv4; conv5 and the fully connected layers whole."""
    halved = (*(maps // 2 for maps in sizes.kernels[:4]), *sizes.kernels[4:])
    return alexnet(model, replace(sizes, kernels=halved), towers=1)


def ungrouped(model: ModelRecipe, sizes: Sizes) -> nn.Sequential:
    """All kernels, and every layer reads all maps: not in the paper, but what many ports train."""
    return alexnet(model, sizes, towers=1)


def alexnet(model: ModelRecipe, sizes: Sizes, towers: int) -> nn.Sequential:
    """The eight layers of section 3.5, first to last. Raises :class:`PaperlibError` where they do not fit together."""
    net = Assembly(model, sizes, towers)
    if model.norm1_before_relu:  # reading 1
        net.place(1, "norm", "pool", "act")
    else:
        net.place(1, "act", "norm", "pool")
    net.place(2, "act", "norm", "pool")
    net.place(3, "act")
    net.place(4, "act")
    net.place(5, "act", "pool")
    for number in range(6, 6 + model.extra_conv):  # section 6: a sixth convolution stands over the last pool
        net.place(number, "act")
    net.flatten()
    net.hidden(6)
    net.hidden(7)
    net.output(8)
    return nn.Sequential(net.layers)


CONV_OF_TOWERS = {"conv3": 3, "conv4": 4, "never": None}
"""``model.communication`` -> the convolution that reads both towers: the paper's, that of #132, and none (#150)."""


class Assembly:
    """Puts the layers of a net one after the other, and keeps the books of how many maps of which side there are.

    A removed convolution takes its nonlinearity and normalisation with it, but not its pool: the last maps keep their
    sides. What it did for the others falls to the next convolution that is left. Without conv1, that one stands in
    its place: it reads the image, with conv1's window, stride, padding and normalisation. Without conv3, it reads
    both towers.
    A removed hidden layer takes its dropout with it.
    """

    def __init__(self, model: ModelRecipe, sizes: Sizes, towers: int) -> None:
        check_alexnet(model, sizes, towers)
        self.model, self.sizes, self.towers = model, widened(sizes, model.width), towers
        left = [number for number in range(1, 6 + model.extra_conv) if f"conv{number}" not in model.removed]
        self.stands_at = {number: number for number in left[1:]} | ({1: left[0]} if left else {})
        self.reads_all = set(left[:1]) | readers_of_both_towers(model, left)
        self.layers: OrderedDict[str, nn.Module] = OrderedDict()
        self.maps, self.side = sizes.channels, sizes.crop
        self.stated_side = sizes.crop  # what the side would be with the paper's own pools and pads
        self.features = 0  # inputs of the next fully connected layer

    def place(self, place: int, *then: str) -> None:
        """The convolution that stands at ``place``, if one does, and in this order what follows it."""
        if place in self.stands_at:
            self.convolution(place, self.stands_at[place])
        for step in then:
            if step == "pool":
                self.pool(place)
            elif place not in self.stands_at:
                continue
            elif step == "norm":
                self.norm(place)
            else:
                self.add(f"act{place}" if place <= 5 else f"act_conv{place}", ACTIVATIONS[self.model.activation]())

    def add(self, name: str, layer: nn.Module) -> None:
        """The next layer."""
        assert name not in self.layers, name
        self.layers[name] = layer

    def convolution(self, place: int, number: int) -> None:
        """Maps of conv ``number``, geometry of ``place``."""
        sizes, i = self.sizes, place - 1
        kernel, stride, pad = (3, 1, 1) if place > 5 else (sizes.kernel_sizes[i], sizes.strides[i], sizes.pads[i])
        # Not padded, the last window hangs over the edge (224 -> 55, reading 19); a padded one does so by itself.
        ceil = pad == 0
        self.stated_side = output_side(self.stated_side, kernel, stride, pad, ceil)
        if self.model.pool == "2x2_as_run" and place in (2, 5):
            pad -= 1
        if ceil and (self.side - kernel) % stride:
            self.add(f"edge{place}", PadToCeil(kernel, stride))
        maps, groups = sizes.kernels[min(number, 5) - 1], 1 if number in self.reads_all else self.towers
        self.add(f"conv{number}", nn.Conv2d(self.maps, maps, kernel, stride, pad, groups=groups))
        self.maps, self.side = maps, output_side(self.side, kernel, stride, pad, ceil)

    def norm(self, place: int) -> None:
        """Section 3.3; after layer 2 also the spatial norm (reading 4), which run #148, without LRN, lacked too."""
        m = self.model
        if not m.lrn:
            return
        # a sum over all maps would let towers talk that never should
        across = m.lrn_across_towers and m.communication != "never"
        groups = 1 if across else self.towers
        self.add(f"norm{place}", LocalResponseNorm(m.lrn_n, m.lrn_k, m.lrn_alpha, m.lrn_beta, groups))
        if m.spatial_norm and place == 2:
            self.add("spatial_norm2", SpatialResponseNorm())

    def pool(self, place: int) -> None:
        """Section 3.4: z=3, s=2; or z=2, s=2, padded or rounded up where that gives the side of the paper's pool.

        As run in #147, the first pool gave one pixel more (55 -> 28, rounded up), and conv2 and conv5 had one pixel
        of padding less to come back to the paper's sides.
        """
        pad = self.sizes.pool_pads[(1, 2, 5).index(place)]
        self.stated_side = output_side(self.stated_side, 3, 2, pad)
        if self.model.pool == "overlapping":
            pool = MaxPool(z=3, s=2, pad=pad)
        else:
            pool = pool_2x2(self.side, self.stated_side + (self.model.pool == "2x2_as_run" and place == 1))
        self.add(f"pool{place}", pool)
        self.side = pool.output_side(self.side)

    def flatten(self) -> None:
        """Maps to a row of features; a tower's maps stay together."""
        self.add("flatten", nn.Flatten())
        self.features = self.maps * self.side**2

    def hidden(self, number: int) -> None:
        """A fully connected layer, its nonlinearity, and dropout on its output (section 4.2)."""
        if f"fc{number}" in self.model.removed:
            return
        if self.model.communication == "never" and self.towers > 1:
            self.add(f"fc{number}", GroupedLinear(self.features, self.sizes.fc, self.towers))
        else:
            self.add(f"fc{number}", nn.Linear(self.features, self.sizes.fc))
        self.add(f"act{number}", ACTIVATIONS[self.model.activation]())
        if self.model.dropout:
            self.add(f"drop{number}", Dropout(self.model.dropout, self.model.dropout_form))
        self.features = self.sizes.fc

    def output(self, number: int) -> None:
        """One logit a class, from both towers; the softmax of section 3.5 belongs to the loss."""
        self.add(f"fc{number}", nn.Linear(self.features, self.sizes.classes))


def readers_of_both_towers(model: ModelRecipe, left: list[int]) -> set[int]:
    """Numbers of the convolutions that read the maps of both towers.

    ``model.communication`` names the one; if it was removed, the next in ``left`` is it. Convolutions added after
    the fifth read both, as conv6 of #146 did. Where the towers never talk (#150) it is none, and the hidden layers
    too stay in their tower: they meet in the last layer alone. That is our reading of the run note's "no
    communication at all"; its configuration also made the layers wider, which is ``model.width``.
    """
    joins = CONV_OF_TOWERS[model.communication]
    if joins is None:
        return set()
    return set([n for n in left if joins <= n <= 5][:1]) | {n for n in left if n > 5}


def pool_2x2(side: int, wanted: int) -> MaxPool:
    """Pooling with z=2, s=2 that takes ``side`` to ``wanted``, with as little padding and rounding up as will do."""
    for pad, ceil in ((0, False), (0, True), (1, False), (1, True)):
        if output_side(side, 2, 2, pad, ceil) == wanted:
            return MaxPool(z=2, s=2, pad=pad, ceil=ceil)
    raise PaperlibError(f"no 2x2 pooling takes {side} pixels to {wanted}; keep overlapping pooling with these layers")


def widened(sizes: Sizes, width: float) -> Sizes:
    """``sizes`` with every hidden layer ``width`` times as wide, rounded to an even number (two towers)."""
    if width == 1:
        return sizes
    even = [2 * max(1, round(units * width / 2)) for units in (*sizes.kernels, sizes.fc)]
    return replace(sizes, kernels=tuple(even[:-1]), fc=even[-1])


def check_alexnet(model: ModelRecipe, sizes: Sizes, towers: int) -> None:
    """Refuse what makes no net, in one sentence."""
    removable = [*(f"conv{n}" for n in range(1, 6)), "fc6", "fc7"]
    unknown = [name for name in model.removed if name not in removable]
    if unknown:
        raise PaperlibError(f"model.removed cannot name {unknown[0]!r}; the layers are {', '.join(removable)}")
    lengths = [len(x) for x in (sizes.kernels, sizes.kernel_sizes, sizes.strides, sizes.pads, sizes.pool_pads)]
    if lengths != [5, 5, 5, 5, 3]:
        raise PaperlibError(f"the net {model.net} has five convolutions and three pools; these sizes have {lengths}")
    if any(units % towers for units in (*sizes.kernels, sizes.fc)):
        raise PaperlibError(f"two towers need an even number of kernels and units in every layer, not {sizes.kernels}")
    if not 0 <= model.extra_conv <= 4:
        raise PaperlibError(f"model.extra_conv takes 0 to 4 further layers, conv6 to conv9, not {model.extra_conv}")
    if model.width <= 0:
        raise PaperlibError(f"model.width takes a factor above 0, not {model.width:g}")


# ---------------------------------------------------------------------------------------------------------
# The four-layer nets of Figure 1 (example-layers/layers-80sec.cfg and layers-19pct.cfg of the 2012 source)


def four_layer(model: ModelRecipe, sizes: Sizes) -> nn.Sequential:
    """A small net of cuda-convnet: images (B, C, H, W) to logits (B, classes).

    ``80sec`` has three convolutions and a hidden fully connected layer: four layers, where the output layer
    is not counted (as section 3.3 of the paper counts). ``19pct`` has three convolutions and the output layer:
    four layers, where every layer with weights is counted. The paper does not say which it means.
    Pools are 3x3 with stride 2 and round up, as cuda-convnet does; the first takes the maximum, the others the mean.
    """
    act = ACTIVATIONS[model.activation]
    k1, k2, k3 = sizes.kernels
    side = sizes.crop
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    stages: list[tuple[int, int, type[nn.MaxPool2d | nn.AvgPool2d]]]
    stages = [(sizes.channels, k1, nn.MaxPool2d), (k1, k2, nn.AvgPool2d), (k2, k3, nn.AvgPool2d)]
    for i, (maps_in, maps_out, pool) in enumerate(stages, start=1):
        layers[f"conv{i}"] = nn.Conv2d(maps_in, maps_out, kernel_size=5, padding=2)
        if pool is nn.AvgPool2d:
            layers[f"act{i}"] = act()
        layers[f"pool{i}"] = pool(3, stride=2, ceil_mode=True)
        if pool is nn.MaxPool2d:  # after the pool, as in the configuration: the same function, a quarter of the work
            layers[f"act{i}"] = act()
        side = math.ceil((side - 3) / 2) + 1
    layers["flatten"] = nn.Flatten()
    features = k3 * side * side
    if model.net == "80sec":
        layers["fc64"] = nn.Linear(features, sizes.fc)
        layers["act4"] = act()
        features = sizes.fc
    layers["fc10"] = nn.Linear(features, sizes.classes)
    return nn.Sequential(layers)


CIFAR_SIZES = Sizes(side=32, crop=32, classes=10, kernels=(32, 32, 64), fc=64)
"""The four-layer nets as cuda-convnet has them."""

FOUR_LAYER_STD = {
    "80sec": {"conv1": 1e-4, "conv2": 0.01, "conv3": 0.01, "fc64": 0.1, "fc10": 0.1},
    "19pct": {"conv1": 1e-4, "conv2": 0.01, "conv3": 0.01, "fc10": 0.01},
}
"""initW of the 2012 configurations; all their biases start at 0."""

# ---------------------------------------------------------------------------------------------------------
# Two nets to compare with


def mlp(model: ModelRecipe, sizes: Sizes) -> nn.Sequential:
    """Two hidden layers and no convolution, with as many parameters as the two-tower net of these sizes (section 1).

    The width h of both hidden layers solves h^2 + (inputs + 2 + classes) h + classes = parameters. Of the recipe it
    reads the nonlinearity, dropout, width and initial values.
    """
    with torch.device("meta"):
        budget = parameter_count(two_tower(ModelRecipe(), sizes))
    inputs, classes = sizes.channels * sizes.crop**2, sizes.classes
    b = inputs + 2 + classes
    units = round(model.width * (math.sqrt(b**2 + 4 * (budget - classes)) - b) / 2)
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    add_fully_connected(layers, model, inputs, units, classes, first=1)
    return nn.Sequential(layers)


VGG_DEPTHS = (1, 1, 2, 2, 2)
"""Convolutions between two pools in net A of Simonyan and Zisserman 2014, table 1."""

VGG_FULL_SIZES = Sizes(
    kernels=(64, 128, 256, 512, 512), kernel_sizes=(3,) * 5, strides=(1,) * 5, pads=(1,) * 5, pool_pads=(0,) * 5
)  # fmt: skip
"""Net A itself; ``kernels`` are those of its five stages."""

VGG_EVIDENCE_SIZES = replace(VGG_FULL_SIZES, side=32, crop=24, classes=10, kernels=(32, 64, 96, 128, 128), fc=512)
"""For 24x24 crops of 32x32 colour images; sides 24, 12, 6, 3, 3."""

VGG_SAMPLE_SIZES = replace(VGG_EVIDENCE_SIZES, side=28, channels=1, kernels=(16, 32, 48, 64, 64), fc=256)
"""Half of that, for 24x24 crops of 28x28 grey images."""


def vgg_stack(model: ModelRecipe, sizes: Sizes) -> nn.Sequential:
    """Net A of VGG (2014): eight 3x3 convolutions in five stages; with ``model.lrn`` it is A-LRN.

    A-LRN normalises after the first convolution's ReLU, with the constants of section 3.3, and VGG saw no gain.
    A stage ends in a 2x2 pool while that leaves at least three pixels. Of the recipe it reads the nonlinearity, lrn
    and its constants, dropout, width and initial values; biases start at 0.
    """
    act = ACTIVATIONS[model.activation]
    sizes = widened(sizes, model.width)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    maps, side, number = sizes.channels, sizes.crop, 0
    for stage, (kernels, depth) in enumerate(zip(sizes.kernels, VGG_DEPTHS, strict=True), start=1):
        for _ in range(depth):
            number += 1
            layers[f"conv{number}"] = nn.Conv2d(maps, kernels, kernel_size=3, padding=1)
            layers[f"act{number}"] = act()
            maps = kernels
            if model.lrn and number == 1:
                layers["norm1"] = LocalResponseNorm(model.lrn_n, model.lrn_k, model.lrn_alpha, model.lrn_beta)
        if side // 2 >= 3:
            layers[f"pool{stage}"] = MaxPool(z=2, s=2)
            side //= 2
    layers["flatten"] = nn.Flatten()
    add_fully_connected(layers, model, maps * side**2, sizes.fc, sizes.classes, first=number + 1)
    return nn.Sequential(layers)


def add_fully_connected(
    layers: OrderedDict[str, nn.Module], model: ModelRecipe, inputs: int, units: int, classes: int, first: int
) -> None:
    """Two hidden layers with dropout, and the output layer, named fc<first> and on."""
    for number in (first, first + 1):
        layers[f"fc{number}"] = nn.Linear(inputs, units)
        layers[f"act{number}"] = ACTIVATIONS[model.activation]()
        if model.dropout:
            layers[f"drop{number}"] = Dropout(model.dropout, model.dropout_form)
        inputs = units
    layers[f"fc{first + 2}"] = nn.Linear(inputs, classes)


# ---------------------------------------------------------------------------------------------------------
# The table of the nets

Builder = Callable[[ModelRecipe, Sizes], nn.Module]
Constant = Callable[[str, ModelRecipe], float]


def alexnet_std(name: str, model: ModelRecipe) -> float:
    """Section 5: 0.01 everywhere; conv3 to conv5 (and later convolutions) have a field of their own (reading 5)."""
    return model.init_std if name.startswith("conv") and int(name[4:]) >= 3 else 0.01


def alexnet_bias(name: str, model: ModelRecipe) -> float:
    """Section 5: 1 in conv2, conv4, conv5 and the hidden fully connected layers, which so start with positive input."""
    return model.bias_one if name in ("conv2", "conv4", "conv5", "fc6", "fc7") else 0.0


def mlp_bias(name: str, model: ModelRecipe) -> float:
    """As in the paper's hidden fully connected layers."""
    return model.bias_one if name in ("fc1", "fc2") else 0.0


def no_bias(name: str, model: ModelRecipe) -> float:
    """Biases start at 0."""
    return 0.0


def four_layer_std(name: str, model: ModelRecipe) -> float:
    """initW of the 2012 configurations."""
    return FOUR_LAYER_STD[model.net][name]


def vgg_std(name: str, model: ModelRecipe) -> float:
    """Section 3.1 of the VGG paper: its net A started from N(0, 0.01)."""
    return 0.01


def paper_net(model: ModelRecipe, sizes: Sizes) -> nn.Module:
    """The two-tower net without any change of layers."""
    return two_tower(ModelRecipe(), sizes)


@dataclass(frozen=True)
class Family:
    """A kind of net: how it is made, and what ``gaussian`` and ``gain_matched`` initial values are for it.

    ``std`` and ``bias`` are constants of a net of ``full`` sizes. ``like`` makes that net; where it is one of
    another kind, ``stands_for`` says which of its layers each layer of this one corresponds to.
    """

    make: Builder
    full: Sizes
    std: Constant
    bias: Constant
    like: Builder | None = None
    stands_for: Mapping[str, str] = field(default_factory=dict)


NETS: dict[str, Family] = {
    "two_tower": Family(two_tower, FULL_SIZES, alexnet_std, alexnet_bias),
    "one_tower": Family(one_tower, FULL_SIZES, alexnet_std, alexnet_bias),
    "ungrouped": Family(ungrouped, FULL_SIZES, alexnet_std, alexnet_bias),
    "80sec": Family(four_layer, CIFAR_SIZES, four_layer_std, no_bias),
    "19pct": Family(four_layer, CIFAR_SIZES, four_layer_std, no_bias),
    # the first layer of a fully connected net reads pixels, as conv1 does
    "mlp": Family(mlp, FULL_SIZES, alexnet_std, mlp_bias, paper_net, {"fc1": "conv1", "fc2": "fc7", "fc3": "fc8"}),
    "vgg_stack": Family(vgg_stack, VGG_FULL_SIZES, vgg_std, no_bias),
}

PARAMETERS: dict[tuple[str, Sizes], int] = {
    ("two_tower", FULL_SIZES): 60_965_224,
    ("one_tower", FULL_SIZES): 59_798_312,
    ("ungrouped", FULL_SIZES): 62_378_344,
    ("two_tower", EVIDENCE_SIZES): 708_970,
    ("two_tower", TINY_SIZES): 7_549_704,
    ("vgg_stack", VGG_FULL_SIZES): 132_863_336,
}
"""What every net that is made without change of layers is checked against."""


def make(model: ModelRecipe, sizes: Sizes) -> nn.Module:
    """The net of ``model`` at ``sizes``, its weights not yet those of a seed (see :func:`build`)."""
    if model.net not in NETS:
        raise PaperlibError(f"there is no net {model.net!r}; the nets are {', '.join(NETS)}")
    net = NETS[model.net].make(model, sizes)
    unchanged = not model.removed and not model.extra_conv and model.width == 1 and model.communication == "conv3"
    if unchanged and (model.net, sizes) in PARAMETERS:
        assert parameter_count(net) == PARAMETERS[model.net, sizes], parameter_count(net)
    return net


def build(model: ModelRecipe, sizes: Sizes, seed: int) -> nn.Module:
    """The net of ``model`` at ``sizes`` with its initial weights for ``seed``."""
    net = make(model, sizes)
    initialise(net, model, seed)
    return net


def parameter_count(net: nn.Module) -> int:
    """Weights and biases."""
    return sum(parameter.numel() for parameter in net.parameters())


def learned_layers(net: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """The layers with weights, by name, in the order of the net."""
    return {name: m for name, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}


# ---------------------------------------------------------------------------------------------------------
# Initial weights (section 5)


@torch.no_grad()
def initialise(net: nn.Module, model: ModelRecipe, seed: int) -> None:
    """Gaussian weights and constant biases (section 5), keyed by (seed, layer, shape): arms share what they can."""
    for name, layer in learned_layers(net).items():
        noise = torch.randn(layer.weight.shape, generator=generator(seed, "init", name, tuple(layer.weight.shape)))
        layer.weight.copy_(noise * weight_std(name, layer, model))
        if layer.bias is not None:
            layer.bias.fill_(NETS[model.net].bias(name, model))


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
    with torch.device("meta"):
        full = (family.like or family.make)(model, family.full)
    return learned_layers(full)[family.stands_for.get(name, name)].weight[0].numel()


# ---------------------------------------------------------------------------------------------------------
# The table of a net's layers


def summary(model: ModelRecipe, sizes: Sizes) -> pd.DataFrame:
    """Layers with weights, and their sum: output (side x side x maps), parameters, share (per cent), macs, units.

    ``macs`` are multiplications with addition for one image, ``units`` output neurons. Nothing is computed but
    shapes, so that the full net costs no memory.
    """
    with torch.device("meta"):
        net = make(model, sizes).eval()
        outputs: dict[str, torch.Size] = {}
        for name, layer in learned_layers(net).items():
            layer.register_forward_hook(lambda _, __, out, name=name: outputs.update({name: out.shape[1:]}))
        with torch.no_grad():
            net(torch.empty(1, sizes.channels, sizes.crop, sizes.crop))
        learned = learned_layers(net)
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
