"""Damage and odd surroundings: flipped bytes in records and checkpoints, foreign repositories, locks, streams."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save

from paperlib import cli, files, machine, notebook, promote
from paperlib.data import sets
from paperlib.data.known import FINGERPRINTS
from paperlib.errors import PaperlibError
from paperlib.evidence import agreement, store, weights
from paperlib.experiments import declared
from paperlib.training import checkpoints, loop, records, runs
from paperlib.training.processes import Child, Topology, joined
from paperlib.training.records import Line
from tests import tiny

DATA = tiny.dataset()
RUN = tiny.plain()
pytestmark = pytest.mark.usefixtures("one_thread")


def fit(directory: Path, updates: int | None = None) -> list[Line]:
    """The record of the tiny run, with a checkpoint after each update."""
    going = tiny.for_updates(updates) if updates else lambda: True
    return loop.fit(RUN, DATA, directory, checkpoint_seconds=0.0, keep_going=going).lines


def interrupted(directory: Path, updates: int = 13) -> Path:
    with pytest.raises(loop.Interrupted):
        fit(directory, updates)
    return directory


# ------------------------------------------------------------------------------------------ flipped bytes


def flips(content: bytes, every: int) -> list[tuple[int, bytes]]:
    """The content with one byte changed, at every so-manyth place: a digit to another digit, anything else by a bit."""
    found = []
    for place in range(every // 2, len(content) - 1, every):
        old = content[place]
        new = (old - 48 + 3) % 10 + 48 if 48 <= old <= 57 else old ^ 1
        found.append((place, content[:place] + bytes([new]) + content[place + 1 :]))
    return found


def test_a_flipped_byte_of_a_checkpoint_gives_way_to_the_one_before(tmp_path: Path) -> None:
    """State, step, id, checksums and keys alike."""
    interrupted(tmp_path)
    before, newest = sorted(tmp_path.glob("step-*.json"))
    content = newest.read_bytes()
    for place, damaged in flips(content, 7):
        newest.write_bytes(damaged)
        found = checkpoints.load_checkpoint(tmp_path, RUN.id)
        assert found and found[0] == int(before.stem[5:]), (place, damaged[place - 20 : place + 20])


def test_a_flipped_byte_of_a_record_is_never_evidence(tmp_path: Path) -> None:
    """Finished: the record is refused. Unfinished: the run ends as if undisturbed, or is refused."""
    whole = records.comparable(fit(tmp_path / "done"))
    path = tmp_path / "done" / "record.jsonl"
    content = path.read_bytes()
    values = [json.loads(line) for line in content.splitlines()]
    for place, damaged in flips(content, 11):
        path.write_bytes(damaged)
        try:
            lines = records.read_record(path)
        except PaperlibError as error:
            assert "\n" not in str(error)
            continue
        # a digit behind a float's precision, or in the name of the checksum: nothing else that it says is another
        for line, was in zip(lines, values, strict=True):
            kept = {key: line.get(key) for key in was if key != records.SEAL}
            assert kept == {key: was[key] for key in kept}, (place, damaged[place - 20 : place + 20])
    place = interrupted(tmp_path / "half") / "record.jsonl"
    kept = {each: each.read_bytes() for each in place.parent.iterdir()}
    for _, damaged in flips(kept[place], 97):
        for each, bytes_then in kept.items():
            each.write_bytes(bytes_then)
        place.write_bytes(damaged)
        try:
            lines = fit(place.parent)
        except PaperlibError:
            continue
        assert records.comparable(lines) == whole


@pytest.mark.parametrize("byte", [b"\x0b", b"\x0c", b"\x1c", b"\x1d", b"\x1e", b"\x85", b"\r", b"\xff"])
def test_a_control_byte_hides_nothing(byte: bytes, tmp_path: Path) -> None:
    """Python's splitlines ends a line at most of these."""
    lines = tiny.record(RUN, [60.0, 40.0])
    path = tiny.write(tmp_path / "r.jsonl", lines)
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"kind": "window"', b'"kind": "win' + byte + b'dow"', 1))
    with pytest.raises(PaperlibError, match="line 2 is not JSON; restore the file, or delete it and run again"):
        records.finished(path)


