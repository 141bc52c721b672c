"""Where the images of a large data set lie: ILSVRC-2012 as published, or any folder of class folders.

ILSVRC-2012 is published twice: as archives with a development kit (image-net.org), and as folders with tables
(Kaggle). File names match in any case of letters and with any ending, and also one folder further down.

*Archives* are read in place. Only the last part of a member's name is used, and nothing is unpacked, so no path inside
an archive leads anywhere. An archive and its unpacked folder give the same images by the same names.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

from paperlib.data.contents import Part, contents
from paperlib.data.images import DataError, DataMissingError
from paperlib.data.readers import ANNOTATIONS, is_junk, printable

DEVKIT = "ILSVRC2012_devkit_t12"
TRUTH = "ILSVRC2012_validation_ground_truth.txt"
SOLUTION = "LOC_val_solution.csv"
"""Kaggle's table of validation images, with the WordNet id and place of each object; an image has one class."""
CAFFE = "val.txt"
"""Caffe's table of validation images, with the index of each class in ``synsets.txt``."""
TINY = PurePosixPath(ANNOTATIONS).name
"""Tiny ImageNet's table of validation images, with the WordNet id and place of each object."""
SYNSETS = ("synsets.txt", "synset_words.txt")
TABLES = re.compile(r"data|.*devkit.*|caffe.*|ilsvrc_?12", re.IGNORECASE)
"""Folders that may hold one of these tables, or the files of the development kit."""
NAMES_OF_TABLES = {name.casefold() for name in (TRUTH, "meta.mat", SOLUTION, CAFFE, TINY, *SYNSETS)}
INNER = re.compile(r"images?|ILSVRC2012_img_val", re.IGNORECASE)
"""Folders within ``val`` that hold all of its images, and are no class."""
KAGGLE = ("ILSVRC", "Data", "CLS-LOC")
"""The folders in which Kaggle puts ``train`` and ``val``, below its table."""
SPLITS = {"train": (("ILSVRC2012_img_train.tar",), ("train", "training", "ILSVRC2012_img_train")),
          "val": (("ILSVRC2012_img_val.tar",), ("val", "validation", "valid", "ILSVRC2012_img_val"), ("test",)),
}  # fmt: skip
"""Names of each split. Those of a group mean the same, and those of a later group count where there is none before."""


class Item(NamedTuple):
    """A source image: ``<split>/<class>/<file>``, and the bytes that hold it in a file (an archive, or its own)."""

    name: str
    file: str
    start: int
    size: int


class Found(NamedTuple):
    """The images of a split by class, by name; every other file with the reason why it is not used; its place."""

    classes: dict[str, list[Item]]
    unused: list[tuple[str, str]]
    place: Path | None = None


def child(folder: Path, *names: str) -> Path | None:
    """The path of these names below ``folder`` in any case of letters, if it exists."""
    for name in names:
        exact = folder / name
        if not exact.exists():
            found = [p for p in sorted(folder.iterdir()) if p.name.casefold() == name.casefold() and p.exists()]
            if not found:
                return None
            exact = found[0]
        folder = exact
    return folder


def places_of(source: Path, split: str) -> list[list[Path]]:
    """The archives or folders of ``source`` that may hold a split, a list for each group of :data:`SPLITS`.

    Two links to one place count once. A link to nothing counts, as the images that it should lead to are missing.
    """
    bases = [base for k in range(len(KAGGLE) + 1) if (base := child(source, *KAGGLE[k:])) and base.is_dir()]
    entries = [path for base in bases for path in sorted(base.iterdir())]
    groups = []
    for names in SPLITS[split]:
        wanted = {name.casefold() for name in names}
        found = [path for path in entries if path.name.casefold() in wanted]
        found = [path for path in found if path.is_symlink() or path.is_dir() or path.suffix.casefold() == ".tar"]
        groups.append(list({os.path.realpath(path): path for path in reversed(found)}.values()))
    return groups


def place_of(source: Path, split: str) -> Path | None:
    """The archive or folder that holds a split of ``source``, if there is one; an archive goes before a folder.

    Raises :class:`DataError` where several may be meant.
    """
    found = next((group for group in places_of(source, split) if group), [None])
    if len(found) > 1:
        names = " and ".join(sorted(printable(str(path.relative_to(source))) for path in found if path))
        raise DataError(f"{source} has {names}, each of which may hold its {split} images: move all but one away")
    return found[0]


