"""Data sets: ``load(name)`` gives uint8 images, labels, class names and a fingerprint of the copy that was read.

``sample`` and ``photos`` are embedded in the repository. ``cifar10`` and ``tinyimagenet`` are the user's own copies,
below a root (the argument, else the environment variable PAPERLIB_DATA, else ``data/cache`` of the repository).

*Order.* A set kept in one folder a class has no order of its own and gets that of :func:`interleaved`. CIFAR-10's
binary version keeps its order.

*Fingerprint.* The SHA-256 over the names and SHA-256 of the stored files (:func:`paperlib.copies.fingerprint`): of the
compressed bytes, because two versions of a JPEG decoder may differ in a last bit. An archive and the folder unpacked
from it have the same one. A copy with any other loads as an "unknown copy", with a warning.

*Speed.* Decoded images are kept in ``.paperlib-cache`` beside the copy (or in the user's cache folder), and used
again as long as no file's name, size or time of change differs.
"""

from __future__ import annotations

import hashlib
import logging
import os
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from paperlib import copies
from paperlib.copies import DataChecksumError, DataError, DataMissingError, interleaved, read_idx

__all__ = [
    "EMBEDDED", "FINGERPRINTS", "KNOWN", "SAMPLE", "TITLES", "DataChecksumError", "DataError", "DataMissingError",
    "Dataset", "Rows", "Statistics", "colour_covariance", "colour_pca", "covariance_of_sums", "data_root", "fetch",
    "interleaved", "load", "mean_image", "photographs", "prepare", "read_idx", "shown_classes", "where",
]  # fmt: skip

logger = logging.getLogger(__name__)

REPOSITORY = Path(__file__).resolve().parent.parent
SAMPLE = REPOSITORY / "data" / "sample"
"""The embedded data; ``data/README.md`` says where it comes from."""

TRAIN_IMAGES = {"sample": 10_000, "photos": 3_200, "cifar10": 50_000, "tinyimagenet": 100_000}
"""Training images of each data set, also where it is not here to be counted."""

FINGERPRINTS: dict[str, dict[str, str]] = {
    "sample": {"embedded": "sha256:996e297b8085dae95007ba7853502df7a590eacffe56be6a0eaa1f726834b1ae"},
    "photos": {"embedded": "sha256:2e15eb3455645a2c7da4636d338dc6576c1f75e1d8d170c694667e4fd53f1b16"},
    "cifar10": {"official": "sha256:f1c2c1f17242ab74b8f478b91d70aa56f7237acc14de43512e582d2df32c3382"},
    "tinyimagenet": {"official": "sha256:3d0b85341f160bd51a958033fd5e9baef9d510933cc6886590421be9c22f98ea"},
}
"""Data set -> known copy -> fingerprint, the same for an archive and for the folder unpacked from it.

That of CIFAR-10 is taken over the six files of the binary version, that of Tiny ImageNet over those of train and val.
"""

TITLES = {
    "sample": "Fashion-MNIST sample", "photos": "Photograph patches", "cifar10": "CIFAR-10",
    "tinyimagenet": "Tiny ImageNet",
}  # fmt: skip
KNOWN = tuple(TITLES)
EMBEDDED = ("sample", "photos")

FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
FASHION_FILES = tuple(
    f"fashion-mnist/{split}-{kind}-ubyte.gz" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
)
PHOTOS = ("astronaut", "chelsea", "china", "coffee", "flower", "raccoon", "retina", "rocket")
TILE, PATCH = 80, 32
TRAIN_PATCHES, TEST_PATCHES = 400, 100


