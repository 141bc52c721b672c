"""The benchmarks' bookkeeping, and that the alternative computes the same. Times themselves are never asserted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

import benchmarks.lrn
from benchmarks import __main__ as command
from benchmarks import data, draw, gpu, growth, net, timing, towers
from benchmarks.timing import Result, compare, share
from paperlib.errors import PaperlibError
from paperlib.figures.draw import FIGURES
from paperlib.nets import sizes, table
from paperlib.recipe import Recipe
from paperlib.training.towers import bytes_exchanged
from tests import tiny


def test_a_comparison_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Medians of 1, 2, 3 and 4, 4, 12 seconds, ratios 4, 2, 4; the first call of each does not count."""
    clock, called = iter([1.0, 4.0, 2.0, 4.0, 3.0, 12.0]), []
    monkeypatch.setattr(timing, "seconds", lambda work: (work(), next(clock))[1])
    got = compare("a", "b", lambda: called.append("a"), lambda: called.append("b"), aim=2.5, reference=0.5, rounds=3)
    assert called == ["a", "b"] * 4
    assert (got.ours, got.theirs, got.unit, got.ratio) == (2000.0, 4000.0, "ms", 4.0)
    assert got.low == 2.0 and got.high == 4.0 and (got.aim, got.reference) == (2.5, 500.0)


def test_images_a_second_and_parts_of_a_whole_by_hand() -> None:
    """10 images in 2, 2 and 1 s against 4, 4 and 4 s; parts of 1, 1 and 2 s of 4 s."""
    clock = [(2.0, 4.0), (2.0, 4.0), (1.0, 4.0)]
    got = timing.summary("a", "b", clock, images=10, reference=0.5)
    assert (got.ours, got.theirs, got.unit, got.ratio, got.reference) == (5.0, 2.5, "images/s", 2.0, 20.0)
    part = share("a", "b", [(1.0, 4.0), (1.0, 4.0), (2.0, 4.0)])
    assert (part.ours, part.theirs, part.unit, part.ratio) == (25.0, 100.0, "%", 4.0)
    assert command.line(part) == "a: 25 % of b (1 in 4.00; 2.00 to 4.00)"


@pytest.mark.parametrize("recipe", [Recipe.paper(), Recipe.source2012()], ids=["paper", "source"])
def test_the_net_from_stock_modules_computes_the_same(recipe: Recipe) -> None:
    model = recipe.but(**{"model.dropout": 0.0, "model.lrn_across_towers": True}).model
    ours, theirs = (table.build(model, sizes.SAMPLE_SIZES, 0).double() for _ in range(2))
    theirs = net.stock_modules(theirs)
    assert any(isinstance(layer, torch.nn.LocalResponseNorm) for layer in theirs.modules())
    x = 50 * torch.randn(3, 1, 24, 24, dtype=torch.float64)
    torch.testing.assert_close(theirs(x), ours(x))


