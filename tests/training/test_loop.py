"""The training loop: against a loop written out, exact resumption after every kind of death, and clear refusals."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from paperlib.data import images, sets
from paperlib.data.augment import Augmenter
from paperlib.data.batches import Batches
from paperlib.errors import PaperlibError
from paperlib.evidence import store
from paperlib.nets.layers import set_step
from paperlib.nets.table import build
from paperlib.seeding import generator
from paperlib.training import checkpoints, evaluate, loop, records
from paperlib.training import records as training_records
from paperlib.training.processes import ALONE, Topology
from paperlib.training.records import Line
from paperlib.training.runs import Run
from tests import tiny

DATA = tiny.dataset()


pytestmark = pytest.mark.usefixtures("one_thread")


def fit(run: Run, directory: Path | None = None, **how: Any) -> list[Line]:
    """The record of a run, with a checkpoint after every update where nothing else is asked for."""
    return loop.fit(run, DATA, directory, **{"checkpoint_seconds": 0.0, **how}).lines


def but(run: Run, **changes: Any) -> Run:
    """The run with other fields of its recipe, ``optim_lr`` for ``optim.lr``."""
    return dataclasses.replace(run, recipe=run.recipe.but(**{k.replace("_", ".", 1): v for k, v in changes.items()}))


def on_disk(directory: Path) -> list[Line]:
    return records.read_record(directory / "record.jsonl")


# ------------------------------------------------------------------------------------------ against a loop written out


def test_a_record_against_a_loop_written_out() -> None:
    """torch's own SGD, float64 sums, no augmentation: the same net, order and numbers from first principles."""
    run = tiny.plain(epochs=3, seed=5)
    lines = loop.fit(run, DATA).lines
    net = build(run.recipe.model, run.sizes, seed=5)
    stock = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    pixels = DATA.train_images.double().transpose(0, 1).flatten(1)  # a row a channel
    mean, std = pixels.mean(1)[:, None, None], pixels.std(1, correction=0)[:, None, None]
    train_x, test_x = (((x - mean) / std)[:, :, 1:9, 1:9].float() for x in (DATA.train_images, DATA.test_images))
    losses, wrongs, epochs = [], [], []
    for epoch in range(3):
        order = torch.randperm(96, generator=generator(5, "order", epoch))
        for rows in order.split(16):
            stock.zero_grad()
            logits = net(train_x[rows])
            loss = -logits.log_softmax(1)[torch.arange(16), DATA.train_labels[rows]].mean()
            loss.backward()
            stock.step()
            losses.append(loss.item())
            wrongs.append(100 * (logits.argmax(1) != DATA.train_labels[rows]).double().mean().item())
        with torch.no_grad():
            epochs.append(100 * (net(test_x).argmax(1) != DATA.test_labels).double().mean().item())
    windows = records.of_kind(lines, "window")
    assert [w["step"] for w in windows] == [4, 8, 12, 16]  # 5 to 8 and 9 to 12: across the ends of epochs too
    for i, window in enumerate(windows):
        assert window["train_loss"] == pytest.approx(sum(losses[4 * i : 4 * i + 4]) / 4, rel=1e-4)
        assert window["train_error"] == pytest.approx(sum(wrongs[4 * i : 4 * i + 4]) / 4, abs=1e-3)
    for i, line in enumerate(records.of_kind(lines, "epoch")):
        assert (line["epoch"], line["step"], line["lr"]) == (i + 1, 6 * (i + 1), 0.05)
        assert line["train_loss"] == pytest.approx(sum(losses[6 * i : 6 * i + 6]) / 6, rel=1e-4)
        assert line["train_error"] == pytest.approx(sum(wrongs[6 * i : 6 * i + 6]) / 6, abs=1e-3)
        assert line["test_error"] == pytest.approx(epochs[i], abs=1e-3)
    assert [line["kind"] for line in lines] == [
        "run", "window", "epoch", "window", "window", "epoch", "window", "epoch", "end",
    ]  # fmt: skip
    assert lines[-1]["status"] == "done" and lines[-1]["steps"] == 18
    assert losses[-1] < losses[0] - 0.1  # it learns, or all this would agree about nothing


