"""A large data set in few files: prepared images (section 2), packed back to back, and read row by row.

:mod:`paperlib.data.pack` writes a folder that :func:`open_packed` opens:

================================  ============================================================================
``train.bin``, ``val.bin``        the images: JPEG files back to back, or uint8 (N, S, S, 3)
``train.safetensors``, ``val.…``  ``offsets`` int64 (N + 1,) of the images, their ``labels`` and CRC-32 ``crc`` (N,)
``statistics.safetensors``        whole sums over the training pixels, see :class:`Sums`
``report.txt``                    files left out, with reasons, and counts of unusual images
``index.json``                    written last: format, classes, counts, fingerprint, SHA-256 of all, itself included
================================  ============================================================================

*Order.* That of :func:`readers.interleaved`: every stretch of images has the class shares of the whole.

*Fingerprint.* Over the names ``<split>/<class>/<file>`` and SHA-256 of the source images, and the side S. It does not
depend on the store or the JPEG library. Images that could not be decoded count, too.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load as tensors_of
from torch import Tensor

from paperlib.data.images import DataError, DataMissingError, Dataset, Statistics, covariance_of_sums
from paperlib.data.sets import data_root
from paperlib.machine import allowed_cpus, whole_number

FORMAT = 4
FORMATS = (2, 3, 4)  # 2 had no checksums of single images and of index.json; 2 and 3 had raw pixels as (N, 3, S, S)
SPLITS = ("train", "val")
QUALITY = 95
"""Default of the JPEGs."""
LARGEST = 4096
"""Pixels: a larger side would need gigabytes for the sums."""
FILES = (*(f"{split}.{kind}" for split in SPLITS for kind in ("bin", "safetensors")), "statistics.safetensors")
ENTRIES = {"key", "store", "quality", "size", "classes", "counts", "unusual", "left_out", "fingerprint", "files"}

Store = Literal["jpeg", "raw"]


def decoded(data: bytes | memoryview, store: Store, size: int, planes: bool = False) -> np.ndarray:
    """A stored image: uint8 (3, size, size); ``planes``: its raw pixels lie in that order, as before format 4."""
    if store == "raw":
        pixels = np.frombuffer(data, np.uint8)
        return pixels.reshape(3, size, size) if planes else pixels.reshape(size, size, 3).transpose(2, 0, 1)
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
    """The images of a split, read on demand and indexed like a uint8 tensor (N, 3, S, S).

    ``images[rows]`` takes an int, a slice, or an int64 or bool tensor, and returns a new tensor, read by ``threads``
    threads. :meth:`stretch` is a part that stays unread. It may be pickled and forked: each process opens the file.
    Raises :class:`DataError` for a JPEG whose checksum is wrong, or that cannot be decoded.
    """

    dtype = torch.uint8
    ndim = 4

    def __init__(
        self, file: Path, offsets: Tensor, store: Store, size: int, threads: int = 4, crc: Tensor | None = None,
        planes: bool = False,
    ) -> None:  # fmt: skip
        self.file, self.offsets, self.store, self.size = file, offsets, store, size
        self.threads, self.crc, self.planes = threads, crc, planes
        self._opened: tuple[int, np.ndarray, ThreadPoolExecutor] | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def shape(self) -> torch.Size:
        """(N, 3, S, S)"""
        return torch.Size((len(self), 3, self.size, self.size))

    def __getitem__(self, rows: int | slice | Tensor) -> Tensor:
        places = torch.arange(len(self))[rows]
        shape = (places.numel(), *self.shape[1:])
        images = torch.empty(shape, dtype=torch.uint8, memory_format=torch.channels_last)  # as they are augmented
        wanted = list(zip(places.flatten().tolist(), images, strict=True))
        if wanted:
            data, pool = self._open()
            shares = [wanted[k :: self.threads] for k in range(min(self.threads, len(wanted)))]
            list(pool.map(lambda share: self._fill(data, share), shares))
        return images.unflatten(0, places.shape) if places.ndim else images[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (image for some in self.split(64) for image in some)

    def split(self, n: int) -> Iterator[Tensor]:
        """The images in order, ``n`` at a time: uint8 (n, 3, S, S), the last fewer."""
        return (self[start : start + n] for start in range(0, len(self), n))

    def stretch(self, start: int, stop: int) -> Images:
        """The images of rows ``start`` to ``stop``, still unread, where a slice would read them."""
        start, stop, _ = slice(start, stop).indices(len(self))
        stop = max(start, stop)
        crc = None if self.crc is None else self.crc[start:stop]
        return Images(self.file, self.offsets[start : stop + 1], self.store, self.size, self.threads, crc, self.planes)

    def damage(self) -> str:
        """Where the file is altered, in words; empty without checksums of single images."""
        data, _ = self._open()
        bad = [row for row in range(len(self)) if not self._whole(row, data)]
        place = f"bytes {int(self.offsets[bad[0]])} to {int(self.offsets[bad[0] + 1])}" if bad else ""
        return f" in {len(bad):,} images, the first at {place}" if bad else ""

    def _whole(self, row: int, data: np.ndarray) -> bool:
        start, end = self.offsets[row : row + 2].tolist()
        return self.crc is None or zlib.crc32(data[start:end].data) == int(self.crc[row])

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}

    def _open(self) -> tuple[np.ndarray, ThreadPoolExecutor]:
        if self._opened is None or self._opened[0] != os.getpid():  # threads do not outlive a fork
            data = np.asarray(np.memmap(self.file, np.uint8, "r"))  # slices of a memmap proper take longer
            self._opened = os.getpid(), data, ThreadPoolExecutor(self.threads)
        return self._opened[1:]

    def _fill(self, data: np.ndarray, wanted: list[tuple[int, Tensor]]) -> None:
        for row, image in wanted:
            start, end = self.offsets[row : row + 2].tolist()
            try:
                if self.store == "jpeg" and not self._whole(row, data):  # of raw pixels it would take half of the time
                    raise ValueError("wrong checksum")
                np.copyto(image.numpy(), decoded(data[start:end].data, self.store, self.size, self.planes))
            except Exception as error:  # damaged bytes make Pillow's decoders raise nearly anything
                raise DataError(
                    f"{self.file} is altered at bytes {start} to {end} ({error}): check it with `paperlib data check`, "
                    "and prepare the images again"
                ) from None


@dataclass(frozen=True, eq=False)
class Packed:
    """A prepared data set: labels int64 (N,) index ``classes``; ``val`` is empty if the source had none."""

    train: Images
    train_labels: Tensor
    val: Images
    val_labels: Tensor
    classes: tuple[str, ...]
    fingerprint: str
    sums: Sums
    quality: int | None  # of the JPEGs; None where pixels are raw


def sealed(index: dict[str, Any]) -> bytes:
    """``index.json`` with the SHA-256 of its own content."""
    return json.dumps(index | {"sha256": _digest(index)}, indent=1).encode()


def _digest(index: dict[str, Any]) -> str:
    content = {name: value for name, value in index.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_index(folder: Path) -> dict[str, Any]:
    """``index.json`` of a prepared folder; :class:`DataError` if it is missing, damaged or of another format."""
    file, again = folder / "index.json", "prepare the images again into another folder"
    try:
        index = json.loads(file.read_bytes())
        if index["format"] not in FORMATS:
            raise DataError(f"{folder} has format {index['format']!r} and this version reads {FORMATS}: {again}")
        if missing := sorted(ENTRIES - index.keys()):
            raise ValueError(f"it lacks {missing[0]}")
        if index.get("sha256") != (_digest(index) if index["format"] >= 3 or "sha256" in index else None):
            raise ValueError("its SHA-256 is wrong")
    except (FileNotFoundError, NotADirectoryError):
        begun = any(folder.glob("parts-*")) or any((folder / name).exists() for name in FILES)
        again = "run the same `paperlib data prepare` to complete it" if begun else "name a folder of prepared images"
        raise DataMissingError(f"{folder} lacks index.json, which is written last: {again}") from None
    except DAMAGED as error:
        raise DataError(f"{file} is damaged ({error}): {again}") from None
    return dict(index)


DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, SafetensorError)
"""What reading a damaged ``index.json`` or safetensors file raises."""


def open_packed(folder: Path, *, check: bool = False, threads: int = 4) -> Packed:
    """Open a prepared folder. Verifies sizes and the SHA-256 of small files, with ``check`` of all files.

    Raises :class:`DataMissingError` for a missing folder or file, and :class:`DataError` for one that is cut short,
    altered or of another format.
    """
    index = read_index(folder)
    try:
        return _open(folder, index, check, threads)
    except DAMAGED as error:
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        raise DataError(
            f"{folder / 'index.json'} is damaged ({what}): remove the folder and prepare it again"
        ) from None


def _open(folder: Path, index: dict[str, Any], check: bool, threads: int) -> Packed:
    again = "remove the folder and prepare it again"
    for name in FILES:
        file, expected = folder / name, index["files"][name]
        if not file.is_file():
            raise DataMissingError(f"{file} is missing: {again}")
        if (found := file.stat().st_size) != expected["bytes"]:
            raise DataError(f"{file} has {found} bytes instead of {expected['bytes']}: {again}")
        if file.suffix != ".bin" and checksum_of(file) != expected:
            raise DataError(f"{file} is altered (its SHA-256 is not that of index.json): {again}")
    tensors = {name: tensors_of((folder / f"{name}.safetensors").read_bytes()) for name in (*SPLITS, "statistics")}
    classes = tuple(index["classes"])
    if index["store"] not in ("jpeg", "raw") or index["size"] not in range(1, LARGEST + 1):
        raise ValueError("its store or size is none")
    images, planes = {}, index["format"] < 4
    for split in SPLITS:
        offsets, labels, crc = (tensors[split].get(name) for name in ("offsets", "labels", "crc"))
        if offsets is None or labels is None or (offsets.diff() < 0).any():
            raise ValueError(f"{split} lacks the places of its images")
        if not len(labels) == len(offsets) - 1 == index["counts"][split]:
            raise ValueError(f"{split} has another number of images")
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(classes):
            raise ValueError(f"{split} has labels without a class")
        images[split] = Images(folder / f"{split}.bin", offsets, index["store"], index["size"], threads, crc, planes)
        if check and checksum_of(folder / f"{split}.bin") != index["files"][f"{split}.bin"]:
            raise DataError(f"{folder / f'{split}.bin'} is altered{images[split].damage()}: {again}")
    statistics = tensors["statistics"]
    return Packed(
        images["train"], tensors["train"]["labels"], images["val"], tensors["val"]["labels"], classes,
        str(index["fingerprint"]), Sums(int(statistics.pop("n")), **statistics), index["quality"],
    )  # fmt: skip


def check_folder(folder: Path) -> str:
    """Verify every checksum of a prepared folder; one line on it. Raises :class:`DataError` for any damage."""
    opened = open_packed(folder, check=True)
    said = f"{folder}: {len(opened.train):,} train and {len(opened.val):,} val images, all checksums are right"
    old = opened.train.crc is None
    return said + ("; made by an older version, without a checksum for each image or for index.json" if old else "")


def load(folder: Path | None = None) -> Dataset:
    """A prepared data set for training and testing, by default ``ilsvrc2012`` below the root of the data sets.

    Its test images are those of ``val``. A raw store or another JPEG quality gives other pixels, and so another
    fingerprint. Raises :class:`DataError` if there is none, or one without validation images.
    """
    place = folder or data_root() / "ilsvrc2012"
    if not place.is_dir():
        raise DataMissingError(
            f"there are no prepared images at {place}: make them of ILSVRC-2012, or of any folders train/<class>/ and "
            f"val/<class>/, with `paperlib data prepare SOURCE {place}`"
        )
    threads = max(1, allowed_cpus() // (whole_number("LOCAL_WORLD_SIZE") or 1))
    opened = open_packed(place, threads=threads)
    if not len(opened.val):
        raise DataError(f"{place} has no validation images, which training needs: prepare them too, from val/<class>/")
    store, quality = opened.train.store, opened.quality
    settings = "" if (store, quality) == ("jpeg", QUALITY) else f" {store} {quality or ''}".rstrip()
    many = len(opened.classes)
    return Dataset(
        "ilsvrc2012", "ILSVRC-2012" if many == 1000 else f"prepared images of {many} classes",
        opened.train, opened.train_labels, opened.val, opened.val_labels,  # type: ignore[arg-type]
        opened.classes, opened.fingerprint + settings, opened.sums.statistics(),
    )  # fmt: skip
