"""Two towers as two processes, and batches shared out among several: number for number the net of one process.

The processes are real ones, on gloo over the loopback interface. All is in float64,
where another order of summation shows below 1e-10 and a mistake far above it, but for the trainings that die.
Jobs of torchrun are in tests/whole/test_full.py.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from paperlib import campaign, cli, promote
from paperlib.data import augment
from paperlib.data.known import FINGERPRINTS
from paperlib.errors import PaperlibError
from paperlib.evidence import store, weights
from paperlib.experiments import declared
from paperlib.nets.layers import set_step
from paperlib.nets.sizes import FULL_SIZES, VGG_SAMPLE_SIZES
from paperlib.nets.table import build
from paperlib.recipe import Recipe, Stop
from paperlib.training import checkpoints, loop, processes, records, towers
from paperlib.training import records as training_records
from paperlib.training.processes import ALONE, Child, Topology, launch
from paperlib.training.runs import Run
from tests import tiny

pytestmark = pytest.mark.slow

DATA = tiny.dataset()
SIZES = replace(tiny.TOWERS, kernels=(8, 12, 8, 8, 12))
TOPOLOGIES = [(1, 1), (2, 1), (1, 2), (2, 2)]
NAMES = [f"{t} towers x {d}" for t, d in TOPOLOGIES]
SMALL: dict[str, Any] = {
    "model.init": "gain_matched", "optim.lr": 0.001, "optim.batch_size": tiny.BATCH, "optim.drops": (),
    "augment.shuffle": True,
}  # fmt: skip
READINGS = {
    "paper": Recipe.paper().but(**SMALL),
    "source2012": Recipe.source2012().but(**SMALL),
    "conv4": Recipe.paper().but(**SMALL, **{"model.communication": "conv4"}),
    "never": Recipe.paper().but(**SMALL, **{"model.communication": "never"}),
}
UPDATES = 20


def of_reading(name: str, epochs: int = 4) -> Run:
    return Run(READINGS[name], SIZES, Stop(epochs=epochs), tiny.FINGERPRINT, seed=7)


def started(job: Any, *args: Any, topology: tuple[int, int]) -> list[Any]:
    """``job`` in the processes of a topology, or in this one where it is one."""
    if topology == (1, 1):
        return [job(ALONE, *args)]
    return launch(job, *args, towers=topology[0], data=topology[1], context=tiny.processes())


# ------------------------------------------------------------------------------------------ the same numbers


def side_by_side(topology: Topology) -> dict[str, dict[str, Any]]:
    """By reading: the largest relative differences between this part of a net and the one-process net."""
    with Doubled():
        return {name: largest_differences(topology, of_reading(name)) for name in READINGS}


def largest_differences(topology: Topology, run: Run) -> dict[str, Any]:
    (whole, _), (part, _) = tiny.training(run), tiny.training(run, topology=topology)
    first = {name: w.clone() for name, w in whole.net.state_dict().items()}
    logits: dict[str, torch.Tensor] = {}
    whole.net.register_forward_hook(lambda _, __, out: logits.update(whole=out.detach()))
    part.net.register_forward_hook(lambda _, __, out: logits.update(part=out.detach()))
    worst = dict.fromkeys(("loss", "wrong", "logits", "gradients", "velocities", "weights"), 0.0)
    topology.traffic.clear()
    for epoch, *batches in itertools.islice(pairs_of_batches(whole, part), UPDATES):
        (loss, wrong), (my_loss, my_wrong) = (
            loop.update(training, *batch, run.recipe.optim.lr, epoch)
            for training, batch in zip((whole, part), batches, strict=True)
        )
        whole.state.step = part.state.step = whole.state.step + 1
        pairs = [("loss", loss, my_loss), ("wrong", wrong, my_wrong)]
        pairs.append(("logits", topology.rows(logits["whole"]), logits["part"]))
        mine, expected = towers.gather(tensors_of(part), topology), tensors_of(whole)
        assert list(mine) == list(expected)
        pairs += [(name.partition("/")[0], tensor, mine[name]) for name, tensor in expected.items()]
        for what, a, b in pairs:
            a, b = torch.as_tensor(a, dtype=torch.float64), torch.as_tensor(b, dtype=torch.float64)
            scale = max(
                1e-30, float(a.abs().max())
            )  # of the whole tensor: a small gradient must be as right as a large
            worst[what] = max(worst[what], float((a - b).abs().max()) / scale)
    moved = min(float((w - first[name]).abs().max()) for name, w in whole.net.state_dict().items())
    return {"worst": worst, "moved": moved, "sent": dict(topology.traffic)}


def pairs_of_batches(whole: loop.Training, part: loop.Training) -> Iterator[tuple[Any, ...]]:
    """Epoch by epoch: its number, the batches of one process and the shares of another."""
    for epoch in itertools.count():
        for pair in zip(whole.batches.of_epoch(epoch), part.batches.of_epoch(epoch), strict=True):
            yield epoch, *pair


def tensors_of(training: loop.Training) -> dict[str, torch.Tensor]:
    """Gradients, velocities and weights of a training's net."""
    named = dict(training.net.named_parameters())
    found = {f"gradients/{name}": p.grad for name, p in named.items()}
    found |= {f"velocities/{name}": v for name, v in training.optimiser.velocity.items()}
    return found | {f"weights/{name}": p.detach() for name, p in named.items()}


