"""The record and the checkpoints of a run while it trains, and the state from which it goes on."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import nn

from paperlib import files
from paperlib.errors import PaperlibError
from paperlib.training import checkpoints, records, towers
from paperlib.training.optim import PaperSGD
from paperlib.training.processes import ALONE, Topology
from paperlib.training.records import Line
from paperlib.training.runs import Run


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

    def as_json(self) -> Line:
        return {**vars(self), "epoch_sums": vars(self.epoch_sums), "window_sums": vars(self.window_sums)}

    @classmethod
    def from_json(cls, data: Line) -> State:
        sums = {name: Sums(**data[name]) for name in ("epoch_sums", "window_sums")}
        return cls(**{**data, **sums})


class Journal:
    """Record and checkpoints of one run in its directory; without a directory the lines stay in memory.

    Of several processes, rank 0 alone has the directory.
    """

    def __init__(self, run: Run, directory: Path | None, about: dict[str, Any], topology: Topology = ALONE) -> None:
        self.run, self.directory, self.topology = run, directory if topology.rank == 0 else None, topology
        data_name = about.pop("data_name")
        self.first: Line = {
            "kind": "run", "format": records.FORMAT, "id": run.id, **about, "seed": run.seed, "config": run.config,
            "data": {"name": data_name, "fingerprint": run.data},
            "code": records.code_version(), "env": records.environment() | topology.provenance(),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }  # fmt: skip
        self.lines: list[Line] = []

    @property
    def finished(self) -> bool:
        return records.status(self.lines) != "unfinished"

    @property
    def path(self) -> Path:
        assert self.directory is not None
        return self.directory / "record.jsonl"

    def __enter__(self) -> Journal:
        if self.directory is None:
            return self
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self.lock = FileLock(self.directory / "lock")
            self.lock.acquire(timeout=0)
        except Timeout:
            raise PaperlibError(
                f"another process is training in {self.directory}; wait for it or use another folder"
            ) from None
        except OSError as error:
            raise PaperlibError(
                f"cannot write into {self.directory}: {error.strerror or error}; "
                "choose another folder with PAPERLIB_RUNS"
            ) from None
        try:
            self.lines = self.lines_so_far()
        except BaseException:  # nobody calls __exit__ where __enter__ fails
            self.lock.release()
            raise
        return self

    def lines_so_far(self) -> list[Line]:
        """The record as it stands, empty where there is none."""
        if not records.begun(self.path):
            return []
        lines = records.read_record(self.path)
        if lines[0].get("id") != self.run.id:
            raise PaperlibError(
                f"{self.path} is the record of another run "
                f"({str(lines[0].get('id'))[:12]}, not {self.run.id[:12]}); use another folder"
            )
        return lines

    def __exit__(self, *_: object) -> None:
        if self.directory is not None:
            self.lock.release()

    def restore(self, net: nn.Module, optimiser: PaperSGD | None) -> State:
        """Put the newest checkpoint into ``net`` and ``optimiser``; a record that ran ahead of it is cut back to it.

        Raises :class:`PaperlibError` where there are a record and checkpoints, and none of these can be used. Where the
        record was deleted, the run begins anew.
        """
        found = checkpoints.load_checkpoint(self.directory, self.run.id, self.fits) if self.directory else None
        if not self.finished and self.directory:
            if found is None and self.path.exists() and any(self.directory.glob("step-*.json")):
                raise PaperlibError(
                    f"no checkpoint in {self.directory} is whole and fits its record: put back what was damaged, or "
                    "delete record.jsonl there and run again, which trains anew"
                )
            checkpoints.drop_checkpoints(self.directory, after=found[0] if found else -1)
        if found is None:
            if not self.finished:
                self.rewrite(b"")
                self.write(self.first)
            return State()
        _, tensors, saved = found
        with torch.no_grad():
            for name, parameter in net.state_dict().items():
                parameter.copy_(tensors[f"weights/{name}"])
            for name, velocity in (optimiser.velocity if optimiser else {}).items():
                velocity.copy_(tensors[f"velocity/{name}"])
        state = State.from_json(saved)
        if not self.finished:
            self.rewrite(self.path.read_bytes()[: state.record_bytes])
            self.lines = records.read_record(self.path)
        return state

    def fits(self, step: int, state: Line) -> bool:
        """Whether the record, unless it is finished, reaches as far as it did at a checkpoint."""
        return self.finished or self.size() >= int(state["record_bytes"])

    def size(self) -> int:
        """Bytes of the record."""
        return self.path.stat().st_size if self.path.exists() else 0

    def rewrite(self, content: bytes) -> None:
        if self.directory is not None:
            files.write_whole(self.path, content)
        self.lines = []

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

    def checkpoint(self, net: nn.Module, optimiser: PaperSGD, state: State) -> None:
        """Save all that the next update depends on, as the one-process net has it."""
        weights, velocity = (towers.gather(t, self.topology) for t in (net.state_dict(), optimiser.velocity))
        if self.directory is None:
            return
        files.sync(self.path)
        state.record_bytes = self.size()
        tensors = {f"weights/{n}": t for n, t in weights.items()}
        tensors |= {f"velocity/{n}": t for n, t in velocity.items()}
        checkpoints.save_checkpoint(self.directory, self.run.id, state.step, tensors, state.as_json())
