"""Figures: the numbers drawn are the committed ones, the alt text travels with the picture, nothing else changes."""

from __future__ import annotations

import base64
import functools
import io
import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from PIL import Image
from safetensors import safe_open

from paperlib import files
from paperlib.data import known, sets
from paperlib.errors import PaperlibError
from paperlib.evidence import claims, decide, rows, store, weights
from paperlib.experiments import declared, form, relu
from paperlib.figures import claims as claims_figure
from paperlib.figures import draw, figure1, figures3_4, style
from paperlib.figures.draw import DRAWINGS, TABLES
from paperlib.figures.style import Picture
from paperlib.recipe import Stop
from paperlib.training.runs import Run
from tests import tiny

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Each test begins and ends without open figures, in the style of before."""
    with mpl.rc_context():
        mpl.use("Agg")
        plt.close("all")
        yield
        plt.close("all")


# ------------------------------------------------------------------------------------------ what is committed


KNOWN = {**dict.fromkeys(DRAWINGS, "png"), **dict.fromkeys(TABLES, "md")}
"""Figure or table -> how its file ends."""
PICTURES = ("claims", "fig3", "kernels", "fig4")
"""Figures that are pictures, and have no axes."""


def unrecorded(name: str) -> bool:
    """Whether a figure has no records to draw yet, and says so."""
    return name == "fig1" and not store.records_of("relu", "cifar10")


@functools.cache
def drawn(name: str) -> style.Drawing:
    """A figure of the records, drawn once for all tests of this file."""
    return DRAWINGS[name]()


@pytest.mark.parametrize("name", KNOWN)
def test_redrawn_from_the_records_it_has_the_numbers_of_the_committed_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in DRAWINGS:
        drawing = drawn(name)
        monkeypatch.setitem(DRAWINGS, name, lambda: drawing)
    picture, numbers = draw.draw([name], tmp_path / "new" / "folder")
    assert (picture.name, numbers.name) == (f"{name}.{KNOWN[name]}", f"{name}.csv")
    made, committed = pd.read_csv(numbers), pd.read_csv(draw.FIGURES / numbers.name)
    assert list(made) == list(committed) and len(made) == len(committed)
    assert len(made) > 0 or unrecorded(name)
    for column in made:
        if pd.api.types.is_numeric_dtype(made[column]):
            # what a net computes, in Figure 4, differs between processors in the last bits
            tolerance = 0.11 if name == "fig4" else 1e-9
            np.testing.assert_allclose(made[column], committed[column], rtol=1e-9, atol=tolerance, equal_nan=True)
        else:
            assert list(made[column].fillna("")) == list(committed[column].fillna(""))
    if name in TABLES:
        assert picture.read_text() == (draw.FIGURES / picture.name).read_text()
        return
    for path in (picture, draw.FIGURES / picture.name):
        assert path.read_bytes().startswith(PNG)
        with Image.open(path) as image:
            assert min(image.size) > 50 and not {"Software", "Creation Time"} & set(image.info)


def test_nothing_else_is_committed_and_nothing_is_missing() -> None:
    names = {path.name for path in draw.FIGURES.iterdir() if not path.name.startswith(".")}
    known = {**KNOWN, "benchmarks": "png"}  # tests/whole/test_benchmarks.py has that one
    assert names == {f"{name}.{suffix}" for name in known for suffix in (known[name], "csv")}


# ------------------------------------------------------------------------------------------ drawing


@pytest.mark.parametrize("name", DRAWINGS)
def test_every_figure_has_alt_text_labels_and_numbers(name: str) -> None:
    drawing = drawn(name)
    assert len(drawing.alt.split()) >= 8 and not re.search(r"\bnan\b", drawing.alt)
    assert len(drawing.data) or unrecorded(name)
    if name not in PICTURES and len(drawing.data):
        for axes in drawing.figure.axes:
            assert axes.get_xlabel()
        assert any(axes.get_ylabel() or axes.get_yticklabels() for axes in drawing.figure.axes)


@pytest.mark.parametrize("name", KNOWN)
def test_every_figure_can_be_drawn_before_anything_is_recorded(name: str, tmp_path: Path, recorded: Path) -> None:
    picture, numbers = draw.draw([name], tmp_path)
    assert name in TABLES or picture.read_bytes().startswith(PNG)
    assert numbers.read_text().count("\n") >= 1


def test_drawing_leaves_the_callers_settings_alone(tmp_path: Path) -> None:
    mpl.use("svg")
    mpl.rcParams["font.size"] = 13.0
    mine, before = plt.figure(), dict(mpl.rcParams)
    draw.draw(["claims"], tmp_path)
    assert mpl.get_backend() == "svg"
    assert {k: v for k, v in dict(mpl.rcParams).items() if v != before[k]} == {}
    assert plt.get_fignums() == [mine.number]
    plt.plot([1, 2], [3, 4])


def test_figures_are_closed_and_settings_restored_where_writing_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    size = mpl.rcParams["font.size"] = 13.0
    with pytest.raises(OSError):
        draw.draw(["claims"], tmp_path / "file")
    assert plt.get_fignums() == [] and mpl.rcParams["font.size"] == size


def test_figure_3_of_a_recorded_net_has_its_kernels_and_their_colours() -> None:
    place = store.RECORDED / "colour" / "photos" / "baseline-seed0.safetensors"
    kernels = safe_open(place, "pt").get_tensor("conv1.weight").double()
    drawing = figures3_4.fig3_of(weights.checkpoint(place))
    assert len(drawing.data) == len(kernels) and list(drawing.data["tower"].unique()) == [1, 2]
    w = kernels.numpy()
    colour = ((w - w.mean(1, keepdims=True)) ** 2).sum((1, 2, 3)) / (w**2).sum((1, 2, 3))
    np.testing.assert_allclose(drawing.data["colour_index"], colour, atol=1e-3)
    assert "of one net, photo patches (proxy)" in drawing.alt
    assert sum(len(axes.images) for axes in drawing.figure.axes) == len(kernels)


def test_figure_3_counts_the_updates_of_the_whole_training() -> None:
    """Of a net that goes on from recorded weights, 8 epochs of 703 updates after 30; of one that does not, its own."""
    places = {"full/tinyimagenet/by_hand": (30 + 8) * 703, "full/tinyimagenet/source": 30 * 703}
    for place, updates in places.items():
        drawing = figures3_4.fig3_of(weights.checkpoint(store.RECORDED / f"{place}-seed0.safetensors"))
        title = drawing.figure.get_suptitle()
        assert f"after {updates:,} updates (frozen after epoch 24)" in title and "Tiny ImageNet (proxy)" in title
        early = replace(weights.checkpoint(store.RECORDED / f"{place}-seed0.safetensors"), epochs=24)
        assert "frozen" not in figures3_4.fig3_of(early).figure.get_suptitle()
    places = [store.RECORDED / "full" / "tinyimagenet" / f"{arm}-seed0.safetensors" for arm in ("source", "by_hand")]
    first, last = (weights.checkpoint(place).tensors["conv1.weight"] for place in places)
    assert torch.equal(first, last)  # as the title says: nothing was learnt in it after that epoch


def test_figure_3_of_grey_kernels_or_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PaperlibError, match="needs a net of two towers trained on colour"):
        figures3_4.fig3_of(weights.checkpoint(store.RECORDED / "net" / "sample" / "baseline-seed0.safetensors"))
    with pytest.raises(PaperlibError, match="not the folder of a run"):
        draw.draw_of(tmp_path)


@pytest.mark.parametrize(("place", "names"), [("colour/photos", ["fig3", "fig4"]), ("net/sample", ["fig4"])])
def test_figures_3_and_4_of_one_net_go_elsewhere(
    place: str, names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Grey kernels have no Figure 3. Figure 4 names the first test images, and ranks from nearest to farthest."""
    dataset = sets.load(place.split("/")[1])
    few = replace(dataset, train_images=dataset.train_images[:500], train_labels=dataset.train_labels[:500])
    monkeypatch.setattr(sets, "load", lambda name: few)
    paths = draw.draw_of(store.RECORDED / place / "baseline-seed0.safetensors", tmp_path)
    assert [path.name for path in paths] == [f"{name}.{suffix}" for name in names for suffix in ("png", "csv")]
    frame = pd.read_csv(tmp_path / "fig4.csv")
    best = frame[(frame["part"] == "labels") & (frame["rank"] == 1)]
    truths = [dataset.classes[i] for i in dataset.test_labels[: len(best)]]
    assert [bool(right) for right in best["right"]] == [a == b for a, b in zip(best["label"], truths, strict=True)]
    for _, of_query in frame[frame["part"] != "labels"].groupby(["part", "query"]):
        assert of_query["value"].is_monotonic_increasing


