"""Every claim of the paper as a row; the status of what is measured or counted is computed, never typed.

``claims.toml`` says what each claim is and what decides it (its *fate*): arithmetic, a tested
implementation, an experiment, a citation, or nothing, with the reason. This module turns that into a status:

- ``exact``, ``rounding``, ``erratum``: arithmetic, from :mod:`paperlib.arithmetic`;
- ``implemented``: a procedure or setting, with the tests that hold it;
- ``reproduced``, ``supported (proxy)``, ``contradicted``, ``no effect ≥ δ``, ``inconclusive``: from recorded runs;
- ``cited``: history, and other people's numbers;
- ``no measure``: the paper says nothing that a measurement could contradict; the reason tells what is shown instead;
- ``not run``: with the reason.
"""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from textwrap import shorten
from typing import Any

from paperlib import arithmetic, evidence
from paperlib.errors import PaperlibError
from paperlib.evidence import Verdict

TABLE = Path(__file__).with_name("claims.toml")


@dataclass(frozen=True)
class Row:
    """One claim with its evidence. ``seeds``, the fewest of its comparisons, is 0 where no run bears on it, ``scale``
    then None."""

    id: str
    section: str
    claim: str
    setting: str
    kind: str
    needs: str
    scale: str | None
    seeds: int
    result: str
    caveat: str
    status: str
    reason: str
    notebook: str


@cache
def entries() -> tuple[dict[str, Any], ...]:
    """The rows of claims.toml as they stand there."""
    return tuple(tomllib.loads(TABLE.read_text())["claim"])


def rows(section: str | None = None) -> list[Row]:
    """All claims in the paper's order, or those of one section ("3.1", "abstract")."""
    sections = list(dict.fromkeys(entry["section"] for entry in entries()))
    if section is not None and section not in sections:
        raise PaperlibError(f"there is no section {section!r}; the sections are {', '.join(sections)}")
    return [row_of(entry) for entry in entries() if section in (None, entry["section"])]


def row(claim_id: str) -> Row:
    """One claim by its id."""
    for entry in entries():
        if entry["id"] == claim_id:
            return row_of(entry)
    raise PaperlibError(f"there is no claim {claim_id!r}; `paperlib claims` lists them")


def row_of(entry: dict[str, Any]) -> Row:
    """A row of the toml with its status, result and reason computed."""
    decided: dict[str, Any] = {"setting": "", "scale": None, "seeds": 0, "result": "", "reason": entry["note"]}
    match entry["fate"]:
        case "arithmetic":
            outcome = getattr(arithmetic, entry["function"])()
            decided |= {
                "status": outcome.status,
                "result": outcome.value,
                "reason": outcome.detail,
                "setting": "arithmetic",
            }
        case "implemented":
            decided |= {"status": "implemented", "result": ", ".join(entry["test"]), "setting": "test"}
        case "experiment":
            decided |= from_experiments(entry)
        case "cited":
            decided |= {"status": "cited", "result": entry["source"], "setting": "cited"}
        case fate:
            decided |= {"status": fate, "reason": entry["reason"]}
    decided["reason"] = f"{decided['reason']} {besides(entry)}".strip()
    if "computed" in entry and not decided["result"]:
        decided["result"] = getattr(arithmetic, entry["computed"])().detail
    kept = {key: entry[key] for key in ("id", "section", "claim", "kind", "notebook")}
    kept["caveat"] = entry.get("caveat", "")
    return Row(**kept, needs=", ".join(entry["needs"]), **decided)


def from_experiments(entry: dict[str, Any]) -> dict[str, Any]:
    """Status, result and setting of a claim that recorded runs decide: the largest scale with records counts."""
    found = evidence.verdicts(entry["id"])
    if not found:
        names = ", ".join(entry["experiments"])
        return {"status": "not run", "reason": f"no run of experiment {names} is recorded yet"}
    scale = found[0].scale
    here = [v for v in found if v.scale == scale]
    elsewhere = [v for v in found if v.scale != scale]
    n = {v.n for v in here}
    results = [f"{what_of(v)}: {v.text}" + (f", n = {v.n}" if len(n) > 1 else "") for v in here]
    return {
        "status": together(here),
        "scale": scale,
        "seeds": min(n),
        "setting": ", ".join(dict.fromkeys(v.experiment + (", a proxy" if v.proxy else "") for v in here)),
        "result": "; ".join(dict.fromkeys(results)),
        "reason": f"{entry['note']} {others_of(elsewhere)}".strip(),
    }


