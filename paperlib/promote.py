"""Promoting finished runs to evidence."""

from __future__ import annotations

import json
from pathlib import Path

from paperlib import files
from paperlib.campaign import is_finished
from paperlib.data import images, sets
from paperlib.data.known import FINGERPRINTS
from paperlib.errors import PaperlibError
from paperlib.evidence import store, weights
from paperlib.experiments import declared
from paperlib.experiments.form import KEPT, Experiment
from paperlib.training import checkpoints, loop, records, runs
from paperlib.training.runs import Run

NO_EVIDENCE = {
    "processes": ("by several processes", "with one"),
    "compiled": ("with --compile", "without"),
    "device": ("on a GPU", "on a CPU"),
}
"""What a record names where more than one process on a CPU had a part; their sums differ in the last digits."""


def refuse_other_means(one: Run, runs_dir: Path) -> None:
    """Refuse a run, or one that it builds upon, that is not what one process on a CPU computes, as evidence is."""
    for part in [one, *([one.start] if one.start else []), *(one.alone() if one.members > 1 else [])]:
        path = runs.record_path(runs_dir, part.id)
        lines = records.read_record(path) if path.exists() else []
        for name, (how, instead) in NO_EVIDENCE.items():
            if any(name in line or name in line.get("env", {}) for line in lines):
                raise PaperlibError(f"{path} was trained {how}; delete its folder and train it {instead}")


def refuse_other_start(one: Run, first: records.Line) -> None:
    """Refuse a run that went on from other weights than those that are recorded."""
    start = weights.start_of(one)
    if start is not None and first.get("start_weights") != checkpoints.weights_sha256(start.state_dict()):
        raise PaperlibError(f"run {one.id[:12]} did not start from the recorded weights: delete it and train it again")


def record(
    name: str, scale: str, runs_dir: Path | None = None, into: Path | None = None, only: str | None = None
) -> list[Path]:
    """Copy the finished runs of an experiment to ``data/recorded/``, or ``into`` another folder of the same layout.

    A run that is recorded in one of the two already is left alone. ``only`` takes the run of that id and no other.
    """
    experiment: Experiment = declared.get(name, scale)
    runs_dir = runs_dir or runs.default_runs_dir()
    if scale not in FINGERPRINTS:
        raise PaperlibError(f"no copy of {scale} is known yet, so none of its runs can be evidence")
    into = into or store.current().folder
    known, written = {*store.recorded(), *store.recorded(into)}, []
    dataset: images.Dataset | None = None  # read once, and only where nets are looked at
    for run_id, (arm, seed, copy) in experiment.ids().items():
        if run_id in known or only not in (None, run_id) or not is_finished(runs_dir, run_id):
            continue
        source = runs.record_path(runs_dir, run_id)
        # a run may have been trained for another experiment first; it is recorded where it is needed
        lines = records.read_record(source)
        one = experiment.run(arm, seed, FINGERPRINTS[scale][copy])
        refuse_other_means(one, runs_dir)
        refuse_other_start(one, lines[0])
        lines[0] |= {"experiment": name, "scale": scale, "arm": arm}
        target = store.place_of(lines[0], into)
        if target.exists():
            raise PaperlibError(
                f"{target} holds another run ({records.read_record(target)[0]['id'][:12]}); "
                "remove it first if it is stale"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        if arm in experiment.keep:
            dataset = dataset or sets.load(scale)
            net = loop.fit(one, dataset, source.parent).net
            kept = seed in experiment.planned_seeds(arm)[:KEPT]
            weights_at = target.with_suffix(".safetensors") if kept else None
            lines.insert(-1, weights.looked(net, one, dataset, weights_at))
            written += [weights_at] if weights_at else []
        files.write_whole(target, "".join(json.dumps(line) + "\n" for line in lines).encode())
        written.append(target)
    if written and into == store.current().folder:
        store.write_lists(into)
    store.forget()
    return written


def promote(pending: Path) -> list[str]:
    """Move each experiment that is complete from ``pending`` to ``data/recorded/``; gives their names, with the scale.

    Complete is one all of whose declared runs are in the two folders; of the others nothing is moved.
    """
    there = {*store.recorded(), *store.recorded(pending)}
    complete = [e for e in declared.DECLARED if (ids := e.ids()) and set(ids) <= there]
    needed = {run_id for e in complete for run_id in e.ids()}
    moved = [lines[0] for run_id, lines in store.recorded(pending).items() if run_id in needed]
    for first in moved:
        source, target = (store.place_of(first, folder) for folder in (pending, store.current().folder))
        target.parent.mkdir(parents=True, exist_ok=True)
        for suffix in (".safetensors", ".jsonl"):  # the record last: without its weights it would be damaged
            if source.with_suffix(suffix).exists():
                source.with_suffix(suffix).replace(target.with_suffix(suffix))
    if moved:
        store.write_lists(store.current().folder)
    store.forget()
    ids_moved = {first["id"] for first in moved}
    return [f"{e.name}, {e.scale}" for e in complete if ids_moved & set(e.ids())]
