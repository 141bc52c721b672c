"""The table of claims: all rows there, statuses computed, and the README's copy current."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import readme

from paperlib import arithmetic, claims, evidence, experiments
from paperlib.claims import Row
from paperlib.design import SCALES, Comparison
from paperlib.errors import PaperlibError
from paperlib.evidence import Verdict

ROOT = Path(__file__).resolve().parent.parent

KEYS = [
    "id", "section", "claim", "setting", "kind", "needs", "scale", "seeds", "result", "caveat", "status", "reason",
    "notebook",
]  # fmt: skip
PLAIN_STATUSES = {
    "exact", "rounding", "erratum", "implemented", "reproduced", "supported (proxy)", "contradicted", "inconclusive",
    "cited", "no measure", "not run",
}  # fmt: skip


@pytest.fixture(scope="module")
def table() -> list[Row]:
    return claims.rows()


# ------------------------------------------------------------------------------------------ the rows


def test_all_claims_are_there(table: list[Row]) -> None:
    """87 claims of the paper, some split where their halves have different fates."""
    ids = [row.id for row in table]
    assert len(ids) == len(set(ids)) == len(claims.entries()) >= 102
    assert all(re.fullmatch(r"S\d(\.\d)?-[a-z]+(\.\d)?", one) for one in ids)
    assert len({one.split("-")[0] + "-" + one.split("-")[1].split(".")[0] for one in ids}) == 87
    for row in table:
        section = "0" if row.section == "abstract" else row.section
        assert row.id.startswith(f"S{section}-") and row.claim.endswith(".")


def test_statuses_are_those_of_the_vocabulary(table: list[Row]) -> None:
    for row in table:
        assert row.status in PLAIN_STATUSES or re.fullmatch(r"no effect ≥ [\d.]+", row.status), row.id


def test_a_number_never_goes_without_its_scale_and_seeds(table: list[Row]) -> None:
    measured = {"reproduced", "supported (proxy)", "contradicted", "inconclusive"}
    for row in table:
        assert (row.scale is None) == (row.seeds == 0) and row.scale in (None, *SCALES)
        assert (row.scale is not None) == (row.status in measured or row.status.startswith("no effect")), row.id
        assert row.result or row.reason
        assert row.status not in ("not run", "no measure") or row.reason


@pytest.mark.parametrize(
    ("claim_id", "status"),
    [
        ("S1-d.1", "erratum"),
        ("S2-a.2", "erratum"),
        ("S3.5-h", "erratum"),
        ("S4.1-b", "erratum"),
        ("S0-d", "rounding"),
        ("S0-b", "not run"),
        ("S3-a", "exact"),
    ],
)
def test_rows_whose_fate_is_known(claim_id: str, status: str, table: list[Row]) -> None:
    """Errata of the paper, a rounding, and what nobody can run here."""
    (row,) = (row for row in table if row.id == claim_id)
    assert row.status == status == claims.row(claim_id).status


def test_status_follows_fate(table: list[Row]) -> None:
    for entry, row in zip(claims.entries(), table, strict=True):
        match entry["fate"]:
            case "arithmetic":
                outcome = getattr(arithmetic, entry["function"])()
                assert (row.status, row.result, row.reason) == (outcome.status, outcome.value, outcome.detail)
            case "implemented":
                assert row.status == "implemented" and row.result.split(", ") == entry["test"]
            case "cited":
                assert (row.status, row.result) == ("cited", entry["source"])
            case "not run" | "no measure" as fate:
                assert row.status == fate and row.reason.startswith(entry["reason"])
                assert "beside" in entry or row.reason == entry["reason"]
            case fate:
                assert fate == "experiment" and row.status not in ("exact", "implemented", "cited")


def test_sections_in_the_papers_order(table: list[Row]) -> None:
    sections = list(dict.fromkeys(row.section for row in table))
    assert sections[0] == "abstract" and sections[1:] == sorted(sections[1:])
    for section in sections:
        assert claims.rows(section) == [row for row in table if row.section == section]


def test_unknown_sections_and_claims_are_named() -> None:
    with pytest.raises(PaperlibError, match=r"no section '9\.9'; the sections are abstract, 1, "):
        claims.rows("9.9")
    with pytest.raises(PaperlibError, match="no claim 'S9-z'"):
        claims.row("S9-z")


# ------------------------------------------------------------------------------------------ from runs to a status


def verdict(status: str, scale: str = "sample", n: int = 5, a: str = "2012/relu", b: str = "2012/tanh") -> Verdict:
    comparison = Comparison("S9-a", a, b, "updates", "log_ratio", smallest_effect=1.1)
    return Verdict(comparison, "relu", scale, n, 2.5, 2.0, 3.0, 0.01, "", scale == "sample", status)


@pytest.mark.parametrize(
    ("statuses", "one"),
    [
        (["reproduced"], "reproduced"),
        (["reproduced", "reproduced"], "reproduced"),
        (["no effect ≥ 1.1", "no effect ≥ 1.1"], "no effect ≥ 1.1"),
        (["reproduced", "contradicted"], "contradicted"),
        (["inconclusive", "contradicted", "reproduced"], "contradicted"),
        (["reproduced", "inconclusive"], "inconclusive"),
        (["supported (proxy)", "no effect ≥ 1.1"], "inconclusive"),
        (["contradicted", "contradicted"], "contradicted"),
    ],
)
def test_several_comparisons_make_one_status(statuses: list[str], one: str) -> None:
    found = [verdict(status) for status in statuses]
    assert claims.together(found) == claims.together(found[::-1]) == one


ENTRY = {
    "id": "S9-a", "section": "9", "claim": "It is faster.", "kind": "SPD", "needs": ["C10", "TIN"],
    "notebook": "02_relu", "fate": "experiment", "experiments": ["relu"], "note": "Known.",
}  # fmt: skip


def row_of(found: list[Verdict], monkeypatch: pytest.MonkeyPatch) -> Row:
    monkeypatch.setattr(evidence, "verdicts", lambda claim: found if claim == "S9-a" else [])
    return claims.row_of(ENTRY)


def test_the_largest_scale_with_records_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        verdict("reproduced", "cifar10", n=6), verdict("reproduced", "cifar10", n=5, b="2012/sigmoid"),
        verdict("contradicted", "sample", n=9),
    ]  # fmt: skip
    row = row_of(found, monkeypatch)
    assert (row.status, row.scale, row.seeds, row.setting) == ("reproduced", "cifar10", 5, "relu")
    interval = "2.50 times (2.00 to 3.00)"
    tanh, sigmoid = (f"2012/relu v. 2012/{unit}, updates: {interval}" for unit in ("tanh", "sigmoid"))
    assert row.result == f"{tanh}, n = 6; {sigmoid}, n = 5"  # told of each, where they differ
    same = row_of([replace(v, n=5) for v in found[:2]], monkeypatch)
    assert (same.seeds, same.result) == (5, f"{tanh}; {sigmoid}")
    assert (
        row.reason == f"Known. Also, at scale sample, n = 9: 2012/relu v. 2012/tanh, updates {interval}, contradicted."
    )
    assert row.needs == "C10, TIN"


def test_comparisons_that_decide_nothing_are_told_with_scale_and_seeds(
    table: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {entry["id"]: entry["beside"] for entry in claims.entries() if "beside" in entry}
    assert told.keys() == {"S3-b.2", "S3.2-f", "S4-a.2", "S4.1-c.1", "S4.2-d"}
    for row in (row for row in table if row.id in told):
        for name, arms in (each.split(": ") for each in told[row.id]):
            for scale, n in (("sample", 5), ("cifar10", 2)):
                there = [c for e in experiments.DECLARED if (e.name, e.scale) == (name, scale) for c in e.comparisons]
                declared = any(c.arms == arms and not c.claim for c in there)
                assert (f"{scale} (proxy), n = {n}: {arms}, test error" in row.reason) is declared
    with pytest.raises(PaperlibError, match="has no comparison 'baseline v. conv9' beside"):
        evidence.verdicts_beside("towers", "baseline v. conv9")
    monkeypatch.setattr(evidence, "verdicts_beside", lambda name, arms: [verdict("contradicted", "cifar10", n=7)])
    row = claims.row_of({**ENTRY, "fate": "not run", "reason": "No.", "beside": ["x: a v. b"]})
    interval = "2.50 times (2.00 to 3.00)"
    assert row.reason == (
        f"No. Beside it, deciding nothing: cifar10, n = 7: 2012/relu v. 2012/tanh, updates {interval}."
    )


def test_a_caveat_goes_where_the_result_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "verdicts", lambda claim: [verdict("inconclusive", "cifar10", n=7)])
    row = claims.row_of({**ENTRY, "caveat": "a coin would do as well"})
    assert row == replace(claims.row_of(ENTRY), caveat="a coin would do as well")
    for text in (claims.as_markdown([row], longest=20), claims.as_text([row], 400)):
        assert "ut: a coin would do as well" in text
    assert "ut: " not in claims.as_markdown([claims.row_of(ENTRY)]) + claims.as_text([claims.row_of(ENTRY)], 400)


def test_what_the_caveat_of_the_order_says_is_so() -> None:
    """Against the sample's verdict stand two seeds, whose comparison was declared when the runs had been seen."""
    row = claims.row("S3-b.2")
    assert row.status == "contradicted" and row.scale == "sample" and "CIFAR-10, two seeds" in row.caveat
    wrong = next(v for v in evidence.verdicts("S3-b.2") if v.status == "contradicted").comparison.arms
    (elsewhere,) = evidence.verdicts_beside("order", wrong)
    assert elsewhere.scale == "cifar10" and elsewhere.n == 2 and elsewhere.estimate > 0


