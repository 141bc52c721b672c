"""From stored uint8 images to what the net sees: the pixel scale, crops, mirrors, colour noise, views for testing.

Section 4.1 of the paper; ``convdata_jpeg.py`` of the 2012 source where the two readings differ (numbers in brackets
are rows of ``paper.READINGS``). The functions take a batch and its random numbers and draw nothing, so that
a notebook can show them and a test can hold them against a loop over images. :class:`Draws` are the random numbers
of one epoch, :class:`Augmenter` puts all together for one recipe.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from paperlib.data.images import Rows, Statistics, colour_pca
from paperlib.errors import PaperlibError
from paperlib.recipe import AugmentRecipe, Sizes
from paperlib.seeding import generator

# ---------------------------------------------------------------------------------------------------------
# The operations of section 4.1, each on a whole batch


def windows(images: Tensor, offsets: Tensor, flips: Tensor, size: int) -> Iterator[Tensor]:
    """Section 4.1: of each of ``images`` (B, C, H, W) one ``size`` × ``size`` window, and maybe its mirror image.

    ``offsets`` (B, 2) are the first row and column of the windows. ``flips`` (B, 2), bool, say whether left and right
    change places, as the paper has it, and top and bottom.
    """
    room = torch.tensor(images.shape[2:]) - size
    if (offsets < 0).any() or (offsets > room).any():
        raise IndexError(f"a window of {size} reaches beyond images of {images.shape[2]} × {images.shape[3]}")
    for image, (top, left), (mirrored, upside_down) in zip(images, offsets.tolist(), flips.tolist(), strict=True):
        window = image[:, top : top + size, left : left + size]
        axes = [axis for axis, flip in ((-1, mirrored), (-2, upside_down)) if flip]
        yield window.flip(axes) if axes else window


def crop_and_mirror(images: Tensor, offsets: Tensor, flips: Tensor, size: int) -> Tensor:
    """The :func:`windows` of a batch: (B, C, size, size), channels last, as the net reads them."""
    views = batch_like(images, size, images.dtype)
    for view, window in zip(views, windows(images, offsets, flips, size), strict=True):
        view.copy_(window)
    return views


def batch_like(images: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """Memory for a ``size`` × ``size`` view of each image, channels last."""
    shape = (*images.shape[:2], size, size)
    return torch.empty(shape, dtype=dtype, device=images.device, memory_format=torch.channels_last)


def centre(images: Tensor, size: int) -> Tensor:
    """The central ``size`` × ``size`` window of images (…, H, W); half a pixel up and left where that is odd."""
    top, left = (images.shape[-2] - size) // 2, (images.shape[-1] - size) // 2
    return images[..., top : top + size, left : left + size]


def ten_views(images: Tensor, size: int) -> Tensor:
    """Section 4.1: four corners and the centre of images (B, C, H, W), then their mirrors: (10, B, C, size, size).

    In the order of the 2012 source: top left, top right, centre, bottom left, bottom right.
    """
    bottom, right = images.shape[-2] - size, images.shape[-1] - size
    starts = [(0, 0), (0, right), (bottom // 2, right // 2), (bottom, 0), (bottom, right)]
    mirrored = images.flip(-1)  # once; there the views are as far from the right edge as here from the left
    views = [images[..., top : top + size, left : left + size] for top, left in starts]
    views += [mirrored[..., top : top + size, right - left : right - left + size] for top, left in starts]
    return torch.stack(views)


def colour_shift(alphas: Tensor, pca: tuple[Tensor, Tensor], scale: str) -> Tensor:
    """Section 4.1: [p1, p2, p3][α1 λ1, α2 λ2, α3 λ3]ᵀ, one shift of (R, G, B) an image: (B, 3), in grey levels (0–255).

    ``alphas`` (B, 3); ``pca``: eigenvalues λ (3,) in grey levels² and eigenvectors p (3, 3), one a column, of
    :func:`images.colour_pca`. ``scale`` [10] is "eigenvalue": the λ of pixels between 0 and 1, and the shift
    × 255, or "std": √λ in place of λ. The λ of 0–255 pixels, literally, would shift by hundreds of grey levels.
    """
    eigenvalues, eigenvectors = pca[0].clamp(min=0), pca[1]  # those of grey images are 0, rounded maybe below it
    sizes = {"eigenvalue": eigenvalues / 255**2 * 255, "std": eigenvalues.sqrt()}[scale]
    return (alphas * sizes.to(alphas)) @ eigenvectors.to(alphas).T


def along_rows(colours: Tensor, width: int) -> Tensor:
    """One colour (…, C), spelt out for a row of ``width`` pixels, (…, C, 1, width): to add it to images.

    Over NHWC a sum with (…, C, 1, 1) takes three numbers at a time, and several times as long.
    """
    return colours.unsqueeze(-2).repeat_interleave(width, -2)[..., None, :, :].movedim(-1, -3)


def positions(side: int, size: int, offsets: int) -> int:
    """How many places along one axis a crop is drawn from: ``side - size`` [13: 32 of 256 → 224], or one more [33]."""
    return max(1, side - size + (offsets == 33))


# ---------------------------------------------------------------------------------------------------------
# The random numbers


@dataclass(frozen=True)
class Draws:
    """The random numbers of one epoch, one row an image of the training set; all are drawn, used or not.

    They do not know the recipe: arms that differ in one choice share all the rest, and 32 and 33 offsets differ
    by a pixel at most.
    """

    places: Tensor  # (n, 2) uniform in [0, 1): where the crop lies between the first and the last place
    mirrors: Tensor  # (n, 2) uniform in [0, 1): below one half, the image is mirrored; horizontally, vertically
    alphas: Tensor  # (n, 3) standard normal: α of section 4.1 over its standard deviation

    @classmethod
    def of_epoch(cls, seed: int, epoch: int, n: int) -> Draws:
        """The numbers of epoch ``epoch`` (from 0) for ``n`` images, keyed by (seed, epoch)."""
        g = generator(seed, "augment", epoch)
        return cls(torch.rand(n, 2, generator=g), torch.rand(n, 2, generator=g), torch.randn(n, 3, generator=g))

    def offsets(self, rows: Tensor, places: int) -> Tensor:
        """(top, left) of the crops of ``rows``: int64 (B, 2), uniform over 0 … places - 1."""
        return (self.places[rows] * places).long()  # u < 1 in float32 gives u * places < places, also when rounded

    def flags(self, rows: Tensor) -> Tensor:
        """Whether to mirror the images of ``rows``: bool (B, 2), horizontally and vertically."""
        return self.mirrors[rows] < 0.5


# ---------------------------------------------------------------------------------------------------------
# All of it, for one recipe


class Augmenter:
    """Turns batches of uint8 images (B, C, side, side) into float32 input (B, C, crop, crop) for one recipe.

    Statistics are those of the training images, or those given: the mean image (section 2), mean and standard
    deviation per channel, and the principal components of the colours (section 4.1), once for the whole set. Raises
    :class:`PaperlibError` where the recipe asks for what these images or sizes do not allow.
    """

    def __init__(
        self, recipe: AugmentRecipe, sizes: Sizes, train_images: Rows, statistics: Statistics | None = None
    ) -> None:
        self.recipe, self.sizes = recipe, sizes
        check(recipe, sizes, train_images)
        if statistics is None:
            assert isinstance(train_images, Tensor)
            statistics = Statistics.of(train_images)
        mean, square = statistics.mean, statistics.square
        # (C, side, side), 0-255; laid out as batches are: to subtract across two layouts takes three times as long
        self.mean_image = mean.float()[None].contiguous(memory_format=torch.channels_last)[0]
        channel_mean = mean.mean((1, 2))
        channel_std = (square.mean((1, 2)) - channel_mean.square()).sqrt()
        self.channel_mean, self.channel_std = channel_mean.float(), channel_std.float()
        self.pca = None
        if recipe.colour:
            assert statistics.colours is not None  # check() wants three channels
            self.pca = colour_pca(statistics.colours)
        self.draws, self.epoch = Draws.of_epoch(0, 0, 0), 0

    def to(self, device: torch.device | str) -> Augmenter:
        """Move the statistics to where the images will be; the random numbers are always drawn on the CPU."""
        for name in ("mean_image", "channel_mean", "channel_std"):
            setattr(self, name, getattr(self, name).to(device))
        return self

    def start_epoch(self, seed: int, epoch: int, n: int) -> None:
        """Draw the random numbers of an epoch (from 0) for ``n`` training images, keyed by (seed, epoch)."""
        self.draws, self.epoch = Draws.of_epoch(seed, epoch, n), epoch

    def train_batch(self, images: Tensor, rows: Tensor, shared: Tensor | None = None) -> Tensor:
        """Augmented input for the images of one batch; ``rows`` (B,) are their rows in the epoch's random numbers.

        The batch is in the order of the data: with ``share`` [14] the first ``share`` images have the crop and the
        mirror of the first of them, and so on; a batch that is not a multiple of it ends in a smaller chunk. Of a
        part of a batch, ``shared`` (B,) are these first rows, by :meth:`sharing` of the whole. Raises
        :class:`PaperlibError` for images that have not the shape of those whose statistics are known.
        """
        if images.shape[1:] != self.mean_image.shape:
            raise PaperlibError(f"this is for images {tuple(self.mean_image.shape)}, not {tuple(images.shape[1:])}")
        rows = rows.cpu()  # the random numbers are there
        where = self.places(self.sharing(rows) if shared is None else shared.cpu())
        if not self.mean_moves_along:
            return self.noisy(self.normalised(crop_and_mirror(images, *where, self.sizes.crop)), rows)
        pixels = batch_like(images, self.sizes.crop, torch.float32)
        for view, window, mean in zip(
            pixels, windows(images, *where, self.sizes.crop), self.mean_windows(*where), strict=True
        ):
            view.copy_(window).sub_(mean)  # while the image is in the processor's cache
        return self.noisy(pixels, rows)

    def test_batch(self, images: Tensor) -> Tensor:
        """The centre view of each image, without noise."""
        return self.normalised(centre(images, self.sizes.crop))

    def test_views(self, images: Tensor) -> Tensor:
        """The ten views of each image (section 4.1), without noise: (10, B, C, crop, crop)."""
        if self.mean_moves_along:
            return ten_views(self.normalised(images), self.sizes.crop)
        views = ten_views(images, self.sizes.crop)
        return self.normalised(views.flatten(0, 1)).unflatten(0, views.shape[:2])

    @property
    def mean_moves_along(self) -> bool:
        """Whether each pixel meets its own mean [15: place]: then the mean image moves with the image, mirror and all.

        The 2012 code crops and mirrors first, then subtracts the mean image's central crop, which is not mirrored.
        """
        return self.recipe.pixels == "centred" and self.recipe.mean == "place"

    def normalised(self, images: Tensor) -> Tensor:
        """Float32 input from pixels 0–255: whole images, or central views, or (what needs no place) any views."""
        pixels = images.to(torch.float32, memory_format=torch.channels_last, copy=True)
        if self.recipe.pixels == "standardised":
            mean, std = (along_rows(each, images.shape[-1]) for each in (self.channel_mean, self.channel_std))
            return pixels.sub_(mean).div_(std)
        return pixels.sub_(centre(self.mean_image, images.shape[-1]))

    def sharing(self, rows: Tensor) -> Tensor:
        """The rows whose crop and mirror each of ``rows`` has [14]."""
        return rows[torch.arange(len(rows)) // self.recipe.share * self.recipe.share]

    def places(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Offsets and flips of :func:`windows` for ``rows``: what the epoch drew, as the recipe wants it.

        With ``share`` [14], ``rows`` are those to share with.
        """
        recipe, room = self.recipe, self.mean_image.shape[-1] - self.sizes.crop
        offsets = self.draws.offsets(rows, positions(self.mean_image.shape[-1], self.sizes.crop, recipe.offsets))
        axes = {"none": (False, False), "horizontal": (True, False), "vertical": (False, True), "both": (True, True)}
        flips = self.draws.flags(rows) & torch.tensor(axes[recipe.mirror])
        return offsets if recipe.crop else torch.full_like(offsets, room // 2), flips

    def mean_windows(self, offsets: Tensor, flips: Tensor) -> Iterator[Tensor]:
        """The :func:`windows` of the mean image, out of four mirror images of the whole: less work than one each."""
        size, room = self.sizes.crop, self.mean_image.shape[-1] - self.sizes.crop
        turned = {(x, y): self.mean_image.flip([-1] * x + [-2] * y) for x in (False, True) for y in (False, True)}
        for (top, left), (x, y) in zip(offsets.tolist(), flips.tolist(), strict=True):
            top, left = (room - top if y else top), (room - left if x else left)
            yield turned[x, y][:, top : top + size, left : left + size]

    def noisy(self, pixels: Tensor, rows: Tensor) -> Tensor:
        """Section 4.1's colour noise, one draw an image, on input that has its mean subtracted; never clipped.

        ``pixels`` are changed in place.
        """
        recipe, off = self.recipe, self.recipe.colour_off_epoch
        if self.pca is None or (off is not None and self.epoch >= off):  # [12]
            return pixels
        shift = colour_shift(self.draws.alphas[rows] * recipe.colour, self.pca, recipe.colour_scale)
        shift = shift.to(pixels.device)
        if recipe.pixels == "standardised":  # one grey level is 1 / std there
            shift = shift / self.channel_std
        pixels.add_(along_rows(shift, pixels.shape[-1]))
        return pixels.div_(1 + recipe.colour) if recipe.colour_shrink else pixels  # [11]


def check(recipe: AugmentRecipe, sizes: Sizes, images: Rows) -> None:
    """Raise :class:`PaperlibError` where the recipe cannot be used for these images or sizes."""
    channels, side = images.shape[1], images.shape[-1]
    if not 0 < sizes.crop <= min(images.shape[-2:]):
        raise PaperlibError(
            f"a view of {sizes.crop} × {sizes.crop} does not fit into images of {side} × {side}; "
            "choose a smaller sizes.crop"
        )
    if recipe.colour and channels != 3:
        raise PaperlibError(
            f"colour noise needs images of three channels and these have {channels}; set augment.colour to 0"
        )
