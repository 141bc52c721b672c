"""A user's own runs against the recorded runs of the same id."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from paperlib.errors import PaperlibError
from paperlib.evidence import store
from paperlib.evidence.store import Record
from paperlib.experiments import declared
from paperlib.training import records, runs
from paperlib.training.records import Line


def agreement(scale: str, runs_dir: Path | None = None) -> str:
    """How far a user's finished runs at ``scale`` agree with the recorded runs of the same id, a line an experiment."""
    runs_dir = runs_dir or runs.default_runs_dir()
    if runs_dir.exists() and not runs_dir.is_dir():
        raise PaperlibError(f"{runs_dir} is no folder: name that of your runs in PAPERLIB_RUNS")
    out, mine = [], first_lines(runs_dir)
    for name in declared.names(scale):
        pairs, damaged = twins_and_damage(name, scale, runs_dir)
        out += [f"{name}: {each}" for each in damaged]
        if pairs:
            out.append(f"{name}: {difference(pairs)}")
            mine_and_theirs = zip(("", " (recorded)"), zip(*pairs, strict=True), strict=True)
            out += [f"{name}{whose}: {each}" for whose, them in mine_and_theirs for each in records.in_parts(them)]
        elif not damaged and not declared.get(name, scale).sweep:  # `paperlib run --all` leaves those out
            out.append(f"{name}: no run of yours has a recorded twin{_why_not(name, scale, mine)}")
    return "\n".join(out)


def twins_and_damage(name: str, scale: str, runs_dir: Path) -> tuple[list[tuple[Record, Record]], list[str]]:
    """(a user's record, the recorded one) of every finished run of an experiment that has both; what is damaged."""
    pairs, damage = [], []
    for _, _, theirs in store.records_of(name, scale):
        path = runs.record_path(runs_dir, theirs[0]["id"])
        try:
            if records.finished(path):
                pairs.append((records.read_record(path), theirs))
        except PaperlibError as error:
            damage.append(str(error))
    return pairs, damage


def twins(name: str, scale: str) -> list[tuple[Record, Record]]:
    """The pairs of :func:`twins_and_damage` in the folder of your runs."""
    return twins_and_damage(name, scale, runs.default_runs_dir())[0]


def difference(pairs: Sequence[tuple[Record, Record]]) -> str:
    """How far pairs of records of the same run differ, in words.

    The first window is compared in its loss (rounding grows from there on), the end in the training error.
    """
    if not pairs:
        return "no run of yours has a recorded twin"
    # a run that diverged within its first window has nothing to compare but how it ended
    both = [(_means(m), _means(t)) for m, t in pairs if _means(m) and _means(t)]
    first = max((abs(m[0]["train_loss"] - t[0]["train_loss"]) for m, t in both), default=0.0)
    last = max((abs(m[-1]["train_error"] - t[-1]["train_error"]) for m, t in both), default=0.0)
    otherwise = sum(records.status(m) != records.status(t) for m, t in pairs)
    return (
        f"{len(pairs)} run{'s' * (len(pairs) != 1)} of yours with a recorded twin; first running loss "
        f"differs by at most {first:.1e}, last running training error by at most {last:.2f} points"
        + (f"; {otherwise} ended in another way" if otherwise else "")
    )


def _why_not(name: str, scale: str, mine: Sequence[Line]) -> str:
    """Why runs of the experiment have no recorded twin, where the data say it: ``mine`` are runs' first lines."""
    recorded = {lines[0]["data"]["fingerprint"] for _, _, lines in store.records_of(name, scale)}
    used = {
        line["data"]["fingerprint"] for line in mine if (line.get("experiment"), line.get("scale")) == (name, scale)
    }
    return "; yours are on another copy of the data than the recorded ones" if recorded and used - recorded else ""


def first_lines(runs_dir: Path) -> list[Line]:
    """The first line of each record in a folder of runs; what is damaged or being written is passed over."""
    found = []
    for path in sorted(runs_dir.glob("*/record.jsonl")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            if path.is_file() and isinstance((line := store.first_line(path))["data"]["fingerprint"], str):
                found.append(line)
    return found


def _means(lines: Record) -> list[Line]:
    return records.of_kind(lines, "window") or records.of_kind(lines, "epoch")