def test_without_records_it_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    row = row_of([], monkeypatch)
    assert (row.status, row.scale, row.seeds, row.result) == ("not run", None, 0, "")
    assert row.reason == "no run of experiment relu is recorded yet"


# ------------------------------------------------------------------------------------------ as text


def test_json_has_the_keys_that_were_promised(table: list[Row]) -> None:
    objects = json.loads(claims.as_json(table))
    assert len(objects) == len(table)
    for made, row in zip(objects, table, strict=True):
        assert list(made) == KEYS
        assert all(made[key] == getattr(row, key) for key in KEYS)
        assert type(made["seeds"]) is int and (made["scale"] is None or made["scale"] in SCALES)


@pytest.mark.parametrize("width", [40, 100, 160, 1000])
def test_a_line_a_claim_for_a_terminal(width: int, table: list[Row]) -> None:
    head, *lines = claims.as_text(table, width).splitlines()
    assert head.startswith("id") and len(lines) == len(table) + 2
    for line, row in zip(lines, table, strict=False):
        assert line.startswith(row.id + " ") and row.status in line
        assert len(line) <= max(width, 120)  # columns are as wide as the longest scale and status in them
    counts = {status: int(n) for n, status in re.findall(r"(\d+) ([^,]+)", lines[-1].split(": ")[1])}
    assert lines[-1].startswith(f"{len(table)} rows: ") and sum(counts.values()) == len(table)
    assert counts["cited"] == sum(row.status == "cited" for row in table)