@dataclass(frozen=True, eq=False)
class Statistics:
    """What sections 2 and 4.1 take from the training images: all in grey levels (0–255), or their squares."""

    mean: Tensor  # float64 (C, H, W), of each pixel
    square: Tensor  # float64 (C, H, W), the mean of its square
    colours: Tensor | None  # float64 (3, 3), the covariance of R, G and B; None for grey images

    @classmethod
    def of(cls, images: Tensor) -> Statistics:
        """Those of images uint8 (N, C, H, W)."""
        mean = torch.zeros(images.shape[1:], dtype=torch.float64)
        square = torch.zeros_like(mean)
        for chunk in images.split(1000):
            pixels = chunk.to(torch.float64)
            mean += pixels.sum(0)
            square += pixels.square().sum(0)
        colours = colour_covariance(images) if images.shape[1] == 3 else None
        return cls(mean / len(images), square / len(images), colours)


class Rows(Protocol):
    """Images uint8 (N, C, H, W), or what reads some of them when it is asked: ``images[rows]`` is a tensor."""

    @property
    def shape(self) -> torch.Size: ...
    def __len__(self) -> int: ...
    def __getitem__(self, rows: Any, /) -> Tensor: ...


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images uint8 (N, C, H, W), labels int64 (N,) that index ``classes``, and which copy they came from.

    A set that does not fit into memory has :class:`paperlib.packed.Images` in the place of tensors, and the
    ``statistics`` of all its training images from when it was prepared, those included that a run holds out.
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
        """The images of some classes, in the same order; the labels are the places of the classes in ``classes``.

        Where none is named, all of them, as they are.
        """
        if not classes:
            return self
        if not isinstance(self.train_images, Tensor):
            raise DataError(f"{self.title} is read row by row: prepare a folder with the classes that you want")
        if len(set(classes)) != len(classes) or not all(0 <= c < len(self.classes) for c in classes):
            raise DataError(f"{self.title} has the classes 0 to {len(self.classes) - 1}, each to be named once at most")
        place = torch.full((len(self.classes),), -1).index_put((torch.tensor(classes),), torch.arange(len(classes)))
        parts = {}
        for part in ("train", "test"):
            labels = place[getattr(self, f"{part}_labels")]
            parts[f"{part}_images"] = getattr(self, f"{part}_images")[labels >= 0]
            parts[f"{part}_labels"] = labels[labels >= 0]
        return replace(self, **parts, classes=tuple(self.classes[c] for c in classes))


def data_root(root: str | Path | None = None) -> Path:
    """The folder of the user's own data sets: the argument, else PAPERLIB_DATA, else ``data/cache``."""
    return Path(root or os.environ.get("PAPERLIB_DATA") or REPOSITORY / "data" / "cache").expanduser()


def where(name: str, root: str | Path | None = None) -> list[Path]:
    """The places at which :func:`load` looks, in this order; :class:`DataError` for an unknown name."""
    if name not in KNOWN:
        raise DataError(f"there is no data set {name!r}; the known ones are {', '.join(KNOWN)}")
    if name in copies.COPIES:
        return [data_root(root) / copy.path for copy in copies.COPIES[name]]
    return [SAMPLE / ("photos" if name == "photos" else "fashion-mnist")]


def shown_classes(dataset: Dataset, root: str | Path | None = None) -> tuple[str, ...]:
    """The names of its classes for a reader: of Tiny ImageNet, whose classes are WordNet ids, from its ``words.txt``.

    The first of several words; an id stays where the copy at hand has none for it.
    """
    here = [place for place in where(dataset.name, root) if place.exists()] if dataset.name == "tinyimagenet" else []
    words = copies.wordnet_words(here[0]) if here else {}
    return tuple(words.get(name, name) for name in dataset.classes)


def load(name: str, root: str | Path | None = None) -> Dataset:
    """The data set ``sample``, ``photos``, ``cifar10`` or ``tinyimagenet``.

    Raises :class:`DataMissingError` where nothing lies at the places :func:`where` lists, and another
    :class:`DataError` where what lies there is damaged, incomplete, or no such data set.
    """
    places = where(name, root)
    if name == "sample":
        return _load_sample()
    if name == "photos":
        return _load_photos()
    for copy, place in zip(copies.COPIES[name], places, strict=True):
        if place.exists():
            return _load_copy(name, copy, place)
    other = [place for place in copies.unread(name, data_root(root)) if place.exists()]
    aside = f"; {other[0]} is its python version, which is stored as pickles and not read here" if other else ""
    raise DataMissingError(
        f"{TITLES[name]} is not on this machine (looked at {', '.join(map(str, places))}{aside}): "
        f"fetch it with `paperlib data fetch {name}`, or name the folder that holds it in PAPERLIB_DATA"
    )