def test_figure_4_of_a_set_too_large_for_the_memory_is_refused() -> None:
    large = replace(weights.checkpoint(store.RECORDED / "net/sample/baseline-seed0.safetensors"), scale="ilsvrc2012")
    with pytest.raises(PaperlibError, match="not drawn at scale ilsvrc2012"):
        figures3_4.fig4_of(large)


def test_figure_4_says_what_its_net_was_trained_on() -> None:
    drawing = drawn("fig4")
    assert "A small net on Fashion-MNIST sample (proxy)." in drawing.figure.get_suptitle()


def test_of_a_net_on_such_a_set_figure_3_alone_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seen = weights.checkpoint(store.RECORDED / "colour/photos/baseline-seed0.safetensors")
    monkeypatch.setattr(weights, "checkpoint", lambda path: replace(seen, scale="ilsvrc2012"))
    assert [path.name for path in draw.draw_of(tmp_path, tmp_path)] == ["fig3.png", "fig3.csv"]
    assert "Figure 4 would hold all training images" in caplog.text


def test_an_unknown_figure_is_named_and_nothing_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(PaperlibError, match="no figure 'fig99'; the figures are fig1, "):
        draw.draw(["claims", "fig99"], tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_all_figures_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(draw, "write", lambda name, folder: drawn.append(name) or [folder / name])
    assert draw.draw(folder=tmp_path) == [tmp_path / name for name in KNOWN]
    assert drawn == list(KNOWN)
    monkeypatch.setattr(draw, "FIGURES", tmp_path / "default")
    assert draw.draw(["claims"]) == [tmp_path / "default" / "claims"]


# ------------------------------------------------------------------------------------------ showing


def test_a_picture_takes_its_alt_text_along() -> None:
    """Through IPython's own formatter, as a notebook stores it."""
    figure, _ = plt.subplots()
    picture = Picture(figure, 'A line that "rises" < 3')
    stored, metadata = DisplayFormatter().format(picture)
    assert base64.b64decode(stored["image/png"]).startswith(PNG)
    with Image.open(io.BytesIO(base64.b64decode(stored["image/png"]))) as image:
        assert image.size[0] > 200
    assert stored["text/plain"] == 'A line that "rises" < 3' == repr(picture)
    assert metadata["image/png"]["alt"] == "A line that &quot;rises&quot; &lt; 3"
    assert "image/svg+xml" not in stored


def test_show_displays_once_and_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    figure, _ = plt.subplots()
    style.show(figure, "Nothing < yet")
    words = "<details><summary>This figure in words</summary>\n\n{}\n\n</details>"
    assert shown[0].alt == "Nothing < yet" and shown[1].data == words.format("Nothing &lt; yet")
    style.Drawing(plt.figure(), pd.DataFrame(), "Another", "It rises.").show()
    assert shown[2].alt == "Another" and shown[3].data == f"**It rises.**\n\n{words.format('Another')}"
    for data, words in (([1.0], "It falls."), ([], "It rises.")):  # with nothing to see, its own words remain
        style.Drawing(plt.figure(), pd.DataFrame(data), "Another", "It rises.").show("It falls.")
        assert shown[-1].data.startswith(f"**{words}**") and plt.get_fignums() == []


# ------------------------------------------------------------------------------------------ what is drawn


def test_curves_by_hand(recorded: Path) -> None:
    """Windows of 26 updates at their middle; 78 updates an epoch of 10,000 images in batches of 128."""
    experiment = declared.get("relu", "sample")
    fingerprint = known.FINGERPRINTS["sample"]["embedded"]
    epoch = {"kind": "epoch", "epoch": 1, "step": 78, "train_loss": 1.0, "train_error": 50.0, "test_error": 40.0}
    for arm, seed, epochs in (("2012/relu", 0, [epoch]), ("2012/tanh", 0, []), ("today/relu", 0, [])):
        run = experiment.run(arm, seed, fingerprint)
        tiny.store(recorded, experiment, arm, tiny.record(run, [80.0, 40.0, 20.0], "reached", epochs=epochs))
    store.forget()
    frame = figure1.curves("relu", "sample", ["2012/relu", "2012/tanh"])
    assert list(frame["arm"]) == ["2012/relu"] * 3 + ["2012/tanh"] * 3
    assert list(frame["train_error"]) == [80.0, 40.0, 20.0] * 2
    assert list(frame["epoch"]) == pytest.approx([13 / 78, 39 / 78, 65 / 78] * 2)  # with an epoch's line or without
    drawing = figure1.fig1("sample")
    left, right = drawing.figure.axes
    assert [len(axes.get_lines()) for axes in (left, right)] == [4, 3]  # curves, the threshold and the paper's
    assert "n = 1" in drawing.alt and "tanh takes 1.00" in drawing.alt
    dots = [tuple(dot.get_offsets()[0]) for dot in left.collections]  # 20 % in the middle of the third window
    assert dots == [(pytest.approx(65 / 78), height) for height in (16, 12)] and len(right.collections) == 1
    assert [len(axes.get_lines()) for axes in figure1.fig1("sample", "relu").figure.axes] == [3, 3]


def test_updates_an_epoch_of_what_ended_in_the_first() -> None:
    run = Run(tiny.PLAIN.but(**{"optim.batch_size": 100}), tiny.SIZES, Stop(window=10), "x", 0)
    lines = tiny.record(run, [80.0])
    assert figure1.updates_per_epoch(lines) == 100
    lines[0]["data"]["name"] = "cifar10"
    assert figure1.updates_per_epoch(lines) == 500


def test_every_status_has_a_colour_and_every_unit_a_name() -> None:
    for row in claims.rows():
        assert row.word in claims_figure.STATUS_COLOURS
    for outcome, proxy in itertools.product(get_args(rows.Outcome), (True, False)):
        assert rows.in_words(outcome, proxy) in claims_figure.STATUS_COLOURS
    assert set(figure1.UNIT_COLOURS) == set(figure1.UNIT_NAMES) == set(figure1.UNIT_DASHES) == set(relu.UNITS)
    assert set(style.SCALE_NAMES) == set(form.SCALES)
    assert len({*figure1.UNIT_DASHES.values()}) == len({*figure1.UNIT_COLOURS.values()}) == 4
    assert files.ROOT / "figures" == draw.FIGURES


def test_one_verdict_shows_each_run_and_the_interval() -> None:
    v = next(v for v in decide.verdicts_of("overfit", "sample") if v.comparison.metric == "overfit")
    drawing = claims_figure.one_verdict(v)
    means = drawing.data.groupby("arm")["overfit"].mean()
    assert means[v.comparison.b] - means[v.comparison.a] == pytest.approx(v.estimate)
    runs, difference = drawing.figure.axes
    assert [len(line.get_xdata()) for line in runs.lines if line.get_marker() == "o"] == [*v.n_of] * (3 - len(v.n_of))
    assert list(difference.lines[1].get_xdata()) == [v.low, v.high]
    assert f"{abs(v.estimate):.2f} points apart" in drawing.caption and v.status in drawing.caption


def test_intervals_without_their_words_are_those_of_the_verdicts() -> None:
    found = decide.verdicts_of("towers", "sample")
    drawing = claims_figure.predict_words(found)
    lines = [line.get_xdata() for line in drawing.figure.axes[0].lines if len(line.get_xdata()) == 2][: len(found)]
    assert [list(line) for line in lines] == [[v.low, v.high] for v in found]
    assert not any(v.word in drawing.alt + drawing.caption for v in found)


def test_the_squares_of_claims_with_a_reservation_are_hatched() -> None:
    hatched = [patch.get_gid() for patch in drawn("claims").figure.axes[0].patches if patch.get_hatch()]
    assert hatched == [r.id for r in claims.rows() if r.caveat and r.outcome not in ("", "undecided", "mixed")]
    assert f"reservation: {len(hatched)}" in drawn("claims").figure.legends[0].get_texts()[-1].get_text()


def test_ratios_to_each_training_error_are_those_of_the_curves() -> None:
    frame = figure1.relu_thresholds().data.set_index(["setting", "threshold"])["ratio"]
    assert frame["2012", 20] == pytest.approx(decide.verdicts_of("relu", "sample")[0].estimate, abs=1e-4)
    logs = {}
    for arm, of_arm in figure1.curves("relu", "sample", ("2012/relu", "2012/tanh")).groupby("arm"):
        fine = np.linspace(0, 12, 120_001)
        found = [fine[np.interp(fine, one["epoch"], one["train_error"]) <= 25][0] for _, one in of_arm.groupby("seed")]
        logs[arm] = np.log(found).mean()
    assert frame["2012", 25] == pytest.approx(np.exp(logs["2012/tanh"] - logs["2012/relu"]), abs=1e-3)


def test_the_families_of_claims_have_every_group_once() -> None:
    assert [g for groups in claims_figure.FAMILIES.values() for g in groups] == [*claims_figure.GROUPS]
    assert sum(len(claims_figure.of_group(group, claims.rows())) for group in claims_figure.GROUPS) == len(
        claims.rows()
    )
