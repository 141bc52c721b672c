"""How the cost of an update grows with the batch, with the image, and from net to net; with processes: towers.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.net import least_time, step_of, stock_modules
from benchmarks.timing import ROUNDS, Result, compare, matmul_rate
from paperlib.nets import table
from paperlib.nets.sizes import EVIDENCE_SIZES, FULL_SIZES, TINY_SIZES
from paperlib.recipe import Recipe, Sizes

BATCHES = (8, 16, 32, 64, 128)
CROPS = (24, 56, 112, 224)
BATCH = 8  # where something else grows
NETS = {"evidence net": EVIDENCE_SIZES, "net for Tiny ImageNet": TINY_SIZES, "full net": FULL_SIZES}


def update(what: str, sizes: Sizes, batch: int, rate: float, rounds: int) -> Result:
    """An update of the paper's net in these sizes, data not included."""
    model = Recipe.paper().model
    ours, theirs = (table.build(model, sizes, 0) for _ in range(2))
    return compare(
        what, "the same net from stock modules, NCHW", step_of(ours, True, batch, sizes),
        step_of(stock_modules(theirs), False, batch, sizes), reference=least_time(model, sizes, batch, rate),
        rounds=rounds,
    )  # fmt: skip


def run(rounds: int = ROUNDS) -> Iterator[Result]:
    """Each text ends in what grows; ``benchmarks.draw`` reads it there."""
    rate = matmul_rate()
    for batch in BATCHES:
        yield update(f"update of the evidence net, 24x24 pixels, batch {batch}", EVIDENCE_SIZES, batch, rate, rounds)
    for crop in CROPS:
        sizes = replace(EVIDENCE_SIZES, crop=crop)
        yield update(f"update of the evidence net, batch {BATCH}, {crop}x{crop} pixels", sizes, BATCH, rate, rounds)
    for name, sizes in NETS.items():
        what = f"update of the {name}, at its own size, batch {BATCH}, {sizes.crop}x{sizes.crop} pixels"
        yield update(what, sizes, BATCH, rate, rounds)
