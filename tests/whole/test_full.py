"""The training of ILSVRC-2012 as a dry run: a generated layout, prepared, trained by one and by several processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paperlib import cli
from paperlib.data import pack, packed
from paperlib.data.augment import Augmenter
from paperlib.data.batches import Batches, Parts
from paperlib.data.images import DataError, Statistics
from paperlib.experiments import declared
from paperlib.training import loop, records
from paperlib.training.processes import Topology, launch
from tests import tiny
from tests.datasets import jpeg

pytestmark = pytest.mark.slow

WNIDS = ("n01440764", "n01443537", "n02085620", "n03000247")
EACH, VALIDATION = 66, 13  # 264 training images: two batches of 128 and a rest


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders as ILSVRC's unpacked train set has them, prepared by the command."""
    source = tmp_path_factory.mktemp("source")
    for k, wnid in enumerate(WNIDS):
        for split, count in (("train", EACH), ("val", VALIDATION)):
            (source / split / wnid).mkdir(parents=True)
            for j in range(count):
                content = jpeg(f"{split} {k} {j % 5}", 280 + 4 * j % 40, 300)
                (source / split / wnid / f"{wnid}_{j}.JPEG").write_bytes(content)
    folder = tmp_path_factory.mktemp("prepared") / "ilsvrc2012"
    assert cli.main(["data", "prepare", str(source), str(folder), "--jobs", "1"]) == 0
    return folder


def command(folder: Path, *more: str) -> list[str]:
    """The arguments of `paperlib` for the smallest of the full trainings."""
    return ["train", "full", "eighth", "--scale", "ilsvrc2012", "--data", str(folder), *more]


def by_torchrun(processes: int, arguments: list[str], runs_dir: Path) -> str:
    """What a job of torchrun prints."""
    job = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m", "paperlib"]
    environment = os.environ | {"PAPERLIB_RUNS": str(runs_dir), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *job, *arguments], env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def record_in(runs_dir: Path) -> tuple[Path, list[records.Line]]:
    """The one run there."""
    (path,) = runs_dir.glob("*/record.jsonl")
    return path.parent, records.read_record(path)


@pytest.fixture(scope="module")
def alone(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[records.Line]]:
    """The run by one process, which is what the others are held against."""
    runs_dir = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAPERLIB_RUNS", str(runs_dir))
        assert cli.main(command(prepared)) == 0
    return record_in(runs_dir)


