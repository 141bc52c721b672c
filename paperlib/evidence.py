"""Recorded runs: reading them, the metrics of one run, the choice of learning rates.

Only records under ``data/recorded/`` count as evidence; a user's own ``runs/`` are never read here, but for
:func:`agreement`, which compares the two. What the records say of a claim is in :mod:`paperlib.verdicts`.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import pandas as pd
from safetensors import safe_open
from torch import Tensor

from paperlib import experiments, kernels, runs
from paperlib.errors import PaperlibError
from paperlib.recipe import Sizes
from paperlib.runs import Line, Run
from paperlib.seeding import generator

RECORDED = runs.ROOT / "data" / "recorded"
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


def sha256(path: Path) -> str:
    """The checksum of a file, as ``sha256sum`` prints it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


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
    runs.write_whole(folder / CHECKSUMS, "".join(lines).encode())


COMMITS = "COMMITS.txt"


def commits_of(folder: Path) -> str:
    """The commits of the code that made the records below ``folder``: number of records and commit, a line each."""
    firsts = (json.loads(path.open(encoding="utf-8").readline()) for path in sorted(folder.glob("*/*/*.jsonl")))
    counts = Counter(first["code"].get("commit", "unknown") for first in firsts)
    return "".join(f"{counts[commit]:4d} {commit}\n" for commit in sorted(counts))


def write_commits(folder: Path) -> None:
    """List the commits of all records below ``folder``."""
    runs.write_whole(folder / COMMITS, commits_of(folder).encode())


@cached
def _read_all(folder: Path) -> dict[str, Record]:
    records: dict[str, Record] = {}
    sums = read_checksums(folder)
    for path in sorted(folder.glob("*/*/*.jsonl")):
        if sums is not None and sums.get(path.relative_to(folder).as_posix()) != sha256(path):
            raise PaperlibError(f"{path} is not the record that its checksum in {CHECKSUMS} names; restore it from git")
        lines = runs.read_record(path)
        if runs.status(lines) == "unfinished":
            raise PaperlibError(f"{path} is the record of a run that did not finish; restore it from git or remove it")
        if lines[0]["id"] in records:
            raise PaperlibError(f"{path} holds a run that is recorded elsewhere too; keep one of the two")
        records[lines[0]["id"]] = lines
    return records


def recorded(folder: Path | None = None) -> dict[str, Record]:
    """All recorded runs by id, or those in another ``folder``; read once a process (:func:`forget` reads again)."""
    return _read_all(folder or RECORDED)


def stale() -> list[str]:
    """Ids of records that no declared experiment yields: listed, never used."""
    declared = {run_id for e in experiments.DECLARED for run_id in e.ids()}
    return sorted(set(recorded()) - declared)


def records_of(name: str, scale: str) -> list[tuple[str, int, Record]]:
    """(arm, seed, record) of every recorded run of an experiment, in the order of its declaration."""
    return list(_records_of(RECORDED, name, scale))


@cached
def _records_of(folder: Path, name: str, scale: str) -> tuple[tuple[str, int, Record], ...]:
    known = _read_all(folder)
    ids = experiments.get(name, scale).ids()
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
    return before + [arm | line | {"epoch": len(before) + line["epoch"]} for line in runs.of_kind(lines, "epoch")]


def drops_of(epochs: Sequence[Line]) -> list[int]:
    """The epochs after which the rate fell."""
    return [before["epoch"] for before, after in itertools.pairwise(epochs) if after["lr"] < before["lr"]]


def schedule(epochs: Sequence[Line]) -> str:
    """When the rate fell, in words."""
    drops = drops_of(epochs)
    after = f"after epoch{'s' * (len(drops) > 1)} {' and '.join(map(str, drops))}"
    return f"the rate fell {after}" if drops else "the rate never fell"


def results(name: str, scale: str, *wanted: str) -> pd.DataFrame:
    """One row a recorded run: arm, seed, how it ended, and the metrics wanted (errors in per cent, times in updates).

    All of :data:`METRICS` by default; some of them read weights, and take their time.
    """
    columns = ("arm", "seed", "status", *(wanted or METRICS))
    return pd.DataFrame({column: _column(RECORDED, name, scale, column) for column in columns})


@cached
def _column(folder: Path, name: str, scale: str, column: str) -> tuple[Any, ...]:
    """One column of :func:`results`, worked out once a process."""
    measures: dict[str, Callable[[str, int, Record], Any]] = {
        "arm": lambda arm, seed, lines: arm,
        "seed": lambda arm, seed, lines: seed,
        "status": lambda arm, seed, lines: runs.status(lines),
    }
    measure = measures.get(column) or (lambda arm, seed, lines: METRICS[column](lines))
    return tuple(measure(*run) for run in records_of(name, scale))


# ---------------------------------------------------------------------------------------------------------
# Metrics of one run


def running_error(lines: Record) -> tuple[list[float], list[float]]:
    """The running training error (per cent) of a record, and the update in the middle of each window."""
    windows = runs.of_kind(lines, "window")
    width = Run.from_config(lines[0]["config"]).stop.window
    return [w["step"] - width / 2 for w in windows], [w["train_error"] for w in windows]


