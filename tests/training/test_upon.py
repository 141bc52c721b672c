"""Runs that build upon others: of some classes only, from trained weights, averages; and weights that are recorded."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from paperlib import campaign, files, promote
from paperlib.data import sets
from paperlib.data.known import FINGERPRINTS
from paperlib.errors import PaperlibError
from paperlib.evidence import decide, metrics, store, weights
from paperlib.evidence.metrics import METRICS
from paperlib.experiments import declared, form
from paperlib.experiments.form import Comparison, Experiment
from paperlib.nets.table import build
from paperlib.recipe import Stop
from paperlib.training import checkpoints, evaluate, loop, records, runs
from paperlib.training.runs import Run
from tests import tiny

SAMPLE = FINGERPRINTS["sample"]["embedded"]
DATA = tiny.dataset(fingerprint=SAMPLE)
CLASSES = (4, 0, 2, 1, 5)
EXPERIMENT = Experiment(
    "upon", "sample", "Upon others", tiny.EVERYTHING, replace(tiny.TOWERS, classes=5), Stop(epochs=1, classes=CLASSES),
    {
        "scratch": {}, "fine-tuned": {"start": {"stop.classes": (3, 1, 5, 0, 4), "stop.epochs": 2}},
        "three": {"members": 3},
        "continued": {"start": {}, "start_rounded": True, "stop.epochs": 2, "optim.lr": 0.0005},
        "few": {"stop.train_images": 32, "stop.epochs": 2, "optim.lr": 0.002, "sizes.fc": 16},
    },
    seeds=(0, 1), keep=("scratch",),
    comparisons=(
        Comparison("", "three", "", "ensemble_gain", smallest_effect=0.5),
        Comparison("", "scratch", "", "ten_views_gain", smallest_effect=0.5),
    ),
)  # fmt: skip


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def here(tmp_path: Path, recorded: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The experiment above is the only one, on tiny data; runs and records go to a folder of the test."""
    monkeypatch.setattr(declared, "DECLARED", [EXPERIMENT])
    monkeypatch.setattr(declared, "EXPERIMENTS", {("upon", "sample"): EXPERIMENT})
    monkeypatch.setattr(sets, "load", lambda name: DATA)
    monkeypatch.setenv("PAPERLIB_RUNS", str(tmp_path / "runs"))
    return tmp_path


def run(arm: str, seed: int = 0) -> Run:
    return EXPERIMENT.run(arm, seed, SAMPLE)


def weights_of(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: t.clone() for name, t in net.state_dict().items()}


# ------------------------------------------------------------------------------------------ declarations


def test_an_arm_may_change_sizes_and_the_stopping_rule() -> None:
    few = run("few")
    assert (few.stop, few.sizes.fc) == (Stop(epochs=2, train_images=32, classes=CLASSES), 16)
    assert few.recipe == tiny.EVERYTHING.but(**{"optim.lr": 0.002})
    tuned = run("fine-tuned", 1)
    assert tuned.start and tuned.start.stop == Stop(epochs=2, classes=(3, 1, 5, 0, 4)) and tuned.start.seed == 1
    assert replace(tuned, start=None) == run("scratch", 1)


def test_what_a_run_builds_upon_is_part_of_its_id() -> None:
    assert len({run(arm).id for arm in EXPERIMENT.arms}) == len(EXPERIMENT.arms)
    for arm in EXPERIMENT.arms:
        assert Run.from_config(json.loads(json.dumps(run(arm).config))) == run(arm)
    assert "start" not in run("scratch").config and "members" not in run("scratch").config


def test_averages_of_different_seeds_share_no_member() -> None:
    members = [one for seed in (0, 1) for one in run("three", seed).alone()]
    assert [one.seed for one in members] == [0, 1, 2, 3, 4, 5]
    assert members[1] == run("scratch", 1)


# ------------------------------------------------------------------------------------------ training


def test_some_classes_only() -> None:
    few = DATA.only((4, 0, 2))
    assert few.classes == ("e", "a", "c") and few.fingerprint == DATA.fingerprint
    for part in ("train", "test"):
        images, labels = getattr(few, f"{part}_images"), getattr(few, f"{part}_labels")
        expected = [
            (image, (4, 0, 2).index(int(label)))
            for image, label in zip(getattr(DATA, f"{part}_images"), getattr(DATA, f"{part}_labels"), strict=True)
            if int(label) in (4, 0, 2)
        ]
        assert labels.tolist() == [label for _, label in expected] and len(labels)
        assert all(torch.equal(image, other) for image, (other, _) in zip(images, expected, strict=True))
    for wrong in ((0, 0), (0, 6), (-1, 2)):
        with pytest.raises(PaperlibError, match="has the classes 0 to 5"):
            DATA.only(wrong)


