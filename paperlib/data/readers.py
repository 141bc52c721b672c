"""Readers of published data sets: formats, archives, folders, checksums."""

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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pooch
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from paperlib.data.images import DataChecksumError, DataError, DataMissingError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layout:
    """What a complete copy holds: its classes (or only their number), images a class, side in pixels."""

    classes: tuple[str, ...] | int
    train_per_class: int
    test_per_class: int
    side: int


@dataclass(frozen=True)
class Raw:
    """What a reader returns: (images, labels) of each split, class names, SHA-256 of every file that counts."""

    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    classes: tuple[str, ...]
    checksums: dict[str, str]


@dataclass(frozen=True)
class Copy:
    """One form of a data set: its path below the root and its reader; archives also have a URL and published MD5."""

    path: str
    read: Callable[[Path, Layout], Raw]
    url: str = ""
    md5: str = ""


def fingerprint(rule: str, checksums: Mapping[str, str]) -> str:
    """``sha256:`` and the SHA-256 of the rule's line followed by what ``sha256sum`` prints for the files, by name."""
    text = rule + "\n" + "".join(f"{checksums[name]}  {name}\n" for name in sorted(checksums))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def interleaved(counts: Sequence[int]) -> list[tuple[int, int]]:
    """The order (class, index in the class) of a set that has none of its own, for classes of these sizes.

    The images of a class are spread evenly over the whole, so that every stretch holds the classes as the whole does,
    which matters because the 2012 code does not shuffle and the last images may be held out. Of classes of one size,
    block j holds the j-th image of each, shuffled by a hash.
    """
    pairs = [(c, j) for c, count in enumerate(counts) for j in range(count)]

    def place(pair: tuple[int, int]) -> tuple[float, bytes]:
        c, j = pair
        return (j + 0.5) / counts[c], hashlib.sha256(b"%d %d" % (j, c)).digest()

    return sorted(pairs, key=place)


# ----------------------------------------------------------------------------------------------------- formats


def read_idx(path: Path) -> Tensor:
    """The uint8 array in a gzipped IDX file, the format of MNIST; raises :class:`DataError` where it is none."""
    try:
        raw = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise DataMissingError(f"{path} is missing") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged or cut short ({error}): get it again") from None
    ndim = raw[3] if raw[:3] == b"\0\0\x08" and len(raw) >= 4 else 0
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(ndim)]
    if not ndim or len(raw) != 4 + 4 * ndim + math.prod(shape):
        raise DataError(f"{path} is not an IDX file of bytes, or is cut short: get it again")
    return torch.from_numpy(np.frombuffer(raw, np.uint8, offset=4 + 4 * ndim).reshape(shape).copy())


def decode(data: bytes, where: Path) -> np.ndarray:
    """A compressed image as uint8 (3, H, W), grey turned into RGB; :class:`DataError` where it cannot be decoded."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    except Exception:  # damaged bytes make Pillow's decoders raise nearly anything
        raise DataError(f"{where} is damaged or not an image: unpack or fetch the data set again") from None


def _read_split(
    place: Path, groups: dict[str, list[str]], what: str, count: int, side: int,
    read: Callable[[str], bytes], checksums: dict[str, str],
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Images (N, 3, side, side) and labels (N,) of one split from its files by class, in interleaved order."""
    for name, files in groups.items():
        if len(files) != count:
            raise DataError(
                f"{place} holds {len(files)} {what} images of class {name} instead of {count}: "
                "it is incomplete or another data set, so unpack or fetch it again"
            )
    classes, order = list(groups), interleaved([count] * len(groups))
    images = np.empty((len(order), 3, side, side), np.uint8)
    for row, (label, index) in enumerate(tqdm(order, f"decoding {place.name} ({what})", disable=None, leave=False)):
        file = groups[classes[label]][index]
        data = read(file)
        checksums[file] = hashlib.sha256(data).hexdigest()
        pixels = decode(data, place / file)
        if pixels.shape[1:] != (side, side):
            h, w = pixels.shape[1:]
            raise DataError(f"{place / file} is {h}×{w} pixels instead of {side}×{side}: this is another data set")
        images[row] = pixels
    return images, np.array([label for label, _ in order], np.int64)