def root_of(source: Path) -> Path:
    """``source`` or, where it has no training images, the one folder in it that has; up to three levels down."""
    layer = [source]
    for _ in range(4):
        roots = [folder for folder in layer if place_of(folder, "train")]
        if len(roots) > 1:
            raise DataError(f"{source} holds several data sets, {roots[0].name} and {roots[1].name}: name one of them")
        if roots:
            return roots[0]
        below = [path for folder in layer for path in sorted(folder.iterdir()) if not is_junk(path.name)]
        layer = [path for path in below if path.is_dir() and not path.is_symlink()]
        if len(layer) > 100:
            break
    raise DataMissingError(f"{source} has neither {SPLITS['train'][0][0]} nor a folder train of class folders or tars")


# ------------------------------------------------------------------- the classes of ILSVRC's validation images


def tables(places: Sequence[Path], *names: str) -> Iterator[Path]:
    """The files of these names, in ``places`` and in folders for tables below them."""
    todo = list(places)
    for folder in todo:
        yield from (path for path in (child(folder, name) for name in names) if path and path.is_file())
        if len(todo) < 100:  # links may lead in a circle
            todo += [path for path in sorted(folder.iterdir()) if TABLES.fullmatch(path.name) and path.is_dir()]


def above_kaggle(root: Path) -> list[Path]:
    """The folders above one of Kaggle's :data:`KAGGLE`, up to the one that holds Kaggle's table."""
    above, here = [], Path(os.path.abspath(root))
    while here.name.casefold() in {name.casefold() for name in KAGGLE}:
        here = here.parent
        above.append(here)
    return above


def _devkit(places: Sequence[Path], name: str) -> bytes | None:
    """A file of the development kit, from its folder or its archive."""
    if found := next(tables(places, name), None):
        return found.read_bytes()
    if archive := next(tables(places, *(DEVKIT + ending for ending in (".tar.gz", ".tgz", ".tar"))), None):
        try:
            with tarfile.open(archive, "r:*") as tar:
                for member in tar:
                    if PurePosixPath(member.name).name.casefold() == name.casefold() and member.isreg():
                        inside = tar.extractfile(member)
                        return inside.read() if inside else None
        except Exception as error:  # as in members()
            reason = printable(str(error).partition("\n")[0])
            raise DataError(f"{archive} cannot be read ({reason}): fetch the devkit again") from None
    return None


def validation_classes(places: Sequence[Path], classes: Sequence[str] = ()) -> tuple[dict[str, str], str]:
    """Stem of each ILSVRC-2012 validation image, in small letters -> WordNet id; and the table that says so.

    ``places`` are searched for it. ``classes`` of the training set order Caffe's labels without ``synsets.txt``.
    Raises :class:`DataError` where the first table cannot be read, and where another one contradicts it.
    """
    readings: list[tuple[str, Callable[[], dict[str, str]]]] = [
        *((str(file), partial(by_solution, file)) for file in tables(places, SOLUTION)),
        *((str(file), partial(by_annotations, file)) for file in tables(places, TINY)),
        (TRUTH, partial(_by_row, places)),
    ]
    for file in tables(places, CAFFE):
        orders: list[Path | None] = [*tables(places, *SYNSETS)]
        for names in orders or [None]:
            readings.append((f"{file} by {names}" if names else str(file), partial(by_caffe, file, names, classes)))
    first, told = "", dict[str, str]()
    for table, read in readings:
        try:
            others = read()
        except DataError:
            if not told:
                raise
            continue
        if differ := sorted(name for name in others if told.get(name, others[name]) != others[name]):
            name = differ[0]
            raise DataError(f"{first} says that {name} is {told[name]}, and {table} says {others[name]}: move one away")
        if not told:
            first, told = table, others
    if told:
        return told, first
    lacking = TRUTH if _devkit(places, TRUTH) is None else "meta.mat"
    raise DataMissingError(
        f"{places[0]} has val images that are not in class folders, and lacks {lacking}, "
        f"which holds their classes: put {DEVKIT}.tar.gz or its folder data there, or Kaggle's {SOLUTION}"
    )


def stem(name: str) -> str:
    """An image's name without folders and ending, in small letters, by which images and tables are matched."""
    return PureWindowsPath(name).stem.casefold()  # Windows has both kinds of slashes


def text_of(file: Path) -> str:
    """A table as text: UTF-8, or UTF-16 with its mark, as PowerShell writes it. Raises ValueError for anything else."""
    content = file.read_bytes()
    text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    if "\0" in text:
        raise ValueError("it has NUL bytes")
    return text


