"""Train the core experiments, execute the notebooks, redraw the figures, print the claims: `make reproduce`.

python tools/reproduce.py             the core: Figure 1, and the four ideas of section 3, one seed each
python tools/reproduce.py --all       every experiment that needs no download

All runs and notebooks share one pool, the longest first. Each is a process with one thread, and its output goes to
build/logs/. Runs go to runs/ and resume; the notebooks go to build/notebooks/. The exit code is 1 where one failed.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import kernels

import notebooks as executing
from paperlib.data.known import EMBEDDED
from paperlib.evidence import agreement, claims, store
from paperlib.experiments import declared
from paperlib.training import records

ROOT = Path(__file__).resolve().parent.parent
CORE = (
    ("relu", "sample", ("2012/relu", "2012/tanh")),  # Figure 1
    ("towers", "sample", ("baseline", "one tower")),  # section 3.2
    ("lrn", "sample", ("no lrn",)),  # section 3.3
    ("pool", "sample", ("2x2",)),  # section 3.4
)
"""(experiment, scale, arms): the baseline, and the arms of the paper's main claims."""
TYPICAL = 45.0
"""Seconds of a run of one net that is not recorded: those of the baseline."""
DRAWING = 40.0
"""Seconds that redrawing the figures takes."""


@dataclass(frozen=True)
class Task:
    """One process of the pool: what it is called, its arguments to Python, and the seconds that it takes by record."""

    name: str
    arguments: tuple[str, ...]
    seconds: float
    experiment: str = ""
    scale: str = ""


def core_runs() -> list[Task]:
    """The first seed of each core arm."""
    return [run_of(name, scale, arm) for name, scale, arms in CORE for arm in arms]


def all_runs() -> list[Task]:
    """The first seed of every arm at the embedded scales, without sweeps; a run that experiments share comes once."""
    found: dict[str, Task] = {}
    for scale in EMBEDDED:
        for experiment in (declared.get(name, scale) for name in declared.names(scale)):
            for arm in experiment.arms if not experiment.sweep else ():
                run = experiment.run(arm, experiment.planned_seeds(arm)[0], scale)  # one copy of the data is enough
                found.setdefault(run.id, run_of(experiment.name, scale, arm))
    return list(found.values())


def run_of(name: str, scale: str, arm: str) -> Task:
    """The first seed of an arm. Its time is the shortest recorded one: the others shared their core."""
    arguments = ("-m", "paperlib", "run", name, "--scale", scale, "--arms", arm, "--seeds", "1")
    recorded = [lines for other, _, lines in store.records_of(name, scale) if other == arm]
    took = [epochs[-1]["seconds"] for lines in recorded if (epochs := records.of_kind(lines, "epoch"))]
    experiment = declared.get(name, scale)
    nets = experiment.run(arm, 0, "").members
    return Task(f"{name}, {scale}: {arm}", arguments, min(took) if took else TYPICAL * nets, name, scale)


def notebooks() -> list[Task]:
    """Every notebook, with the seconds that `make notebooks` measured."""
    with (ROOT / "data" / "recorded" / "notebooks.csv").open(newline="") as file:
        costs = {row["notebook"]: float(row["seconds"]) for row in csv.DictReader(file)}
    return [
        Task(path.stem, ("tools/notebooks.py", path.stem, "--to", "build/notebooks", "--jobs", "1"), costs[path.name])
        for path in executing.find([])
    ]


def seconds_of(tasks: Sequence[Task]) -> float:
    """What they take together on one core, by the recorded times."""
    return sum(task.seconds for task in tasks)


