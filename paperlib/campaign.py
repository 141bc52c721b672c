"""Running declared experiments: one process a run, one thread a process; and promoting what is finished to evidence."""

from __future__ import annotations

import contextlib
import itertools
import logging
import multiprocessing.connection
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from paperlib.data import images, known, packed, sets
from paperlib.errors import PaperlibError
from paperlib.evidence import store, weights
from paperlib.experiments import declared
from paperlib.machine import whole_number
from paperlib.training import checkpoints, evaluate, loop, processes, records, runs
from paperlib.training.precision import Precision
from paperlib.training.processes import ALONE, Topology, joined, one_thread
from paperlib.training.runs import Run

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

    ``arms`` and ``seeds`` (their number, from the first) restrict it, ``missing`` also skips what is recorded. Runs go
    to ``runs_dir`` and resume from their last checkpoint. Needs the data of ``scale`` at hand.
    """
    experiment = declared.get(name, scale)
    if seeds is not None and seeds < 1:
        raise PaperlibError(f"--seeds takes a number from 1 up, not {seeds}")
    if jobs < 1:
        raise PaperlibError(f"--jobs takes a number from 1 up, not {jobs}")
    for arm in arms or []:
        experiment.recipe(arm)  # raises for an unknown one before anything is trained
    chosen = arms or list(experiment.arms)
    dataset = dataset_of(scale)
    runs_dir = runs_dir or runs.default_runs_dir()
    recorded = set(store.recorded()) if missing else set()
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
    """Whether ``runs_dir`` has a complete record of this id."""
    return records.finished(runs.record_path(runs_dir, run_id))


def dataset_of(scale: str, folder: Path | None = None) -> images.Dataset:
    """The data set of a scale: what was prepared in ``folder``, or what :func:`sets.load` finds below it."""
    if scale == "ilsvrc2012":
        return packed.load(folder)
    if folder and scale in known.EMBEDDED:
        raise PaperlibError(f"the images of {scale} come with the repository: omit --data")
    return sets.load(scale, folder) if folder else sets.load(scale)


def train_declared(
    name: str,
    arm: str,
    scale: str,
    seed: int | None = None,
    *,
    towers: int = 1,
    timeout: float,
    progress: bool = True,
    folder: Path | None = None,
    device: str = "cpu",
    precision: Precision = "fp32",
    smoke: float = 0.0,
    say: Callable[[str], None] = lambda line: None,
) -> str | None:
    """Train one declared run in this process, or in this rank of a job of torchrun; gives its seed and how it ended.

    Without a ``seed`` it is the first that is planned. A job of several processes shares out every batch among pairs of
    ``towers``; None in all of them but the first.
    The run, its directory and its record are those of :func:`run`; ``say`` is told where they are. ``smoke`` seconds
    train without keeping anything, and tell the speed instead.
    """
    experiment = declared.get(name, scale)
    seed = experiment.planned_seeds(arm)[0] if seed is None else seed
    if seed not in experiment.planned_seeds(arm):
        planned = ", ".join(map(str, experiment.planned_seeds(arm)))
        raise PaperlibError(f"experiment {name} has no seed {seed} for arm {arm!r}; its seeds are {planned}")
    device = device_of(device)
    dataset = dataset_of(scale, folder)
    one = experiment.run(arm, seed, dataset.fingerprint)
    about = {"experiment": name, "scale": scale, "arm": arm}
    job = Job(one, about, runs.record_path(runs.default_runs_dir(), one.id).parent)
    with joined(towers, timeout) as topology:
        if smoke:
            status = speed(one, dataset, smoke, topology, device, precision)
        else:
            if topology.rank == 0 and one.members == 1:
                say(f"{os.path.relpath(job.directory)}: its record.jsonl tells how it goes")
            status = train_one(job, dataset, progress=progress, topology=topology, device=device, precision=precision)
            status += tested(job.directory) if topology.rank == 0 else ""
    return f"seed {one.seed}: {status}" if topology.rank == 0 else None


def tested(directory: Path) -> str:
    """What a finished run's record says of the test images, after a semicolon; empty where it says nothing."""
    lines = [line for line in records.read_record(directory / "record.jsonl") if line["kind"] in ("test", "ensemble")]
    return "".join(f"; {in_words(line['views'], line)}" for line in lines)