def test_the_first_line_says_what_and_how(tmp_path: Path) -> None:
    run = tiny.plain(epochs=1)
    first = fit(run, tmp_path, about={"experiment": "e", "scale": "s", "arm": "2012/relu"})[0]
    assert list(first) == [
        "kind", "format", "id", "experiment", "scale", "arm", "seed", "config", "data", "code", "env", "started",
    ]  # fmt: skip
    assert (first["kind"], first["format"], first["id"], first["arm"]) == ("run", 1, run.id, "2012/relu")
    assert Run.from_config(first["config"]) == run
    assert first["data"] == {"name": "tiny", "fingerprint": tiny.FINGERPRINT}
    assert on_disk(tmp_path)[0] == first


def test_a_directory_and_progress_change_nothing(tmp_path: Path) -> None:
    run = tiny.everything(epochs=2)
    plain = records.comparable(fit(run))
    assert records.comparable(fit(run, tmp_path, progress=True)) == plain
    assert records.comparable(on_disk(tmp_path)) == plain
    assert fit(dataclasses.replace(run, seed=1))[-1]["weights_sha256"] != plain[-1]["weights_sha256"]


def test_only_the_first_training_images_where_so_many_are_asked_for() -> None:
    run = tiny.plain(epochs=1, train_images=64)
    images = DATA.train_images.clone()
    images[64:] = 7
    other = dataclasses.replace(DATA, train_images=images, train_labels=DATA.train_labels.flip(0))
    other.train_labels[:64] = DATA.train_labels[:64]
    assert records.comparable(loop.fit(run, other).lines) == records.comparable(fit(run))
    assert fit(run)[-1]["steps"] == 4


# ------------------------------------------------------------------------------------------ what arms share


def test_the_order_is_keyed_by_seed_and_epoch() -> None:
    run, other = tiny.plain(), but(tiny.everything(), augment_shuffle=True)
    order = tiny.batches(run).order(1)
    assert sorted(order.tolist()) == list(range(96))
    assert torch.equal(order, tiny.batches(other).order(1))
    assert not torch.equal(order, tiny.batches(run).order(2))
    assert not torch.equal(order, tiny.batches(dataclasses.replace(run, seed=1)).order(1))
    stored = tiny.batches(but(run, augment_shuffle=False)).order(1)
    assert stored.tolist() == list(range(96))


def test_arms_share_the_images_of_every_update_and_the_initial_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, list[list[int]]] = {}
    first: dict[str, dict[str, torch.Tensor]] = {}
    update, read = loop.update, Batches.read

    def watched(training: loop.Training, *given: Any) -> tuple[float, int]:
        name = training.run.recipe.model.activation
        first.setdefault(name, {k: v.clone() for k, v in training.net.state_dict().items()})
        return update(training, *given)

    def watched_rows(self: Batches, batches: Any) -> Any:
        seen.setdefault(unit, []).extend(rows.tolist() for rows in batches)
        return read(self, batches)

    monkeypatch.setattr(loop, "update", watched)
    monkeypatch.setattr(Batches, "read", watched_rows)
    for unit in ("relu", "tanh"):
        fit(but(tiny.plain(epochs=2), model_activation=unit, optim_lr={"relu": 0.05, "tanh": 0.01}[unit]))
    assert seen["relu"] == seen["tanh"] and len(seen["relu"]) == 12
    assert sorted(sum(seen["relu"][:6], [])) == list(range(96)) and seen["relu"][:6] != seen["relu"][6:]
    assert first["relu"].keys() == first["tanh"].keys()
    assert all(torch.equal(first["relu"][name], tensor) for name, tensor in first["tanh"].items())


# ------------------------------------------------------------------------------------------ how a run ends


def test_a_threshold_that_is_reached_ends_the_run() -> None:
    long = fit(tiny.plain(epochs=8))
    windows = records.of_kind(long, "window")
    errors = [w["train_error"] for w in windows]
    target = windows[next(i for i in range(3, len(errors)) if errors[i] < min(errors[:i]))]  # better than all before
    run = tiny.plain(epochs=8, threshold=target["train_error"])
    lines = fit(run)
    assert (lines[-1]["status"], lines[-1]["steps"]) == ("reached", target["step"])
    before = long.index(target) + 1
    assert records.comparable(lines[1:-1]) == records.comparable(long[1:before])
    assert lines[-1]["weights_sha256"] != long[-1]["weights_sha256"]


