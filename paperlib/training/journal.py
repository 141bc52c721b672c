"""A run on the disk while it trains: its record, its checkpoints, and the state from which it resumes."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import BaseFileLock
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
    """Everything besides weights and velocities that the next update depends on, and where the run was computed."""

    step: int = 0
    epoch_sums: Sums = field(default_factory=Sums)
    window_sums: Sums = field(default_factory=Sums)
    test_errors: list[float] = field(default_factory=list)
    seconds: float = 0.0
    record_bytes: int = 0
    record_sha256: str = ""  # of that many bytes of the record; empty in checkpoints made before it was introduced
    stretches: list[Line] = field(default_factory=list)  # see records.stretches
    ended: str = ""  # the status, once the run is over and only its last lines are missing

    def add(self, loss: float, wrong: int, seen: int) -> None:
        """Count one update on ``seen`` images; a loss that is not a number ends the run."""
        self.step += 1
        if not math.isfinite(loss):
            self.ended = "diverged"
            return
        self.epoch_sums.add(loss, wrong, seen)
        self.window_sums.add(loss, wrong, seen)

    def as_json(self) -> Line:
        return {**vars(self), "epoch_sums": vars(self.epoch_sums), "window_sums": vars(self.window_sums)}

    @classmethod
    def from_json(cls, data: Line, first: Line) -> State:
        """The state in a checkpoint of the run whose record begins with ``first``. Raises ValueError for no state.

        Checkpoints made before there were stretches name processes, device and compiler alone.
        """
        given = {name: value for name, value in data.items() if name not in ("processes", "means")}
        try:
            sums = {name: Sums(**data[name]) for name in ("epoch_sums", "window_sums")}
            state = cls(**{**given, **sums})
            for part, plain in ((state, cls()), (state.epoch_sums, Sums()), (state.window_sums, Sums())):
                for name, value in vars(plain).items():
                    if not isinstance(getattr(part, name), (float, int) if isinstance(value, float) else type(value)):
                        raise TypeError
            if not records.are_stretches(state.stretches) or not all(isinstance(e, float) for e in state.test_errors):
                raise TypeError
            if not state.stretches and state.step:
                env = first["env"] | data.get("means", {})
                env |= {"processes": data["processes"]} if data.get("processes") else {}
                state.stretches = [{"step": 0, "code": first["code"], "env": env}]
        except (TypeError, KeyError, AttributeError):
            raise ValueError("it is not the state of a run") from None
        return state

    @classmethod
    def is_one(cls, data: Line, first: Line) -> bool:
        """Whether :meth:`from_json` takes these data."""
        try:
            cls.from_json(data, first)
        except ValueError:
            return False
        return True

    def continue_with(self, code: Line, env: Line) -> None:
        """Begin a stretch where the code or the environment is another one than before."""
        if not self.stretches or (code, env) != (self.stretches[-1]["code"], self.stretches[-1]["env"]):
            self.stretches.append({"step": self.step, "code": code, "env": env})


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
        self.tensors: dict[str, Tensor] | None = None

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
            self.lines, state = self.topology.same((self.lines, self.state.as_json()))
            self.state = State.from_json(state, self.first)
        except BaseException:  # nobody calls __exit__ where __enter__ fails
            self.__exit__()
            raise
        self.state.continue_with(self.first["code"], self.first["env"])
        return self

    def __exit__(self, *_: object) -> None:
        if self.directory is not None:
            self.lock.release()

    def read(self, directory: Path) -> None:
        """Read the record and the newest checkpoint that fits it.

        Raises :class:`PaperlibError` where they are another run's, or no checkpoint can be used. Where the record was
        deleted, the run begins anew.
        """
        if records.begun(self.path):
            self.lines = records.read_record(self.path)
            if self.lines[0]["id"] != self.first["id"]:
                raise PaperlibError(
                    f"{self.path} is the record of another run "
                    f"({self.lines[0]['id'][:12]}, not {self.first['id'][:12]}); use another folder"
                )
        found = checkpoints.load_checkpoint(directory, self.first["id"], self.fits)
        if found is not None:
            _, self.tensors, saved = found
            self.state = State.from_json(saved, self.lines[0])
        elif not self.finished and self.path.is_file() and checkpoints.steps(directory):
            raise PaperlibError(
                f"no checkpoint in {directory} is whole and fits its record: restore the damaged files, or "
                "delete record.jsonl there and run again, which trains anew"
            )

    def fits(self, saved: Line) -> bool:
        """Whether the record, unless it is finished, begins as it was at a checkpoint."""
        try:
            state = State.from_json(saved, self.lines[0] if self.lines else self.first)
        except ValueError:
            return False
        content = self.path.read_bytes()[: state.record_bytes] if self.path.is_file() else b""
        as_then = state.record_sha256 in ("", hashlib.sha256(content).hexdigest())
        return self.finished or (len(content) == state.record_bytes and as_then)

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
        """Append one line to the record; the end line with the checksum of all lines."""
        self.lines.append(line)
        if line["kind"] == "end":
            self.lines = records.sealed(self.lines)
        if self.directory is None:
            return
        with self.writing(), self.path.open("a") as file:
            file.write(records.as_text(self.lines[-1]))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn an error of the disk into a sentence."""
        try:
            yield
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
            with self.writing(), self.path.open("rb") as file:
                os.fsync(file.fileno())  # or the checkpoint could outlive the lines that it knows of
                content = file.read()
            self.state.record_bytes, self.state.record_sha256 = len(content), hashlib.sha256(content).hexdigest()
            tensors = {f"weights/{n}": t for n, t in weights.items()}
            tensors |= {f"velocity/{n}": t for n, t in velocity.items()}
            state = self.state.as_json()
            checkpoints.save_checkpoint(self.directory, self.first["id"], self.state.step, tensors, state)
        self.saved = time.perf_counter()


def locked(directory: Path) -> BaseFileLock:
    """Make a directory and lock it for this process; raises :class:`PaperlibError` where that cannot be."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return files.locked(directory / "lock", f"another process is training in {directory}")
    except OSError as error:
        raise PaperlibError(
            f"cannot write into {directory}: {error.strerror or error}; choose another folder with PAPERLIB_RUNS"
        ) from None
