"""Readers of published data sets: formats, archives, folders, checksums."""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import math
import os
import re
import stat
import tarfile
import unicodedata
import warnings
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
from paperlib.files import follow_umask

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layout:
    """A complete copy: its classes (or their number), images per class and split, side in pixels."""

    classes: tuple[str, ...] | int
    train_per_class: int
    test_per_class: int
    side: int


@dataclass(frozen=True)
class Raw:
    """What a reader returns: (images, labels) of each split, class names, SHA-256 of each file read, by name."""

    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    classes: tuple[str, ...]
    checksums: dict[str, str]


@dataclass(frozen=True)
class Copy:
    """One form of a data set: its path below the root and its reader; for archives also URL and SHA-256."""

    path: str
    read: Callable[[Path, Layout], Raw]
    url: str = ""
    sha256: str = ""


def fingerprint(rule: str, checksums: Mapping[str, str]) -> str:
    """``sha256:`` and the SHA-256 of the rule's line, then of what ``sha256sum`` prints for the files, by name."""
    text = rule + "\n" + "".join(f"{checksums[name]}  {name}\n" for name in sorted(checksums))
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def interleaved(counts: Sequence[int]) -> list[tuple[int, int]]:
    """The order (class, index in the class) for a set without one; ``counts`` are the sizes of its classes.

    Each class is spread evenly, so that every stretch has the class shares of the whole. This matters because the
    2012 code does not shuffle, and the last images may be held out. Among classes of equal size, block j holds the
    j-th image of each, shuffled by a hash.
    """
    pairs = [(c, j) for c, count in enumerate(counts) for j in range(count)]

    def place(pair: tuple[int, int]) -> tuple[float, bytes]:
        c, j = pair
        return (j + 0.5) / counts[c], hashlib.sha256(b"%d %d" % (j, c)).digest()

    return sorted(pairs, key=place)


# ----------------------------------------------------------------------------------------------------- formats


def read_idx(path: Path) -> Tensor:
    """The uint8 array in a gzipped IDX file, the format of MNIST; raises :class:`DataError` for anything else."""
    try:
        raw = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise DataMissingError(f"{path} is missing") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged or cut short ({error}): fetch it again") from None
    ndim = raw[3] if raw[:3] == b"\0\0\x08" and len(raw) >= 4 else 0
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(ndim)]
    if not 1 <= ndim <= 8 or len(raw) != 4 + 4 * ndim + math.prod(shape):
        raise DataError(f"{path} is not an IDX file of bytes, or is cut short: fetch it again")
    return torch.from_numpy(np.frombuffer(raw, np.uint8, offset=4 + 4 * ndim).reshape(shape).copy())


def decode(data: bytes, where: Path) -> np.ndarray:
    """A JPEG or PNG image as uint8 (3, H, W), grey turned into RGB; :class:`DataError` if it cannot be decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata
            with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
                return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    except Exception:  # damaged bytes make Pillow's decoders raise nearly anything
        raise DataError(f"{where} is damaged or not an image: unpack or fetch the data set again") from None


def _read_split(
    place: Path, groups: dict[str, dict[str, str]], what: str, count: int, side: int,
    read: Callable[[str], bytes], checksums: dict[str, str],
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Images (N, 3, side, side) and labels (N,) of one split, in interleaved order.

    ``groups`` holds the files of each class: published name -> name in this copy.
    """
    for name, files in groups.items():
        if len(files) != count:
            raise DataError(
                f"{place} holds {len(files)} {what} images of class {name} instead of {count}: "
                "it is incomplete or another data set, so unpack or fetch it again"
            )
    classes, order = list(groups), interleaved([count] * len(groups))
    images = np.empty((len(order), 3, side, side), np.uint8)
    published = [list(files) for files in groups.values()]
    for row, (label, index) in enumerate(tqdm(order, f"decoding {place.name} ({what})", disable=None, leave=False)):
        file = groups[classes[label]][published[label][index]]
        data = read(file)
        checksums[published[label][index]] = hashlib.sha256(data).hexdigest()
        pixels = decode(data, place / file)
        if pixels.shape[1:] != (side, side):
            h, w = pixels.shape[1:]
            raise DataError(f"{place / file} is {h}×{w} pixels instead of {side}×{side}: this is another data set")
        images[row] = pixels
    return images, np.array([label for label, _ in order], np.int64)


