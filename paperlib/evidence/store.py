"""Recorded runs: reading, checksums, where a record belongs."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import ParamSpec, TypeVar

from paperlib import files
from paperlib.errors import PaperlibError
from paperlib.experiments import declared
from paperlib.files import sha256
from paperlib.training import records
from paperlib.training.records import Line
from paperlib.training.runs import Run

RECORDED = files.ROOT / "data" / "recorded"
Record = list[Line]

P = ParamSpec("P")
T = TypeVar("T")
_CACHES: list[Callable[[], None]] = []


def cached(function: Callable[P, T]) -> Callable[P, T]:
    """Work it out once a process, or once until :func:`forget`: for what depends on the records."""
    remembering = cache(function)
    _CACHES.append(remembering.cache_clear)
    return remembering  # type: ignore[return-value]


def forget() -> None:
    """Read the records again at the next question; for processes that add some."""
    for clear in _CACHES:
        clear()


# ---------------------------------------------------------------------------------------------------------
# Reading records


CHECKSUMS = "SHA256SUMS"


def read_checksums(folder: Path) -> dict[str, str] | None:
    """Record (path below ``folder``) -> checksum; None where the folder has no list."""
    if not (folder / CHECKSUMS).exists():
        return None
    lines = (folder / CHECKSUMS).read_text().splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def place_of(first: Line, folder: Path | None = None) -> Path:
    """Where the record with this first line stands below ``folder``, by default :data:`RECORDED`."""
    name = f"{first['arm'].replace('/', '-').replace(' ', '_')}-seed{first['seed']}.jsonl"
    return (folder or RECORDED) / first["experiment"] / first["scale"] / name


def write_checksums(folder: Path) -> None:
    """List the checksums of all records below ``folder``; `sha256sum -c` reads the list."""
    kept = sorted([*folder.glob("*/*/*.jsonl"), *folder.glob("*/*/*.safetensors")])
    lines = [f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in kept]
    files.write_whole(folder / CHECKSUMS, "".join(lines).encode())


COMMITS = "COMMITS.txt"


def commits_of(folder: Path) -> str:
    """The commits of the code that made the records below ``folder``: number of records and commit, a line each."""
    firsts = map(first_line, sorted(folder.glob("*/*/*.jsonl")))
    counts = Counter(first["code"].get("commit", "unknown") for first in firsts)
    return "".join(f"{counts[commit]:4d} {commit}\n" for commit in sorted(counts))


def first_line(path: Path) -> Line:
    """The first line of a record, alone. Raises ValueError where it is no JSON."""
    with path.open(encoding="utf-8") as file:
        return json.loads(file.readline())


def write_commits(folder: Path) -> None:
    """List the commits of all records below ``folder``."""
    files.write_whole(folder / COMMITS, commits_of(folder).encode())


def write_lists(folder: Path) -> None:
    """Bring the lists beside the records, of checksums and of commits, up to date."""
    write_checksums(folder)
    write_commits(folder)


@cached
def read_all(folder: Path) -> dict[str, Record]:
    if folder == RECORDED:
        files.needs_checkout()
    found: dict[str, Record] = {}
    sums = read_checksums(folder)
    for path in sorted(folder.glob("*/*/*.jsonl")):
        if sums is not None and sums.get(path.relative_to(folder).as_posix()) != sha256(path):
            raise PaperlibError(f"{path} is not the record that its checksum in {CHECKSUMS} names; restore it from git")
        lines = records.read_record(path)
        if records.status(lines) == "unfinished":
            raise PaperlibError(f"{path} is the record of a run that did not finish; restore it from git or remove it")
        if lines[0]["id"] in found:
            raise PaperlibError(f"{path} holds a run that is recorded elsewhere too; keep one of the two")
        found[lines[0]["id"]] = lines
    return found


def recorded(folder: Path | None = None) -> dict[str, Record]:
    """All recorded runs by id, or those in another ``folder``; read once a process (:func:`forget` reads again)."""
    return read_all(folder or RECORDED)


def stale() -> list[str]:
    """Ids of records that no declared experiment yields: listed, never used."""
    return sorted(set(recorded()).difference(*(e.ids() for e in declared.DECLARED)))


def records_of(name: str, scale: str) -> list[tuple[str, int, Record]]:
    """(arm, seed, record) of every recorded run of an experiment, in the order of its declaration."""
    return list(_records_of(RECORDED, name, scale))


@cached
def _records_of(folder: Path, name: str, scale: str) -> tuple[tuple[str, int, Record], ...]:
    known = read_all(folder)
    ids = declared.get(name, scale).ids()
    return tuple((arm, seed, known[run_id]) for run_id, (arm, seed, _) in ids.items() if run_id in known)


def longest(name: str, scale: str) -> tuple[str, int, Record] | None:
    """(arm, seed, record) of the recorded run of an experiment that took most epochs; None where none is recorded."""
    return max(records_of(name, scale), key=lambda run: len(epochs_of(run[2])), default=None)


def epochs_of(lines: Record) -> list[Line]:
    """The epochs of a run, behind those of the run whose recorded weights it goes on from, and counted on from them.

    Each has the arm that it is of.
    """
    run = Run.from_config(lines[0]["config"])
    before: list[Line] = []
    if run.start and run.start_rounded:
        if run.start.id not in recorded():
            raise PaperlibError(
                f"the record of run {run.start.id[:12]}, from whose weights another goes on, is missing"
            )
        before = epochs_of(recorded()[run.start.id])
    arm = {"arm": lines[0].get("arm", "")}
    return before + [arm | line | {"epoch": len(before) + line["epoch"]} for line in records.of_kind(lines, "epoch")]


def drops_of(epochs: Sequence[Line]) -> list[int]:
    """The epochs after which the rate fell."""
    return [before["epoch"] for before, after in itertools.pairwise(epochs) if after["lr"] < before["lr"]]


def schedule(epochs: Sequence[Line]) -> str:
    """When the rate fell, in words."""
    drops = drops_of(epochs)
    after = f"after epoch{'s' * (len(drops) > 1)} {' and '.join(map(str, drops))}"
    return f"the rate fell {after}" if drops else "the rate never fell"