def test_a_threshold_that_is_not_reached_is_censored() -> None:
    lines = fit(but(tiny.plain(epochs=2, threshold=0.0), optim_lr=1e-6))
    assert (lines[-1]["status"], lines[-1]["steps"]) == ("censored", 12)
    done = fit(but(tiny.plain(epochs=2), optim_lr=1e-6))
    assert records.comparable(lines)[1:-1] == records.comparable(done)[1:-1] and done[-1]["status"] == "done"
    assert lines[-1]["weights_sha256"] == done[-1]["weights_sha256"]


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    run = but(tiny.plain(), optim_lr=1e20)
    lines = fit(run, tmp_path)
    assert lines[-1]["kind"] == "end" and lines[-1]["status"] == "diverged"
    assert 2 <= lines[-1]["steps"] < 18
    assert all(math.isfinite(w["train_loss"]) for w in records.of_kind(lines, "window"))
    assert records.comparable(on_disk(tmp_path)) == records.comparable(fit(run))
    assert loop.fit(run, DATA, tmp_path).status == "diverged"  # and is not trained again


def test_images_of_another_size_than_the_runs_are_refused() -> None:
    """They would be cropped at other places than the run says, under its name."""
    run = tiny.plain()
    with pytest.raises(PaperlibError, match="has images of 10 × 10 pixels, this run takes 12 × 12: prepare them in"):
        fit(dataclasses.replace(run, sizes=dataclasses.replace(run.sizes, side=12)))


def test_data_of_more_classes_than_the_net_has_outputs_are_refused() -> None:
    run = tiny.plain()
    with pytest.raises(PaperlibError, match="Tiny patterns has 6 classes, the net of this run 4"):
        fit(dataclasses.replace(run, sizes=dataclasses.replace(run.sizes, classes=4)))


def test_weights_that_the_last_update_made_no_numbers_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of that update is that of the weights before it, and no other update comes to tell."""
    original = loop.update

    def overflowing(training: loop.Training, *given: Any) -> tuple[float, int]:
        result = original(training, *given)
        if training.state.step == 17:
            next(training.net.parameters()).data[0, 0, 0, 0] = math.inf
        return result

    monkeypatch.setattr(loop, "update", overflowing)
    lines = fit(tiny.everything(), tmp_path)
    assert lines[-1]["status"] == "diverged" and lines[-1]["steps"] == 18
    assert not records.of_kind(lines, "test")
    assert on_disk(tmp_path) == lines


def test_the_processes_meet_after_each_batch_of_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for another's whole share of the test set, which may take longer than the timeout."""
    training, _ = tiny.training(tiny.plain())

    def error(topology: Topology) -> float:
        augmenter, test = training.batches.augmenter, training.parts.test
        return evaluate.error_in_training(training.net, augmenter, *test, topology, batch_size=5)

    whole = error(ALONE)
    wrong = {}
    for rank in (0, 1):
        shares: list[float] = []
        monkeypatch.setattr(Topology, "total", lambda self, value, shares=shares: [shares.append(value) or value])
        error(Topology(towers=1, data=2, rank=rank))
        assert len(shares) == 3  # 24 images are five batches, two at a time
        wrong[rank] = sum(shares)
    assert wrong[0] + wrong[1] == pytest.approx(whole / 100 * len(DATA.test_images))


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    run = tiny.everything(epochs=2)
    trained = loop.fit(run, DATA, tmp_path)
    before = (tmp_path / "record.jsonl").read_bytes()
    again = loop.fit(run, DATA, tmp_path, keep_going=lambda: False)
    assert again.lines == trained.lines and again.status == "done"
    assert checkpoints.weights_sha256(again.net.state_dict()) == trained.lines[-1]["weights_sha256"]
    assert (tmp_path / "record.jsonl").read_bytes() == before


@pytest.mark.parametrize("what", ["gone", "cut"])
def test_a_finished_run_without_its_weights_gives_back_no_others(what: str, tmp_path: Path) -> None:
    run = tiny.plain(epochs=1)
    fit(run, tmp_path)
    for path in tmp_path.glob("step-*.safetensors"):
        path.write_bytes(path.read_bytes()[:-5]) if what == "cut" else path.unlink()
    with pytest.raises(PaperlibError, match="not its weights"):
        fit(run, tmp_path)