def made_up(**changes: Any) -> Row:
    return replace(claims.row("S0-c"), **changes)


def test_markdown_keeps_its_cells(table: list[Row]) -> None:
    lines = claims.as_markdown(table).splitlines()
    assert len(lines) == len(table) + 2
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {7}
    odd = made_up(claim="a | b", result="two\nlines", scale="sample", seeds=3)
    assert claims.as_markdown([odd]).splitlines()[-1] == (
        f"| S0-c | a \\| b | {odd.status} | sample, n = 3 | two lines | 06_architecture |"
    )
    assert claims.as_markdown([made_up(result="", reason="because")]).splitlines()[-1].split(" | ")[4] == "because"


def test_markdown_can_be_cut() -> None:
    cut = claims.as_markdown([made_up(result="word " * 50)], longest=30).splitlines()[-1].split(" | ")[4]
    assert cut == "word word word word word …" and len(cut) <= 30


def test_the_tally(table: list[Row]) -> None:
    tally = claims.tally(table)
    assert sum(tally.values()) == len(table) and list(tally.values()) == sorted(tally.values(), reverse=True)
    assert all(n == [row.status for row in table].count(status) for status, n in tally.items())


# ------------------------------------------------------------------------------------------ the README


def test_the_table_of_the_readme_is_current(table: list[Row]) -> None:
    found = re.findall(r"<!-- claims -->\n(.*?)\n<!-- /claims -->", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found == [claims.as_markdown(table, longest=160)], "python tools/readme.py brings it up to date"


def test_everything_generated_in_the_readme_is_current() -> None:
    text = (ROOT / "README.md").read_text()
    assert readme.render(text) == text, "python tools/readme.py brings it up to date"
