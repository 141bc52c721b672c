"""The table of claims: all rows there, statuses computed, and the generated pages current."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import readme
from scipy import optimize, stats

from paperlib.errors import PaperlibError
from paperlib.evidence import claims, decide, metrics
from paperlib.evidence.rows import Place, Row
from paperlib.evidence.verdict import Outcome, Verdict
from paperlib.experiments import declared
from paperlib.experiments.form import SCALES, Comparison
from paperlib.paper import arithmetic

ROOT = Path(__file__).resolve().parents[2]

KEYS = [
    "id", "section", "also", "claim", "setting", "kind", "needs", "scale", "proxy", "seeds", "result", "tests",
    "caveat", "hedge", "status", "outcome", "reason", "command", "half_width", "seeds_to_decide", "declared",
    "first_run", "notebook",
]  # fmt: skip
MEASURED = {"reproduced", "supported (proxy)", "contradicted", "contradicted (proxy)", "mixed", "undecided"}
PLAIN_STATUSES = MEASURED | {
    "exact", "rounding", "imprecise", "erratum", "implemented", "shown", "cited", "needs ImageNet", "not tested",
    "planned",
}  # fmt: skip


@pytest.fixture(scope="module")
def table() -> list[Row]:
    return claims.rows()


# ------------------------------------------------------------------------------------------ the rows


def test_all_claims_are_there(table: list[Row]) -> None:
    """89 claims of the paper, some split where their halves have different fates."""
    ids = [row.id for row in table]
    assert len(ids) == len(set(ids)) == len(claims.entries()) >= 102
    assert all(re.fullmatch(r"S\d(\.\d)?-[a-z]+(\.\d)?", one) for one in ids)
    assert len({one.split("-")[0] + "-" + one.split("-")[1].split(".")[0] for one in ids}) == 89
    for row in table:
        section = "0" if row.section == "abstract" else row.section
        assert row.id.startswith(f"S{section}-") and row.claim.endswith(".")


def test_statuses_are_those_of_the_vocabulary(table: list[Row]) -> None:
    for row in table:
        assert row.status in PLAIN_STATUSES or re.fullmatch(r"no effect ≥ [\d. and]+(\(proxy\))?", row.status), row.id


def test_a_number_never_goes_without_its_scale_and_seeds(table: list[Row]) -> None:
    for row in table:
        assert (row.scale is None) == (row.seeds == 0) and row.scale in (None, *SCALES)
        assert (row.scale is not None) == (row.status in MEASURED or row.status.startswith("no effect")), row.id
        assert row.result or row.reason
        assert row.status not in ("not tested", "needs ImageNet") or row.reason
        assert bool(row.command) == (row.status == "needs ImageNet")
        assert row.proxy is (row.proxy and row.scale is not None)
        assert "(proxy)" not in row.status or row.proxy
        assert row.half_width is None or row.status == "undecided"
        assert row.seeds_to_decide is None or row.half_width is not None


def test_an_undecided_row_with_an_interval_says_what_would_decide_it(table: list[Row]) -> None:
    for row in table:
        if row.half_width is not None:
            assert "±" in row.result or "×/÷" in row.result
            n = row.seeds_to_decide or 0
            assert n == 0 or f"{f'about {n}' if n <= 100 else 'more than 100'} seeds in every arm" in row.result


def test_a_claim_of_two_sections_is_found_under_both() -> None:
    assert claims.row("S7-a.1") == claims.row("S1-d.2") and claims.row("S5-g.2").id == "S1-e"
    row = claims.row("S1-d.2")
    assert row.also == (Place("7", "S7-a.1"),) and row in claims.rows("1") and row in claims.rows("7")
    assert claims.as_markdown([row]).splitlines()[-1].startswith("| S1-d.2, S7-a.1 |")


def test_what_needs_imagenet_says_how(table: list[Row]) -> None:
    row = next(row for row in table if row.id == "S3.3-c.2")
    assert row.status == "needs ImageNet" and "no lrn" in row.command
    for text in (claims.as_markdown([row]), claims.as_text([row], 1000)):
        assert row.command in text


def test_status_follows_fate(table: list[Row]) -> None:
    for entry, row in zip(claims.entries(), table, strict=True):
        match entry["fate"]:
            case "arithmetic":
                outcome = getattr(arithmetic, entry["function"])()
                assert (row.status, row.result, row.reason) == (outcome.status, outcome.value, outcome.detail)
            case "implemented" | "shown" as fate:
                assert row.status == fate and row.tests == tuple(entry["test"])
            case "cited":
                assert (row.status, row.result) == ("cited", entry["source"])
            case "not run" | "no measure" | "needs ImageNet" as fate:
                assert row.status == (fate if fate == "needs ImageNet" else "not tested")
                assert row.reason.startswith(entry["reason"])
                assert "beside" in entry or row.reason == entry["reason"]
            case fate:
                assert fate == "experiment" and row.status not in ("exact", "implemented", "shown", "cited")


def test_sections_in_the_papers_order(table: list[Row]) -> None:
    sections = list(dict.fromkeys(row.section for row in table))
    assert sections[0] == "abstract" and sections[1:] == sorted(sections[1:])
    for section in sections:
        places = {row.id: [row.section, *(place.section for place in row.also)] for row in table}
        assert claims.rows(section) == [row for row in table if section in places[row.id]]


def test_unknown_sections_and_claims_are_named() -> None:
    with pytest.raises(PaperlibError, match=r"no section '9\.9'; the sections are abstract, 1, "):
        claims.rows("9.9")
    with pytest.raises(PaperlibError, match="no claim 'S9-z'"):
        claims.row("S9-z")


# ------------------------------------------------------------------------------------------ from runs to a status


INTERVALS: dict[Outcome, tuple[float, float]] = {
    "holds": (2.0, 3.0), "contradicted": (0.5, 0.8), "no effect": (0.95, 1.05), "undecided": (0.8, 1.6),
}  # fmt: skip


def verdict(outcome: Outcome, scale: str = "sample", n: int = 5, b: str = "2012/tanh", **of: Any) -> Verdict:
    comparison = Comparison("S9-a", "2012/relu", b, "updates", "log_ratio", smallest_effect=1.1)
    low, high = INTERVALS[outcome]
    proxy = of.pop("proxy", scale == "sample")
    made = Verdict(comparison, "relu", scale, proxy, (n, n), math.sqrt(low * high), low, high, **of)
    assert made.outcome == outcome
    return made


ENTRY = {
    "id": "S9-a", "section": "9", "claim": "It is faster.", "kind": "SPD", "needs": ["C10", "TIN"],
    "notebook": "02_relu", "fate": "experiment", "experiments": ["relu"], "note": "Known.",
}  # fmt: skip


def row_of(found: list[Verdict], monkeypatch: pytest.MonkeyPatch, planned: int = 0, **entry: Any) -> Row:
    monkeypatch.setattr(decide, "verdicts", lambda *ids: found if "S9-a" in ids else [])
    monkeypatch.setattr(decide, "planned", lambda scale, *ids: planned)
    return claims.row_of({**ENTRY, **entry})


TANH, SIGMOID = (f"2012/relu v. 2012/{unit}, updates: 2.45 times (2.00 to 3.00)" for unit in ("tanh", "sigmoid"))


def test_the_largest_scale_that_decides_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        verdict("undecided", "tinyimagenet"), verdict("holds", "cifar10", n=6),
        verdict("holds", "cifar10", b="2012/sigmoid"), verdict("holds", "sample", n=9),
    ]  # fmt: skip
    row = row_of(found, monkeypatch)
    assert (row.status, row.scale, row.seeds, row.setting, row.proxy) == ("reproduced", "cifar10", 5, "relu", False)
    assert row.result == f"{TANH}, n = 6; {SIGMOID}, n = 5"  # told of each, where they differ
    assert row.reason.startswith(
        "Known. Also, at scale tinyimagenet, n = 5: 2012/relu v. 2012/tanh, updates 1.13 times"
    )
    assert "undecided (×/÷ 1.41; about " in row.reason
    assert row.reason.endswith("at scale sample, n = 9: 2012/relu v. 2012/tanh, updates 2.45 times (2.00 to 3.00), "
                               "supported (proxy).")  # fmt: skip
    same = row_of([replace(v, n_of=(5, 5)) for v in found[1:3]], monkeypatch)
    assert (same.seeds, same.result) == (5, f"{TANH}; {SIGMOID}")
    uneven = row_of([replace(found[1], n_of=(15, 5))], monkeypatch)
    assert uneven.result == f"{TANH}, n = 15 and 5" and uneven.seeds == 5


def test_where_no_scale_decides_the_largest_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    row = row_of([verdict("undecided", "cifar10"), verdict("undecided", "sample")], monkeypatch)
    assert (row.status, row.scale, row.proxy) == ("undecided", "cifar10", False)
    assert row.half_width == pytest.approx(math.sqrt(2)) and row.seeds_to_decide == verdict("undecided").seeds_to_decide
    assert (
        f"[×/÷ 1.41; about {row.seeds_to_decide} seeds in every arm for an even chance, at most, to decide it]"
        in row.result
    )


def test_scales_that_disagree_are_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    row = row_of([verdict("holds", "cifar10", proxy=True), verdict("contradicted", "sample")], monkeypatch)
    assert (row.status, row.scale, row.proxy) == ("mixed", "cifar10", True)
    assert "cifar10: " in row.result and "sample: " in row.result
    assert ", supported (proxy); sample" in row.result and row.result.endswith(", contradicted (proxy)")
    assert claims.evidence_of(row) == "cifar10 (proxy), n = 5" and "Also" not in row.reason
    effects = row_of([verdict("no effect", "cifar10"), verdict("holds", "sample")], monkeypatch)
    assert effects.status == "mixed"


@pytest.mark.parametrize("order", [1, -1])
def test_one_proxy_makes_the_whole_a_proxy(order: int, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [verdict("holds", "cifar10", proxy=True), verdict("holds", "cifar10", b="2012/sigmoid")][::order]
    row = row_of(parts, monkeypatch)
    assert row.status == "supported (proxy)" and row.proxy and claims.evidence_of(row) == "cifar10 (proxy), n = 5"
    against = [replace(parts[0], low=0.5, high=0.8), parts[1]]
    assert row_of(against, monkeypatch).status == "contradicted (proxy)"


def test_a_part_without_runs_leaves_the_claim_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    row = row_of([verdict("holds")], monkeypatch, planned=2)
    assert row.status == "undecided" and "A declared part has no runs yet." in row.reason
    assert row_of([verdict("contradicted")], monkeypatch, planned=2).status == "contradicted (proxy)"


def test_comparisons_of_both_places_of_a_claim_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    one = verdict("holds")
    row = row_of(
        [one, replace(one, comparison=replace(one.comparison, claim="S8-b"))],
        monkeypatch,
        also=[{"section": "8", "id": "S8-b"}],
    )
    assert row.status == "supported (proxy)" and row.result == TANH


def test_when_it_was_declared_and_first_run(monkeypatch: pytest.MonkeyPatch) -> None:
    row = row_of([verdict("holds", declared="abc1234", first_run="2026-11-30")], monkeypatch)
    assert (row.declared, row.first_run) == ("abc1234", "2026-11-30")
    assert "| abc1234; 2026-11-30 |" in claims.as_markdown([row])
    assert claims.since_of(row_of([verdict("holds")], monkeypatch)) == ""


def test_comparisons_that_decide_nothing_are_told_with_scale_and_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    for entry in claims.entries():
        for named in entry.get("beside", []):
            for v in decide.verdicts_beside(named["experiment"], named["arms"]):
                shown = decide.baseline_first(v)  # as in the pictures
                told = f"{v.scale}{' (proxy)' * v.proxy}, n = {shown.seeds}: {shown.comparison.arms}"
                assert told in claims.row(entry["id"]).reason
    with pytest.raises(PaperlibError, match="has no comparison 'baseline v. conv9' beside"):
        decide.verdicts_beside("towers", "baseline v. conv9")
    monkeypatch.setattr(decide, "verdicts_beside", lambda name, arms: [verdict("contradicted", "cifar10", n=7)])
    row = claims.row_of(
        {**ENTRY, "fate": "not run", "reason": "No.", "beside": [{"experiment": "x", "arms": "a v. b"}]}
    )
    assert row.reason == (
        "No. Beside it, deciding nothing: cifar10, n = 7: 2012/relu v. 2012/tanh, updates 0.63 times (0.50 to 0.80)."
    )


def test_a_caveat_goes_where_the_result_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = row_of([verdict("undecided", "cifar10", n=7)], monkeypatch)
    row = row_of([verdict("undecided", "cifar10", n=7)], monkeypatch, caveat="a coin would do as well")
    assert row == replace(plain, caveat="a coin would do as well")
    for text in (claims.as_markdown([row]), claims.as_text([row], 600)):
        assert "ut: a coin would do as well" in text
    assert "ut: " not in claims.as_markdown([plain]) + claims.as_text([plain], 600)


@pytest.mark.parametrize(
    ("outcome", "scale", "hedge"),
    [("holds", "sample", "by a hair"), ("contradicted", "sample", "by a hair"), ("undecided", "sample", ""),
     ("holds", "cifar10", "")],
)  # fmt: skip
def test_a_hedge_follows_the_status_where_the_sample_decides(
    outcome: Outcome, scale: str, hedge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = row_of([verdict(outcome, scale, proxy=True)], monkeypatch, hedge="by a hair", caveat="a coin")
    assert (row.hedge, row.reserved) == (hedge, outcome != "undecided")
    assert row.said == f"{row.status}, {hedge}" if hedge else row.said == row.status
    assert row.said in claims.as_markdown([row]) and hedge in claims.as_text([row], 600)


def test_the_caveats_on_pooling_hold_by_other_means() -> None:
    """SciPy's bivariate t for two arms against one control, and its Welch interval with half of the 5 %."""
    stated, as_run = (decide.verdicts_of(name, "sample")[0] for name in ("pool", "pool-as-run"))
    alone, (control, arm) = stats.t.isf(decide.ALPHA / 2, stated.df), stated.n_of
    rho = arm / (arm + control)
    both = stats.multivariate_t(shape=[[1, rho], [rho, 1]], df=stated.df)
    shared = optimize.brentq(lambda c: both.cdf([c, c], lower_limit=[-c, -c]) - (1 - decide.ALPHA), alone, 3)
    assert as_run.n_of == stated.n_of and stated.half_width and stated.outcome == "contradicted"
    end = stated.estimate + stated.half_width * shared / alone
    assert abs(end) < 0.1 < abs(stated.high), "as one experiment"

    gaps = metrics.results("overfit-pool", "sample", "overfit").groupby("arm")["overfit"]
    own = stats.ttest_ind(gaps.get_group("2x2"), gaps.get_group("baseline"), equal_var=False)
    assert own.confidence_interval(1 - decide.ALPHA / 2).low < 0 < decide.verdicts_of("overfit-pool", "sample")[0].low


