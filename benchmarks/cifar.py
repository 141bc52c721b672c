"""An epoch of CIFAR-10 for the evidence net, timed as updates of its shape: ours against an idiomatic PyTorch loop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from benchmarks.net import stock_modules
from benchmarks.timing import Result, compare
from paperlib.data.batches import Parts
from paperlib.data.images import Dataset
from paperlib.experiments.declared import BASELINE
from paperlib.nets import table
from paperlib.nets.layers import set_step
from paperlib.nets.sizes import EVIDENCE_SIZES
from paperlib.recipe import Sizes, Stop
from paperlib.training import loop, records
from paperlib.training.journal import Journal
from paperlib.training.processes import ALONE, Topology
from paperlib.training.runs import Run

UPDATES, BATCH = 40, 128
RECIPE = BASELINE.but(**{"augment.colour": 0.1, "augment.shuffle": True})


def made_up(sizes: Sizes = EVIDENCE_SIZES, n: int = UPDATES * BATCH) -> Dataset:
    """``n`` random images for a net of these sizes: of the shape of CIFAR-10, for UPDATES batches."""
    draw = torch.Generator().manual_seed(0)
    shape = (n, sizes.channels, sizes.side, sizes.side)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=draw)
    labels = torch.randint(0, sizes.classes, (n,), generator=draw)
    classes = tuple(map(str, range(sizes.classes)))
    return Dataset("cifar10", "made up", images, labels, images[:500], labels[:500], classes, "made up")


def prepared(run: Run, data: Dataset, topology: Topology = ALONE) -> loop.Training:
    """A run before its first update; nothing is written."""
    parts = Parts.of(data, run.sizes, run.stop)
    return loop.prepare(run, parts, Journal(records.first_line(run, data.name), topology=topology))


class Idiomatic(TorchDataset[tuple[Tensor, Tensor]]):
    """One image at a time through torchvision's transforms."""

    def __init__(self, data: Dataset) -> None:
        from torchvision.transforms import v2  # here: torchvision imports torch's compiler

        self.data, self.mean = data, data.train_images.float().mean(0)
        self.change = v2.Compose([v2.RandomCrop(24), v2.RandomHorizontalFlip()])

    def __len__(self) -> int:
        return len(self.data.train_images)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        image: Any = self.change(self.data.train_images[i].float() - self.mean)
        return image + torch.randn(3, 1, 1), self.data.train_labels[i]


def run() -> Iterator[Result]:
    """The same number of updates of the same net; each loop makes its own batches."""
    data = made_up()
    run = Run(RECIPE.but(**{"optim.batch_size": BATCH}), EVIDENCE_SIZES, Stop(epochs=1), data.fingerprint, 0)
    training = prepared(run, data)

    def ours() -> None:
        for inputs, labels in training.batches.of_epoch(0):
            loop.update(training, inputs, labels, 1e-6, 0)
            training.state.step += 1

    net = stock_modules(table.build(RECIPE.model, EVIDENCE_SIZES, 0)).train()
    optimiser = torch.optim.SGD(net.parameters(), lr=1e-6, momentum=0.9, weight_decay=5e-4)
    loader = DataLoader(Idiomatic(data), BATCH, shuffle=True)

    def theirs() -> None:
        for images, labels in loader:
            set_step(net, 0, 0)
            optimiser.zero_grad()
            loss = F.cross_entropy(net(images), labels)
            loss.backward()
            optimiser.step()
            loss.item()

    part = UPDATES * BATCH / 50_000
    what = f"{UPDATES} updates of the evidence net, data included ({part:.0%} of an epoch of CIFAR-10)"
    yield compare(what, "data set, transforms, DataLoader, stock modules", ours, theirs, aim=2.5)
