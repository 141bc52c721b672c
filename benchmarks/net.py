"""A training step of the full net on 224x224 images, batch 32: ours against stock modules and against torchvision."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.timing import Result, compare, matmul_rate
from paperlib.nets import sizes, table
from paperlib.nets.layers import Dropout, set_step
from paperlib.nets.lrn import LocalResponseNorm
from paperlib.recipe import ModelRecipe, Recipe, Sizes
from paperlib.training.optim import PaperSGD

BATCH = 32


def stock_modules(net: nn.Module) -> nn.Module:
    """The net with PyTorch's own modules for ours, where PyTorch has them (it has no normalisation of pixels)."""
    for name, layer in list(net.named_children()):
        if isinstance(layer, LocalResponseNorm):
            setattr(net, name, nn.LocalResponseNorm(layer.n, layer.alpha * layer.n, layer.beta, layer.k))
        elif isinstance(layer, Dropout):
            setattr(net, name, nn.Dropout(layer.p))
    return net


def step_of(
    net: nn.Module, channels_last: bool, batch: int = BATCH, sizes: Sizes = sizes.FULL_SIZES
) -> Callable[[], object]:
    """A whole update on random images; ours with the paper's rule, the others with torch.optim.SGD."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(batch, sizes.channels, sizes.crop, sizes.crop, generator=draw)
    labels = torch.randint(0, sizes.classes, (batch,), generator=draw)
    net.train()
    if channels_last:
        net, images = net.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
        ours = PaperSGD(net, Recipe.paper().optim)
    else:
        theirs = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)

    def work() -> None:
        set_step(net, 0, 0)
        for parameter in net.parameters():
            parameter.grad = None
        F.cross_entropy(net(images), labels).backward()
        ours.step(0.01) if channels_last else theirs.step()

    return work


def least_time(model: ModelRecipe, sizes: Sizes, batch: int, rate: float) -> float:
    """Seconds of an update at ``rate`` floating-point operations a second: forward, and twice as much backward."""
    return 3 * 2 * int(table.summary(model, sizes)["macs"]["sum"]) * batch / rate


def run() -> Iterator[Result]:
    """float32, since bfloat16 needs a processor that multiplies it."""
    import torchvision  # here: torchvision imports torch's compiler

    model = Recipe.paper().model
    least = least_time(model, sizes.FULL_SIZES, BATCH, matmul_rate())
    what = f"training step of the full net, batch {BATCH}"
    stock, others = "the same net from stock modules, NCHW", "torchvision's alexnet (another net, no LRN)"
    ours = step_of(table.build(model, sizes.FULL_SIZES, 0), channels_last=True)
    theirs = step_of(stock_modules(table.build(model, sizes.FULL_SIZES, 0)), channels_last=False)
    yield compare(what, stock, ours, theirs, aim=1.8, reference=least)
    theirs = step_of(torchvision.models.alexnet(weights=None), channels_last=False)
    yield compare(what, others, ours, theirs, aim=0.85, reference=least)
