"""Forest plots: every comparison once, where its claim or experiment is, with the interval and word of its verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest

from paperlib.errors import PaperlibError
from paperlib.evidence import decide
from paperlib.experiments import declared, form
from paperlib.figures import forests, labels
from paperlib.figures.style import Drawing
from tests.made_up import declare, epoch, put

ELSEWHERE = {"first_loss", "neighbours_gain", "orientation", "narrowness", "colour_gap"}
"""Metrics of differences that are not in points of error."""


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    with plt.rc_context():
        yield
        plt.close("all")


def only(monkeypatch: pytest.MonkeyPatch, *places: str) -> None:
    """Let only these experiments ("lrn/sample") be declared: they share runs with others."""
    declare(monkeypatch, *(declared.get(*place.split("/")) for place in places))


def errors(folder: Path, name: str, scale: str, arm: str, values: list[float]) -> None:
    """Record runs of an arm that end with these test errors."""
    of = declared.get(name, scale)
    for seed, error in zip(of.planned_seeds(arm), values, strict=False):
        put(folder, arm, seed, [50.0], of=of, epochs=[epoch(1, 40.0, error)])


def around(mean: float, n: int) -> list[float]:
    return [mean + 0.1 * (k % 3 - 1) for k in range(n)]


def words(drawing: Drawing) -> list[str]:
    """All that is written inside the axes, from top to bottom."""
    return [text.get_text() for axes in drawing.figure.axes for text in axes.texts]


def shown_labels(drawing: Drawing) -> list[str]:
    return [tick.get_text() for axes in drawing.figure.axes for tick in axes.get_yticklabels()]


# ------------------------------------------------------------------------------------------ what is declared


def test_every_experiment_and_claim_has_a_place() -> None:
    """A new experiment or metric is drawn, or left out knowingly."""
    assert set(labels.SECTION_OF) >= {e.name for e in declared.DECLARED if e.comparisons}
    assert {e.name for e in declared.DECLARED} >= {*labels.SECTION_OF, *labels.SETTINGS}
    assert set(forests.MARKS) == set(form.SCALES)
    for e in declared.DECLARED:
        for ratios in (False, True):
            for asked in forests.comparisons_of(e, ratios).values():
                assert {*forests.sections_of(e.name, asked)} <= {*labels.SECTIONS}
        for c in e.comparisons:
            assert c.transform == "log_ratio" or c.metric in {*forests.ERRORS, *ELSEWHERE}
            assert c.b or c.metric in {*forests.SINGLES, *ELSEWHERE}


def test_rates_in_labels_are_those_of_the_arms() -> None:
    """A rate is nowhere typed: the words take it from the recipe."""
    row = SimpleNamespace(experiment="overfit-rate", a="dropout, its rate", b="no dropout", scale="sample", setting="")
    rate = declared.RATE["no-dropout"]
    assert labels.named(row) == (f"dropout at {rate:g}", f"none at {rate:g}")
    assert labels.plain(row).startswith(f"none at {rate:g} v. dropout, both at {rate:g}")


@pytest.mark.parametrize("ratios", [False, True])
def test_every_recorded_verdict_is_drawn_once(ratios: bool) -> None:
    frame = forests.lines(ratios=ratios)
    assert not frame.duplicated(["experiment", "scale", "a", "b", "metric"]).any()
    drawn = {(r.experiment, r.scale, r.a, r.b, r.metric): r for r in frame.itertuples()}
    expected = set()
    for e in declared.DECLARED:
        for v in decide.verdicts_of(e.name, e.scale):
            c = v.comparison
            if c.metric not in ELSEWHERE and v.ratio == ratios:
                if not (v.has_value or v.bound or v.outside):
                    continue
                row = drawn[place := (e.name, e.scale, c.a, c.b, c.metric)]
                expected.add(place)
                assert (row.estimate, row.low, row.high) == pytest.approx((v.estimate, v.low, v.high), nan_ok=True)
                assert c.claim in row.claims and row.n == v.n
                assert c.question != "direction" or row.outcome == v.outcome
    assert drawn.keys() == expected


def test_the_order_is_that_of_the_paper() -> None:
    sections = forests.lines()["section"].map(list(labels.SECTIONS).index)
    assert sections.is_monotonic_increasing


# ------------------------------------------------------------------------------------------ made-up records


def test_a_line_a_scale_the_largest_on_top(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hollow with too few seeds; the words at the right are the verdicts'; one section alone, or several."""
    only(monkeypatch, "lrn/cifar10", "lrn/sample", "pool/cifar10")
    errors(recorded, "lrn", "cifar10", "baseline", around(30.0, 15))
    errors(recorded, "lrn", "cifar10", "no lrn", around(32.0, 5))
    errors(recorded, "lrn", "cifar10", "no competition", around(29.0, 5))
    errors(recorded, "lrn", "sample", "baseline", around(22.0, 3))
    errors(recorded, "lrn", "sample", "no lrn", around(22.0, 2))
    errors(recorded, "pool", "cifar10", "2x2", around(30.0, 5))
    drawing = forests.forest("3.3")
    frame = drawing.data
    assert list(zip(frame["b"], frame["scale"], strict=True)) == [
        ("no lrn", "cifar10"), ("no lrn", "sample"), ("no competition", "cifar10"),
    ]  # fmt: skip
    assert list(frame["outcome"]) == ["holds", "undecided", "contradicted"]
    assert words(drawing) == ["holds", "2 seeds", "second better"]
    assert list(frame["enough"]) == [True, False, True] and list(frame["claims"]) == ["S3.3-c.1", "S3.3-c.1", ""]
    assert frame["estimate"][0] == pytest.approx(2.0, abs=0.1)
    assert shown_labels(drawing) == ["3.3 normalisation", "baseline v. no lrn", "baseline v. no competition"]
    assert "The first is better: 3.3 baseline v. no lrn (cifar10) 2.0. The second is better: 3.3 base" in drawing.alt
    title = " ".join(drawing.figure.get_suptitle().split())  # wherever its lines break
    assert title.startswith("3 comparisons of errors in section 3.3: in 1 the first is better, in 1 the second is")
    assert drawing.caption == (
        "No lrn costs 1.98 points (1.88 to 2.08); no competition saves 1.02 points (0.92 to 1.12); "
        "not decided: no lrn (Fashion-MNIST sample; -0.05 points, -0.37 to 0.27)."
    )
    assert set(forests.forest("3.3", "3.4", experiments=["pool"]).data["experiment"]) == {"pool"}
    assert [line.get_mfc() for line in drawing.figure.axes[0].lines if line.get_marker() == "D"] == ["white"]
    assert set(forests.forest("3.3", "3.4").data["section"]) == {"3.3", "3.4"}
    assert list(forests.forest().data["section"].unique()) == ["3.3", "3.4"]


