"""Tiny data sets in the layouts of the real ones, generated for tests: no test needs a network or a real data set."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paperlib.data.images import DataError
from paperlib.data.readers import CIFAR_CLASSES, Layout

CIFAR = Layout(CIFAR_CLASSES, train_per_class=5, test_per_class=2, side=32)
TINY = Layout(3, train_per_class=4, test_per_class=2, side=64)
WNIDS = ("n01443537", "n01629819", "n02085620")


def message(action: Callable[[], object], kind: type[Exception] = DataError) -> str:
    """The message of the error that ``action`` must raise: one sentence, on one line."""
    with pytest.raises(kind) as caught:
        action()
    text = str(caught.value)
    assert "\n" not in text and 20 < len(text) < 700
    return text


def pixels(key: str, *shape: int) -> np.ndarray:
    """Random bytes of that shape, the same for the same key."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def jpeg(key: str, width: int = 24, height: int = 20, mode: str = "RGB", turned: int = 0) -> bytes:
    """A smooth random picture, so that its JPEG is near it."""
    small = Image.fromarray(pixels(key, 4, 4, 3)).resize((width, height), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    if turned:
        exif[0x0112] = turned
    stored = io.BytesIO()
    small.convert(mode).save(stored, "JPEG", quality=95, exif=exif)
    return stored.getvalue()


def png(array: np.ndarray) -> bytes:
    """An image (H, W) or (H, W, 3) as PNG, which keeps every pixel whatever the file is called."""
    stored = io.BytesIO()
    Image.fromarray(array).save(stored, "PNG")
    return stored.getvalue()


def cifar_batches() -> dict[str, bytes]:
    """The six files of the binary version, shrunk: ten records a training batch, twenty for testing."""
    files = {}
    for name, count in {**{f"data_batch_{i}.bin": 10 for i in range(1, 6)}, "test_batch.bin": 20}.items():
        records = pixels(name, count, 1 + 3072)
        records[:, 0] %= 10
        files[name] = records.tobytes()
    return files


def tar_gz(path: Path, files: dict[str, bytes]) -> Path:
    """A .tar.gz of these members, by their full names."""
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def cifar_archive(root: Path, extra: dict[str, bytes] | None = None) -> Path:
    files = {f"cifar-10-batches-bin/{name}": data for name, data in cifar_batches().items()}
    return tar_gz(root / "cifar-10-binary.tar.gz", files | (extra or {}))


def cifar_folder(root: Path) -> Path:
    """``cifar-10-batches-bin/`` with the six files."""
    place = root / "cifar-10-batches-bin"
    place.mkdir(parents=True)
    for name, data in cifar_batches().items():
        (place / name).write_bytes(data)
    return place


def tiny_files() -> dict[str, bytes]:
    """The files of a small Tiny ImageNet; the first image of the first class and the first of val are grey."""
    files = {}
    for name in WNIDS:
        for j in range(TINY.train_per_class):
            shape = (64, 64) if (name, j) == (WNIDS[0], 0) else (64, 64, 3)
            files[f"train/{name}/images/{name}_{j}.JPEG"] = png(pixels(f"{name}_{j}", *shape))
        files[f"train/{name}/{name}_boxes.txt"] = b"boxes"
    lines = []
    for i in range(len(WNIDS) * TINY.test_per_class):
        files[f"val/images/val_{i}.JPEG"] = png(pixels(f"val_{i}", *((64, 64) if i == 0 else (64, 64, 3))))
        lines.append(f"val_{i}.JPEG\t{WNIDS[(i + 1) % 3]}\t0\t0\t9\t9\n")
    files["val/val_annotations.txt"] = "".join(lines).encode()
    files["wnids.txt"] = b"\n".join(name.encode() for name in WNIDS)
    return files


def tiny_folder(root: Path) -> Path:
    place = root / "tiny-imagenet-200"
    for name, data in tiny_files().items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    return place


def tiny_zip(root: Path) -> Path:
    path = root / "tiny-imagenet-200.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in tiny_files().items():
            archive.writestr(f"tiny-imagenet-200/{name}", data)
    return path


def idx(array: np.ndarray) -> bytes:
    """An array of bytes as a gzipped IDX file, written from the format's description."""
    sizes = b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes())
