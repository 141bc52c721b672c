"""A tiny data set, tiny nets and made-up records: every path of training and evidence in a fraction of a second."""

from __future__ import annotations

import importlib
import itertools
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from paperlib.data.batches import Batches, Parts
from paperlib.data.images import Dataset
from paperlib.experiments.form import Experiment
from paperlib.recipe import Recipe, Sizes, Stop
from paperlib.training import checkpoints, evaluate, loop, records
from paperlib.training.journal import Journal
from paperlib.training.processes import ALONE, Topology
from paperlib.training.records import Line
from paperlib.training.runs import Run

FINGERPRINT = "sha256:tiny"
BATCH = 16

SIZES = Sizes(side=10, crop=8, classes=6, kernels=(4, 4, 8), fc=8)
"""The four-layer nets on 8×8 of 10×10 colour pixels."""

TOWERS = Sizes(
    side=10, crop=8, classes=6, kernels=(4, 4, 4, 4, 4), kernel_sizes=(3, 3, 3, 3, 3), strides=(1, 1, 1, 1, 1),
    pads=(1, 1, 1, 1, 1), pool_pads=(1, 1, 1), fc=8,
)  # fmt: skip
"""The two-tower net on the same; sides 8, 4, 2, 1."""

PLAIN = Recipe().but(
    **{
        "model.net": "80sec", "model.lrn": False, "model.dropout": 0.0, "model.init": "he",
        "augment.pixels": "standardised", "augment.crop": False, "augment.mirror": "none", "augment.colour": 0.0,
        "optim.lr": 0.05, "optim.batch_size": BATCH, "optim.weight_decay": 0.0, "optim.drops": (),
    }
)  # fmt: skip
"""Nothing random but the initial weights and the order."""

EVERYTHING = Recipe.source2012().but(
    **{
        "model.init": "gain_matched", "augment.share": 4, "augment.shuffle": True,
        "optim.lr": 0.001, "optim.batch_size": BATCH, "optim.drops": (2,), "optim.freeze_conv1": (1, 2),
    }
)  # fmt: skip
"""All that is random: crops, mirrors, colour noise, dropout; two normalisations; a drop; conv1 slow, then frozen."""


def dataset(n: int = 96, test: int = 24, fingerprint: str = FINGERPRINT) -> Dataset:
    """Colour noise on a pattern for each of six classes: uint8 (n, 3, 10, 10); learnt in some tens of updates."""
    g = torch.Generator().manual_seed(2012)
    patterns = torch.randint(0, 160, (6, 3, 10, 10), generator=g)
    labels = torch.randint(0, 6, (n + test,), generator=g)
    images = (patterns[labels] + torch.randint(0, 96, (n + test, 3, 10, 10), generator=g)).to(torch.uint8)
    return Dataset(
        "tiny", "Tiny patterns", images[:n], labels[:n], images[n:], labels[n:], tuple("abcdef"), fingerprint
    )


def plain(epochs: int = 3, seed: int = 0, **stop: Any) -> Run:
    """Six updates an epoch on :func:`dataset`, a window of four, so that windows lie across the ends of epochs."""
    return Run(PLAIN, SIZES, Stop(epochs=epochs, **{"window": 4, **stop}), FINGERPRINT, seed)


def everything(epochs: int = 3, seed: int = 0, **stop: Any) -> Run:
    """The same with all that is random."""
    return Run(EVERYTHING, TOWERS, Stop(epochs=epochs, **{"window": 4, **stop}), FINGERPRINT, seed)


def batches(run: Run, data: Dataset | None = None) -> Batches:
    """The batches of a run in one process."""
    return Batches(Parts.of(data or dataset(), run.sizes, run.stop), run.recipe, run.seed)


def training(run: Run, data: Dataset | None = None, topology: Topology = ALONE) -> tuple[loop.Training, Journal]:
    """A run before its first update, without a directory."""
    parts = Parts.of(data or dataset(), run.sizes, run.stop)
    lines = Journal(records.first_line(run, "tiny"), topology=topology)
    return loop.prepare(run, parts, lines), lines


def for_updates(n: int) -> Callable[[], bool]:
    """A ``keep_going`` that asks to stop after ``n`` updates."""
    count = itertools.count()
    return lambda: next(count) < n


# ------------------------------------------------------------------------------------------ other processes


