"""Running experiments: what is trained and what is skipped, processes, death by SIGKILL, promotion to evidence."""

from __future__ import annotations

import contextlib
import errno
import itertools
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from filelock import FileLock, Timeout

from paperlib import campaign, cli, promote
from paperlib.campaign import Job
from paperlib.data import sets
from paperlib.data.known import FINGERPRINTS
from paperlib.errors import PaperlibError
from paperlib.evidence import metrics, store
from paperlib.experiments import declared
from paperlib.experiments.form import Experiment
from paperlib.experiments.relu import PLAIN, UNIT_SIZES
from paperlib.recipe import Stop
from paperlib.training import loop, records, runs
from paperlib.training.runs import Run
from tests import tiny

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = FINGERPRINTS["sample"]["embedded"]

TINY = Experiment(
    "tiny", "sample", "Tiny", tiny.PLAIN, tiny.SIZES, Stop(epochs=1, window=2),
    {"2012/relu": {}, "2012/tanh": {"model.activation": "tanh"}}, seeds=(0, 1, 2), seeds_of={"2012/tanh": (0, 5)},
)  # fmt: skip


def in_its_place(experiment: Experiment, patch: pytest.MonkeyPatch, runs_dir: Path) -> None:
    """The only experiment, on tiny data in the sample's place; runs go to the folder given."""
    patch.setattr(declared, "DECLARED", [experiment])
    patch.setattr(declared, "EXPERIMENTS", {(experiment.name, "sample"): experiment})
    patch.setattr(sets, "load", lambda name: tiny.dataset(fingerprint=SAMPLE))
    patch.setenv("PAPERLIB_RUNS", str(runs_dir))


