"""The record of a run, JSON lines: its first line, with all provenance; reading; status."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import torch

from paperlib.errors import PaperlibError
from paperlib.files import SOURCE
from paperlib.nets.lrn_cpu import compiling
from paperlib.training.runs import Run

FORMAT = 1
Line = dict[str, Any]


# ---------------------------------------------------------------------------------------------------------
# Provenance


def first_line(
    run: Run, data_name: str, about: Mapping[str, Any] | None = None, device: str = "cpu",
    processes: Mapping[str, str] | None = None, start_weights: str | None = None,
) -> Line:  # fmt: skip
    """How a record begins: which run, of what experiment (``about``), on what data, by which code, where and when.

    ``env`` names a device, a compiler and ``processes`` only where it was not one process on a CPU as PyTorch has it;
    ``start_weights`` is the sha256 of a net to start from that was not trained for it.
    """
    means: Line = {"device": device} if device != "cpu" else {"compiled": True} if compiling() else {}
    line: Line = {
        "kind": "run", "format": FORMAT, "id": run.id, **(about or {}), "seed": run.seed, "config": run.config,
        "data": {"name": data_name, "fingerprint": run.data},
        "code": code_version(), "env": {**environment(), **(processes or {}), **means},
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    return line if start_weights is None else {**line, "start_weights": start_weights}


@cache
def code_version() -> dict[str, Any]:
    """Commit of this checkout, and whether tracked files of the library differ from it."""

    def git(*args: str) -> str:
        return subprocess.run(
            ["git", "-C", str(SOURCE), *args], capture_output=True, text=True, check=True, timeout=20
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
    "started", "seconds", "env", "code", "processes", "compiled", "device", "start_weights",
}  # fmt: skip
"""Fields of a record that say when, where and how it was made, and may differ where it was made twice."""


def comparable(lines: list[Line]) -> list[Line]:
    """A record without what may differ between two runs of the same id on one machine: times and provenance."""
    return [{k: v for k, v in line.items() if k not in PROVENANCE} for line in lines]
