"""Promoting finished runs to evidence."""

from __future__ import annotations

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
    "precision": ("with --precision other than fp32", "with fp32"),
}
"""What a record's environment names where it was not one process on a CPU: sums differ in their last digits."""


def refuse_other_means(one: Run, runs_dir: Path) -> None:
    """Refuse a run that was not trained by one process on a CPU and by one version of torch alone, as evidence is.

    The runs that it builds upon count too. Another processor is no reason: its stretch is in the record.
    """
    for part in [one, *([one.start] if one.start else []), *(one.alone() if one.members > 1 else [])]:
        path = runs.record_path(runs_dir, part.id)
        environments = [each["env"] for each in records.stretches(records.read_record(path))] if path.exists() else []
        for name, (how, instead) in NO_EVIDENCE.items():
            if any(name in env for env in environments):
                raise PaperlibError(f"{path} was trained {how}; delete its folder and train it {instead}")
        if len(versions := {env.get("torch") for env in environments}) > 1:
            raise PaperlibError(
                f"{path} was trained by more than one version of torch ({', '.join(sorted(map(str, versions)))}); "
                "delete its folder and train it with one"
            )


def refuse_other_start(one: Run, first: records.Line) -> None:
    """Refuse a run that went on from other weights than those that are recorded."""
    start = weights.start_of(one)
    if start is not None and first.get("start_weights") != checkpoints.weights_sha256(start.state_dict()):
        raise PaperlibError(f"run {one.id[:12]} did not start from the recorded weights: delete it and train it again")


def record(
    name: str, scale: str, runs_dir: Path | None = None, into: Path | None = None, only: str | None = None
) -> list[Path]:
    """Copy the finished runs of an experiment to ``data/recorded/``, or ``into`` another folder of the same layout.

    A run that one of the two folders has already is skipped. ``only`` names the id of a single run to copy. Where one
    cannot be copied, none is.
    """
    experiment: Experiment = declared.get(name, scale)
    runs_dir = runs_dir or runs.default_runs_dir()
    if scale not in FINGERPRINTS:
        raise PaperlibError(f"no copy of {scale} is known yet, so none of its runs can be evidence")
    into = into or store.current().folder
    known, written = {*store.recorded(), *store.recorded(into)}, list[Path]()
    dataset: images.Dataset | None = None  # read once, and only where nets are looked at
    try:
        for run_id, (arm, seed, copy) in experiment.ids().items():
            if run_id in known or only not in (None, run_id) or not is_finished(runs_dir, run_id):
                continue
            one, source = experiment.run(arm, seed, FINGERPRINTS[scale][copy]), runs.record_path(runs_dir, run_id)
            lines = records.read_record(source)
            refuse_other_means(one, runs_dir)
            refuse_other_start(one, lines[0])
            # a run may have been trained for another experiment first; it is recorded where it is needed
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
                written += [weights_at] if weights_at else []
                lines.insert(-1, weights.looked(net, one, dataset, weights_at))
            lines = records.sealed(lines) if records.SEAL in lines[-1] else lines
            written.append(target)
            files.write_whole(target, "".join(map(records.as_text, lines)).encode())
        if written and into == store.current().folder:
            store.write_lists(into)
    except BaseException:  # a full disk, say; files that the list of checksums lacks are refused
        for path in written:
            path.unlink(missing_ok=True)
        raise
    finally:
        store.forget()
    return written


def refuse_to_move(pending: Path, lines: store.Record) -> None:
    """Refuse a pending record whose run is recorded with other numbers, or whose weights are not there."""
    source, target = (store.place_of(lines[0], folder) for folder in (pending, store.current().folder))
    same = target.exists() and target.read_bytes() == source.read_bytes()
    if not same and (target.exists() or lines[0]["id"] in store.recorded()):
        raise PaperlibError(f"{source} would replace another record of its run or place: remove one of the two")
    for named in [line["weights"] for line in records.of_kind(lines, "look") if "weights" in line]:
        places = (pending, store.current().folder)  # an interrupted move leaves them in the second
        kept = [store.weights_of(lines[0], folder) for folder in places]
        if not any(path.exists() and files.sha256(path) == named for path in kept):
            raise PaperlibError(f"{kept[0]} does not hold the weights that {source.name} names: restore it")


def promote(pending: Path) -> list[str]:
    """Move each experiment that is complete from ``pending`` to ``data/recorded/``; gives their names, with the scale.

    Complete is one all of whose declared runs are in the two folders; of the others nothing is moved. Raises
    :class:`PaperlibError`, and moves nothing, where a record would replace another one or lacks its weights.
    """
    if not pending.is_dir():
        raise PaperlibError(f"{pending} is no folder: name the one that holds the pending records")
    there = {*store.recorded(), *store.recorded(pending)}
    complete = [e for e in declared.DECLARED if (ids := e.ids()) and set(ids) <= there]
    needed = {run_id for e in complete for run_id in e.ids()}
    moving = [lines for run_id, lines in store.recorded(pending).items() if run_id in needed]
    moved = [lines[0] for lines in moving]
    for lines in moving:
        refuse_to_move(pending, lines)
    try:
        for first in moved:
            source, target = (store.place_of(first, folder) for folder in (pending, store.current().folder))
            target.parent.mkdir(parents=True, exist_ok=True)
            for suffix in (".safetensors", ".jsonl"):  # the record last: without its weights it would be damaged
                if source.with_suffix(suffix).exists():
                    source.with_suffix(suffix).replace(target.with_suffix(suffix))
    finally:
        if moved:
            store.write_lists(store.current().folder)
        store.forget()
    ids_moved = {first["id"] for first in moved}
    return [f"{e.name}, {e.scale}" for e in complete if ids_moved & set(e.ids())]