def test_test_errors_in_one_and_ten_views() -> None:
    """Only where the net is trained on crops to the end; one view is the centre, as in the last epoch's line."""
    run = tiny.everything(epochs=2)
    trained = loop.fit(run, DATA)
    one, ten, end = trained.lines[-3:]
    assert [line["kind"] for line in (one, ten, end)] == ["test", "test", "end"]
    assert (one["views"], ten["views"], one["n"], ten["n"]) == (1, 10, 24, 24)
    assert one["weights_sha256"] == ten["weights_sha256"] == end["weights_sha256"]
    assert one["top1_error"] == records.of_kind(trained.lines, "epoch")[-1]["test_error"]
    augmenter = Augmenter(run.recipe.augment, run.sizes, DATA.train_images)
    scores = evaluate.predict(trained.net, augmenter, DATA.test_images, views=10)
    wrong = sum(int(row.argmax()) != int(label) for row, label in zip(scores, DATA.test_labels, strict=True))
    assert ten["top1_error"] == pytest.approx(100 * wrong / 24, abs=1e-3)
    assert 0 <= ten["top5_error"] < ten["top1_error"] and one["top5_error"] < one["top1_error"]
    assert not records.of_kind(fit(tiny.plain(epochs=2)), "test")
    assert not records.of_kind(fit(tiny.everything(epochs=2, threshold=100.0)), "test")


def test_errors_on_the_training_images_where_they_are_asked_for() -> None:
    """By the finished net, without dropout, on centre views: against a loop; and nothing else is changed by asking."""
    run = tiny.everything(epochs=2, train_images=40, test_train=True)
    trained = loop.fit(run, DATA)
    (line,) = records.of_kind(trained.lines, "fit")
    augmenter = Augmenter(run.recipe.augment, run.sizes, DATA.train_images[:40])
    trained.net.eval()
    with torch.no_grad():
        best = [int(trained.net(augmenter.test_batch(image[None])).argmax()) for image in DATA.train_images[:40]]
    wrong = sum(a != b for a, b in zip(best, DATA.train_labels[:40].tolist(), strict=True))
    assert (line["n"], line["top1_error"]) == (40, pytest.approx(100 * wrong / 40))
    without = dataclasses.replace(run, stop=dataclasses.replace(run.stop, test_train=False))
    lines = fit(without)
    assert records.comparable(lines)[-1] == records.comparable(trained.lines)[-1]
    assert not records.of_kind(lines, "fit")


# ------------------------------------------------------------------------------------------ the schedule


def stalled(**changes: Any) -> Run:
    """A run whose rate falls when the error of 32 held-out images does; it hardly learns."""
    run = tiny.plain(epochs=6, validation=32)
    return but(run, optim_lr=1e-5, optim_drops="plateau", optim_patience=1, optim_max_drops=2, **changes)


def test_the_schedule_looks_at_held_out_images() -> None:
    lines = records.of_kind(fit(stalled()), "epoch")
    assert [line["step"] for line in lines] == [4 * e for e in range(1, 7)]  # 96 - 32 images
    assert all("test_error" not in line for line in lines)
    best, rate, drops = math.inf, 1e-5, 0
    for line in lines:
        assert line["lr"] == pytest.approx(rate)
        if line["validation_error"] >= best and drops < 2:
            rate, drops = rate / 10, drops + 1
        best = min(best, line["validation_error"])
    assert drops == 2


def test_the_schedule_never_sees_the_test_set() -> None:
    other = dataclasses.replace(DATA, test_images=DATA.test_images.flip(0), test_labels=(DATA.test_labels + 1) % 6)
    assert records.comparable(loop.fit(stalled(), other).lines) == records.comparable(fit(stalled()))


def test_held_out_images_are_not_trained_on() -> None:
    images, labels = DATA.train_images.clone(), DATA.train_labels.clone()
    images[64:], labels[64:] = 255 - images[64:], (labels[64:] + 1) % 6
    other = dataclasses.replace(DATA, train_images=images, train_labels=labels)
    one, two = (records.of_kind(loop.fit(but(stalled(), optim_drops=()), d).lines, "epoch") for d in (DATA, other))
    assert [line["train_loss"] for line in one] == [line["train_loss"] for line in two]
    assert [line["validation_error"] for line in one] != [line["validation_error"] for line in two]


def test_drops_at_epochs_reach_the_record() -> None:
    lines = records.of_kind(fit(but(tiny.plain(epochs=4), optim_drops=(1, 3))), "epoch")
    assert [line["lr"] for line in lines] == pytest.approx([0.05, 0.005, 0.005, 0.0005])


