"""The nets: from a :class:`ModelRecipe` and :class:`Sizes` to modules with their initial weights."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from paperlib.errors import PaperlibError
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
    for i, (maps_in, maps_out, pool) in enumerate(
        [(sizes.channels, k1, nn.MaxPool2d), (k1, k2, nn.AvgPool2d), (k2, k3, nn.AvgPool2d)], start=1
    ):
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
# Building and initial weights

Builder = Callable[[ModelRecipe, Sizes], nn.Module]
NETS: dict[str, Builder] = {"80sec": four_layer, "19pct": four_layer}


def build(model: ModelRecipe, sizes: Sizes, seed: int) -> nn.Module:
    """The net of ``model`` at ``sizes`` with its initial weights for ``seed``."""
    if model.net not in NETS:
        raise PaperlibError(f"there is no net {model.net!r}; the nets are {', '.join(NETS)}")
    net = NETS[model.net](model, sizes)
    initialise(net, model, seed)
    return net


def learned_layers(net: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """The layers with weights, by name, in the order of the net."""
    return {name: m for name, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}


@torch.no_grad()
def initialise(net: nn.Module, model: ModelRecipe, seed: int) -> None:
    """Gaussian weights and constant biases (section 5), keyed by (seed, layer, shape): arms share what they can."""
    for name, layer in learned_layers(net).items():
        noise = torch.randn(layer.weight.shape, generator=generator(seed, "init", name, tuple(layer.weight.shape)))
        layer.weight.copy_(noise * weight_std(name, layer, model))
        if layer.bias is not None:
            layer.bias.fill_(initial_bias(name, model))


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
    std = FOUR_LAYER_STD[model.net][name]
    if model.init == "gain_matched":  # keeps std * sqrt(fan_in), hence the size of the signals, of the full net
        std *= math.sqrt(full_size_fan_in(name, model) / fan_in)
    return std


def full_size_fan_in(name: str, model: ModelRecipe) -> int:
    """Inputs of one unit of layer ``name`` in the full-size net that ``model`` is a small copy of."""
    with torch.device("meta"):
        return learned_layers(NETS[model.net](model, CIFAR_SIZES))[name].weight[0].numel()


def initial_bias(name: str, model: ModelRecipe) -> float:
    """Initial bias of a layer: 0 in the four-layer nets."""
    return 0.0