def fetch(name: str, root: str | Path | None = None) -> Path:
    """Download the published archive of ``cifar10`` or ``tinyimagenet`` into the root and return its path.

    Shows a progress bar on a terminal and checks the MD5. Raises :class:`DataError` where that fails, in which case
    nothing new is left behind.
    """
    if name == "ilsvrc2012":
        raise DataError(
            "the images of ILSVRC-2012 are given out by image-net.org and Kaggle to whoever registers there: get them, "
            "then `paperlib data prepare` makes of them what runs read"
        )
    places = where(name, root)
    if name not in copies.COPIES:
        raise DataError(f"{TITLES[name]} is part of the repository: there is nothing to fetch")
    return copies.fetch_archive(copies.COPIES[name][0], places[0])


def _load_copy(name: str, copy: copies.Copy, place: Path) -> Dataset:
    key = copies.cache_key(name, place)
    stored = copies.read_cache(place, key)
    known = {fingerprint: kind for kind, fingerprint in FINGERPRINTS[name].items()}
    if stored is None:
        raw = copies.read_copy(name, copy, place)
        fingerprint = copies.fingerprint(f"{name} files 1", raw.checksums)
        arrays = {"train_images": raw.train[0], "train_labels": raw.train[1]}
        arrays |= {"test_images": raw.test[0], "test_labels": raw.test[1]}
        stored = {part: torch.from_numpy(array) for part, array in arrays.items()}, raw.classes, fingerprint
        copies.write_cache(place, key, stored)
    tensors, classes, fingerprint = stored
    kind = known.get(fingerprint, "unknown copy")
    if kind == "unknown copy":
        logger.warning("%s is no known copy of %s: results may differ from recorded ones", place, TITLES[name])
    title = TITLES[name] if kind == "official" else f"{TITLES[name]} ({kind})"
    return Dataset(name, title, **tensors, classes=classes, fingerprint=fingerprint)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------ the embedded data


