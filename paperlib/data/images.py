"""Images in memory: the data set as an object, its statistics, and the preparation of section 2."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from paperlib.errors import PaperlibError


@dataclass(frozen=True, eq=False)
class Statistics:
    """What sections 2 and 4.1 need of the training images, in grey levels (0–255) or their squares."""

    mean: Tensor  # float64 (C, H, W), of each pixel
    square: Tensor  # float64 (C, H, W), the mean of its square
    colours: Tensor | None  # float64 (3, 3), the covariance of R, G and B; None for grey images

    @classmethod
    def of(cls, images: Tensor) -> Statistics:
        """Compute them from images uint8 (N, C, H, W)."""
        mean = torch.zeros(images.shape[1:], dtype=torch.float64)
        square = torch.zeros_like(mean)
        for chunk in images.split(1000):
            pixels = chunk.to(torch.float64)
            mean += pixels.sum(0)
            square += pixels.square().sum(0)
        colours = colour_covariance(images) if images.shape[1] == 3 else None
        return cls(mean / len(images), square / len(images), colours)


class Rows(Protocol):
    """Images uint8 (N, C, H, W) as a tensor, or an object that reads ``images[rows]`` on demand."""

    @property
    def shape(self) -> torch.Size: ...
    def __len__(self) -> int: ...
    def __getitem__(self, rows: Any, /) -> Tensor: ...


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images uint8 (N, C, H, W), labels int64 (N,) that index ``classes``, and the fingerprint of the copy.

    A set too large for memory has :class:`paperlib.data.packed.Images` instead of tensors. Its ``statistics`` were
    taken at preparation over all training images, including those that a run holds out.
    """

    name: str
    title: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]
    fingerprint: str
    statistics: Statistics | None = None

    def __repr__(self) -> str:
        c, h, w = self.train_images.shape[1:]
        numbers = f"{len(self.train_images):,} train and {len(self.test_images):,} test images"
        return f"<{self.title}: {numbers}, {c} × {h} × {w}, {len(self.classes)} classes>"

    def only(self, classes: Sequence[int]) -> Dataset:
        """The images of some classes, in the same order; labels index ``classes``. An empty list selects all."""
        if not classes:
            return self
        if not isinstance(self.train_images, Tensor):
            raise DataError(f"classes of {self.title} cannot be chosen here: prepare a folder with only those classes")
        if len(set(classes)) != len(classes) or not all(0 <= c < len(self.classes) for c in classes):
            raise DataError(f"{self.title} has the classes 0 to {len(self.classes) - 1}: name each at most once")
        place = torch.full((len(self.classes),), -1).index_put((torch.tensor(classes),), torch.arange(len(classes)))
        parts = {}
        for part in ("train", "test"):
            labels = place[getattr(self, f"{part}_labels")]
            parts[f"{part}_images"] = getattr(self, f"{part}_images")[labels >= 0]
            parts[f"{part}_labels"] = labels[labels >= 0]
        return replace(self, **parts, classes=tuple(self.classes[c] for c in classes))


# ------------------------------------------------------------------------------ section 2: preparing images


