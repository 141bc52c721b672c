"""The arithmetic of a training: float32, or on a GPU what is faster and rounds more. Only float32 is evidence."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

Precision = Literal["fp32", "tf32", "bf16"]


def use_precision(precision: Precision) -> None:
    """Let this process's GPU round the factors of float32 products to 10 bits with ``tf32``, and never otherwise.

    PyTorch's own default does so in convolutions.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"


def forward_in(precision: Precision, device: str) -> AbstractContextManager[object]:
    """For a forward pass and its loss: with ``bf16``, autocast to bfloat16; weights and update stay in float32."""
    return torch.autocast(device, torch.bfloat16) if precision == "bf16" else nullcontext()
