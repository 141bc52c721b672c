"""The benchmarks' bookkeeping, and that the alternative computes the same. Times themselves are never asserted."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import torch

import benchmarks.lrn
from benchmarks import __main__ as command
from benchmarks import net, timing
from benchmarks.timing import Result, compare
from paperlib import models
from paperlib.recipe import Recipe


def test_a_comparison_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Medians of 1, 2, 3 and 4, 4, 12 seconds, ratios 4, 2, 4; the first call of each does not count."""
    clock, called = iter([1.0, 4.0, 2.0, 4.0, 3.0, 12.0]), []
    monkeypatch.setattr(timing, "seconds", lambda work: (work(), next(clock))[1])
    got = compare("a", "b", lambda: called.append("a"), lambda: called.append("b"), aim=2.5, reference=0.5, rounds=3)
    assert called == ["a", "b"] * 4
    assert (got.ours, got.theirs, got.unit, got.ratio) == (2000.0, 4000.0, "ms", 4.0)
    assert got.low == 2.0 and got.high == 4.0 and (got.aim, got.reference) == (2.5, 500.0)


@pytest.mark.parametrize("recipe", [Recipe.paper(), Recipe.source2012()], ids=["paper", "source"])
def test_the_net_from_stock_modules_computes_the_same(recipe: Recipe) -> None:
    model = recipe.but(**{"model.dropout": 0.0, "model.lrn_across_towers": True}).model
    ours, theirs = (models.build(model, models.SAMPLE_SIZES, 0).double() for _ in range(2))
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
    }  # fmt: skip
    with pytest.raises(SystemExit) as stopped:
        command.main(["nonsense"])
    assert stopped.value.code == 2
