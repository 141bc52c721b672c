"""The geometry of the net, short enough for a notebook: sides, parameters, operations; what training costs; noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

from paperlib.paper import facts


def conv_side(side: int, kernel: int, stride: int = 1, pad: int = 0, ceil: bool = False) -> int:
    """Side of the output of a convolution or a pool, in positions; ``side``, ``kernel`` and ``pad`` in pixels.

    ``ceil`` rounds up, as the 2012 source does (layer.py:1004): the last window may reach beyond the edge.
    Raises ValueError where not even one window fits.
    """
    room = side + 2 * pad - kernel
    if room < 0 or stride < 1:
        raise ValueError(f"a window of {kernel} with stride {stride} does not fit into {side} pixels padded by {pad}")
    return 1 + (-(-room // stride) if ceil else room // stride)


def overhang(side: int, kernel: int, stride: int = 1, pad: int = 0) -> int:
    """Pixels that the last window reaches beyond the padded edge when the side is rounded up."""
    return (conv_side(side, kernel, stride, pad, ceil=True) - 1) * stride + kernel - (side + 2 * pad)


@dataclass(frozen=True)
class Layer:
    """A layer with weights: ``maps`` output maps of ``side`` x ``side``, each reading ``depth`` maps by ``size``.

    A fully connected layer is the same with ``side`` and ``size`` 1. ``inputs`` counts the numbers that the
    layer as a whole reads, after pooling.
    """

    name: str
    maps: int
    side: int
    size: int
    depth: int
    inputs: int

    @property
    def weights(self) -> int:
        return self.maps * self.size**2 * self.depth

    @property
    def parameters(self) -> int:
        """Weights and one bias for each map."""
        return self.weights + self.maps

    @property
    def macs(self) -> int:
        """Multiplications with addition for one image: every weight is used at every position."""
        return self.weights * self.side**2

    @property
    def units(self) -> int:
        """Output neurons."""
        return self.maps * self.side**2


KERNELS = tuple(conv.kernels for conv in facts.CONVS)
PADS = tuple(conv.pad for conv in facts.CONVS)
GROUPS = tuple(facts.GPUS if conv.reads == "own" else 1 for conv in facts.CONVS)
UNGROUPED = (1,) * len(facts.CONVS)


def net(
    kernels: tuple[int, ...] = KERNELS,
    groups: tuple[int, ...] = GROUPS,
    pads: tuple[int, ...] = PADS,
    pool: facts.Pooling = facts.POOLING,
    fc: tuple[int, ...] = facts.FC,
    ceil: bool = True,
) -> tuple[Layer, ...]:
    """The eight layers of section 3.5, or of a variant, for one 224x224 colour image.

    ``groups`` is 2 where a GPU reads only its own maps. ``ceil`` rounds sides up in convolutions and pools.
    """
    side, maps, layers = facts.INPUT_SIDE, facts.INPUT_CHANNELS, []
    for conv, count, group, pad in zip(facts.CONVS, kernels, groups, pads, strict=True):
        inputs = side**2 * maps
        side = conv_side(side, conv.size, conv.stride, pad, ceil)
        layers.append(Layer(conv.name, count, side, conv.size, maps // group, inputs))
        if conv.pooled:
            side = conv_side(side, pool.z, pool.s, ceil=ceil)
        maps = count
    width = side**2 * maps
    for number, outputs in enumerate(fc, start=len(kernels) + 1):
        layers.append(Layer(f"fc{number}", outputs, 1, 1, width, width))
        width = outputs
    return tuple(layers)


def two_towers() -> tuple[Layer, ...]:
    """The paper's net: conv2, conv4 and conv5 read only the maps of their own GPU."""
    return net()


def ungrouped() -> tuple[Layer, ...]:
    """The same sizes with every layer reading all maps: what many ports train."""
    return net(groups=UNGROUPED)


def one_gpu() -> tuple[Layer, ...]:
    """The net of footnote 2: one tower, but conv5 and the fully connected layers whole."""
    return net(kernels=facts.ONE_GPU_KERNELS, groups=UNGROUPED)


def one_weird_trick() -> tuple[Layer, ...]:
    """The one-column net of 2014 (torchvision's "alexnet"): 64-192-384-256-256, conv1 padded by 2, rounded down."""
    return net(kernels=(64, 192, 384, 256, 256), groups=UNGROUPED, pads=(2, 2, 1, 1, 1), ceil=False)


def parameter_count(layers: tuple[Layer, ...]) -> int:
    """Weights and biases of all layers."""
    return sum(layer.parameters for layer in layers)


def mac_count(layers: tuple[Layer, ...]) -> int:
    """Multiplications with addition of all layers, for one image forward."""
    return sum(layer.macs for layer in layers)


def unit_count(layers: tuple[Layer, ...]) -> int:
    """Output neurons of all layers; the input is not counted."""
    return sum(layer.units for layer in layers)


def shares(layers: tuple[Layer, ...]) -> dict[str, float]:
    """Each layer's share of the parameters, per cent."""
    total = parameter_count(layers)
    return {layer.name: 100 * layer.parameters / total for layer in layers}


# --- the cost of training, and noise ----------------------------------------------------------------------


def updates(images: int) -> int:
    """Updates of the weights in the paper's passes over ``images``."""
    return round(images * facts.OPTIMISER.epochs / facts.OPTIMISER.batch_size)


def training_flops() -> float:
    """Operations of the training: 2 for a multiplication with addition, 3 passes' worth (forward, and twice back)."""
    return 3.0 * 2.0 * mac_count(two_towers()) * facts.TRAINING_IMAGES * facts.OPTIMISER.epochs


def share_of_peak(days: float) -> float:
    """Per cent of the peak of the two cards that a training of ``days`` days used."""
    peak = facts.GPUS * facts.GTX580_TFLOPS * 1e12
    return 100 * training_flops() / (peak * days * 86_400)


def standard_error(error: float, n: int) -> float:
    """Standard error, in percentage points, of an error rate (per cent) measured on ``n`` images."""
    return 100 * math.sqrt(error / 100 * (1 - error / 100) / n)


def difference_error(error_a: float, error_b: float, n: int) -> float:
    """Standard error of the difference of two error rates on ``n`` images each, taken as independent."""
    return math.hypot(standard_error(error_a, n), standard_error(error_b, n))