@pytest.mark.parametrize(
    "line",
    [
        "[" * 5000, '{"a":' * 3000 + "1" + "}" * 3000, '{"kind": "end", "status": "done", "steps": ' + "9" * 5000 + "}",
        '{"kind": ["end"]}', '{"kind": {}}', "NaN", '{"kind": "end", "status": 7, "steps": 3}',
        '{"kind": "window", "step": 1, "train_loss": null, "train_error": 3}',
    ],
    ids=lambda line: line[:20],
)  # fmt: skip
def test_odd_json_is_one_sentence(line: str, tmp_path: Path) -> None:
    path = tiny.write(tmp_path / "r.jsonl", tiny.record(RUN, [60.0])[:1])
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(PaperlibError, match="is damaged: line 2"):
        records.read_record(path)
    interrupted(tmp_path / "run", 3)
    newest = sorted((tmp_path / "run").glob("step-*.json"))[-1]
    for text in (line, json.dumps({"format": 1, "run": RUN.id, "step": 2, "sha256": "x", "state": {}})):
        newest.write_text(text)
        assert checkpoints.load_checkpoint(tmp_path / "run", RUN.id) is not None


def test_a_record_of_another_id_than_its_configuration_is_refused(tmp_path: Path) -> None:
    lines = tiny.record(RUN, [60.0])
    lines[0]["config"] = tiny.plain(seed=1).config
    with pytest.raises(PaperlibError, match="its id is not that of its configuration"):
        records.read_record(tiny.write(tmp_path / "r.jsonl", lines))


def test_files_of_other_names_are_left_alone(tmp_path: Path) -> None:
    interrupted(tmp_path)
    mine = [tmp_path / name for name in ("step-best.json", "step-1.safetensors", "step-0000000a.json")]
    for path in mine:
        path.write_text("mine")
    assert fit(tmp_path)[-1]["status"] == "done"
    assert all(path.read_text() == "mine" for path in mine) and len(list(tmp_path.glob("step-*"))) == 4 + len(mine)


def test_checkpoints_of_older_versions_are_resumed(tmp_path: Path) -> None:
    """Without checksums of state and record, and with processes and means in the place of stretches."""
    whole = records.comparable(fit(tmp_path / "whole"))
    for path in interrupted(tmp_path / "old").glob("step-*.json"):
        content = json.loads(path.read_text())
        del content[checkpoints.CHECK], content["state"]["record_sha256"], content["state"]["stretches"]
        content["state"] |= {"processes": "2 towers x 1", "means": {"compiled": True}}
        path.write_text(json.dumps(content))
    lines = fit(tmp_path / "old")
    assert records.comparable(lines) == whole
    first, last = records.stretches(lines)
    assert first["env"]["processes"] == "2 towers x 1" and first["env"]["compiled"]
    assert (first["step"], last["step"]) == (0, 13) and "processes" not in last["env"]


@pytest.mark.parametrize("header", [{}, {"weights/conv1.weight": torch.zeros(3)}, {"x": torch.zeros(2)}])
def test_tensors_of_another_net_are_one_sentence(header: dict[str, torch.Tensor], tmp_path: Path) -> None:
    interrupted(tmp_path)
    for path in tmp_path.glob("step-*.json"):
        content = json.loads(path.read_text())
        data = save(header)
        path.with_suffix(".safetensors").write_bytes(data)
        plain = {name: content[name] for name in checkpoints.FIELDS} | {"sha256": hashlib.sha256(data).hexdigest()}
        path.write_text(json.dumps(plain))
    with pytest.raises(PaperlibError, match=r"the checkpoint has no weights conv1\.weight of shape"):
        fit(tmp_path)


@pytest.mark.parametrize(
    "header", [b'{"a":{"dtype":"F9","shape":[1],"data_offsets":[0,4]}}', b'{"a":3}', b"[]", b'{"a":{}}', b"\xff"]
)
def test_nonsense_in_a_safetensors_header_is_one_sentence(header: bytes, tmp_path: Path) -> None:
    with pytest.raises(PaperlibError, match="x is not a safetensors file that can be read"):
        checkpoints.tensors_of(len(header).to_bytes(8, "little") + header + bytes(4), Path("x"))