@pytest.fixture
def tiny_sample(tmp_path: Path, recorded: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny experiment at scale sample, and the folder of its runs."""
    in_its_place(TINY, monkeypatch, tmp_path / "runs")
    return tmp_path / "runs"


def run_id(arm: str, seed: int) -> str:
    return TINY.run(arm, seed, SAMPLE).id


def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the runs that are trained from now on; they really are."""
    seen: list[str] = []
    real = campaign.train_one

    def watched(job: Job, *args: Any, **named: Any) -> str:
        seen.append(job.run.id)
        return real(job, *args, **named)

    monkeypatch.setattr(campaign, "train_one", watched)
    return seen


# ------------------------------------------------------------------------------------------ what is trained


def test_all_cells_in_the_order_of_the_declaration(tiny_sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = trained(monkeypatch)
    cells = [("2012/relu", 0), ("2012/tanh", 0), ("2012/relu", 1), ("2012/tanh", 5), ("2012/relu", 2)]
    assert campaign.run("tiny", "sample", progress=False) == seen == [run_id(*cell) for cell in cells]
    assert sorted(path.name for path in tiny_sample.iterdir()) == sorted(seen)
    for arm, seed in cells:
        lines = records.read_record(runs.record_path(tiny_sample, run_id(arm, seed)))
        first = lines[0]
        assert (first["experiment"], first["scale"], first["arm"], first["seed"]) == ("tiny", "sample", arm, seed)
        assert first["env"]["threads"] == 1 and records.status(lines) == "done"


@pytest.mark.parametrize(
    ("restriction", "cells"),
    [
        ({"arms": ["2012/tanh"]}, [("2012/tanh", 0), ("2012/tanh", 5)]),
        ({"seeds": 1}, [("2012/relu", 0), ("2012/tanh", 0)]),
        ({"seeds": 2}, [("2012/relu", 0), ("2012/tanh", 0), ("2012/relu", 1), ("2012/tanh", 5)]),
        ({"arms": ["2012/tanh", "2012/relu"], "seeds": 1}, [("2012/relu", 0), ("2012/tanh", 0)]),
    ],
)
def test_restricted_to_arms_and_seeds(
    restriction: dict[str, Any], cells: list[tuple[str, int]], tiny_sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = trained(monkeypatch)
    assert campaign.run("tiny", "sample", **restriction, progress=False) == seen == [run_id(*cell) for cell in cells]


def test_what_is_finished_is_skipped_and_what_was_interrupted_goes_on(
    tiny_sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign.run("tiny", "sample", seeds=1, progress=False)
    half = TINY.run("2012/relu", 1, SAMPLE)
    with pytest.raises(loop.Interrupted):
        loop.fit(half, sets.load("sample"), tiny_sample / half.id, keep_going=tiny.for_updates(3))
    begun = TINY.run("2012/relu", 2, SAMPLE)  # killed while it wrote its first line
    (tiny_sample / begun.id).mkdir()
    (tiny_sample / begun.id / "record.jsonl").write_text('{"kind": "ru')
    seen = trained(monkeypatch)
    ids = campaign.run("tiny", "sample", progress=False)
    assert sorted(ids) == sorted(run_id(arm, seed) for arm, seed in TINY.cells())
    assert seen == [half.id, run_id("2012/tanh", 5), begun.id]
    assert all(campaign.is_finished(tiny_sample, one) for one in ids)
    assert campaign.run("tiny", "sample", progress=False) and len(seen) == 3


def test_missing_skips_what_is_recorded(tiny_sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign.run("tiny", "sample", arms=["2012/relu"], seeds=2, progress=False)
    promote.record("tiny", "sample")
    elsewhere = tiny_sample.with_name("other-runs")
    seen = trained(monkeypatch)
    ids = campaign.run("tiny", "sample", arms=["2012/relu"], missing=True, runs_dir=elsewhere, progress=False)
    assert seen == [run_id("2012/relu", 2)] and len(ids) == 3
    campaign.run("tiny", "sample", arms=["2012/relu"], seeds=1, runs_dir=elsewhere, progress=False)
    assert seen == [run_id("2012/relu", 2), run_id("2012/relu", 0)]  # without --missing it is trained all the same


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"arms": ["2012/relu", "2012/rleu"]}, "no arm '2012/rleu'"),
        ({"seeds": 0}, "--seeds takes a number from 1 up, not 0"),
        ({"seeds": -1}, "--seeds takes a number from 1 up, not -1"),
        ({"jobs": 0}, "--jobs takes a number from 1 up, not 0"),
    ],
)
def test_wrong_settings_train_nothing(wrong: dict[str, Any], words: str, tiny_sample: Path) -> None:
    with pytest.raises(PaperlibError) as error:
        campaign.run("tiny", "sample", **wrong, progress=False)
    assert words in str(error.value) and not tiny_sample.exists()


@pytest.mark.parametrize(("name", "scale"), [("nonsense", "sample"), ("tiny", "galaxy"), ("tiny", "cifar10")])
def test_unknown_names_train_nothing(name: str, scale: str, tiny_sample: Path) -> None:
    with pytest.raises(PaperlibError):
        campaign.run(name, scale, progress=False)
    assert not tiny_sample.exists()


def test_a_runs_folder_that_cannot_be_is_one_sentence(
    tiny_sample: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_sample.write_text("a file in the way")
    assert cli.main(["run", "tiny", "--scale", "sample"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "cannot write into" in err and "PAPERLIB_RUNS" in err and len(err.splitlines()) == 1


# ------------------------------------------------------------------------------------------ processes


def small(seed: int, directory: Path, fingerprint: str = SAMPLE) -> Job:
    """Five updates on the real sample, for a process that loads its data itself."""
    run = Run(PLAIN, UNIT_SIZES["sample"], Stop(epochs=1, window=2, train_images=640), fingerprint, seed)
    return Job(run, {"experiment": "small", "scale": "sample", "arm": f"seed {seed}"}, directory / f"{seed}")


@pytest.mark.usefixtures("quick_processes")
def test_two_processes_train_what_one_trains_and_a_failing_job_is_one_sentence(tmp_path: Path) -> None:
    right, wrong = small(0, tmp_path / "two"), small(1, tmp_path / "two", fingerprint="sha256:of other data")
    with pytest.raises(PaperlibError) as error:
        campaign.train_many([right, wrong], 2, progress=False)
    assert "Fashion-MNIST sample is not the data of this run" in str(error.value)
    assert not wrong.directory.exists()
    assert campaign.train_one(small(0, tmp_path / "one"), sets.load("sample")) == "done"
    one, two = (records.read_record(tmp_path / where / "0" / "record.jsonl") for where in ("one", "two"))
    assert records.comparable(one) == records.comparable(two) and len(one) == 5  # run, two windows, an epoch, end


def test_run_hands_several_jobs_to_processes(tiny_sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handed: list[tuple[list[str], int]] = []
    monkeypatch.setattr(
        campaign, "train_many", lambda todo, jobs, progress: handed.append(([job.run.id for job in todo], jobs))
    )
    ids = campaign.run("tiny", "sample", seeds=1, jobs=2, progress=False)
    assert handed == [([run_id("2012/relu", 0), run_id("2012/tanh", 0)], 2)] and ids == handed[0][0]


def test_a_child_without_its_parent_does_not_train(tiny_sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(TINY.run("2012/relu", 0, SAMPLE), {"scale": "sample"}, tiny_sample / "x")
    with monkeypatch.context() as gone:
        gone.setattr(multiprocessing, "parent_process", lambda: SimpleNamespace(is_alive=lambda: False))
        assert campaign.train_in_child(job) == "interrupted"
    assert records.read_record(tiny_sample / "x" / "record.jsonl")[1:] == []
    assert campaign.train_in_child(job) == "done"


@pytest.mark.slow
def test_an_orphan_stops(tmp_path: Path) -> None:
    run = Run(PLAIN, UNIT_SIZES["sample"], Stop(epochs=100_000, window=1, train_images=256), SAMPLE, 0)
    job = Job(run, {"experiment": "small", "scale": "sample", "arm": "x"}, tmp_path / "x")
    parent = tiny.processes().Process(target=campaign.train_many, args=([job], 2, False))
    parent.start()
    while parent.is_alive() and tiny.lines_written(job.directory / "record.jsonl") < 3:
        time.sleep(0.005)
    lock = FileLock(job.directory / "lock")
    with pytest.raises(Timeout):
        lock.acquire(timeout=0)  # it trains
    parent.kill()
    parent.join()
    assert parent.exitcode == -signal.SIGKILL
    with lock.acquire(timeout=300):
        assert records.status(records.read_record(job.directory / "record.jsonl")) == "unfinished"


def fails_by_seed(job: Job) -> str:
    """In the place of a training: seed 1 is killed, seed 2 meets a full disk."""
    if job.run.seed == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if job.run.seed == 2:
        raise PaperlibError("no room is left")
    job.directory.mkdir(parents=True)
    return "done"


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        ((1, 0, 3), "the run of seed 1, seed 1, was ended from outside (SIGKILL), perhaps for want of memory"),
        ((2, 0), "no room is left"),
        ((1, 2, 0, 3), "(1 more run failed)"),
    ],
)
@pytest.mark.usefixtures("quick_processes")
def test_where_a_run_fails_the_others_are_trained(
    seeds: tuple[int, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "train_in_child", fails_by_seed)
    with pytest.raises(PaperlibError) as error:
        campaign.train_many([small(seed, tmp_path) for seed in seeds], 2, progress=False)
    assert said in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == [str(seed) for seed in sorted(seeds) if seed in (0, 3)]


@pytest.mark.slow
def test_several_runs_need_no_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where /dev/shm cannot be written there are no semaphores."""

    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("multiprocessing.synchronize.SemLock.__init__", read_only)
    monkeypatch.setattr(campaign, "train_in_child", fails_by_seed)
    with pytest.raises(OSError):
        multiprocessing.Lock()
    campaign.train_many([small(seed, tmp_path) for seed in (0, 3)], 2, progress=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "3"]


def commands_of(processes: list[psutil.Process]) -> Iterator[str]:
    """Their command lines; one that has just ended (git, asked for the commit) has none."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            yield " ".join(process.cmdline())


@pytest.mark.slow
@pytest.mark.parametrize(("whom", "when"), [("all", "while they start"), ("the first", "while they train")])
def test_an_interrupt_ends_all_and_starts_nothing(whom: str, when: str, tmp_path: Path) -> None:
    """Ctrl-C reaches every process of a terminal; a job control system may interrupt the first process alone."""
    command = [sys.executable, "-m", "paperlib", "run", "relu", "--scale", "sample", "--jobs", "2"]
    # tests that run in the background of a shell ignore interrupts, and what they start would, too
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        command, env={**os.environ, "PAPERLIB_RUNS": str(tmp_path)}, cwd=ROOT, start_new_session=True,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    signal.signal(signal.SIGINT, before)
    first = psutil.Process(process.pid)
    while process.poll() is None and not (
        sum("spawn_main" in command for command in commands_of(first.children())) == 2
        if when == "while they start"
        else sum(tiny.lines_written(path) > 1 for path in tmp_path.glob("*/record.jsonl")) == 2
    ):
        time.sleep(0.01)
    children, begun = first.children(recursive=True), len(list(tmp_path.iterdir()))
    os.killpg(process.pid, signal.SIGINT) if whom == "all" else process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert (process.returncode, err.strip()) == (130, "paperlib: Interrupted. Run the same command to resume.")
    assert not psutil.wait_procs(children, timeout=300)[1] and len(list(tmp_path.iterdir())) == begun <= 2


LONG = replace(
    TINY, name="long", base=tiny.EVERYTHING, sizes=tiny.TOWERS, stop=Stop(epochs=20, window=4), arms={"a": {}},
    seeds_of={},
)  # fmt: skip
COMMAND = ["run", "long", "--scale", "sample", "--seeds", "1"]


def call(runs_dir: Path) -> None:
    """The command in a process that will be killed."""
    with pytest.MonkeyPatch.context() as patch:
        in_its_place(LONG, patch, runs_dir)
        cli.main(COMMAND)


@pytest.mark.slow
def test_the_command_killed_at_random_moments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``paperlib run``, killed twice by SIGKILL, ends in the record of an uninterrupted run."""
    in_its_place(LONG, monkeypatch, tmp_path / "killed")
    (expected,) = campaign.run("long", "sample", seeds=1, runs_dir=tmp_path / "whole", progress=False)
    path, rng = runs.record_path(tmp_path / "killed", expected), random.Random(145)
    for lines in (1, 3):
        process = tiny.processes().Process(target=call, args=(tmp_path / "killed",))
        process.start()
        while process.is_alive() and tiny.lines_written(path) < lines:
            time.sleep(0.002)
        time.sleep(rng.random() / 50)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL and not records.finished(path)
    assert cli.main(COMMAND) == 0
    assert capsys.readouterr() == ("long, sample: 1 run finished\n", "")
    whole = records.read_record(runs.record_path(tmp_path / "whole", expected))
    assert records.comparable(records.read_record(path)) == records.comparable(whole)
    assert records.status(whole) == "done"


# ------------------------------------------------------------------------------------------ promotion


def test_finished_runs_become_evidence(tiny_sample: Path) -> None:
    campaign.run("tiny", "sample", seeds=1, progress=False)
    unfinished = TINY.run("2012/relu", 1, SAMPLE)
    with pytest.raises(loop.Interrupted):
        loop.fit(unfinished, sets.load("sample"), tiny_sample / unfinished.id, keep_going=tiny.for_updates(3))
    assert metrics.results("tiny", "sample").empty
    folder = store.current().folder / "tiny" / "sample"
    written = promote.record("tiny", "sample")
    assert written == [folder / "2012-relu-seed0.jsonl", folder / "2012-tanh-seed0.jsonl"]
    assert sorted(path.name for path in folder.iterdir()) == [path.name for path in written]
    for path, arm in zip(written, ("2012/relu", "2012/tanh"), strict=True):
        assert path.read_bytes() == runs.record_path(tiny_sample, run_id(arm, 0)).read_bytes()
    assert list(metrics.results("tiny", "sample")["arm"]) == ["2012/relu", "2012/tanh"]
    assert promote.record("tiny", "sample") == []
    assert store.stale() == []


def test_runs_on_a_data_set_without_a_known_copy_are_no_evidence(tmp_path: Path) -> None:
    with pytest.raises(PaperlibError, match="no copy of ilsvrc2012 is known"):
        promote.record("full", "ilsvrc2012", runs_dir=tmp_path)


def test_a_record_in_the_place_of_another_is_left_alone(tiny_sample: Path) -> None:
    campaign.run("tiny", "sample", arms=["2012/relu"], seeds=1, progress=False)
    other = replace(TINY, base=tiny.PLAIN.but(**{"optim.lr": 0.5})).run("2012/relu", 0, SAMPLE)
    target = store.current().folder / "tiny" / "sample" / "2012-relu-seed0.jsonl"
    tiny.write(target, tiny.record(other, [50.0]))
    before = target.read_bytes()
    assert store.stale() == [other.id]
    with pytest.raises(PaperlibError, match=f"holds another run \\({other.id[:12]}\\)"):
        promote.record("tiny", "sample")
    assert target.read_bytes() == before and len(list(target.parent.iterdir())) == 1


PENDING: dict[str, tuple[dict[str, Any], str]] = {
    "other numbers": ({"top1_error": 0.5}, "would replace another record"),
    "no weights": ({"kind": "look", "label_agreement": 9.5, "weights": "0" * 64}, "does not hold the weights"),
}


@pytest.mark.parametrize("case", PENDING)
def test_promoting_replaces_no_record_and_takes_none_without_its_weights(
    case: str, tiny_sample: Path, tmp_path: Path
) -> None:
    campaign.run("tiny", "sample", progress=False)
    pending = tmp_path / "pending"
    promote.record("tiny", "sample", into=pending)
    changes, words = PENDING[case]
    path = sorted(pending.rglob("*.jsonl"))[-1]
    *lines, end = records.read_record(path)
    if "kind" in changes:
        tiny.write(path, records.sealed([*lines, changes, end]))
    else:
        promote.record("tiny", "sample")
        tiny.write(path, records.sealed([*lines[:-1], lines[-1] | changes, end]))
    before = {each: each.read_bytes() for each in tmp_path.rglob("*.jsonl")}
    with pytest.raises(PaperlibError, match=words):
        promote.promote(pending)
    assert before == {each: each.read_bytes() for each in tmp_path.rglob("*.jsonl")}


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_pending_records_that_are_nowhere_are_one_sentence(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert cli.main(["promote", str(tmp_path / name)]) == 2 and "is no folder" in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_promotion_lists_what_it_moved(
    error: type[BaseException], tiny_sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the next one completes it."""
    campaign.run("tiny", "sample", progress=False)
    written = promote.record("tiny", "sample", into=tmp_path / "pending")
    place_of, moved = store.place_of, itertools.count()

    def failing(first: records.Line, folder: Path | None = None) -> Path:
        if folder == store.current().folder and next(moved) == len(written) + 2:
            raise error
        return place_of(first, folder)

    with monkeypatch.context() as patch, pytest.raises(error):
        patch.setattr(store, "place_of", failing)
        promote.promote(tmp_path / "pending")
    assert len(store.recorded()) == 2
    assert promote.promote(tmp_path / "pending") == ["tiny, sample"] and len(store.recorded()) == len(written)


def test_pending_records_become_evidence_when_their_experiment_is_complete(
    tiny_sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One run after another, none twice; a sixth seed looked at keeps no weights (here: the first and none)."""
    pending = tmp_path / "pending"
    campaign.run("tiny", "sample", progress=False)
    cells = list(TINY.cells())
    for arm, seed in cells[:-1]:
        written = promote.record("tiny", "sample", into=pending, only=run_id(arm, seed))
        assert written == [pending / "tiny" / "sample" / f"{arm.replace('/', '-')}-seed{seed}.jsonl"]
        assert promote.record("tiny", "sample", into=pending, only=run_id(arm, seed)) == []
    assert cli.main(["promote", str(pending)]) == 0 and "no experiment is complete" in capsys.readouterr().out
    assert store.recorded() == {} and len(store.recorded(pending)) == len(cells) - 1
    assert len(promote.record("tiny", "sample", into=pending)) == 1
    assert cli.main(["promote", str(pending)]) == 0 and capsys.readouterr().out == "tiny, sample\n"
    assert set(store.recorded()) == set(TINY.ids()) and not list(pending.rglob("*.jsonl"))
    assert set(store.read_checksums(store.current().folder) or {}) == {
        str(path.relative_to(store.current().folder)) for path in store.current().folder.rglob("*.jsonl")
    }
