"""The other nets: the four-layer nets of Figure 1, a net without convolutions, and net A of VGG."""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from torch import nn

from paperlib.nets.alexnet import two_tower
from paperlib.nets.layers import ACTIVATIONS, Dropout, MaxPool, parameter_count
from paperlib.nets.lrn import LocalResponseNorm
from paperlib.nets.sizes import widened
from paperlib.recipe import ModelRecipe, Sizes

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


VGG_DEPTHS = (1, 1, 2, 2, 2)  # Convolutions between two pools in net A of Simonyan and Zisserman 2014, table 1


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
