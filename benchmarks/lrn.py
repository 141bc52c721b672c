"""Response normalisation, forward and backward, at the sizes of the paper's net; channels_last, float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from benchmarks.timing import Result, compare, copy_rate
from paperlib.nets.lrn import LocalResponseNorm

SHAPES = {"layer 1": (32, 96, 55, 55), "layer 2": (32, 256, 27, 27)}
AIMS = {"layer 1": 6.0, "layer 2": 4.0}


def there_and_back(norm: Callable[[Tensor], Tensor], x: Tensor, g: Tensor) -> Callable[[], object]:
    """Forward and backward through ``norm``."""

    def work() -> None:
        x.grad = None
        norm(x).backward(g)

    return work


def run() -> Iterator[Result]:
    """Ours against ``torch.nn.LocalResponseNorm``."""
    rate = copy_rate()
    stock = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
    for layer, shape in SHAPES.items():
        x = torch.randn(shape).to(memory_format=torch.channels_last).requires_grad_()
        g = torch.randn(shape).to(memory_format=torch.channels_last)
        least = 5 * x.numel() * 4 / rate  # x read and y written, then x and the gradient read, the gradient written
        theirs = there_and_back(stock, x, g)
        what = f"LRN of {layer}, {'x'.join(map(str, shape))}, forward and backward"
        ours = there_and_back(LocalResponseNorm(), x, g)
        yield compare(what, "nn.LocalResponseNorm", ours, theirs, aim=AIMS[layer], reference=least)
