"""One update in 1, 2 and 4 processes of one thread, against one process with as many threads in all.

On a machine with as many cores as processes nothing pays for the exchange: several processes are for
several devices. What it costs is stated in bytes and as a share of the time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from multiprocessing.context import BaseContext
from typing import Any

import torch

from benchmarks import cifar
from benchmarks.timing import ROUNDS, Result, seconds, share, summary
from paperlib.nets.sizes import EVIDENCE_SIZES, FULL_SIZES
from paperlib.recipe import Recipe, Sizes, Stop
from paperlib.training import loop
from paperlib.training.processes import Topology, launch
from paperlib.training.runs import Run

TOPOLOGIES = ((1, 1), (2, 1), (2, 2))
"""Towers, and shares of the batch."""

JOBS: dict[str, tuple[Recipe, Sizes, int]] = {
    "evidence net": (cifar.RECIPE, EVIDENCE_SIZES, 128),
    "full net at half its width": (Recipe.paper().but(**{"model.width": 0.5}), FULL_SIZES, 32),
}
"""Recipe, sizes, and images in a batch."""


@dataclass(frozen=True)
class Watched(Topology):
    """The place of a process that also keeps the seconds for which it exchanges or waits for the others."""

    waited: list[float] = field(default_factory=list)

    @contextmanager
    def answered(self, *ranks: int) -> Iterator[None]:
        start = time.perf_counter()
        with super().answered(*ranks):
            yield
        self.waited.append(time.perf_counter() - start)


@dataclass(frozen=True)
class Round:
    """Seconds of one update by several processes, of it in exchanges, and of one process alone; bytes sent by each."""

    several: float
    exchanges: float
    one: float
    sent: int


def in_turn(topology: Topology, recipe: Recipe, sizes: Sizes, batch: int, rounds: int) -> list[Round]:
    """Updates of the training loop, its batches included, by all processes and then by the first, while others wait."""
    watched = Watched(**{each.name: getattr(topology, each.name) for each in fields(Topology)})
    data = cifar.made_up(sizes, batch)
    recipe = recipe.but(**{"optim.batch_size": batch, "optim.drops": ()})
    run = Run(recipe, sizes, Stop(epochs=1), data.fingerprint, 0)

    def update(training: loop.Training, step: int, threads: int) -> float:
        torch.set_num_threads(threads)
        training.state.step = step

        def an_epoch_of_one_batch() -> None:
            for inputs, labels in training.batches.of_epoch(0):
                loop.update(training, inputs, labels, 1e-6, 0)

        return seconds(an_epoch_of_one_batch)

    together = cifar.prepared(run, data, watched)
    alone = cifar.prepared(run, data) if topology.rank == 0 else None
    found = []
    for step in range(rounds + 1):
        topology.total(0.0)  # all begin together
        watched.waited.clear()
        watched.traffic.clear()
        several = update(together, step, 1)
        exchanges, sent = sum(watched.waited), watched.traffic.total()
        one = update(alone, step, topology.world) if alone else 0.0
        found.append(Round(several, exchanges, one, sent))
    return found[1:]  # the first does not count


def run(
    jobs: dict[str, tuple[Recipe, Sizes, int]] = JOBS, rounds: int = ROUNDS, context: BaseContext | None = None
) -> Iterator[Result]:
    """The first process's times. In one process both are the same: it shows what differences mean nothing."""
    for name, (recipe, sizes, batch) in jobs.items():
        for towers, data in TOPOLOGIES:
            job: tuple[Any, ...] = (recipe, sizes, batch, rounds)
            first, *_ = launch(in_turn, *job, towers=towers, data=data, context=context)
            world = towers * data
            processes = "1 process" if world == 1 else f"{world} processes ({towers} towers x {data})"
            what = f"update of the {name}, batch {batch}, data included, in {processes}"
            against = f"one process with {world} thread{'s' * (world > 1)}"
            yield summary(what, against, [(r.several, r.one) for r in first])
            if world > 1:
                what = f"exchanges of the {name} in {processes}, {first[0].sent / 1e6:.3g} MB sent by each"
                yield share(what, "the time of an update", [(r.exchanges, r.several) for r in first])
