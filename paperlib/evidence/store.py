"""Recorded runs: reading, checksums, where a record belongs."""

from __future__ import annotations

import functools
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

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


class Store:
    """A folder of recorded runs, and whatever has been worked out from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: dict[Any, Any] = {}


_of_the_edition = Store(RECORDED)
_current: ContextVar[Store] = ContextVar("store")


def current() -> Store:
    """The store that evidence is read from: that of the edition, or the one of :func:`using`."""
    return _current.get(_of_the_edition)


@contextmanager
def using(folder: Path) -> Iterator[Store]:
    """While it lasts, evidence is read from ``folder``."""
    token = _current.set(Store(folder))
    try:
        yield current()
    finally:
        _current.reset(token)


def cached(function: Callable[P, T]) -> Callable[P, T]:
    """Compute once for each store and arguments, until :func:`forget`: for what depends on the records."""

    @functools.wraps(function)
    def remembering(*args: P.args, **kwargs: P.kwargs) -> T:
        key = (function, args, *kwargs.items())
        known = current().known
        if key not in known:
            known[key] = function(*args, **kwargs)
        return known[key]

    return remembering


def forget() -> None:
    """Read the records again at the next question; for processes that add some."""
    current().known.clear()


# ---------------------------------------------------------------------------------------------------------
# The lists beside the records


CHECKSUMS = "SHA256SUMS"
COMMITS = "COMMITS.txt"


def read_checksums(folder: Path) -> dict[str, str] | None:
    """Record (path below ``folder``) -> checksum; None where the folder has no list."""
    if not (folder / CHECKSUMS).exists():
        return None
    lines = (folder / CHECKSUMS).read_text(encoding="utf-8", errors="replace").splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def place_of(first: Line, folder: Path | None = None) -> Path:
    """Where the record with this first line belongs below ``folder``, by default the current store's."""
    name = f"{first['arm'].replace('/', '-').replace(' ', '_')}-seed{first['seed']}.jsonl"
    return (folder or current().folder) / first["experiment"] / first["scale"] / name


def weights_of(first: Line, folder: Path | None = None) -> Path:
    """Where the recorded weights of this run belong."""
    return place_of(first, folder).with_suffix(".safetensors")


def first_line(path: Path) -> Line:
    """The first line of a record, alone. Raises ValueError where it is not JSON."""
    with path.open("rb") as file:
        line: Line = files.parse_json(file.readline())
    return line


def write_lists(folder: Path) -> None:
    """List the checksums of all files below ``folder``, as `sha256sum` does, and the commits with their records."""
    lists = sorted(folder.glob("*/*/*.jsonl"))
    kept = sorted([*lists, *folder.glob("*/*/*.safetensors")])
    sums = [f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in kept]
    counts = Counter(first_line(path)["code"].get("commit", "unknown") for path in lists)
    commits = [f"{counts[commit]:4d} {commit}\n" for commit in sorted(counts)]
    for name, lines in ((CHECKSUMS, sums), (COMMITS, commits)):
        files.write_whole(folder / name, "".join(lines).encode())


# ---------------------------------------------------------------------------------------------------------
# Reading records


@cached
def read_all(folder: Path) -> dict[str, Record]:
    if folder == RECORDED:
        files.needs_checkout()
    found: dict[str, Record] = {}
    sums = read_checksums(folder)
    refuse_missing(folder, sums)
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


def refuse_missing(folder: Path, sums: dict[str, str] | None) -> None:
    """Raise :class:`PaperlibError` where a listed record is absent: without it the verdicts would be others."""
    if sums is None:
        if folder == RECORDED:
            raise PaperlibError(f"{folder / CHECKSUMS} is missing: use a complete checkout, with all of data/recorded")
        return
    missing = sorted(name for name in sums if not os.path.exists(folder / name))  # False for a name that can be none
    if missing:
        more = f" and {len(missing) - 1} more" * (len(missing) > 1)
        raise PaperlibError(
            f"{missing[0]}{more} of the {len(sums)} files in {folder / CHECKSUMS} are missing: restore them from "
            "git, or unpack the whole archive"
        )


def recorded(folder: Path | None = None) -> dict[str, Record]:
    """All recorded runs by id, or those in another ``folder``.

    Read once (:func:`forget` reads again). Raises :class:`PaperlibError` where a record is altered or missing.
    """
    return read_all(folder or current().folder)


def stale() -> list[str]:
    """Ids of records that no declared experiment yields: listed, never used."""
    return sorted(set(recorded()).difference(*(e.ids() for e in declared.DECLARED)))


_runs: dict[str, Run] = {}


def run_of(lines: Record) -> Run:
    """The run that a record is of."""
    first = lines[0]
    if "id" not in first:  # not recorded: made by hand, in a notebook
        return Run.from_config(first["config"])
    if first["id"] not in _runs:
        _runs[first["id"]] = Run.from_config(first["config"])
    return _runs[first["id"]]


@cached
def records_of(name: str, scale: str) -> tuple[tuple[str, int, Record], ...]:
    """(arm, seed, record) of every recorded run of an experiment, in the order of its declaration."""
    known, ids = recorded(), declared.get(name, scale).ids()
    return tuple((arm, seed, known[run_id]) for run_id, (arm, seed, _) in ids.items() if run_id in known)


def longest(name: str, scale: str) -> tuple[str, int, Record] | None:
    """(arm, seed, record) of the recorded run of an experiment with the most epochs; None where none is recorded."""
    return max(records_of(name, scale), key=lambda run: len(epochs_of(run[2])), default=None)


def epochs_of(lines: Record) -> list[Line]:
    """The epochs of a run, each with its arm. A run that starts from recorded weights has those of that run first."""
    run, before = run_of(lines), list[Line]()
    if run.start and run.start_rounded:
        if run.start.id not in recorded():
            raise PaperlibError(f"run {run.start.id[:12]}, from whose weights another starts, is not recorded")
        before = epochs_of(recorded()[run.start.id])
    arm = {"arm": lines[0].get("arm", "")}
    return before + [arm | line | {"epoch": len(before) + line["epoch"]} for line in records.of_kind(lines, "epoch")]


def drops_of(epochs: Sequence[Line]) -> list[int]:
    """The epochs after which the learning rate fell."""
    return [before["epoch"] for before, after in itertools.pairwise(epochs) if after["lr"] < before["lr"]]


def schedule(epochs: Sequence[Line]) -> str:
    """When the learning rate fell, in words."""
    drops = drops_of(epochs)
    after = f"after epoch{'s' * (len(drops) > 1)} {' and '.join(map(str, drops))}"
    return f"the rate fell {after}" if drops else "the rate never fell"
