"""The record of a run, JSON lines: its first line with all provenance, reading and checking it, how the run ended."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import torch

from paperlib.errors import PaperlibError
from paperlib.files import SOURCE, parse_json
from paperlib.training.runs import Run, id_of

FORMAT = 1
Line = dict[str, Any]

# ---------------------------------------------------------------------------------------------------------
# Provenance


def first_line(
    run: Run, data_name: str, about: Mapping[str, Any] | None = None, device: str = "cpu",
    processes: Mapping[str, str] | None = None, start_weights: str | None = None, precision: str = "fp32",
) -> Line:  # fmt: skip
    """The first line of a record: the run, its experiment (``about``), data, code, machine and time.

    ``env`` names a device, ``processes`` and a precision only where they are not one process on a CPU in
    float32, as PyTorch has it. ``start_weights`` is the sha256 of the net that the run starts from, where that was not
    trained for it.
    """
    means: Line = {} if device == "cpu" else {"device": device}
    means |= {"precision": precision} if precision != "fp32" else {}
    line: Line = {
        "kind": "run", "format": FORMAT, "id": run.id, **(about or {}), "seed": run.seed, "config": run.config,
        "data": {"name": data_name, "fingerprint": run.data},
        "code": code_version(), "env": {**environment(), **(processes or {}), **means},
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    return line if start_weights is None else {**line, "start_weights": start_weights}


@cache
def code_version(root: Path = SOURCE) -> dict[str, Any]:
    """Commit of the checkout at ``root``, and whether tracked files of the library differ from it.

    A repository around the checkout, or one that the environment names, does not count.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*args: str) -> str:
        command = ["git", "-C", str(root), f"--git-dir={root / '.git'}", f"--work-tree={root}", *args]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20, env=clean).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "paperlib")
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(changed)}
    except (OSError, subprocess.SubprocessError):
        return {"commit": "unknown", "dirty": True}


def environment() -> dict[str, Any]:
    """What else the last bits of a run may depend on: versions, threads, processor."""
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


def stretches(lines: list[Line]) -> list[Line]:
    """The stretches of a run, each with its first ``step``, ``code`` and ``env``: one for each change of these."""
    end: Line = next(iter(of_kind(lines, "end")), {})
    older = {key: end[key] for key in ("processes", "device", "compiled") if key in end}  # of records before stretches
    begun = [{"step": 0, "code": lines[0].get("code", {}), "env": {**lines[0].get("env", {}), **older}}]
    found: list[Line] = end.get("stretches", begun)
    return found


def are_stretches(value: Any) -> bool:
    """Whether a JSON value is a list of stretches."""
    kinds = {"step": int, "code": dict, "env": dict}
    return isinstance(value, list) and all(
        isinstance(each, dict) and all(isinstance(each.get(name), kind) for name, kind in kinds.items())
        for each in value
    )


def in_parts(runs: Iterable[list[Line]]) -> list[str]:
    """A line for each run that was computed in parts: from which update on, and what differed from the part before."""
    told = []
    for lines in runs:
        changes = []
        for before, now in itertools.pairwise(stretches(lines)):
            was, has = ({**each["env"], **each["code"]} for each in (before, now))
            other = sorted(name for name in {**was, **has} if was.get(name) != has.get(name))
            differ = (f"{name} {has[name]}" if name in has else f"no {name}" for name in other)
            changes.append(f"from update {now['step']:,} with {', '.join(differ)}")
        if changes:
            run = f"{lines[0].get('arm', '')}, seed {lines[0]['seed']}"
            told.append(f"{run}, was computed in parts: {'; '.join(changes)}")
    return told


# ---------------------------------------------------------------------------------------------------------
# Reading


NUMBER = (int, float)
NEEDED: dict[str, dict[str, Any]] = {
    "run": {"id": str, "config": dict}, "window": {"step": int, "train_loss": NUMBER, "train_error": NUMBER},
    "epoch": {"epoch": int, "step": int, "train_error": NUMBER}, "test": {"views": int, "top1_error": NUMBER},
    "ensemble": {"members": list, "top1_error": NUMBER}, "end": {"status": str, "steps": int},
    "look": {"label_agreement": NUMBER}, "fit": {"views": int, "top1_error": NUMBER},
}  # fmt: skip
"""The fields that a line of each kind needs, and their types."""

