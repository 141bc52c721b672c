"""Every claim of the paper as a row; the status of what is measured or counted is computed, never typed.

``claims.toml`` says what each claim is and what decides it (its *fate*): arithmetic, a tested
implementation, an experiment, a citation, or nothing, with the reason. This module turns that into a status:

- ``exact``, ``rounding``, ``erratum``: arithmetic, from :mod:`paperlib.paper.arithmetic`;
- ``implemented``: a procedure or setting, with the tests that hold it;
- ``reproduced``, ``supported (proxy)``, ``contradicted``, ``no effect ≥ δ``, ``mixed``, ``undecided``: from recorded
  runs, by the rule of :mod:`paperlib.evidence.decide`; "(proxy)" where the form is not the paper's;
- ``not run yet``: an experiment is declared and has no records;
- ``cited``: history, and other people's numbers;
- ``needs ImageNet``: with the command that would decide it;
- ``no measure``: the paper says nothing that a measurement could contradict; the reason tells what is shown instead;
- ``not run``: with the reason.
"""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from textwrap import shorten
from typing import Any

from paperlib.errors import PaperlibError
from paperlib.evidence import decide, verdict
from paperlib.evidence.verdict import Outcome, Verdict
from paperlib.paper import arithmetic

TABLE = Path(__file__).with_name("claims.toml")


@dataclass(frozen=True)
class Row:
    """One claim with its evidence.

    ``also`` are the further places of the same claim, "section: id". ``seeds``, the fewest of its comparisons, is 0
    where no run bears on it, ``scale`` then None. ``half_width`` and ``seeds_to_decide`` are those of an undecided
    claim (of its part that needs most), ``command`` is what would decide one that needs ImageNet. ``declared`` is the
    commit that declared its comparisons, ``first_run`` the day on which the first of their runs began.
    """

    id: str
    section: str
    also: str
    claim: str
    setting: str
    kind: str
    needs: str
    scale: str | None
    proxy: bool
    seeds: int
    result: str
    caveat: str
    status: str
    reason: str
    command: str
    half_width: float | None
    seeds_to_decide: int | None
    declared: str
    first_run: str
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
    return [row_of(entry) for entry in entries() if section in (None, *sections_of(entry))]


def row(claim_id: str) -> Row:
    """One claim by its id, or by that of another place of the paper that makes it too."""
    return row_of(entry_of(claim_id))


def entry_of(claim_id: str) -> dict[str, Any]:
    """The entry of claims.toml with this id, its own or that of another place."""
    for entry in entries():
        if claim_id in ids_of(entry):
            return entry
    raise PaperlibError(f"there is no claim {claim_id!r}; `paperlib claims` lists them")


def ids_of(entry: dict[str, Any]) -> list[str]:
    """The id of a claim, and those of its other places."""
    return [entry["id"], *(place.partition(": ")[2] for place in entry.get("also", []))]


def sections_of(entry: dict[str, Any]) -> list[str]:
    """The sections that make a claim."""
    return [entry["section"], *(place.partition(": ")[0] for place in entry.get("also", []))]


def row_of(entry: dict[str, Any]) -> Row:
    """A row of the toml with its status, result and reason computed."""
    decided: dict[str, Any] = {
        "setting": "", "scale": None, "proxy": False, "seeds": 0, "result": "", "reason": entry["note"], "command": "",
        "half_width": None, "seeds_to_decide": None, "declared": "", "first_run": "",
    }  # fmt: skip
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
            decided |= {"status": fate, "reason": entry["reason"], "command": entry.get("command", "")}
    decided["reason"] = f"{decided['reason']} {besides(entry)}".strip()
    if "computed" in entry and not decided["result"]:
        decided["result"] = getattr(arithmetic, entry["computed"])().detail
    kept = {key: entry[key] for key in ("id", "section", "claim", "kind", "notebook")}
    kept |= {"caveat": entry.get("caveat", ""), "also": ", ".join(entry.get("also", []))}
    return Row(**kept, needs=", ".join(entry["needs"]), **decided)


