"""Images prepared once, as section 2 says, and packed into the few files that :mod:`paperlib.data.packed` reads.

:func:`prepare_folder` reads what :mod:`imagenet` finds: ILSVRC-2012 as it is given out, or any folders of images
``train/<class>/`` and ``val/<class>/``.

*Killed at any moment*, the same command resumes: images are prepared in shards, files that appear whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import multiprocessing
import os
import re
import shutil
import signal
import threading
import time
import warnings
import zlib
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from tqdm import tqdm

from paperlib.data.imagenet import Item, find
from paperlib.data.images import DataError, DataMissingError, formats, orientation, prepare
from paperlib.data.metadata import without_metadata
from paperlib.data.packed import (
    FILES,
    FORMAT,
    LARGEST,
    QUALITY,
    SPLITS,
    Store,
    checksum_of,
    decoded,
    open_packed,
    read_index,
    sealed,
)  # fmt: skip
from paperlib.data.readers import fingerprint, interleaved, printable
from paperlib.errors import PaperlibError
from paperlib.files import locked, write_whole
from paperlib.machine import allowed_cpus, lacks_memory
from paperlib.paper import facts
from paperlib.recipe import Sizes

logger = logging.getLogger(__name__)

SHARD = 1000
"""The most images that a killed process loses. The sums of up to 33,000 fit into 32 bits."""
RULE = 2
"""Version of what is done to the images, which their fingerprint names."""
MOST_CLASSES = Sizes().classes
GREY = ("1", "L", "LA")


@dataclass(frozen=True)
class Report:
    """The result of a preparation; ``seconds`` and ``prepared`` (images) are those of this call alone.

    ``left_out`` names every file that was not used, with the reason. ``unusual`` counts the kept images that are grey,
    CMYK, turned by their EXIF orientation, not JPEG, or have damaged metadata. ``notes`` say what training will lack.
    """

    folder: Path
    train: int
    val: int
    bytes: int
    left_out: tuple[tuple[str, str], ...]
    unusual: dict[str, int]
    notes: tuple[str, ...] = ()
    prepared: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        speed = f"{self.prepared / self.seconds:,.0f} images/s" if self.prepared else "nothing left to do"
        folder, images = printable(str(self.folder)), f"{self.train:,} train and {self.val:,} val images"
        out = f"left out {len(self.left_out):,}" + (f", see {folder}/report.txt" if self.left_out else "")
        return "; ".join([f"{folder}: {images}, {self.bytes:,} bytes, {speed}", out, *self.notes])


def _read(item: Item) -> bytes:
    try:
        with open(item.file, "rb") as stream:
            stream.seek(item.start)
            data = stream.read(item.size)
    except OSError as error:  # not left out: with a lost disk, every image would be
        where = printable(item.file)
        raise DataError(f"{where} cannot be read ({error.strerror}): run the same command to resume") from None
    if len(data) != item.size:
        raise DataError(f"{printable(item.file)} has become shorter since it was listed: run the command again")
    return data


def read_image(content: bytes, size: int) -> tuple[Tensor, set[str]]:
    """A source file prepared as section 2 says, uint8 (3, size, size), and what is unusual about it.

    An image that fails because of its metadata is read without them. Raises nearly anything for a damaged image.
    """
    failed: Exception | None = None
    for form in (bytes, without_metadata):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # whatever PYTHONWARNINGS says
            try:
                with Image.open(io.BytesIO(form(content)), formats=formats()) as image:
                    turn, whole = orientation(image)
                    kinds = {
                        "grey": image.mode in GREY or image.mode.startswith("I"),
                        "CMYK": image.mode == "CMYK",
                        "turned": turn != 1,
                        "not JPEG": image.format not in ("JPEG", "MPO"),
                        "with damaged metadata": not whole or failed is not None,
                    }
                    return prepare(image, size), {kind for kind, holds in kinds.items() if holds}
            except MemoryError:  # not the image's fault
                raise
            except Exception as error:  # damaged bytes make Pillow's decoders raise nearly anything
                failed = failed or error
    assert failed is not None
    raise failed


def pack(rows: list[tuple[int, Item]], stem: Path, store: Store, size: int, quality: int) -> int:
    """Prepare the images of one shard, (label, item) each, into ``<stem>.bin`` and, last, ``<stem>.safetensors``."""
    data, sizes, labels, crcs = bytearray(), [], [], []
    checksums, left_out, unusual = {}, [], Counter[str]()
    item = rows[0][1]
    try:
        sums = torch.zeros(2, 3, size, size, dtype=torch.int32)  # of the pixels and of their squares
        colours = torch.zeros(3, 3, dtype=torch.float64)  # whole numbers below 2**53
        for label, item in rows:
            content = _read(item)
            checksums[item.name] = hashlib.sha256(content).hexdigest()
            try:
                pixels, kinds = read_image(content, size)
            except MemoryError:
                raise
            except Exception as error:
                reason = re.sub(r" ?<_io.*?>", "", " ".join(str(error).split()))  # an address, different each time
                left_out.append((item.name, printable(f"{type(error).__name__}: {reason}")))
                continue
            if store == "jpeg":
                file = io.BytesIO()  # colours at full resolution, unlike Pillow's default: sections 4.1 and 6 need them
                Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality, subsampling=0)
                stored = file.getvalue()
                pixels = torch.from_numpy(decoded(stored, store, size).copy("C"))  # what training will see
            else:
                stored = pixels.permute(1, 2, 0).numpy().tobytes()
            data += stored
            sizes.append(len(stored))
            labels.append(label)
            crcs.append(zlib.crc32(stored))
            unusual.update(kinds)
            sums += torch.stack([pixels, pixels.int().square()])
            flat = pixels.reshape(3, -1).double()
            colours += flat @ flat.T
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        raise PaperlibError(f"too little memory to prepare {item.name}: use fewer --jobs or a smaller --size") from None
    about = {"checksums": checksums, "left_out": left_out, "unusual": unusual}
    columns = {"sizes": sizes, "labels": labels, "crc": crcs}
    tensors = {name: torch.tensor(column, dtype=torch.int64) for name, column in columns.items()}
    tensors |= {"sums": sums, "colours": colours.long()}
    write_whole(Path(f"{stem}.bin"), data)
    write_whole(Path(f"{stem}.safetensors"), save(tensors, {"about": json.dumps(about)}))
    return len(rows)


def _start_worker() -> None:
    """Use one thread, ignore Ctrl-C (the first process handles it), and end when the first process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_the_first, daemon=True).start()