def test_results_are_printed_as_lines_or_as_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> Iterator[Result]:
        yield Result("LRN", "stock", 10.0, 60.0, "ms", 6.0, 5.5, 6.5, 4.0, 2.0)

    monkeypatch.setattr(benchmarks.lrn, "run", run)
    assert command.main(["lrn", "--threads", "1"]) == 0
    said = capsys.readouterr().out
    assert "LRN: 10 ms against 60 of stock; 6.00 times as fast (5.50 to 6.50, aim 4)" in said
    assert command.main(["lrn", "--json", "--threads", "1"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert set(found) == {
        "what", "against", "ours", "theirs", "unit", "ratio", "low", "high", "aim", "reference",
        "aimed_share",
    }  # fmt: skip
    with pytest.raises(SystemExit) as stopped:
        command.main(["nonsense"])
    assert stopped.value.code == 2


@pytest.mark.parametrize(
    ("unit", "reference", "aims", "said"),
    [
        ("ms", 5.0, (6.0, None), "at most 4.00 times: the aim is out of reach, ours is 50 % of it"),
        ("ms", 2.5, (4.0, None), "at most 8.00 times: the aim is 50 % of it, ours 25 %"),
        ("ms", 2.5, (None, 0.6), "at most 8.00 times: the aim is 60 % of it, ours 25 %"),
        ("images/s", 80.0, (None, None), "at most 4.00 times: ours 50 %"),
    ],
)
def test_the_bound_of_a_ratio(unit: str, reference: float, aims: tuple[float | None, float | None], said: str) -> None:
    """Ours is twice as fast as 20."""
    result = Result("a", "b", 10.0, 20.0, unit, 2.0, 2.0, 2.0, aims[0], reference, aims[1])
    assert command.line(result).endswith(said)


def test_the_gpu_script_needs_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as stopped:
        command.main(["gpu"])
    assert stopped.value.code == 2 and capsys.readouterr().err.count(".") == 1


def test_the_gpu_script_feeds_batches_and_counts_no_memory_of_a_cpu() -> None:
    bench = gpu.Bench("cpu", quick=True)
    rows = [*gpu.measured("batches", gpu.feed, bench, float("inf")), *gpu.measured("memory", gpu.memory, bench, 1e9)]
    assert [(row.what, row.error) for row in rows] == [("from packed JPEG", ""), ("from packed uint8", "")]
    assert all(row.value and row.value > 0 for row in rows)


def test_a_part_of_the_gpu_script_survives_the_failure_of_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def rates(bench: gpu.Bench) -> gpu.Numbers:
        yield "broken", lambda: float("no number"), "images/s"
        yield "ours, fp32, channels_last", lambda: 1000.0, "images/s"
        yield "from packed JPEG", lambda: 500.0, "images/s"

    def fails(bench: gpu.Bench) -> gpu.Numbers:
        raise OSError("all of it")

    monkeypatch.setattr(gpu, "PARTS", {"first": fails, "second": rates})
    assert command.main(["gpu", "--device", "cpu", "--quick", "--json", str(tmp_path / "rows.json")]) == 1
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [(r["what"], r["value"]) for r in rows[:4]] == [
        ("all of it", None), ("broken", None), ("ours, fp32, channels_last", 1000.0), ("from packed JPEG", 500.0),
    ]  # fmt: skip
    assert "OSError" in rows[0]["error"] and "ValueError" in rows[1]["error"]
    assert rows[4]["value"] == pytest.approx(90 * 1_281_167 / 500 / 3600)  # the slower of the two
    (late, *_) = gpu.measured("late", rates, gpu.Bench("cpu", True), until=0.0)
    assert late.value is None and "time" in late.error


def test_batches_from_the_disk() -> None:
    """Both make whole batches alone: 4 of the 5 images."""
    found = list(data.run(n=5, batch=2, rounds=2))
    assert [(r.unit, r.aim) for r in found] == [("images/s", 3.0), ("images/s", 6.0)]
    assert all(min(r.ours, r.theirs, r.reference or 0) > 0 for r in found)


def test_towers_as_processes_send_the_bytes_of_the_formula() -> None:
    recipe = tiny.EVERYTHING
    found = list(towers.run({"tiny net": (recipe, tiny.TOWERS, 8)}, rounds=2, context=tiny.processes()))
    assert [r.unit for r in found] == ["ms", "ms", "%", "ms", "%"]
    for result, shares in ((found[2], 1), (found[4], 2)):
        sent = sum(bytes_exchanged(recipe.model, tiny.TOWERS, 8, 2, shares).values())
        assert f"{sent / 1e6:.3g} MB sent by each" in result.what
        assert 0 < result.ours < 100
    assert [x for x, _ in draw.growing(found, draw.GROWTH[PROCESSES].replace("evidence", "tiny"))] == [1, 2, 4]


def test_what_grows_is_in_the_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """With sizes so small that nothing takes time; the figure finds every point."""
    small = replace(sizes.EVIDENCE_SIZES, kernels=(4,) * 5, fc=8)
    monkeypatch.setattr(growth, "EVIDENCE_SIZES", small)
    monkeypatch.setattr(growth, "NETS", {"evidence net": small, "other net": replace(small, crop=16)})
    monkeypatch.setattr(growth, "CROPS", (24, 16))
    monkeypatch.setattr(growth, "BATCHES", (4, 2))
    found = list(growth.run(rounds=2))
    batch, crop, nets = ([x for x, _ in draw.growing(found, p)] for p in list(draw.GROWTH.values())[:3])
    assert (batch, crop, nets) == ([2, 4], [16, 24], [16, 24])
    assert all(r.reference and r.reference > 0 for r in found)


PROCESSES = list(draw.GROWTH)[3]


def made_up() -> list[Result]:
    """A ratio with its aim, one without, a share, and growth of every kind."""
    found = [
        Result("LRN", "stock", 10.0, 60.0, "ms", 6.0, 5.5, 6.5, 4.0, 2.0),
        Result("exchanges", "the time of an update", 20.0, 100.0, "%", 5.0, 4.0, 6.0),
    ]
    for x in (8, 32, 128):
        texts = (
            f"24x24 pixels, batch {x}", f"batch 8, {x}x{x} pixels", f"at its own size, batch 8, {x}x{x} pixels",
            f"batch 8, data included, in {x} processes (2 towers x {x // 2})",
        )  # fmt: skip
        found += [
            Result(f"update of the evidence net, {text}", "stock", x * 1.0, x * 2.0, "ms", 2.0, 1.9, 2.1, None, x / 2)
            for text in texts
        ]
    return found


def test_the_figure_shows_ratios_and_growth() -> None:
    drawn = draw.drawing(made_up(), "a machine")
    ratios, *panels = drawn.figure.axes
    assert len(panels) == 4 and len(ratios.get_yticks()) == 1 + 3  # processes have a ratio too
    assert "ours is faster" in ratios.get_xlabel()
    assert all(axes.get_xlabel() for axes in panels) and "(ms)" in panels[0].get_ylabel()
    for axes in panels:
        assert [list(line.get_xdata()) for line in axes.lines] == [[8, 32, 128]] * 3
    assert "LRN, against stock: 6.00 (aim 4)" in drawn.alt and "32: 32 ms against 64" in drawn.alt
    assert len(drawn.data) == len(made_up())
    draw.plt.close(drawn.figure)


def test_results_are_kept_and_drawn_again_without_measuring(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(draw, "KEPT", tmp_path / "results.json")
    monkeypatch.setattr(draw, "FIGURES", tmp_path / "figures")
    monkeypatch.setattr(command, "NAMES", ("lrn",))
    monkeypatch.setattr(benchmarks.lrn, "run", lambda: iter(made_up()))
    with pytest.raises(PaperlibError, match="make bench"):
        command.main(["--draw"])
    assert command.main(["--keep", "--threads", "1"]) == 0
    assert draw.load(tmp_path / "results.json") == made_up()
    said = (tmp_path / "results.txt").read_text().splitlines()
    assert said[1:] == [command.line(result) for result in made_up()]
    assert capsys.readouterr().out.splitlines()[: len(said)] == said
    picture = tmp_path / "figures" / "benchmarks.png"
    first = picture.read_bytes()
    picture.unlink()
    monkeypatch.setattr(benchmarks.lrn, "run", lambda: pytest.fail("measured"))
    assert command.main(["--draw"]) == 0
    assert picture.read_bytes() == first
    for wrong in (["lrn", "--keep"], ["lrn", "--draw"], ["--json", "--keep"]):
        with pytest.raises(SystemExit):
            command.main(wrong)


def test_what_is_committed_belongs_together() -> None:
    """Text, numbers and the figure's table are of the same run."""
    results = draw.load(draw.KEPT)
    assert [command.line(r) for r in results] == draw.KEPT.with_suffix(".txt").read_text().splitlines()[1:]
    table = pd.read_csv(FIGURES / "benchmarks.csv")
    assert list(table["what"]) == [r.what for r in results] and list(table["ratio"]) == [r.ratio for r in results]
    assert (FIGURES / "benchmarks.png").read_bytes().startswith(b"\x89PNG")
