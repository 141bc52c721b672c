"""Write what is computed in README.md, CLAIMS.md and book/*.md: nothing there is typed by hand.

python tools/readme.py            rewrite it
python tools/readme.py --check    exit 1 where it is not current

A generated part is between <!-- name --> and <!-- /name -->. CLAIMS.md is generated as a whole.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from collections import Counter
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import reproduce

from paperlib.evidence import claims, decide, store
from paperlib.experiments import declared, relu
from paperlib.figures import labels, style
from paperlib.paper import facts
from paperlib.training import records

ROOT = Path(__file__).resolve().parent.parent
COSTS = ROOT / "data" / "recorded" / "notebooks.csv"
CLAIMS = "CLAIMS.md"


FATES = {
    "experiment": "compare nets, which we did at a smaller scale", "arithmetic": "are arithmetic",
    "implemented": "say what was done, and are implemented here, with tests",
    "shown": "follow from a formula, with tests", "needs ImageNet": "need ImageNet",
    "cited": "rest on sources that we cite", "not run": "are not tested", "no measure": "are not tested",
}  # fmt: skip
"""What decides a claim, by claims.toml, in words."""


def tally() -> str:
    """How many claims there are of each kind, and what became of them, in words."""
    table = claims.rows()
    kinds: dict[str, list[str]] = {kind: [] for kind in FATES.values()}
    for row in table:
        kinds[FATES[claims.entry_of(row.id)["fate"]]].append(row.status)
    sentences = []
    for kind, statuses in kinds.items():
        counts = [f"{n} {status}" for status, n in Counter(statuses).most_common()]
        sentences.append(f"{len(statuses)} {kind}{': ' + ', '.join(counts) if len(counts) > 1 else ''}.")
    return f"Of {len(table)} claims " + " ".join(sentences)


def found() -> str:
    """What came out, in six points."""
    table = claims.rows()
    by_status = {status: [r for r in table if r.status == status] for status in claims.tally(table)}
    exact, rounded = (len(by_status.get(status, [])) for status in ("exact", "rounding"))
    slips = {
        status: "; ".join(f"{r.id}: {r.result}" for r in by_status.get(status, []))
        for status in ("erratum", "imprecise")
    }
    measured = [r for r in table if r.scale]
    decided = [r for r in measured if r.status != "undecided"]
    waiting = len(by_status.get("planned", []))
    overfit = [v for claim in ("S4.1-c.1", "S4.2-d") for v in decide.verdicts(claim) if v.has_value]
    points = [
        f"**Counting.** {exact} statements of the paper are exact, {rounded} right if digits are cut off, "
        f"{len(by_status.get('erratum', []))} are slips ({slips['erratum']}), and "
        f"{len(by_status.get('imprecise', []))} are imprecise ({slips['imprecise']}).",
        "**ReLU (Figure 1).** " + " ".join(figure1_sentences()),
        f"**One idea at a time.** {ideas('cifar10')}",
        "**Overfitting.** "
        + " ".join(
            f"On {style.SCALE_NAMES[v.scale]} the gap between test and training error without "
            f"{v.comparison.b.removeprefix('no ')} is larger by {v.text}, n = {v.seeds} ({v.status})."
            for v in overfit
        ),
        f"**All measured claims.** Of {len(measured) + waiting} that an experiment can decide, {len(decided)} are "
        f"decided and {len(measured) - len(decided)} undecided{f'; {waiting} are still without runs' * bool(waiting)}. "
        f"[CLAIMS.md]({CLAIMS}) says what would decide each.",
        "**The whole training, on Tiny ImageNet (proxy, one seed).** " + " ".join(training_sentences()),
    ]
    return "\n".join(f"- {point}" for point in points)


def ideas(scale: str) -> str:
    """Which changes of the baseline raise the test error at a scale, which lower it, and how many are undecided."""
    base = declared.get("net", scale)
    found = {
        v.comparison.b: v for e in declared.DECLARED if (e.scale, e.stop) == (scale, base.stop)
        for v in decide.verdicts_of(e.name, scale)
        if v.comparison.b and (v.comparison.a, v.comparison.metric) == (base.control, "test_error")
    }  # fmt: skip
    told, left = [], len(found)
    for word, sign in (("Higher", 1), ("Lower", -1)):
        outside = [v for v in found.values() if sign * v.low > 0 and sign * v.high > 0]
        each = "; ".join(f"{labels.PLAIN.get(v.comparison.b, v.comparison.b)} {v.text}" for v in outside)
        told += [f"{word} with: {each}."] if each else []
        left -= len(outside)
    return (
        f"Test errors after {base.stop.epochs} epochs on {style.scale_name(scale)}, each minus the "
        f"baseline's. {' '.join(told)} {left} more changes are undecided."
    )


def measured_costs() -> list[dict[str, str]]:
    """The rows of what `make notebooks` measured."""
    with COSTS.open(newline="") as file:
        return list(csv.DictReader(file))


def costs() -> str:
    """What each notebook takes, as `make notebooks` measured it."""
    lines = ["| notebook | seconds | memory (GB) |", "|---|---|---|"]
    lines += [
        f"| [{r['notebook']}](../notebooks/{r['notebook']}) | {r['seconds']} | {r['gigabytes']} |"
        for r in measured_costs()
    ]
    return "\n".join(lines)


def minutes() -> str:
    """What `make reproduce` takes: the recorded times of the runs that it trains, and of the notebooks."""
    runs, notebooks = reproduce.seconds_of(reproduce.core_runs()), reproduce.seconds_of(reproduce.notebooks())
    return (
        f"By the recorded times `make reproduce` trains for {runs / 60:.1f} minutes and executes notebooks for "
        f"{notebooks / 60:.1f}, each on one core. It uses two (`JOBS=2`). Making the environment comes on top, once."
    )


def hours() -> str:
    """What `make reproduce-all` takes, by the recorded times of its runs."""
    runs = reproduce.all_runs()
    return (
        f"`make reproduce-all` trains the first seed of all {len(runs)} runs that need no download: "
        f"{reproduce.seconds_of(runs) / 60:.0f} minutes on one core, by the recorded times."
    )


def figure1_sentences() -> list[str]:
    """What Figure 1 came to, a sentence for each scale, setting and training error to which it was timed."""
    found = [
        v for scale in ("cifar10", "sample") for name in ("relu", "relu-25", "relu-others")
        if name in declared.names(scale) for v in decide.verdicts_of(name, scale)
        if v.comparison.claim in ("S3.1-b.1", "") and relu.ARMS[v.comparison.b].unit == "tanh"
    ]  # fmt: skip
    sentences = []
    for v in found:
        stop = declared.get(v.experiment, v.scale).stop.threshold
        to = facts.FIGURE1.training_error if v.comparison.metric == "updates_to_25" else stop
        took = v.sentence(f"to {to:g} % training error tanh takes {{}} as many updates as ReLU")
        setting = relu.ARMS[v.comparison.a].setting
        sentences.append(f"{style.SCALE_NAMES[v.scale]}, setting of {setting}: {took}, n = {v.seeds} ({v.word}).")
    return sentences or ["Nothing is recorded yet."]


def training_sentences() -> list[str]:
    """What the whole training on Tiny ImageNet came to, a sentence for each end of it that is recorded."""
    sentences = []
    for arm, _, lines in store.records_of("full", "tinyimagenet"):
        epochs = store.epochs_of(lines)
        views = {
            line["views"]: f"{line['top1_error']:.2f} and {line['top5_error']:.2f} %"
            for line in records.of_kind(lines, "test")
        }
        later = ", by a decision made after the first result was known" if arm == "by hand" else ""
        sentences.append(
            f"{len(epochs)} epochs ({store.schedule(epochs)}{later}): top-1 and top-5 error {views[10]} in ten "
            f"views, {views[1]} in the centre view."
        )
    return sentences or ["Nothing is recorded yet."]


def as_list(sentences: Callable[[], list[str]]) -> Callable[[], str]:
    """A point for each sentence."""
    return lambda: "\n".join(f"- {sentence}" for sentence in sentences())


def reading() -> str:
    """How fast batches come from prepared images of both kinds, as `make bench` measured it."""
    measured = json.loads((ROOT / "benchmarks" / "results.json").read_text())
    machine = (ROOT / "benchmarks" / "results.txt").read_text().split(", torch")[0]
    speed = {
        kind: next(r["ours"] for r in measured if f"from {kind} packed" in r["what"]) for kind in ("JPEG", "uint8")
    }
    return (
        f"Training batches, cropped and changed, came at {speed['JPEG']:,.0f} images/s from packed JPEG and at "
        f"{speed['uint8']:,.0f} from raw ({machine}). Raw is for GPUs that would wait. `prepare` prints its own speed."
    )


PARTS: dict[str, Callable[[], str]] = {
    "tally": tally, "found": found, "minutes": minutes, "hours": hours, "costs": costs, "reading": reading,
    "figure1": as_list(figure1_sentences), "training": as_list(training_sentences),
}  # fmt: skip
MARKED = re.compile(r"(<!-- (\w+) -->\n)(.*?)(<!-- /\2 -->)", re.DOTALL)


def claims_page() -> str:
    """CLAIMS.md: the whole table, section by section."""
    head = (
        "# The claims of the paper\n\n"
        "Generated by `tools/readme.py` from the records; nobody types a status. "
        "[00_claims](notebooks/00_claims.ipynb) explains what each status means. In a terminal: `paperlib claims`, "
        "`paperlib claims --section 3.1`, `paperlib claims --json`. The web edition (`make book`) has filters.\n\n"
        "`exact`, `rounding`, `imprecise` and `erratum` are arithmetic. `(proxy)` is a measurement at a smaller scale "
        "than the paper's. The largest scale with records decides a row. Above zero the first of two nets is better, "
        "or the claim's direction holds. A bound is the weakest of its seeds'.\n"
    )
    parts = [head, f"{tally()} {claims.under_the_table()}\n"]
    for section, rows in groupby(claims.rows(), lambda row: row.section):
        title = section.capitalize() if section == "abstract" else f"Section {section}"
        parts.append(f"## {title}\n\n{claims.as_markdown(list(rows), 'notebooks')}\n")
    return "\n".join(parts)


def marked_files() -> list[Path]:
    """The files that may have generated parts."""
    return [ROOT / "README.md", *sorted((ROOT / "book").glob("*.md"))]


def render(text: str) -> str:
    """A text with every generated part current. Raises ValueError for a part that nobody generates."""

    def current(found: re.Match[str]) -> str:
        if found[2] not in PARTS:
            raise ValueError(f"no part is called {found[2]!r}; the parts are {', '.join(PARTS)}")
        return f"{found[1]}{PARTS[found[2]]()}\n{found[4]}"

    return MARKED.sub(current, text)


def generated() -> dict[Path, str]:
    """Each file with something generated -> its current text."""
    return {path: render(path.read_text()) for path in marked_files()} | {ROOT / CLAIMS: claims_page()}


def main(arguments: list[str] | None = None) -> int:
    """0 where all is (now) current, 1 where --check finds that something is not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing")
    options = parser.parse_args(arguments)
    stale = {path: text for path, text in generated().items() if not path.exists() or path.read_text() != text}
    for path, text in stale.items():
        print(path.relative_to(ROOT))
        if not options.check:
            path.write_text(text)
    return int(options.check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