def from_experiments(entry: dict[str, Any]) -> dict[str, Any]:
    """Status, result and setting of a claim that recorded runs decide.

    The largest scale that decides gives the status. A larger one that does not is shown beside it; where decided scales
    disagree the status is "mixed".
    """
    ids = ids_of(entry)
    found = list({(v.experiment, v.scale, replace(v.comparison, claim="")): v for v in decide.verdicts(*ids)}.values())
    if not found:
        return {"status": "not run yet", "reason": not_yet(entry)}
    at = {scale: [v for v in found if v.scale == scale] for scale in dict.fromkeys(v.scale for v in found)}
    missing = {scale: decide.planned(scale, *ids) > len(here) for scale, here in at.items()}
    outcomes = {scale: outcome_at(here, missing[scale]) for scale, here in at.items()}
    decided = [scale for scale in at if outcomes[scale] != "undecided"]
    scale = decided[0] if decided else next(iter(at))
    here, outcome, results = at[scale], outcomes[scale], results_of(at[scale])
    shown = [scale]
    if len({outcomes[each] for each in decided}) > 1:
        shown, outcome = decided, "mixed"
        results = [f"{each}: {'; '.join(results_of(at[each]))}, {said(at[each], outcomes[each])}" for each in decided]
    open_ = [v for v in here if v.outcome == "undecided" and v.half_width] if outcome == "undecided" else []
    hardest = max(open_, key=lambda v: v.seeds_to_decide or 0, default=None)
    counted = [v for each in shown for v in at[each]]
    reasons = (
        entry["note"], "A declared part has no runs yet." * missing[scale],
        others_of([v for v in found if v.scale not in shown]),
    )  # fmt: skip
    return {
        "status": said(counted, outcome),
        "proxy": any(v.proxy for v in counted),
        "scale": scale,
        "seeds": min(v.n for v in here),
        "setting": ", ".join(dict.fromkeys(v.experiment for v in here)),
        "result": "; ".join(results),
        "reason": " ".join(part for part in reasons if part),
        "half_width": hardest.half_width if hardest else None,
        "seeds_to_decide": hardest.seeds_to_decide if hardest else None,
        "declared": ", ".join(dict.fromkeys(v.declared for v in counted if v.declared)),
        "first_run": min((v.first_run for v in counted if v.first_run), default=""),
    }


def not_yet(entry: dict[str, Any]) -> str:
    """The reason of a claim whose experiments have no records."""
    return f"{entry['note']} No run of experiment {', '.join(entry['experiments'])} is recorded yet.".strip()


def outcome_at(here: Sequence[Verdict], missing: bool) -> Outcome:
    """The outcome of all parts at one scale; a part that is declared and has no runs is undecided."""
    parts = [v.outcome for v in here]
    return verdict.together([*parts, "undecided"] if missing else parts)


def said(found: Sequence[Verdict], outcome: Outcome) -> str:
    """The status of several verdicts together, in words. One proxy among them makes the whole a proxy."""
    effects = " and ".join(f"{each:g}" for each in sorted({v.comparison.smallest_effect for v in found}))
    return verdict.in_words(outcome, any(v.proxy for v in found), effects)


def results_of(here: Sequence[Verdict]) -> list[str]:
    """A part each: the arms, what of them, the interval, and for an undecided part what would decide it.

    The seeds where arms or parts differ in them, the status where parts differ in it.
    """
    alike = len({v.seeds for v in here}) == 1 and " and " not in here[0].seeds
    agree = len({v.outcome for v in here}) == 1
    told = [
        f"{what_of(v)}: {v.text}"
        + (f" [{v.outlook}]" if v.outlook else "")
        + ("" if alike else f", n = {v.seeds}")
        + ("" if agree else f", {v.status}")
        for v in here
    ]
    return list(dict.fromkeys(told))


