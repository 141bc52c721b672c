"""A GPU that only keeps account of devices: shapes and places of tensors are right, their numbers do not exist."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode

READ = {Tensor.item: 1.0, Tensor.__bool__: True, Tensor.__float__: 1.0, Tensor.__int__: 1}
"""What a number that is read from the pretended GPU is."""


class PretendedGPU(TorchFunctionMode):
    """While it lasts, ``.to("cuda")`` gives a fake tensor there, and ``.cpu()`` of one a real tensor of zeros.

    An operation on tensors of both devices raises, as on a real GPU. Tensors on the CPU stay real.
    Backward passes do not work here.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.moved: list[tuple[int, ...]] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        named = dict(kwargs or {})
        where = [str(each) for each in (*args[1:], *named.values()) if isinstance(each, str | torch.device)]
        to_gpu = any(each.startswith("cuda") for each in where)
        if args and isinstance(args[0], FakeTensor):
            if func in READ:
                return READ[func]
            if func is Tensor.cpu or (func is Tensor.to and "cpu" in where):
                return torch.zeros(args[0].shape, dtype=args[0].dtype)
            if func is Tensor.new_tensor:
                named = {"dtype": args[0].dtype, "device": args[0].device}
                func, args, to_gpu = torch.full, ((), args[1]), True
        elif func is Tensor.pin_memory:
            return args[0]
        elif func is Tensor.to and to_gpu:
            self.moved.append(tuple(args[0].shape))
            args = (self.fake.from_tensor(args[0].detach()), *args[1:])
        with self.fake if to_gpu else nullcontext():
            found = func(*args, **named)
        self.fake.fake_tensor_converter.meta_converter.tensor_memo.clear()  # else Module.to refuses
        return found