JUNK = re.compile(
    r"\._.*|\.(ds_store|apdisk|apple(double|db|desktop)|localized|fseventsd|spotlight-v\d+|temporaryitems|trash(es|-\d+)?)"
    r"|\.(documentrevisions-v\d+|volumeicon\.icns|com\.apple\..*|pkinstallsandboxmanager.*)|__macosx|icon\r"
    r"|(eh)?thumbs(_vista)?\.db(:.*)?|desktop\.ini|\$recycle\.bin|(?-i:RECYCLER)|system volume information"
    r"|lost\+found|\.(directory|hidden|thumbnails|thumbs?|nomedia|picasa\.ini|picasaoriginals|xvpics|cache)"
    r"|@eadir|@tmp|[@#](recycle|snapshot)|\.?@__thumb|\.(snapshots?|zfs|nfs[0-9a-f]+|fuse_hidden.*)"
    r"|\.(git(ignore|keep|attributes|modules)?|svn|hg(ignore)?|bzr|cvs(ignore)?|dvc(ignore)?|idea|vscode)"
    r"|\.(ipynb_checkpoints|dropbox.*|stfolder.*|stversions|stignore|syncthing\..*|sync)|__pycache__",
    re.IGNORECASE | re.DOTALL,
)
"""What macOS, Windows, desktops and cameras, file servers, version control, and sync leave in folders of images."""


def is_junk(name: str) -> bool:
    """Whether a file or folder is known to be none of the user's images. Any other hidden one may be."""
    return JUNK.fullmatch(name) is not None


def printable(name: str) -> str:
    """A file name as one line of text in Unicode form NFC; other bytes and control characters are escaped."""
    if name.isascii() and name.isprintable():
        return name
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in unicodedata.normalize("NFC", text))
    return "".join(shown)


def scan(place: Path, apart: Sequence[Path] = ()) -> tuple[dict[str, os.stat_result], dict[str, str]]:
    """The files of a folder (or the one file) by their path below it, sorted; junk is passed over.

    Also what is no regular file, by path, with the reason: it is never opened, as a pipe would block for ever. No link
    is followed to a folder above it, to another folder of ``place``, or to one of ``apart``, the resolved folders of
    other splits: an image would have two classes, or be tested on after training.
    """
    if place.is_file():
        return {place.name: place.stat()}, {}
    folders = {path.name for path in place.iterdir() if path.is_dir() and not is_junk(path.name)}
    if folders == {place.name}:  # beside others it is a class
        raise DataError(f"{place} holds another folder {place.name}: move the contents of that folder up")
    found: dict[str, os.stat_result] = {}
    other: dict[str, str] = {}
    todo: list[tuple[str, str, tuple[Path, ...]]] = [(str(place), "", (place.resolve(),))]
    while todo:
        folder, prefix, above = todo.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                name = prefix + entry.name
                if is_junk(entry.name):
                    continue
                try:
                    about = entry.stat()
                except OSError:
                    if not entry.is_symlink():
                        raise
                    other[name] = "a link to nothing"
                    continue
                if stat.S_ISDIR(about.st_mode):
                    linked = entry.is_symlink()
                    real = Path(os.path.realpath(entry.path)) if linked else above[-1] / entry.name
                    if any(each.is_relative_to(real) for each in above):
                        other[name] = "a link to a folder above it"
                    elif linked and any(real.is_relative_to(each) or each.is_relative_to(real) for each in apart):
                        other[name] = "a link to another split"
                    elif linked and real.is_relative_to(above[0]):
                        other[name] = "a link to another folder of this split"
                    else:
                        todo.append((entry.path, f"{name}/", (*above, real)))
                elif stat.S_ISREG(about.st_mode):
                    found[name] = about
                else:
                    other[name] = "a pipe, socket or device"
    return dict(sorted(found.items())), dict(sorted(other.items()))


def _read_cifar_binary(place: Path, layout: Layout) -> Raw:
    """The archive of the binary version or its unpacked folder: records of a label and 3 planes, as ordered there."""
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
        files, other = scan(place)
        for name, reason in other.items():
            raise DataError(f"{place / printable(name)} is {reason}: remove it")
        return _read_tiny_files(place, layout, files, lambda file: (place / file).read_bytes())
    with zipfile.ZipFile(place) as archive:
        top = "tiny-imagenet-200/"
        names = sorted(name.removeprefix(top) for name in archive.namelist())
        return _read_tiny_files(place, layout, names, lambda file: archive.read(top + file))


