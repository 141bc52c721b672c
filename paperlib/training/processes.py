"""The processes of one training: their places in the job, what they exchange, and errors when one of them dies.

The two towers of a net are two processes (:mod:`towers`), and several such pairs share out the data. Without torchrun
there is one process, :data:`ALONE`, for which everything here costs nothing.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import socket
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from tqdm import tqdm

from paperlib.errors import PaperlibError
from paperlib.machine import lacks_memory, whole_number

T = TypeVar("T")

TIMEOUT = 120.0
"""Seconds that a process waits for another one. Between two exchanges lies at most a checkpoint or a test batch."""
LONGEST_WAIT = 7 * 24 * 3600.0

LACKS_MEMORY = "too little memory: free some or use fewer processes, then run the same command to resume"

TORCHRUN = "torchrun --standalone --nproc-per-node={} -m paperlib train EXPERIMENT ARM --scale SCALE --towers {}"


@dataclass(frozen=True)
class Topology:
    """The place of this process among ``towers`` x ``data``: which half of the net, and which rows of each batch.

    The towers of one net have neighbouring ranks: rank = data_rank * towers + tower. The default is a single process,
    where all methods work and cost nothing. ``traffic`` counts the bytes that this process sent, by layer; what it put
    into the sum over the data is "gradients".
    """

    towers: int = 1
    data: int = 1
    rank: int = 0
    timeout: float = TIMEOUT
    data_group: dist.ProcessGroup | None = None  # the processes with the same tower
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
        """What a record says of the processes: the last digits of sums depend on them, as on the number of threads."""
        return {"processes": f"{self.towers} towers x {self.data}"} if self.world > 1 else {}

    # what is shared out

    def rows(self, batch: Tensor) -> Tensor:
        """This process's rows of a global batch."""
        return batch.chunk(self.data)[self.data_rank]

    def half(self, whole: Tensor, dim: int = 0) -> Tensor:
        """This tower's half of a tensor; weights and biases are divided by their outputs, dimension 0."""
        return whole.chunk(self.towers, dim)[self.tower]

    # what the processes exchange

    def swap(self, x: Tensor, layer: str = "") -> Tensor:
        """Send ``x`` (B, C, ...) to the other tower and receive its tensor of the same shape.

        Counted as traffic of ``layer``, where one is named.
        """
        sent = x.movedim(1, -1).contiguous()  # channels last, as the maps are
        received = torch.empty_like(sent)
        ops = [dist.P2POp(dist.isend, sent, self.other_tower), dist.P2POp(dist.irecv, received, self.other_tower)]
        with self.answered(self.other_tower):
            for work in dist.batch_isend_irecv(ops):
                work.wait()
        if layer:
            self.traffic[layer] += sent.numel() * sent.element_size()
        return received.movedim(-1, 1)

    def average_gradients(self, net: nn.Module) -> None:
        """Replace the gradients of this share of the batch by their mean over all shares: those of the whole batch."""
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
        """Sums over all processes, with the same bits on each: decisions that follow from them must not differ."""
        if self.world == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64)
        with self.answered():
            dist.all_reduce(sums)
        return [float(x) for x in sums.tolist()]

    def agreed(self, mine: bool) -> bool:
        """The answer of rank 0; those of the others do not count."""
        return bool(self.total(float(mine and self.rank == 0))[0])

    def same(self, value: T) -> T:
        """Rank 0's JSON data, on every rank."""
        if self.world == 1:
            return value
        text = json.dumps(value).encode() if self.rank == 0 else b""
        (size,) = self.total(len(text))
        message = torch.tensor(list(text), dtype=torch.uint8) if text else torch.empty(int(size), dtype=torch.uint8)
        with self.answered():
            dist.broadcast(message, src=0)
        out: T = json.loads(message.numpy().tobytes())
        return out

    def refuse_unlike(self, value: Any, complaint: str) -> None:
        """Raise :class:`PaperlibError` on every rank where some have other JSON data than rank 0; it names them."""
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

    @contextmanager
    def answered(self, *ranks: int) -> Iterator[None]:
        """Turn the failure of an exchange into a :class:`PaperlibError` that names ``ranks``, or the only other one."""
        try:
            yield
        except RuntimeError as error:  # torch's, for a closed connection and for a timeout
            ranks = (1 - self.rank,) if self.world == 2 else ranks
            raise PaperlibError(
                f"{self.describe(*ranks) or 'another process of this job'} died, or hung for more than "
                f"{self.timeout:g} s ({str(error).splitlines()[0]}); start the job again to resume from the last "
                "checkpoint"
            ) from None