def _end_with_the_first() -> None:
    first = multiprocessing.parent_process()
    assert first is not None
    first.join()
    os._exit(1)


def _pack_all(shards: dict[Path, list[tuple[int, Item]]], jobs: int, bar: tqdm[Any], *how: Any) -> None:
    if jobs == 1 or len(shards) < 2:
        for stem, rows in shards.items():
            bar.update(pack(rows, stem, *how))
        return
    context = multiprocessing.get_context("spawn")
    try:
        executor = ProcessPoolExecutor(min(jobs, len(shards)), mp_context=context, initializer=_start_worker)
    except (OSError, ImportError) as error:  # no semaphores, as where /dev/shm cannot be written
        logger.warning("Several processes cannot run here (%s): one process prepares the images.", error)
        return _pack_all(shards, 1, bar, *how)
    with executor as pool:
        try:
            for done in as_completed([pool.submit(pack, rows, stem, *how) for stem, rows in shards.items()]):
                bar.update(done.result())
        except BrokenProcessPool:
            raise PaperlibError(
                "a process that prepared images was ended from outside, perhaps for lack of memory: "
                "run the same command to resume, with fewer --jobs to use less"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _shard(stem: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    stored = Path(f"{stem}.safetensors").read_bytes()  # safetensors opens no path that is not UTF-8
    header = json.loads(stored[8 : 8 + int.from_bytes(stored[:8], "little")])
    return load(stored), json.loads(header["__metadata__"]["about"])


def _append(target: Path, part: Path, start: int, size: int) -> None:
    """Move a part to its place in ``target``, synced before the part goes. A copy of all would need twice the disk."""
    if part.exists():
        with target.open("r+b") as stream, part.open("rb") as source:
            stream.seek(start)
            shutil.copyfileobj(source, stream, 1 << 22)
            stream.truncate()
            stream.flush()
            os.fsync(stream.fileno())
        part.unlink()
    elif target.stat().st_size < start + size:  # otherwise an earlier call has moved it
        raise DataError(f"{target} has lost bytes since they were written: remove {target.parent} and start again")


def _join(destination: Path, stems: dict[str, list[Path]], size: int) -> dict[str, Any]:
    """Make the final files of all shards; returns what ``index.json`` says of the images."""
    checksums: dict[str, str] = {}
    left_out: list[tuple[str, str]] = []
    unusual, counts = Counter[str](), {}
    for split in SPLITS:
        target, sizes, end = destination / f"{split}.bin", [0], 0
        labels: list[int] = []
        crcs: list[int] = []
        sums, colours = torch.zeros(2, 3, size, size, dtype=torch.int64), torch.zeros(3, 3, dtype=torch.int64)
        target.touch()
        for stem in stems[split]:
            tensors, about = _shard(stem)
            length = int(tensors["sizes"].sum())
            _append(target, Path(f"{stem}.bin"), end, length)
            end += length
            sizes += tensors["sizes"].tolist()
            labels += tensors["labels"].tolist()
            crcs += tensors["crc"].tolist()
            sums += tensors["sums"]
            colours += tensors["colours"]
            checksums |= about["checksums"]
            left_out += map(tuple, about["left_out"])
            unusual.update(about["unusual"])
        counts[split] = len(labels)
        columns = {"labels": labels, "crc": crcs}
        rows = {name: torch.tensor(column, dtype=torch.int64) for name, column in columns.items()}
        rows["offsets"] = torch.tensor(sizes).cumsum(0)
        write_whole(destination / f"{split}.safetensors", save(rows))
        if split == "train":  # the paper's statistics are those of the training set
            about_pixels = {"pixel_sum": sums[0], "pixel_square": sums[1], "colour_first": sums[0].sum((1, 2))}
            about_pixels |= {"colour_second": colours, "n": torch.tensor(len(labels))}
            write_whole(destination / "statistics.safetensors", save(about_pixels))
    if not counts["train"]:
        name, reason = left_out[0]
        raise DataError(f"no training image can be decoded ({name}: {reason}): unpack or fetch them again")
    unread = {name for name, _ in left_out}
    kept = {name: digest for name, digest in checksums.items() if name not in unread}
    return {
        "notes": _duplicates(kept), "counts": counts,
        "unusual": dict(sorted(unusual.items())), "left_out": sorted(left_out),
        "fingerprint": fingerprint(f"packed images {RULE}, {size} pixels", checksums),
    }  # fmt: skip


def prepare_folder(
    source: Path,
    destination: Path,
    *,
    store: Store = "jpeg",
    size: int = 256,
    quality: int = QUALITY,
    jobs: int | None = None,
    progress: bool = True,
    train_only: bool = True,
) -> Report:
    """Prepare every image of ``source`` as section 2 says, ``size`` × ``size`` pixels, into ``destination``.

    ``quality`` is that of the JPEGs (``raw`` stores pixels), ``jobs`` the number of processes (default: one per CPU).
    A source without validation images is refused without ``train_only``. Files that cannot be decoded are left out
    and reported. An interrupted preparation resumes, a finished one is only checked. Raises :class:`DataMissingError`
    or another :class:`DataError` for a source or destination that cannot be used, and :class:`PaperlibError` if
    writing fails, which loses nothing that was prepared.
    """
    began = time.monotonic()
    if not source.is_dir():
        raise DataMissingError(
            f"{source} is not a folder: name the one that holds train/, ILSVRC2012_img_train.tar or Kaggle's ILSVRC/"
        )
    if store not in ("jpeg", "raw") or not 1 <= size <= LARGEST or not 1 <= quality <= 100 or jobs == 0:
        raise DataError(f"store is jpeg or raw, size is 1 to {LARGEST}, quality 1 to 100, and jobs at least 1")
    train = find(source, "train")
    classes = sorted(train.classes)
    found = {"train": train.classes}
    found["val"], unused = (val := find(source, "val", classes)).classes, train.unused + val.unused
    for place in (train.place, val.place):
        if place and Path(os.path.realpath(destination)).is_relative_to(os.path.realpath(place)):
            raise DataError(f"{destination} lies in {place}, among the source images: name a folder outside")
    if not found["val"] and not train_only:
        raise DataMissingError(
            f"{source} has no validation images, val/<class>/ or ILSVRC's own: add them, as `paperlib train` needs "
            "them, or use --train-only to prepare the training images for looking at"
        )
    if unknown := sorted(found["val"].keys() - found["train"].keys()):
        raise DataError(
            f"{source} has val images of class {unknown[0]} and train has none (each folder in val is a class): "
            "add that class to train, or remove it from val"
        )
    if len(classes) > MOST_CLASSES:
        logger.warning("%s has %s classes; `paperlib train` takes at most %s.", source, len(classes), MOST_CLASSES)
    about: dict[str, Any] = {
        "format": RULE, "store": store, "size": size, "quality": quality if store == "jpeg" else None,
    }  # fmt: skip
    lines = [f"{item.size} {item.name}" for by_class in found.values() for items in by_class.values() for item in items]
    key = hashlib.sha256("\n".join([json.dumps(about), *lines]).encode()).hexdigest()
    parts = destination / f"parts-{FORMAT}-{key[:12]}"
    try:
        if finished := _finished(destination, key):
            shutil.rmtree(parts, ignore_errors=True)  # of a call killed in its last moment
            return finished
        _check_ours(destination, parts)
        parts.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PaperlibError(
            f"cannot prepare into {destination} ({error.strerror or error}): name a folder that can be made and written"
        ) from None

    shards: dict[str, dict[Path, list[tuple[int, Item]]]] = {}
    for split in SPLITS:
        order = interleaved([len(found[split].get(name, [])) for name in classes])
        rows = [(label, found[split][classes[label]][j]) for label, j in order]
        shards[split] = {parts / f"{split}-{k // SHARD:05}": rows[k : k + SHARD] for k in range(0, len(rows), SHARD)}
    try:
        with contextlib.ExitStack() as held:
            busy = f"another process is preparing {destination}"
            held.callback(locked(parts / "lock", busy, DataError).release)
            if finished := _finished(destination, key):  # by another process, since we looked
                shutil.rmtree(parts, ignore_errors=True)
                return finished
            todo = {stem: rows for split in SPLITS for stem, rows in shards[split].items() if not _done(stem)}
            prepared = sum(map(len, todo.values()))
            with tqdm(None, "preparing", len(lines), initial=len(lines) - prepared, disable=not progress) as bar:
                _pack_all(todo, jobs or allowed_cpus(), bar, store, size, quality)
            index = about | {"format": FORMAT, "key": key, "classes": classes}
            index |= _join(destination, {split: list(shards[split]) for split in SPLITS}, size)
            index["notes"] = [*_notes(found), *index["notes"]]
            index["left_out"] = sorted([*map(tuple, index["left_out"]), *unused])
            write_whole(destination / "report.txt", "".join(f"{line}\n" for line in _lines(index)).encode())
            index["files"] = {name: checksum_of(destination / name) for name in FILES}
            write_whole(destination / "index.json", sealed(index))
        shutil.rmtree(parts, ignore_errors=True)  # another process may have taken the lock meanwhile
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PaperlibError(
            f"cannot prepare into {destination} ({reason}): run the same command to resume, nothing prepared is lost"
        ) from None
    return _report(destination, index, prepared, time.monotonic() - began)


def _finished(destination: Path, key: str) -> Report | None:
    """The report on a finished preparation, after a check of every byte; None if there is none yet."""
    if not (destination / "index.json").exists():
        return None
    index = read_index(destination)
    if index["key"] != key:
        raise DataError(f"{destination} holds other images or was made with other settings: name another folder")
    open_packed(destination, check=True)
    return _report(destination, index)


def _check_ours(destination: Path, parts: Path) -> None:
    ours = {*FILES, "report.txt", "index.json", parts.name}
    there = {path.name.removesuffix(".part") for path in destination.iterdir()} if destination.is_dir() else set()
    if foreign := sorted(there - ours):
        raise DataError(
            f"{destination} holds {foreign[0]}, which does not belong to this preparation (these images and settings): "
            "name an empty folder"
        )


def _done(stem: Path) -> bool:
    return Path(f"{stem}.safetensors").exists()  # the last file of a shard


def _lines(index: dict[str, Any]) -> list[str]:
    kept = [f"{split}: {count} images" for split, count in index["counts"].items()]
    unusual = [f"of these {kind}: {count}" for kind, count in index["unusual"].items()]
    left_out = [f"left out: {len(index['left_out'])}", *map(": ".join, index["left_out"])]
    return [*kept, *unusual, *index["notes"], *left_out]


def _notes(found: dict[str, dict[str, list[Item]]]) -> list[str]:
    """What training will lack in these images by class; nothing else would say it."""
    numbers = {split: sum(map(len, found[split].values())) for split in SPLITS}
    notes, classes = [], found["train"].keys()
    if len(classes) == 1000 and all(re.fullmatch(r"n\d{8}", name) for name in classes):
        for split, whole in (("train", facts.ILSVRC[1].train), ("val", facts.ILSVRC[1].validation)):
            if numbers[split] not in (0, whole):
                notes.append(f"{numbers[split]:,} {split} images, ILSVRC-2012 has {whole:,}")
    if not numbers["val"]:
        notes.append("no validation images, so `paperlib train` cannot use this folder")
    elif lacking := sorted(classes - found["val"].keys()):
        notes.append(f"no validation images of {len(lacking):,} of {len(classes):,} classes, the first {lacking[0]}")
    if len(classes) == 1:
        notes.append("a single class: if it holds others, each needs a folder directly in train")
    if len(classes) > MOST_CLASSES:
        notes.append(f"{len(classes):,} classes, `paperlib train` takes at most {MOST_CLASSES:,}")
    return notes


def _duplicates(checksums: dict[str, str]) -> list[str]:
    """What is not right about images that have the same bytes; ``checksums`` are by ``<split>/<class>/<file>``."""
    alike: defaultdict[str, list[list[str]]] = defaultdict(list)
    for name, digest in sorted(checksums.items()):
        alike[digest].append(name.split("/", 2))
    notes = []
    for part, what in ((0, "both in train and in val, whose errors mislead"), (1, "in several classes")):
        twice = [same for same in alike.values() if len({each[part] for each in same}) > 1]
        if twice:
            notes.append(f"images {what}: {len(twice):,}, the first {'/'.join(twice[0][0])}")
    return notes


def _report(folder: Path, index: dict[str, Any], prepared: int = 0, seconds: float = 0.0) -> Report:
    size = sum(file["bytes"] for file in index["files"].values())
    left_out = tuple((name, reason) for name, reason in index["left_out"])
    return Report(folder, **index["counts"], bytes=size, left_out=left_out, unusual=index["unusual"],
                  notes=tuple(index.get("notes", ())), prepared=prepared, seconds=seconds)  # fmt: skip
