"""Data sets: ``load(name)`` gives uint8 images, labels, class names and a fingerprint of the copy that was read.

``sample`` and ``photos`` are embedded in the repository; ``cifar10`` and ``tinyimagenet`` are the user's own copies, found
below a root (the argument, else the environment variable PAPERLIB_DATA, else ``data/cache`` of the repository).

*Order.* A copy kept in one folder a class has no order of its own. Block j of the order used here holds the j-th
file of every class, the classes of a block being shuffled by a hash (:func:`interleaved`); so every stretch of
images is balanced, which matters because the 2012 code does not shuffle. CIFAR-10's binary archive keeps its order.

*Fingerprint.* ``sha256:`` and the SHA-256 of a text: one line naming the set and the reading rule, then, sorted by name,
the line that ``sha256sum`` prints for each file. It is taken over the stored (compressed) bytes, because two versions
of a JPEG decoder may differ in a last bit. An archive whose published MD5 matches and whose content is not among the
known copies has the fingerprint ``md5:`` and that MD5. A folder that is no known copy is called so in its title.

*Cache.* Decoded images are kept beside the copy in ``.paperlib-cache`` (else in the user's cache folder), valid as long as
no file's name, size or time of change differs, and checked by a checksum of its own. Archives are read in place:
nothing is ever unpacked onto the disk.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import math
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pooch
import torch
from PIL import Image, UnidentifiedImageError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from paperlib.errors import PaperlibError

logger = logging.getLogger(__name__)

REPOSITORY = Path(__file__).resolve().parent.parent
SAMPLE = REPOSITORY / "data" / "sample"

FINGERPRINTS: dict[str, dict[str, str]] = {
    "sample": {"embedded": "sha256:996e297b8085dae95007ba7853502df7a590eacffe56be6a0eaa1f726834b1ae"},
    "photos": {"embedded": ""},
    "cifar10": {
        "official": "md5:c32a1d4ab5d03f1284b67883e8d87530",
        "jpeg-copy": "sha256:d6d4b66addd2b305c42be3d58f6a297d778d647ad10ba8fe696b91769077ebaf",
    },
    "tinyimagenet": {"official": ""},
}
"""Data set -> known copy -> fingerprint."""

FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class DataError(PaperlibError):
    """Data that cannot be used: unknown, damaged, or laid out in another way than expected."""


class DataMissingError(DataError):
    """Data that is not on this machine."""


class DataChecksumError(DataError):
    """A file whose bytes are not those published."""


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images (N, C, H, W) uint8, labels (N,) int64 that index ``classes``, and which copy they came from."""

    name: str
    title: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]
    fingerprint: str

    def __repr__(self) -> str:
        c, h, w = self.train_images.shape[1:]
        sizes = f"{len(self.train_images):,} train and {len(self.test_images):,} test images"
        return f"<{self.title}: {sizes} of {h}×{w} in {c} channels, {len(self.classes)} classes>"


@dataclass(frozen=True)
class Layout:
    """What a complete copy holds: its classes (or their number), images a class in each split, side in pixels."""

    classes: tuple[str, ...] | int
    train_per_class: int
    test_per_class: int
    side: int


LAYOUTS = {"cifar10": Layout(CIFAR_CLASSES, 5000, 1000, 32), "tinyimagenet": Layout(200, 500, 50, 64)}
TITLES = {"sample": "Fashion-MNIST sample", "photos": "photograph patches", "cifar10": "CIFAR-10", "tinyimagenet": "Tiny ImageNet"}
KNOWN = tuple(TITLES)


# ---------------------------------------------------------------------------------------------- embedded data


def read_idx(path: Path) -> Tensor:
    """The uint8 array in a gzipped IDX file, the format of MNIST; :class:`DataError` where it is none."""
    try:
        raw = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise DataMissingError(f"{path} is missing") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged or cut short ({error}): fetch it again") from None
    ndim = raw[3] if len(raw) >= 4 and raw[:3] == b"\0\0\x08" else 0
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(ndim)]
    if not ndim or len(raw) != 4 + 4 * ndim + math.prod(shape):
        raise DataError(f"{path} is not an IDX file of bytes, or is cut short: fetch it again")
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8, offset=4 + 4 * ndim).reshape(shape)


def interleaved(counts: Sequence[int]) -> list[tuple[int, int]]:
    """The order (class, index within the class) in which the images of classes of these sizes are presented."""
    pairs = [(c, j) for c, count in enumerate(counts) for j in range(count)]
    return sorted(pairs, key=lambda pair: (pair[1], hashlib.sha256(b"%d %d" % (pair[1], pair[0])).digest()))


