"""Train a list of declared experiments in turn, and keep what is finished in a folder of pending records.

    python tools/campaign.py PENDING TIER [TIER …] [--jobs 2]

A tier is a name in TIERS below. Seeds go outermost, so that no arm sits on one machine or one hour, and runs
that experiments share are trained once. Each run is a process of one thread at low priority; what is interrupted
resumes with the same command. `paperlib promote PENDING` turns complete experiments into evidence.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from paperlib import campaign, promote
from paperlib.data import sets
from paperlib.errors import PaperlibError
from paperlib.evidence import store
from paperlib.experiments import declared
from paperlib.training import runs

FIRST = ("net", "lrn", "pool", "augment", "colour", "dropout", "update", "depth", "order", "lrn-vgg")
THEN = ("relu", "relu-others", "long", "relu-19pct")


def of(scale: str, sweeps: bool = False) -> list[tuple[str, str]]:
    """The (name, scale) of what is declared at a scale, but for controls: the sweeps of rates, or the rest."""
    return [(e.name, e.scale) for e in declared.DECLARED if e.scale == scale and not e.later and e.sweep == sweeps]


TIERS: dict[str, list[tuple[str, str]]] = {
    "sample-rates": of("sample", sweeps=True),
    "sample": of("sample"),
    "controls": [(e.name, e.scale) for e in declared.DECLARED if e.later],
    "rates": of("cifar10", sweeps=True),
    "1": [(name, "cifar10") for name in FIRST],
    "ensembles": [("ensemble", "cifar10")],
    "2": [(name, "cifar10") for name in THEN],
    "3": [cell for cell in of("cifar10") if cell[0] not in (*FIRST, *THEN)],
}
"""The order of training: what must have a rate comes after its sweep. The arm "one tower" of tier 1 is in "order"."""


def cells(tiers: list[str]) -> Iterator[tuple[str, str, str, int, str]]:
    """(experiment, scale, arm, seed, id) of every run of the tiers, tier by tier, seeds outermost, each id once."""
    seen: set[str] = set()
    for tier in tiers:
        here = [
            (list(experiment.planned_seeds(arm)).index(seed), name, scale, arm, seed, run_id)
            for name, scale in TIERS[tier]
            for experiment in [declared.get(name, scale)]
            for run_id, (arm, seed, _) in experiment.ids().items()
        ]
        for _, name, scale, arm, seed, run_id in sorted(here, key=lambda cell: cell[0]):
            if run_id not in seen:
                seen.add(run_id)
                yield name, scale, arm, seed, run_id


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pending", type=Path)
    parser.add_argument("tiers", nargs="+", choices=list(TIERS))
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    todo = [cell for cell in cells(options.tiers) if cell[4] not in store.recorded()]
    # two locks: looking at a net while it is recorded takes minutes, and the next run need not wait for that
    choosing, recording, turn = threading.Lock(), threading.Lock(), iter(todo)
    logging.info("%d runs", len(todo))

    def work() -> None:
        while True:
            with choosing:
                cell = next(turn, None)
            if cell is None:
                return
            name, scale, arm, seed, run_id = cell
            if run_id in store.recorded(options.pending):
                continue
            if not campaign.is_finished(runs.default_runs_dir(), run_id):
                command = [sys.executable, "-m", "paperlib", "train", name, arm, "--scale", scale, "--seed", str(seed)]
                ended = subprocess.run(["nice", "-n", "19", *command], capture_output=True, text=True)
                logging.info("%s", (ended.stdout + ended.stderr).strip().splitlines()[-1:])
                if ended.returncode:
                    continue
            with recording:
                try:
                    promote.record(name, scale, into=options.pending, only=run_id)
                except PaperlibError as error:
                    logging.info("%s %s: %s", name, arm, error)

    sets.load("sample")  # before threads: imports and caches
    workers = [threading.Thread(target=work) for _ in range(options.jobs)]
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main()
