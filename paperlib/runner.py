"""Running declared experiments: one process a run, one thread a process; and promoting what is finished to evidence."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from paperlib import data, evaluate, evidence, experiments, packed, runs, train, weights
from paperlib.design import KEPT, Experiment
from paperlib.errors import PaperlibError
from paperlib.normalisation import use_compiler
from paperlib.processes import ALONE, Topology, joined
from paperlib.runs import Run

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One run to train, with where it comes from and where it goes."""

    run: Run
    about: dict[str, str]
    directory: Path


def run(
    name: str,
    scale: str,
    *,
    arms: list[str] | None = None,
    seeds: int | None = None,
    jobs: int = 1,
    missing: bool = False,
    runs_dir: Path | None = None,
    progress: bool = True,
) -> list[str]:
    """Train what is not finished of an experiment; gives the ids of its finished runs.

    ``arms`` and ``seeds`` (the first so many) restrict it, ``missing`` also skips what is recorded. Runs go to
    ``runs_dir`` and resume from their last checkpoint. Needs the data of ``scale`` at hand.
    """
    experiment = experiments.get(name, scale)
    if seeds is not None and seeds < 1:
        raise PaperlibError(f"--seeds takes a number from 1 up, not {seeds}")
    if jobs < 1:
        raise PaperlibError(f"--jobs takes a number from 1 up, not {jobs}")
    for arm in arms or []:
        experiment.recipe(arm)  # raises for an unknown one before anything is trained
    chosen = arms or list(experiment.arms)
    dataset = dataset_of(scale)
    runs_dir = runs_dir or runs.default_runs_dir()
    recorded = set(evidence.recorded()) if missing else set()
    todo, finished = [], []
    for arm, seed in experiment.cells():
        if arm not in chosen or (seeds is not None and seed not in experiment.planned_seeds(arm)[:seeds]):
            continue
        one = experiment.run(arm, seed, dataset.fingerprint)
        if one.id in recorded or is_finished(runs_dir, one.id):
            finished.append(one.id)
        else:
            about = {"experiment": name, "scale": scale, "arm": arm}
            todo.append(Job(one, about, runs.record_path(runs_dir, one.id).parent))
    if jobs == 1:
        for job in todo:
            train_one(job, dataset, progress=progress)
    else:
        train_many(todo, jobs, progress)
    return finished + [job.run.id for job in todo]


def is_finished(runs_dir: Path, run_id: str) -> bool:
    """Whether a record of this id stands in ``runs_dir`` and is complete."""
    return runs.finished(runs.record_path(runs_dir, run_id))


def dataset_of(scale: str, folder: Path | None = None) -> data.Dataset:
    """The data set of a scale: what was prepared in ``folder``, or what :func:`paperlib.data.load` finds below it."""
    if scale == "ilsvrc2012":
        return packed.load(folder)
    if folder and scale in data.EMBEDDED:
        raise PaperlibError(f"the images of {scale} come with the repository: leave out --data")
    return data.load(scale, folder) if folder else data.load(scale)


def train_declared(
    name: str,
    arm: str,
    scale: str,
    seed: int,
    *,
    towers: int = 1,
    timeout: float,
    progress: bool = True,
    folder: Path | None = None,
    device: str = "cpu",
    compiled: bool = False,
    smoke: float = 0.0,
    say: Callable[[str], None] = lambda line: None,
) -> str | None:
    """Train one declared run in this process, or in this rank of a job of torchrun; gives how it ended.

    A job of several processes shares out every batch among pairs of ``towers``; None in all of them but the first.
    The run, its directory and its record are those of :func:`run`; ``say`` is told where they are. ``smoke`` seconds
    train without keeping anything, and tell the speed instead. ``compiled``: see
    :func:`paperlib.normalisation.use_compiler`.
    """
    experiment = experiments.get(name, scale)
    if seed not in experiment.planned_seeds(arm):
        planned = ", ".join(map(str, experiment.planned_seeds(arm)))
        raise PaperlibError(f"experiment {name} has no seed {seed} for arm {arm!r}; its seeds are {planned}")
    device = device_of(device)
    use_compiler(compiled)
    dataset = dataset_of(scale, folder)
    one = experiment.run(arm, seed, dataset.fingerprint)
    about = {"experiment": name, "scale": scale, "arm": arm}
    job = Job(one, about, runs.record_path(runs.default_runs_dir(), one.id).parent)
    with joined(towers, timeout) as topology:
        if smoke:
            status = speed(one, dataset, smoke, topology, device)
        else:
            if topology.rank == 0 and one.members == 1:
                say(f"{os.path.relpath(job.directory)}: its record.jsonl tells how it goes")
            status = train_one(job, dataset, progress=progress, topology=topology, device=device)
            status += tested(job.directory) if topology.rank == 0 else ""
    return status if topology.rank == 0 else None


