"""A run: its identity, its record as JSON lines, and its checkpoints.

A run is a pure function of (recipe, sizes, stopping rule, data fingerprint, seed) and, where it builds on others, of
what it starts from and of how many nets it is the average. Its id is the sha256 of their canonical JSON, in which
fields at their default are left out. Same id, same run.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from paperlib.errors import PaperlibError
from paperlib.recipe import Recipe, Sizes, Stop, from_dict, recipe_from_dict, to_dict

FORMAT = 1
ROOT = Path(__file__).resolve().parent.parent
Line = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One training, fully described; ``data`` is the fingerprint of the data set.

    With ``start`` its weights begin as that run's ended (those of the output layer only where the classes are the
    same; section 6, "fine-tuning"), and with ``start_rounded`` as they are recorded, rounded to half precision. With
    ``members`` above 1 it is the average of so many nets, each a run of its own (section 6, "5 CNNs").
    """

    recipe: Recipe
    sizes: Sizes
    stop: Stop
    data: str
    seed: int
    start: Run | None = None
    members: int = 1
    start_rounded: bool = False

    def __post_init__(self) -> None:
        if self.start_rounded and self.start is None:
            raise PaperlibError(
                "a run with start_rounded needs a start, the run from whose recorded weights it goes on"
            )

    @property
    def starts(self) -> list[Run]:
        """The runs that this one goes on from, the nearest first."""
        return [self.start, *self.start.starts] if self.start else []

    @property
    def first(self) -> Run:
        """The run that began from its own first weights, from which all epochs are counted: this one, or one before."""
        return [self, *self.starts][-1]

    @property
    def config(self) -> dict[str, Any]:
        """The canonical description, plain data, without fields at their default."""
        further: dict[str, Any] = {"start": self.start.config} if self.start else {}
        if self.members != 1:
            further["members"] = self.members
        if self.start_rounded:
            further["start_rounded"] = True
        return further | {
            "recipe": to_dict(self.recipe),
            "sizes": to_dict(self.sizes),
            "stop": to_dict(self.stop),
            "data": self.data,
            "seed": self.seed,
        }

    @property
    def id(self) -> str:
        """sha256 of the canonical JSON of :attr:`config`."""
        text = json.dumps(self.config, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Run:
        """The inverse of :attr:`config`."""
        return cls(
            recipe_from_dict(config["recipe"]),
            from_dict(Sizes, config["sizes"]),
            from_dict(Stop, config["stop"]),
            config["data"],
            config["seed"],
            cls.from_config(config["start"]) if "start" in config else None,
            config.get("members", 1),
            config.get("start_rounded", False),
        )

    def alone(self) -> list[Run]:
        """The runs of the single nets of an average: no two averages of other seeds share one."""
        return [replace(self, members=1, seed=self.members * self.seed + k) for k in range(self.members)]


# ---------------------------------------------------------------------------------------------------------
# Provenance


@cache
def code_version() -> dict[str, Any]:
    """Commit of this checkout, and whether tracked files of the library differ from it."""

    def git(*args: str) -> str:
        return subprocess.run(
            ["git", "-C", str(ROOT), *args], capture_output=True, text=True, check=True, timeout=20
        ).stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "dirty": bool(git("status", "--porcelain", "--untracked-files=no", "--", "paperlib")),
        }
    except (OSError, subprocess.SubprocessError):
        return {"commit": "unknown", "dirty": True}


def environment() -> dict[str, Any]:
    """What else a run may depend on in its last bits: versions, threads, processor."""
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "cpu": _cpu(),
    }


def _cpu() -> str:
    capability = torch.backends.cpu.get_cpu_capability()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name} ({capability})"


# ---------------------------------------------------------------------------------------------------------
# Records


NEEDED: dict[str, tuple[str, ...]] = {
    "run": ("id", "config"), "window": ("step", "train_loss", "train_error"), "epoch": ("epoch", "step", "train_error"),
    "test": ("views", "top1_error"), "ensemble": ("members", "top1_error"), "end": ("status", "steps"),
    "look": ("label_agreement",), "fit": ("views", "top1_error"),
}  # fmt: skip
"""What a line of each kind cannot do without."""


def read_record(path: Path) -> list[Line]:
    """The lines of a record. Raises :class:`PaperlibError` where the file is no record."""
    lines = list(_whole_lines(path))
    if not lines or lines[0].get("kind") != "run":
        raise PaperlibError(
            f"{path} is no record of a run: its first line must be of kind 'run'; delete it and run again"
        )
    if lines[0].get("format") != FORMAT:
        raise PaperlibError(
            f"{path} has record format {lines[0].get('format')}, this version reads {FORMAT}; update paperlib"
        )
    for number, line in enumerate(lines, 1):
        missing = [key for key in NEEDED.get(line["kind"], ()) if key not in line]
        if missing or line["kind"] not in NEEDED:
            what = f"lacks {missing[0]!r}" if missing else f"has the unknown kind {line['kind']!r}"
            raise PaperlibError(f"line {number} of {path} {what}; restore the file, or delete it and run again")
    return lines


def _whole_lines(path: Path) -> Iterator[Line]:
    for number, text in enumerate(path.read_text(errors="replace").splitlines(keepends=True), 1):
        if not text.endswith("\n"):
            return  # a line that a killed process left unfinished
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            raise PaperlibError(f"line {number} of {path} is not JSON; delete the file and run again") from None
        if not isinstance(line, dict) or "kind" not in line:
            raise PaperlibError(f"line {number} of {path} has no kind; delete the file and run again")
        yield line


