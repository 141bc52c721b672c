"""What trainings and preparations survive, tried for real: the table in book/faults.md.

    python -m tools.faults                      20 tries of each fault, or as many as its line allows: `make faults`
    python -m tools.faults --tries 3 "SIGKILL at a random moment"

Tries small runs on generated images. The exit code is 1 where one did not survive.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import functools
import os
import platform
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import torch

from paperlib import campaign, files
from paperlib.data import pack, sets
from paperlib.errors import PaperlibError
from paperlib.training import loop, records
from paperlib.training.processes import Child
from paperlib.training.records import Line
from tests import test_campaign, tiny
from tests.data import test_packed
from tests.training import test_loop, test_towers

PAGE = files.SOURCE / "book" / "faults.md"
RUN = tiny.everything(epochs=6)
DATA = tiny.dataset()
CHANCE = random.Random(2012)
INTRODUCTION = """# Faults

What happens to trainings and preparations when something fails. `make faults` tries each fault on small runs and writes
this page; the tests try more. Trained again means: the same command resumes, and ends in the record of an undisturbed
run, in every digit.

"""


@functools.cache
def whole() -> list[Line]:
    return records.comparable(loop.fit(RUN, DATA).lines)


def resumes(folder: Path) -> bool:
    """Whether the same training, started again, ends in the record of an undisturbed one."""
    done = records.comparable(loop.fit(RUN, DATA, folder).lines) == whole()
    return done and records.comparable(records.read_record(folder / "record.jsonl")) == whole()


def refused(action: Callable[[], object], *words: str) -> bool:
    """Whether an action ends in one sentence with these words."""
    try:
        action()
    except PaperlibError as error:
        return "\n" not in str(error) and all(word in str(error) for word in words)
    return False


def quiet_fit(folder: Path) -> None:
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - until the process ends
    tiny.fit_in_child(RUN, folder)


def stopped_by(sent: signal.Signals, folder: Path) -> bool:
    """Whether a signal at a random moment stopped a training before its end."""
    process = tiny.processes().Process(target=quiet_fit, args=(folder,))
    process.start()
    lines = CHANCE.randrange(1, len(whole()))
    while process.is_alive() and tiny.lines_written(folder / "record.jsonl") < lines:
        time.sleep(0.001)
    time.sleep(CHANCE.random() * 0.02)
    os.kill(process.pid or 0, sent)
    process.join()
    return not records.finished(folder / "record.jsonl")


# ------------------------------------------------------------------------------------------ the faults
# Each gives whether it was survived; None where the training had ended before.


def killed(folder: Path) -> bool | None:
    return resumes(folder) if stopped_by(signal.SIGKILL, folder) else None


def interrupted(folder: Path) -> bool | None:
    return resumes(folder) if stopped_by(signal.SIGINT, folder) else None


def killed_in_a_call(folder: Path) -> bool:
    moment = tiny.Sabotage(*CHANCE.choice(test_loop.MOMENTS))
    process = tiny.processes().Process(target=tiny.fit_in_child, args=(RUN, folder, moment))
    process.start()
    process.join()
    return process.exitcode == -signal.SIGKILL and resumes(folder)


def full_disk(folder: Path) -> bool:
    sync, room = os.fsync, iter(range(CHANCE.randrange(60)))

    def fills_up(fd: int) -> None:
        if next(room, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(fd)

    with mock.patch.object(os, "fsync", fills_up):
        said = refused(lambda: loop.fit(RUN, DATA, folder, checkpoint_seconds=0.0), "No space left on device")
    return said and not list(folder.glob("*.part")) and resumes(folder)


def fit_as_nobody(folder: Path) -> None:
    if os.getuid() == 0:  # who may write everywhere
        os.setuid(65534)
    loop.fit(RUN, DATA, folder)


def read_only(folder: Path) -> bool:
    above = folder / "read-only"
    above.mkdir(parents=True)
    above.chmod(0o555)
    said = refused(
        Child("x", fit_as_nobody, above / "run", context=tiny.processes()).result, "cannot write into", "RUNS"
    )
    above.chmod(0o755)
    return said and resumes(above / "run")


def flipped(folder: Path) -> bool:
    with contextlib.suppress(loop.Interrupted):
        loop.fit(RUN, DATA, folder, checkpoint_seconds=0.0, keep_going=tiny.for_updates(CHANCE.randrange(2, 30)))
    path = CHANCE.choice(sorted(path for path in folder.iterdir() if path.name != "lock"))
    content = bytearray(path.read_bytes())
    content[CHANCE.randrange(len(content))] ^= 1 << CHANCE.randrange(8)
    path.write_bytes(content)
    try:
        return resumes(folder)
    except PaperlibError as error:
        return "\n" not in str(error)


def clock_set_back(folder: Path) -> bool:
    with contextlib.suppress(loop.Interrupted):
        loop.fit(RUN, DATA, folder, checkpoint_seconds=0.0, keep_going=tiny.for_updates(CHANCE.randrange(1, 30)))
    for path in folder.iterdir():
        os.utime(path, times=(time.time() + 1e8,) * 2)
    past = mock.Mock(now=lambda zone: datetime.now(zone) - timedelta(days=9999))
    with mock.patch.object(records, "datetime", past), mock.patch.object(time, "time", lambda: 0.0):
        return resumes(folder)


def two_on_one_run(folder: Path) -> bool | None:
    process = tiny.processes().Process(target=quiet_fit, args=(folder,))
    process.start()
    while process.is_alive() and not tiny.lines_written(folder / "record.jsonl"):
        time.sleep(0.001)
    said = refused(
        lambda: loop.fit(RUN, DATA, folder), f"another process is training in {folder} (process {process.pid}"
    )
    process.join()
    return said and process.exitcode == 0 and resumes(folder)


def dead_worker(folder: Path) -> bool:
    """Of `paperlib run --jobs 2`; its number is in the lock file of its run."""
    jobs = [test_campaign.small(seed, folder / "runs") for seed in (0, 1)]

    def kill() -> None:
        while tiny.lines_written(jobs[0].directory / "record.jsonl") < 2:
            time.sleep(0.001)
        os.kill(int((jobs[0].directory / "lock").read_text().split()[0]), signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    said = refused(lambda: campaign.train_many(jobs, 2, False), "the run of seed 0, seed 0, was ended from outside")
    if not said or not records.finished(jobs[1].directory / "record.jsonl"):
        return False
    again = test_campaign.small(0, folder / "again")
    for job in (jobs[0], again):
        campaign.train_one(job, sets.load("sample"))
    both = (records.read_record(job.directory / "record.jsonl") for job in (jobs[0], again))
    return len({str(records.comparable(lines)) for lines in both}) == 1


def dead_preparer(folder: Path) -> bool:
    source = test_packed.folders(folder)
    with mock.patch.object(pack, "SHARD", 5):
        with mock.patch.object(pack, "pack", test_packed.ended):
            said = refused(lambda: test_packed.make(source, folder / "made", jobs=2), "ended from outside", "--jobs")
        test_packed.make(source, folder / "made")
        test_packed.make(source, folder / "whole")
    return said and test_packed.all_files(folder / "made") == test_packed.all_files(folder / "whole")


def failed_rank(sent: signal.Signals, folder: Path) -> bool:
    folder.mkdir()
    victim = CHANCE.randrange(2)
    both = test_towers.start_job(folder / "job", victim, 2, 12.0, sent)
    both[1 - victim].join()
    both[victim].kill()
    both[victim].join()
    said = (folder / "job" / f"said-{1 - victim}").read_text()
    again = loop.fit(test_towers.everything(), test_towers.DATA, folder / "job" / "run")
    return said.startswith(f"rank {victim} of 2") and "died, or hung" in said and again.status == "done"


@dataclass(frozen=True)
class Fault:
    """``most`` tries are enough for one that takes many seconds."""

    name: str
    means: str
    attempt: Callable[[Path], bool | None]
    most: int = 1000


AGAIN = "trained again"
FAULTS = [
    Fault("SIGKILL at a random moment", AGAIN, killed),
    Fault("SIGKILL within a write, a rename, an update or a test", AGAIN, killed_in_a_call),
    Fault("Ctrl-C at a random moment", AGAIN, interrupted),
    Fault("full disk", f"one sentence; then {AGAIN}", full_disk),
    Fault("folder that cannot be written", f"one sentence; then {AGAIN}", read_only),
    Fault("flipped bit in a record or checkpoint", f"{AGAIN}, or refused in one sentence", flipped),
    Fault("clock set back by 27 years", AGAIN, clock_set_back),
    Fault("two processes on one run", "one sentence from the second; the first ends as if alone", two_on_one_run),
    Fault("dead worker of `run --jobs`", f"one sentence names its run; the other ends; then {AGAIN}", dead_worker, 3),
    Fault("dead worker of `data prepare`", "one sentence; then the same files", dead_preparer, 3),
    Fault("dead rank of two", "the other names it in one sentence; one process resumes and ends the run",
          functools.partial(failed_rank, signal.SIGKILL), 3),
    Fault("hanging rank of two", "the other names it in one sentence; one process resumes and ends the run",
          functools.partial(failed_rank, signal.SIGSTOP), 3),
]  # fmt: skip


def tried(fault: Fault, tries: int) -> tuple[int, int]:
    """How often a fault was tried, and how often it was survived."""
    outcomes: list[bool] = []
    while len(outcomes) < min(tries, fault.most):
        with tempfile.TemporaryDirectory() as place:
            Path(place).chmod(0o755)
            if (outcome := fault.attempt(Path(place) / "tried")) is not None:
                outcomes.append(outcome)
    return len(outcomes), sum(outcomes)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="FAULT", help="only these, and leave the page as it is")
    parser.add_argument("--tries", type=int, default=20, help="of each fault (20)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows, survived_all = [], True
    for fault in [each for each in FAULTS if not options.names or each.name in options.names]:
        tries, survived = tried(fault, options.tries)
        survived_all &= survived == tries
        rows.append(f"| {fault.name} | {tries} | {survived} | {fault.means} |")
        print(rows[-1], flush=True)
    heads = ["| fault | tried | survived | survived means |", "|---|---|---|---|"]
    on = f"Tried on {datetime.now(UTC):%Y-%m-%d} with torch {torch.__version__} and Python {platform.python_version()}."
    if not options.names:
        files.write_whole(PAGE, "\n".join([INTRODUCTION.rstrip(), "", *heads, *rows, "", on, ""]).encode())
    return int(not survived_all)


if __name__ == "__main__":
    sys.exit(main())
