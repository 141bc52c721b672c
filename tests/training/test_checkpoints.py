"""`paperlib evaluate`: weights on disk, checked before use, tested in one view and in ten."""

from __future__ import annotations

import functools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from paperlib import campaign, cli, promote
from paperlib.data import sets
from paperlib.data.augment import Augmenter
from paperlib.errors import PaperlibError
from paperlib.evidence import store, weights
from paperlib.experiments import declared
from paperlib.training import evaluate, loop, records
from paperlib.training.precision import Precision
from paperlib.training.processes import Topology, launch
from tests import tiny

KEPT = store.RECORDED / "net" / "sample" / "baseline-seed0.safetensors"


def recorded_errors() -> dict[int, dict[str, float]]:
    """Views -> errors (%) in the record beside the kept weights, measured before they were rounded."""
    tests = records.of_kind(records.read_record(KEPT.with_suffix(".jsonl")), "test")
    return {line["views"]: line for line in tests}


def test_recorded_weights_give_their_recorded_errors(capsys: pytest.CaptureFixture[str]) -> None:
    """Half precision and all: to a tenth of a point, which is two of 2,000 images."""
    assert cli.main(["evaluate", str(KEPT)]) == 0
    title, *lines = capsys.readouterr().out.splitlines()
    assert "2,000 test images" in title
    for line, views in zip(lines, (1, 10), strict=True):
        words = line.split()
        assert words[0] == {1: "centre", 10: "ten"}[views]
        expected = recorded_errors()[views]
        assert float(words[words.index("error") + 1]) == pytest.approx(expected["top1_error"], abs=0.101)
        assert float(words[-2]) == pytest.approx(expected["top5_error"], abs=0.101)


def test_a_folder_of_runs_is_evaluated_at_its_newest_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, folder = tiny.everything(), tmp_path / "run"
    monkeypatch.setattr(campaign, "dataset_of", lambda scale, folder: tiny.dataset())
    with pytest.raises(loop.Interrupted):
        loop.fit(run, tiny.dataset(), folder, checkpoint_seconds=0.0, keep_going=tiny.for_updates(7))
    assert "after 7 updates" in campaign.evaluate_checkpoint(folder, timeout=5)[0]
    trained = loop.fit(run, tiny.dataset(), folder)
    found = weights.checkpoint(folder)
    assert found.step == trained.lines[-1]["steps"]
    for name, tensor in trained.net.state_dict().items():
        assert torch.equal(found.tensors[name], tensor)
    lines = campaign.evaluate_checkpoint(folder, timeout=5)
    for line, test in zip(lines[1:], records.of_kind(trained.lines, "test"), strict=True):
        assert f"top-1 error {test['top1_error']:.2f} %" in line


def errors_of_a_share(topology: Topology) -> dict[str, float]:
    """The job of one process."""
    found = weights.checkpoint(KEPT)
    sample = sets.load("sample")
    augmenter = tiny.batches(found.run, sample).augmenter
    images, labels = sample.test_images[:53], sample.test_labels[:53]
    return evaluate.errors(found.net(), augmenter, images, labels, 1, topology, batch_size=10)


