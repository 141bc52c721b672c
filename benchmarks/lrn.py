"""Response normalisation, forward and backward, at the sizes of the paper's net; channels_last, float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from benchmarks.timing import Result, Work, compare, copy_rate
from paperlib.nets.lrn import LocalResponseNorm, local_response_norm
from paperlib.nets.lrn_cpu import compiler, use_compiler

SHAPES = {"layer 1": (32, 96, 55, 55), "layer 2": (32, 256, 27, 27)}
AIMS = {"layer 1": 6.0, "layer 2": 4.0}
COMPILED_AIM = 8.0


def there_and_back(norm: Callable[[Tensor], Tensor], x: Tensor, g: Tensor) -> Callable[[], object]:
    """Forward and backward through ``norm``."""

    def work() -> None:
        x.grad = None
        norm(x).backward(g)

    return work


def with_compiler(work: Work) -> Work:
    """The same work, with our normalisation compiled."""

    def compiled() -> object:
        use_compiler()
        try:
            return work()
        finally:
            use_compiler(False)

    return compiled


def run() -> Iterator[Result]:
    """Ours, ours compiled, and the formula as it is written, compiled, against ``torch.nn.LocalResponseNorm``."""
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
        if compiler():
            work = with_compiler(ours)
            yield compare(f"{what}, compiled", "nn.LocalResponseNorm", work, theirs, aim=COMPILED_AIM, reference=least)
            work = there_and_back(torch.compile(local_response_norm), x, g)
            yield compare(f"{what}, the formula compiled", "nn.LocalResponseNorm", work, theirs, reference=least)