def resealed(place: Path, gone: Sequence[str] = (), **changes: object) -> None:
    """The checkpoint with other fields, or without some, and the checksum that fits them."""
    held = json.loads(place.read_bytes())
    content = {key: value for key, value in held.items() if key not in {checkpoints.CHECK, *gone}} | changes
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    place.write_text(json.dumps(content | {checkpoints.CHECK: digest}))


@pytest.mark.parametrize("changes", [{"format": 2}, {"format": 3, "optimiser": "adam"}, {"format": "2", "state": []}])
def test_checkpoints_of_a_newer_version_are_named_and_kept(changes: dict[str, object], tmp_path: Path) -> None:
    interrupted(tmp_path)
    for place in tmp_path.glob("step-*.json"):
        resealed(place, **changes)
    before = {each: each.read_bytes() for each in tmp_path.iterdir()}
    for read in (lambda: fit(tmp_path), lambda: weights.checkpoint(tmp_path)):
        with pytest.raises(PaperlibError, match=r"has checkpoint format \d, this version reads 1; update paperlib"):
            read()
    assert before == {each: each.read_bytes() for each in tmp_path.iterdir()}


@pytest.mark.parametrize("gone", ["format", "run", "step", "sha256", "state"])
def test_a_sealed_checkpoint_without_a_field_gives_way_to_the_one_before(gone: str, tmp_path: Path) -> None:
    interrupted(tmp_path)
    before, newest = sorted(tmp_path.glob("step-*.json"))
    resealed(newest, gone=[gone])
    found = checkpoints.load_checkpoint(tmp_path, RUN.id)
    assert found and found[0] == int(before.stem[5:])


@pytest.mark.parametrize("state", [{}, {"test_errors": 3}, {"step": 13, "epoch_sums": []}])
def test_weights_whose_state_is_none_are_one_sentence(state: Line, tmp_path: Path) -> None:
    """As of a checkpoint of an older version, which has no checksum of its state."""
    interrupted(tmp_path)
    for place in tmp_path.glob("step-*.json"):
        resealed(place, state=state)
    with pytest.raises(PaperlibError, match="holds damaged checkpoints only"):
        weights.checkpoint(tmp_path)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_weights_of_another_precision_are_not_resumed(dtype: torch.dtype, tmp_path: Path) -> None:
    interrupted(tmp_path)
    for place in tmp_path.glob("step-*.safetensors"):
        tensors = checkpoints.tensors_of(place.read_bytes(), place)
        place.write_bytes(save({name: tensor.to(dtype) for name, tensor in tensors.items()}))
        resealed(place.with_suffix(".json"), sha256=files.sha256(place))
    with pytest.raises(PaperlibError, match=r"has no weights conv1.weight of shape .* and torch.float32"):
        fit(tmp_path)


def pipe(place: Path) -> None:
    os.mkfifo(place)


@pytest.mark.parametrize("odd", [Path.mkdir, pipe, lambda place: place.symlink_to(place)])
def test_a_record_that_is_no_regular_file_is_not_opened(odd: Callable[[Path], None], tmp_path: Path) -> None:
    """A pipe would block for ever; a run begins anew, or says why it cannot."""
    place = tmp_path / "run" / "record.jsonl"
    place.parent.mkdir()
    odd(place)
    assert agreement.first_lines(tmp_path) == [] and not records.finished(place)
    if place.is_dir():
        with pytest.raises(PaperlibError, match="cannot write"):
            fit(place.parent)
    else:
        assert fit(place.parent)[-1]["status"] == "done"


@pytest.mark.parametrize(
    "line", ['{"data": {}}', '{"data": "x"}', '{"data": {"fingerprint": [1]}}', '{"data": {"fingerprint": 5}}', "[]"]
)
def test_agree_passes_over_what_names_no_data(line: str, tmp_path: Path, recorded: Path) -> None:
    path = tmp_path / "some" / "record.jsonl"
    path.parent.mkdir()
    path.write_text(line.replace("{", '{"kind": "run", "experiment": "relu", "scale": "sample", ', 1) + "\n")
    assert "relu: no run of yours has a recorded twin" in agreement.agreement("sample", tmp_path)
    with pytest.raises(PaperlibError, match="is no folder"):
        agreement.agreement("sample", path)