def _by_class(names: Iterable[str], pattern: str, classes: Sequence[str]) -> dict[str, list[str]]:
    """The names that match, by the pattern's first group, which is one of the classes."""
    groups: dict[str, list[str]] = {name: [] for name in classes}
    for name in names:
        if match := re.fullmatch(pattern, name):
            groups[match[1]].append(name)
    return groups


def scan(place: Path) -> dict[str, os.stat_result]:
    """Every file of a folder (or the one file) by its path below it, sorted; dot files are passed over."""
    if place.is_file():
        return {place.name: place.stat()}
    folders = {path.name for path in place.iterdir() if path.is_dir() and not path.name.startswith(".")}
    if folders - {"__MACOSX"} == {place.name}:  # beside others it is a class
        raise DataError(f"{place} holds another folder {place.name}: move what is in that one folder up")
    found: dict[str, os.stat_result] = {}
    todo = [(str(place), "")]
    while todo:
        folder, prefix = todo.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir() and not entry.name.startswith("."):
                    todo.append((entry.path, f"{prefix}{entry.name}/"))
                elif not entry.name.startswith("."):
                    found[prefix + entry.name] = entry.stat()
    return dict(sorted(found.items()))


def _read_cifar_binary(place: Path, layout: Layout) -> Raw:
    """The archive of the binary version or its unpacked folder: records of a label and 3 planes, in their order."""
    assert isinstance(layout.classes, tuple)
    batches = {f"data_batch_{i}.bin": layout.train_per_class * len(layout.classes) // 5 for i in range(1, 6)}
    batches["test_batch.bin"] = layout.test_per_class * len(layout.classes)
    if place.is_dir():
        files = {name: (place / name).read_bytes() for name in batches if (place / name).is_file()}
    else:
        with tarfile.open(place) as tar:
            members = ((member, Path(member.name).name) for member in tar if member.isfile())
            files = {name: tar.extractfile(m).read() for m, name in members if name in batches}  # type: ignore[union-attr]
    record = 1 + 3 * layout.side**2
    rows = {}
    for name, count in batches.items():
        found = len(files.get(name, b""))
        if found != count * record:
            raise DataError(f"{place / name} has {found} bytes instead of {count * record}: unpack or fetch it again")
        rows[name] = np.frombuffer(files[name], np.uint8).reshape(count, record)
        if rows[name][:, 0].max() >= len(layout.classes):
            raise DataError(f"{place / name} has a label above {len(layout.classes) - 1}: unpack or fetch it again")

    def split(records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return records[:, 1:].reshape(-1, 3, layout.side, layout.side).copy(), records[:, 0].astype(np.int64)

    train, test = split(np.concatenate([rows[name] for name in list(batches)[:5]])), split(rows["test_batch.bin"])
    return Raw(train, test, layout.classes, {name: hashlib.sha256(data).hexdigest() for name, data in files.items()})


def _read_tiny_imagenet(place: Path, layout: Layout) -> Raw:
    """The zip of Tiny ImageNet or its unpacked folder; the test split is its labelled ``val``."""
    if place.is_dir():
        return _read_tiny_files(place, layout, scan(place), lambda file: (place / file).read_bytes())
    with zipfile.ZipFile(place) as archive:
        top = "tiny-imagenet-200/"
        names = sorted(name.removeprefix(top) for name in archive.namelist())
        return _read_tiny_files(place, layout, names, lambda file: archive.read(top + file))


def wordnet_words(place: Path) -> dict[str, str]:
    """WordNet id -> the first word that ``words.txt`` of a copy of Tiny ImageNet has for it; empty without the file."""
    try:
        if place.is_dir():
            text = (place / "words.txt").read_text(encoding="utf-8")
        else:
            with zipfile.ZipFile(place) as archive:
                text = archive.read("tiny-imagenet-200/words.txt").decode()
    except (OSError, KeyError, UnicodeDecodeError, zipfile.BadZipFile, zlib.error):
        return {}
    lines = [line.partition("\t") for line in text.splitlines()]
    return {wnid: word for wnid, _, words in lines if (word := words.split(",")[0].strip())}


def _read_tiny_files(place: Path, layout: Layout, names: Iterable[str], read: Callable[[str], bytes]) -> Raw:
    names = list(names)
    classes = sorted({name.split("/")[1] for name in names if re.fullmatch(r"train/[^/]+/.*", name)})
    if len(classes) != layout.classes:
        raise DataError(
            f"{place} holds {len(classes)} classes (folders below train) instead of {layout.classes}: "
            "it is incomplete or another data set, so unpack or fetch it again"
        )
    if "val/val_annotations.txt" not in names:
        raise DataError(f"{place} lacks val/val_annotations.txt, the labels of its images: unpack or fetch it again")
    annotations = read("val/val_annotations.txt")
    checksums = {"val/val_annotations.txt": hashlib.sha256(annotations).hexdigest()}
    train = _by_class(names, r"train/([^/]+)/images/[^/]+\.(?i:jpeg)", classes)
    test: dict[str, list[str]] = {name: [] for name in classes}
    present = set(names)
    for line in annotations.decode("utf-8", "replace").splitlines():
        file, _, rest = line.partition("\t")
        wnid = rest.split("\t")[0]
        if wnid not in test or f"val/images/{file}" not in present:
            raise DataError(f"{place}: val/val_annotations.txt names what is not there: {line[:60]!r}")
        test[wnid].append(f"val/images/{file}")
    return Raw(
        _read_split(place, train, "train", layout.train_per_class, layout.side, read, checksums),
        _read_split(place, test, "val", layout.test_per_class, layout.side, read, checksums),
        tuple(classes), checksums,
    )  # fmt: skip


# ------------------------------------------------------------------------------------- what is known, fetching

CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

LAYOUTS = {"cifar10": Layout(CIFAR_CLASSES, 5000, 1000, 32), "tinyimagenet": Layout(200, 500, 50, 64)}

COPIES: dict[str, tuple[Copy, ...]] = {
    "cifar10": (
        Copy(
            "cifar-10-binary.tar.gz", _read_cifar_binary,
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530",
        ),
        Copy("cifar-10-batches-bin", _read_cifar_binary),
    ),
    "tinyimagenet": (
        Copy(
            "tiny-imagenet-200.zip", _read_tiny_imagenet,
            "http://cs231n.stanford.edu/tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de",
        ),
        Copy("tiny-imagenet-200", _read_tiny_imagenet),
    ),
}  # fmt: skip
"""Data set -> the forms it may have below the root, in the order in which they are looked for."""


def unread(name: str, root: Path) -> list[Path]:
    """Where a form of the data set would lie that is published too and never read: pickles can run code."""
    return [root / "cifar-10-batches-py", root / "cifar-10-python.tar.gz"] if name == "cifar10" else []


def _md5(file: Path) -> str:
    with file.open("rb") as f:
        return hashlib.file_digest(f, "md5").hexdigest()


def fetch_archive(copy: Copy, place: Path) -> Path:
    """Download an archive to ``place`` unless it is there and whole; a broken download leaves nothing behind."""
    part = place.with_name(place.name + ".part")
    try:
        if place.is_file() and _md5(place) == copy.md5:
            return place
        place.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(b"")
    except OSError as error:
        raise DataError(f"{part} cannot be written ({error.strerror}): name another folder in PAPERLIB_DATA") from None
    try:
        with tqdm(desc=place.name, total=1, unit="B", unit_scale=True, disable=None) as bar:
            # "identity": else some servers have requests unpack the .gz that is to be checked
            get = pooch.HTTPDownloader(progressbar=bar, timeout=30, headers={"Accept-Encoding": "identity"})
            get(copy.url, str(part), None)
        found = _md5(part)
        if found != copy.md5:
            raise DataChecksumError(
                f"what {copy.url} sent is cut short or altered (MD5 {found} instead of {copy.md5}): "
                f"try again, or put the right file at {place}"
            )
        os.replace(part, place)
    except OSError as error:  # requests' errors are OSErrors too
        raise DataError(
            f"{copy.url} could not be fetched ({type(error).__name__}): check the network and the space on the disk, "
            f"or put the file at {place}"
        ) from None
    finally:
        part.unlink(missing_ok=True)
    return place


def read_copy(name: str, copy: Copy, place: Path) -> Raw:
    """Read a whole copy, an archive only after its MD5 was found right; every failure is a :class:`DataError`."""
    try:
        if copy.md5 and (found := _md5(place)) != copy.md5:
            raise DataChecksumError(
                f"{place} is cut short or altered (MD5 {found} instead of {copy.md5}): "
                f"fetch it again with `paperlib data fetch {name}`"
            )
        return copy.read(place, LAYOUTS[name])
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{place} cannot be read ({reason}): fetch or unpack it again") from None
