"""python -m benchmarks gpu [--device cpu --quick] [--json FILE]: what a GPU computes, and how fast, in 8 minutes.

Whether it computes what the CPU does, whether a run resumes, images/s of the full net in several ways, of the data
that feed it, memory, and hours of the paper's 90 epochs. A part that fails says so, and the next one runs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import cifar
from benchmarks import data as files
from benchmarks.net import stock_modules
from paperlib.data import pack, packed
from paperlib.data.batches import Batches, Parts
from paperlib.files import write_whole
from paperlib.nets import sizes, table
from paperlib.nets.layers import set_step
from paperlib.nets.lrn import LocalResponseNorm, SpatialResponseNorm, local_response_norm
from paperlib.paper import facts
from paperlib.recipe import Recipe, Sizes, Stop
from paperlib.training import evaluate, loop, records
from paperlib.training.journal import Journal
from paperlib.training.precision import Precision, forward_in, use_precision
from paperlib.training.runs import Run

BUDGET = 7 * 60.0
"""Seconds after which no part begins."""


@dataclass(frozen=True)
class Row:
    """One number, or the reason why there is none."""

    part: str
    what: str
    value: float | None
    unit: str
    error: str = ""


@dataclass
class Bench:
    """What is measured on: the paper's net with batches of 128, or, to rehearse, a small net with few images."""

    device: str
    quick: bool

    @property
    def sizes(self) -> Sizes:
        return sizes.EVIDENCE_SIZES if self.quick else sizes.FULL_SIZES

    @property
    def batch(self) -> int:
        return 8 if self.quick else 128

    def training(self, device: str, precision: Precision = "fp32") -> loop.Training:
        """The paper's run before its first update, on made-up images."""
        data = cifar.made_up(self.sizes, self.batch)
        recipe = Recipe.paper().but(**{"optim.batch_size": self.batch, "model.init": "gain_matched"})
        run = Run(recipe, self.sizes, Stop(epochs=1), data.fingerprint, 0)
        parts, journal = Parts.of(data, run.sizes, run.stop), Journal(records.first_line(run, data.name))
        return loop.prepare(run, parts, journal, device=device, precision=precision)

    def rate(self, work: Callable[[], object]) -> float:
        """Images/s of a work on one batch, after a few calls that do not count."""
        for _ in range(1 if self.quick else 5):
            work()
        done, begun = 0, self.now()
        while done < 2 or self.now() - begun < (0.2 if self.quick else 4.0):
            for _ in range(1 if self.quick else 10):
                work()
                done += 1
        return done * self.batch / (self.now() - begun)

    def now(self) -> float:
        """The time when the device has done all that it was asked."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


Numbers = Iterator[tuple[str, Callable[[], float], str]]
"""What is measured, how, and its unit."""


def difference(one: Any, other: Any) -> float:
    """The largest difference of two tensors, as a share of the largest number in them."""
    a, b = (each.detach().double().cpu() for each in (one, other))
    return float((a - b).abs().max() / a.abs().max().clamp(min=1e-30))


def equality(bench: Bench) -> Numbers:
    """The CPU and the device, from the same weights and images."""

    def update() -> float:
        both = [bench.training(device) for device in ("cpu", bench.device)]
        for each in both:
            loop.update(each, *next(iter(each.batches.of_epoch(0))), 0.01, 0)
        return max(map(difference, *([*each.net.parameters()] for each in both)))

    def passes(backward: bool) -> float:
        found: list[list[Tensor]] = []
        for device in ("cpu", bench.device):
            training = bench.training(device)
            inputs, labels = next(iter(training.batches.of_epoch(0)))
            set_step(training.net.train(), 0, 0)
            logits = training.net(inputs)
            F.cross_entropy(logits, labels).backward()
            gradients = [p.grad for p in training.net.parameters() if p.grad is not None]
            found.append(gradients if backward else [logits])
        return max(map(difference, *found))

    def augmentation(views: bool) -> float:
        found = []
        for device in ("cpu", bench.device):
            training = bench.training(device)
            images = training.parts.train[0][:8].to(device)
            augmenter = training.batches.augmenter
            augmenter.start_epoch(0, 0, bench.batch)
            found.append(augmenter.test_views(images) if views else augmenter.train_batch(images, torch.arange(8)))
        return difference(*found)

    def normalisation(norm: Callable[[Tensor], Tensor], form: torch.memory_format) -> float:
        found = []
        for device in ("cpu", bench.device):
            x = 50 * torch.randn(4, 96, 27, 27, generator=torch.Generator().manual_seed(0))
            x = x.to(device).to(memory_format=form).requires_grad_()
            y = norm(x)
            y.square().sum().backward()
            assert x.grad is not None
            found.append(torch.stack([y, x.grad]))
        return difference(*found)

    def evaluation(views: int) -> float:
        found = []
        for device in ("cpu", bench.device):
            training = bench.training(device)
            images = training.parts.train[0][:8].to(device)
            found.append(evaluate.predict(training.net, training.batches.augmenter, images, views))
        return difference(*found)

    share = "of the largest"
    yield "forward pass", lambda: passes(False), share
    yield "gradients", lambda: passes(True), share
    yield "weights after one update", update, share
    norms = {"formula": local_response_norm, "layer": LocalResponseNorm(groups=2), "pixels": SpatialResponseNorm()}
    for name, norm in norms.items():
        for form in (torch.contiguous_format, torch.channels_last):
            what = f"normalisation, {name}, {str(form).removeprefix('torch.')}"
            yield what, lambda norm=norm, form=form: normalisation(norm, form), share  # type: ignore[misc]
    yield "a training batch", lambda: augmentation(False), share
    yield "ten views of images", lambda: augmentation(True), share
    yield "probabilities, centre view", lambda: evaluation(1), share
    yield "probabilities, ten views", lambda: evaluation(10), share


def resume(bench: Bench) -> Numbers:
    """A run that is interrupted after 5 of 8 updates, and one that is not."""

    def resumed() -> float:
        data = cifar.made_up(n=64)
        recipe = cifar.RECIPE.but(**{"optim.batch_size": 16})
        run = Run(recipe, sizes.EVIDENCE_SIZES, Stop(epochs=2), data.fingerprint, 0)
        whole = loop.fit(run, data, device=bench.device).net
        with tempfile.TemporaryDirectory() as folder:
            left = iter([True] * 5)
            where = Path(folder) / run.id
            with contextlib.suppress(loop.Interrupted):
                how: dict[str, Any] = {"checkpoint_seconds": 0.0, "keep_going": lambda: next(left, False)}
                loop.fit(run, data, where, device=bench.device, **how)
            again = loop.fit(run, data, where, device=bench.device).net
        return max(map(difference, whole.parameters(), again.parameters()))

    yield "weights of a resumed run and of one that was not interrupted", resumed, "of the largest"


def speed(bench: Bench) -> Numbers:
    """Whole updates on a batch that is on the device already."""
    import torchvision  # here: torchvision imports torch's compiler

    def ours(precision: Precision = "fp32", form: Any = torch.channels_last, compiled: bool = False) -> float:
        training = bench.training(bench.device, precision)
        inputs, labels = next(iter(training.batches.of_epoch(0)))
        training.net.to(memory_format=form)
        if compiled:
            training.net.compile(backend="eager" if bench.quick else "inductor")
        use_precision(precision)
        try:
            with warnings.catch_warnings(action="ignore", category=UserWarning):  # where Dynamo breaks its graph
                return bench.rate(lambda: loop.update(training, inputs.to(memory_format=form), labels, 1e-6, 0))
        finally:
            use_precision("fp32")

    def theirs(net: nn.Module, precision: Precision = "fp32") -> float:
        net = net.to(bench.device).train()
        side, classes = (224, 1000) if isinstance(net, torchvision.models.AlexNet) else (bench.sizes.crop, 10)
        inputs = torch.randn(bench.batch, 3, side, side).to(bench.device)
        labels = torch.randint(0, classes, (bench.batch,)).to(bench.device)
        optimiser = torch.optim.SGD(net.parameters(), lr=1e-6, momentum=0.9, weight_decay=5e-4)

        def update() -> float:
            set_step(net, 0, 0)
            optimiser.zero_grad()
            with forward_in(precision, bench.device):
                loss = F.cross_entropy(net(inputs), labels)
            loss.backward()
            optimiser.step()
            return loss.item()

        return bench.rate(update)

    unit = "images/s"
    precisions: tuple[Precision, ...] = ("fp32", "tf32", "bf16")
    for precision in precisions:
        yield f"ours, {precision}, channels_last", lambda p=precision: ours(p), unit  # type: ignore[misc]
    yield "ours, fp32, contiguous", lambda: ours(form=torch.contiguous_format), unit
    yield "ours, fp32, compiled", lambda: ours(compiled=True), unit
    yield "ours, bf16, compiled", lambda: ours("bf16", compiled=True), unit
    model = Recipe.paper().model
    yield (
        "the same net from stock modules, fp32",
        lambda: theirs(stock_modules(table.build(model, bench.sizes, 0))),
        unit,
    )
    yield "torchvision's alexnet (another net, no LRN), fp32", lambda: theirs(torchvision.models.alexnet()), unit
    yield "torchvision's alexnet, bf16", lambda: theirs(torchvision.models.alexnet(), "bf16"), unit


def feed(bench: Bench) -> Numbers:
    """Augmented batches of packed 256x256 images on the device, with nothing trained on them."""
    batch, n = (4, 12) if bench.quick else (128, 1280)

    def fed(store: packed.Store) -> float:
        with tempfile.TemporaryDirectory() as name:
            source, folder = Path(name) / "files", Path(name) / store
            files.made_up(source, n)
            files.made_up(source, files.CLASSES, "val")  # which a prepared set must have
            pack.prepare_folder(source, folder, store=store, jobs=1 if bench.quick else None, progress=False)
            data = packed.load(folder)
            full = replace(sizes.FULL_SIZES, classes=max(len(data.classes), 10))
            recipe = Recipe.paper().but(**{"optim.batch_size": batch})
            batches = Batches(Parts.of(data, full, Stop(epochs=1)), recipe, 0, device=bench.device)
            done, begun = 0, bench.now()
            for epoch in range(1 if bench.quick else 2):
                for inputs, _ in batches.of_epoch(epoch):
                    done += len(inputs)
            return done / (bench.now() - begun)

    yield "from packed JPEG", lambda: fed("jpeg"), "images/s"
    yield "from packed uint8", lambda: fed("raw"), "images/s"


def memory(bench: Bench) -> Numbers:
    """What an update takes at its peak, which only a GPU counts."""
    if bench.device != "cuda":
        return

    def peak() -> float:
        training = bench.training(bench.device)
        torch.cuda.reset_peak_memory_stats()
        loop.update(training, *next(iter(training.batches.of_epoch(0))), 1e-6, 0)
        return torch.cuda.max_memory_allocated() / 2**30

    yield f"an update of {bench.batch} images", peak, "GiB"


PARTS: dict[str, Callable[[Bench], Numbers]] = {
    "CPU and device differ by": equality, "resume": resume, "updates": speed, "batches": feed, "memory": memory,
}  # fmt: skip


def measured(part: str, numbers: Callable[[Bench], Numbers], bench: Bench, until: float) -> Iterator[Row]:
    """The rows of a part; what fails, or would begin too late, is a row with its reason."""
    try:
        for what, measure, unit in numbers(bench):
            if time.monotonic() > until:
                yield Row(part, what, None, unit, "not measured: the time is over")
                continue
            try:
                yield Row(part, what, measure(), unit)
            except Exception as error:  # whatever it is, the other rows do not depend on it
                yield Row(part, what, None, unit, f"{type(error).__name__}: {str(error).splitlines()[0][:120]}")
            if bench.device == "cuda":
                torch.cuda.empty_cache()
    except Exception as error:
        yield Row(part, "all of it", None, "", f"{type(error).__name__}: {str(error)[:120]}")


def hours(rows: list[Row]) -> Iterator[Row]:
    """Of the paper's epochs, at the rate of the updates alone and at the slower of updates and batches."""
    rates = {row.what: row.value for row in rows if row.unit == "images/s"}
    images = facts.OPTIMISER.epochs * facts.ILSVRC[-1].train
    for precision in ("fp32", "tf32", "bf16"):
        updates = rates.get(f"ours, {precision}, channels_last")
        for source in ("packed JPEG", "packed uint8"):
            batches = rates.get(f"from {source}")
            value = images / min(updates, batches) / 3600 if updates and batches else None
            error = "" if value else "needs the rates of updates and batches"
            yield Row("90 epochs", f"{precision}, {source}", value, "hours", error)


