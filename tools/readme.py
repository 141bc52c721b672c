"""Write the generated parts of README.md, between <!-- name --> and <!-- /name -->: nothing there is typed by hand.

python tools/readme.py            rewrite them
python tools/readme.py --check    exit 1 where they are not current
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

from paperlib.data import known
from paperlib.evidence import claims, decide, store
from paperlib.experiments import declared, relu
from paperlib.figures import style
from paperlib.training import records

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
COSTS = ROOT / "data" / "recorded" / "notebooks.csv"


def tally() -> str:
    """How many claims have each status, in one sentence."""
    table = claims.rows()
    counts = ", ".join(f"{n} {status}" for status, n in claims.tally(table).items())
    return f"Of {len(table)} rows: {counts}."


def table() -> str:
    """The table of claims, results cut to a line or two; notebook 00 has them whole. And what holds of all of them."""
    return f"{claims.as_markdown(claims.rows(), longest=160)}\n\n{claims.under_the_table()}"


def measured_costs() -> list[dict[str, str]]:
    """The rows of what `make notebooks` measured."""
    with COSTS.open(newline="") as file:
        return list(csv.DictReader(file))


def costs() -> str:
    """What each notebook takes, as `make notebooks` measured it."""
    rows = measured_costs()
    lines = ["| notebook | seconds | memory (GB) |", "|---|---|---|"]
    lines += [f"| [{r['notebook']}](notebooks/{r['notebook']}) | {r['seconds']} | {r['gigabytes']} |" for r in rows]
    return "\n".join(lines)


def hours() -> str:
    """What `make reproduce` takes: the recorded times of the runs that it trains, and of the notebooks."""
    there = [(name, scale) for scale in known.EMBEDDED for name in declared.names(scale)]
    trained = {  # a run that several experiments share is trained once
        lines[0]["id"]: ends[-1]["seconds"]
        for place in there if not declared.get(*place).sweep
        for _, seed, lines in store.records_of(*place) if seed == 0 and (ends := records.of_kind(lines, "epoch"))
    }  # fmt: skip
    minutes = sum(trained.values()) / 60
    notebooks = sum(float(row["seconds"]) for row in measured_costs()) / 60
    return (
        f"By the recorded times `make reproduce` trains {minutes:.0f} minutes and executes notebooks for "
        f"{notebooks:.0f}, each on one core; it uses two (`JOBS=2`)."
    )


def figure1() -> str:
    """What Figure 1 came to, a sentence a scale."""
    sentences = []
    for scale in ("cifar10", "sample"):
        for v in (v for name in ("relu", "relu-others") for v in decide.verdicts_of(name, scale)):
            if v.comparison.claim in ("S3.1-b.1", "") and relu.ARMS[v.comparison.b].unit == "tanh":
                setting = relu.ARMS[v.comparison.a].setting
                found = v.sentence("tanh takes {} as many updates as ReLU")
                sentences.append(
                    f"- {style.SCALE_NAMES[scale]}, setting of {setting}: {found}, n = {v.seeds} ({v.status})."
                )
    return "\n".join(sentences) or "- nothing recorded yet"


def training() -> str:
    """What the whole training on Tiny ImageNet came to, a sentence for each end of it that is recorded."""
    sentences = []
    for _, _, lines in store.records_of("full", "tinyimagenet"):
        epochs = store.epochs_of(lines)
        views = {  # of the weights as they are recorded
            views: f"{errors['top1_error']:.2f} and {errors['top5_error']:.2f} %"
            for line in records.of_kind(lines, "look") for views, errors in line["errors"].items()
        }  # fmt: skip
        sentences.append(
            f"- {len(epochs)} epochs, one seed; {store.schedule(epochs)}: "
            f"{views['10']} in ten views, {views['1']} in the centre one."
        )
    return "\n".join(sentences) or "- nothing recorded yet"


def reading() -> str:
    """How fast batches come from prepared images of both kinds, as `make bench` measured it."""
    measured = json.loads((ROOT / "benchmarks" / "results.json").read_text())
    machine = (ROOT / "benchmarks" / "results.txt").read_text().split(", torch")[0]
    speed = {
        kind: next(r["ours"] for r in measured if f"from {kind} packed" in r["what"]) for kind in ("JPEG", "uint8")
    }
    return (
        f"Training batches, cropped and changed, came at {speed['JPEG']:,.0f} images/s from packed JPEG and at "
        f"{speed['uint8']:,.0f} from raw ({machine}): raw is for GPUs that would wait. Preparing tells its own speed."
    )


PARTS: dict[str, Callable[[], str]] = {
    "tally": tally, "hours": hours, "claims": table, "costs": costs, "figure1": figure1, "training": training,
    "reading": reading,
}  # fmt: skip


def render(text: str) -> str:
    """README's text with every generated part current. Raises ValueError where a mark is missing."""
    for name, part in PARTS.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", re.DOTALL)
        if len(pattern.findall(text)) != 1:
            raise ValueError(f"README.md must have exactly one part <!-- {name} --> … <!-- /{name} -->")
        content = part()
        text = pattern.sub(lambda found, content=content: found[1] + content + found[2], text)
    return text


def main(arguments: list[str] | None = None) -> int:
    """0 where README is (now) current, 1 where --check finds that it is not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing")
    options = parser.parse_args(arguments)
    old = README.read_text()
    new = render(old)
    if options.check:
        return int(new != old)
    README.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
