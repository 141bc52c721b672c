"""The update rule of section 5, and the schedule of its learning rate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from paperlib.recipe import OptimRecipe


@dataclass
class Group:
    """Parameters that share a learning-rate factor and a weight decay."""

    params: list[Tensor]
    names: list[str]
    is_bias: bool
    is_conv1: bool


def parameter_groups(net: nn.Module) -> list[Group]:
    """Weights and biases apart, and conv1 apart from the rest (readings 6 to 8), each in the net's own order."""
    groups: dict[tuple[bool, bool], Group] = {}
    for name, parameter in net.named_parameters():
        layer, _, leaf = name.rpartition(".")
        key = (leaf == "bias", layer.split(".")[-1].startswith("conv1"))
        group = groups.setdefault(key, Group([], [], *key))
        group.params.append(parameter)
        group.names.append(name)
    return list(groups.values())


class PaperSGD:
    """Section 5: ``v <- momentum v - decay lr w - lr gradient``; ``w <- w + v``.

    The learning rate is inside ``v``. ``torch.optim.SGD`` has it outside (``w <- w - lr v``): the two
    agree at a constant rate, and differ for some tens of steps after a drop, when this one still carries the
    old, larger steps. Source: section 5; ``weights.cu`` of the 2012 source does the same.
    """

    def __init__(self, net: nn.Module, recipe: OptimRecipe) -> None:
        self.recipe = recipe
        self.groups = parameter_groups(net)
        self.velocity = {n: torch.zeros_like(p) for g in self.groups for n, p in zip(g.names, g.params, strict=True)}

    @torch.no_grad()
    def step(self, lr: float, epoch: int = 0) -> None:
        """One update at the weights' rate ``lr``; ``epoch`` matters only where conv1 is frozen late (reading 8)."""
        for group in self.groups:
            eps = self.group_rate(group, lr, epoch)
            if eps == 0.0:
                continue
            decays = not group.is_bias or self.recipe.decay_biases
            v = [self.velocity[name] for name in group.names]
            torch._foreach_mul_(v, self.recipe.momentum)
            if decays and self.recipe.weight_decay:
                torch._foreach_add_(v, group.params, alpha=-self.recipe.weight_decay * eps)
            torch._foreach_add_(v, [_gradient(p) for p in group.params], alpha=-eps)
            torch._foreach_add_(group.params, v)

    def group_rate(self, group: Group, lr: float, epoch: int) -> float:
        """The rate of one group of parameters when the weights' rate is ``lr`` in ``epoch``."""
        recipe = self.recipe
        eps = lr
        if group.is_bias:
            eps = recipe.bias_lr_factor * (lr if recipe.bias_lr_drops else recipe.lr)
        if group.is_conv1 and recipe.freeze_conv1:
            slow, stop = recipe.freeze_conv1
            eps = 0.0 if epoch >= stop else min(eps, 1e-5) if epoch >= slow else eps
        return eps


def _gradient(parameter: Tensor) -> Tensor:
    if parameter.grad is None:
        raise RuntimeError("a parameter has no gradient: call loss.backward() before step()")
    return parameter.grad


def learning_rate(recipe: OptimRecipe, epoch: int, validation_errors: Sequence[float] = ()) -> float:
    """The weights' rate in ``epoch`` (from 0), given the validation errors (per cent) of the epochs before it.

    ``drops`` as epochs divides by 10 at each of them. ``"plateau"`` is the rule we put in place of the
    authors' eyes: divide by 10 when the best error of the last ``patience`` epochs is not below the best
    before them, count afresh after each drop, at most ``max_drops`` times (three in the paper).
    """
    if isinstance(recipe.drops, str):  # "plateau"
        drops = len(plateau_drops(recipe, validation_errors[:epoch]))
    else:
        drops = sum(epoch >= at for at in recipe.drops)
    return recipe.lr / 10**drops


def plateau_drops(recipe: OptimRecipe, errors: Iterable[float]) -> list[int]:
    """The epochs (from 0) from which on the rate is a tenth, by the rule of :func:`learning_rate`."""
    drops: list[int] = []
    best, since = float("inf"), 0
    for epoch, error in enumerate(errors):
        best, since = (error, 0) if error < best else (best, since + 1)
        if since >= recipe.patience and len(drops) < recipe.max_drops:
            drops.append(epoch + 1)
            since = 0
    return drops