def rounds(batches: Sequence[T], share: int, shares: int) -> Iterator[T | None]:
    """The batch of a share in each round; None where the last round has none for it.

    Processes that meet after each round wait for one batch at most, and not for a whole share.
    """
    for first in range(0, len(batches), shares):
        yield batches[first + share] if first + share < len(batches) else None


def flat_like(flat: Tensor, tensors: Iterable[Tensor]) -> list[Tensor]:
    """A flat tensor cut into parts with the shapes of ``tensors``."""
    shapes = [tensor.shape for tensor in tensors]
    return [part.view(shape) for part, shape in zip(flat.split([s.numel() for s in shapes]), shapes, strict=True)]


ALONE = Topology()
"""One process."""


ADDRESS = re.compile(r"[\w.-]+|[0-9a-fA-F.]*:[0-9a-fA-F.]*:[0-9a-fA-F.:]*(%[\w.-]+)?")
"""The name of a host or its address, of IPv4 or IPv6, without a port."""


def place_in_job() -> tuple[int, int]:
    """Rank of this process and number of processes by torchrun's variables; (0, 1) where they are unset or blank.

    Raises :class:`PaperlibError` where they do not name a place in a job.
    """
    world, rank = whole_number("WORLD_SIZE", at_least=1), whole_number("RANK")
    if world in (None, 1) and rank in (None, 0):
        return 0, 1
    if world is None or rank is None or rank >= world:
        have = ", ".join(f"{name} {'unset' if n is None else n}" for name, n in (("RANK", rank), ("WORLD_SIZE", world)))
        raise PaperlibError(f"the environment has {have}: start the job with torchrun, or unset both")
    address, port = os.environ.get("MASTER_ADDR", ""), whole_number("MASTER_PORT", 1, 65535)
    if not ADDRESS.fullmatch(address) or not port:
        raise PaperlibError(
            "MASTER_ADDR and MASTER_PORT must say where the processes meet, a host's name or address and a port, not "
            f"{address[:60]!r} and {port}: start the job with torchrun"
        )
    return rank, world