def wordnet_words(place: Path) -> dict[str, str]:
    """WordNet id -> its first word in ``words.txt`` of a copy of Tiny ImageNet; empty without that file."""
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
    """Read a copy as published, or with its images sorted into ``train/<class>/`` and ``val/<class>/``.

    Checksums are listed under the published names, so that a sorted copy with its annotations is the same copy.
    """
    train: dict[str, dict[str, str]] = {}
    val: dict[str, str] = {}  # name of the image -> its path
    annotated = False
    for name in names:
        if match := re.fullmatch(r"train/([^/]+)/(?:images/)?([^/]+)", name):
            images = train.setdefault(match[1], {})
            if match[2].lower().endswith(".jpeg"):
                images[f"train/{match[1]}/images/{match[2]}"] = name
        elif match := re.fullmatch(r"val/(?:.+/)?([^/]+\.jpeg)", name, re.IGNORECASE):
            val[match[1]] = name
        annotated = annotated or name == ANNOTATIONS
    if len(train) != layout.classes:
        raise DataError(
            f"{place} holds {len(train)} classes (folders below train) instead of {layout.classes}: "
            "it is incomplete or another data set, so unpack or fetch it again"
        )
    checksums = {}
    sorted_into = {name: path.split("/")[1] for name, path in val.items()}  # a class, or "images"
    if annotated:
        annotations = read(ANNOTATIONS)
        checksums[ANNOTATIONS] = hashlib.sha256(annotations).hexdigest()
        lines = [line.split("\t")[:2] for line in annotations.decode("utf-8", "surrogateescape").splitlines()]
    elif train.keys() & set(sorted_into.values()):
        lines = sorted(map(list, sorted_into.items()), key=lambda line: (len(line[0]), line[0]))  # val_2 before val_10
    else:
        raise DataError(f"{place} lacks {ANNOTATIONS}, the labels of its images: unpack or fetch it again")
    test: dict[str, dict[str, str]] = {wnid: {} for wnid in sorted(train)}
    labels: dict[str, str] = {}
    for line in lines:
        file, wnid = line if len(line) == 2 else (line[0], "")
        text = printable(" ".join(line))[:60]
        if wnid not in test or file not in val or sorted_into[file] not in (wnid, "images"):
            raise DataError(f"{place}: {ANNOTATIONS} has a line without its image in val or class in train: {text!r}")
        if labels.setdefault(file, wnid) != wnid:
            raise DataError(f"{place}: {ANNOTATIONS} has an image in two classes: {text!r}; fetch or unpack it again")
        test[wnid][f"val/images/{file}"] = val[file]
    return Raw(
        _read_split(place, dict(sorted(train.items())), "train", layout.train_per_class, layout.side, read, checksums),
        _read_split(place, test, "val", layout.test_per_class, layout.side, read, checksums),
        tuple(test), checksums,
    )  # fmt: skip


ANNOTATIONS = "val/val_annotations.txt"

# ------------------------------------------------------------------------------------- what is known, fetching

CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

LAYOUTS = {"cifar10": Layout(CIFAR_CLASSES, 5000, 1000, 32), "tinyimagenet": Layout(200, 500, 50, 64)}

COPIES: dict[str, tuple[Copy, ...]] = {
    "cifar10": (
        Copy(
            "cifar-10-binary.tar.gz", _read_cifar_binary,
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
        Copy("cifar-10-batches-bin", _read_cifar_binary),
    ),
    "tinyimagenet": (
        Copy(
            "tiny-imagenet-200.zip", _read_tiny_imagenet,
            "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
            "6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821",
        ),
        Copy("tiny-imagenet-200", _read_tiny_imagenet),
    ),
}  # fmt: skip
"""Data set -> its forms below the root, in the order in which they are tried."""


def unread(name: str, root: Path) -> list[Path]:
    """Where the published form that is never read would lie: it holds pickles, which can run code."""
    return [root / "cifar-10-batches-py", root / "cifar-10-python.tar.gz"] if name == "cifar10" else []


def fetch_archive(copy: Copy, place: Path) -> Path:
    """Download an archive to ``place`` unless it is there and whole; a failed download leaves nothing behind."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tqdm(desc=place.name, total=1, unit="B", unit_scale=True, disable=None) as bar:
            # "identity": some servers would have requests unpack the .gz before it is checked
            get = pooch.HTTPDownloader(bar, 1 << 16, timeout=30, headers={"Accept-Encoding": "identity"})
            pooch.get_logger().setLevel(logging.WARNING)
            pooch.retrieve(copy.url, f"sha256:{copy.sha256}", place.name, place.parent, downloader=get)
        follow_umask(place)
    except OSError as error:
        if error.errno is None:  # one of requests, which are OSErrors too
            what = f"{copy.url} could not be fetched ({type(error).__name__}): check the network"
            raise DataError(f"{what}, or put the file at {place}") from None
        what = f"{place} cannot be written ({error.strerror})"
        raise DataError(f"{what}: free space, or name another folder in PAPERLIB_DATA") from None
    except ValueError as error:  # of pooch for a wrong checksum, or for a reply's senseless length
        found = re.search(r"got ([0-9a-f]{64})", str(error))
        reason = f"SHA-256 {found[1]} instead of {copy.sha256}" if found else printable(str(error))
        what = f"{copy.url} did not send the published file ({reason})"
        raise DataChecksumError(f"{what}: try again, or put the right file at {place}") from None
    return place


def read_copy(name: str, copy: Copy, place: Path) -> Raw:
    """Read a whole copy, an archive only if its SHA-256 is right; every failure is a :class:`DataError`."""
    try:
        if copy.sha256 and (found := pooch.file_hash(str(place))) != copy.sha256:
            raise DataChecksumError(
                f"{place} is cut short or altered (SHA-256 {found} instead of {copy.sha256}): "
                f"fetch it again with `paperlib data fetch {name}`"
            )
        return copy.read(place, LAYOUTS[name])
    except DAMAGED as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{place} cannot be read ({printable(reason)}): fetch or unpack it again") from None


DAMAGED = (
    OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error, ValueError, KeyError, NotImplementedError,
    OverflowError, MemoryError,
)  # fmt: skip
"""What reading a damaged archive or folder raises."""