def test_a_fine_tuned_net_starts_where_the_other_ended_but_for_its_output() -> None:
    tuned = run("fine-tuned")
    assert tuned.start
    first = weights_of(loop.fit(tuned.start, DATA).net)
    fresh = build(tuned.recipe.model, tuned.sizes, tuned.seed)
    training, lines = tiny.training(tuned)
    loop.take_over(training.net, loop.fit(tuned.start, DATA).net, tuned)
    for name, t in training.net.state_dict().items():
        expected = fresh.state_dict()[name] if name.startswith("fc8") else first[name]
        assert torch.equal(t, expected), name
    assert not torch.equal(first["conv1.weight"], fresh.state_dict()["conv1.weight"])
    # the whole run: one epoch from there
    loop.loop(training, lines)
    whole = loop.fit(tuned, DATA)
    assert whole.lines[-1]["weights_sha256"] == checkpoints.weights_sha256(training.net.state_dict())
    other = build(tuned.recipe.model, replace(tuned.sizes, fc=16), 0)
    with pytest.raises(PaperlibError, match="has no fc6.weight of shape"):
        loop.take_over(training.net, other, tuned)


def test_where_the_classes_are_the_same_the_output_layer_goes_on_too_and_all_of_it_rounded() -> None:
    continued = run("continued")
    assert continued.start == run("scratch")
    first = weights_of(loop.fit(continued.start, DATA).net)
    training, _ = tiny.training(continued)
    loop.take_over(training.net, loop.fit(continued.start, DATA).net, continued)
    for name, t in training.net.state_dict().items():
        assert torch.equal(t, first[name].half().float()), name
    assert any(not torch.equal(t, first[name]) for name, t in training.net.state_dict().items())


def test_what_goes_on_from_recorded_weights_needs_nothing_else(here: Path) -> None:
    """The run it starts from is neither at hand nor trained again; and nothing differs from where it is."""
    campaign.run("upon", "sample", progress=False, arms=["scratch"])
    promote.record("upon", "sample")
    shutil.rmtree(here / "runs")
    campaign.run("upon", "sample", progress=False, arms=["continued"], seeds=1)
    assert sorted(path.name for path in (here / "runs").iterdir()) == [run("continued").id]
    mine = records.read_record(runs.record_path(here / "runs", run("continued").id))
    assert records.comparable(mine[1:]) == records.comparable(loop.fit(run("continued"), DATA).lines[1:])
    promote.record("upon", "sample")
    before, after = (store.recorded()[run(arm).id] for arm in ("scratch", "continued"))
    epochs = store.epochs_of(after)
    assert [(line["epoch"], line["lr"]) for line in epochs] == [(1, 0.001), (2, 0.0005), (3, 0.0005)]
    assert epochs[0] == {"arm": "scratch", **records.of_kind(before, "epoch")[0]} and store.drops_of(epochs) == [1]
    assert [line["arm"] for line in epochs] == ["scratch", "continued", "continued"]
    assert store.longest("upon", "sample") == ("continued", 0, after)


def test_what_goes_on_from_weights_that_are_not_recorded_is_refused(here: Path) -> None:
    """Before it is trained, when it is recorded, and where its beginning has gone from the records."""
    with pytest.raises(PaperlibError, match=r"not recorded: record them first$"):
        campaign.run("upon", "sample", progress=False, arms=["continued"], seeds=1)
    campaign.run("upon", "sample", progress=False, arms=["scratch"])
    promote.record("upon", "sample")
    one = run("continued")
    loop.fit(one, DATA, here / "runs" / one.id, start=build(one.recipe.model, one.sizes, 5))  # another net
    with pytest.raises(PaperlibError, match="did not start from the recorded weights"):
        promote.record("upon", "sample")
    lines = [{"kind": "run", "config": one.config}, {"kind": "epoch", "epoch": 1, "lr": 0.1}]
    assert len(store.epochs_of(lines)) == 2
    shutil.rmtree(here / "recorded")
    store.forget()
    with pytest.raises(PaperlibError, match="from whose weights another starts, is not recorded"):
        store.epochs_of(lines)
    with pytest.raises(PaperlibError, match="needs a start"):
        replace(one, start=None)
    with pytest.raises(PaperlibError, match="its own first weights"):
        loop.fit(run("scratch"), DATA, start=build(one.recipe.model, one.sizes, 5))


