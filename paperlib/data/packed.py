"""A large data set in few files: prepared images (section 2), packed back to back, and read row by row.

:mod:`paperlib.data.pack` writes a folder that :func:`open_packed` opens:

================================  ============================================================================
``train.bin``, ``val.bin``        the images: JPEG files back to back, or uint8 (N, 3, S, S)
``train.safetensors``, ``val.…``  ``offsets`` int64 (N + 1,), where each image starts and ends; ``labels`` int64 (N,)
``statistics.safetensors``        whole sums over the training pixels, see :class:`Sums`
``report.txt``                    what was left out and why, what was out of the ordinary
``index.json``                    written last: format, classes, counts, size and SHA-256 of the others, fingerprint
================================  ============================================================================

*Order.* That of :func:`readers.interleaved`, so that every stretch of images holds the classes as the whole
does.

*Fingerprint.* Over the names ``<split>/<class>/<file>`` and the SHA-256 of the source files, and the side S: it does
not depend on the store, nor on the version of a JPEG library. What was left out counts too, as it was read.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from paperlib.data.images import DataError, DataMissingError, Dataset, Statistics, covariance_of_sums
from paperlib.data.sets import data_root
from paperlib.machine import allowed_cpus, whole_number

FORMAT = 2
SPLITS = ("train", "val")
QUALITY = 95
"""Of the JPEGs, unless another is asked for."""
FILES = (*(f"{split}.{kind}" for split in SPLITS for kind in ("bin", "safetensors")), "statistics.safetensors")

Store = Literal["jpeg", "raw"]


def decoded(data: bytes | memoryview, store: Store, size: int) -> np.ndarray:
    """A stored image: uint8 (3, size, size)."""
    if store == "raw":
        return np.frombuffer(data, np.uint8).reshape(3, size, size)
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        return np.asarray(image).transpose(2, 0, 1)


def checksum_of(file: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file, as ``index.json`` has them."""
    with file.open("rb") as stream:
        return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}


@dataclass(frozen=True, eq=False)
class Sums:
    """Whole sums, int64, over the ``n`` prepared training images, of their pixels 0–255 as they are read back.

    ``pixel_sum`` and ``pixel_square`` (of squares) are (3, S, S); ``colour_first`` (3,) and ``colour_second`` (3, 3)
    are the sums of RGB and of its products with itself, over all pixels. None overflows below 1e9 images of 256².
    """

    n: int
    pixel_sum: Tensor
    pixel_square: Tensor
    colour_first: Tensor
    colour_second: Tensor

    def mean_image(self) -> Tensor:
        """Section 2: float32 (3, S, S), equal to :func:`paperlib.data.images.mean_image` of the images."""
        return (self.pixel_sum.double() / self.n).float()

    def colour_covariance(self) -> Tensor:
        """Section 4.1: float64 (3, 3), equal to :func:`paperlib.data.images.colour_covariance` of the images."""
        pixels = self.n * self.pixel_sum[0].numel()
        return covariance_of_sums(pixels, self.colour_first.tolist(), self.colour_second.tolist())

    def statistics(self) -> Statistics:
        """What augmentation needs to know of the training images."""
        mean, square = (total.double() / self.n for total in (self.pixel_sum, self.pixel_square))
        return Statistics(mean, square, self.colour_covariance())


class Images:
    """The images of a split, read when they are asked for, by the indices of a uint8 tensor (N, 3, S, S).

    ``images[rows]`` takes an int, a slice, or an int64 or bool tensor, and gives a new tensor, read by ``threads``
    threads; whoever wants a part still unread takes :meth:`stretch`. It may be pickled and forked: every process opens
    the file anew.
    Raises :class:`DataError` for an image that cannot be decoded.
    """

    dtype = torch.uint8
    ndim = 4

    def __init__(self, file: Path, offsets: Tensor, store: Store, size: int, threads: int = 4) -> None:
        self.file, self.offsets, self.store, self.size, self.threads = file, offsets, store, size, threads
        self._opened: tuple[int, np.ndarray, ThreadPoolExecutor] | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def shape(self) -> torch.Size:
        """(N, 3, S, S)"""
        return torch.Size((len(self), 3, self.size, self.size))

    def __getitem__(self, rows: int | slice | Tensor) -> Tensor:
        starts, ends = self.offsets[:-1][rows], self.offsets[1:][rows]
        images = torch.empty(*starts.shape, 3, self.size, self.size, dtype=torch.uint8)
        places = list(
            zip(starts.flatten().tolist(), ends.flatten().tolist(), images.view(-1, *self.shape[1:]), strict=True)
        )
        if places:
            data, pool = self._open()
            shares = [places[k :: self.threads] for k in range(min(self.threads, len(places)))]
            list(pool.map(lambda share: self._fill(data, share), shares))
        return images

    def __iter__(self) -> Iterator[Tensor]:
        return (image for some in self.split(64) for image in some)

    def split(self, n: int) -> Iterator[Tensor]:
        """The images in order, ``n`` at a time: uint8 (n, 3, S, S), the last fewer."""
        return (self[start : start + n] for start in range(0, len(self), n))

    def stretch(self, start: int, stop: int) -> Images:
        """The images of rows ``start`` to ``stop``, still unread, where a slice would read them."""
        start, stop, _ = slice(start, stop).indices(len(self))
        return Images(self.file, self.offsets[start : max(start, stop) + 1], self.store, self.size, self.threads)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}

    def _open(self) -> tuple[np.ndarray, ThreadPoolExecutor]:
        if self._opened is None or self._opened[0] != os.getpid():  # threads do not outlive a fork
            data = np.asarray(np.memmap(self.file, np.uint8, "r"))  # slices of a memmap proper take longer
            self._opened = os.getpid(), data, ThreadPoolExecutor(self.threads)
        return self._opened[1:]

    def _fill(self, data: np.ndarray, places: list[tuple[int, int, Tensor]]) -> None:
        for start, end, image in places:
            try:
                np.copyto(image.numpy(), decoded(data[start:end].data, self.store, self.size))
            except Exception as error:  # damaged bytes make Pillow's decoders raise nearly anything
                reason = type(error).__name__
                raise DataError(
                    f"{self.file} is altered at bytes {start} to {end} ({reason}): prepare it again"
                ) from None


