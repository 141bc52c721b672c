"""The processes of one training: who they are, what they tell each other, and what they say when one is gone.

The two towers of a net are two processes (:mod:`towers`), and several such pairs share out the data. Without
torchrun there is one process, :data:`ALONE`, for which everything here costs nothing.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from paperlib.errors import PaperlibError

T = TypeVar("T")

TIMEOUT = 120.0
"""Seconds that a process waits for another one. Between two exchanges lies at most a checkpoint or a test batch."""

TORCHRUN = "torchrun --standalone --nproc-per-node={} -m paperlib train EXPERIMENT ARM --scale SCALE --towers {}"


@dataclass(frozen=True)
class Topology:
    """The place of this process among ``towers`` x ``data``: which half of the net, and which rows of each batch.

    Ranks that hold the towers of one net lie side by side: rank = data_rank * towers + tower. The default is the one
    process that needs no others; all methods work there and cost nothing. ``traffic`` counts the bytes this process
    sent, by the layer they were for, and the gradients it put into the sum over the data as "gradients".
    """

    towers: int = 1
    data: int = 1
    rank: int = 0
    timeout: float = TIMEOUT
    store: dist.Store | None = None  # where ranks leave notes for each other
    data_group: dist.ProcessGroup | None = None  # who holds the same tower
    traffic: Counter[str] = field(default_factory=Counter)

    @property
    def world(self) -> int:
        """Number of processes."""
        return self.towers * self.data

    @property
    def tower(self) -> int:
        """0 is the upper tower of Figure 2, which has the first half of the maps."""
        return self.rank % self.towers

    @property
    def data_rank(self) -> int:
        """Which share of each batch is this process's."""
        return self.rank // self.towers

    @property
    def other_tower(self) -> int:
        """Rank of the process with the other half of this net."""
        return self.rank + 1 - 2 * self.tower

    def describe(self, *ranks: int) -> str:
        """Ranks in words."""
        return " and ".join(
            f"rank {rank} of {self.world} (tower {rank % self.towers}, data {rank // self.towers})" for rank in ranks
        )

    def provenance(self) -> dict[str, str]:
        """What a record says of it: the last digits of sums depend on it, as on the number of threads."""
        return {"processes": f"{self.towers} towers x {self.data}"} if self.world > 1 else {}

    # what is shared out

    def rows(self, batch: Tensor) -> Tensor:
        """This process's rows of a global batch."""
        return batch.chunk(self.data)[self.data_rank]

    def half(self, whole: Tensor, dim: int = 0) -> Tensor:
        """This tower's part of a tensor; every weight and bias is shared out by its outputs, dimension 0."""
        return whole.chunk(self.towers, dim)[self.tower]

    # what the processes tell each other

    def swap(self, x: Tensor, layer: str = "") -> Tensor:
        """Send ``x`` (B, C, ...) to the other tower and take its tensor of the same shape in return.

        Counted as traffic of ``layer``; what is sent for none is no part of an update.
        """
        sent = x.movedim(1, -1).contiguous()  # channels last, as the maps are
        received = torch.empty_like(sent)
        ops = [dist.P2POp(dist.isend, sent, self.other_tower), dist.P2POp(dist.irecv, received, self.other_tower)]
        with self.answered():
            for work in dist.batch_isend_irecv(ops):
                work.wait()
        if layer:
            self.traffic[layer] += sent.numel() * sent.element_size()
        return received.movedim(-1, 1)

    def average_gradients(self, net: nn.Module) -> None:
        """The mean over the shares of the batch: of a loss that is a mean over equal shares, the whole's gradient."""
        if self.data == 1:
            return
        gradients = [p.grad for p in net.parameters() if p.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in gradients])  # one message instead of many
        with self.answered():
            dist.all_reduce(flat, group=self.data_group)
        self.traffic["gradients"] += flat.numel() * flat.element_size()
        flat /= self.data
        for g, mean in zip(gradients, flat_like(flat, gradients), strict=True):
            g.copy_(mean)

    def total(self, *values: float) -> list[float]:
        """Sums over all processes, the same bits on each: what they decide by must not differ in a last digit."""
        if self.world == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64)
        with self.answered():
            dist.all_reduce(sums)
        return [float(x) for x in sums.tolist()]

    def agreed(self, mine: bool) -> bool:
        """What rank 0 says; the others' answers do not count."""
        return bool(self.total(float(mine and self.rank == 0))[0])

    def same(self, value: T) -> T:
        """Rank 0's plain data, on every rank."""
        if self.world == 1:
            return value
        held: list[Any] = [value]
        with self.answered():
            dist.broadcast_object_list(held, src=0, device=torch.device("cpu"))
        out: T = held[0]
        return out

    def refuse_unlike(self, value: Any, complaint: str) -> None:
        """Raise :class:`PaperlibError` on every rank where plain data of some differ from rank 0's; it names them."""
        differs = value != self.same(value)
        votes = self.total(*(float(differs and rank == self.rank) for rank in range(self.world)))
        if others := [rank for rank, vote in enumerate(votes) if vote]:
            raise PaperlibError(f"{self.describe(*others)} {complaint}")

    @torch.no_grad()
    def copy_from_first(self, tensors: Mapping[str, Tensor]) -> None:
        """Overwrite tensors with those of rank 0."""
        for tensor in tensors.values() if self.world > 1 else ():
            message = tensor.detach().contiguous()
            with self.answered():
                dist.broadcast(message, src=0)
            tensor.copy_(message)

    # when one of them is gone

    @contextmanager
    def answered(self) -> Iterator[None]:
        """Turn the failure of an exchange into a sentence that names who did not answer."""
        try:
            yield
        except RuntimeError as error:  # what torch raises for a closed connection and for a timeout
            silent = self.silent()
            if not silent:
                raise PaperlibError(f"an exchange between processes failed: {str(error).splitlines()[0]}") from None
            raise PaperlibError(
                f"{self.describe(*silent)} died, or hung for more than {self.timeout:g} s; "
                "start the job again, it goes on from the last checkpoint"
            ) from None

    def silent(self) -> list[int]:
        """The ranks that do not report after a failure.

        Gloo tells only the neighbours of a process that died. The others find out when their own exchange has waited
        for the timeout, and they may have computed until then, for as long again at most: so the call is that long.
        """
        if self.world == 2:
            return [1 - self.rank]
        return roll_call(self.store, "alive", self.rank, self.world, 2 * self.timeout) if self.store else []