@pytest.mark.parametrize("arm", ["fine-tuned", "three", "continued"])
def test_in_a_directory_and_interrupted_they_are_the_same(arm: str, tmp_path: Path) -> None:
    plain = records.comparable(loop.fit(run(arm), DATA).lines)
    directory = tmp_path / run(arm).id
    for updates in (1, 4):
        with pytest.raises(loop.Interrupted):
            loop.fit(run(arm), DATA, directory, checkpoint_seconds=0.0, keep_going=tiny.for_updates(updates))
    assert records.comparable(loop.fit(run(arm), DATA, directory).lines) == plain
    again = loop.fit(run(arm), DATA, directory)  # finished: only loaded
    assert records.comparable(again.lines) == plain
    assert checkpoints.weights_sha256(again.net.state_dict()) == plain[-1]["weights_sha256"]


def test_an_average_against_its_members_by_hand(tmp_path: Path) -> None:
    three = run("three", 1)
    trained = loop.fit(three, DATA, tmp_path / three.id)
    line = records.of_kind(trained.lines, "ensemble")[0]
    assert line["members"] == [run("scratch", seed).id for seed in (3, 4, 5)] and line["views"] == 10
    few, total, errors = DATA.only(CLASSES), torch.zeros(()), []
    for one in three.alone():
        assert records.finished(tmp_path / one.id / "record.jsonl")
        net = loop.fit(one, DATA, tmp_path / one.id).net
        scores = evaluate.predict(net, tiny.batches(one).augmenter, few.test_images, views=10)
        errors.append(100 * (scores.argmax(1) != few.test_labels).double().mean().item())
        total = total + scores
    assert line["mean_top1_error"] == pytest.approx(sum(errors) / 3, abs=1e-3)
    assert line["top1_error"] == pytest.approx(
        100 * (total.argmax(1) != few.test_labels).double().mean().item(), abs=1e-3
    )
    together = evaluate.predict(trained.net, tiny.batches(one).augmenter, few.test_images, views=10)
    torch.testing.assert_close(together, total / 3)
    gain = METRICS["ensemble_gain"](trained.lines)
    assert gain == pytest.approx(line["mean_top1_error"] - line["top1_error"])


def test_gains_of_one_arm_are_held_against_nothing(here: Path) -> None:
    campaign.run("upon", "sample", progress=False, arms=["scratch", "three"])
    promote.record("upon", "sample")
    for verdict in decide.verdicts_of("upon", "sample"):
        frame = metrics.results("upon", "sample")
        values = frame[frame["arm"] == verdict.comparison.a][verdict.comparison.metric]
        if verdict.outside:  # so few updates may teach a net nothing
            assert verdict.n < 2 and "of 2 never left guessing" in verdict.text
            continue
        assert verdict.n == 2 and verdict.estimate == pytest.approx(values.mean())
        assert verdict.comparison.arms == verdict.comparison.a


# ------------------------------------------------------------------------------------------ convergence


@pytest.mark.parametrize(
    ("errors", "step"),
    [
        ([60, 30, 20.9, 20, 25], 18),  # within a point of 20 at the third epoch
        ([60, 21.1, 21.0, 20, 25], 18),
        ([20, 30], 6),
        ([83, 82.9], None),  # six classes: guessing has 83.3 %
        ([], None),
    ],
)
def test_convergence_by_hand(errors: list[float], step: int | None) -> None:
    lines: list[dict[str, Any]] = [{"kind": "run", "config": tiny.plain().config}]
    lines += [{"kind": "epoch", "step": 6 * (i + 1), "test_error": error} for i, error in enumerate(errors)]
    found = METRICS["converged"](lines)
    assert found == step if step else found != found


# ------------------------------------------------------------------------------------------ recorded weights


def test_weights_are_recorded_in_half_precision_and_measured_as_recorded(here: Path) -> None:
    campaign.run("upon", "sample", progress=False, arms=["scratch", "few"])
    written = {path.name for path in promote.record("upon", "sample")}
    names = {f"scratch-seed{s}.{end}" for s in (0, 1) for end in ("jsonl", "safetensors")}
    assert written == names | {"few-seed0.jsonl", "few-seed1.jsonl"}
    net, augmenter = weights.recorded(EXPERIMENT, "scratch", 1, DATA)
    full = loop.fit(run("scratch", 1), DATA).net.state_dict()
    for name, t in net.state_dict().items():
        assert torch.equal(t, full[name].half().float())
    line = records.of_kind(store.recorded()[run("scratch", 1).id], "look")[0]
    path = here / "recorded" / "upon" / "sample" / "scratch-seed1.safetensors"
    listed = store.read_checksums(here / "recorded") or {}
    assert line["weights"] == files.sha256(path) == listed["upon/sample/scratch-seed1.safetensors"]
    # the neighbours by brute force
    few = DATA.only(CLASSES)
    bank, query = (evaluate.features(net, augmenter, x).double() for x in (few.train_images, few.test_images))
    near = (query[:, None] - bank).square().sum(2).argsort(dim=1, stable=True)[:, : weights.NEIGHBOURS]
    agree = 100 * (few.train_labels[near] == few.test_labels[:, None]).double().mean().item()
    assert line["label_agreement"] == pytest.approx(agree, abs=1e-3)
    assert line["colour_gap"] == pytest.approx(abs(line["tower_colour"][0] - line["tower_colour"][1]), abs=2e-4)
    with pytest.raises(PaperlibError, match="no weights of upon, few, seed 0"):
        weights.recorded(EXPERIMENT, "few", 0, DATA)


