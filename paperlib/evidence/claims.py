"""Every claim of the paper as a row; the status of what is measured or counted is computed, never typed.

``claims.toml`` says what each claim is and what decides it (its *fate*): arithmetic, a tested
implementation, an experiment, a citation, or nothing, with the reason. This module turns that into a status:

- ``exact``, ``rounding``, ``imprecise``, ``erratum``: arithmetic, from :mod:`paperlib.paper.arithmetic`;
- ``implemented``: a procedure or setting, with the tests that hold it;
- ``shown``: a statement about a formula, with the tests that hold it;
- ``reproduced``, ``supported (proxy)``, ``contradicted``, ``no effect ≥ δ``, ``mixed``, ``undecided``: from recorded
  runs, by the rule of :mod:`paperlib.evidence.decide`; "(proxy)" where the form is not the paper's;
- ``planned``: an experiment is declared and has no records;
- ``cited``: history, and other people's numbers;
- ``needs ImageNet``: with the command that would decide it;
- ``not tested``: nothing was run that could decide it (fate ``not run``), or the paper says nothing that a measurement
  could contradict (``no measure``); the reason says which, and what is shown instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from paperlib.evidence import decide, metrics, verdict
from paperlib.evidence.rows import (
    DECIDED,
    Outcome,
    Place,
    Row,
    as_json,
    as_markdown,
    as_text,
    command_of,
    entries,
    entry_of,
    evidence_of,
    ids_of,
    in_words,
    known_section,
    places_of,
    sections_of,
    since_of,
    tally,
)
from paperlib.evidence.verdict import Verdict
from paperlib.experiments import declared
from paperlib.paper import arithmetic

__all__ = [
    "Row", "as_json", "as_markdown", "as_text", "command_of", "entries", "entry_of", "evidence_of", "ids_of",
    "places_of", "row", "row_of", "rows", "sections_of", "since_of", "tally", "under_the_table",
]  # fmt: skip


def rows(section: str | None = None) -> list[Row]:
    """All claims in the paper's order, or those of one section ("3.1", "abstract")."""
    wanted = known_section(section)
    return [row_of(entry) for entry in entries() if wanted in (None, *sections_of(entry))]


def row(claim_id: str) -> Row:
    """One claim by its id, or by that of another place of the paper that makes it too."""
    return row_of(entry_of(claim_id))


def row_of(entry: dict[str, Any]) -> Row:
    """A row of the toml with its status, result and reason computed."""
    decided: dict[str, Any] = {
        "setting": "", "scale": None, "proxy": False, "seeds": 0, "result": "", "reason": entry["note"], "command": "",
        "half_width": None, "seeds_to_decide": None, "declared": "", "first_run": "", "tests": (), "outcome": "",
    }  # fmt: skip
    match entry["fate"]:
        case "arithmetic":
            outcome = getattr(arithmetic, entry["function"])()
            decided |= {"status": outcome.status, "result": outcome.value, "reason": outcome.detail}
            decided["setting"] = "arithmetic"
        case "implemented" | "shown" as status:
            names = [test.rpartition("::test_")[2].replace("_", " ") for test in entry["test"]]
            decided |= {
                "status": status, "result": f"tests: {'; '.join(names)}", "tests": tuple(entry["test"]),
                "setting": "test",
            }  # fmt: skip
        case "experiment":
            decided |= from_experiments(entry)
        case "cited":
            decided |= {"status": "cited", "result": entry["source"], "setting": "cited"}
        case fate:
            status = "needs ImageNet" if fate == "needs ImageNet" else "not tested"
            decided |= {"status": status, "reason": entry["reason"], "command": entry.get("command", "")}
    decided["reason"] = f"{decided['reason']} {besides(entry)}".strip()
    if "computed" in entry and not decided["result"]:
        decided["result"] = getattr(arithmetic, entry["computed"])().detail
    kept = {key: entry[key] for key in ("id", "section", "claim", "kind", "notebook")}
    hedged = decided["scale"] == "sample" and decided["outcome"] in DECIDED
    kept |= {"hedge": entry.get("hedge", "") if hedged else ""}
    kept |= {"caveat": entry.get("caveat", ""), "also": tuple(Place(**place) for place in entry.get("also", []))}
    return Row(**kept, needs=", ".join(entry["needs"]), **decided)


def from_experiments(entry: dict[str, Any]) -> dict[str, Any]:
    """Status, result and setting of a claim that recorded runs decide.

    The largest scale that decides gives the status. A larger undecided one is shown too. Where decided scales
    disagree the status is "mixed".
    """
    ids = ids_of(entry)
    found = list({(v.experiment, v.scale, replace(v.comparison, claim="")): v for v in decide.verdicts(*ids)}.values())
    if not found:
        waiting = f"Planned: experiment {', '.join(entry['experiments'])}."
        return {"status": "planned", "reason": f"{entry['note']} {waiting}".strip()}
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
        "outcome": outcome,
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


def outcome_at(here: Sequence[Verdict], missing: bool) -> Outcome:
    """The outcome of all parts at one scale; a part that is declared and has no runs is undecided."""
    parts = [v.outcome for v in here]
    return verdict.together([*parts, "undecided"] if missing else parts)


def said(found: Sequence[Verdict], outcome: Outcome) -> str:
    """The status of several verdicts together, in words. One proxy among them makes the whole a proxy."""
    effects = " and ".join(f"{each:g}" for each in sorted({v.comparison.smallest_effect for v in found}))
    return in_words(outcome, any(v.proxy for v in found), effects)


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
    named = [(each["experiment"], each["arms"]) for each in entry.get("beside", [])]
    found = [decide.baseline_first(v) for each in named for v in decide.verdicts_beside(*each)]
    told = [f"{v.scale}{' (proxy)' * v.proxy}, n = {v.seeds}: {result_in_words(v)}" for v in found]
    return f"Beside it, deciding nothing: {'; '.join(told)}." if told else ""


def result_in_words(v: Verdict) -> str:
    """The comparison and its value; without a value, a sentence about the arms."""
    return f"{what_of(v)}{' ' if v.has_value else ': '}{v.text}"


def what_of(v: Verdict) -> str:
    """The arms of a comparison, and what of them is compared."""
    return f"{v.comparison.arms}, {metrics.words(v.comparison.metric)}"


def under_the_table() -> str:
    """What holds of all verdicts together: what the intervals cover, and how many false verdicts to expect.

    The error rate holds of every experiment, not of those that are picked because they decide something.
    """
    found = [[v for v in decide.verdicts_of(e.name, e.scale) if v.half_width is not None] for e in declared.DECLARED]
    measured = [each for each in found if each]
    deciding = sum(any(v.outcome != "undecided" for v in each) for each in measured)
    expected = math.ceil(10 * verdict.ALPHA * len(measured)) / 10
    return (
        f"Intervals cover seeds, not test images. In each of the {len(measured)} experiments that have intervals at "
        f"least one is wrong with a probability of at most {100 * verdict.ALPHA:.0f} %. So on average at most "
        f"{expected:.1f} of the {len(measured)} hold a false verdict. It can be none, or several, and it can only be "
        f"among the {deciding} that decide something."
    )
