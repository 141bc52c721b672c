"""Where the images of a large data set lie: ILSVRC-2012 as it is given out, or any folder of class folders.

It is given out twice: as archives with a development kit (image-net.org), and as folders with tables (Kaggle).

*Archives* are read in place. A member counts by the last part of its name and by its bytes alone: nothing is unpacked,
so no path inside an archive leads anywhere. An archive and its unpacked folder give the same images by the same names.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import scipy.io

from paperlib.data.images import DataError, DataMissingError
from paperlib.data.readers import scan

IMAGE = re.compile(r".+\.(jpe?g|png|bmp|gif|webp|tiff?|p[gp]m)", re.IGNORECASE)
DEVKIT = "ILSVRC2012_devkit_t12"
TRUTH = "ILSVRC2012_validation_ground_truth.txt"
KAGGLE = Path("ILSVRC", "Data", "CLS-LOC")
"""Where the images lie in what Kaggle gives out."""
SOLUTION = "LOC_val_solution.csv"
"""Kaggle's table of validation images, with the WordNet id and the place of each object, all of one class an image."""


class Item(NamedTuple):
    """A source image: ``<split>/<class>/<file>``, and the bytes that hold it in a file (an archive, or its own)."""

    name: str
    file: str
    start: int
    size: int


def members(file: Path, start: int = 0) -> list[tuple[str, int, int]]:
    """The plain files of the tar archive that begins at byte ``start``: (last part of the name, first byte, size).

    Links, devices and dot files are passed over.
    """
    with file.open("rb") as stream:
        stream.seek(start)
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            found = [(m.name, m.offset_data, m.size) for m in tar if m.type in (tarfile.REGTYPE, tarfile.AREGTYPE)]
            stream.seek(tar.offset)  # tarfile takes an archive cut inside a header for a whole one
            if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("it is cut short")
    last = [(PurePosixPath(name).name, first, size) for name, first, size in found]
    return [each for each in last if not each[0].startswith(".")]  # as scan() does: macOS adds "._" files


def _images(place: Path) -> Iterator[tuple[str, str, int, int]]:
    """The images of a split as (name in the split, file, first byte, size); a class may be a tar in it."""
    if place.is_dir():
        everything = [(name, place / name, 0, stat.st_size) for name, stat in scan(place).items()]
    else:
        everything = [(name, place, start, size) for name, start, size in members(place)]
    for name, file, start, size in everything:
        if name.endswith(".tar") and "/" not in name:
            try:
                inside = [(f"{name[:-4]}/{n}", s, count) for n, s, count in members(file, start)]
            except tarfile.TarError as error:
                raise tarfile.ReadError(f"{name}: {error}") from None
        else:
            inside = [(name, start, size)]
        yield from ((n, str(file), s, count) for n, s, count in inside if IMAGE.fullmatch(n))


def _devkit(source: Path, name: str) -> bytes:
    for place in (source / "data", source / DEVKIT / "data", source):
        if (place / name).is_file():
            return (place / name).read_bytes()
    archive = source / f"{DEVKIT}.tar.gz"
    if archive.is_file():
        with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                if PurePosixPath(member.name).name == name and (inside := tar.extractfile(member)):
                    return inside.read()
    raise DataMissingError(
        f"{source} has val images that are not in class folders, and lacks {name}, which tells their classes: "
        f"put {archive.name} or its folder data there, or Kaggle's {SOLUTION}"
    )


def validation_classes(source: Path) -> dict[str, str]:
    """File name of each ILSVRC-2012 validation image -> its WordNet id, from Kaggle's table or the development kit."""
    table = source / SOLUTION
    if not table.is_file():
        return {f"ILSVRC2012_val_{row:08}.JPEG": wnid for row, wnid in enumerate(by_devkit(source), start=1)}
    try:
        with table.open(newline="") as stream:
            return {f"{row['ImageId']}.JPEG": row["PredictionString"].split()[0] for row in csv.DictReader(stream)}
    except (KeyError, IndexError, AttributeError, ValueError, csv.Error) as error:
        raise DataError(f"{table} is damaged ({type(error).__name__}: {error}): get it again") from None


def by_devkit(source: Path) -> list[str]:
    """The WordNet ids of the validation images in their order.

    The ground truth has ILSVRC2012_IDs, which are not in the order of the WordNet ids: ``meta.mat`` has both.
    """
    truth, meta = _devkit(source, TRUTH), _devkit(source, "meta.mat")
    try:
        synsets = np.atleast_1d(scipy.io.loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"])  # type: ignore[arg-type]
        wnids = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets}
        return [wnids[int(line)] for line in truth.split()]
    except Exception as error:  # a damaged .mat makes SciPy raise nearly anything
        reason = str(error).partition("\n")[0]
        raise DataError(f"meta.mat or {TRUTH} of {source} is damaged ({reason}): unpack the devkit again") from None


def find(source: Path, split: str) -> dict[str, list[Item]]:
    """The images of ``train`` or ``val`` by class, sorted by name; an archive goes before a folder.

    Raises :class:`DataMissingError` where there is no training set, and :class:`DataError` for any other layout.
    A source without val images is one with none: it has neither ILSVRC2012_img_val.tar nor val/ nor test/.
    """
    folders = source / KAGGLE if (source / KAGGLE).is_dir() else source
    places = [source / f"ILSVRC2012_img_{split}.tar", folders / split, *([folders / "test"] if split == "val" else [])]
    place = next((place for place in places if place.exists()), None)
    if place is None:
        if split == "val":
            return {}
        raise DataMissingError(f"{source} has neither {places[0].name} nor a folder {split} of class folders or tars")
    try:
        images = list(_images(place))
        flat = [image for image in images if "/" not in image[0]]
        if flat and split == "val":
            if len(flat) < len(images):
                raise DataError(f"{place} has {flat[0][0]} beside class folders: move all its images there, or none")
            classes = validation_classes(source)
            told = SOLUTION if (source / SOLUTION).is_file() else TRUTH
            if bad := [image[0] for image in flat if image[0] not in classes]:
                raise DataError(f"{place} has {bad[0]}, which {told} has no line for: move it away")
            if lacking := sorted(classes.keys() - {image[0] for image in flat}):
                raise DataMissingError(
                    f"{place} lacks {len(lacking):,} of the {len(classes):,} validation images that {told} tells of, "
                    f"the first {lacking[0]}: get them again, or move all of val away and say --train-only"
                )
            images = [(f"{classes[image[0]]}/{image[0]}", *image[1:]) for image in flat]
        elif flat:
            raise DataError(f"{place} has {flat[0][0]}, which is in no class folder or class tar: move it into one")
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise DataError(f"{place} or the devkit cannot be read ({error}): get it again") from None
    if not images:
        raise DataError(f"{place} holds no images in class folders or class tars: unpack or fetch them again")
    items: dict[str, dict[str, Item]] = {}
    for name, file, start, size in images:
        items.setdefault(name.split("/")[0], {})[name] = Item(f"{split}/{name}", file, start, size)
    return {name: [items[name][each] for each in sorted(items[name])] for name in sorted(items)}