def prepare(image: Image.Image, size: int = 256) -> Tensor:
    """Section 2: scale the shorter side to ``size``, cut out the central ``size`` × ``size``; uint8 (3, size, size).

    Turns the image upright (EXIF), and grey or CMYK into RGB. The paper names no filter. This one is Pillow's
    bilinear, which averages over the pixels that shrink into one. Raises :class:`DataError` for pixels of unknown
    range, and for an image too long to resize.
    """
    turn = TURNS.get(orientation(image)[0])
    image = in_eight_bits(image if turn is None else image.transpose(turn))
    if image.mode != "RGB":  # convert() would copy an RGB image, too: 400 MB for 100 megapixels
        image = image.convert("RGB")
    shorter = min(image.size)
    if max(image.size) > LONGEST * shorter:
        raise DataError(f"{image.width} × {image.height} pixels are too long (max {LONGEST}:1) to resize in memory")
    width, height = (max(size, round(side * size / shorter)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    pixels = np.array(image.crop((left, top, left + size, top + size)))
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


LONGEST = 100
"""The longest side that :func:`prepare` takes, in shorter sides."""

TURNS = dict(enumerate((
    Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_90,
), start=2))  # fmt: skip
"""EXIF orientation -> the operation that turns the image upright."""


def orientation(image: Image.Image) -> tuple[int, bool]:
    """The EXIF orientation, 1 where none can be read, and whether the metadata are whole."""
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        turn, whole = 1, True
        try:
            exif = image.getexif()
            turn = exif.get(0x0112, 1)
            if "exif" in image.info:  # anew, as Pillow may have swallowed an error when it opened the file
                exif = Image.Exif()
                exif.load(image.info["exif"])
            exif.tobytes()  # reads every tag
        except Exception:  # damaged bytes make Pillow raise nearly anything
            whole = False
    return turn if turn in TURNS else 1, whole and not any("EXIF" in str(c.message) for c in complaints)


@functools.cache
def formats() -> tuple[str, ...]:
    """The formats that images are read in, of those in this Pillow. It would also start Ghostscript, for EPS."""
    Image.init()
    safe = "JPEG MPO PNG GIF BMP DIB WEBP TIFF PPM JPEG2000 AVIF ICO PCX PSD QOI SGI SUN DDS TGA"  # TGA has no mark
    return tuple(name for name in safe.split() if name in Image.OPEN)


def in_eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits a pixel as grey of 8, which Pillow would clip at 255; any other image unchanged."""
    if image.mode == "F":
        raise DataError("its pixels are fractions of unknown range")
    if not image.mode.startswith("I"):
        return image
    deep = np.asarray(image)
    if not 0 <= deep.min() <= deep.max() < 2**16:
        raise DataError("its pixels have more than 16 bits")
    parts = np.array_split(deep, 16)  # in parts, to save memory
    return Image.fromarray(np.concatenate([((part.astype(np.int64) + 128) // 257).astype(np.uint8) for part in parts]))


def mean_image(images: Tensor) -> Tensor:
    """Section 2: the mean of each pixel over images uint8 (N, C, H, W), as float32 (C, H, W); summed exactly."""
    if images.dtype != torch.uint8 or images.ndim != 4 or not len(images):
        raise DataError(f"mean_image takes images uint8 (N, C, H, W), not {images.dtype} {tuple(images.shape)}")
    total = torch.zeros(images.shape[1:], dtype=torch.int64)
    for chunk in images.split(256):
        total += chunk.float().sum(0).long()  # at most 256 · 255: exact in float32, and fast
    return (total.double() / len(images)).float()


def colour_covariance(images: Tensor | Iterable[Tensor]) -> Tensor:
    """Section 4.1: the population covariance of the RGB values over all pixels, float64 (3, 3), in grey levels².

    ``images`` is a tensor uint8 (N, 3, H, W) or yields such tensors or single images (3, H, W), of any sizes; each is
    read once. All sums are whole numbers, so that the result does not depend on how the images are grouped.
    """
    n, first, second = 0, np.zeros(3, object), np.zeros((3, 3), object)
    for part in images.split(256) if isinstance(images, Tensor) else images:
        if part.dtype != torch.uint8 or part.ndim not in (3, 4) or part.shape[-3] != 3:
            raise DataError(f"colours are counted in images uint8 (…, 3, H, W), not {part.dtype} {tuple(part.shape)}")
        pixels = part.transpose(0, -3).reshape(3, -1).double()  # a product of 2**37 pixels is still exact
        n += pixels.shape[1]
        first += [int(value) for value in pixels.sum(1)]
        second += np.array([[int(value) for value in row] for row in pixels @ pixels.T], object)
    if not n:
        raise DataError("a covariance of colours needs at least one image")
    return covariance_of_sums(n, first.tolist(), second.tolist())


def covariance_of_sums(n: int, first: Sequence[int], second: Sequence[Sequence[int]]) -> Tensor:
    """Section 4.1: the covariance, float64 (3, 3), of ``n`` pixels from their sum (3,) and that of products (3, 3)."""
    covariance = [[Fraction(n * second[i][j] - first[i] * first[j], n * n) for j in range(3)] for i in range(3)]
    return torch.tensor([[float(value) for value in row] for row in covariance], dtype=torch.float64)


def colour_pca(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Section 4.1: eigenvalues λ (3,) in descending order and eigenvectors p (3, 3), one a column, of unit length.

    The sign of an eigenvector is free; here its component of largest size is positive.
    """
    values, vectors = torch.linalg.eigh(covariance.double())
    values, vectors = values.flip(0), vectors.flip(1)
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    return values, vectors * largest.sign()


class DataError(PaperlibError):
    """Data that cannot be used: unknown, damaged, or laid out in another way than expected."""


class DataMissingError(DataError):
    """Data that is not on this machine."""


class DataChecksumError(DataError):
    """A file whose bytes are not those published."""
