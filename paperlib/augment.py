"""From stored uint8 images to what the net sees: the pixel scale, crops, mirrors, colour noise, views for testing."""

from __future__ import annotations

import torch
from torch import Tensor

from paperlib.recipe import AugmentRecipe, Sizes


class Augmenter:
    """Turns batches of uint8 images (B, C, side, side) into float32 input (B, C, crop, crop) for one recipe.

    Statistics (mean image; mean and standard deviation per channel) are those of the training images given.
    """

    def __init__(self, recipe: AugmentRecipe, sizes: Sizes, train_images: Tensor) -> None:
        self.recipe, self.sizes = recipe, sizes
        mean = torch.zeros(train_images.shape[1:], dtype=torch.float64)
        square = torch.zeros_like(mean)
        for chunk in train_images.split(1000):
            pixels = chunk.to(torch.float64)
            mean += pixels.sum(0)
            square += pixels.square().sum(0)
        mean, square = mean / len(train_images), square / len(train_images)
        self.mean_image = mean.float()  # (C, side, side), 0-255
        channel_mean = mean.mean((1, 2))
        channel_std = (square.mean((1, 2)) - channel_mean.square()).sqrt()
        self.channel_mean = channel_mean.float()[:, None, None]
        self.channel_std = channel_std.float()[:, None, None]

    def start_epoch(self, seed: int, epoch: int, n: int) -> None:
        """Draw the random numbers of an epoch, one row an image, keyed by (seed, epoch)."""

    def train_batch(self, images: Tensor, rows: Tensor) -> Tensor:
        """Augmented input for the images of one batch; ``rows`` are their rows in the epoch's random numbers."""
        return self.test_batch(images)

    def test_batch(self, images: Tensor) -> Tensor:
        """The centre view of each image, without noise."""
        pixels = images.to(torch.float32, memory_format=torch.channels_last)
        if self.recipe.pixels == "standardised":
            return (pixels - self.channel_mean) / self.channel_std
        return pixels - self.mean_image