def test_a_claim_of_two_sections_is_found_under_both(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And drawn once, where its experiment is. An effect that the axis has no room for is written out."""
    only(monkeypatch, "depth/cifar10", "net/cifar10")  # whose runs have no error in ten views here
    errors(recorded, "depth", "cifar10", "baseline", around(30.0, 15))
    errors(recorded, "depth", "cifar10", "no conv1", around(40.0, 3))
    for sections, heading in (((), "7 depth"), (("1",), "1 size of the training set"), (("7",), "7 depth")):
        drawing = forests.forest(*sections)
        assert len(drawing.data) == 1 and shown_labels(drawing)[0] == heading
        assert any(text.startswith("10.0 (9.") for text in words(drawing))


def test_long_lists_have_two_columns(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forests, "MOST_LINES", 2)
    only(monkeypatch, "lrn/cifar10", "pool/cifar10")
    for arm in ("baseline", "no lrn", "no competition", "2x2"):
        errors(recorded, "pool" if arm == "2x2" else "lrn", "cifar10", arm, around(30.0, 5))
    drawing = forests.forest()
    assert shown_labels(drawing) == ["3.3 normalisation", "v. no lrn", "v. no competition", "3.4 pooling", "v. 2x2"]
    assert [len(axes.get_yticklabels()) for axes in drawing.figure.axes] == [3, 2]
    assert len(forests.forest("3.3").figure.axes) == 1


def test_an_arm_of_which_no_run_counts_says_so(recorded: Path) -> None:
    errors(recorded, "pool", "cifar10", "baseline", around(30.0, 5))
    errors(recorded, "pool", "cifar10", "2x2", [90.0] * 5)
    drawing = forests.forest("3.4")
    assert words(drawing) == ["0 seeds", "no value: no run counts"] and math.isnan(drawing.data["estimate"][0])


# ------------------------------------------------------------------------------------------ times


def test_of_times_the_direction_is_drawn_and_bounds_are_marked() -> None:
    """Of the sample's own records: three claims ask about one ratio."""
    drawing = forests.forest_times("3.1")
    first = drawing.data[drawing.data["scale"] == "sample"].iloc[0]
    assert first["claims"] == "S3.1-a, S3.1-b.1, S3.1-b.2, S3.1-d" and math.isnan(first["at_least"])
    assert "2012/relu/19pct v. 2012/tanh/19pct (≥ 2?)" in shown_labels(drawing)
    bounded = (drawing.data["bound"] == "lower").sum()
    assert sum(line.get_marker() == ">" for line in drawing.figure.axes[0].lines) >= bounded > 0


# ------------------------------------------------------------------------------------------ nothing


def test_without_records_it_says_so(recorded: Path) -> None:
    for drawing in (forests.forest(), forests.forest("3.3"), forests.forest_times("4.2")):
        assert drawing.data.empty and list(drawing.data) == forests.COLUMNS
        assert "recorded yet, so there is nothing to draw" in drawing.alt
    assert forests.forest("3.3").alt.startswith("No comparison of errors in section 3.3 is recorded yet")


def test_an_unknown_section_is_named() -> None:
    with pytest.raises(PaperlibError, match="no comparison is in section '8'; the sections are 1, 3, 3.1"):
        forests.forest("8")


def test_experiments_without_comparisons_draw_nothing(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(monkeypatch, declared.get("baseline-rates", "sample"))
    assert forests.lines().empty