def test_no_image_is_tested_twice_by_several_processes() -> None:
    """53 images in tens for three processes: shares of 20, 20 and 13."""
    alone = errors_of_a_share(Topology())
    assert launch(errors_of_a_share, towers=1, data=3, context=tiny.processes()) == [alone] * 3


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("no file", "holds no weights"),
        ("no record", "the record that says which net these weights are of, is missing"),
        ("altered", "does not hold the weights that"),
        ("empty folder", "not the folder of a run"),
        ("no checkpoint", "holds no checkpoint yet"),
        ("damaged checkpoint", "damaged checkpoints only"),
        ("average", "is the average of 5 nets and holds no weights; name the folder of one of them, "),
    ],
)
def test_what_is_no_checkpoint_gets_one_sentence(
    spoil: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / KEPT.name
    if spoil in ("no record", "altered"):
        shutil.copy(KEPT, path)
    if spoil == "altered":
        shutil.copy(KEPT.with_suffix(".jsonl"), tmp_path)
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    if spoil in ("empty folder", "no checkpoint", "damaged checkpoint", "average"):
        path = tmp_path
    if spoil == "damaged checkpoint":
        (tmp_path / "step-00000007.json").write_text("{")
    if spoil == "no checkpoint":
        (tmp_path / "step-00000007.safetensors.part").write_text("")  # the first was being written
    if spoil in ("no checkpoint", "damaged checkpoint"):
        first = records.read_record(KEPT.with_suffix(".jsonl"))[0]
        (tmp_path / "record.jsonl").write_text(json.dumps(first) + "\n")
    if spoil == "average":
        shutil.copy(store.RECORDED / "ensemble" / "sample" / "five_nets-seed0.jsonl", tmp_path / "record.jsonl")
    assert cli.main(["evaluate", str(path)]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1


def test_a_net_is_tested_where_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def errors(net: torch.nn.Module, augmenter: Augmenter, *_: object) -> dict[str, float]:
        seen.extend(str(tensor.device) for tensor in (next(net.parameters()), augmenter.mean_image))
        return {"top1_error": 1.0, "top5_error": 0.5}

    monkeypatch.setattr(campaign, "device_of", lambda name: {"cuda": "meta"}[name])
    monkeypatch.setattr(evaluate, "errors", errors)
    lines = campaign.evaluate_checkpoint(KEPT, timeout=5, device="cuda")
    assert seen == ["meta"] * 4 and len(lines) == 3


def test_another_copy_of_the_data_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "dataset_of", lambda scale, folder: tiny.dataset())
    with pytest.raises(PaperlibError, match="another copy than the one this net was trained on"):
        campaign.evaluate_checkpoint(KEPT, timeout=5)


def test_a_smoke_run_tells_the_speed_and_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PAPERLIB_RUNS", str(tmp_path / "runs"))
    assert cli.main(["train", "net", "baseline", "--scale", "sample", "--smoke", "0.5"]) == 0
    out = capsys.readouterr().out
    assert "images/s" in out and f"{declared.NET.stop.epochs} epochs, nothing kept" in out
    assert not (tmp_path / "runs").exists()


def test_a_run_too_short_to_tell_its_speed_says_how_much_it_needs() -> None:
    short = tiny.plain(epochs=1, train_images=3 * 16)
    with pytest.raises(PaperlibError, match="has 3 updates, too few to tell its speed, which takes 5"):
        campaign.speed(short, tiny.dataset(), 1.0, Topology(), "cpu")
    for one in (replace(tiny.plain(), members=2), replace(tiny.plain(), start=short)):
        with pytest.raises(PaperlibError, match="--smoke tells the speed of a single net from its first weights"):
            campaign.speed(one, tiny.dataset(), 1.0, Topology(), "cpu")
    with pytest.raises(PaperlibError, match="the loss was no number after 2 updates"):
        campaign.speed(
            replace(tiny.plain(), recipe=tiny.plain().recipe.but(**{"optim.lr": 1e30})),
            tiny.dataset(),
            1.0,
            Topology(),
            "cpu",
        )


def test_a_run_that_was_compiled_for_a_while_is_no_evidence(tmp_path: Path) -> None:
    """As earlier versions could, and wrote so in a checkpoint's record."""
    one, place = tiny.plain(epochs=1), tmp_path / tiny.plain(epochs=1).id
    lines = loop.fit(one, tiny.dataset(), place).lines
    lines[0]["env"]["compiled"] = True
    tiny.write(place / "record.jsonl", records.sealed(lines))
    with pytest.raises(PaperlibError, match="trained with --compile; delete its folder and train it without"):
        promote.refuse_other_means(one, tmp_path)


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_less_than_float32_is_no_evidence(tmp_path: Path, precision: Precision) -> None:
    """bfloat16 changes the weights; TF32 is of GPUs alone, and is refused even where it changed nothing."""
    one = tiny.plain(epochs=1)
    plain = loop.fit(one, tiny.dataset()).net.state_dict()
    net = loop.fit(one, tiny.dataset(), tmp_path / one.id, precision=precision).net
    assert all(weights.dtype == torch.float32 for weights in net.state_dict().values())
    same = all(torch.equal(plain[name], weights) for name, weights in net.state_dict().items())
    assert same == (precision == "tf32")
    with pytest.raises(PaperlibError, match="trained with --precision other than fp32"):
        promote.refuse_other_means(one, tmp_path)


def test_a_device_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    for device, words in (("tpu", "not one of 'cpu', 'cuda'"), ("cuda", "no GPU")):
        if device == "cuda" and torch.cuda.is_available():
            continue
        for command in (["train", "net", "baseline", "--scale", "sample"], ["evaluate", str(KEPT)]):
            assert cli.main([*command, "--device", device]) == 2
            assert words in capsys.readouterr().err


def test_a_folder_for_embedded_images_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", str(KEPT), "--data", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "paperlib: the images of sample come with the repository: omit --data\n"


def test_the_bar_tells_both_errors(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """From the first update on; the test error as soon as there is one."""
    monkeypatch.setattr(loop, "tqdm", functools.partial(loop.tqdm, mininterval=0, miniters=1))
    loop.fit(tiny.plain(epochs=2), tiny.dataset(), progress=True)
    shown = capsys.readouterr().err
    first, _, second = shown.partition("epoch 2: ")
    assert "epoch 1: training error" in first
    assert "training error" in second and " %, test error " in second
    loop.fit(tiny.plain(epochs=1, validation=16), tiny.dataset(), progress=True)
    assert " %, held-out error " in capsys.readouterr().err