# ------------------------------------------------------------------------------------------ exactness

RUNS = {"plain": tiny.plain(), "everything": tiny.everything(), "plateau": stalled()}


@pytest.fixture(scope="module")
def uninterrupted() -> dict[str, list[Line]]:
    """What each run must come to, whatever happens on the way."""
    torch.set_num_threads(1)
    records = {name: training_records.comparable(loop.fit(run, DATA).lines) for name, run in RUNS.items()}
    assert all(lines[-1]["status"] == "done" for lines in records.values())
    return records


@pytest.mark.parametrize(
    ("name", "updates"),
    [*(("everything", n) for n in (0, 1, 5, 6, 7, 12, 17)), ("plain", 1), ("plain", 6), ("plateau", 5), ("plateau", 8)],
)
def test_stopped_after_some_updates_and_resumed(
    name: str, updates: int, tmp_path: Path, uninterrupted: dict[str, list[Line]]
) -> None:
    with pytest.raises(loop.Interrupted):
        fit(RUNS[name], tmp_path, keep_going=tiny.for_updates(updates))
    assert records.status(on_disk(tmp_path)) == "unfinished"
    assert records.comparable(fit(RUNS[name], tmp_path)) == uninterrupted[name]
    assert records.comparable(on_disk(tmp_path)) == uninterrupted[name]


def test_stopped_after_every_single_update(tmp_path: Path, uninterrupted: dict[str, list[Line]]) -> None:
    lives = 0
    while not records.finished(tmp_path / "record.jsonl"):
        lives += 1
        try:
            fit(RUNS["everything"], tmp_path, keep_going=tiny.for_updates(1))
        except loop.Interrupted:
            continue
    assert lives == 18 and records.comparable(on_disk(tmp_path)) == uninterrupted["everything"]


@pytest.mark.parametrize("name", RUNS)
def test_a_record_that_ran_ahead_of_the_checkpoint_is_cut_back(
    name: str, tmp_path: Path, uninterrupted: dict[str, list[Line]]
) -> None:
    never = 1e9
    with pytest.raises(loop.Interrupted):
        fit(RUNS[name], tmp_path, keep_going=tiny.for_updates(7))
    with pytest.raises(loop.Interrupted):  # six updates further, with lines of a window and an epoch, unsaved
        fit(RUNS[name], tmp_path, keep_going=tiny.for_updates(6), checkpoint_seconds=never)
    assert len(on_disk(tmp_path)) > 4
    with (tmp_path / "record.jsonl").open("a") as file:
        file.write('{"kind": "windo')
    assert records.comparable(fit(RUNS[name], tmp_path, checkpoint_seconds=never)) == uninterrupted[name]
    assert records.comparable(on_disk(tmp_path)) == uninterrupted[name]


def test_without_any_checkpoint_it_starts_anew(tmp_path: Path, uninterrupted: dict[str, list[Line]]) -> None:
    with pytest.raises(loop.Interrupted):
        fit(RUNS["plain"], tmp_path, keep_going=tiny.for_updates(13), checkpoint_seconds=1e9)
    assert records.comparable(fit(RUNS["plain"], tmp_path)) == uninterrupted["plain"]