def others_of(elsewhere: Sequence[Verdict]) -> str:
    """A sentence with the verdicts at smaller scales, which decide nothing."""
    told = [f"at scale {v.scale}, n = {v.n}: {what_of(v)} {v.text}, {v.status}" for v in elsewhere]
    return f"Also, {'; '.join(told)}." if told else ""


def besides(entry: dict[str, Any]) -> str:
    """A sentence with the comparisons that an entry names beside those that decide it."""
    found = [v for named in entry.get("beside", []) for v in evidence.verdicts_beside(*named.split(": ", 1))]
    told = [f"{v.scale}{' (proxy)' * v.proxy}, n = {v.n}: {what_of(v)} {v.text}" for v in found]
    return f"Beside it, deciding nothing: {'; '.join(told)}." if told else ""


def what_of(v: Verdict) -> str:
    """The arms of a comparison, and what of them is compared."""
    return f"{v.comparison.arms}, {v.comparison.metric.replace('_', ' ')}"


def together(found: Sequence[Verdict]) -> str:
    """One status for several comparisons of one claim: one contradiction contradicts, and support needs all."""
    statuses = {v.status for v in found}
    if len(statuses) == 1:
        return statuses.pop()
    return "contradicted" if "contradicted" in statuses else "inconclusive"


# ---------------------------------------------------------------------------------------------------------
# As text


def tally(table: Sequence[Row]) -> dict[str, int]:
    """How many rows have each status, most frequent first."""
    return dict(Counter(r.status for r in table).most_common())


def evidence_of(r: Row) -> str:
    """Scale and seeds, which never go without each other, and the word proxy where it is one."""
    proxy = " (proxy)" if r.setting.endswith("a proxy") else ""
    return f"{r.scale}{proxy}, n = {r.seeds}" if r.scale else ""


def result_of(r: Row) -> str:
    """The result in words: where tests are the evidence, what they are named for; their full names are in the JSON."""
    if r.status != "implemented":
        return r.result
    names = [test.rpartition("::test_")[2].replace("_", " ") for test in r.result.split(", ")]
    return f"tests: {'; '.join(names)}"


def as_text(table: Sequence[Row], width: int = 160) -> str:
    """A plain table for a terminal, a line a claim, cut to ``width`` characters."""
    heads = ("id", "section", "status", "scale, seeds", "notebook", "claim / setting: result")
    cells = [
        (
            r.id,
            r.section,
            r.status,
            evidence_of(r),
            r.notebook,
            f"{r.claim} / {r.setting}: {result_of(r) or r.reason}" + (f" (but: {r.caveat})" if r.caveat else ""),
        )
        for r in table
    ]
    widths = [max(len(row[i]) for row in [heads, *cells]) for i in range(len(heads) - 1)]
    last = max(24, width - sum(widths) - 2 * len(widths))
    lines = [
        "  ".join(
            [
                *(cell.ljust(w) for cell, w in zip(row[:-1], widths, strict=True)),
                shorten(row[-1], last, placeholder=" …"),
            ]
        )
        for row in [heads, *cells]
    ]
    counts = ", ".join(f"{n} {status}" for status, n in tally(table).items())
    return "\n".join([*lines, "", f"{len(table)} rows: {counts}"])


def as_json(table: Sequence[Row]) -> str:
    """A list of objects, one a claim, with the fields of :class:`Row` as keys."""
    return json.dumps([asdict(r) for r in table], indent=1, ensure_ascii=False)


def as_markdown(table: Sequence[Row], longest: int | None = None) -> str:
    """The table in Markdown; results and reasons cut to ``longest`` characters, where given."""
    lines = ["| id | claim | status | scale, seeds | result, or reason | notebook |", "|---|---|---|---|---|---|"]
    for r in table:
        result = result_of(r) or r.reason
        if longest is not None:
            result = shorten(result, longest, placeholder=" …")
        result += f" (But: {r.caveat}.)" if r.caveat else ""
        cells = (r.id, r.claim, r.status, evidence_of(r), result, r.notebook)
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines)