@dataclass(frozen=True, eq=False)
class Packed:
    """A prepared data set: labels int64 (N,) index ``classes``; ``val`` has no images where the source had none."""

    train: Images
    train_labels: Tensor
    val: Images
    val_labels: Tensor
    classes: tuple[str, ...]
    fingerprint: str
    sums: Sums
    quality: int | None  # of the JPEGs; None where pixels are raw


def read_index(folder: Path) -> dict[str, Any]:
    """``index.json`` of a prepared folder; :class:`DataError` where it is missing, damaged or of another format."""
    again = "prepare it again with `paperlib data prepare`"
    try:
        index = json.loads((folder / "index.json").read_bytes())
        written = index["format"]
    except FileNotFoundError:
        if any(folder.glob("parts-*")) or any((folder / name).exists() for name in FILES):
            again = "the same `paperlib data prepare` goes on, or makes it again"
        else:
            again = "name a folder that `paperlib data prepare` has made"
        raise DataMissingError(f"{folder} lacks index.json, which is written last: {again}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / 'index.json'} is damaged ({error}): {again}, into another folder") from None
    if written != FORMAT:
        raise DataError(
            f"{folder} is of format {written} and this version reads {FORMAT}: {again}, into another folder"
        )
    wanted = {"key", "store", "quality", "size", "classes", "counts", "unusual", "left_out", "fingerprint", "files"}
    if missing := sorted(wanted - index.keys()):
        raise DataError(f"{folder / 'index.json'} is damaged (it lacks {missing[0]}): {again}, into another folder")
    return dict(index)


def open_packed(folder: Path, *, check: bool = False, threads: int = 4) -> Packed:
    """Open a prepared folder; sizes are checked, and the SHA-256 of small files, with ``check`` of all.

    Raises :class:`DataMissingError` for a folder or file that is not there and :class:`DataError` for one that is cut
    short, altered or of another format.
    """
    index = read_index(folder)
    for name in FILES:
        file, expected, again = folder / name, index["files"][name], "remove the folder and prepare it again"
        if not file.is_file():
            raise DataMissingError(f"{file} is missing: {again}")
        if (found := file.stat().st_size) != expected["bytes"]:
            raise DataError(f"{file} has {found} bytes instead of {expected['bytes']}: {again}")
        if (check or file.suffix != ".bin") and checksum_of(file) != expected:
            raise DataError(f"{file} is altered (its SHA-256 is not that of index.json): {again}")
    tensors = {name: load_file(folder / f"{name}.safetensors") for name in (*SPLITS, "statistics")}
    train, val = (
        Images(folder / f"{split}.bin", tensors[split]["offsets"], index["store"], index["size"], threads)
        for split in SPLITS
    )
    statistics = tensors["statistics"]
    return Packed(
        train, tensors["train"]["labels"], val, tensors["val"]["labels"], tuple(index["classes"]),
        index["fingerprint"], Sums(int(statistics.pop("n")), **statistics), index["quality"],
    )  # fmt: skip


def load(folder: Path | None = None) -> Dataset:
    """A prepared data set, by default ``ilsvrc2012`` below the root of the data sets, for training and testing.

    Its test images are those of ``val``. What is stored raw, or with another quality of JPEGs than usual, has
    other pixels, and so another fingerprint. Raises :class:`DataError` where there is none, or one without
    validation images.
    """
    place = folder or data_root() / "ilsvrc2012"
    if not place.is_dir():
        raise DataMissingError(
            f"no prepared images are at {place}: `paperlib data prepare SOURCE {place}` makes them of ILSVRC-2012, or "
            "of any folders train/<class>/ and val/<class>/"
        )
    threads = max(1, allowed_cpus() // (whole_number("LOCAL_WORLD_SIZE") or 1))
    opened = open_packed(place, threads=threads)
    if not len(opened.val):
        raise DataError(
            f"{place} has no validation images, so no error can be told: prepare them too, from val/<class>/"
        )
    store, quality = opened.train.store, opened.quality
    settings = "" if (store, quality) == ("jpeg", QUALITY) else f" {store} {quality or ''}".rstrip()
    many = len(opened.classes)
    return Dataset(
        "ilsvrc2012", "ILSVRC-2012" if many == 1000 else f"prepared images of {many} classes",
        opened.train, opened.train_labels, opened.val, opened.val_labels,  # type: ignore[arg-type]
        opened.classes, opened.fingerprint + settings, opened.sums.statistics(),
    )  # fmt: skip
