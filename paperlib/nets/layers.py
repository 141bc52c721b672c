"""The other layers that PyTorch lacks or means differently: pools and pads of 2012, towers, keyed dropout.

The paper's symbols are kept: ``z`` and ``s`` of section 3.4. Feature maps are (B, C, H, W) in either memory format;
every layer keeps the format of its input.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paperlib.errors import PaperlibError
from paperlib.seeding import generator

# ---------------------------------------------------------------------------------------------------------
# Pools and pads (sections 3.4 and 3.5)


class MaxPool(nn.MaxPool2d):
    """Section 3.4: the largest of each window of side ``z``, ``s`` pixels apart; z > s is overlapping pooling.

    ``pad`` adds a border that never wins. ``ceil`` rounds the output's side up, as the 2012 source does
    (layer.py:1164): the last window may reach beyond the edge.
    """

    def __init__(self, z: int = 3, s: int = 2, pad: int = 0, ceil: bool = False) -> None:
        super().__init__(kernel_size=z, stride=s, padding=pad, ceil_mode=ceil)
        self.z, self.s, self.pad, self.ceil = z, s, pad, ceil

    def output_side(self, side: int) -> int:
        """Side of the maps it makes of maps of ``side``."""
        return output_side(side, self.z, self.s, self.pad, self.ceil)


def output_side(side: int, kernel: int, stride: int, pad: int = 0, ceil: bool = False) -> int:
    """Side of the maps that a convolution or a pool gives, in pixels.

    Raises :class:`PaperlibError` where not one window fits.
    """
    room = side + 2 * pad - kernel
    if room < 0:
        raise PaperlibError(f"a window of {kernel} does not fit into {side} pixels padded by {pad}; take larger images")
    if not ceil:
        return room // stride + 1
    windows = -(-room // stride) + 1
    return windows - 1 if (windows - 1) * stride >= side + pad else windows  # PyTorch: none begins beyond the edge


def pad_to_ceil(x: Tensor, kernel: int, stride: int, pad: int = 0) -> Tensor:
    """Zeros beyond the right and the bottom edge, as many as the last window of a rounded-up convolution needs.

    How 224 pixels give 55 units (section 3.5): 1 + (224 - 11) / 4 = 54.25, and cuda-convnet rounds up
    (layer.py:1004), so that the last window hangs 3 pixels over the edge. ``x`` is (B, C, H, W); ``pad`` is what
    the convolution itself adds on every side.
    """
    right = -(x.shape[-1] + 2 * pad - kernel) % stride
    bottom = -(x.shape[-2] + 2 * pad - kernel) % stride
    return F.pad(x, (0, right, 0, bottom))


class PadToCeil(nn.Module):
    """:func:`pad_to_ceil` as a layer."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        return pad_to_ceil(x, self.kernel, self.stride)

    def extra_repr(self) -> str:
        return f"kernel={self.kernel}, stride={self.stride}"


# ---------------------------------------------------------------------------------------------------------
# Fully connected layers of one tower, and dropout (section 4.2)


class GroupedLinear(nn.Linear):
    """A fully connected layer of towers that do not see each other: group g of the outputs reads group g of the inputs.

    As with a grouped convolution the weights are (out, in / groups).
    """

    def __init__(self, in_features: int, out_features: int, groups: int) -> None:
        if in_features % groups or out_features % groups:
            raise PaperlibError(f"{in_features} inputs and {out_features} units do not divide into {groups} towers")
        super().__init__(in_features // groups, out_features)
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        parts = zip(x.chunk(self.groups, 1), self.weight.chunk(self.groups), self.bias.chunk(self.groups), strict=True)
        return torch.cat([F.linear(*part) for part in parts], dim=1)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, groups={self.groups}"


class Dropout(nn.Module):
    """Section 4.2: in training each unit of each case is set to zero with probability ``p``.

    ``form`` "2012" (the paper, layer.cu:1126) leaves training as it is and multiplies by 1 - p at test;
    "inverted" (PyTorch, Keras) divides by 1 - p in training and leaves test as it is. One or the other, never both.

    The mask is drawn for the whole batch from a generator keyed by (seed, step, layer): it can be drawn again from
    those three alone, and no other layer, step or machine has a say in it. :func:`set_step` sets them, before each
    update; training without it raises :class:`PaperlibError`, because a mask that never changes drops nothing.
    """

    def __init__(self, p: float = 0.5, form: str = "2012") -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise PaperlibError(f"dropout takes a probability from 0 to below 1, not {p:g}")
        if form not in ("2012", "inverted"):
            raise PaperlibError(f"dropout has the forms 2012 and inverted, not {form!r}")
        self.p, self.form = p, form
        self.seed: int | None = None
        self.step: int | None = None
        self.name = ""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            kept = x * self.mask(x.shape).to(x.device, x.dtype)
            return kept / (1 - self.p) if self.form == "inverted" else kept
        return x * (1 - self.p) if self.form == "2012" else x

    def mask(self, shape: tuple[int, ...] | torch.Size) -> Tensor:
        """Ones where a unit is kept; the batch's rows come first in ``shape``."""
        if self.seed is None or self.step is None:
            raise PaperlibError("dropout does not know its step; call set_step(net, seed, step) before each update")
        return torch.rand(shape, generator=generator(self.seed, "dropout", self.step, self.name)) >= self.p

    def extra_repr(self) -> str:
        return f"p={self.p:g}, form={self.form}"


def set_step(net: nn.Module, seed: int, step: int) -> None:
    """Tell every :class:`Dropout` of ``net`` the run's seed, the number of the update and its own name."""
    for name, module in net.named_modules():
        if isinstance(module, Dropout):
            module.seed, module.step, module.name = seed, step, name


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
    "tanh_after_relu": nn.Tanh,  # but the first layer has ReLU, see nets.table.make
}


def parameter_count(net: nn.Module) -> int:
    """Weights and biases."""
    return sum(parameter.numel() for parameter in net.parameters())


def learned_layers(net: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """The layers with weights, by name, in the order of the net."""
    return {name: m for name, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