def tested(directory: Path) -> str:
    """What a finished run's record says of the test images, after a semicolon; empty where it says nothing."""
    lines = [line for line in runs.read_record(directory / "record.jsonl") if line["kind"] in ("test", "ensemble")]
    return "".join(f"; {in_words(line['views'], line)}" for line in lines)


def in_words(views: int, errors: Mapping[str, Any]) -> str:
    """Top-1 and top-5 error in so many views, as a part of a sentence."""
    name = "centre view" if views == 1 else "ten views"
    return f"{name}: top-1 error {errors['top1_error']:.2f} %, top-5 error {errors['top5_error']:.2f} %"


def device_of(name: str) -> str:
    """``cpu``, or this process's own GPU."""
    if name not in ("cpu", "cuda"):
        raise PaperlibError(f"--device takes cpu or cuda, not {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise PaperlibError("this machine has no GPU that torch can use: say --device cpu")
    if name == "cuda" and int(os.environ.get("LOCAL_RANK", 0)) >= torch.cuda.device_count():
        raise PaperlibError(f"each process needs a GPU of its own, and this machine has {torch.cuda.device_count()}")
    if name == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    return name


def speed(one: Run, dataset: data.Dataset, seconds: float, topology: Topology, device: str) -> str:
    """Train for ``seconds`` without keeping anything; gives images/s, and the time that the run would take.

    By the median update, as the first ones warm up and a test may lie between two. Raises :class:`PaperlibError` for
    a run that is no training of a single net from its first weights.
    """
    if one.members > 1 or one.start:
        raise PaperlibError("--smoke tells the speed of a single net from its first weights; name an arm that is one")
    begun: list[float] = []

    def keep_going() -> bool:
        begun.append(time.perf_counter())
        return begun[-1] - begun[0] < seconds or len(begun) <= 2 * WARMING

    with one_thread(), contextlib.suppress(train.Interrupted):
        if train.fit(one, dataset, keep_going=keep_going, topology=topology, device=device).status == "diverged":
            raise PaperlibError(f"the loss was no number after {len(begun)} updates, which tells no speed")
    if len(begun) <= WARMING + 1:
        raise PaperlibError(
            f"this run has {len(begun)} updates, too few to tell its speed, which takes {WARMING + 2}: take more images"
        )
    took = statistics.median(after - before for before, after in itertools.pairwise(begun[WARMING:]))
    images = one.recipe.optim.batch_size / took
    there = len(dataset.only(one.stop.classes).train_labels)
    total = one.stop.epochs * ((one.stop.train_images or there) - one.stop.validation)
    minutes, epochs = total / images / 60, one.stop.epochs
    time_needed = f"{minutes / 60:,.1f} hours" if minutes >= 60 else f"{minutes:.1f} minutes"
    return f"{images:,.0f} images/s, {time_needed} for its {epochs} epoch{'s' * (epochs != 1)}, nothing kept"


WARMING = 3
"""Updates that are not counted."""


def evaluate_checkpoint(path: Path, folder: Path | None = None, *, timeout: float, device: str = "cpu") -> list[str]:
    """Top-1 and top-5 error of weights on disk, in one view and in ten, as lines of text.

    Of several processes of a job of torchrun, each tests its share of the images; rank 0 has the lines.
    """
    device = device_of(device)
    found = weights.checkpoint(path)
    net, augmenter, dataset = found.on(dataset_of(found.scale, folder))
    net, augmenter = net.to(device), augmenter.to(device)
    images, labels = dataset.test_images, dataset.test_labels
    lines = [f"{dataset.title}, {len(images):,} test images, after {found.step:,} updates"]
    with joined(1, timeout) as topology:
        topology.refuse_unlike(
            [found.run.id, runs.weights_sha256(found.tensors)],
            "found other weights than rank 0: name weights that no training is writing, in a folder that all hosts "
            "share",
        )
        for views in (1, 10):
            errors = evaluate.errors(net, augmenter, images, labels, views, topology)
            lines.append(in_words(views, errors))
    return lines if topology.rank == 0 else []


def train_one(
    job: Job,
    dataset: data.Dataset,
    *,
    progress: bool = False,
    parent: int | None = None,
    topology: Topology = ALONE,
    device: str = "cpu",
) -> str:
    """Train one job in this process, on one thread."""
    with one_thread():
        result = train.fit(
            job.run, dataset, job.directory, about=job.about, progress=progress,
            keep_going=lambda: parent is None or os.getppid() == parent, topology=topology, device=device,
            start=weights.start_of(job.run),
        )  # fmt: skip
    return result.status


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One thread while it lasts: the last digits of a run depend on their number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _train_in_child(job: Job, parent: int) -> str:
    try:
        return train_one(job, dataset_of(job.about["scale"]), parent=parent)
    except train.Interrupted:
        return "interrupted"  # the parent is gone


def train_many(todo: list[Job], jobs: int, progress: bool) -> None:
    """Train jobs in ``jobs`` processes; a failing one lets the running ones finish and then raises."""
    context = multiprocessing.get_context("spawn")
    # a fresh process a run: what one leaves in memory cannot slow down the next
    with ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1) as pool:
        futures: set[Future[str]] = {pool.submit(_train_in_child, job, os.getpid()) for job in todo}
        bar = tqdm(total=len(todo), unit="run", disable=not progress, desc="runs")
        try:
            while futures:
                done, futures = wait(futures, timeout=1, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
                bar.update(len(done))
                bar.set_postfix(epochs=sum(_epochs(job) for job in todo), refresh=True)
                time.sleep(0.2)
        except BaseException:
            for future in futures:
                future.cancel()
            raise
        finally:
            bar.close()


def _epochs(job: Job) -> int:
    """Epochs a job has behind it, for the progress bar."""
    path = job.directory / "record.jsonl"
    return path.read_text().count('"kind": "epoch"') if path.exists() else 0


# ---------------------------------------------------------------------------------------------------------
# Promotion to evidence


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
        lines = runs.read_record(path) if path.exists() else []
        for name, (how, instead) in NO_EVIDENCE.items():
            if any(name in line or name in line.get("env", {}) for line in lines):
                raise PaperlibError(f"{path} was trained {how}; delete its folder and train it {instead}")


def refuse_other_start(one: Run, first: runs.Line) -> None:
    """Refuse a run that went on from other weights than those that are recorded."""
    start = weights.start_of(one)
    if start is not None and first.get("start_weights") != runs.weights_sha256(start.state_dict()):
        raise PaperlibError(f"run {one.id[:12]} did not start from the recorded weights: delete it and train it again")


def record(
    name: str, scale: str, runs_dir: Path | None = None, into: Path | None = None, only: str | None = None
) -> list[Path]:
    """Copy the finished runs of an experiment to ``data/recorded/``, or ``into`` another folder of the same layout.

    A run that is recorded in one of the two already is left alone. ``only`` takes the run of that id and no other.
    """
    experiment: Experiment = experiments.get(name, scale)
    runs_dir = runs_dir or runs.default_runs_dir()
    if scale not in data.FINGERPRINTS:
        raise PaperlibError(f"no copy of {scale} is known yet, so none of its runs can be evidence")
    into = into or evidence.RECORDED
    known, written = {*evidence.recorded(), *evidence.recorded(into)}, []
    dataset: data.Dataset | None = None  # read once, and only where nets are looked at
    for run_id, (arm, seed, copy) in experiment.ids().items():
        if run_id in known or only not in (None, run_id) or not is_finished(runs_dir, run_id):
            continue
        source = runs.record_path(runs_dir, run_id)
        # a run may have been trained for another experiment first; it is recorded where it is needed
        lines = runs.read_record(source)
        one = experiment.run(arm, seed, data.FINGERPRINTS[scale][copy])
        refuse_other_means(one, runs_dir)
        refuse_other_start(one, lines[0])
        lines[0] |= {"experiment": name, "scale": scale, "arm": arm}
        target = evidence.place_of(lines[0], into)
        if target.exists():
            raise PaperlibError(
                f"{target} holds another run ({runs.read_record(target)[0]['id'][:12]}); remove it first if it is stale"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        if arm in experiment.keep:
            dataset = dataset or data.load(scale)
            net = train.fit(one, dataset, source.parent).net
            kept = seed in experiment.planned_seeds(arm)[:KEPT]
            weights_at = target.with_suffix(".safetensors") if kept else None
            lines.insert(-1, weights.looked(net, one, dataset, weights_at))
            written += [weights_at] if weights_at else []
        runs.write_whole(target, "".join(json.dumps(line) + "\n" for line in lines).encode())
        written.append(target)
    if written and into == evidence.RECORDED:
        evidence.write_checksums(into)
        evidence.write_commits(into)
    evidence.forget()
    return written


def promote(pending: Path) -> list[str]:
    """Move each experiment that is complete from ``pending`` to ``data/recorded/``; gives their names, with the scale.

    Complete is one all of whose declared runs are in the two folders; of the others nothing is moved.
    """
    there = {*evidence.recorded(), *evidence.recorded(pending)}
    complete = [e for e in experiments.DECLARED if (ids := e.ids()) and set(ids) <= there]
    needed = {run_id for e in complete for run_id in e.ids()}
    moved = [lines[0] for run_id, lines in evidence.recorded(pending).items() if run_id in needed]
    for first in moved:
        source, target = (evidence.place_of(first, folder) for folder in (pending, evidence.RECORDED))
        target.parent.mkdir(parents=True, exist_ok=True)
        for suffix in (".safetensors", ".jsonl"):  # the record last: without its weights it would be damaged
            if source.with_suffix(suffix).exists():
                source.with_suffix(suffix).replace(target.with_suffix(suffix))
    if moved:
        evidence.write_checksums(evidence.RECORDED)
        evidence.write_commits(evidence.RECORDED)
    evidence.forget()
    ids_moved = {first["id"] for first in moved}
    return [f"{e.name}, {e.scale}" for e in complete if ids_moved & set(e.ids())]