def rounds(batches: Sequence[T], share: int, shares: int) -> Iterator[T | None]:
    """The batch of a share in each round, None where the last round has none for it.

    Who meets the others after each round waits for them for a batch at most, and not for their whole share.
    """
    for first in range(0, len(batches), shares):
        yield batches[first + share] if first + share < len(batches) else None


def flat_like(flat: Tensor, tensors: Iterable[Tensor]) -> list[Tensor]:
    """One row of numbers cut into the shapes of ``tensors``."""
    shapes = [tensor.shape for tensor in tensors]
    return [part.view(shape) for part, shape in zip(flat.split([s.numel() for s in shapes]), shapes, strict=True)]


ALONE = Topology()
"""One process."""


def roll_call(store: dist.Store, word: str, rank: int, world: int, timeout: float) -> list[int]:
    """Report under ``word`` and wait until everybody has; gives the ranks that have not within ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    try:
        store.set(f"{word}/{rank}", "here")
        while absent := [other for other in range(world) if not store.check([f"{word}/{other}"])]:
            if time.monotonic() > deadline:
                return absent
            time.sleep(0.02)
    except RuntimeError:  # rank 0 kept the store and is gone
        return [0]
    return []


@contextmanager
def joined(
    towers: int, timeout: float = TIMEOUT, meeting: str = "env://", rank: int = -1, world: int = -1
) -> Iterator[Topology]:
    """Meet the other processes of this job; leave them at the end.

    ``meeting`` is an address of ``torch.distributed``; the default reads torchrun's variables. All other ranks must
    come within ``timeout`` seconds. Raises :class:`PaperlibError`, which names those that do not.
    """
    rank = int(os.environ.get("RANK", 0)) if rank < 0 else rank
    world = int(os.environ.get("WORLD_SIZE", 1)) if world < 0 else world
    check_counts(towers, world)
    if world == 1:
        yield Topology(timeout=timeout)
        return
    if meeting != "env://" or os.environ.get("LOCAL_WORLD_SIZE") == str(world):  # all on this machine
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    wait = timedelta(seconds=timeout)
    # with a GPU, tensors there go by NCCL, and agreements, which live on the CPU, by gloo
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        store, _, _ = next(dist.rendezvous(meeting, rank, world, timeout=wait))
    except RuntimeError as error:
        raise PaperlibError(
            f"rank {rank} did not find the others at {meeting} within {timeout:g} s: {str(error).splitlines()[0]}"
        ) from None
    if absent := roll_call(store, "joined", rank, world, timeout):
        names = " and ".join(f"rank {other}" for other in absent)
        raise PaperlibError(f"{names} of {world} did not join within {timeout:g} s; start the job again")
    topology = Topology(towers, world // towers, rank, timeout, store)
    try:
        with topology.answered():
            dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=wait)
            topology = replace(topology, data_group=data_group_of(rank, towers, world, wait))
        yield topology
    finally:
        leave()


def check_counts(towers: int, world: int) -> None:
    """Refuse numbers of processes that make no whole pairs of towers."""
    if towers not in (1, 2):
        raise PaperlibError(f"the net of the paper has two towers: --towers takes 1 or 2, not {towers}")
    if towers > world:
        raise PaperlibError(f"two towers are two processes, and this is one: {TORCHRUN.format(2, 2)}")
    if world % towers:
        raise PaperlibError(f"{world} processes are no whole number of pairs of towers; start an even number of them")


def data_group_of(rank: int, towers: int, world: int, wait: timedelta) -> dist.ProcessGroup | None:
    """The group of those with the same tower as ``rank``; None where they are all, or this one alone."""
    if towers in (1, world):
        return None
    groups = [dist.new_group(list(range(tower, world, towers)), timeout=wait) for tower in range(towers)]
    mine = groups[rank % towers]
    assert isinstance(mine, dist.ProcessGroup)  # as this rank is one of its members
    return mine


def leave() -> None:
    """Close the connections to the other processes."""
    if dist.is_initialized():
        dist.destroy_process_group()


# ---------------------------------------------------------------------------------------------------------
# Processes on this machine, for tests and notebooks


def launch(
    job: Callable[..., T],
    *args: Any,
    towers: int = 2,
    data: int = 1,
    timeout: float = TIMEOUT,
    context: BaseContext | None = None,
) -> list[T]:
    """``job(topology, *args)`` in each of ``towers`` x ``data`` processes; gives their results by rank.

    ``job`` is a function of a module, its arguments and result are plain data. They meet through a file and talk
    over the loopback interface.
    """
    world = towers * data
    context = context or multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(world, mp_context=context) as pool:
        place = (towers, timeout, f"file://{Path(folder) / 'meeting'}")
        ranks = [pool.submit(_join_and_do, job, args, place, rank, world) for rank in range(world)]
        return [each.result() for each in ranks]


def _join_and_do(job: Callable[..., T], args: Sequence[Any], place: tuple[int, float, str], rank: int, world: int) -> T:
    torch.set_num_threads(1)
    with joined(*place, rank=rank, world=world) as topology:
        return job(topology, *args)
