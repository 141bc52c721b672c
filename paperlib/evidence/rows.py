"""The table of claims: its rows, and the table as text. Nothing here needs torch."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal

from paperlib.errors import PaperlibError

TABLE = Path(__file__).with_name("claims.toml")
Outcome = Literal["holds", "contradicted", "no effect", "undecided", "mixed"]
"""What became of a comparison ("mixed": only of several together)."""
DECIDED = ("holds", "contradicted", "no effect")
"""The outcomes that answer a claim."""


def in_words(outcome: Outcome, proxy: bool, effect: str = "") -> str:
    """The status of an outcome; ``effect`` is the smallest of interest."""
    if outcome in ("undecided", "mixed"):
        return outcome
    if outcome == "holds":
        return "supported (proxy)" if proxy else "reproduced"
    word = f"{outcome} ≥ {effect}" if outcome == "no effect" and effect else outcome
    return f"{word} (proxy)" if proxy else word


@dataclass(frozen=True)
class Place:
    """Where the paper makes a claim."""

    section: str
    id: str


@dataclass(frozen=True)
class Row:
    """One claim with its evidence.

    ``also`` are the further places of the same claim. ``tests`` are those of what is implemented or shown. ``seeds``,
    the fewest of its comparisons, is 0 where no run bears on it, ``scale`` then None; ``outcome`` is what the runs say,
    "" where none is recorded. ``hedge`` follows the status wherever it is shown, and ``caveat`` the result.
    ``half_width`` and ``seeds_to_decide`` are those of an undecided
    claim (of its part that needs most), ``command`` is what would decide one that needs ImageNet. ``declared`` is the
    commit that declared its comparisons, ``first_run`` the day on which the first of their runs began.
    """

    id: str
    section: str
    also: tuple[Place, ...]
    claim: str
    setting: str
    kind: str
    needs: str
    scale: str | None
    proxy: bool
    seeds: int
    result: str
    tests: tuple[str, ...]
    caveat: str
    hedge: str
    status: str
    outcome: Outcome | Literal[""]
    reason: str
    command: str
    half_width: float | None
    seeds_to_decide: int | None
    declared: str
    first_run: str
    notebook: str

    @property
    def word(self) -> str:
        """The status without the smallest effect of interest: "no effect (proxy)"."""
        return in_words(self.outcome, self.proxy) if self.outcome else self.status

    @property
    def said(self) -> str:
        """The status and its hedge: "contradicted (proxy), by a hair"."""
        return ", ".join(filter(None, (self.status, self.hedge)))

    @property
    def reserved(self) -> bool:
        """Whether runs decide it and a caveat goes with what they say."""
        return bool(self.caveat) and self.outcome in DECIDED

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Row:
        """The row that :func:`dataclasses.asdict`, and then JSON, made plain data of."""
        return cls(**{**plain, "also": tuple(Place(**each) for each in plain["also"]), "tests": tuple(plain["tests"])})


@cache
def entries() -> tuple[dict[str, Any], ...]:
    """The rows of claims.toml, unchanged."""
    return tuple(tomllib.loads(TABLE.read_text())["claim"])


def entry_of(claim_id: str) -> dict[str, Any]:
    """The entry of claims.toml with this id, its own or that of another place."""
    for entry in entries():
        if claim_id in ids_of(entry):
            return entry
    raise PaperlibError(f"there is no claim {claim_id!r}; `paperlib claims` lists them")


def ids_of(entry: dict[str, Any]) -> list[str]:
    """The id of a claim, and those of its other places."""
    return [entry["id"], *(place["id"] for place in entry.get("also", []))]


def sections_of(entry: dict[str, Any]) -> list[str]:
    """The sections that make a claim."""
    return [entry["section"], *(place["section"] for place in entry.get("also", []))]


def known_section(section: str | None) -> str | None:
    """The same; raises :class:`PaperlibError` where no claim is in that section."""
    sections = list(dict.fromkeys(entry["section"] for entry in entries()))
    if section is not None and section not in sections:
        raise PaperlibError(f"there is no section {section!r}; the sections are {', '.join(sections)}")
    return section


def tally(table: Sequence[Row]) -> dict[str, int]:
    """How many rows have each status, most frequent first."""
    return dict(Counter(r.status for r in table).most_common())


def evidence_of(r: Row) -> str:
    """Scale and seeds, which never go without each other, and the word proxy where it is one."""
    return f"{r.scale}{' (proxy)' * r.proxy}, n = {r.seeds}" if r.scale else ""


def since_of(r: Row) -> str:
    """When its comparisons were declared, and when their first run began."""
    return "; ".join(part for part in (r.declared, r.first_run) if part)


def places_of(r: Row) -> str:
    """The ids of a claim in all places."""
    return ", ".join([r.id, *(place.id for place in r.also)])


def told_of(r: Row) -> str:
    """The result, else the reason. The command that would decide it comes first: it must not be cut."""
    told = r.result or r.reason
    return f"{command_of(r)} {told}" if r.command else told


def command_of(r: Row) -> str:
    """A sentence with the command that would decide it."""
    return f"To decide it: `{r.command}`."


def as_text(table: Sequence[Row], width: int = 160) -> str:
    """A plain table for a terminal: one line per claim, cut to ``width`` characters."""
    heads = ("id", "section", "status", "scale, seeds", "notebook", "claim / setting: result")
    cells = [
        (
            r.id,
            r.section,
            r.status,
            evidence_of(r),
            r.notebook,
            f"{f'({r.hedge}) ' * bool(r.hedge)}{r.claim} / {r.setting}: {told_of(r)}"
            + (f" (but: {r.caveat})" if r.caveat else ""),
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
    heads = ("id", "claim", "status", "scale, seeds", "declared in; first run on", "result, or reason", "notebook")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for r in table:
        result = (r.result or r.reason) + (f" (But: {r.caveat}.)" if r.caveat else "")
        result += f" {command_of(r)}" if r.command else ""
        notebook = f"[{r.notebook}]({folder}/{r.notebook}.ipynb)" if folder else r.notebook
        cells = (places_of(r), r.claim, r.said, evidence_of(r), since_of(r), result, notebook)
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines)