def begun(path: Path) -> bool:
    """Whether a record stands there with at least its first line whole."""
    return path.exists() and b"\n" in path.read_bytes()


def finished(path: Path) -> bool:
    """Whether a record stands there and says how its run ended."""
    return begun(path) and status(read_record(path)) != "unfinished"


def of_kind(lines: list[Line], kind: str) -> list[Line]:
    """The lines of one kind, in order."""
    return [line for line in lines if line["kind"] == kind]


def status(lines: list[Line]) -> str:
    """How a run ended: done, reached, censored or diverged; "unfinished" where it did not."""
    ends = of_kind(lines, "end")
    return ends[-1]["status"] if ends else "unfinished"


PROVENANCE = {
    "started", "seconds", "env", "code", "begun_as", "begun_with", "processes", "compiled", "device", "start_weights",
}  # fmt: skip
"""Fields of a record that say when, where and how it was made, and may differ where it was made twice."""


def comparable(lines: list[Line]) -> list[Line]:
    """A record without what may differ between two runs of the same id on one machine: times and provenance."""
    return [{k: v for k, v in line.items() if k not in PROVENANCE} for line in lines]


# ---------------------------------------------------------------------------------------------------------
# Checkpoints: safetensors and JSON, written whole or not at all, the last two kept


def weights_sha256(tensors: dict[str, Tensor]) -> str:
    """sha256 over names, shapes and bytes of tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        t = tensors[name].detach().contiguous().cpu()
        digest.update(f"{name}{tuple(t.shape)}{t.dtype}".encode())
        digest.update(
            t.view(torch.uint8).numpy().tobytes() if t.dim() else bytes(t.reshape(1).view(torch.uint8).tolist())
        )
    return digest.hexdigest()


def write_whole(path: Path, data: bytes | bytearray) -> None:
    """Write a file so that, killed at any moment, either the old or the new content stands there."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise PaperlibError(
            f"cannot write {path}: {error.strerror or error}; what stood there before is untouched"
        ) from None


def sync(path: Path) -> None:
    """Wait until a file is on the disk: what is written after it must not outlive it."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def save_checkpoint(directory: Path, run_id: str, step: int, tensors: dict[str, Tensor], state: Line) -> None:
    """Write checkpoint ``step`` into ``directory`` and keep it and the one before it.

    The JSON comes last and holds the sha256 of the tensors' file, so a checkpoint cut off in the middle is
    recognised and the one before it is used.
    """
    stem = directory / f"step-{step:08d}"
    part = stem.with_suffix(".safetensors.part")
    try:
        # torch's NHWC strides are not part of the format: tensors are stored contiguous
        save_file({name: t.detach().contiguous() for name, t in tensors.items()}, part)
        sync(part)
        digest = hashlib.sha256(part.read_bytes()).hexdigest()
        part.replace(stem.with_suffix(".safetensors"))
    except Exception as error:  # safetensors raises its own kind for a full disk
        part.unlink(missing_ok=True)
        raise PaperlibError(
            f"cannot write a checkpoint into {directory}: {error}; the one before it is untouched"
        ) from None
    content = {"format": FORMAT, "run": run_id, "step": step, "sha256": digest, "state": state}
    write_whole(stem.with_suffix(".json"), json.dumps(content).encode())
    kept = {path.stem for path in sorted(directory.glob("step-*.json"))[-2:]}
    for path in directory.glob("step-*"):
        if path.name.split(".")[0] not in kept:  # also what a killed process left without its JSON
            path.unlink()


def drop_checkpoints(directory: Path, after: int) -> None:
    """Delete the checkpoints of later steps than ``after``: they are damaged, or do not fit the record."""
    for path in directory.glob("step-*"):
        if int(path.name[5:13]) > after:
            path.unlink()


def load_checkpoint(
    directory: Path, run_id: str, fits: Callable[[int, Line], bool] = lambda step, state: True
) -> tuple[int, dict[str, Tensor], Line] | None:
    """The newest whole checkpoint in ``directory`` that fits, or None. Raises where it belongs to another run, and
    where a file that is there cannot be read: a disk that does not answer is no reason to begin anew.
    """
    for path in sorted(directory.glob("step-*.json"), reverse=True):
        try:
            content = json.loads(path.read_text())
            tensors = path.with_suffix(".safetensors")
            if hashlib.sha256(tensors.read_bytes()).hexdigest() != content["sha256"]:
                continue
        except (FileNotFoundError, ValueError, KeyError):
            continue  # cut off in the middle: the one before it is whole
        except OSError as error:
            raise PaperlibError(
                f"cannot read {error.filename or path}: {error.strerror or error}; nothing is changed, run it again "
                "when the disk answers"
            ) from None
        if content["run"] != run_id:
            raise PaperlibError(
                f"the checkpoints in {directory} belong to another run ({content['run'][:12]}, not {run_id[:12]}); "
                "use another folder or delete them"
            )
        if not fits(content["step"], content["state"]):
            continue
        return content["step"], load_file(tensors), content["state"]
    return None


def record_path(runs_dir: Path, run_id: str) -> Path:
    """Where a run of a user writes its record."""
    return runs_dir / run_id / "record.jsonl"


def default_runs_dir() -> Path:
    """``PAPERLIB_RUNS``, or ``runs/`` in the checkout."""
    return Path(os.environ.get("PAPERLIB_RUNS") or ROOT / "runs")
