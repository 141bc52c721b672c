"""python -m benchmarks [lrn net augment cifar] [--json]: nothing else should run meanwhile; some minutes.

Prints, a line a comparison: median milliseconds of ours and of the alternative, how many times as fast ours is (with
quartiles over the rounds), the aim, and the time at the machine's own rate of matrix products or copies.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from dataclasses import asdict

import torch

from benchmarks.timing import ROUNDS, Result
from paperlib.runs import environment

NAMES = ("lrn", "net", "augment", "cifar")


def line(result: Result) -> str:
    """One comparison in words."""
    aim = f", aim {result.aim:g}" if result.aim else ""
    least = f", at the machine's rate {result.reference:.0f} ms" if result.reference else ""
    return (
        f"{result.what}: {result.ours:.0f} {result.unit} against {result.theirs:.0f} of {result.against}; "
        f"{result.ratio:.2f} times as fast ({result.low:.2f} to {result.high:.2f}{aim}){least}"
    )


def main(arguments: list[str] | None = None) -> int:
    """0; the comparisons go to stdout as they are made, or as JSON at the end."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition(":")[0])
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], metavar="NAME", help=f"of {', '.join(NAMES)}; all")
    parser.add_argument("--json", action="store_true", help="a list of objects, at the end")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="torch's threads (all cores)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if not options.json:
        about = environment()
        print(f"{about['cpu']}, {about['threads']} threads, torch {about['torch']}; median of {ROUNDS} rounds")
    results: list[Result] = []
    for name in options.names or NAMES:
        for result in importlib.import_module(f"benchmarks.{name}").run():
            results.append(result)
            if not options.json:
                print(line(result), flush=True)
    if options.json:
        print(json.dumps([asdict(result) for result in results], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