def test_later_seeds_are_looked_at_and_keep_no_weights(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promote, "KEPT", 1)
    campaign.run("upon", "sample", progress=False, arms=["scratch"])
    written = {path.name for path in promote.record("upon", "sample")}
    assert written == {"scratch-seed0.jsonl", "scratch-seed0.safetensors", "scratch-seed1.jsonl"}
    kept, other = (records.of_kind(store.recorded()[run("scratch", seed).id], "look")[0] for seed in (0, 1))
    assert set(kept) - set(other) == {"weights"} and 0 <= other["label_agreement"] <= 100
    with pytest.raises(PaperlibError, match="no weights of upon, scratch, seed 1"):
        weights.recorded(EXPERIMENT, "scratch", 1, DATA)
    assert math.isnan(METRICS["orientation"](store.recorded()[run("scratch", 1).id]))


def test_a_run_that_was_trained_for_another_experiment_is_recorded_where_it_is_asked_for(here: Path) -> None:
    one = run("scratch", 0)
    about = {"experiment": "elsewhere", "scale": "sample", "arm": "part of three"}
    loop.fit(one, DATA, here / "runs" / one.id, about=about)
    promote.record("upon", "sample")
    first = store.recorded()[one.id][0]
    assert (first["experiment"], first["arm"]) == ("upon", "scratch")


@pytest.mark.parametrize("experiment", [e for e in declared.DECLARED if e.keep], ids=lambda e: e.name)
def test_committed_weights_are_those_of_their_records_and_small(experiment: Experiment) -> None:
    sums = store.read_checksums(store.RECORDED) or {}
    for arm, seed, lines in store.records_of(experiment.name, experiment.scale):
        if arm in experiment.keep and seed in experiment.planned_seeds(arm)[: form.KEPT]:
            path = store.place_of(lines[0]).with_suffix(".safetensors")
            assert path.stat().st_size <= (25e6 if experiment.scale == "tinyimagenet" else 2e6)
            name = path.relative_to(store.RECORDED).as_posix()
            assert files.sha256(path) == sums[name] == records.of_kind(lines, "look")[0]["weights"]


def test_what_the_records_say_of_a_net_is_found_again_in_its_weights() -> None:
    """On the photo patches, whose bank is small; the numbers may differ where a distance is nearly tied."""
    patches = sets.load("photos")
    found = store.records_of("colour", "photos")
    lines = next(lines for arm, seed, lines in found if (arm, seed) == ("baseline", 0))
    net, augmenter = weights.recorded(declared.COLOUR, "baseline", 0, patches)
    again = weights.look(net, augmenter, Run.from_config(lines[0]["config"]), patches)
    line = records.of_kind(lines, "look")[0]
    assert again.pop("layer") == line["layer"]
    for test in records.of_kind(lines, "test"):  # measured before the weights were rounded
        for key, value in again["errors"][str(test["views"])].items():
            assert value == pytest.approx(test[key], abs=0.5), key  # of 800 patches
    del again["errors"]
    for key, value in again.items():
        assert value == pytest.approx(line[key], abs=0.1, rel=0.02), key


def test_altered_weights_are_refused_in_one_sentence(here: Path) -> None:
    campaign.run("upon", "sample", progress=False, arms=["scratch"])
    promote.record("upon", "sample")
    folder = here / "recorded" / "upon" / "sample"
    path, other = (folder / f"scratch-seed{seed}.safetensors" for seed in (0, 1))
    for damaged in (path.read_bytes()[:-100], other.read_bytes(), None):
        path.unlink() if damaged is None else path.write_bytes(damaged)
        with pytest.raises(PaperlibError, match=r"scratch-seed0.safetensors .* restore (it|them) from git"):
            weights.recorded(EXPERIMENT, "scratch", 0, DATA)