def work(tasks: Sequence[Task], jobs: int) -> list[str]:
    """Do the tasks, longest first, and print a line for each with the time left; gives the names that failed."""
    logs = ROOT / "build" / "logs"
    logs.mkdir(parents=True, exist_ok=True)

    def do(task: Task) -> tuple[int, float]:
        begun = time.monotonic()
        with (logs / f"{task.name.replace('/', '-')}.log").open("w") as log:
            done = subprocess.run(
                [sys.executable, *task.arguments], cwd=ROOT, stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, check=False,
            )  # fmt: skip
        return done.returncode, time.monotonic() - begun

    begun, behind, failed = time.monotonic(), 0.0, []
    with ThreadPoolExecutor(jobs) as pool:
        ahead = {pool.submit(do, task): task for task in sorted(tasks, key=lambda task: -task.seconds)}
        try:
            for number, future in enumerate(as_completed(ahead), 1):
                task, (code, took) = ahead[future], future.result()
                behind += task.seconds
                left = (time.monotonic() - begun) * (seconds_of(tasks) - behind) / behind
                said = f"{took:.0f} s" if code == 0 else "FAILED, see build/logs/"
                failed += [task.name] * (code != 0)
                print(f"[{number}/{len(tasks)}] {task.name}: {said}; about {left / 60:.1f} min left", flush=True)
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise
    return failed


def how_they_agree(runs: Sequence[Task]) -> str:
    """One sentence on the runs of these experiments that have a recorded twin."""
    touched = sorted({(task.experiment, task.scale) for task in runs})
    pairs = [pair for name, scale in touched for pair in agreement.twins(name, scale)]
    return f"{len(touched)} experiments touched, {agreement.difference(pairs)}"


def drawn() -> str:
    """How many figures there are, and whether git sees a change in them."""
    done = subprocess.run(
        ["git", "status", "--porcelain", "figures"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    changed = len(done.stdout.splitlines())
    known = "" if done.returncode else f"; {changed or 'no'} file{'s' * (changed > 1)} changed for git"
    return f"{len(list((ROOT / 'figures').glob('*.png')))} in figures/{known}"


def main(arguments: list[str] | None = None) -> int:
    """0 where all went through, 1 where something failed, 130 where it was interrupted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--all", action="store_true", help="every experiment that needs no download")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time, each with one thread (2)")
    options = parser.parse_args(arguments)
    place = os.environ.get("PAPERLIB_RUNS")
    kernels.clean()
    os.environ |= {"PAPERLIB_RUNS": place} if place else {}
    runs, books = all_runs() if options.all else core_runs(), notebooks()
    tasks = [*runs, *books, Task("figures", ("-m", "paperlib", "figures"), DRAWING)]
    minutes = seconds_of(tasks) / 60 / options.jobs
    print(f"{len(tasks)} processes, {options.jobs} at a time: about {minutes:.0f} min, by the recorded times")
    begun = time.monotonic()
    try:
        failed = work(tasks, options.jobs)
    except KeyboardInterrupt:
        print("Interrupted. Run the same command to resume.", file=sys.stderr)
        return 130
    table = claims.rows()
    print(claims.as_text(table).rpartition("\n\n")[0], end="\n\n")
    minutes, done = (time.monotonic() - begun) / 60, [task for task in tasks if task.name not in failed]
    ended = f" FAILED: {', '.join(failed)}; see build/logs/." if failed else ""
    print(f"Trained:   {len([t for t in done if t in runs])} of {len(runs)} runs, in {runs_folder()}; all took "
          f"{minutes:.1f} min.{ended}")  # fmt: skip
    print(f"Agreement: {how_they_agree(runs)}.")
    print(f"Notebooks: {len([t for t in done if t in books])} of {len(books)} executed, in build/notebooks/.")
    print(f"Figures:   {drawn()}.")
    print(f"Claims:    {', '.join(f'{n} {status}' for status, n in claims.tally(table).items())}; see CLAIMS.md.")
    return int(bool(failed))


def runs_folder() -> str:
    """Where the runs are, as a user would name it."""
    return os.environ.get("PAPERLIB_RUNS") or "runs/"


if __name__ == "__main__":
    sys.exit(main())
