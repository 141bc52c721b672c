"""Augmentation of section 4.1 on a batch of 128 stored images of 256x256: batched against per-image transforms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from benchmarks.timing import Result, compare, copy_rate
from paperlib.data.augment import Augmenter
from paperlib.nets.sizes import FULL_SIZES
from paperlib.recipe import Recipe

BATCH, FEW = 128, 32
COPYING = 0.6  # of the rate of a plain copy, which both of these are but for a sum


class PerImageColour:
    """Colour noise as ports have it: three random numbers and one sum for each image."""

    def __init__(self, values: Tensor, vectors: Tensor) -> None:
        self.values, self.vectors = values, vectors

    def __call__(self, image: Tensor) -> Tensor:
        return image + (self.vectors @ (0.1 * torch.randn(3) * self.values))[:, None, None]


def run() -> Iterator[Result]:
    """A training batch with and without colour noise, the noise alone, and the ten views; decoding is in neither."""
    from torchvision.transforms import v2  # here: torchvision imports torch's compiler

    images = torch.randint(0, 256, (BATCH, 3, 256, 256), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = images.contiguous(memory_format=torch.channels_last)  # as the reader of packed images hands them over
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    recipe, rows = Recipe.paper(), torch.arange(BATCH)
    full = Augmenter(recipe.augment, FULL_SIZES, images)
    plain = Augmenter(recipe.but(**{"augment.colour": 0.0}).augment, FULL_SIZES, images)
    for each in (full, plain):
        each.start_epoch(0, 0, BATCH)
    colour = PerImageColour(torch.rand(3), torch.linalg.qr(torch.randn(3, 3))[0])
    to_numbers = [v2.PILToTensor(), v2.ToDtype(torch.float32), v2.Normalize([124.0, 116.0, 104.0], [1.0, 1.0, 1.0])]
    cut = [v2.RandomCrop(224), v2.RandomHorizontalFlip()]
    without, noisy, views = (v2.Compose(steps) for steps in (cut + to_numbers, [*cut, *to_numbers, colour], to_numbers))
    ten = v2.TenCrop(224)

    def each_of(change: Any, what: list[Image.Image]) -> Tensor:
        return torch.stack([change(picture) for picture in what])

    def ten_of_each() -> Tensor:
        return torch.stack([torch.stack([views(view) for view in ten(picture)]) for picture in pictures[:FEW]], 1)

    rate = copy_rate()
    batch = images.float()  # each in the layout that it has on its way into the net
    pixels = batch.contiguous()
    against = "torchvision's transforms, an image at a time"
    what = f"a training batch of {BATCH} from decoded images"
    written = BATCH * 3 * 224**2 * (1 + 4) / rate  # the windows read as uint8, the batch written as float32
    yield compare(
        what, against, lambda: full.train_batch(images, rows), lambda: each_of(noisy, pictures),
        aim=6.0, reference=written,
    )  # fmt: skip
    what += ", no colour noise"
    yield compare(
        what, against, lambda: plain.train_batch(images, rows), lambda: each_of(without, pictures), reference=written
    )
    what, against = "colour noise on 128 whole images", "a sum for each image"
    yield compare(
        what, against, lambda: full.noisy(batch, rows), lambda: torch.stack([colour(x) for x in pixels]),
        reference=2 * batch.nbytes / rate, aimed_share=COPYING,
    )  # fmt: skip
    what, against = f"ten views of {FEW} images", "torchvision's TenCrop, an image at a time"
    copied = 2 * 10 * FEW * 3 * 224**2 * 4 / rate
    yield compare(
        what, against, lambda: full.test_views(images[:FEW]), ten_of_each, reference=copied, aimed_share=COPYING
    )