@pytest.mark.parametrize("damage", ["json", "safetensors", "lines", "half a line", "nothing"])
def test_where_no_checkpoint_can_be_used_nothing_is_thrown_away(
    damage: str, tmp_path: Path, uninterrupted: dict[str, list[Line]]
) -> None:
    with pytest.raises(loop.Interrupted):
        fit(RUNS["everything"], tmp_path, keep_going=tiny.for_updates(13))
    record = tmp_path / "record.jsonl"
    first = record.read_text().splitlines(keepends=True)[0]
    left = {"lines": first, "half a line": first[:100], "nothing": ""}  # shorter than at either checkpoint
    record.write_text(left.get(damage, record.read_text()))
    for path in tmp_path.glob(f"step-*.{damage}"):
        path.write_bytes(path.read_bytes()[:-3])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(PaperlibError, match=r"no checkpoint in .* is whole and fits its record: restore .* or delete"):
        fit(RUNS["everything"], tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    record.unlink()
    assert records.comparable(fit(RUNS["everything"], tmp_path)) == uninterrupted["everything"]


def test_a_record_that_lost_its_last_bytes_goes_on_from_the_checkpoint_before(
    tmp_path: Path, uninterrupted: dict[str, list[Line]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a power loss: what the newest checkpoint knows of is not all there."""
    with pytest.raises(loop.Interrupted):
        fit(RUNS["plain"], tmp_path, keep_going=tiny.for_updates(16))
    newest = max(int(path.name[5:13]) for path in tmp_path.glob("step-*.json"))
    sizes = [json.loads(path.read_text())["state"]["record_bytes"] for path in sorted(tmp_path.glob("step-*.json"))]
    os.truncate(tmp_path / "record.jsonl", sizes[1] - 1)
    assert sizes[0] < sizes[1]  # a window ended between the two
    steps: list[int] = []
    original = loop.update
    monkeypatch.setattr(
        loop, "update", lambda training, *given: (steps.append(training.state.step), original(training, *given))[1]
    )
    assert records.comparable(fit(RUNS["plain"], tmp_path)) == uninterrupted["plain"]
    assert steps[0] == newest - 1


def test_a_record_that_was_deleted_starts_anew(tmp_path: Path, uninterrupted: dict[str, list[Line]]) -> None:
    """``delete it and run again``, as messages say, must work although the checkpoints of the old one lie there."""
    with pytest.raises(loop.Interrupted):
        fit(RUNS["plain"], tmp_path, keep_going=tiny.for_updates(13))
    (tmp_path / "record.jsonl").unlink()
    with pytest.raises(loop.Interrupted):  # dies again, early, before the steps of the old checkpoints
        fit(RUNS["plain"], tmp_path, keep_going=tiny.for_updates(3))
    assert records.comparable(fit(RUNS["plain"], tmp_path)) == uninterrupted["plain"]


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_the_last_lines_are_written_again(lost: int, tmp_path: Path, uninterrupted: dict[str, list[Line]]) -> None:
    """Killed after the last update: the end line, or the test errors too, are missing or half there."""
    fit(RUNS["everything"], tmp_path)
    path = tmp_path / "record.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-lost]) + lines[-lost][:30])
    assert (
        records.comparable(fit(RUNS["everything"], tmp_path, keep_going=lambda: False)) == uninterrupted["everything"]
    )
    assert records.comparable(on_disk(tmp_path)) == uninterrupted["everything"]


# ------------------------------------------------------------------------------------------ a full disk


@pytest.mark.parametrize("call", [1, 2, 7, 8, 36])
def test_a_disk_that_is_full_at_a_checkpoint_loses_nothing(
    call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: dict[str, list[Line]]
) -> None:
    """While the tensors are written (odd calls) or the JSON."""
    sync, calls = os.fsync, iter(range(100))

    def fills_up(fd: int) -> None:
        if os.readlink(f"/proc/self/fd/{fd}").endswith(".part") and next(calls) >= call:  # the first is the record
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(fd)

    monkeypatch.setattr(os, "fsync", fills_up)
    with pytest.raises(PaperlibError, match="No space left on device"):
        fit(RUNS["plain"], tmp_path)
    monkeypatch.undo()
    assert not list(tmp_path.glob("*.part"))
    assert len(list(tmp_path.glob("step-*.json"))) == min((call - 1) // 2, 2)
    assert records.comparable(fit(RUNS["plain"], tmp_path)) == uninterrupted["plain"]


@pytest.mark.parametrize("call", [1, 2, 5, 9])
def test_a_disk_that_is_full_at_a_line_loses_nothing(
    call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: dict[str, list[Line]]
) -> None:
    opened, calls = Path.open, iter(range(1, 100))

    class Full:
        """A file that takes half of what is written to it."""

        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, text: str) -> None:
            self.file.write(text[: len(text) // 2])
            self.file.flush()
            raise OSError(errno.ENOSPC, "No space left on device")

    def fills_up(path: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
        file = opened(path, mode, *rest, **named)
        return Full(file) if mode == "a" and next(calls) == call else file

    monkeypatch.setattr(Path, "open", fills_up)
    with pytest.raises(PaperlibError) as error:
        fit(RUNS["plain"], tmp_path)
    monkeypatch.undo()
    assert "No space left on device" in str(error.value) and "record.jsonl" in str(error.value)
    assert records.comparable(fit(RUNS["plain"], tmp_path)) == uninterrupted["plain"]


# ------------------------------------------------------------------------------------------ killed processes


MOMENTS = [
    ("loop.update", 1, True), ("loop.update", 9, True), ("loop.update", 6, False),
    ("evaluate.error_in_training", 2, False),
    ("checkpoints.write_whole", 1, True), ("checkpoints.write_whole", 15, True), ("checkpoints.write_whole", 15, False),
    ("checkpoints.write_whole", 2, True), ("checkpoints.write_whole", 2, False), ("checkpoints.write_whole", 14, True),
    ("checkpoints.write_whole", 24, False), ("Path.replace", 10, True), ("Path.replace", 11, True),
    ("Journal.write", 1, True), ("Journal.write", 1, False), ("Journal.write", 4, True), ("Journal.write", 5, False),
    ("Journal.write", 9, True), ("Journal.write", 10, True), ("Journal.write", 11, True),
    ("Journal.write", 11, False), ("Path.unlink", 3, True), ("Path.unlink", 4, False), ("Path.replace", 1, True),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS, ids=lambda m: f"{m[0]} {m[1]} {'before' if m[2] else 'after'}")
def test_killed_in_the_middle_of_anything(
    moment: tuple[str, int, bool], tmp_path: Path, uninterrupted: dict[str, list[Line]]
) -> None:
    run = RUNS["everything"]
    process = tiny.processes().Process(target=tiny.fit_in_child, args=(run, tmp_path, tiny.Sabotage(*moment)))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not records.finished(tmp_path / "record.jsonl") or moment == ("Journal.write", 11, False)
    assert records.comparable(fit(run, tmp_path)) == uninterrupted["everything"]
    assert records.comparable(on_disk(tmp_path)) == uninterrupted["everything"]
    assert not list(tmp_path.glob("*.part")) and len(list(tmp_path.glob("step-*"))) == 4


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path: Path) -> None:
    """SIGKILL from outside while it trains, writes or saves, three times; then to the end."""
    run = tiny.everything(epochs=20)
    path, rng, deaths = tmp_path / "record.jsonl", random.Random(2012), 0
    for lines in (3, 15, 28):
        process = tiny.processes().Process(target=tiny.fit_in_child, args=(run, tmp_path))
        process.start()
        while process.is_alive() and tiny.lines_written(path) < lines:
            time.sleep(0.001)
        if lines == 15:
            with pytest.raises(PaperlibError, match="another process is training in"):
                fit(run, tmp_path)
        for _ in range(rng.randrange(1000)):
            process.is_alive()
        process.kill()
        process.join()
        deaths += process.exitcode == -signal.SIGKILL
        assert not records.finished(path)
    assert deaths == 3
    assert records.comparable(fit(run, tmp_path, checkpoint_seconds=1e9)) == records.comparable(fit(run))


# ------------------------------------------------------------------------------------------ refusals


def refused(run: Run, directory: Path | None = None, dataset: images.Dataset = DATA) -> str:
    with pytest.raises(PaperlibError) as error:
        loop.fit(run, dataset, directory)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_other_data_are_refused(tmp_path: Path) -> None:
    message = refused(tiny.plain(), tmp_path / "new", tiny.dataset(fingerprint="sha256:other"))
    assert "Tiny patterns is not the data of this run" in message and "sha256:other" in message
    assert tiny.FINGERPRINT in message and not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("record", "said"),
    [(True, f"is the record of another run ({tiny.plain(epochs=1).id[:12]}"), (False, "belong to another run")],
)
def test_what_another_run_left_is_left_alone(record: bool, said: str, tmp_path: Path) -> None:
    fit(tiny.plain(epochs=1), tmp_path)
    if not record:
        (tmp_path / "record.jsonl").unlink()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert said in refused(tiny.plain(epochs=1, seed=1), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_damaged_record_lets_the_folder_go(tmp_path: Path) -> None:
    """Whoever deletes it, as told, must not hear that the folder is in use; the error may still be kept somewhere."""
    (tmp_path / "record.jsonl").write_text("nonsense\n")
    with pytest.raises(PaperlibError, match="line 1") as kept:
        fit(tiny.plain(epochs=1), tmp_path)
    (tmp_path / "record.jsonl").unlink()
    assert fit(tiny.plain(epochs=1), tmp_path)[-1]["status"] == "done" and kept.value


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    with FileLock(tmp_path / "lock"):
        assert f"another process is training in {tmp_path}" in refused(tiny.plain(epochs=1), tmp_path)
    assert fit(tiny.plain(epochs=1), tmp_path)[-1]["status"] == "done"


@pytest.mark.parametrize("where", ["mkdir", "lock", "file in the way"])
def test_a_folder_that_cannot_be_written_is_refused(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write into folders without write permission, so their errors are made up here."""

    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    folder = tmp_path / "a" / "b"
    if where == "mkdir":
        monkeypatch.setattr(Path, "mkdir", read_only)
    elif where == "lock":
        monkeypatch.setattr(FileLock, "acquire", read_only)
    else:
        (tmp_path / "a").write_text("")
    message = refused(tiny.plain(epochs=1), folder)
    assert f"cannot write into {folder}: " in message and "PAPERLIB_RUNS" in message
    assert ("Read-only file system" in message) == (where != "file in the way")


def test_settings_that_make_no_training_are_refused() -> None:
    assert "held-out images" in refused(but(tiny.plain(), optim_drops="plateau"))
    assert "too few training images for a batch of 97" in refused(but(tiny.plain(), optim_batch_size=97))
    held_out = refused(tiny.plain(validation=90))
    assert "takes 96 training images of Tiny patterns and holds out 90 of them: too few" in held_out
    assert "takes 10 training images of Tiny patterns: too few" in refused(tiny.plain(train_images=10))
    assert "has 96 training images, the run asks for 97" in refused(tiny.plain(train_images=97))


def test_memory_is_tuned_where_there_is_glibc_and_left_alone_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: object) -> None:
        raise OSError

    monkeypatch.setattr(loop.ctypes, "CDLL", missing)
    assert fit(tiny.plain(epochs=1))[-1]["status"] == "done"


# ------------------------------------------------------------------------------------------ recorded evidence


def test_the_first_updates_of_recorded_runs_can_be_repeated(tmp_path: Path) -> None:
    """The first window of a recorded sample run of each experiment that has one at a rate of 0.001 or less, to 1e-3.

    The last bits differ between processors, and grow: from AVX2 to AVX-512 to 3e-5 in the loss within a window of 26
    updates at a rate of 0.001, to 4e-2 at 0.003, to more at the rates of most experiments. So of each experiment it is
    the run with the highest of these rates.
    """
    gentle: dict[str, tuple[float, Run, list[Line]]] = {}
    for lines in store.recorded().values():
        run, name = Run.from_config(lines[0]["config"]), lines[0]["experiment"]
        rate = run.recipe.optim.lr
        fits = lines[0]["scale"] == "sample" and records.of_kind(lines, "window") and rate <= 0.001
        if fits and (name not in gentle or rate > gentle[name][0]):
            gentle[name] = rate, run, lines
    assert {"relu-rates", "relu-parts", "baseline-rates", "no-dropout-rates", "size"} <= set(gentle)
    sample = sets.load("sample")
    for name, (_, run, lines) in gentle.items():
        with pytest.raises(loop.Interrupted):
            loop.fit(run, sample, tmp_path / name, keep_going=tiny.for_updates(run.stop.window))
        mine, theirs = (records.of_kind(each, "window")[0] for each in (on_disk(tmp_path / name), lines))
        assert mine["step"] == theirs["step"] == run.stop.window
        assert mine["train_loss"] == pytest.approx(theirs["train_loss"], abs=1e-3), name
        assert mine["train_error"] == pytest.approx(theirs["train_error"], abs=0.2), name


def test_the_tiny_recipe_exercises_what_it_says() -> None:
    """Or the tests of exactness would be of less than they claim."""
    recipe = tiny.EVERYTHING
    net = build(recipe.model, tiny.TOWERS, 0)
    kinds = {type(module).__name__ for module in net.modules()}
    assert {"Dropout", "LocalResponseNorm", "SpatialResponseNorm"} <= kinds
    augmenter = Augmenter(recipe.augment, tiny.TOWERS, DATA.train_images)
    rows = torch.arange(16)
    augmenter.start_epoch(0, 0, 96)
    first = augmenter.train_batch(DATA.train_images[rows], rows)
    augmenter.start_epoch(0, 1, 96)
    assert not torch.equal(first, augmenter.train_batch(DATA.train_images[rows], rows))
    assert recipe.augment.colour and recipe.augment.crop and recipe.augment.mirror == "horizontal"
    net.train()
    set_step(net, seed=0, step=0)
    one = net(first)
    set_step(net, seed=0, step=1)
    assert not torch.equal(one, net(first))