SEAL = "record_sha256"
"""The field of the last line that protects a finished record. Records made before it was introduced have none."""


def read_record(path: Path) -> list[Line]:
    """The whole lines of a record; a killed process may have left half a line behind them.

    Raises :class:`PaperlibError` where the file is no record, or a damaged one.
    """

    def damaged(what: str) -> PaperlibError:
        return PaperlibError(f"{path} is damaged: {what}; restore the file, or delete it and run again")

    lines: list[Line] = []
    for number, text in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        try:
            line = parse_json(text)
        except ValueError:
            raise damaged(f"line {number} is not JSON") from None
        if not isinstance(line, dict) or not isinstance(line.get("kind"), str):
            raise damaged(f"line {number} has no kind")
        lines.append(line)
    if not lines or lines[0]["kind"] != "run":
        raise PaperlibError(
            f"{path} is no record of a run: its first line must be of kind 'run'; delete it and run again"
        )
    if lines[0].get("format") != FORMAT:
        raise PaperlibError(
            f"{path} has record format {lines[0].get('format')}, this version reads {FORMAT}; update paperlib"
        )
    for number, line in enumerate(lines, 1):
        if line["kind"] not in NEEDED:
            raise damaged(f"line {number} has the unknown kind {line['kind']!r}")
        for key, kind in NEEDED[line["kind"]].items():
            if not isinstance(line.get(key), kind):
                raise damaged(f"line {number} lacks {key!r}" + (" of the right type" if key in line else ""))
        if not are_stretches(line.get("stretches", [])):
            raise damaged(f"line {number} does not say where the run was computed")
    if not all(isinstance(lines[0].get(key, {}), dict) for key in ("code", "env", "data")):
        raise damaged("line 1 does not say where the run was computed")
    try:
        if id_of(lines[0]["config"]) != lines[0]["id"]:
            raise damaged("its id is not that of its configuration")
        if SEAL in lines[-1] and sealed(lines) != lines:
            raise damaged("its lines do not have the checksum that the last one names")
    except RecursionError:
        raise damaged("it is nested too deeply") from None
    return lines


def as_text(line: Line) -> str:
    """One line of a record's file."""
    return json.dumps(line) + "\n"


def sealed(lines: list[Line]) -> list[Line]:
    """The lines of a finished record, the last with the sha256 of them all."""
    *before, end = lines
    end = {key: value for key, value in end.items() if key != SEAL}
    return [*before, {**end, SEAL: hashlib.sha256("".join(map(as_text, [*before, end])).encode()).hexdigest()}]


def begun(path: Path) -> bool:
    """Whether a record exists with at least its first line whole."""
    return path.is_file() and b"\n" in path.read_bytes()


def finished(path: Path) -> bool:
    """Whether a record exists and says how its run ended."""
    return begun(path) and status(read_record(path)) != "unfinished"


def of_kind(lines: list[Line], kind: str) -> list[Line]:
    """The lines of one kind, in order."""
    return [line for line in lines if line["kind"] == kind]


def status(lines: list[Line]) -> str:
    """How a run ended: done, reached, censored or diverged; "unfinished" where it did not."""
    ends = of_kind(lines, "end")
    return ends[-1]["status"] if ends else "unfinished"


PROVENANCE = {
    "started", "seconds", "env", "code", "processes", "compiled", "device", "start_weights", "stretches", SEAL,
}  # fmt: skip
"""Fields of a record that say when, where and how it was made. They may differ where it was made twice."""


def comparable(lines: list[Line]) -> list[Line]:
    """A record without what may differ between two runs of the same id on one machine: times and provenance."""
    return [{k: v for k, v in line.items() if k not in PROVENANCE} for line in lines]