@pytest.mark.parametrize("value", ["NaN", "-Infinity"])
def test_what_is_no_number_is_no_json(value: str, tmp_path: Path) -> None:
    """It would be at no distance from any number, and so agree with each."""
    path = tiny.write(tmp_path / "record.jsonl", tiny.record(RUN, [50.0, 25.0]))
    path.write_text(path.read_text().replace(" 25.0", f" {value}", 1))
    with pytest.raises(PaperlibError, match="line 3 is not JSON"):
        records.read_record(path)


def test_a_record_without_its_end_holds_no_weights(tmp_path: Path) -> None:
    kept = store.RECORDED / "net" / "sample" / "baseline-seed0.safetensors"
    (tmp_path / kept.name).write_bytes(kept.read_bytes())
    lines = records.read_record(kept.with_suffix(".jsonl"))
    tiny.write(tmp_path / "baseline-seed0.jsonl", [line for line in lines if line["kind"] != "end"])
    with pytest.raises(PaperlibError, match="a run that did not finish"):
        weights.checkpoint(tmp_path / kept.name)


def test_agree_names_a_damaged_record(tmp_path: Path) -> None:
    (_, _, theirs), *_ = store.records_of("relu", "sample")
    path = tiny.write(runs.record_path(tmp_path, theirs[0]["id"]), theirs)
    path.write_bytes(path.read_bytes().replace(b'"kind": "window"', b'"kind": "wi\x1cdow"', 1))
    said = next(line for line in agreement.agreement("sample", tmp_path).splitlines() if line.startswith("relu: "))
    assert str(path) in said and "is damaged: line 2" in said and "twin" not in said


# ------------------------------------------------------------------------------------------ where a run was computed


def test_every_stretch_of_a_run_is_in_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of processor, torch or commit; not a resume as before, and nothing of a stretch that was lost."""
    whole, env = records.comparable(fit(tmp_path / "whole")), records.environment()
    assert records.stretches(fit(tmp_path / "whole"))[0]["step"] == 0
    folder = tmp_path / "moved"
    for change, updates in (({}, 4), ({}, 2), ({"cpu": "another"}, 3), ({"threads": 7}, 0), ({"torch": "0.1"}, None)):
        monkeypatch.setattr(records, "environment", lambda change=change: env | change)
        try:
            lines = loop.fit(
                RUN, DATA, folder, checkpoint_seconds=0.0,
                keep_going=(lambda: True) if updates is None else tiny.for_updates(updates),
            ).lines  # fmt: skip
        except loop.Interrupted:
            continue
    found = [(each["step"], each["env"]["cpu"] == "another", each["env"]["torch"]) for each in records.stretches(lines)]
    version = env["torch"]
    assert found == [(0, False, version), (6, True, version), (9, False, "0.1")]
    assert records.comparable(lines) == whole and records.read_record(folder / "record.jsonl") == lines


def test_tables_name_the_runs_that_were_computed_in_parts(
    tmp_path: Path, recorded: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`paperlib agree` and `list`, and the provenance in notebooks: on two processors, and by another commit."""
    ids = declared.get("relu", "sample").ids()
    run_id, (arm, seed, copy) = next(item for item in ids.items() if "sigmoid" in item[1][0])  # of no other experiment
    run = declared.get("relu", "sample").run(arm, seed, FINGERPRINTS["sample"][copy])
    lines = tiny.record(run, [60.0, 40.0], about={"experiment": "relu", "scale": "sample", "arm": arm})
    places = [recorded / "relu" / "sample" / "x.jsonl", runs.record_path(tmp_path / "runs", run_id)]
    for path, parts in zip(places, (1, 3), strict=True):
        env, code = {"cpu": "one", "threads": 1}, {"commit": "aaa", "dirty": False}
        stretches = [{"step": 0, "code": code, "env": env}, {"step": 1300, "code": code, "env": env | {"cpu": "two"}},
                     {"step": 2600, "code": code | {"commit": "bbb"}, "env": {"cpu": "two"}}]  # fmt: skip
        tiny.write(path, [*lines[:-1], lines[-1] | {"stretches": stretches[:parts]}])
    named = (
        f"{arm}, seed {seed}, was computed in parts: from update 1,300 with cpu two; "
        "from update 2,600 with commit bbb, no threads"
    )
    monkeypatch.setenv("PAPERLIB_RUNS", str(tmp_path / "runs"))
    said: list[str] = []
    monkeypatch.setattr(notebook, "say", said.append)

    def shown() -> list[str]:
        store.forget()
        assert cli.main(["agree"]) == cli.main(["list", "relu", "--scale", "sample"]) == 0
        notebook.provenance("relu")
        found = (capsys.readouterr().out + said.pop()).splitlines()
        return [line for line in found if "in parts" in line and "others" not in line]

    assert shown() == [f"relu: {named}"]
    places[0].write_bytes(places[1].read_bytes())
    assert shown() == [f"relu: {named}", f"relu (recorded): {named}", f"sample: {named}", f"- relu, sample: {named}"]