def one_class_each(rows: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Stem of each image -> its class or label. Raises ValueError where an image has two, and where there is none."""
    classes: dict[str, Any] = {}
    for name, label in rows:
        if classes.setdefault(stem(name), label) != label:
            raise ValueError(f"it has {name} twice, as {classes[stem(name)]} and as {label}")
    if not classes:
        raise ValueError("it is empty")
    return classes


def by_solution(file: Path) -> dict[str, str]:
    """Stem of each validation image -> class, from Kaggle's table."""
    rows = []
    try:
        table = csv.DictReader(io.StringIO(text_of(file), newline=""))
        if len(set(table.fieldnames or ())) < len(table.fieldnames or ()):
            raise ValueError("two of its columns have one name")
        for number, row in enumerate(table, start=1):
            classes = (row.get("PredictionString") or "").split()
            if not row.get("ImageId") or not classes:
                raise ValueError(f"row {number} lacks an ImageId or a PredictionString")
            rows.append((row["ImageId"], classes[0]))
        return one_class_each(rows)
    except (ValueError, csv.Error) as error:
        raise DataError(f"{file} is damaged ({printable(str(error))}): get it again") from None


def by_annotations(file: Path) -> dict[str, str]:
    """Stem of each validation image -> class, from Tiny ImageNet's table."""
    try:
        rows = [line.split("\t")[:2] for line in text_of(file).splitlines() if line.strip()]
        return one_class_each((name, wnid) for name, wnid in rows)
    except ValueError as error:
        raise DataError(f"{file} is damaged ({printable(str(error))}): get it again") from None


def _by_row(places: Sequence[Path]) -> dict[str, str]:
    """Stem of each validation image -> class, from the development kit; empty where it is not there."""
    truth, meta = _devkit(places, TRUTH), _devkit(places, "meta.mat")
    if truth is None or meta is None:
        return {}
    return {f"ilsvrc2012_val_{row:08}": wnid for row, wnid in enumerate(by_devkit(places[0], truth, meta), start=1)}


def by_devkit(source: Path, truth: bytes, meta: bytes) -> list[str]:
    """The WordNet ids of the validation images in their order.

    The ground truth has ILSVRC2012_IDs, which are not in the order of the WordNet ids: ``meta.mat`` has both.
    """
    try:
        wnids = ids_of(meta)
        return [wnids[int(line)] for line in truth.split()]
    except (ValueError, KeyError, TypeError, subprocess.TimeoutExpired) as error:
        reason = printable(str(error).partition("\n")[0][:200])
        raise DataError(f"meta.mat or {TRUTH} of {source} is damaged ({reason}): unpack the devkit again") from None


def ids_of(meta: bytes) -> dict[int, str]:
    """ILSVRC2012_ID -> WordNet id, by SciPy in a process of its own, because a damaged file can crash the process."""
    done = subprocess.run([sys.executable, "-c", READ_META], input=meta, capture_output=True, timeout=120)
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise ValueError(*last or [f"its reader ended with code {done.returncode}"])
    rows = json.loads(done.stdout)
    if len(ids := dict(rows)) < len(rows):
        raise ValueError("an ILSVRC2012_ID is there twice")
    return ids


READ_META = """
import io, json, sys, numpy, scipy.io
rows = numpy.atleast_1d(scipy.io.loadmat(io.BytesIO(sys.stdin.buffer.read()), squeeze_me=True)["synsets"])
print(json.dumps([(int(row["ILSVRC2012_ID"]), str(row["WNID"])) for row in rows]))
"""


def by_caffe(file: Path, names: Path | None, classes: Sequence[str]) -> dict[str, str]:
    """Stem of each validation image -> class, from lines ``<file> <label>``; labels count from 0 in sorted order."""
    try:
        lines = [line.rsplit(maxsplit=1) for line in text_of(file).splitlines() if line.strip()]
        if bad := [line for line in lines if len(line) < 2 or not line[1].isdecimal()]:
            raise ValueError(f"{' '.join(bad[0])[:60]} is not a name and the number of its class")
        labels = one_class_each((name, int(label)) for name, label in lines)
        if names:
            classes = [line.split()[0] for line in text_of(names).splitlines() if line.strip()]
        if len(set(classes)) < len(classes):
            raise ValueError("a class is there twice")
        if max(labels.values()) >= len(classes):
            raise ValueError(f"its labels are not those of {len(classes)} classes")
        if not names and len(set(labels.values())) < len(classes):
            raise ValueError("its labels may be those of other classes, put synsets.txt beside it")
    except ValueError as error:
        reason = printable(str(error))
        raise DataError(f"{file} is damaged or no table of Caffe's ({reason}): get it again, or the devkit") from None
    return {name: classes[label] for name, label in labels.items()}


# ------------------------------------------------------------------------------------------- finding all of it


def find(source: Path, split: str, classes: Sequence[str] = ()) -> Found:
    """The images of ``train`` or ``val``; an archive goes before a folder. ``classes`` are those of ``train``.

    Raises :class:`DataMissingError` where there is no training set, and :class:`DataError` for any other layout.
    A source without val images has neither ILSVRC2012_img_val.tar nor val/ nor test/; the result is empty.
    """
    place: Path | None = source
    try:
        root = root_of(source)
        place = place_of(root, split)
        if place is None:
            return Found({}, [])
        groups = [group for other in SPLITS if other != split for group in places_of(root, other)]
        apart = [Path(os.path.realpath(path)) for group in groups for path in group]
        here = Path(os.path.realpath(place))
        if any(here.is_relative_to(other) or other.is_relative_to(here) for other in apart):
            raise DataError(f"{source} has the same images as train and as val: give it validation images of their own")
        images, unused, folders = contents(place, apart)
        if split == "val" and len(folders) == 1 and INNER.fullmatch(folders[0]) and folders[0] not in classes:
            images, folders = [i._replace(name=i.name.removeprefix(f"{folders[0]}/")) for i in images], []
        flat = [image for image in images if "/" not in image.name]
        if flat and split == "val":
            if len(flat) < len(images):
                raise DataError(f"{place} has {printable(flat[0].name)} beside class folders: sort all images, or none")
            places = [root, source, *([place] if place.is_dir() else []), *above_kaggle(root)]
            try:
                images, folders = _labelled(place, flat, *validation_classes(places, classes)), []
            except DataError:
                if place.name.casefold() != "test":
                    raise
                return Found({}, [])  # a test set as it is published, without labels
            unused = [(name, reason) for name, reason in unused if name.casefold() not in NAMES_OF_TABLES]
        elif flat:
            raise DataError(f"{place} has {printable(flat[0].name)}, which is in no class folder: move it into one")
    except (OSError, EOFError, tarfile.TarError) as error:
        advice = "allow this user to read it" if isinstance(error, PermissionError) else "get it again"
        raise DataError(f"{place} cannot be read ({printable(str(error))}): {advice}") from None
    if not images:
        raise DataError(f"{place} holds no images in class folders or class tars: unpack or fetch them again")
    items, twice = _named(images, split, place)
    unused += twice
    reasons = {printable(name): reason for name, reason in unused}
    for name in sorted({printable(folder) for folder in folders} - items.keys()):
        if split == "train":
            inside = [f"{each}: {reasons[each]}" for each in sorted(reasons) if each.startswith(f"{name}/")]
            why = "".join(f" ({reason})" for reason in ([reasons[name]] if name in reasons else inside[:1]))
            raise DataError(f"{place} has no image of class {name}{why}: add its images, or remove this empty class")
        if name not in reasons:
            unused.append((name, "an empty class"))
    return Found(
        {name: [items[name][each] for each in sorted(items[name])] for name in sorted(items)},
        sorted((f"{split}/{printable(name)}", reason) for name, reason in unused),
        place,
    )


def _labelled(place: Path, flat: list[Part], classes: dict[str, str], told: str) -> list[Part]:
    """The validation images under ``<class>/<file>``; each of ``classes`` must be there, and no other."""
    stems = {stem(image.name): image for image in flat}
    if bad := sorted(stems.keys() - classes.keys()):
        raise DataError(f"{place} has {printable(stems[bad[0]].name)}, which is not in {told}: move it away")
    if lacking := sorted(classes.keys() - stems.keys()):
        raise DataMissingError(
            f"{place} lacks {len(lacking):,} of the {len(classes):,} validation images of {told}, "
            f"the first {lacking[0]}: get them again, or move all of val away and use --train-only"
        )
    if len(stems) < len(flat):
        twice = next(image for image in flat if stems[stem(image.name)] is not image)
        raise DataError(f"{place} has {printable(twice.name)} twice, with different endings: remove one of them")
    return [image._replace(name=f"{classes[each]}/{image.name}") for each, image in stems.items()]


def _named(images: list[Part], split: str, place: Path) -> tuple[dict[str, dict[str, Item]], list[tuple[str, str]]]:
    """Class -> name of each image -> image; and the images that have the very name of another."""
    items: dict[str, dict[str, Item]] = {}
    spelt: dict[str, str] = {}
    taken: set[str] = set()
    twice = []
    for image in sorted(images):
        raw, _, file = image.name.partition("/")
        name = printable(raw)
        if spelt.setdefault(name, raw) != raw:
            raise DataError(f"{place} has two classes {name}, whose Unicode spellings differ: make one folder of them")
        if image.name in taken:
            twice.append((image.name, "has the same name as another image, which is used"))
            continue
        taken.add(image.name)
        key = f"{split}/{name}/{printable(file)}"
        while key in items.setdefault(name, {}):  # two names, as of two Unicode forms, that are printed alike
            key += " (2)"
        items[name][key] = Item(key, str(image.file), image.start, image.size)
    return items, twice