def processes() -> multiprocessing.context.ForkServerContext:
    """Processes that start in a moment, forked off a small one that has imported torch and holds nothing else."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["paperlib.campaign", "pytest"])
    return context


def fit_in_child(run: Run, directory: Path, sabotage: Callable[[], None] | None = None) -> None:
    """Train on the tiny data with a checkpoint after every update; for a process that will be killed."""
    torch.set_num_threads(1)
    if sabotage:
        sabotage()
    loop.fit(run, dataset(), directory, checkpoint_seconds=0.0)


def slow_imports(module: str) -> list[str]:
    """Which of the large libraries a module imports; for a process of its own."""
    importlib.import_module(module)
    return sorted({"matplotlib", "pandas", "scipy", "torchvision"} & sys.modules.keys())


def run_cells(sources: Sequence[str], folder: Path) -> str:
    """Run cells in IPython until one fails, and say how; for a process of its own."""
    from IPython.core.interactiveshell import InteractiveShell  # here: few tests need it

    class Shell(InteractiveShell):
        def enable_gui(self, gui: str | None = None) -> None:
            """What ``%matplotlib inline`` calls: here no window needs an event loop."""

    os.chdir(folder)
    shell = Shell.instance()
    for source in sources:
        done = shell.run_cell(source)
        if error := done.error_before_exec or done.error_in_exec:
            return f"{type(error).__name__}: {error}"
    return ""


def lines_written(path: Path) -> int:
    """Whole lines of a file, 0 where there is none yet."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


@dataclass(frozen=True)
class Sabotage:
    """The process kills itself (SIGKILL) at the ``call``-th call of a function: in its middle, or as it has ended."""

    function: str
    call: int
    before: bool

    def __call__(self) -> None:
        holder, name = self.function.split(".")
        modules = {"checkpoints": checkpoints, "evaluate": evaluate, "loop": loop}
        place = {**modules, "Path": Path, "Journal": Journal}[holder]
        original, calls = getattr(place, name), itertools.count(1)

        def deadly(*args: Any, **named: Any) -> Any:
            now = next(calls) == self.call
            if now and self.before:
                if self.function == "checkpoints.write_whole":
                    args[0].with_name(f"{args[0].name}.part").write_bytes(args[1][: len(args[1]) // 2])
                if self.function == "Journal.write":
                    with args[0].path.open("a") as file:
                        file.write(json.dumps(args[1])[:25])
                os.kill(os.getpid(), signal.SIGKILL)
            result = original(*args, **named)
            if now:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(place, name, deadly)


# ------------------------------------------------------------------------------------------ made-up records


def record(
    run: Run,
    errors: Sequence[float],
    status: str = "done",
    *,
    losses: Sequence[float] | None = None,
    epochs: Sequence[Line] = (),
    about: dict[str, Any] | None = None,
) -> list[Line]:
    """A record with these running training errors (per cent), one a window of the run."""
    width = run.stop.window
    lines: list[Line] = [
        {"kind": "run", "format": 1, "id": run.id, **(about or {}), "seed": run.seed, "config": run.config,
         "data": {"name": "sample", "fingerprint": run.data}, "code": {}, "env": {}, "started": "2012-09-30T00:00:00"}
    ]  # fmt: skip
    for i, error in enumerate(errors):
        loss = losses[i] if losses else error / 50
        lines.append({"kind": "window", "step": width * (i + 1), "train_loss": loss, "train_error": error})
    lines += epochs
    lines.append({"kind": "end", "status": status, "steps": width * len(errors), "weights_sha256": "0" * 64})
    return lines


def write(path: Path, lines: list[Line]) -> Path:
    """As JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def store(folder: Path, experiment: Experiment, arm: str, lines: list[Line]) -> Path:
    """Put a record where evidence looks for it."""
    name = f"{arm.replace('/', '-').replace(' ', '_')}-seed{lines[0]['seed']}.jsonl"
    return write(folder / experiment.name / experiment.scale / name, lines)


def images(n: int, side: int, channels: int = 3, seed: int = 0) -> Tensor:
    """Random pixels: uint8 (n, channels, side, side)."""
    g = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, side, side), generator=g, dtype=torch.uint8)


def maps(*shape: int, scale: float = 40.0, seed: int = 0) -> Tensor:
    """Numbers of the size that maps have on 0-255 pixels, so that the constant k does not hide the sum."""
    return scale * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