def others_of(elsewhere: Sequence[Verdict]) -> str:
    """A sentence with the verdicts at the other scales."""
    told = [
        f"at scale {v.scale}, n = {v.seeds}: {result_in_words(v)}, {v.status}"
        + (f" ({v.outlook})" if v.outlook else "")
        for v in elsewhere
    ]
    return f"Also, {'; '.join(told)}." if told else ""


def besides(entry: dict[str, Any]) -> str:
    """A sentence with the comparisons that an entry names beside those that decide it."""
    found = [v for named in entry.get("beside", []) for v in decide.verdicts_beside(*named.split(": ", 1))]
    told = [f"{v.scale}{' (proxy)' * v.proxy}, n = {v.seeds}: {result_in_words(v)}" for v in found]
    return f"Beside it, deciding nothing: {'; '.join(told)}." if told else ""


def result_in_words(v: Verdict) -> str:
    """The comparison and its value; where there is none, what the text says of the arms is a sentence of its own."""
    return f"{what_of(v)}{' ' if v.has_value else ': '}{v.text}"


def what_of(v: Verdict) -> str:
    """The arms of a comparison, and what of them is compared."""
    return f"{v.comparison.arms}, {v.comparison.metric.replace('_', ' ')}"


# ---------------------------------------------------------------------------------------------------------
# As text


def tally(table: Sequence[Row]) -> dict[str, int]:
    """How many rows have each status, most frequent first."""
    return dict(Counter(r.status for r in table).most_common())


def evidence_of(r: Row) -> str:
    """Scale and seeds, which never go without each other, and the word proxy where it is one."""
    return f"{r.scale}{' (proxy)' * r.proxy}, n = {r.seeds}" if r.scale else ""


def since_of(r: Row) -> str:
    """When its comparisons were declared, and when their first run began."""
    return ", ".join(part for part in (r.declared, r.first_run) if part)


def places_of(r: Row) -> str:
    """The ids of a claim in all places."""
    return ", ".join([r.id, *(place.partition(": ")[2] for place in r.also.split(", ") if place)])


def result_of(r: Row) -> str:
    """The result in words: where tests are the evidence, what they are named for; their full names are in the JSON."""
    if r.status != "implemented":
        return r.result
    names = [test.rpartition("::test_")[2].replace("_", " ") for test in r.result.split(", ")]
    return f"tests: {'; '.join(names)}"


def told_of(r: Row) -> str:
    """The result, else the reason; before it the command that would decide it, which must not be cut."""
    told = result_of(r) or r.reason
    return f"{command_of(r)} {told}" if r.command else told


def command_of(r: Row) -> str:
    """A sentence with the command that would decide it."""
    return f"To decide it: `{r.command}`."


def under_the_table() -> str:
    """What holds of all verdicts together: what the intervals cover, and how many false verdicts to expect."""
    deciding = {
        (v.experiment, v.scale)
        for entry in entries() if entry["fate"] == "experiment"
        for v in decide.verdicts(*ids_of(entry)) if v.outcome != "undecided"
    }  # fmt: skip
    expected = verdict.ALPHA * len(deciding)
    return (
        f"Intervals cover seeds, not test images. Each of the {len(deciding)} experiments that decide something has an "
        f"error rate of at most {100 * verdict.ALPHA:.0f} %, so up to {expected:.1f} of them may hold a false verdict."
    )


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
            f"{r.claim} / {r.setting}: {told_of(r)}" + (f" (but: {r.caveat})" if r.caveat else ""),
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


def as_markdown(table: Sequence[Row], folder: str = "") -> str:
    """The table in Markdown; with a link to each notebook, where they lie in ``folder``."""
    heads = ("id", "claim", "status", "scale, seeds", "declared, first run", "result, or reason", "notebook")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for r in table:
        result = (result_of(r) or r.reason) + (f" (But: {r.caveat}.)" if r.caveat else "")
        result += f" {command_of(r)}" if r.command else ""
        notebook = f"[{r.notebook}]({folder}/{r.notebook}.ipynb)" if folder else r.notebook
        cells = (places_of(r), r.claim, r.status, evidence_of(r), since_of(r), result, notebook)
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines)
