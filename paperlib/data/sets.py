"""Loading a data set by name: where copies lie, fetching, and which copy was read."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from paperlib.data import cache, readers, sample
from paperlib.data.images import DataError, DataMissingError, Dataset
from paperlib.data.known import FINGERPRINTS, KNOWN, TITLES
from paperlib.data.sample import load_photos, load_sample
from paperlib.files import ROOT, in_environment, user_path

logger = logging.getLogger(__name__)


def data_root(root: str | Path | None = None) -> Path:
    """The folder of the user's own data sets: the argument, else PAPERLIB_DATA, else ``data/cache``."""
    return user_path(root or in_environment("PAPERLIB_DATA") or ROOT / "data" / "cache")


def where(name: str, root: str | Path | None = None) -> list[Path]:
    """The places where :func:`load` looks, in this order; :class:`DataError` for an unknown name."""
    if name not in KNOWN:
        raise DataError(f"there is no data set {name!r}; the known ones are {', '.join(KNOWN)}")
    if name in readers.COPIES:
        return [data_root(root) / copy.path for copy in readers.COPIES[name]]
    return [sample.SAMPLE / ("photos" if name == "photos" else "fashion-mnist")]


def shown_classes(dataset: Dataset, root: str | Path | None = None) -> tuple[str, ...]:
    """Readable names of its classes. Those of Tiny ImageNet are WordNet ids; their first word is in ``words.txt``.

    An id without a word in the copy at hand stays as it is.
    """
    here = [place for place in where(dataset.name, root) if place.exists()] if dataset.name == "tinyimagenet" else []
    words = readers.wordnet_words(here[0]) if here else {}
    return tuple(words.get(name, name) for name in dataset.classes)


def load(name: str, root: str | Path | None = None) -> Dataset:
    """The data set ``sample``, ``photos``, ``cifar10`` or ``tinyimagenet``.

    Raises :class:`DataMissingError` if there is nothing at the places of :func:`where`, and another
    :class:`DataError` for a copy that is damaged, incomplete, or another data set.
    """
    places = where(name, root)
    if name == "sample":
        return load_sample()
    if name == "photos":
        return load_photos()
    for copy, place in zip(readers.COPIES[name], places, strict=True):
        if place.exists():
            return _load_copy(name, copy, place)
    other = [place for place in readers.unread(name, data_root(root)) if place.exists()]
    aside = f"; {other[0]} is its python version, which holds pickles and is not read" if other else ""
    raise DataMissingError(
        f"{TITLES[name]} is not on this machine (looked at {', '.join(map(str, places))}{aside}): "
        f"fetch it with `paperlib data fetch {name}`, or name the folder that holds it in PAPERLIB_DATA"
    )


def fetch(name: str, root: str | Path | None = None) -> Path:
    """Download the published archive of ``cifar10`` or ``tinyimagenet`` into the root and return its path.

    Shows a progress bar on a terminal and checks the SHA-256. Raises :class:`DataError` where that fails, and then
    leaves nothing new behind.
    """
    if name == "ilsvrc2012":
        raise DataError(
            "the images of ILSVRC-2012 need a registration at image-net.org or Kaggle: download them there, "
            "then pack them with `paperlib data prepare`"
        )
    places = where(name, root)
    if name not in readers.COPIES:
        raise DataError(f"{TITLES[name]} is part of the repository: there is nothing to fetch")
    return readers.fetch_archive(readers.COPIES[name][0], places[0])


def _load_copy(name: str, copy: readers.Copy, place: Path) -> Dataset:
    key = cache.cache_key(name, place)
    stored = cache.read_cache(place, key)
    known = {fingerprint: kind for kind, fingerprint in FINGERPRINTS[name].items()}
    if stored is None:
        raw = readers.read_copy(name, copy, place)
        fingerprint = readers.fingerprint(f"{name} files 1", raw.checksums)
        arrays = {"train_images": raw.train[0], "train_labels": raw.train[1]}
        arrays |= {"test_images": raw.test[0], "test_labels": raw.test[1]}
        stored = {part: torch.from_numpy(array) for part, array in arrays.items()}, raw.classes, fingerprint
        cache.write_cache(place, key, stored)
    tensors, classes, fingerprint = stored
    kind = known.get(fingerprint, "unknown copy")
    if kind == "unknown copy":
        logger.warning("%s is no known copy of %s: results may differ from recorded ones", place, TITLES[name])
    title = TITLES[name] if kind == "official" else f"{TITLES[name]} ({kind})"
    return Dataset(name, title, **tensors, classes=classes, fingerprint=fingerprint)  # type: ignore[arg-type]
