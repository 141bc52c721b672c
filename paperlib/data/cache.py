"""Decoded images kept beside a copy of a data set."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pooch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from paperlib.data import readers
from paperlib.data.images import DataError
from paperlib.data.readers import logger, scan
from paperlib.files import follow_umask

Stored = tuple[dict[str, Tensor], tuple[str, ...], str]
"""The four tensors of a data set by name, its classes, its fingerprint."""


def cache_key(name: str, place: Path) -> str:
    """A digest of the names, sizes and modification times of a copy's files: a cache is valid for these only."""
    try:
        lines = [f"{file} {stat.st_size} {stat.st_mtime_ns}\n" for file, stat in scan(place)[0].items()]
    except OSError as error:
        raise DataError(f"{place} cannot be read ({error})") from None
    text = f"{name} 1 {readers.LAYOUTS[name]}\n{''.join(lines)}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def cache_files(place: Path) -> list[Path]:
    """Where the tensors of a copy are kept: beside it, or in the user's cache folder if that cannot be written."""
    user, of_place = Path(pooch.os_cache("paperlib")), hashlib.sha256(str(place.resolve().parent).encode())
    folders = [place.parent / ".paperlib-cache"]
    folders += [user / of_place.hexdigest()[:12]] if user.is_absolute() else []  # "~/.cache" where no home is known
    return [folder / f"{place.name}.safetensors" for folder in folders]


def _digest(tensors: dict[str, Tensor], classes: str, found: str) -> str:
    shapes = {name: (str(tensors[name].dtype), list(tensors[name].shape)) for name in sorted(tensors)}
    digest = hashlib.sha256(json.dumps([shapes, classes, found]).encode())
    for name in shapes:
        digest.update(tensors[name].contiguous().numpy().data.cast("B"))
    return digest.hexdigest()


def read_cache(place: Path, key: str) -> Stored | None:
    """The tensors kept for exactly these files, or None; a damaged cache counts as none."""
    for file in cache_files(place):
        try:
            with safe_open(file, "pt") as f:
                about = f.metadata() or {}
                tensors = {n: f.get_tensor(n) for n in f.keys()} if about.get("key") == key else {}  # noqa: SIM118
            if tensors and _digest(tensors, about["classes"], about["fingerprint"]) == about["sha256"]:
                return tensors, tuple(json.loads(about["classes"])), about["fingerprint"]
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            logger.debug("no cache in %s: %s", file, error)
    return None


def write_cache(place: Path, key: str, stored: Stored) -> None:
    """Keep decoded tensors; readers see the old file or the whole new one. Warns where no place can be written."""
    tensors, names, found = stored
    classes = json.dumps(names)
    about = {"key": key, "sha256": _digest(tensors, classes, found), "classes": classes, "fingerprint": found}
    for file in cache_files(place):
        part = file.with_name(f"{file.name}.{os.getpid()}.part")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            save_file(tensors, part, about)
            follow_umask(part)
            os.replace(part, file)
            return
        except (OSError, SafetensorError) as error:
            logger.debug("no cache in %s: %s", file, error)
            if file.parent.is_dir():
                part.unlink(missing_ok=True)
    logger.warning("the decoded images of %s cannot be cached: each run will decode them again", place)