def _fingerprint(rule: str, checksums: dict[str, str]) -> str:
    text = rule + "\n" + "".join(f"{checksums[name]}  {name}\n" for name in sorted(checksums))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _verify_embedded(name: str, rule: str, files: Sequence[str]) -> str:
    """The fingerprint of embedded files, each checked against ``data/sample/SHA256SUMS`` so that errors name one."""
    listed = (line.split("  ", 1) for line in (SAMPLE / "SHA256SUMS").read_text().splitlines())
    expected = {file: checksum for checksum, file in listed}
    found = {}
    for file in files:
        path, restore = SAMPLE / file, "restore it with `git checkout data/sample`"
        if not path.is_file():
            raise DataMissingError(f"{path}, part of the embedded data, is missing: {restore}")
        found[file] = hashlib.sha256(path.read_bytes()).hexdigest()
        if found[file] != expected.get(file):
            raise DataChecksumError(
                f"{path} is damaged (SHA-256 {found[file]} instead of {expected.get(file)}): {restore}"
            )
    return _fingerprint(rule, found)


FASHION_FILES = tuple(
    f"fashion-mnist/{split}-{kind}-ubyte.gz" for split in ("t10k", "train") for kind in ("images-idx3", "labels-idx1")
)


def _load_sample() -> Dataset:
    fingerprint = _verify_embedded("sample", "sample idx 1", FASHION_FILES)
    test_images, test_labels, train_images, train_labels = (read_idx(SAMPLE / file) for file in FASHION_FILES)
    return Dataset(
        "sample", TITLES["sample"], train_images[:, None], train_labels.long(), test_images[:, None], test_labels.long(),
        FASHION_CLASSES, fingerprint,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------ the user's own data


@dataclass(frozen=True)
class Copy:
    """One form in which a data set may lie below the root; only archives have a URL and a published MD5."""

    path: str
    read: Callable[[Path, Layout], Raw]
    url: str = ""
    md5: str = ""


@dataclass
class Raw:
    """What a reader returns: arrays, labels, class names, and the SHA-256 of every file that was read."""

    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    classes: tuple[str, ...]
    checksums: dict[str, str]


def _scan(place: Path) -> dict[str, os.stat_result]:
    """Every file below a folder (or the one file) with its stat, in the order of names; dot files are passed over."""
    if place.is_file():
        return {place.name: place.stat()}
    found: dict[str, os.stat_result] = {}
    todo = [(str(place), "")]
    while todo:
        folder, prefix = todo.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    todo.append((entry.path, f"{prefix}{entry.name}/"))
                else:
                    found[prefix + entry.name] = entry.stat()
    return dict(sorted(found.items()))


def _decode(data: bytes, where: str, side: int) -> np.ndarray:
    """One compressed image as (3, side, side) uint8; grey becomes RGB."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{where} is not a readable image ({error}): fetch the data set again") from None
    if pixels.shape != (side, side, 3):
        h, w = pixels.shape[:2]
        raise DataError(f"{where} is {h}×{w} pixels instead of {side}×{side}: this is another data set")
    return pixels.transpose(2, 0, 1)


def _read_split(
    place: Path, split: str, groups: dict[str, list[str]], count: int, read: Callable[[str], bytes], side: int,
    checksums: dict[str, str],
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Images and labels of one split from its file names grouped by class, in interleaved order."""
    for name, files in groups.items():
        if len(files) != count:
            raise DataError(
                f"{place} holds {len(files)} {split} images of class {name} instead of {count}: "
                "the copy is incomplete or another data set, so unpack or fetch it again"
            )
    names = list(groups)
    order = interleaved([len(files) for files in groups.values()])
    images = np.empty((len(order), 3, side, side), np.uint8)
    for row, (label, index) in enumerate(tqdm(order, f"decoding {place.name} {split}", disable=None, leave=False)):
        file = groups[names[label]][index]
        data = read(file)
        checksums[file] = hashlib.sha256(data).hexdigest()
        images[row] = _decode(data, f"{place / file}", side)
    return images, np.array([label for label, _ in order], np.int64)


def _grouped(place: Path, names: Iterable[str], pattern: str, classes: Sequence[str]) -> dict[str, list[str]]:
    """File names that match, by class (the pattern's first group); every class must be there, and no other."""
    groups: dict[str, list[str]] = {name: [] for name in classes}
    for name in sorted(names):
        match = re.fullmatch(pattern, name)
        if match:
            if match[1] not in groups:
                raise DataError(f"{place} holds a class {match[1]!r} that does not belong to this data set")
            groups[match[1]].append(name)
    return groups


def _read_cifar_images(place: Path, layout: Layout) -> Raw:
    assert isinstance(layout.classes, tuple)
    names, checksums = _scan(place), {}  # type: ignore[var-annotated]
    splits = []
    for split, count in (("train", layout.train_per_class), ("test", layout.test_per_class)):
        groups = _grouped(place, names, rf"{split}/([^/]+)/[^/]+\.(?:jpe?g|png)", layout.classes)
        read = lambda file: (place / file).read_bytes()  # noqa: E731
        splits.append(_read_split(place, split, groups, count, read, layout.side, checksums))
    return Raw(splits[0], splits[1], layout.classes, checksums)


COPIES: dict[str, tuple[Copy, ...]] = {
    "cifar10": (Copy("cifar10-images", _read_cifar_images),),
}


def data_root(root: str | Path | None = None) -> Path:
    """The folder that holds the user's data sets: the argument, else PAPERLIB_DATA, else ``data/cache``."""
    return Path(root or os.environ.get("PAPERLIB_DATA") or REPOSITORY / "data" / "cache").expanduser()


def where(name: str, root: str | Path | None = None) -> list[Path]:
    """The places at which :func:`load` looks for a data set, in this order."""
    if name in ("sample", "photos"):
        return [SAMPLE / {"sample": "fashion-mnist", "photos": "photos"}[name]]
    if name not in COPIES:
        raise DataError(f"there is no data set {name!r}; the known ones are {', '.join(KNOWN)}")
    return [data_root(root) / copy.path for copy in COPIES[name]]


def load(name: str, root: str | Path | None = None) -> Dataset:
    """The data set ``name``: ``sample``, ``photos``, ``cifar10`` or ``tinyimagenet``.

    Raises :class:`DataMissingError` where it is not at any of the places :func:`where` lists, and other
    :class:`DataError` where what lies there is damaged or no such data set.
    """
    places = where(name, root)
    if name == "sample":
        return _load_sample()
    for copy, place in zip(COPIES[name], places, strict=True):
        if place.exists():
            return _load_copy(name, copy, place)
    raise DataMissingError(
        f"{TITLES[name]} is not on this machine (looked at {', '.join(map(str, places))}): "
        f"fetch it with `paperlib data fetch {name}`"
    )


def _load_copy(name: str, copy: Copy, place: Path) -> Dataset:
    key = _key(name, place)
    stored = _read_cache(copy, place, key)
    if stored is None:
        raw = copy.read(place, LAYOUTS[name])
        fingerprint = _fingerprint(f"{name} files 1", raw.checksums)
        tensors = {
            "train_images": torch.from_numpy(raw.train[0]), "train_labels": torch.from_numpy(raw.train[1]),
            "test_images": torch.from_numpy(raw.test[0]), "test_labels": torch.from_numpy(raw.test[1]),
        }  # fmt: skip
        stored = tensors, raw.classes, fingerprint
        _write_cache(copy, place, key, *stored)
    tensors, classes, fingerprint = stored
    kind = next((kind for kind, known in FINGERPRINTS[name].items() if known == fingerprint), "unknown copy")
    title = TITLES[name] if kind == "official" else f"{TITLES[name]} ({kind.replace('jpeg-copy', 'JPEG copy')})"
    if kind == "unknown copy":
        logger.warning("%s is no known copy of %s: results may differ from the recorded ones", place, TITLES[name])
    return Dataset(name, title, **tensors, classes=classes, fingerprint=fingerprint)


def _key(name: str, place: Path) -> str:
    """A digest of the names, sizes and times of change of a copy's files: what a cached array is valid for."""
    lines = [f"{file} {stat.st_size} {stat.st_mtime_ns}\n" for file, stat in _scan(place).items()]
    return hashlib.sha256(f"{name} {LAYOUTS[name]} 1\n{''.join(lines)}".encode()).hexdigest()


def _cache_files(copy: Copy, place: Path) -> list[Path]:
    user = hashlib.sha256(str(place.resolve().parent).encode()).hexdigest()[:12]
    folders = [place.parent / ".paperlib-cache", Path(pooch.os_cache("paperlib")) / user]
    return [folder / f"{copy.path}.safetensors" for folder in folders]


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(memoryview(tensors[name].numpy()).cast("B"))
    return digest.hexdigest()


Stored = tuple[dict[str, Tensor], tuple[str, ...], str]


def _read_cache(copy: Copy, place: Path, key: str) -> Stored | None:
    for file in _cache_files(copy, place):
        try:
            with safe_open(file, "pt") as f:
                about = f.metadata() or {}
                if about.get("key") != key:
                    continue
                tensors = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118
            if _digest(tensors) == about["sha256"]:
                return tensors, tuple(about["classes"].split("\n")), about["fingerprint"]
            logger.warning("the cache %s is damaged and is made again", file)
        except (OSError, SafetensorError, KeyError):
            continue
    return None


def _write_cache(copy: Copy, place: Path, key: str, tensors: dict[str, Tensor], classes: tuple[str, ...], fingerprint: str) -> None:
    about = {"key": key, "sha256": _digest(tensors), "classes": "\n".join(classes), "fingerprint": fingerprint}
    for file in _cache_files(copy, place):
        part = file.with_name(f"{file.name}.{os.getpid()}.part")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            save_file(tensors, part, about)
            os.replace(part, file)
            return
        except (OSError, SafetensorError) as error:
            logger.info("no cache at %s: %s", file, error)
            part.unlink(missing_ok=True)


def mean_image(images: Tensor) -> Tensor:
    """Section 2: the mean of each pixel over uint8 images (N, C, H, W), as float32 (C, H, W); exact before rounding."""
    total = sum((chunk.sum(0, dtype=torch.int64) for chunk in images.split(1024)), torch.zeros(1, dtype=torch.int64))
    return (total.double() / len(images)).float()
