"""Two GPUs as two processes (section 3.5, Figure 2), and the data shared out among several such pairs.

Each process holds one tower: half of the maps and units of every layer. The towers exchange maps only where a layer
reads both of them: before conv3 (or where ``model.communication`` has it), fc6, fc7 and fc8, once more for the
logits, of which each computes half, and, where response normalisation goes across towers, the maps along the border
between them. The result is the net of one process, number for number: :func:`split` takes its weights apart and
:func:`gather` puts them together again, so that neither records nor checkpoints know how many processes there were.

A plain collective of ``torch.distributed`` carries no gradient, so the exchange is an autograd function of its own.
From top to bottom: the exchange, a net taken apart and put together, the bytes that the exchange costs.
"""

from __future__ import annotations

import copy
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from paperlib.errors import PaperlibError
from paperlib.nets.layers import Dropout, GroupedLinear, learned_layers, parameter_count, set_step
from paperlib.nets.lrn import LocalResponseNorm
from paperlib.nets.table import build, make
from paperlib.recipe import ModelRecipe, Recipe, Sizes
from paperlib.training.optim import PaperSGD
from paperlib.training.processes import ALONE, Topology, flat_like, launch

# ---------------------------------------------------------------------------------------------------------
# The exchange


class Borrow(torch.autograd.Function):
    """``x`` (B, C, ...) with the ``maps`` nearest maps of the other tower at its side, all C for the whole layer.

    The gradient of a map that was borrowed goes back to the tower that owns it, and is added to the gradient there.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, maps: int, layer: str, topology: Topology) -> Tensor:
        ctx.maps, ctx.layer, ctx.topology = maps, layer, topology
        upper = topology.tower == 0
        borrowed = topology.swap(x[:, -maps:] if upper else x[:, :maps], layer)
        return torch.cat([x, borrowed] if upper else [borrowed, x], dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None, None]:
        maps, rest = ctx.maps, g.shape[1] - ctx.maps
        if ctx.topology.tower == 0:
            own, borrowed = g[:, :rest].clone(), g[:, rest:]
            own[:, -maps:] += ctx.topology.swap(borrowed, ctx.layer)
        else:
            own, borrowed = g[:, maps:].clone(), g[:, :maps]
            own[:, :maps] += ctx.topology.swap(borrowed, ctx.layer)
        return own, None, None, None


class _Join(torch.autograd.Function):
    """The logits (B, classes / 2) of both towers side by side.

    Both compute the same loss from them, so the gradient of a tower's own half is whole already.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, topology: Topology) -> Tensor:
        ctx.topology = topology
        theirs = topology.swap(x, "logits")
        return torch.cat([x, theirs] if topology.tower == 0 else [theirs, x], dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return ctx.topology.half(g, dim=1), None


class ReadBoth(nn.Module):
    """Stands before a layer that reads both towers: (B, C / 2, ...) on each becomes (B, C, ...) on both."""

    def __init__(self, layer: str, topology: Topology) -> None:
        super().__init__()
        self.layer, self.topology = layer, topology

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = Borrow.apply(x, x.shape[1], self.layer, self.topology)
        return out


class JoinLogits(nn.Module):
    """Stands behind the output layer: (B, classes / 2) on each tower becomes (B, classes) on both."""

    def __init__(self, topology: Topology) -> None:
        super().__init__()
        self.topology = topology

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = _Join.apply(x, self.topology)
        return out


class NormAcrossTowers(LocalResponseNorm):
    """Section 3.3 on one tower's maps, with windows that reach n // 2 maps into the other tower (reading 3)."""

    def __init__(self, layer: str, norm: LocalResponseNorm, topology: Topology) -> None:
        super().__init__(norm.n, norm.k, norm.alpha, norm.beta)
        self.layer, self.topology = layer, topology

    def forward(self, x: Tensor) -> Tensor:
        maps = min(self.n // 2, x.shape[1])
        if not maps:
            return super().forward(x)
        wide: Tensor = Borrow.apply(x, maps, self.layer, self.topology)
        first = 0 if self.topology.tower == 0 else maps
        return super().forward(wide).narrow(1, first, x.shape[1])


class SharedDropout(Dropout):
    """Dropout on one process's rows and units of a mask that is drawn for the global batch and both towers."""

    def __init__(self, dropout: Dropout, topology: Topology) -> None:
        super().__init__(dropout.p, dropout.form)
        self.topology = topology

    def mask(self, shape: tuple[int, ...] | torch.Size) -> Tensor:
        topology = self.topology
        whole = super().mask((shape[0] * topology.data, shape[1] * topology.towers, *shape[2:]))
        return topology.half(topology.rows(whole), dim=1)


# ---------------------------------------------------------------------------------------------------------
# A net taken apart, and put together


def split(net: nn.Module, topology: Topology) -> nn.Sequential:
    """This process's part of a one-process net: the same layers by name, with half of the outputs each.

    A grouped layer keeps the group of its tower. A layer that reads both towers keeps half of its outputs and all of
    its inputs, and :class:`ReadBoth` before it. The first layer reads the image, which both towers have. ``net``
    itself is left alone. Raises :class:`PaperlibError` where the net has no two towers.
    """
    if not isinstance(net, nn.Sequential):
        raise PaperlibError(f"a net is split layer by layer, and {type(net).__name__} is no sequence of layers")
    if topology.towers > 1:
        check_towers(net)
    learned = list(learned_layers(net))
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for name, layer in net.named_children():
        if topology.towers > 1 and name != learned[0] and reads_both(layer):
            layers[f"both_{name}"] = ReadBoth(name, topology)
        layers[name] = part_of(name, layer, topology)
        if topology.towers > 1 and name == learned[-1]:
            layers["both_logits"] = JoinLogits(topology)
    return nn.Sequential(layers)


def reads_both(layer: nn.Module) -> bool:
    """Whether each output of a layer with weights depends on both towers."""
    if isinstance(layer, nn.Conv2d):
        return layer.groups == 1
    return isinstance(layer, nn.Linear) and not isinstance(layer, GroupedLinear)


def check_towers(net: nn.Sequential) -> None:
    """Refuse a net that has no two towers, or an odd number of classes."""
    groups = {m.groups for m in net.children() if isinstance(m, nn.Conv2d | GroupedLinear)}
    if groups | {1} != {1, 2}:
        raise PaperlibError("only the net two_tower is split into two towers; train this one with --towers 1")
    classes = next(m.out_features for m in reversed(list(net.children())) if isinstance(m, nn.Linear))
    if classes % 2:
        raise PaperlibError(f"each tower computes half of the logits, and {classes} classes have no half")


def part_of(name: str, layer: nn.Module, topology: Topology) -> nn.Module:
    """This process's part of one layer."""
    if isinstance(layer, Dropout):
        return SharedDropout(layer, topology)
    if topology.towers == 1:
        return copy.deepcopy(layer)
    if isinstance(layer, LocalResponseNorm):
        if layer.groups == 1:
            return NormAcrossTowers(name, layer, topology)
        return LocalResponseNorm(layer.n, layer.k, layer.alpha, layer.beta)
    if isinstance(layer, nn.Conv2d | nn.Linear):
        return half_of(layer, topology)
    return copy.deepcopy(layer)


def half_of(layer: nn.Conv2d | nn.Linear, topology: Topology) -> nn.Conv2d | nn.Linear:
    """A convolution or fully connected layer with this tower's half of the outputs."""
    weight, groups = topology.half(layer.weight.detach()), getattr(layer, "groups", 1)
    half: nn.Conv2d | nn.Linear
    with torch.device("meta"):  # its initial weights would be drawn for nothing
        if isinstance(layer, nn.Conv2d):
            inputs, geometry = layer.in_channels // groups, (layer.kernel_size, layer.stride, layer.padding)
            half = nn.Conv2d(inputs, len(weight), *geometry)  # type: ignore[arg-type]
        else:
            half = nn.Linear(layer.in_features, len(weight))
    half.weight = nn.Parameter(weight.clone())
    half.bias = nn.Parameter(topology.half(layer.bias.detach()).clone()) if layer.bias is not None else None
    return half


def gather(tensors: Mapping[str, Tensor], topology: Topology) -> dict[str, Tensor]:
    """The one-process net's tensors from those of both towers: weights, velocities or gradients, by the same names."""
    if topology.towers == 1:
        return dict(tensors)
    flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors.values()])  # one message instead of many
    theirs = flat_like(topology.swap(flat[None]).flatten(), tensors.values())
    mine = [tensor.detach() for tensor in tensors.values()]
    parts = [mine, theirs] if topology.tower == 0 else [theirs, mine]
    return {name: torch.cat(halves) for name, *halves in zip(tensors, *parts, strict=True)}