def test_without_records_it_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    row = row_of([], monkeypatch)
    assert (row.status, row.scale, row.seeds, row.result) == ("planned", None, 0, "")
    assert row.reason == "Known. Planned: experiment relu."


def test_how_many_false_verdicts_to_expect() -> None:
    """5 % of all experiments with an interval: not of those that decide something, which were picked for it."""
    names = [(e.name, e.scale) for e in declared.DECLARED]
    intervals = [name for name in names if any(v.low < v.high for v in decide.verdicts_of(*name))]
    some = [name for name in intervals if any(v.outcome != "undecided" for v in decide.verdicts_of(*name))]
    text = claims.under_the_table()
    assert 0 < len(some) < len(intervals) and f"the {len(intervals)} experiments that have intervals" in text
    assert f"at most {math.ceil(0.5 * len(intervals)) / 10:.1f} of the {len(intervals)} hold" in text
    assert text.endswith(f"among the {len(some)} that decide something.")


# ------------------------------------------------------------------------------------------ as text


def test_json_has_the_keys_that_were_promised(table: list[Row]) -> None:
    objects = json.loads(claims.as_json(table))
    assert len(objects) == len(table)
    for made, row in zip(objects, table, strict=True):
        assert list(made) == KEYS
        assert Row.of(made) == row
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
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {8}
    odd = made_up(claim="a | b", result="two\nlines", scale="sample", seeds=3)
    assert claims.as_markdown([odd]).splitlines()[-1] == (
        f"| S0-c | a \\| b | {odd.status} | sample, n = 3 |  | two lines | 06_architecture |"
    )
    assert claims.as_markdown([made_up(result="", reason="because")]).splitlines()[-1].split(" | ")[5] == "because"