def _embedded(rule: str, name: str, files: Sequence[str]) -> str:
    """The fingerprint of embedded files, each checked against ``data/sample/SHA256SUMS`` so that an error names it."""
    restore = "restore it with `git checkout data/sample`"
    found = {}
    for file in ("SHA256SUMS", *files):
        if not (SAMPLE / file).is_file():
            raise DataMissingError(f"{SAMPLE / file}, part of the embedded data, is missing: {restore}")
        found[file] = hashlib.sha256((SAMPLE / file).read_bytes()).hexdigest()
    lines = (SAMPLE / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    expected = {file: checksum for checksum, _, file in (line.partition("  ") for line in lines)}
    del found["SHA256SUMS"]
    for file in files:
        if found[file] != (right := expected.get(file)):
            raise DataChecksumError(
                f"{SAMPLE / file} is cut short or altered (SHA-256 {found[file]} instead of {right}): {restore}"
            )
    fingerprint = copies.fingerprint(rule, found)
    if fingerprint not in FINGERPRINTS[name].values():
        raise DataChecksumError(f"{SAMPLE / 'SHA256SUMS'} is not the one of this version: {restore}")
    return fingerprint


def _load_sample() -> Dataset:
    fingerprint = _embedded("sample idx 1", "sample", FASHION_FILES)
    images, labels, test_images, test_labels = (read_idx(SAMPLE / file) for file in FASHION_FILES)
    return Dataset(
        "sample", TITLES["sample"], images[:, None], labels.long(), test_images[:, None], test_labels.long(),
        FASHION_CLASSES, fingerprint,
    )  # fmt: skip


def photographs() -> dict[str, Tensor]:
    """The embedded photographs, name -> uint8 (3, H, W); ``data/README.md`` names their authors and licences."""
    return {
        name: torch.from_numpy(copies.decode(path.read_bytes(), path).copy())
        for name, path in ((name, SAMPLE / f"photos/{name}.jpg") for name in PHOTOS)
    }


def patch_places(name: str, height: int, width: int, test: bool) -> list[tuple[int, int, int]]:
    """Where the patches of a photograph of that size are cut: (top, left, side), side being 32 or 64 pixels.

    The picture is laid out in tiles of 80 × 80 pixels, every fifth of which (a knight's move apart) belongs to the
    test patches. No patch crosses the border of a tile, so no pixel is in both a training and a test patch.
    """
    grid = [(row, col) for row in range(height // TILE) for col in range(width // TILE)]
    tiles = [(row, col) for row, col in grid if ((2 * row + col) % 5 == 2) == test]
    rng = random.Random(f"{name} {'test' if test else 'train'}")
    places = []
    for k in range(TEST_PATCHES if test else TRAIN_PATCHES):
        row, col = tiles[k % len(tiles)]
        side = PATCH * (1 + k // len(tiles) % 2)
        top, left = (int(rng.random() * (TILE - side + 1)) for _ in range(2))
        places.append((row * TILE + top, col * TILE + left, side))
    return places


def _load_photos() -> Dataset:
    """32 × 32 patches, class = photograph; those cut at 64 × 64 are halved by averaging squares of four pixels."""
    fingerprint = _embedded("photos patches 1", "photos", [f"photos/{name}.jpg" for name in PHOTOS])
    pictures = photographs()

    def split(test: bool) -> tuple[Tensor, Tensor]:
        places = [patch_places(name, picture.shape[1], picture.shape[2], test) for name, picture in pictures.items()]
        order = interleaved([len(p) for p in places])
        patches = [_patch(pictures[PHOTOS[label]], *places[label][j]) for label, j in order]
        return torch.stack(patches), torch.tensor([label for label, _ in order])

    return Dataset("photos", TITLES["photos"], *split(test=False), *split(test=True), PHOTOS, fingerprint)


def _patch(picture: Tensor, top: int, left: int, side: int) -> Tensor:
    patch, s = picture[:, top : top + side, left : left + side], side // PATCH
    if s == 1:
        return patch
    sums = patch.reshape(3, PATCH, s, PATCH, s).sum((2, 4), dtype=torch.int32)
    return ((sums + s * s // 2) // (s * s)).to(torch.uint8)


# ---------------------------------------------------------------------------------- section 2: preparing images


def prepare(image: Image.Image, size: int = 256) -> Tensor:
    """Section 2: scale the shorter side to ``size``, cut out the central ``size`` × ``size``; uint8 (3, size, size).

    Turns the picture upright (EXIF) and grey or CMYK into RGB. The paper names no filter: this is Pillow's bilinear
    one, which averages over the pixels that shrink into one. Raises :class:`DataError` for pixels of no known range,
    and for a strip that would become huge.
    """
    image = in_eight_bits(ImageOps.exif_transpose(image)).convert("RGB")
    shorter = min(image.size)
    if max(image.size) > LONGEST * shorter:
        raise DataError(f"{image.width} × {image.height} pixels are a strip, more than {LONGEST} times as long as wide")
    width, height = (max(size, round(side * size / shorter)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    pixels = np.array(image.crop((left, top, left + size, top + size)))
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


LONGEST = 100
"""A longer strip than so many times its width is no picture, and would fill the memory when it is scaled."""


def in_eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits a pixel as grey of 8, which Pillow would cut off at 255; any other image as it is."""
    if image.mode == "F":
        raise DataError("its pixels are fractions, whose range no file tells")
    if not image.mode.startswith("I"):
        return image
    deep = np.asarray(image).astype(np.int64)
    if not 0 <= deep.min() <= deep.max() < 2**16:
        raise DataError("its pixels have more than 16 bits")
    return Image.fromarray(((deep + 128) // 257).astype(np.uint8))


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