@pytest.mark.parametrize(("change", "refused"), [({"torch": "0.1"}, True), ({"cpu": "another"}, False)])
def test_another_torch_within_a_run_is_no_evidence(
    change: dict[str, str], refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(tmp_path / RUN.id, 5)
    env = records.environment() | change
    monkeypatch.setattr(records, "environment", lambda: env)
    fit(tmp_path / RUN.id)
    if refused:
        with pytest.raises(PaperlibError, match=r"more than one version of torch \(0\.1, "):
            promote.refuse_other_means(RUN, tmp_path)
    else:
        promote.refuse_other_means(RUN, tmp_path)


def git(folder: Path, *args: str) -> str:
    who = ["-c", "user.name=x", "-c", "user.email=x@x"]
    done = subprocess.run(["git", "-C", str(folder), *who, *args], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("foreign", ["around", "GIT_DIR", "GIT_WORK_TREE"])
def test_the_commit_of_another_repository_is_not_ours(
    foreign: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, ours = tmp_path / "other", tmp_path / "other" / "edition"
    (ours / "paperlib").mkdir(parents=True)
    git(other, "init", "-q")
    git(other, "commit", "-q", "--allow-empty", "-m", "theirs")
    unknown = {"commit": "unknown", "dirty": True}
    if foreign == "around":
        assert records.code_version.__wrapped__(ours) == unknown
    else:
        monkeypatch.setenv("GIT_DIR", str(other / ".git"))
        monkeypatch.setenv("GIT_WORK_TREE", str(other))
        assert records.code_version.__wrapped__(ours) == unknown
        monkeypatch.delenv("GIT_DIR")
        monkeypatch.delenv("GIT_WORK_TREE")
    (ours / "paperlib" / "x.py").write_text("1")
    git(ours, "init", "-q")
    git(ours, "add", "paperlib")
    git(ours, "commit", "-q", "-m", "ours")
    monkeypatch.setenv(foreign if foreign != "around" else "GIT_DIR", str(other / ".git"))
    assert records.code_version.__wrapped__(ours) == {"commit": git_commit(ours, monkeypatch), "dirty": False}


def git_commit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    with monkeypatch.context() as clean:
        for name in ("GIT_DIR", "GIT_WORK_TREE"):
            clean.delenv(name, raising=False)
        return git(folder, "rev-parse", "HEAD")


# ------------------------------------------------------------------------------------------ promotion on a full disk


@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_disk_that_is_full_while_recording_leaves_the_records_as_they_were(
    call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the first record, the second, or the list of checksums."""
    experiment = declared.get("relu-rates", "sample")
    cells = list(experiment.ids().items())[:2]
    two = SimpleNamespace(ids=lambda: dict(cells), run=experiment.run, keep=())
    monkeypatch.setattr(declared, "get", lambda *_: two)
    for run_id, _ in cells:
        tiny.write(runs.record_path(tmp_path / "runs", run_id), store.recorded()[run_id])
    sync, calls = os.fsync, iter(range(1, 100))

    def fills_up(fd: int) -> None:
        if next(calls) >= call:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(fd)

    with store.using(tmp_path / "recorded"):
        monkeypatch.setattr(os, "fsync", fills_up)
        with pytest.raises(PaperlibError, match="cannot write .*: No space left on device"):
            promote.record("relu-rates", "sample", tmp_path / "runs")
        monkeypatch.setattr(os, "fsync", sync)
        assert store.recorded() == {} and not list((tmp_path / "recorded").rglob("*.*"))
        assert len(promote.record("relu-rates", "sample", tmp_path / "runs")) == 2 and len(store.recorded()) == 2


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o007, 0o660)])
def test_checkpoints_follow_the_umask(umask: int, mode: int, tmp_path: Path) -> None:
    """Who may read a file in this folder may read these, too: safetensors by itself keeps its files to their owner."""
    old = os.umask(umask)
    try:
        interrupted(tmp_path)
    finally:
        os.umask(old)
    found = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir() if path.name != "lock"}
    assert len(found) == 5 and set(found.values()) == {mode}, found


# ------------------------------------------------------------------------------------------ locks


@pytest.mark.parametrize("missing", [0, errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_lock_holds_and_names_its_process_with_flock_and_without(
    missing: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(missing, os.strerror(missing))

    if missing:
        monkeypatch.setattr(fcntl, "flock", none)
    lock = files.locked(tmp_path / "lock", "another process trains")
    with pytest.raises(PaperlibError, match=rf"^another process trains \(process {os.getpid()} on host ") as error:
        files.locked(tmp_path / "lock", "another process trains")
    assert f"if it is gone, which some file systems do not notice, delete {lock.lock_file}" in str(error.value)
    lock.release()
    files.locked(tmp_path / "lock", "free again").release()


# ------------------------------------------------------------------------------------------ what surrounds a process


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"RANK": "x"}, "RANK is 'x', not a whole number"), ({"WORLD_SIZE": "abc"}, "WORLD_SIZE is 'abc'"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is '0', not a whole number from 1 up"), ({"RANK": "-1"}, "RANK is '-1'"),
        ({"WORLD_SIZE": "9" * 5000, "RANK": "0"}, "WORLD_SIZE is '999"),
        ({"RANK": "1"}, "RANK 1, WORLD_SIZE unset"), ({"WORLD_SIZE": "2"}, "RANK unset, WORLD_SIZE 2"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK 2, WORLD_SIZE 2"),
        ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_PORT": "29500"}, "MASTER_ADDR and MASTER_PORT"),
        *(
            ({"MASTER_PORT": port, "RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}, f"is '{port}', not")
            for port in ("abc", "0", "-1", "65536", "99999", "1e4", "29500.0")
        ),
        *(
            ({"MASTER_ADDR": host, "RANK": "0", "WORLD_SIZE": "2", "MASTER_PORT": "29500"}, f"not {host!r} and 29500")
            for host in ("http://localhost", "localhost:29500", "two words", "localhost\n", "/tmp/x", "127.0.0.1:80")
        ),
        ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": " ", "MASTER_PORT": "29500"}, "MASTER_ADDR and MASTER_PORT"),
    ],
    ids=lambda value: " ".join(f"{k}={v[:9]}" for k, v in value.items()) if isinstance(value, dict) else "",
)  # fmt: skip
def test_what_a_cluster_left_in_the_environment_is_named(
    given: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(PaperlibError) as error, joined(1):
        pass
    assert said in str(error.value) and "torchrun" in str(error.value)


@pytest.mark.parametrize("blank", ["", "  "])
def test_blank_variables_count_as_unset(blank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, blank)
    with joined(1) as topology:
        assert topology == Topology()
    assert machine.whole_number("LOCAL_RANK") is None


@pytest.mark.parametrize("timeout", [float("inf"), float("nan"), 1e12, 0.0])
def test_a_timeout_that_is_none_is_named(timeout: float) -> None:
    with pytest.raises(PaperlibError, match="--timeout takes at most 604,800 seconds"), joined(1, timeout):
        pass


@pytest.mark.parametrize("path", ["~nosuchuser/runs", "~nosuchuser"])
def test_the_home_of_an_unknown_user_is_one_sentence(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAPERLIB_RUNS", path)
    with pytest.raises(PaperlibError, match="home folder is not known"):
        runs.default_runs_dir()
    monkeypatch.setenv("PAPERLIB_RUNS", "~/runs")
    assert runs.default_runs_dir() == Path.home() / "runs"


@pytest.mark.slow
@pytest.mark.parametrize("command, home", [
    ("list", "~nosuchuser"), ("data show", "~nosuchuser/alexnet"),
    ("train full source --scale ilsvrc2012", "~nosuchuser/alexnet"), ("--help", "~nosuchuser"),
])  # fmt: skip
def test_the_home_of_an_unknown_user_as_the_editions_folder(command: str, home: str, tmp_path: Path) -> None:
    done = shell(f"cd {tmp_path}; $P {command}", PAPERLIB_HOME=home, PYTHONPATH=str(files.SOURCE))
    if command == "--help":
        assert (done.returncode, done.stderr) == (0, "")
    else:
        assert done.returncode == 2 and done.stderr.startswith(f"paperlib: {home}") and done.stderr.count("\n") == 1
        assert "names a user whose home folder is not known" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("blank", ["", " ", "\t"])
def test_blank_folders_count_as_unset(blank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unset = []
    for value in (None, blank):
        for name in ("PAPERLIB_RUNS", "PAPERLIB_DATA", "PAPERLIB_HOME"):
            monkeypatch.delenv(name, raising=False)
            if value is not None:
                monkeypatch.setenv(name, value)
        unset.append((runs.default_runs_dir(), sets.data_root(), files.find_root()))
    assert unset[0] == unset[1]
    with pytest.raises(PaperlibError, match="a path is empty"):
        files.user_path("")


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A line of the shell in which $P is ``python -m paperlib``."""
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, cwd=files.SOURCE,
        env={**os.environ, "P": f"{sys.executable} -m paperlib", **environment},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "code", "out", "err"),
    [
        ("$P --help >&-", 0, "", ""), ("$P --help <&- >&- 2>&-", 0, "", ""), ("$P bogus 2>&-", 2, "", ""),
        ("$P --help >/dev/full", 2, "", "paperlib: No space left on device.\n"),
        ("(sleep 1; $P --help; echo $? >&2) | true", 0, "", "141\n"),
        ("mkdir $T; cd $T; rmdir $T; $P list", 2, "", "paperlib: The working folder is gone: change to another one.\n"),
        ("PYTHONIOENCODING=latin-1 $P data prepare --help | grep -c prepare", 0, "1\n", ""),
    ],
    ids=["stdout closed", "all closed", "stderr closed", "stdout full", "broken pipe", "no folder", "latin-1"],
)  # fmt: skip
def test_closed_full_and_narrow_streams(line: str, code: int, out: str, err: str, tmp_path: Path) -> None:
    done = shell(line, T=str(tmp_path / "gone"), PYTHONPATH=str(files.SOURCE))
    assert (done.returncode, done.stdout, done.stderr) == (code, out, err)


def test_characters_that_a_stream_lacks_are_escaped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for encoding, written in (("latin-1", b"\\u2265 \\udcff\n"), ("utf-8", "≥ \\udcff\n".encode())):
        with (tmp_path / "out").open("w", encoding=encoding) as stream:
            monkeypatch.setattr(sys, "stdout", stream)
            machine.usable_streams()
            print("≥ \udcff")
        assert (tmp_path / "out").read_bytes() == written


def test_no_more_processors_than_are_allowed() -> None:
    allowed = sorted(os.sched_getaffinity(0))
    try:
        os.sched_setaffinity(0, allowed[:1])
        assert machine.allowed_cpus() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert machine.allowed_cpus() == len(allowed)


LACKS = [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
         RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")]  # fmt: skip


def lacks(number: int) -> None:
    raise LACKS[number]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
def test_too_little_memory_is_one_sentence(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the command itself and in a process of `run --jobs`; another error keeps its traceback."""
    monkeypatch.setattr(agreement, "agreement", lambda scale: lacks(number))
    assert cli.main(["agree"]) == 2 and capsys.readouterr().err.startswith("paperlib: Too little memory")
    with pytest.raises(PaperlibError, match="^too little memory: free some or use fewer processes"):
        Child("x", lacks, number, context=tiny.processes()).result()
    monkeypatch.setattr(agreement, "agreement", lambda scale: [][0])
    with pytest.raises(IndexError):
        cli.main(["agree"])