def test_a_command_is_never_cut(table: list[Row]) -> None:
    for row in table:
        if row.command:
            assert f"To decide it: `{row.command}`." in claims.as_markdown([row])


def test_parts_that_differ_say_which_way(monkeypatch: pytest.MonkeyPatch) -> None:
    row = row_of([verdict("holds"), verdict("contradicted", b="2012/sigmoid")], monkeypatch)
    assert row.result.startswith(f"{TANH}, supported (proxy); ") and row.result.endswith(", contradicted (proxy)")


def test_the_tally(table: list[Row]) -> None:
    tally = claims.tally(table)
    assert sum(tally.values()) == len(table) and list(tally.values()) == sorted(tally.values(), reverse=True)
    assert all(n == [row.status for row in table].count(status) for status, n in tally.items())


# ------------------------------------------------------------------------------------------ the generated pages


@pytest.fixture(scope="module")
def generated() -> dict[Path, str]:
    return readme.generated()


@pytest.mark.parametrize("path", [*readme.marked_files(), ROOT / readme.CLAIMS], ids=lambda path: path.name)
def test_what_is_generated_is_current(path: Path, generated: dict[Path, str]) -> None:
    assert path.read_text() == generated[path], "`make readme` brings it up to date"


def test_claims_md_has_every_row_with_a_link_to_its_notebook(table: list[Row]) -> None:
    lines = (ROOT / readme.CLAIMS).read_text().splitlines()
    for row in table:
        (line,) = [line for line in lines if line.startswith(f"| {claims.places_of(row)} |")]
        assert row.status in line and line.endswith(f"[{row.notebook}](notebooks/{row.notebook}.ipynb) |")


def test_every_generated_part_is_used_once() -> None:
    used = [name for path in readme.marked_files() for _, name, *_ in readme.MARKED.findall(path.read_text())]
    assert sorted(used) == sorted(readme.PARTS)
    with pytest.raises(ValueError, match="'unheard'"):
        readme.render("<!-- unheard -->\n<!-- /unheard -->")


def test_the_readme_is_read_in_a_minute() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150 and len(text.encode()) <= 9000


def test_a_comparison_without_a_value_is_told_in_a_sentence_of_its_own() -> None:
    """It was "a v. b, updates neither a nor b reached …"."""
    bounded = verdict("holds")
    assert claims.result_in_words(bounded) == f"{claims.what_of(bounded)} {bounded.text}"
    both = replace(bounded, bound="both", low=math.nan, high=math.nan)
    for told in (claims.others_of([both]), claims.result_in_words(both)):
        assert f"{claims.what_of(both)}: neither {both.comparison.a} nor {both.comparison.b} reached the" in told