def updates_to(lines: Record, threshold: float) -> float:
    """Updates until the running training error first reaches ``threshold`` per cent, interpolated; NaN if never.

    Before the first window the error is taken as that of guessing, so that the time is never below zero.
    """
    classes = Run.from_config(lines[0]["config"]).sizes.classes
    steps, errors = running_error(lines)
    before_step, before_error = 0.0, 100 * (1 - 1 / classes)
    for step, error in zip(steps, errors, strict=True):
        if error <= threshold:
            share = (before_error - threshold) / (before_error - error)
            return before_step + share * (step - before_step)
        before_step, before_error = step, error
    return math.nan


def _time(lines: Record) -> float:
    threshold = Run.from_config(lines[0]["config"]).stop.threshold
    return math.nan if threshold is None else updates_to(lines, threshold)


def _one(kind: str, key: str, which: int = -1) -> Callable[[Record], float]:
    """The value of ``key`` in the last line of a kind that has it, or in another; NaN where none has."""

    def read(lines: Record) -> float:
        found = [line[key] for line in runs.of_kind(lines, kind) if key in line]
        return float(found[which]) if found else math.nan

    return read


def _views(lines: Record, views: int) -> float:
    """Top-1 test error in so many views; NaN where it is not recorded."""
    found = [line["top1_error"] for line in runs.of_kind(lines, "test") if line["views"] == views]
    return float(found[0]) if found else math.nan


def _of_kernels(measure: Callable[[Tensor], Tensor]) -> Callable[[Record], float]:
    """The mean of a measure over the kernels of conv1, above that of shuffled copies; NaN where no weights are kept."""

    @cache
    def above_chance(path: Path, checksum: str, seed: int) -> float:
        if not path.exists() or sha256(path) != checksum:
            raise PaperlibError(f"{path} is missing, or not the weights that its record names: restore it from git")
        with safe_open(path, "pt") as stored:
            found = stored.get_tensor("conv1.weight").float()
        chance = kernels.shuffled(found, generator(seed, "shuffles", 0))
        return float(measure(found).mean() - measure(chance).mean())

    def read(lines: Record) -> float:
        kept = [line["weights"] for line in runs.of_kind(lines, "look") if "weights" in line]
        return (
            above_chance(place_of(lines[0]).with_suffix(".safetensors"), kept[0], lines[0]["seed"])
            if kept else math.nan
        )  # fmt: skip

    return read


STALLED = 0.8
"""A run whose error stays above this share of the error of guessing has learnt nothing."""


def stalled(lines: Record) -> bool:
    """Whether a run never left guessing.

    Judged by its lowest test or validation error; without those by the last running training error. A record without
    any of them (an average of nets) is not stalled.
    """
    unseen = [
        line[key] for line in runs.of_kind(lines, "epoch") for key in ("test_error", "validation_error") if key in line
    ]
    seen = [line["train_error"] for line in runs.of_kind(lines, "window")][-1:]
    if not unseen and not seen:
        return False
    classes = lines[0]["config"]["sizes"].get("classes", Sizes().classes)
    return bool(min(unseen or seen) > STALLED * 100 * (1 - 1 / classes))


def _converged(lines: Record) -> float:
    """Updates to the first epoch whose test error is within a point of the run's lowest; NaN if it never learnt.

    The paper does not say what "converge" means; this is our definition, for runs at a constant rate (S4.2-c).
    """
    found = [line for line in runs.of_kind(lines, "epoch") if "test_error" in line]
    if not found or stalled(lines):
        return math.nan
    lowest = min(line["test_error"] for line in found)
    return float(next(line["step"] for line in found if line["test_error"] <= lowest + 1))


METRICS: dict[str, Callable[[Record], float]] = {
    "updates": _time,  # to the threshold; NaN where it was not reached
    "steps": _one("end", "steps"),  # that the run took in all: a bound where it was censored
    "train_error": _one("epoch", "train_error"),
    "train_loss": _one("epoch", "train_loss"),
    "first_loss": _one("epoch", "train_loss", 0),  # mean over the first epoch, in nats: how fast learning begins
    "test_error": _one("epoch", "test_error"),
    "converged": _converged,
    "neighbours_gain": lambda lines: _one("look", "label_agreement")(lines) - _one("look", "pixel_agreement")(lines),
    "far_in_pixels": lambda lines: _one("look", "far_in_pixels")(lines) - 50.0,  # above 0: most of them are
    "colour_gap": lambda lines: _one("look", "colour_gap")(lines) - _one("look", "colour_gap_by_chance")(lines),
    "orientation": _of_kernels(kernels.orientation_selectivity),
    "narrowness": _of_kernels(lambda found: -kernels.bandwidth(found)),  # in octaves: above 0, fewer than by chance
    "ten_views_gain": lambda lines: _views(lines, 1) - _views(lines, 10),  # centre view minus ten, top-1
    "ensemble_gain": lambda lines: _one("ensemble", "mean_top1_error")(lines) - _one("ensemble", "top1_error")(lines),
    "fit_error": _one("fit", "top1_error"),  # of the finished net on its training images: no dropout, centre view
    # the same net, the same way of looking, unseen images and seen ones: unlike "gap", fair between such arms
    "overfit": lambda lines: METRICS["test_error"](lines) - METRICS["fit_error"](lines),
    "gap": lambda lines: METRICS["test_error"](lines) - METRICS["train_error"](lines),
}

