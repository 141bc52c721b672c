"""The batches of a training: which images of a data set, in which order, read when, shared with whom.

An epoch's order is a function of (seed, epoch), and so are its crops and colours: a training that was interrupted goes
on in the middle of an epoch from the number of its updates alone. Section 5: stochastic gradient descent on batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from paperlib.data.augment import Augmenter
from paperlib.data.images import Dataset, Rows, Statistics
from paperlib.errors import PaperlibError
from paperlib.recipe import AugmentRecipe, Recipe, Sizes, Stop
from paperlib.seeding import generator


@dataclass(frozen=True)
class Parts:
    """A data set as one run divides it: images uint8 (N, C, side, side) and labels (N,), three times."""

    train: tuple[Rows, Tensor]
    checked: tuple[Rows, Tensor]  # what the schedule sees after each epoch: held-out training images, or the test set
    test: tuple[Rows, Tensor]
    sizes: Sizes
    statistics: Statistics | None
    description: str  # of the training images, for messages

    @classmethod
    def of(cls, data: Dataset, sizes: Sizes, stop: Stop) -> Parts:
        """Divide ``data`` as ``stop`` says. Raises :class:`PaperlibError` where it has not what is asked for."""
        data = data.only(stop.classes)
        if len(data.classes) > sizes.classes:
            raise PaperlibError(f"{data.title} has {len(data.classes)} classes, the net of this run {sizes.classes}")
        if (side := data.train_images.shape[-1]) != sizes.side:
            raise PaperlibError(
                f"{data.title} has images of {side} × {side} pixels, this run takes {sizes.side} × {sizes.side}: "
                f"prepare them in that size (--size {sizes.side})"
            )
        n = stop.train_images or len(data.train_images)
        if n > len(data.train_images):
            raise PaperlibError(f"{data.title} has {len(data.train_images)} training images, the run asks for {n}")
        rest = f" and holds out {stop.validation:,} of them" if stop.validation else ""
        kept, test = max(0, n - stop.validation), (data.test_images, data.test_labels)
        return cls(
            train=(stretch(data.train_images, 0, kept), data.train_labels[:kept]),
            checked=(stretch(data.train_images, kept, n), data.train_labels[kept:n]) if stop.validation else test,
            test=test,
            sizes=sizes,
            statistics=data.statistics,
            description=f"{n:,} training images of {data.title}{rest}",
        )

    def augmenter(self, recipe: AugmentRecipe) -> Augmenter:
        """What an image goes through on its way into a net that is trained on these images."""
        return Augmenter(recipe, self.sizes, self.train[0], self.statistics)


def stretch(images: Any, first: int, last: int) -> Any:
    """Images ``first`` to ``last`` - 1, without reading any that are not in memory."""
    return images[first:last] if isinstance(images, Tensor) else images.stretch(first, last)


class Batches:
    """The augmented batches of a run, epoch by epoch; of ``shares`` processes that share each, those of one.

    Raises :class:`PaperlibError` where the training images do not fill a batch.
    """

    def __init__(
        self, parts: Parts, recipe: Recipe, seed: int, share: int = 0, shares: int = 1, device: str = "cpu"
    ) -> None:
        self.images, self.labels = parts.train
        self.size, self.shuffle, self.seed = recipe.optim.batch_size, recipe.augment.shuffle, seed
        self.share, self.shares, self.device = share, shares, torch.device(device)
        if self.size > len(self.images):
            raise PaperlibError(
                f"this run takes {parts.description}: too few training images for a batch of {self.size}; take more "
                "images, or another arm"
            )
        self.augmenter = parts.augmenter(recipe.augment).to(self.device)
        # only whole batches: an epoch omits fewer than a batch of images, others each time
        self.per_epoch = len(self.images) // self.size

    def of_epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs float32 (B, C, crop, crop) and labels (B,) of each update of ``epoch``, from its ``start``-th on.

        Both numbers count from 0.
        """
        self.augmenter.start_epoch(self.seed, epoch, len(self.images))
        batches = self.order(epoch).split(self.size)[start : self.per_epoch]
        shared = [self.mine(self.augmenter.sharing(rows)) for rows in batches]
        mine = [self.mine(rows) for rows in batches]
        for rows, crops, images in zip(mine, shared, self.read(mine), strict=True):
            inputs = self.augmenter.train_batch(self.handed_over(images), rows, crops)
            yield inputs, self.handed_over(self.labels[rows])

    def handed_over(self, tensor: Tensor) -> Tensor:
        """``tensor`` on the device; a GPU copies it from pinned memory while the CPU continues."""
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor

    def order(self, epoch: int) -> Tensor:
        """The rows of all training images in the order of an epoch; as stored where nothing is shuffled."""
        if not self.shuffle:
            return torch.arange(len(self.images))
        return torch.randperm(len(self.images), generator=generator(self.seed, "order", epoch))

    def mine(self, batch: Tensor) -> Tensor:
        """This process's share of a batch."""
        return batch.chunk(self.shares)[self.share]

    def read(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """The images of each batch of rows; those not in memory are read in a thread, one batch ahead of the update."""
        if isinstance(self.images, Tensor):
            yield from (self.images[rows] for rows in batches)
            return
        with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as reader:
            ahead = reader.submit(self.images.__getitem__, batches[0])
            for following in batches[1:]:
                images = ahead.result()
                ahead = reader.submit(self.images.__getitem__, following)
                yield images
            yield ahead.result()
