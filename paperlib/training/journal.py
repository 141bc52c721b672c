"""A run on the disk while it trains: its record and its checkpoints, and the state from which it goes on."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from torch import Tensor

from paperlib import files
from paperlib.errors import PaperlibError
from paperlib.training import checkpoints, records
from paperlib.training.processes import ALONE, Topology
from paperlib.training.records import Line


@dataclass
class Sums:
    """Running sums of loss and wrong answers over some updates."""

    loss: float = 0.0
    wrong: float = 0.0
    seen: int = 0

    def add(self, loss: float, wrong: float, seen: int) -> None:
        self.loss, self.wrong, self.seen = self.loss + loss * seen, self.wrong + wrong, self.seen + seen

    def means(self) -> dict[str, float]:
        """Mean loss, and error in per cent; rounded, so that records stay short."""
        return {
            "train_loss": round(self.loss / self.seen, 6),
            "train_error": round(100 * self.wrong / self.seen, 4),
        }


@dataclass
class State:
    """Everything besides weights and velocities that the next update depends on."""

    step: int = 0
    epoch_sums: Sums = field(default_factory=Sums)
    window_sums: Sums = field(default_factory=Sums)
    test_errors: list[float] = field(default_factory=list)
    seconds: float = 0.0
    record_bytes: int = 0
    processes: str = ""  # where several had a part in it: the digits of sums depend on that
    means: dict[str, Any] = field(default_factory=dict)  # so they do on a GPU, and on compiled kernels
    ended: str = ""  # the status, once the run is over and only its last line is missing

    def add(self, loss: float, wrong: int, seen: int) -> None:
        """Count one update on ``seen`` images; a loss that is no number ends the run."""
        self.step += 1
        if not math.isfinite(loss):
            self.ended = "diverged"
            return
        self.epoch_sums.add(loss, wrong, seen)
        self.window_sums.add(loss, wrong, seen)

    def as_json(self) -> Line:
        return {**vars(self), "epoch_sums": vars(self.epoch_sums), "window_sums": vars(self.window_sums)}

    @classmethod
    def from_json(cls, data: Line) -> State:
        sums = {name: Sums(**data[name]) for name in ("epoch_sums", "window_sums")}
        return cls(**{**data, **sums})

    def goes_on_with(self, env: Line) -> None:
        """Remember the processes, the device and the compiler of a record's ``env``, beside those that were before."""
        self.processes = env.get("processes", self.processes)
        self.means |= {key: env[key] for key in ("device", "compiled") if key in env}


class Journal:
    """Record and checkpoints of one run in its directory; without a directory the lines stay in memory.

    Entering it locks the directory and reads: ``lines`` is the record so far, ``state`` and ``tensors`` are those of
    the newest checkpoint. Nothing is changed before :meth:`begin`; then come :meth:`write` and :meth:`save`. Of several
    processes, rank 0 alone has the directory and the tensors.
    """

    def __init__(
        self, first: Line, directory: Path | None = None, topology: Topology = ALONE, checkpoint_seconds: float = 60.0
    ) -> None:
        self.first, self.topology, self.checkpoint_seconds = first, topology, checkpoint_seconds
        self.directory = directory if topology.rank == 0 else None
        self.lines: list[Line] = []
        self.state = State()
        self.tensors: dict[str, Tensor] = {}

    @property
    def finished(self) -> bool:
        return records.status(self.lines) != "unfinished"

    @property
    def path(self) -> Path:
        assert self.directory is not None
        return self.directory / "record.jsonl"

    def __enter__(self) -> Journal:
        if self.directory is not None:
            self.lock = locked(self.directory)
        try:
            if self.directory is not None:
                self.read(self.directory)
            self.lines, self.state = self.topology.same((self.lines, self.state))
        except BaseException:  # nobody calls __exit__ where __enter__ fails
            self.__exit__()
            raise
        self.state.goes_on_with(self.first["env"])
        return self

    def __exit__(self, *_: object) -> None:
        if self.directory is not None:
            self.lock.release()

    def read(self, directory: Path) -> None:
        """Take in the record and the newest checkpoint that fits it.

        Raises :class:`PaperlibError` where they are another run's, or none of several checkpoints can be used. Where
        the record was deleted, the run begins anew.
        """
        if records.begun(self.path):
            self.lines = records.read_record(self.path)
            if self.lines[0].get("id") != self.first["id"]:
                raise PaperlibError(
                    f"{self.path} is the record of another run "
                    f"({str(self.lines[0].get('id'))[:12]}, not {self.first['id'][:12]}); use another folder"
                )
        found = checkpoints.load_checkpoint(directory, self.first["id"], self.fits)
        if found is not None:
            _, self.tensors, saved = found
            self.state = State.from_json(saved)
        elif not self.finished and self.path.exists() and any(directory.glob("step-*.json")):
            raise PaperlibError(
                f"no checkpoint in {directory} is whole and fits its record: put back what was damaged, or "
                "delete record.jsonl there and run again, which trains anew"
            )

    def fits(self, step: int, state: Line) -> bool:
        """Whether the record, unless it is finished, reaches as far as it did at a checkpoint."""
        return self.finished or self.size() >= int(state["record_bytes"])

    def size(self) -> int:
        """Bytes of the record."""
        return self.path.stat().st_size if self.path.exists() else 0

    def begin(self) -> None:
        """Cut a record that ran ahead of its checkpoint back to it; begin one where there is no checkpoint."""
        resumed = self.state.step > 0
        self.began, self.saved = time.perf_counter() - self.state.seconds, time.perf_counter()
        self.lines = []
        if self.directory is not None:
            checkpoints.drop_checkpoints(self.directory, after=self.state.step if resumed else -1)
            files.write_whole(self.path, self.path.read_bytes()[: self.state.record_bytes] if resumed else b"")
        if self.directory is not None and resumed:
            self.lines = records.read_record(self.path)
        else:
            self.write(self.first)

    @property
    def seconds(self) -> float:
        """Of training so far, those before an interruption included."""
        return time.perf_counter() - self.began

    def write(self, line: Line) -> None:
        """Append one line to the record."""
        self.lines.append(line)
        if self.directory is None:
            return
        try:
            with self.path.open("a") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise PaperlibError(
                f"cannot write {self.path}: {error.strerror or error}; make room and run again, "
                "nothing up to the last checkpoint is lost"
            ) from None

    @property
    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return time.perf_counter() - self.saved > self.checkpoint_seconds

    def save(self, weights: Mapping[str, Tensor], velocity: Mapping[str, Tensor]) -> None:
        """Write a checkpoint: all that the next update depends on, as the one-process net has it."""
        self.state.seconds = self.seconds
        if self.directory is not None:
            files.sync(self.path)
            self.state.record_bytes = self.size()
            tensors = {f"weights/{n}": t for n, t in weights.items()}
            tensors |= {f"velocity/{n}": t for n, t in velocity.items()}
            state = self.state.as_json()
            checkpoints.save_checkpoint(self.directory, self.first["id"], self.state.step, tensors, state)
        self.saved = time.perf_counter()


def locked(directory: Path) -> FileLock:
    """Make a directory and lock it for this process; raises :class:`PaperlibError` where that cannot be."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = FileLock(directory / "lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise PaperlibError(f"another process is training in {directory}; wait for it or use another folder") from None
    except OSError as error:
        raise PaperlibError(
            f"cannot write into {directory}: {error.strerror or error}; choose another folder with PAPERLIB_RUNS"
        ) from None
    return lock