@contextmanager
def joined(
    towers: int, timeout: float = TIMEOUT, meeting: str = "env://", place: tuple[int, int] | None = None
) -> Iterator[Topology]:
    """Meet the other processes of this job; leave them at the end.

    ``meeting`` is an address of ``torch.distributed``, and ``place`` the rank and the number of processes; the default
    reads torchrun's variables. Raises :class:`PaperlibError` where not all ranks come within ``timeout`` seconds.
    """
    rank, world = place or place_in_job()
    check_counts(towers, world)
    if not 0 < timeout <= LONGEST_WAIT:
        raise PaperlibError(f"--timeout takes at most {LONGEST_WAIT:,.0f} seconds, a week, not {timeout:g}")
    if world == 1:
        yield Topology(timeout=timeout)
        return
    if meeting != "env://" or os.environ.get("LOCAL_WORLD_SIZE") == str(world):  # all on this machine
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
        if meeting == "env://" and not resolves(os.environ["MASTER_ADDR"]):
            os.environ["MASTER_ADDR"] = "127.0.0.1"
    wait = timedelta(seconds=timeout)
    # with a GPU, tensors there go by NCCL, and agreements, which live on the CPU, by gloo
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        try:
            dist.init_process_group(backend, init_method=meeting, rank=rank, world_size=world, timeout=wait)
            group = data_group_of(rank, towers, world, wait)
        except (RuntimeError, ValueError) as error:
            raise PaperlibError(
                f"rank {rank} did not meet all {world} processes within {timeout:g} s "
                f"({str(error).splitlines()[0]}); start the job again"
            ) from None
        yield Topology(towers, world // towers, rank, timeout, group)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def resolves(host: str) -> bool:
    """Whether a host name has an address. In some containers this host's own name, which torchrun takes, has none."""
    try:
        return bool(socket.getaddrinfo(host, None))
    except OSError:
        return False


def check_counts(towers: int, world: int) -> None:
    """Refuse numbers of processes that are not whole pairs of towers."""
    if towers not in (1, 2):
        raise PaperlibError(f"the net of the paper has two towers: --towers takes 1 or 2, not {towers}")
    if towers > world:
        raise PaperlibError(f"two towers are two processes, and this is one: {TORCHRUN.format(2, 2)}")
    if world % towers:
        raise PaperlibError(
            f"{world} processes are not a whole number of pairs of towers; start an even number of them"
        )


def data_group_of(rank: int, towers: int, world: int, wait: timedelta) -> dist.ProcessGroup | None:
    """The group of processes with the same tower as ``rank``; None where that is all of them, or only this one."""
    if towers in (1, world):
        return None
    groups = [dist.new_group(list(range(tower, world, towers)), timeout=wait) for tower in range(towers)]
    mine = groups[rank % towers]
    assert isinstance(mine, dist.ProcessGroup)  # as this rank is one of its members
    return mine


# ---------------------------------------------------------------------------------------------------------
# Processes on this machine


class Child(Generic[T]):
    """A process that makes one call, ``job(*args)`` with one torch thread, and gives its result.

    ``job`` is a function of a module; arguments and result are plain data. Ctrl-C does not reach the process: whoever
    started it ends it. It also ends with this process.
    """

    def __init__(self, name: str, job: Callable[..., T], *args: Any, context: BaseContext | None = None) -> None:
        self.name = name
        made: Any = context or multiprocessing.get_context("spawn")
        self.answer, theirs = made.Pipe(duplex=False)
        self.process = made.Process(target=_answer, args=(theirs, job, args), daemon=True)
        with interrupts_held():
            self.process.start()
        theirs.close()

    def result(self) -> T:
        """The result of the call. Raises :class:`PaperlibError` where the call did, or where the process died."""
        try:
            found, error = self.answer.recv()
        except EOFError:
            self.process.join()
            code = self.process.exitcode or 0
            died = f"was ended from outside ({signal.Signals(-code).name})" if code < 0 else f"ended with code {code}"
            raise PaperlibError(
                f"{self.name} {died}, perhaps for want of memory; run the same command to resume, with fewer processes "
                "if memory is short"
            ) from None
        if error is not None:
            raise PaperlibError(error)
        out: T = found
        return out

    def end(self) -> None:
        """End the process at once: whatever it trains resumes from its last checkpoint."""
        self.process.kill()
        self.process.join()


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Meanwhile Ctrl-C waits, and processes that are started never see it, from their first moment on."""
    held: list[int] = []
    in_main = threading.current_thread() is threading.main_thread()  # Python handles signals there alone
    before = signal.signal(signal.SIGINT, lambda number, _: held.append(number)) if in_main else None
    resource_tracker.ensure_running()  # started with the first process, it would unblock the signal
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        if in_main:
            signal.signal(signal.SIGINT, before)
        if held:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread while it lasts: the last digits of a run depend on their number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _answer(answer: Connection, job: Callable[..., Any], args: Sequence[Any]) -> None:
    torch.set_num_threads(1)
    tqdm.set_lock(threading.RLock())  # its own lock is a semaphore, which a killed process leaves behind
    try:
        answer.send((job(*args), None))
    except PaperlibError as error:
        answer.send((None, str(error)))
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        answer.send((None, LACKS_MEMORY))


def launch(
    job: Callable[..., T], *args: Any, towers: int = 2, data: int = 1, context: BaseContext | None = None
) -> list[T]:
    """``job(topology, *args)`` in each of ``towers`` x ``data`` processes (:class:`Child`); gives the results by rank.

    They meet through a file and talk over the loopback interface.
    """
    world = towers * data
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"file://{Path(folder) / 'meeting'}"
        places = [(towers, TIMEOUT, meeting, (rank, world)) for rank in range(world)]
        ranks = [Child(f"rank {p[3][0]} of {world}", _join_and_do, job, args, p, context=context) for p in places]
        try:
            return [rank.result() for rank in ranks]
        finally:
            for rank in ranks:
                rank.end()


def _join_and_do(job: Callable[..., T], args: Sequence[Any], place: tuple[Any, ...]) -> T:
    with joined(*place) as topology:
        return job(topology, *args)
