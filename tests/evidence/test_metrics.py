"""Evidence on made-up records: metrics and the choice of rates, by hand."""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paperlib.errors import PaperlibError
from paperlib.evidence import agreement, decide, metrics, rates, store
from paperlib.recipe import Stop
from paperlib.training.records import Line
from tests import tiny
from tests.made_up import MADE_UP, declare, epoch, put

unhurried = settings(suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy


# ------------------------------------------------------------------------------------------ reading records


def test_results_are_one_row_a_recorded_run(folder: Path) -> None:
    assert list(metrics.results("made-up", "sample").columns)[:3] == ["arm", "seed", "status"]
    assert metrics.results("made-up", "sample").empty
    put(folder, "slow", 1, [80, 60], "censored", epochs=[epoch(1, 70, 71.5), epoch(2, 55, 60.25)])
    put(folder, "fast", 1, [80, 40, 20], "reached")
    put(folder, "fast", 0, [80, 15], "reached")
    rows = metrics.results("made-up", "sample").set_index(["arm", "seed"])
    assert list(rows.index) == [("fast", 0), ("fast", 1), ("slow", 1)]  # seeds outermost, as declared
    assert list(rows["status"]) == ["reached", "reached", "censored"]
    assert rows.loc[("fast", 1), "updates"] == pytest.approx(22.5)
    assert math.isnan(rows.loc[("slow", 1), "updates"]) and math.isnan(rows.loc[("fast", 1), "test_error"])
    assert rows.loc[("fast", 0), "updates_to_25"] == pytest.approx(5 + 10 * 55 / 65)
    assert list(rows["steps"]) == [20, 30, 20]
    slow = rows.loc[("slow", 1)]
    assert (slow["train_error"], slow["test_error"], slow["train_loss"]) == (55, 60.25, 1.1)
    assert slow["gap"] == pytest.approx(5.25)


def test_overfitting_is_the_test_error_above_that_on_the_training_images() -> None:
    """Both of the finished net; "gap" has the error on the way, with dropout and on crops."""
    lines: list[Line] = [
        {"kind": "run"}, epoch(1, 70, 71.5), epoch(2, 55, 60.25), {"kind": "fit", "views": 1, "top1_error": 12.5},
        {"kind": "end", "status": "done", "steps": 12},
    ]  # fmt: skip
    assert metrics.METRICS["overfit"](lines) == pytest.approx(47.75)
    assert metrics.METRICS["fit_error"](lines) == 12.5
    assert math.isnan(metrics.METRICS["overfit"](lines[:3]))


def test_what_no_declaration_yields_is_stale_and_never_used(folder: Path) -> None:
    put(folder, "fast", 0, [80, 15])
    stray = put(folder, "fast", 9, [80, 15])  # a seed that is not declared
    assert store.stale() == [stray[0]["id"]]
    assert list(metrics.results("made-up", "sample")["seed"]) == [0]
    assert len(store.recorded()) == 2


def test_a_run_is_recorded_once_and_shared_between_experiments(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(MADE_UP, name="other", arms={"baseline": {}})
    declare(monkeypatch, MADE_UP, other)
    lines = put(folder, "fast", 2, [80, 15])
    assert [(arm, seed) for arm, seed, _ in store.records_of("other", "sample")] == [("baseline", 2)]
    tiny.store(folder, other, "baseline", lines)
    store.forget()
    with pytest.raises(PaperlibError, match="recorded elsewhere too"):
        store.recorded()


def test_an_unknown_experiment_is_named(folder: Path) -> None:
    with pytest.raises(PaperlibError, match="no experiment 'nonsense'"):
        metrics.results("nonsense", "sample")


# ------------------------------------------------------------------------------------------ times


@pytest.mark.parametrize(
    ("errors", "threshold", "time"),
    [
        ([80, 40, 20], 25.0, 22.5),  # three quarters of the way from (15, 40) to (25, 20)
        ([80, 40, 20], 20.0, 25.0),
        ([80, 25, 20], 25.0, 15.0),
        ([10], 25.0, 5 * 65 / 80),  # from guessing, 90 % at 0, to (5, 10)
        ([10, 5], 50.0, 5 * 40 / 80),
        ([80, 20, 60, 10], 25.0, 5 + 10 * 55 / 60),  # the first time counts
        ([95, 20], 25.0, 5 + 10 * 70 / 75),  # worse than guessing at first
        ([80, 40, 26], 25.0, math.nan),
        ([], 25.0, math.nan),
    ],
)
def test_updates_to_a_threshold_by_hand(errors: list[float], threshold: float, time: float) -> None:
    lines = tiny.record(MADE_UP.run("fast", 0, "x"), errors)
    assert metrics.updates_to(lines, threshold) == pytest.approx(time, nan_ok=True)


@unhurried
@given(st.lists(st.floats(0, 89), min_size=1, max_size=12), st.floats(0.5, 88), st.floats(0.5, 88))
def test_a_lower_threshold_takes_longer(errors: list[float], one: float, two: float) -> None:
    lines = tiny.record(MADE_UP.run("fast", 0, "x"), errors)
    low, high = sorted((one, two))
    late, early = metrics.updates_to(lines, low), metrics.updates_to(lines, high)
    assert math.isnan(late) or early <= late + 1e-9
    assert math.isnan(early) == (min(errors) > high)
    if not math.isnan(early):
        first = next(i for i, error in enumerate(errors) if error <= high)
        assert max(0, 10 * first - 5) - 1e-9 <= early <= 10 * first + 5 + 1e-9


def test_the_running_error_stands_in_the_middle_of_its_window() -> None:
    lines = tiny.record(MADE_UP.run("fast", 0, "x"), [80.0, 40.0])
    assert metrics.running_error(lines) == ([5.0, 15.0], [80.0, 40.0])


# ------------------------------------------------------------------------------------------ learning rates

NAN = math.nan


@pytest.mark.parametrize(
    ("errors", "rate"),
    [
        ({0.1: 30.0, 0.3: 20.0, 1.0: 25.0}, 0.3),
        ({1.0: 25.0, 0.3: 20.0, 0.1: 30.0}, 0.3),  # in any order
        ({0.1: 30.0, 0.3: 20.0, 1.0: NAN}, 0.3),  # a diverged neighbour is a worse one
        ({0.1: NAN, 0.3: 20.0, 1.0: 21.0}, 0.3),
        ({0.1: 20.0, 0.3: 25.0, 1.0: 30.0}, None),  # the best lies at the edge: the sweep must go on
        ({0.1: 30.0, 0.3: 25.0, 1.0: 20.0}, None),
        ({0.1: 30.0, 0.3: 20.0, 1.0: 20.0, 3.0: 40.0}, 0.3),  # equal: the lower one
        ({0.1: 20.0, 0.3: 20.0, 1.0: 30.0}, None),  # equal, the lower one at the edge
        ({0.1: NAN, 0.3: NAN}, None),
        ({0.3: 20.0}, None),
        ({}, None),
    ],
)
def test_the_choice_of_a_rate(errors: dict[float, float], rate: float | None) -> None:
    assert rates.choose_rate(errors) == rate


def test_rates_are_chosen_from_recorded_sweeps(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the last window; a diverged run counts as one, however well it began."""
    ends = {"a@0.1": [80, 50], "a@0.3": [70, 30], "a@1": [20, 10, 1], "b@0.1": [50, 20], "b@0.3": [50, 30]}
    arms = {arm: {"optim.lr": float(arm[2:]), "optim.momentum": ord(arm[0]) / 128} for arm in ends}
    tried = {arm: (arm[0], changes["optim.lr"]) for arm, changes in arms.items()}
    sweep = replace(MADE_UP, name="relu-rates", arms=arms, seeds=(100,), stop=Stop(epochs=1, window=10), tried=tried)
    declare(monkeypatch, sweep)
    for arm, errors in ends.items():
        put(folder, arm, 100, errors, "diverged" if arm == "a@1" else "done", of=sweep)
    assert rates.chosen_rates("sample") == {"a": 0.3, "b": None}


# ------------------------------------------------------------------------------------------ runs that learnt nothing


@pytest.mark.parametrize(
    ("epochs", "windows", "stalled"),  # ten classes: 72 % is 0.8 of guessing
    [
        ([], [89, 73], True), ([], [89, 71], False), ([], [50, 73], True),  # the last running error
        ([71.0, 88.0], [89], False), ([72.5, 73.0], [10], True),  # the lowest test error, if there is one
        ([], [], False),
    ],
)  # fmt: skip
def test_a_run_that_never_left_guessing_is_stalled(epochs: list[float], windows: list[float], stalled: bool) -> None:
    lines = tiny.record(MADE_UP.run("fast", 0, "x"), windows, epochs=[epoch(1, 50, error) for error in epochs])
    assert metrics.stalled(lines) is stalled
    for line in lines:
        if "test_error" in line:
            line["validation_error"] = line.pop("test_error")
    assert metrics.stalled(lines) is stalled


# ------------------------------------------------------------------------------------------ a user's own runs


def test_agreement_of_a_users_runs(folder: Path, tmp_path: Path) -> None:
    mine = tmp_path / "runs"
    assert agreement.agreement("sample", mine) == "made-up: no run of yours has a recorded twin"
    for seed, errors in enumerate(([80.0, 40.0, 20.0], [82.0, 41.0, 19.0])):
        theirs = put(folder, "fast", seed, errors, losses=[2.0, 1.5, 1.0])
        ours = [dict(line) for line in theirs]
        ours[1]["train_loss"] += 1e-4 * (seed + 1)
        ours[2]["train_loss"] += 1.0  # later windows are not compared in their loss
        ours[3]["train_error"] -= 0.5 * (seed + 1)
        tiny.write(mine / theirs[0]["id"] / "record.jsonl", ours)
    expected = (
        "made-up: 2 runs of yours with a recorded twin; first running loss differs by at most 2.0e-04, "
        "last running training error by at most 1.00 points"
    )
    assert agreement.agreement("sample", mine) == expected
    unfinished = put(folder, "fast", 2, [80.0])
    tiny.write(mine / unfinished[0]["id"] / "record.jsonl", unfinished[:-1])
    only_theirs = put(folder, "fast", 3, [80.0])
    half_a_line = put(folder, "fast", 4, [80.0])
    (mine / half_a_line[0]["id"]).mkdir()
    (mine / half_a_line[0]["id"] / "record.jsonl").write_text('{"kind": "ru')
    assert only_theirs and agreement.agreement("sample", mine) == expected


def test_runs_on_another_copy_of_the_data_are_said_to_be_that(folder: Path, tmp_path: Path) -> None:
    """Their ids differ from the recorded ones, of which no twin can be found."""
    (first, *rest), mine = put(folder, "fast", 0, [80.0]), tmp_path / "runs"
    first |= {"experiment": MADE_UP.name, "scale": MADE_UP.scale}
    tiny.write(mine / "mine" / "record.jsonl", [{**first, "id": "mine"}, *rest])
    assert agreement.agreement("sample", mine).endswith("no run of yours has a recorded twin")
    other = {**first, "id": "mine", "data": {**first["data"], "fingerprint": "sha256:other"}}
    tiny.write(mine / "mine" / "record.jsonl", [other, *rest])
    assert agreement.agreement("sample", mine) == (
        "made-up: no run of yours has a recorded twin; yours are on another copy of the data than the recorded ones"
    )
    for damaged in ("", "{", "[]", '"odd"\n'):  # that of another run, which is none of this
        (mine / "odd").mkdir(exist_ok=True)
        (mine / "odd" / "record.jsonl").write_text(damaged)
        assert "another copy" in agreement.agreement("sample", mine)


def test_agreement_of_runs_that_diverged_at_once(folder: Path, tmp_path: Path) -> None:
    """They have no window to compare."""
    for seed, status in enumerate(("diverged", "censored")):
        theirs = put(folder, "slow", seed, [], "diverged")
        tiny.write(tmp_path / "runs" / theirs[0]["id"] / "record.jsonl", [theirs[0], {**theirs[1], "status": status}])
    assert agreement.agreement("sample", tmp_path / "runs") == (
        "made-up: 2 runs of yours with a recorded twin; first running loss differs by at most 0.0e+00, "
        "last running training error by at most 0.00 points; 1 ended in another way"
    )


def test_agreement_looks_into_the_users_folder(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = put(folder, "fast", 0, [80.0])
    monkeypatch.setenv("PAPERLIB_RUNS", str(tmp_path / "runs"))
    tiny.write(tmp_path / "runs" / theirs[0]["id"] / "record.jsonl", theirs)
    assert "recorded twin; first" in agreement.agreement("sample")


# ------------------------------------------------------------------------------------------ where records come from


def test_the_commits_of_all_records_are_listed() -> None:
    """`paperlib record` and `paperlib promote` keep the list."""
    listed = (store.RECORDED / store.COMMITS).read_text()
    firsts = [json.loads(path.open().readline()) for path in store.RECORDED.glob("*/*/*.jsonl")]
    counts = Counter(first["code"]["commit"] for first in firsts)
    assert listed == "".join(f"{counts[commit]:4d} {commit}\n" for commit in sorted(counts))


# ------------------------------------------------------------------------------------------ altered or missing evidence


def test_the_checksums_list_every_recorded_run() -> None:
    sums = store.read_checksums(store.RECORDED)
    there = {p.relative_to(store.RECORDED).as_posix() for p in store.RECORDED.glob("*/*/*.*")}
    assert sums is not None and set(sums) == there


def copied(folder: Path, *names: str) -> list[Path]:
    """Some recorded files, in another folder with a list of their checksums."""
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(store.RECORDED / path.relative_to(folder), path)
    store.write_lists(folder)
    return paths


RELU = "relu/sample/2012-relu-seed0.jsonl"


@pytest.mark.parametrize("damage", ["a digit", "cut", "not listed"])
def test_an_altered_record_is_no_evidence(recorded: Path, damage: str) -> None:
    (path,) = copied(recorded, RELU)
    assert len(store.recorded()) == 1
    store.forget()
    text = path.read_text()
    changed = {"a digit": text.replace("28.0349", "8.0349"), "cut": "".join(text.splitlines(True)[:6])}
    path.write_text(changed.get(damage, text))
    if damage == "not listed":
        (recorded / store.CHECKSUMS).write_text("")
    with pytest.raises(PaperlibError, match="checksum"):
        store.recorded()


NET = "net/sample/baseline-seed0"


@pytest.mark.parametrize("gone", [RELU, f"{NET}.safetensors", "both"])
def test_missing_evidence_is_refused_as_altered_evidence_is(recorded: Path, gone: str) -> None:
    """A sparse checkout, or an archive unpacked in part, must not silently give other verdicts."""
    paths = copied(recorded, RELU, f"{NET}.jsonl", f"{NET}.safetensors")
    assert len(store.recorded()) == 2
    store.forget()
    lost = paths if gone == "both" else [recorded / gone]
    for path in lost:
        path.unlink()
    with pytest.raises(PaperlibError, match=r"of the 3 files in .*SHA256SUMS are missing: restore"):
        decide.verdicts_of("relu", "sample")


def test_a_store_without_its_list_of_checksums_is_refused(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The edition's own always has the list: without it nobody could see what is missing."""
    assert store.recorded() == {}
    store.forget()
    monkeypatch.setattr(store, "RECORDED", recorded)
    with pytest.raises(PaperlibError, match="SHA256SUMS is missing: use a complete checkout"):
        store.recorded()


def test_an_unfinished_run_is_no_evidence(recorded: Path) -> None:
    (path,) = copied(recorded, RELU)
    path.write_text("".join(path.read_text().splitlines(True)[:6]))
    (recorded / store.CHECKSUMS).unlink()
    with pytest.raises(PaperlibError, match="did not finish"):
        store.recorded()


def test_the_first_loss_is_that_of_the_first_epoch_and_nothing_without_one() -> None:
    epochs = [{"kind": "epoch", "epoch": i, "train_loss": loss} for i, loss in ((1, 2.5), (2, 1.5))]
    assert metrics.METRICS["first_loss"](epochs) == 2.5 and metrics.METRICS["train_loss"](epochs) == 1.5
    assert math.isnan(metrics.METRICS["first_loss"]([{"kind": "end", "steps": 3}]))
