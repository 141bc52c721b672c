"""Augmentation of section 4.1 on a batch of 128 stored images of 256x256: batched against per-image transforms."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torchvision.transforms import v2

from benchmarks.timing import Result, compare
from paperlib.augment import Augmenter
from paperlib.models import FULL_SIZES
from paperlib.recipe import Recipe

BATCH = 128


class PerImageColour:
    """Colour noise as ports have it: three random numbers and one sum for each image."""

    def __init__(self, values: Tensor, vectors: Tensor) -> None:
        self.values, self.vectors = values, vectors

    def __call__(self, image: Tensor) -> Tensor:
        return image + (self.vectors @ (0.1 * torch.randn(3) * self.values))[:, None, None]


def run() -> Iterator[Result]:
    """A training batch, the colour noise alone, and the ten views."""
    images = torch.randint(0, 256, (BATCH, 3, 256, 256), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    full = Augmenter(Recipe.paper().augment, FULL_SIZES, images)
    plain = Augmenter(Recipe.paper().but(**{"augment.colour": 0.0}).augment, FULL_SIZES, images)
    for each in (full, plain):
        each.start_epoch(0, 0, BATCH)
    rows, mean = torch.arange(BATCH), images.float().mean(0)
    colour = PerImageColour(torch.rand(3), torch.linalg.qr(torch.randn(3, 3))[0])
    cut = v2.Compose([v2.RandomCrop(224), v2.RandomHorizontalFlip()])
    ten = v2.TenCrop(224)

    def per_image(noise: bool) -> Tensor:
        centred = (image.float() - mean for image in images)
        return torch.stack([colour(cut(x)) if noise else cut(x) for x in centred])

    def ten_views() -> Tensor:
        return torch.stack([torch.stack(ten(image.float() - mean)) for image in few], 1)

    def noise_per_image() -> Tensor:
        return torch.stack([colour(image) for image in pixels])

    few, pixels = images[:32], images.float()
    batched = Augmenter(
        Recipe.paper().but(**{"augment.crop": False, "augment.mirror": "none"}).augment, FULL_SIZES, images
    )
    batched.start_epoch(0, 0, BATCH)
    against = "torchvision transforms, an image at a time"
    whole = f"a training batch of {BATCH}"
    yield compare(whole, against, lambda: full.train_batch(images, rows), lambda: per_image(True), aim=6.0)
    yield compare(f"{whole}, no colour", against, lambda: plain.train_batch(images, rows), lambda: per_image(False))
    what = "colour noise on whole images"
    yield compare(what, against, lambda: batched.noisy(pixels, rows), noise_per_image, aim=10.0)
    yield compare("ten views of 32 images", against, lambda: full.test_views(few), ten_views, aim=10.0)