def in_words(views: int, errors: Mapping[str, Any]) -> str:
    """Top-1 and top-5 error in a number of views, as a part of a sentence."""
    name = "centre view" if views == 1 else "ten views"
    return f"{name}: top-1 error {errors['top1_error']:.2f} %, top-5 error {errors['top5_error']:.2f} %"


def device_of(name: str) -> str:
    """``cpu``, or this process's own GPU."""
    if name == "cuda" and not torch.cuda.is_available():
        raise PaperlibError("this machine has no GPU that torch can use: say --device cpu")
    if name == "cuda":
        mine = whole_number("LOCAL_RANK") or 0
        if mine >= torch.cuda.device_count():
            raise PaperlibError(f"each process needs its own GPU, and this machine has {torch.cuda.device_count()}")
        torch.cuda.set_device(mine)
    return name


def speed(
    one: Run, dataset: images.Dataset, seconds: float, topology: Topology, device: str, precision: Precision = "fp32"
) -> str:
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

    how: dict[str, Any] = {"topology": topology, "device": device, "precision": precision}
    with one_thread(), contextlib.suppress(loop.Interrupted):
        if loop.fit(one, dataset, keep_going=keep_going, **how).status == "diverged":
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
            [found.run.id, checkpoints.weights_sha256(found.tensors)],
            "found other weights than rank 0: name weights that no training is writing, in a folder that all hosts "
            "share",
        )
        for views in (1, 10):
            errors = evaluate.errors(net, augmenter, images, labels, views, topology)
            lines.append(in_words(views, errors))
    return lines if topology.rank == 0 else []


def train_one(
    job: Job,
    dataset: images.Dataset,
    *,
    progress: bool = False,
    keep_going: Callable[[], bool] = lambda: True,
    topology: Topology = ALONE,
    device: str = "cpu",
    precision: Precision = "fp32",
) -> str:
    """Train one job in this process, on one thread; gives how it ended."""
    with one_thread():
        result = loop.fit(
            job.run, dataset, job.directory, about=job.about, progress=progress,
            keep_going=keep_going, topology=topology, device=device, precision=precision,
            start=weights.start_of(job.run),
        )  # fmt: skip
    return result.status


def train_in_child(job: Job) -> str:
    """Train one job as long as the process that started this one lives."""
    parent = multiprocessing.parent_process()
    try:
        return train_one(job, dataset_of(job.about["scale"]), keep_going=parent.is_alive if parent else lambda: True)
    except loop.Interrupted:
        return "interrupted"


def train_many(todo: list[Job], jobs: int, progress: bool) -> None:
    """Train each job in a process of its own, ``jobs`` at a time; what one leaves in memory cannot slow down the next.

    Where some fail the others are trained; then the first failure is raised. Ctrl-C ends all of them at once.
    """
    waiting, running, failures = iter(todo), dict[Any, processes.Child[str]](), list[str]()
    bar = tqdm(total=len(todo), unit="run", disable=not progress, desc="runs")
    try:
        while True:
            for job in itertools.islice(waiting, jobs - len(running)):
                child = processes.Child(f"the run of {job.about['arm']}, seed {job.run.seed},", train_in_child, job)
                running[child.answer] = child
            if not running:
                break
            for answer in multiprocessing.connection.wait(running, timeout=1):
                try:
                    running.pop(answer).result()
                except PaperlibError as error:
                    failures.append(str(error))
                bar.update()
            bar.set_postfix(epochs=sum(_epochs(job) for job in todo), refresh=True)
    finally:
        bar.close()
        for child in running.values():
            child.end()
    if failures:
        more = len(failures) - 1
        raise PaperlibError(failures[0] + (f" ({more} more run{'s' * (more > 1)} failed)" if more else ""))


def _epochs(job: Job) -> int:
    """Epochs a job has behind it, for the progress bar."""
    path = job.directory / "record.jsonl"
    return path.read_text().count('"kind": "epoch"') if path.exists() else 0