UNITS = {"first_loss": "nats", "train_loss": "nats", "colour_gap": "", "orientation": "", "narrowness": "octaves"}
"""Units of what is not in points of error, or (as a ratio) in times."""

# ---------------------------------------------------------------------------------------------------------
# The choice of learning rates


def choose_rate(scores: dict[float, float]) -> float | None:
    """The rule of the sweeps: the rate with the lowest score (:func:`swept`; NaN: diverged, or never got there).

    Equal scores: the lower rate. None while the sweep cannot tell: the best rate must have a worse or
    diverged neighbour on both sides.
    """
    rates = sorted(scores)
    alive = [r for r in rates if not math.isnan(scores[r])]
    if not alive:
        return None
    best = min(alive, key=lambda r: (scores[r], r))
    return best if rates[0] < best < rates[-1] else None


def swept(scale: str, name: str = "relu-rates") -> dict[str, dict[float, float]]:
    """Arm -> rate -> score of a recorded sweep, Figure 1's by default; the lower the better.

    The score is the last running training error (%), or, of an arm that is tried until it reaches a threshold, the
    updates to it; NaN where the run diverged or did not get there.
    """
    scores: dict[str, dict[float, float]] = {}
    for tried, _, lines in records_of(name, scale):
        arm, _, rate = tried.partition("@")
        if Run.from_config(lines[0]["config"]).stop.threshold is not None:
            score = _time(lines)
        else:
            score = math.nan if runs.status(lines) == "diverged" else running_error(lines)[1][-1]
        scores.setdefault(arm, {})[float(rate)] = score
    return scores


def chosen_rates(scale: str, name: str = "relu-rates") -> dict[str, float | None]:
    """Arm -> the rate that a recorded sweep, by default Figure 1's, chooses, None where it cannot tell yet."""
    return {arm: choose_rate(errors) for arm, errors in swept(scale, name).items()}


# ---------------------------------------------------------------------------------------------------------
# A user's own runs against the recorded ones


def agreement(scale: str, runs_dir: Path | None = None) -> str:
    """How far a user's finished runs at ``scale`` agree with the recorded runs of the same id, a line an experiment.

    The first window is compared in its loss (rounding grows from there on), the end in the training error.
    """
    runs_dir = runs_dir or runs.default_runs_dir()
    out, mine = [], first_lines(runs_dir)
    for name in experiments.names(scale):
        pairs = []
        for _, _, theirs in records_of(name, scale):
            path = runs.record_path(runs_dir, theirs[0]["id"])
            if runs.finished(path):
                pairs.append((runs.read_record(path), theirs))
        if not pairs:
            if not experiments.get(name, scale).sweep:  # `paperlib run --all` leaves those out
                out.append(f"{name}: no run of yours has a recorded twin{_why_not(name, scale, mine)}")
            continue
        # a run that diverged within its first window has nothing to compare but how it ended
        both = [(_means(m), _means(t)) for m, t in pairs if _means(m) and _means(t)]
        first = max((abs(m[0]["train_loss"] - t[0]["train_loss"]) for m, t in both), default=0.0)
        last = max((abs(m[-1]["train_error"] - t[-1]["train_error"]) for m, t in both), default=0.0)
        otherwise = sum(runs.status(m) != runs.status(t) for m, t in pairs)
        out.append(
            f"{name}: {len(pairs)} run{'s' * (len(pairs) != 1)} of yours with a recorded twin; first running loss "
            f"differs by at most {first:.1e}, last running training error by at most {last:.2f} points"
            + (f"; {otherwise} ended in another way" if otherwise else "")
        )
    return "\n".join(out)


def _why_not(name: str, scale: str, mine: Sequence[Line]) -> str:
    """Why runs of the experiment have no recorded twin, where the data say it: ``mine`` are runs' first lines."""
    recorded = {lines[0]["data"]["fingerprint"] for _, _, lines in records_of(name, scale)}
    used = {
        line["data"]["fingerprint"] for line in mine if (line.get("experiment"), line.get("scale")) == (name, scale)
    }
    return "; yours are on another copy of the data than the recorded ones" if recorded and used - recorded else ""


def first_lines(runs_dir: Path) -> list[Line]:
    """The first line of each record in a folder of runs; what is damaged or being written is passed over."""
    found = []
    for path in sorted(runs_dir.glob("*/record.jsonl")):
        with contextlib.suppress(OSError, ValueError), path.open(encoding="utf-8") as file:
            found.append(json.loads(file.readline()))
    return [line for line in found if isinstance(line, dict) and "data" in line]


def _means(lines: Record) -> list[Line]:
    return runs.of_kind(lines, "window") or runs.of_kind(lines, "epoch")
