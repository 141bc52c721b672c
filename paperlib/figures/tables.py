"""Tables 1 and 2 of the paper, with the authors' notes and our runs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from paperlib.evidence import store
from paperlib.experiments import declared
from paperlib.experiments.scales import SCALES
from paperlib.figures.style import markdown_table
from paperlib.paper import facts
from paperlib.training import records


@dataclass
class Table:
    """A table: its rows as a tidy frame, and a title."""

    data: pd.DataFrame
    title: str

    def markdown(self) -> str:
        """The table in Markdown."""
        return f"{self.title}\n\n{in_markdown(self.data)}\n"


def in_markdown(frame: pd.DataFrame) -> str:
    """Some rows in Markdown; a dash where there is no number."""
    rows = frame.astype(object).where(frame.notna(), "–")
    return markdown_table(list(rows.columns), rows.values.tolist())


COLUMNS = ["whose", "what", "data", "views", "top-1 error (%)", "top-5 error (%)", "nets averaged", "repeats"]
Entry = tuple[str, str, str, str | None, float | None, float | None, int | None, int | None]
VIEWS = {10: "ten", 1: "centre", None: None}  # Number of views -> what the column says; None where nobody says it
AUTHORS, NOTES, OTHERS, OURS = "the paper", "run notes of 2012", "later", "here (proxy)"


def table_of(rows: Sequence[Entry], title: str) -> Table:
    """The rows as a table."""
    return Table(pd.DataFrame(rows, columns=COLUMNS).astype({"nets averaged": "Int64", "repeats": "Int64"}), title)


def from_note(log: facts.RunLog) -> Entry:
    """A run note of the authors as a row."""
    return NOTES, f"#{log.net}: {log.what}", log.data, VIEWS[log.views], log.top1, log.top5, 1, 1


def recorded_errors(name: str, arm: str, what: str, views: str, *keys: str, scale: str = "sample") -> list[Entry]:
    """A row with the mean top-1 and top-5 error over the recorded runs of an arm; no row where there are none.

    ``keys`` name the two errors in the record's line for ``views`` (ten or centre), or of its ensemble.
    """
    kind, number = ("ensemble", 10) if "ensemble" in views else ("test", {"ten": 10, "centre": 1}[views])
    lines = [
        line
        for of, _, record in store.records_of(name, scale) if of == arm
        for line in records.of_kind(record, kind) if line["views"] == number
    ]  # fmt: skip
    if not lines:
        return []
    top1, top5 = (round(sum(line[key] for line in lines) / len(lines), 2) for key in keys or ERRORS)
    classes = declared.get(name, scale).sizes.classes
    members = len(lines[0].get("members", [0]))
    single = keys == OF_MEMBERS
    nets, repeats = (1, members * len(lines)) if single else (members, len(lines))
    shown = "ten" if kind == "ensemble" else views
    data_name, few = SCALES[scale].title, classes <= 5  # then the five best are all there are
    return [(OURS, what, data_name, shown, top1, None if few else top5, nets, repeats)]


ERRORS = ("top1_error", "top5_error")
SMALL = ("sample", "cifar10")  # The scales of our rows, proxies all
OF_MEMBERS = ("mean_top1_error", "mean_top5_error")


def table1() -> Table:
    """Table 1 of the paper, the authors' own notes on it, and the same two rows of ours at our scales."""
    rows: list[Entry] = [
        (
            AUTHORS,
            row.model,
            facts.TEST10,
            "ten" if row.ours else None,
            row.test_top1,
            row.test_top5,
            row.nets or None,
            None,
        )
        for row in facts.TABLE1
    ]
    rows += [(AUTHORS, "CNN (footnote 5)", facts.TEST10, "centre", *facts.CENTRE_VIEW, 1, None)]
    rows += [from_note(log) for log in facts.RUN_LOGS if log.data in (facts.TEST10, facts.VAL10)]
    for scale in SMALL:
        rows += recorded_errors("net", "baseline", "the small net, mean of the baseline's nets", "ten", scale=scale)
        rows += recorded_errors("net", "baseline", "the same nets", "centre", scale=scale)
    for (arm, _, lines), views in itertools.product(store.records_of("full", "tinyimagenet"), ("ten", "centre")):
        epochs = store.epochs_of(lines)
        what = (
            f"half the net of the paper, images of 64 pixels, 200 classes, {len(epochs)} epochs; "
            f"{store.schedule(epochs)}"
        )
        rows += recorded_errors("full", arm, what, views, scale="tinyimagenet")
    return table_of(rows, "Table 1, and what compares with it")


def table2() -> Table:
    """Table 2 of the paper, the authors' notes, the contest, later trainings by others, and ours."""
    rows: list[Entry] = []
    for row in facts.TABLE2:
        if row.val_top1 is not None:
            rows.append((AUTHORS, row.model, facts.VAL12, "ten", row.val_top1, row.val_top5, row.nets, None))
        if row.test_top5 is not None:
            test = "ILSVRC-2012 test"
            rows.append(
                (AUTHORS, row.model, test, "ten" if row.ours else None, None, row.test_top5, row.nets or None, None)
            )
    rows += [from_note(log) for log in facts.RUN_LOGS if log.data == facts.VAL12 and log.top1 is not None]
    rows += [
        (f"contest page: {entry.team}", ", ".join(entry.members) or "several classifiers", "ILSVRC-2012 test",
         None, None, entry.top5, len(entry.members) or None, None)
        for entry in facts.CONTEST_2012
    ]  # fmt: skip
    rows += [
        (f"{OTHERS}: {each.who}", each.differences, each.data, VIEWS[each.views],
         each.top1, each.top5, 1, None)
        for each in facts.REPRODUCTIONS
    ]  # fmt: skip
    for scale in SMALL:
        single, five = "the small net, mean of the nets that are averaged below", "the average of five of them"
        rows += recorded_errors("ensemble", "five nets", single, "ensemble", *OF_MEMBERS, scale=scale)
        rows += recorded_errors("ensemble", "five nets", five, "ensemble", scale=scale)
    for arm in declared.PRETRAIN.arms:
        rows += recorded_errors("pretrain", arm, f"sixth convolution, five classes, {arm}", "ten")
    return table_of(rows, "Table 2, and what compares with it")