@functools.cache
def results(topology: tuple[int, int]) -> list[Any]:
    """What all ranks say of all readings; gathering weights and gradients is not counted as traffic."""
    return started(side_by_side, topology=topology)


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("topology", TOPOLOGIES, ids=NAMES)
def test_loss_logits_gradients_and_weights_are_those_of_one_process(topology: tuple[int, int], reading: str) -> None:
    for rank in results(topology):
        assert max(rank[reading]["worst"].values()) < 1e-10, rank[reading]["worst"]
        assert rank[reading]["worst"]["wrong"] == 0
        assert rank[reading]["moved"] > 1e-7  # every weight and bias had a gradient


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("topology", TOPOLOGIES, ids=NAMES)
def test_the_bytes_that_are_sent_are_those_of_the_formula(topology: tuple[int, int], reading: str) -> None:
    towers_, data = topology
    expected = towers.bytes_exchanged(READINGS[reading].model, SIZES, tiny.BATCH, towers_, data, itemsize=8)
    for rank in results(topology):
        assert rank[reading]["sent"] == {layer: UPDATES * n for layer, n in expected.items()}


def test_the_formula_on_the_net_of_the_paper() -> None:
    """Batches of 128 in float32: what one GPU of 2012 sent in an update, from the sides and maps of section 3.5."""
    numbers = {
        "norm1": 2 * 2 * 55**2, "norm2": 2 * 2 * 27**2, "conv3": 2 * 128 * 13**2, "fc6": 2 * 128 * 6**2,
        "fc7": 2 * 2048, "fc8": 2 * 2048, "logits": 500,
    }  # fmt: skip
    paper = towers.bytes_exchanged(Recipe.paper().model, FULL_SIZES, 128)
    assert paper == {layer: 128 * 4 * n for layer, n in numbers.items()}
    assert sum(paper.values()) == 39_008_256
    within = towers.bytes_exchanged(Recipe.source2012().model, FULL_SIZES, 128)
    assert within == {layer: n for layer, n in paper.items() if not layer.startswith("norm")}
    four = towers.bytes_exchanged(Recipe.paper().model, FULL_SIZES, 128, data=2)
    assert four == {layer: n // 2 for layer, n in paper.items()} | {"gradients": 60_965_224 // 2 * 4}


# ------------------------------------------------------------------------------------------ taken apart


@pytest.mark.parametrize("reading", READINGS)
def test_two_halves_are_the_initial_weights_of_one_process_bit_by_bit(reading: str) -> None:
    net = build(READINGS[reading].model, SIZES, seed=3)
    halves = [towers.split(net, Topology(towers=2, rank=rank)).state_dict() for rank in (0, 1)]
    whole = net.state_dict()
    assert list(halves[0]) == list(halves[1]) == list(whole)
    for name, tensor in whole.items():
        assert torch.equal(torch.cat([half[name] for half in halves]), tensor), name
        assert len(halves[0][name]) == len(halves[1][name])


def test_a_tower_reads_the_other_where_the_paper_has_it_and_nowhere_else() -> None:
    def places(reading: str) -> list[str]:
        half = towers.split(build(READINGS[reading].model, SIZES, 0), Topology(towers=2))
        exchanges = (towers.ReadBoth, towers.JoinLogits, towers.NormAcrossTowers)
        return [name for name, layer in half.named_children() if isinstance(layer, exchanges)]

    joins = ["both_fc6", "both_fc7", "both_fc8", "both_logits"]
    assert places("paper") == ["norm1", "norm2", "both_conv3", *joins]
    assert places("source2012") == ["both_conv3", *joins]
    assert places("conv4") == ["norm1", "norm2", "both_conv4", *joins]
    assert places("never") == ["both_fc8", "both_logits"]


def test_the_parts_of_a_dropout_mask_make_up_the_one_of_the_whole_batch() -> None:
    net = build(READINGS["paper"].model, SIZES, seed=0)
    set_step(net, seed=5, step=11)
    whole = net.get_submodule("drop6").mask((16, 8))  # type: ignore[operator]
    rows = []
    for data_rank in (0, 1):
        ranks = [Topology(2, 2, rank=2 * data_rank + tower) for tower in (0, 1)]
        parts = [towers.split(net, topology) for topology in ranks]
        for part in parts:
            set_step(part, seed=5, step=11)
        rows.append(torch.cat([part.get_submodule("drop6").mask((8, 4)) for part in parts], 1))  # type: ignore[operator]
    assert torch.equal(torch.cat(rows), whole)
    assert 0 < whole.sum() < whole.numel()


@pytest.mark.parametrize(
    ("net", "sizes", "words"),
    [
        ("one_tower", SIZES, "only the net two_tower"),
        ("ungrouped", SIZES, "only the net two_tower"),
        ("vgg_stack", VGG_SAMPLE_SIZES, "only the net two_tower"),
        ("mlp", SIZES, "only the net two_tower"),
        ("two_tower", replace(SIZES, classes=5), "5 classes have no half"),
    ],
)
def test_what_cannot_be_split_is_refused(net: str, sizes: Any, words: str) -> None:
    model = Recipe().but(**{"model.net": net, "model.init": "he"}).model
    with pytest.raises(PaperlibError, match=words):
        towers.split(build(model, sizes, 0), Topology(towers=2))
    towers.split(build(model, sizes, 0), Topology(data=2))  # the data alone can be shared out with any net


def test_counts_that_make_no_job_are_refused(tmp_path: Path) -> None:
    meeting = f"file://{tmp_path / 'meeting'}"
    for count, world, words in (
        (3, 3, "takes 1 or 2"),
        (2, 3, "not a whole number of pairs"),
        (2, 1, "torchrun --sta"),
    ):
        with pytest.raises(PaperlibError, match=words), processes.joined(count, 1.0, meeting, (0, world)):
            pass
    with pytest.raises(PaperlibError, match="a batch of 16 cannot be shared out evenly among 3 processes"):
        tiny.training(of_reading("paper"), topology=Topology(data=3))


# ------------------------------------------------------------------------------------------ a whole run


class Doubled:
    """``fit`` in double precision on the tiny data, in this process or as one of several."""

    def __enter__(self) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(loop, "build", lambda *of: build(*of).double())
        for name in ("train_batch", "test_batch", "test_views"):
            original = getattr(augment.Augmenter, name)
            self.patch.setattr(
                augment.Augmenter, name, lambda self, *of, original=original: original(self, *of).double()
            )

    def __exit__(self, *_: object) -> None:
        self.patch.undo()


def everything(seed: int = 0) -> Run:
    """Twelve updates with all that is random, a validation set and response normalisation across towers."""
    run = tiny.everything(epochs=2, seed=seed)
    recipe = run.recipe.but(**{"model.lrn_across_towers": True})
    return replace(run, recipe=recipe, sizes=SIZES)


def some_updates(topology: Topology, directories: list[Path], updates: int) -> list[str]:
    """Train the run in each directory for so many updates, then leave it at its last checkpoint; gives how it ended."""
    ended = []
    with Doubled():
        for directory in directories:
            try:
                trained = loop.fit(
                    everything(), DATA, directory, topology=topology, checkpoint_seconds=0.0 if updates < 12 else 1e9,
                    keep_going=tiny.for_updates(updates) if topology.rank == 0 else lambda: True,
                )  # fmt: skip
                ended.append(trained.status)
            except loop.Interrupted:
                ended.append("interrupted")
    return ended


def final_weights(directory: Path) -> dict[str, torch.Tensor]:
    found = checkpoints.load_checkpoint(directory, everything().id)
    assert found is not None and found[0] == 12
    return found[1]


def test_a_checkpoint_of_each_topology_continues_in_every_other(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    assert some_updates(ALONE, [whole], 99) == ["done"]
    expected, record = final_weights(whole), records.read_record(whole / "record.jsonl")
    places = {(a, b): tmp_path / f"{a}-{b}" for a in NAMES for b in NAMES}
    for name, topology in zip(NAMES, TOPOLOGIES, strict=True):
        ranks = topology[0] * topology[1]
        assert started(some_updates, [tmp_path / name], 7, topology=topology) == [["interrupted"]] * ranks
        for other in NAMES:
            shutil.copytree(tmp_path / name, places[name, other])
    for name, topology in zip(NAMES, TOPOLOGIES, strict=True):
        mine = [path for (_, ended), path in places.items() if ended == name]
        ranks = topology[0] * topology[1]
        assert started(some_updates, mine, 99, topology=topology) == [["done"] * 4] * ranks
    for path in places.values():
        found = final_weights(path)
        assert found.keys() == expected.keys()
        assert all(t.dtype == torch.float64 for t in found.values())
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, rtol=1e-10, atol=1e-10)
        lines = records.read_record(path / "record.jsonl")
        assert [without_digests(line) for line in records.comparable(lines)] == [
            without_digests(line) for line in records.comparable(record)
        ]
        assert lines[-1]["weights_sha256"] == checkpoints.weights_sha256(
            {name.removeprefix("weights/"): t for name, t in found.items() if name.startswith("weights/")}
        )
    assert "processes" not in record[0]["env"]
    assert records.read_record(places[NAMES[3], NAMES[0]] / "record.jsonl")[0]["env"]["processes"] == "2 towers x 2"


def without_digests(line: records.Line) -> records.Line:
    return {key: value for key, value in line.items() if key != "weights_sha256"}


def fit_again(topology: Topology, directory: Path) -> str:
    assert os.environ["GLOO_SOCKET_IFNAME"].startswith("lo")
    with Doubled():
        return checkpoints.weights_sha256(loop.fit(everything(), DATA, directory, topology=topology).net.state_dict())


def test_a_finished_run_gives_its_net_to_all_processes(tmp_path: Path) -> None:
    assert some_updates(ALONE, [tmp_path], 99) == ["done"]
    record = (tmp_path / "record.jsonl").read_bytes()
    digest = records.read_record(tmp_path / "record.jsonl")[-1]["weights_sha256"]
    assert started(fit_again, tmp_path, topology=(2, 1)) == [digest] * 2
    assert (tmp_path / "record.jsonl").read_bytes() == record


def fit_tuned(topology: Topology, directory: Path, members: int) -> dict[str, Any]:
    """A run that starts from another one, or the average of two."""
    run = everything()
    run = replace(run, members=2) if members == 2 else replace(run, start=replace(run, seed=9))
    with Doubled():
        net = loop.fit(run, DATA, directory / run.id, topology=topology).net
    return {name: tensor.numpy() for name, tensor in net.state_dict().items()}


@pytest.mark.parametrize("members", [1, 2])
def test_runs_that_build_upon_others(members: int, tmp_path: Path) -> None:
    alone = fit_tuned(ALONE, tmp_path / "alone", members)
    for rank in started(fit_tuned, tmp_path / "two", members, topology=(2, 1)):
        assert list(rank) == list(alone)
        assert max(abs(rank[name] - alone[name]).max() for name in alone) < 1e-10


def test_a_run_with_a_start_goes_on_in_two_processes(tmp_path: Path) -> None:
    """Only the first of them has the checkpoint, and none may begin with the start again."""
    start = replace(everything(), seed=9)
    run = replace(everything(), start=start)
    with Doubled():
        alone = loop.fit(run, DATA, tmp_path / "alone" / run.id).net.state_dict()
        loop.fit(start, DATA, tmp_path / start.id)
        with pytest.raises(loop.Interrupted):
            loop.fit(run, DATA, tmp_path / run.id, checkpoint_seconds=0.0, keep_going=tiny.for_updates(4))
    for rank in started(fit_tuned, tmp_path, 1, topology=(1, 2)):
        assert max(abs(rank[name] - alone[name].numpy()).max() for name in alone) < 1e-10


# ------------------------------------------------------------------------------------------ notebooks and commands


def test_the_demonstration() -> None:
    g = torch.Generator().manual_seed(0)
    inputs = 50 * torch.randn(3, 8, 3, 8, 8, generator=g, dtype=torch.float64)
    labels = torch.randint(0, 6, (3, 8), generator=g)
    recipe = READINGS["paper"]
    shown = towers.demonstrate(recipe, SIZES, inputs, labels, context=tiny.processes())
    assert shown.several == pytest.approx(shown.one, abs=1e-10)
    assert len(set(shown.one)) == 3
    assert shown.largest_difference < 1e-10
    assert shown.sent == [towers.bytes_exchanged(recipe.model, SIZES, 8, itemsize=8)] * 2


@pytest.fixture
def no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_job")
def test_two_towers_without_torchrun_show_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "towers", "baseline", "--scale", "sample", "--towers", "2"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("paperlib: two towers are two processes, and this is one: torchrun --standalone")
    assert len(err.splitlines()) == 1


@pytest.mark.usefixtures("no_job")
def test_the_command_trains_the_run_that_is_declared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PAPERLIB_RUNS", str(tmp_path))
    jobs = []

    def train_one(
        job: campaign.Job, dataset: Any, *, progress: bool, topology: Topology, device: str, precision: str
    ) -> str:
        assert (device, precision) == ("cpu", "fp32")
        jobs.append((job, dataset.name, topology.world))
        job.directory.mkdir()
        lines = [
            records.first_line(job.run, "sample"),
            {"kind": "test", "views": 1, "top1_error": 9.5, "top5_error": 0.25},
        ]
        (job.directory / "record.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return "done"

    monkeypatch.setattr(campaign, "train_one", train_one)
    assert cli.main(["train", "towers", "conv4", "--scale", "sample", "--seed", "201"]) == 0
    ((job, data_name, world),) = jobs
    where, ended = capsys.readouterr().out.splitlines()
    assert where.startswith(os.path.relpath(job.directory)) and "record.jsonl" in where
    assert ended == "towers, sample, conv4, seed 201: done; centre view: top-1 error 9.50 %, top-5 error 0.25 %"
    assert (job.run.recipe.model.communication, job.run.seed, data_name, world) == ("conv4", 201, "sample", 1)
    assert job.directory == tmp_path / job.run.id
    assert cli.main(["train", "towers", "conv4", "--scale", "sample", "--seed", "77"]) == 2
    assert "has no seed 77 for arm 'conv4'; its seeds are 200, 201" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------ death


class Fails:
    """A ``keep_going`` of the victim: before its fourth update it gets ``sent``."""

    def __init__(self, sent: signal.Signals | None) -> None:
        self.sent, self.going = sent, tiny.for_updates(3)

    def __call__(self) -> bool:
        if self.sent and not self.going():
            os.kill(os.getpid(), self.sent)
        return True


def one_of_a_job_that_fails(folder: Path, rank: int, world: int, timeout: float, sent: signal.Signals | None) -> None:
    """Train as ``rank``; what is said in the end goes into a file."""
    torch.set_num_threads(1)
    try:
        with processes.joined(2, timeout, f"file://{folder / 'meeting'}", (rank, world)) as topology:
            loop.fit(everything(), DATA, folder / "run", topology=topology, keep_going=Fails(sent))
    except PaperlibError as error:
        (folder / f"said-{rank}").write_text(str(error))


def start_job(
    folder: Path, victim: int, world: int, timeout: float, sent: signal.Signals
) -> list[multiprocessing.process.BaseProcess]:
    folder.mkdir()
    processes = []
    for rank in range(world):
        args = (folder, rank, world, timeout, sent if rank == victim else None)
        processes.append(tiny.processes().Process(target=one_of_a_job_that_fails, args=args))
        processes[-1].start()
    return processes


def refused(topology: Topology, what: str) -> str:
    """What a rank says whose data, or whose run, are not those of rank 0; and what the others say."""
    odd = topology.rank == 1
    data = tiny.dataset(fingerprint="sha256:another") if odd and what == "other images" else tiny.dataset()
    data = tiny.dataset(n=80) if odd and what == "fewer images" else data
    run = replace(everything(), seed=int(odd and what == "other seed"), data=data.fingerprint)
    try:
        loop.fit(run, data, topology=topology)
    except PaperlibError as error:
        return str(error)
    return "trained"


@pytest.mark.parametrize("what", ["other images", "fewer images", "other seed"])
def test_processes_that_would_not_train_the_same_are_refused(what: str) -> None:
    said = started(refused, what, topology=(1, 2))
    assert said[0] == said[1] and said[0].startswith("rank 1 of 2 (tower 0, data 1) would train another run, or on")


def evaluated(topology: Topology, path: Path, other: bool) -> str:
    """What a rank says of a test, where the second one may find another checkpoint than the first."""
    found = weights.checkpoint(path)
    if other and topology.rank == 1:
        found = replace(found, tensors={name: tensor + 1 for name, tensor in found.tensors.items()})
    campaign.joined = lambda *_: contextlib.nullcontext(topology)  # type: ignore[assignment, return-value]
    weights.checkpoint = lambda _: found
    try:
        return "; ".join(campaign.evaluate_checkpoint(path, timeout=60.0))
    except PaperlibError as error:
        return str(error)


PHOTOS = store.RECORDED / "colour" / "photos" / "baseline-seed0.safetensors"


def test_several_processes_test_a_net_and_the_first_speaks_for_all() -> None:
    alone = "; ".join(campaign.evaluate_checkpoint(PHOTOS, timeout=5))
    assert started(evaluated, PHOTOS, False, topology=(1, 2)) == [alone, ""]


def test_processes_that_found_other_weights_are_refused() -> None:
    """As where a training writes them meanwhile, or hosts share no folder: errors of two nets would be mixed."""
    said = started(evaluated, PHOTOS, True, topology=(1, 2))
    assert said[0] == said[1] and said[0].startswith("rank 1 of 2 (tower 0, data 1) found other weights than rank 0")


def test_a_rank_that_dies_or_hangs_ends_the_job_with_its_name(tmp_path: Path) -> None:
    """Killed or stopped, of two and of four processes, the first and another one; all jobs at the same time."""
    timeout, dies, hangs = 12.0, signal.SIGKILL, signal.SIGSTOP  # on a busy machine nobody may seem to hang
    cases = {"dies": (1, 2, dies), "hangs": (1, 2, hangs), "first dies": (0, 2, dies), "one of four": (3, 4, dies)}
    jobs = {name: start_job(tmp_path / name, *case[:2], timeout, case[2]) for name, case in cases.items()}
    deadline = time.monotonic() + 90
    for name, (victim, world, _) in cases.items():
        survivors = [process for rank, process in enumerate(jobs[name]) if rank != victim]
        for process in survivors:
            process.join(max(0.0, deadline - time.monotonic()))
        ended = [process.exitcode for process in survivors]
        jobs[name][victim].kill()
        jobs[name][victim].join()
        assert ended == [0] * (world - 1), name
        named = f"rank {victim} of {world} (tower {victim % 2}, data {victim // 2}) died, or hung for more than 12 s"
        said = {rank: (tmp_path / name / f"said-{rank}").read_text() for rank in set(range(world)) - {victim}}
        assert all("died, or hung for more than 12 s (" in each for each in said.values()), said
        assert all(each.endswith("to resume from the last checkpoint") for each in said.values()), said
        if world == 2:
            assert said[1 - victim].startswith(named)


LONG = tiny.everything(epochs=8)
"""48 updates, in the precision that trainings have."""


def one_of_a_job(folder: Path, meeting: Path, rank: int) -> None:
    """Train :data:`LONG` as one of two processes, a checkpoint after every update; it ends when the other one dies."""
    torch.set_num_threads(1)
    with contextlib.suppress(PaperlibError), processes.joined(2, 60.0, f"file://{meeting}", (rank, 2)) as topology:
        loop.fit(LONG, DATA, folder, topology=topology, checkpoint_seconds=0.0)


def start_two(folder: Path, meeting: Path) -> list[multiprocessing.process.BaseProcess]:
    both = [tiny.processes().Process(target=one_of_a_job, args=(folder, meeting, rank)) for rank in (0, 1)]
    for process in both:
        process.start()
    return both


def newest(folder: Path) -> int:
    """The step of the newest checkpoint, 0 for none."""
    return max((int(path.stem[5:]) for path in folder.glob("step-*.json")), default=0)


def test_two_processes_killed_at_random_end_with_the_same_bits(tmp_path: Path) -> None:
    """SIGKILL to either of them, at moments that nobody chose; what is left of the job goes on from the checkpoint."""
    for process in start_two(tmp_path / "whole", tmp_path / "meeting"):
        process.join(120)
    chance, folder = random.Random(), tmp_path / "killed"
    for k in range(4):
        both = start_two(folder, tmp_path / f"meeting{k}")
        wanted, deadline = newest(folder) + chance.randint(1, 12), time.monotonic() + 60
        while k < 3 and newest(folder) < wanted and time.monotonic() < deadline:
            time.sleep(0.002)
        if k < 3:
            time.sleep(chance.random() * 0.05)
            both[chance.randint(0, 1)].kill()
        for process in both:
            process.join(120)
    whole, killed = (checkpoints.load_checkpoint(path, LONG.id) for path in (tmp_path / "whole", folder))
    assert whole is not None and killed is not None and whole[0] == killed[0] == 48
    for name, tensor in whole[1].items():
        assert torch.equal(killed[1][name], tensor), name
    records = [training_records.read_record(path / "record.jsonl") for path in (tmp_path / "whole", folder)]
    assert training_records.comparable(records[0]) == training_records.comparable(records[1])


def meets_at(rank: int, host: str, port: int) -> float:
    """What torchrun gives a process on its only host."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": host}
    os.environ["MASTER_PORT"] = str(port)
    with processes.joined(2, 60.0) as topology:
        return topology.total(1.0)[0]


@pytest.mark.parametrize("host", ["nobody-knows-this.invalid", "no-such-name.invalid"])
def test_on_one_host_nobody_need_resolve_its_name(host: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = [Child("x", meets_at, rank, host, port, context=tiny.processes()) for rank in range(2)]
    assert [rank.result() for rank in ranks] == [2.0, 2.0]


def test_a_rank_that_never_comes_is_named(tmp_path: Path) -> None:
    with pytest.raises(PaperlibError, match="rank 0 did not meet all 2 processes within 0.3 s"):  # noqa: SIM117
        with processes.joined(2, 0.3, f"file://{tmp_path / 'meeting'}", (0, 2)):
            pass


def test_what_several_processes_trained_is_no_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sums differ in their last digits from those of one process."""
    monkeypatch.setenv("PAPERLIB_RUNS", str(tmp_path))
    monkeypatch.setattr(store, "recorded", lambda folder=None: {})
    experiment = declared.get("net", "sample")
    run_id, (arm, seed, copy) = next(iter(experiment.ids().items()))
    lines = tiny.record(experiment.run(arm, seed, FINGERPRINTS["sample"][copy]), [])
    lines[0]["env"] = Topology(2, 1).provenance()
    tiny.write(tmp_path / run_id / "record.jsonl", lines)
    with pytest.raises(PaperlibError, match="trained by several processes"):
        promote.record("net", "sample")