def take(tensors: Mapping[str, Tensor], topology: Topology) -> dict[str, Tensor]:
    """The inverse of :func:`gather`: this tower's halves of the one-process net's tensors."""
    return {name: topology.half(tensor.detach()).clone() for name, tensor in tensors.items()}


def take_part(net: nn.Module, optimiser: PaperSGD, topology: Topology) -> tuple[nn.Module, PaperSGD]:
    """This process's part of rank 0's net and optimiser; the same two where there is one process."""
    if topology.world == 1:
        return net, optimiser
    topology.copy_from_first(net.state_dict())
    topology.copy_from_first(optimiser.velocity)
    half = split(net, topology).to(memory_format=torch.channels_last)
    mine = PaperSGD(half, optimiser.recipe)
    for name, velocity in take(optimiser.velocity, topology).items():
        mine.velocity[name].copy_(velocity)
    return half, mine


def check_batch(batch_size: int, topology: Topology) -> None:
    """Refuse batches that cannot be shared out evenly: the mean of unequal shares' means is not the batch's."""
    if batch_size % topology.data:
        raise PaperlibError(f"a batch of {batch_size} cannot be shared out evenly among {topology.data} processes")


# ---------------------------------------------------------------------------------------------------------
# What the exchange costs


def bytes_exchanged(
    model: ModelRecipe, sizes: Sizes, batch: int, towers: int = 2, data: int = 1, itemsize: int = 4
) -> dict[str, int]:
    """Bytes that one process sends in one update, by the layer they are for; ``batch`` is the global one.

    Before a layer that reads both towers: half of its inputs, and as many numbers back for the gradient. At response
    normalisation across towers: n // 2 maps, there and back. The logits go one way only: both towers compute the
    loss. "gradients" are what a process puts into the sum over the data: those of its own parameters, once.
    """
    with torch.device("meta"):
        net = make(model, sizes).eval()
        seen: dict[str, torch.Size] = {}
        for name, layer in net.named_children():
            layer.register_forward_pre_hook(lambda _, x, name=name: seen.update({name: x[0].shape}))
        with torch.no_grad():
            net(torch.empty(1, sizes.channels, sizes.crop, sizes.crop))
    learned, numbers = list(learned_layers(net)), Counter[str]()
    for name, layer in net.named_children() if towers == 2 else ():
        if reads_both(layer) and name != learned[0]:
            numbers[name] = 2 * seen[name].numel() // 2
        elif isinstance(layer, LocalResponseNorm) and layer.groups == 1 and layer.n > 1:
            maps, pixels = seen[name][1] // 2, seen[name][2:].numel()
            numbers[name] = 2 * min(layer.n // 2, maps) * pixels
        if name == learned[-1]:
            numbers["logits"] = sizes.classes // 2
    cost = {name: n * (batch // data) * itemsize for name, n in numbers.items()}
    return cost | ({"gradients": parameter_count(net) // towers * itemsize} if data > 1 else {})


# ---------------------------------------------------------------------------------------------------------
# Both topologies side by side


@dataclass(frozen=True)
class Demonstration:
    """A few updates by one process and by two: the losses (nats) of both, and what the two had to send."""

    one: list[float]
    several: list[float]
    sent: list[dict[str, int]]  # bytes of one update, by layer, of each rank
    largest_difference: float  # between any two weights afterwards


def demonstrate(
    recipe: Recipe,
    sizes: Sizes,
    inputs: Tensor,
    labels: Tensor,
    context: BaseContext | None = None,
) -> Demonstration:
    """Train on ``inputs`` (steps, B, C, crop, crop) and ``labels`` (steps, B), in this process and in two others.

    The net computes in the precision of ``inputs``; the rate is the recipe's.
    """
    job = (recipe, sizes, inputs.numpy(), labels.numpy())
    one, _, expected = _updates(ALONE, *job)
    ranks = launch(_updates, *job, context=context)
    _, traffic, weights = zip(*ranks, strict=True)
    differences = [abs(w[name] - expected[name]).max() for w in weights for name in expected]
    sent = [{layer: total // len(labels) for layer, total in each.items()} for each in traffic]
    return Demonstration(one, ranks[0][0], sent, float(max(differences)))


def _updates(
    topology: Topology, recipe: Recipe, sizes: Sizes, inputs: Any, labels: Any
) -> tuple[list[float], dict[str, int], dict[str, Any]]:
    """Losses, bytes sent and the final weights of the whole net, of one update a batch."""
    check_batch(inputs.shape[1], topology)
    whole = build(recipe.model, sizes, seed=0).to(torch.from_numpy(inputs).dtype)
    net, optimiser = take_part(whole, PaperSGD(whole, recipe.optim), topology)
    losses = []
    for step, (x, y) in enumerate(zip(torch.from_numpy(inputs), torch.from_numpy(labels), strict=True)):
        set_step(net, 0, step)
        net.zero_grad()
        loss = F.cross_entropy(net(topology.rows(x)), topology.rows(y))
        loss.backward()
        topology.average_gradients(net)
        optimiser.step(recipe.optim.lr)
        losses += topology.total(loss.item() / topology.world)
    weights = {name: tensor.numpy() for name, tensor in gather(net.state_dict(), topology).items()}
    return losses, dict(topology.traffic), weights