def text(row: Row) -> str:
    """A line of the table."""
    number = f"{row.value:>12.3g}" if row.value is not None and row.value < 1e3 else f"{row.value or 0:>12,.0f}"
    return f"{row.part:<26}{row.what:<62}" + (f"{number} {row.unit}" if row.value is not None else f"-- {row.error}")


def main(arguments: list[str] | None = None) -> int:
    """0, or 1 where a row failed; 2 where there is no GPU."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu", description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a rehearsal")
    parser.add_argument("--quick", action="store_true", help="a small net and few images: no number means anything")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, too")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.exit(2, "This needs a GPU that torch can use; --device cpu --quick rehearses it without one.\n")
    bench, until = Bench(options.device, options.quick), time.monotonic() + BUDGET
    use_precision("fp32")
    name = torch.cuda.get_device_name() if bench.device == "cuda" else records.environment()["cpu"]
    print(
        f"{name}, torch {torch.__version__}, {bench.batch} images in a batch{', a rehearsal' * bench.quick}", flush=True
    )
    rows: list[Row] = []
    for part, numbers in PARTS.items():
        for row in measured(part, numbers, bench, until):
            rows.append(row)
            print(text(row), flush=True)
    for row in hours(rows):
        rows.append(row)
        print(text(row))
    if options.json:
        about = {"device": name, **records.environment(), "quick": bench.quick}
        write_whole(options.json, (json.dumps({**about, "rows": [asdict(r) for r in rows]}, indent=1) + "\n").encode())
    return int(any(row.error for row in rows))
