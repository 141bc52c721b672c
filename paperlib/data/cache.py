"""Decoded images kept beside a copy of a data set."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pooch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from paperlib.data import readers
from paperlib.data.images import DataError
from paperlib.data.readers import logger, scan

# ------------------------------------------------------------------------------------------------------- cache

Stored = tuple[dict[str, Tensor], tuple[str, ...], str]
"""The four tensors of a data set by name, its classes, its fingerprint."""


def cache_key(name: str, place: Path) -> str:
    """A digest of the names, sizes and times of change of a copy's files: what its cached tensors are valid for."""
    try:
        lines = [f"{file} {stat.st_size} {stat.st_mtime_ns}\n" for file, stat in scan(place).items()]
    except OSError as error:
        raise DataError(f"{place} cannot be read ({error})") from None
    return hashlib.sha256(f"{name} 1 {readers.LAYOUTS[name]}\n{''.join(lines)}".encode()).hexdigest()


def cache_files(place: Path) -> tuple[Path, Path]:
    """Where the tensors of a copy are kept: beside it, or where that cannot be written in the user's cache folder."""
    user = Path(pooch.os_cache("paperlib")) / hashlib.sha256(str(place.resolve().parent).encode()).hexdigest()[:12]
    file = f"{place.name}.safetensors"
    return place.parent / ".paperlib-cache" / file, user / file


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(tensors[name].contiguous().numpy().data.cast("B"))
    return digest.hexdigest()


def read_cache(place: Path, key: str) -> Stored | None:
    """What was kept for exactly these files, or None; a damaged cache counts as none."""
    for file in cache_files(place):
        try:
            with safe_open(file, "pt") as f:
                about = f.metadata() or {}
                tensors = {n: f.get_tensor(n) for n in f.keys()} if about.get("key") == key else {}  # noqa: SIM118
            if tensors and _digest(tensors) == about["sha256"]:
                return tensors, tuple(about["classes"].split("\n")), about["fingerprint"]
        except (OSError, SafetensorError, KeyError) as error:
            logger.debug("no cache in %s: %s", file, error)
    return None


def write_cache(place: Path, key: str, stored: Stored) -> None:
    """Keep decoded tensors; readers see the old file or the whole new one. Without a place to write, a warning."""
    tensors, classes, found = stored
    about = {"key": key, "sha256": _digest(tensors), "classes": "\n".join(classes), "fingerprint": found}
    for file in cache_files(place):
        part = file.with_name(f"{file.name}.{os.getpid()}.part")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            save_file(tensors, part, about)
            os.replace(part, file)
            return
        except (OSError, SafetensorError) as error:
            logger.debug("no cache in %s: %s", file, error)
            if file.parent.is_dir():
                part.unlink(missing_ok=True)
    logger.warning("the decoded images of %s cannot be kept anywhere: each run decodes them again", place)
