"""python -m benchmarks [NAME ...] [--json | --keep | --draw]: nothing else should run meanwhile; some minutes.

Prints, a line a comparison: medians of ours and of the alternative, how many times as fast ours is (with quartiles
over the rounds), the aim, and what the machine does at its own rate of matrix products or copies, or decoding alone.
`python -m benchmarks gpu` is another one, for a machine with a GPU; `gpu --help` describes it.
With --keep the lines also go into results.txt, the numbers into results.json, and both into figures/benchmarks.png.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict

import torch

from benchmarks import draw
from benchmarks.timing import ROUNDS, Result
from paperlib.files import write_whole
from paperlib.training.loop import keep_freed_memory
from paperlib.training.records import environment

NAMES = ("lrn", "net", "data", "augment", "cifar", "towers", "growth")


def within_reach(result: Result) -> str:
    """The largest ratio that the reference allows, and what share of it the aim and ours are."""
    assert result.reference
    bound = result.reference / result.theirs if result.unit == "images/s" else result.theirs / result.reference
    if result.aim and result.aim > bound:
        return (
            f"so at most {bound:.2f} times: the aim is out of reach, ours is {100 * result.ratio / bound:.0f} % of it"
        )
    aimed = result.aimed_share or (result.aim and result.aim / bound)
    aim = f"the aim is {100 * aimed:.0f} % of it, " if aimed else ""
    return f"so at most {bound:.2f} times: {aim}ours {100 * result.ratio / bound:.0f} %"


def line(result: Result) -> str:
    """One comparison in words."""
    quartiles = f"{result.low:.2f} to {result.high:.2f}"
    if result.unit == "%":
        return f"{result.what}: {result.ours:.0f} % of {result.against} (1 in {result.ratio:.2f}; {quartiles})"
    aim = f", aim {result.aim:g}" if result.aim else ""
    least = ""
    if result.reference:
        what = "decoding alone" if result.unit == "images/s" else "at the machine's rate"
        least = f", {what} {result.reference:.0f} {result.unit}, {within_reach(result)}"
    return (
        f"{result.what}: {result.ours:.0f} {result.unit} against {result.theirs:.0f} of {result.against}; "
        f"{result.ratio:.2f} times as fast ({quartiles}{aim}){least}"
    )


def measure(names: Iterable[str], say: Callable[[str], object]) -> list[Result]:
    """All comparisons of these files; says the machine and each result as it is made."""
    about = environment()
    say(f"{about['cpu']}, {about['threads']} threads, torch {about['torch']}; median of {ROUNDS} rounds")
    results: list[Result] = []
    for name in names:
        for result in importlib.import_module(f"benchmarks.{name}").run():
            results.append(result)
            say(line(result))
    return results


def main(arguments: list[str] | None = None) -> int:
    """0; the comparisons go to stdout as they are made, or as JSON at the end."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["gpu"]:
        return importlib.import_module("benchmarks.gpu").main(arguments[1:])
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition(":")[0])
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], metavar="NAME", help=f"of {', '.join(NAMES)}; all")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="torch's threads (all cores)")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="a list of objects, at the end")
    how.add_argument("--keep", action="store_true", help="measure all, write results.txt and results.json, and draw")
    how.add_argument("--draw", action="store_true", help="measure nothing, draw what was kept")
    options = parser.parse_args(arguments)
    if options.names and (options.keep or options.draw):
        parser.error("what is kept and drawn is the whole: give no names")
    if not options.draw:
        torch.set_num_threads(options.threads)
        keep_freed_memory()  # as training does; for both sides, which share the process
        lines: list[str] = []

        def say(text: str) -> None:
            lines.append(text)
            if not options.json:
                print(text, flush=True)

        results = measure(options.names or NAMES, say)
        as_json = json.dumps([asdict(result) for result in results], indent=1)
        if options.json:
            print(as_json)
        if options.keep:
            write_whole(draw.KEPT.with_suffix(".txt"), ("\n".join(lines) + "\n").encode())
            write_whole(draw.KEPT, (as_json + "\n").encode())
    if options.keep or options.draw:
        for path in draw.draw(draw.FIGURES, draw.KEPT):
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
