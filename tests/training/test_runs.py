"""Runs: ids that never change, records that a killed process left, checkpoints that a killed process left."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from paperlib import files
from paperlib.errors import PaperlibError
from paperlib.recipe import Recipe, Sizes, Stop
from paperlib.training import checkpoints, records, runs
from paperlib.training.runs import Run
from tests import tiny

RUN = tiny.plain()

# ------------------------------------------------------------------------------------------ identity


@pytest.mark.parametrize(
    ("run", "canonical", "run_id"),
    [
        (
            Run(Recipe.paper(), Sizes(), Stop(), "sha256:x", 0),
            '{"data":"sha256:x","recipe":{},"seed":0,"sizes":{},"stop":{}}',
            "ff28c77f3fb5d5fffb95d852c451065d7565e70a495a748757a4898bc0fcad4d",
        ),
        (
            Run(
                Recipe().but(**{"model.net": "80sec", "model.removed": ["fc6"], "optim.lr": 0.003, "optim.drops": ()}),
                Sizes(side=28, crop=28, channels=1, classes=10, kernels=(16, 16, 32), fc=32),
                Stop(epochs=12, threshold=20.0, window=26),
                "sha256:y",
                7,
            ),
            '{"data":"sha256:y","recipe":{"model":{"net":"80sec","removed":["fc6"]},"optim":{"drops":[],"lr":0.003}},'
            '"seed":7,"sizes":{"channels":1,"classes":10,"crop":28,"fc":32,"kernels":[16,16,32],"side":28},'
            '"stop":{"epochs":12,"threshold":20.0,"window":26}}',
            "97dfa1e78a7b68794df609b04c9963a14ce3a3e9e0e697b9916417e677dcc831",
        ),
    ],
    ids=["paper", "small"],
)
def test_ids_are_those_of_the_first_version(run: Run, canonical: str, run_id: str) -> None:
    """Literal ids: were one to change, every recorded run would be stale."""
    assert run.id == run_id == hashlib.sha256(canonical.encode()).hexdigest()
    assert Run.from_config(run.config) == run
    assert Run.from_config(json.loads(json.dumps(run.config))).id == run_id


def test_the_order_in_which_fields_are_changed_is_no_other_run() -> None:
    changes: dict[str, Any] = {"model.lrn": False, "optim.lr": 0.5, "augment.crop": False, "model.dropout": 0.1}
    one = dataclasses.replace(RUN, recipe=Recipe().but(**changes))
    two = dataclasses.replace(RUN, recipe=Recipe().but(**dict(reversed(changes.items()))))
    assert one.id == two.id
    step_by_step = Recipe()
    for name, value in reversed(changes.items()):
        step_by_step = step_by_step.but(**{name: value})
    assert dataclasses.replace(RUN, recipe=step_by_step).id == one.id
    shuffled = dict(reversed(one.config.items()))
    assert Run.from_config(shuffled).id == one.id


def test_everything_that_matters_is_in_the_id() -> None:
    others = [
        dataclasses.replace(RUN, seed=1),
        dataclasses.replace(RUN, data="sha256:another copy"),
        dataclasses.replace(RUN, stop=Stop(epochs=4, window=4)),
        dataclasses.replace(RUN, sizes=dataclasses.replace(tiny.SIZES, fc=9)),
        dataclasses.replace(RUN, recipe=RUN.recipe.but(**{"optim.lr": 0.06})),
    ]
    assert len({run.id for run in [RUN, *others]}) == 6


def test_comparable_leaves_out_times_and_provenance_and_nothing_else() -> None:
    lines = tiny.record(RUN, [60.0, 40.0], epochs=[{"kind": "epoch", "epoch": 1, "step": 6, "lr": 0.1, "seconds": 1.5}])
    left = records.comparable(lines)
    assert left[0] == {k: v for k, v in lines[0].items() if k not in ("code", "env", "started")}
    assert left[3] == {"kind": "epoch", "epoch": 1, "step": 6, "lr": 0.1}
    assert left[1:3] == lines[1:3] and left[4:] == lines[4:]


def test_provenance_says_what_ran() -> None:
    env = records.environment()
    assert env["torch"] == torch.__version__ and env["threads"] == torch.get_num_threads() and env["cpu"]
    code = records.code_version()
    assert set(code) == {"commit", "dirty"}


def test_provenance_without_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert records.code_version.__wrapped__() == {"commit": "unknown", "dirty": True}


def test_where_runs_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert runs.default_runs_dir() == files.ROOT / "runs"
    monkeypatch.setenv("PAPERLIB_RUNS", str(tmp_path))
    assert runs.record_path(runs.default_runs_dir(), "abc") == tmp_path / "abc" / "record.jsonl"


# ------------------------------------------------------------------------------------------ records


def test_a_record_and_what_it_says(tmp_path: Path) -> None:
    lines = tiny.record(RUN, [60.0, 40.0], status="reached")
    path = tiny.write(tmp_path / "r.jsonl", lines)
    assert records.read_record(path) == lines
    assert records.status(lines) == "reached" and records.status(lines[:-1]) == "unfinished"
    assert [w["train_error"] for w in records.of_kind(lines, "window")] == [60.0, 40.0]
    assert records.begun(path) and records.finished(path)


def test_an_unfinished_last_line_is_not_there(tmp_path: Path) -> None:
    """Cut anywhere: whole lines are read, the rest is as if it had never been written."""
    lines = tiny.record(RUN, [60.0, 40.0])
    content = tiny.write(tmp_path / "r.jsonl", lines).read_bytes()
    ends = [i + 1 for i, byte in enumerate(content) if byte == 10]
    path = tmp_path / "cut.jsonl"
    at_ends = {min(end + d, len(content)) for end in ends for d in (-1, 0, 1)}
    for length in sorted({*range(0, len(content), 17), *at_ends}):
        path.write_bytes(content[:length])
        whole = sum(end <= length for end in ends)
        assert records.begun(path) == (whole > 0)
        assert records.finished(path) == (whole == len(lines))
        if whole:
            assert records.read_record(path) == lines[:whole]
    assert not records.begun(tmp_path / "nothing.jsonl") and not records.finished(tmp_path / "nothing.jsonl")


BEGUN = '{"kind": "run", "format": 1, "id": "x", "config": {}}\n'


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no record of a run"),
        ('{"kind": "window", "step": 1}\n', "no record of a run"),
        ('{"kind": "run", "format": 2, "id": "x"}\n', "record format 2, this version reads 1"),
        ('{"kind": "run", "id": "x"}\n', "record format None"),
        ('{"kind": "run", "format": 1}\nnonsense\n', "line 2"),
        ('{"kind": "run", "format": 1}\n[3]\n', "line 2"),
        ('{"kind": "run", "format": 1}\n{"step": 3}\n', "line 2"),
        ("3\n", "line 1"),
        (BEGUN + '{"kind": "window", "step": 1, "train_loss": 1.0}\n', "lacks 'train_error'"),
        (BEGUN + '{"kind": "windox", "step": 1}\n', "unknown kind 'windox'"),
        (BEGUN + '{"kind": "end", "statuz": "done", "steps": 1}\n', "lacks 'status'"),
        ("\x00\ufffd\n", "line 1"),
    ],
)
def test_what_is_no_record_is_named_in_one_sentence(content: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(PaperlibError) as error:
        records.read_record(path)
    assert words in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)


# ------------------------------------------------------------------------------------------ whole files


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "f"
    for content in (b"first", b"", b"third" * 1000):
        files.write_whole(path, content)
        assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize("where", ["fsync", "replace", "open"])
def test_a_full_disk_leaves_the_old_file(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    files.write_whole(path, b"old")
    monkeypatch.setattr(os if where == "fsync" else Path, where, full_disk)
    with pytest.raises(PaperlibError) as error:
        files.write_whole(path, b"new")
    monkeypatch.undo()
    assert "No space left on device" in str(error.value) and str(path) in str(error.value)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["f"]


# ------------------------------------------------------------------------------------------ checkpoints

TENSORS = {"weights/a": torch.arange(6.0).reshape(2, 3), "velocity/a": torch.ones(2, 3), "weights/b": torch.tensor(2.5)}


def save(folder: Path, step: int, run_id: str = "mine") -> None:
    tensors = {name: tensor + step for name, tensor in TENSORS.items()}
    checkpoints.save_checkpoint(folder, run_id, step, tensors, {"step": step})


def step_found(folder: Path, run_id: str = "mine") -> int | None:
    found = checkpoints.load_checkpoint(folder, run_id)
    if found is None:
        return None
    step, tensors, state = found
    assert state == {"step": step} and set(tensors) == set(TENSORS)
    assert all(torch.equal(tensors[name], tensor + step) for name, tensor in TENSORS.items())
    return step


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    assert step_found(tmp_path) is None
    for step in (3, 20, 100, 100_000_000):
        save(tmp_path, step)
        assert step_found(tmp_path) == step
    names = {f"step-{step:08d}.{suffix}" for step in (100, 100_000_000) for suffix in ("json", "safetensors")}
    assert set(os.listdir(tmp_path)) == names


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    save(tmp_path, 1)
    for left in ("step-00000002.safetensors", "step-00000003.safetensors.part", "step-00000003.json.part"):
        (tmp_path / left).write_bytes(b"half")
    (tmp_path / "record.jsonl").write_text("not a checkpoint\n")
    assert step_found(tmp_path) == 1
    save(tmp_path, 4)
    save(tmp_path, 5)
    names = {f"step-{step:08d}.{suffix}" for step in (4, 5) for suffix in ("json", "safetensors")}
    assert set(os.listdir(tmp_path)) == names | {"record.jsonl"}


def test_views_and_strides_are_stored_as_values(tmp_path: Path) -> None:
    """Weights in channels_last, and slices of larger tensors."""
    conv = torch.randn(4, 3, 2, 2).contiguous(memory_format=torch.channels_last)
    part = torch.arange(10.0)[::3]
    checkpoints.save_checkpoint(tmp_path, "mine", 1, {"conv": conv, "part": part}, {})
    found = checkpoints.load_checkpoint(tmp_path, "mine")
    assert found and torch.equal(found[1]["conv"], conv) and torch.equal(found[1]["part"], part)


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_one_cut_off_anywhere_gives_way_to_the_one_before(suffix: str, tmp_path: Path) -> None:
    save(tmp_path, 10)
    save(tmp_path, 20)
    path = tmp_path / f"step-00000020.{suffix}"
    content = path.read_bytes()
    for length in sorted({*range(0, len(content), max(1, len(content) // 23)), 1, 7, 8, 9, len(content) - 1}):
        path.write_bytes(content[:length])
        assert step_found(tmp_path) == 10
    path.unlink()
    assert step_found(tmp_path) == 10
    path.write_bytes(content)
    assert step_found(tmp_path) == 20


def test_a_flipped_bit_gives_way_to_the_one_before(tmp_path: Path) -> None:
    save(tmp_path, 10)
    save(tmp_path, 20)
    path = tmp_path / "step-00000020.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert step_found(tmp_path) == 10
    (tmp_path / "step-00000010.json").unlink()
    assert step_found(tmp_path) is None


def test_a_disk_that_does_not_answer_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the checkpoints would be taken for damaged, and a run of weeks would begin anew."""
    save(tmp_path, 10)
    save(tmp_path, 20)

    def silent(path: Path) -> bytes:
        raise OSError(errno.EIO, "Input/output error", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", silent)
        with pytest.raises(PaperlibError, match=r"cannot read .*20\.json: Input/output error; nothing is changed"):
            checkpoints.load_checkpoint(tmp_path, "mine")
    assert step_found(tmp_path) == 20


def test_the_newest_that_fits_is_taken(tmp_path: Path) -> None:
    save(tmp_path, 10)
    save(tmp_path, 20)
    for below, expected in ((30, 20), (20, 10), (10, None)):
        found = checkpoints.load_checkpoint(tmp_path, "mine", lambda state, below=below: state["step"] < below)
        assert (found and found[0]) == expected


def test_that_of_another_run_is_refused(tmp_path: Path) -> None:
    save(tmp_path, 10, "another-run-with-a-long-id")
    with pytest.raises(PaperlibError, match=r"another run \(another-run-, not mine\)"):
        checkpoints.load_checkpoint(tmp_path, "mine")
    assert step_found(tmp_path, "another-run-with-a-long-id") == 10


def test_later_ones_can_be_dropped(tmp_path: Path) -> None:
    save(tmp_path, 10)
    save(tmp_path, 20)
    (tmp_path / "step-00000030.safetensors.part").write_bytes(b"")
    checkpoints.drop_checkpoints(tmp_path, after=10)
    assert sorted(os.listdir(tmp_path)) == ["step-00000010.json", "step-00000010.safetensors"]
    checkpoints.drop_checkpoints(tmp_path, after=-1)
    assert os.listdir(tmp_path) == []


# ------------------------------------------------------------------------------------------ the hash of weights


def test_the_hash_of_weights_by_hand() -> None:
    tensors = {"b": torch.tensor([1.0, -2.0]), "a": torch.tensor(3, dtype=torch.int64)}
    text = b"a()torch.int64" + (3).to_bytes(8, "little")
    text += b"b(2,)torch.float32" + b"\x00\x00\x80\x3f" + b"\x00\x00\x00\xc0"
    assert checkpoints.weights_sha256(tensors) == hashlib.sha256(text).hexdigest()


def test_the_hash_of_weights_sees_values_and_not_strides() -> None:
    w = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    last = w.contiguous(memory_format=torch.channels_last)
    assert checkpoints.weights_sha256({"w": w}) == checkpoints.weights_sha256({"w": last})
    other = w.clone()
    other[0, 0, 0, 0] = torch.nextafter(other[0, 0, 0, 0], torch.tensor(9.0))
    hashes = [{"w": w}, {"w": other}, {"v": w}, {"w": w.double()}, {"w": w.reshape(4, 12)}, {"w": w, "x": w}]
    assert len({checkpoints.weights_sha256(tensors) for tensors in hashes}) == 6