def test_one_process_trains_from_packed_images(
    prepared: Path, alone: tuple[Path, list[records.Line]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, lines = alone
    assert records.status(lines) == "done" and lines[-1]["steps"] == 2
    tests = records.of_kind(lines, "test")
    assert [(line["views"], line["n"]) for line in tests] == [(1, 4 * VALIDATION), (10, 4 * VALIDATION)]
    capsys.readouterr()
    assert cli.main(["evaluate", str(folder), "--data", str(prepared)]) == 0
    said = capsys.readouterr().out
    for line in tests:
        assert f"top-1 error {line['top1_error']:.2f} %, top-5 error {line['top5_error']:.2f} %" in said


def test_several_processes_train_the_same(
    prepared: Path, alone: tuple[Path, list[records.Line]], tmp_path: Path
) -> None:
    """In single precision, so equal to rounding; test_towers has it exact."""
    said = by_torchrun(2, command(prepared, "--towers", "2"), tmp_path / "runs")
    assert said.count("full, ilsvrc2012, eighth, seed 0: done") == 1
    _, lines = record_in(tmp_path / "runs")
    theirs = records.of_kind(alone[1], "epoch")[0]
    mine = records.of_kind(lines, "epoch")[0]
    assert mine["train_loss"] == pytest.approx(theirs["train_loss"], abs=1e-3)
    assert mine["train_error"] == pytest.approx(theirs["train_error"], abs=1.0)
    for one, other in zip(records.of_kind(lines, "test"), records.of_kind(alone[1], "test"), strict=True):
        assert one["top1_error"] == pytest.approx(other["top1_error"], abs=100 / (4 * VALIDATION) + 0.01)


def test_the_statistics_are_those_of_the_images(prepared: Path) -> None:
    dataset = packed.load(prepared)
    given, counted = dataset.statistics, Statistics.of(dataset.train_images[:])
    assert given is not None and given.colours is not None and counted.colours is not None
    torch.testing.assert_close(given.mean, counted.mean)
    torch.testing.assert_close(given.square, counted.square)
    torch.testing.assert_close(given.colours, counted.colours)


class Watched:
    """Images that say which of them somebody has begun to read."""

    def __init__(self, images: Any) -> None:
        self.images, self.begun = images, []

    def __getitem__(self, rows: torch.Tensor) -> torch.Tensor:
        self.begun.append(rows.tolist())
        read: torch.Tensor = self.images[rows]
        return read

    def __len__(self) -> int:
        return len(self.images)

    def wait_for(self, n: int) -> list[list[int]]:
        """The batches begun as soon as they are ``n``, or after some seconds."""
        deadline = time.monotonic() + 10
        while len(self.begun) < n and time.monotonic() < deadline:
            time.sleep(0.001)
        return list(self.begun)


def test_the_images_of_the_next_update_are_read_ahead_and_are_the_right_ones(prepared: Path) -> None:
    dataset = packed.load(prepared)
    run = declared.FULL.run("eighth", 0, dataset.fingerprint)
    batches, watched = tiny.batches(run, dataset), Watched(dataset.train_images)
    batches.images = watched  # type: ignore[assignment]
    orders = torch.arange(200).split(50)
    for first in (0, 2):  # the second time from the middle of an epoch
        watched.begun.clear()
        for k, images in enumerate(batches.read(orders[first:]), first):
            assert torch.equal(images, dataset.train_images[orders[k]])
            ahead = min(k + 1, 3)
            assert watched.wait_for(ahead - first + 1) == [rows.tolist() for rows in orders[first : ahead + 1]]


def test_a_part_of_a_batch_has_the_crops_of_the_whole(prepared: Path) -> None:
    """32 images share a crop (reading 14): a process that has 20 of a batch's 40 must know whose."""
    dataset = packed.load(prepared)
    run = declared.FULL.run("eighth", 0, dataset.fingerprint)
    augmenter = Augmenter(run.recipe.augment, run.sizes, dataset.train_images, dataset.statistics)
    augmenter.start_epoch(0, 0, len(dataset.train_images))
    rows = torch.arange(40)
    whole = augmenter.train_batch(dataset.train_images[rows], rows)
    topology = Topology(data=2, rank=1)
    mine, shared = topology.rows(rows), topology.rows(augmenter.sharing(rows))
    torch.testing.assert_close(augmenter.train_batch(dataset.train_images[mine], mine, shared), topology.rows(whole))


def test_what_is_not_prepared_or_cannot_be_tested_is_said(
    tmp_path: Path, prepared: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAPERLIB_DATA", str(tmp_path))
    assert cli.main(command(tmp_path / "nowhere")) == 2
    assert "there are no prepared images at" in capsys.readouterr().err
    assert cli.main(["train", "full", "eighth", "--scale", "ilsvrc2012"]) == 2
    assert str(tmp_path / "ilsvrc2012") in capsys.readouterr().err
    (tmp_path / "source" / "train" / "a").mkdir(parents=True)
    (tmp_path / "source" / "train" / "a" / "1.jpg").write_bytes(jpeg("one", 30, 30))
    pack.prepare_folder(tmp_path / "source", tmp_path / "only", size=16, progress=False)
    with pytest.raises(DataError, match="no validation images"):
        packed.load(tmp_path / "only")


class Recorder(torch.nn.Module):
    """Stands for the net: keeps what it is given, and says the same of every image."""

    def __init__(self) -> None:
        super().__init__()
        self.bias, self.inputs = torch.nn.Parameter(torch.zeros(1000)), []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.inputs.append(x.numpy().copy())
        return self.bias.expand(len(x), -1)


class Still:
    """Stands for the optimiser."""

    def step(self, lr: float, epoch: int) -> None:
        pass


def inputs_of(topology: Topology, folder: Path) -> list[Any]:
    """What the net of one process is given in the two updates of an epoch."""
    dataset = packed.load(folder)
    run = declared.FULL.run("eighth", 0, dataset.fingerprint)
    parts = Parts.of(dataset, run.sizes, run.stop)
    batches = Batches(parts, run.recipe, run.seed, topology.data_rank, topology.data)
    training = loop.Training(run, parts, batches, Recorder(), Still(), topology=topology)  # type: ignore[arg-type]
    batches.images = watched = Watched(batches.images)  # type: ignore[assignment]
    rows = [topology.rows(batch).tolist() for batch in batches.order(0)[:256].split(128)]
    for k, batch in enumerate(batches.of_epoch(0)):
        assert watched.wait_for(2) == rows
        loop.update(training, *batch, 0.01, 0)
        training.state.step = k + 1
    return training.net.inputs  # type: ignore[return-value]


def test_together_several_processes_give_their_nets_what_one_gives_its_own(prepared: Path) -> None:
    """Rows, crops (shared by 32 images), mirrors and colour noise, of images that are read ahead."""
    (alone,) = [inputs_of(Topology(), prepared)]
    assert not np.allclose(alone[0], alone[1])
    both = launch(inputs_of, prepared, towers=1, data=2, context=tiny.processes())
    for k in (0, 1):
        np.testing.assert_allclose(np.concatenate([rank[k] for rank in both]), alone[k], atol=1e-4)
    same = launch(inputs_of, prepared, towers=2, data=1, context=tiny.processes())
    for k in (0, 1):
        for rank in same:
            np.testing.assert_allclose(rank[k], alone[k], atol=1e-4)


def test_other_pixels_have_another_fingerprint_and_no_validation_is_said_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "val"):
        (tmp_path / "source" / split / "a").mkdir(parents=True)
        (tmp_path / "source" / split / "a" / "1.jpg").write_bytes(jpeg(split, 40, 30))
    found = set()
    for k, how in enumerate(({}, {"quality": 30}, {"store": "raw"})):
        pack.prepare_folder(tmp_path / "source", tmp_path / f"made{k}", size=16, jobs=1, progress=False, **how)
        found.add(packed.load(tmp_path / f"made{k}").fingerprint)
    assert len(found) == 3
    (tmp_path / "source" / "val" / "a" / "1.jpg").unlink()
    (tmp_path / "source" / "val" / "a").rmdir()
    (tmp_path / "source" / "val").rmdir()
    arguments = ["data", "prepare", str(tmp_path / "source"), str(tmp_path / "x"), "--size", "16", "--jobs", "1"]
    assert cli.main(arguments) == 2
    assert "has no validation images" in capsys.readouterr().err and not (tmp_path / "x").exists()
    assert cli.main([*arguments, "--train-only"]) == 0
