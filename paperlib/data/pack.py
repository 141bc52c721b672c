"""Images prepared once, as section 2 says, and packed into the few files that :mod:`paperlib.data.packed` reads.

:func:`prepare_folder` reads what :mod:`imagenet` finds: ILSVRC-2012 as it is given out, or any folders of images
``train/<class>/`` and ``val/<class>/``.

*Killed at any moment*, the same command goes on: images are prepared in shards, files that appear whole.
"""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import re
import shutil
import signal
import threading
import time
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from tqdm import tqdm

from paperlib.data.imagenet import Item, find
from paperlib.data.images import DataError, DataMissingError, prepare
from paperlib.data.packed import FILES, FORMAT, QUALITY, SPLITS, Store, checksum_of, decoded, open_packed, read_index
from paperlib.data.readers import fingerprint, interleaved
from paperlib.errors import PaperlibError
from paperlib.files import write_whole
from paperlib.machine import allowed_cpus
from paperlib.paper import facts

SHARD = 1000
"""Images that are lost at most, a process, when a run is killed. Sums over a shard fit into 32 bits up to 33,000."""

GREY = ("1", "L", "LA")
ORIENTATION = 0x0112  # the EXIF tag


@dataclass(frozen=True)
class Report:
    """What a preparation gave. ``seconds`` and ``prepared`` (images) are of this call alone, which may go on with one.

    ``unusual`` counts the kept images that are grey, CMYK, turned by their EXIF orientation, or no JPEG. ``lacking``
    says where a source with the thousand classes of ILSVRC-2012 has other numbers of images.
    """

    folder: Path
    train: int
    val: int
    bytes: int
    left_out: tuple[tuple[str, str], ...]
    unusual: dict[str, int]
    lacking: tuple[str, ...] = ()
    prepared: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        speed = f"{self.prepared / self.seconds:,.0f} images/s" if self.prepared else "nothing left to do"
        out = f"left out {len(self.left_out):,}" + (f", see {self.folder / 'report.txt'}" if self.left_out else "")
        images = f"{self.train:,} train and {self.val:,} val images"
        return "; ".join([f"{self.folder}: {images}, {self.bytes:,} bytes, {speed}", out, *self.lacking])


def _read(item: Item) -> bytes:
    try:
        with open(item.file, "rb") as stream:
            stream.seek(item.start)
            data = stream.read(item.size)
    except OSError as error:  # no reason to leave it out: a disk that is gone would lose every image
        raise DataError(f"{item.file} cannot be read ({error.strerror}); the same command goes on from here") from None
    if len(data) != item.size:
        raise DataError(f"{item.file} has become shorter since it was looked through: start the command again")
    return data


def pack(rows: list[tuple[int, Item]], stem: Path, store: Store, size: int, quality: int) -> int:
    """Prepare the images of one shard, (label, item) each, into ``<stem>.bin`` and, last, ``<stem>.safetensors``."""
    data, sizes, labels = bytearray(), [], []
    checksums, left_out, unusual = {}, [], Counter[str]()
    sums = torch.zeros(2, 3, size, size, dtype=torch.int32)  # of the pixels and of their squares
    colours = torch.zeros(3, 3, dtype=torch.float64)  # whole numbers below 2**53
    for label, item in rows:
        content = _read(item)
        checksums[item.name] = hashlib.sha256(content).hexdigest()
        try:
            with warnings.catch_warnings(), Image.open(io.BytesIO(content)) as image:
                warnings.simplefilter("ignore")  # of odd metadata, once an image
                turned = image.getexif().get(ORIENTATION, 1) in range(2, 9)
                kinds = {
                    "grey": image.mode in GREY or image.mode.startswith("I"),
                    "CMYK": image.mode == "CMYK",
                    "turned": turned,
                    "not JPEG": image.format not in ("JPEG", "MPO"),
                }
                pixels = prepare(image, size)
        except MemoryError:  # not the image's fault
            raise
        except Exception as error:  # damaged bytes make Pillow's decoders raise nearly anything
            reason = re.sub(r" ?<_io.*?>", "", " ".join(str(error).split()))  # an address, other each time
            left_out.append((item.name, f"{type(error).__name__}: {reason}"))
            continue
        if store == "jpeg":
            file = io.BytesIO()  # colours at full resolution, unlike Pillow's default: sections 4.1 and 6 look at them
            Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality, subsampling=0)
            stored = file.getvalue()
            pixels = torch.from_numpy(decoded(stored, store, size).copy("C"))  # what training will see
        else:
            stored = pixels.numpy().tobytes()
        data += stored
        sizes.append(len(stored))
        labels.append(label)
        unusual.update(kind for kind, holds in kinds.items() if holds)
        sums += torch.stack([pixels, pixels.int().square()])
        flat = pixels.reshape(3, -1).double()
        colours += flat @ flat.T
    about = {"checksums": checksums, "left_out": left_out, "unusual": unusual}
    tensors = {"sizes": torch.tensor(sizes, dtype=torch.int64), "labels": torch.tensor(labels, dtype=torch.int64)}
    tensors |= {"sums": sums, "colours": colours.long()}
    write_whole(Path(f"{stem}.bin"), data)
    write_whole(Path(f"{stem}.safetensors"), save(tensors, {"about": json.dumps(about)}))
    return len(rows)


def _start_worker() -> None:
    """One thread, deaf to Ctrl-C (the first process handles it), and gone when the first process is, even killed."""
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
    with ProcessPoolExecutor(min(jobs, len(shards)), mp_context=context, initializer=_start_worker) as pool:
        try:
            for done in as_completed([pool.submit(pack, rows, stem, *how) for stem, rows in shards.items()]):
                bar.update(done.result())
        except BrokenProcessPool:
            raise PaperlibError(
                "a process that prepared images was ended from outside, perhaps for want of memory: "
                "the same command goes on, and with fewer --jobs needs less"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _shard(stem: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safe_open(f"{stem}.safetensors", "pt") as stored:
        tensors = {name: stored.get_tensor(name) for name in ("sizes", "labels", "sums", "colours")}
        return tensors, json.loads(stored.metadata()["about"])


def _append(target: Path, part: Path, start: int, size: int) -> None:
    """Move a part to its place in ``target``, durably before the part goes: copies of all would need twice the disk."""
    if part.exists():
        with target.open("r+b") as stream, part.open("rb") as source:
            stream.seek(start)
            shutil.copyfileobj(source, stream, 1 << 22)
            stream.truncate()
            stream.flush()
            os.fsync(stream.fileno())
        part.unlink()
    elif target.stat().st_size < start + size:  # else an earlier call has moved it
        raise DataError(f"{target} has lost bytes since they were written: remove {target.parent} and start again")


def _join(destination: Path, stems: dict[str, list[Path]], size: int) -> dict[str, Any]:
    """Make the final files of all shards; gives what ``index.json`` says of the images."""
    checksums: dict[str, str] = {}
    left_out: list[tuple[str, str]] = []
    unusual, counts = Counter[str](), {}
    for split in SPLITS:
        target, sizes, end = destination / f"{split}.bin", [0], 0
        labels: list[int] = []
        sums, colours = torch.zeros(2, 3, size, size, dtype=torch.int64), torch.zeros(3, 3, dtype=torch.int64)
        target.touch()
        for stem in stems[split]:
            tensors, about = _shard(stem)
            length = int(tensors["sizes"].sum())
            _append(target, Path(f"{stem}.bin"), end, length)
            end += length
            sizes += tensors["sizes"].tolist()
            labels += tensors["labels"].tolist()
            sums += tensors["sums"]
            colours += tensors["colours"]
            checksums |= about["checksums"]
            left_out += map(tuple, about["left_out"])
            unusual.update(about["unusual"])
        counts[split] = len(labels)
        rows = {"offsets": torch.tensor(sizes).cumsum(0), "labels": torch.tensor(labels, dtype=torch.int64)}
        write_whole(destination / f"{split}.safetensors", save(rows))
        if split == "train":  # the paper's statistics are those of the training set
            about_pixels = {"pixel_sum": sums[0], "pixel_square": sums[1], "colour_first": sums[0].sum((1, 2))}
            about_pixels |= {"colour_second": colours, "n": torch.tensor(len(labels))}
            write_whole(destination / "statistics.safetensors", save(about_pixels))
    if not counts["train"]:
        name, reason = left_out[0]
        raise DataError(f"not one training image can be decoded ({name}: {reason}): unpack or fetch them again")
    return {
        "counts": counts, "unusual": dict(sorted(unusual.items())), "left_out": sorted(left_out),
        "fingerprint": fingerprint(f"packed images {FORMAT}, {size} pixels", checksums),
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

    ``quality`` is that of the JPEGs (``raw`` keeps the pixels as they are), ``jobs`` the number of processes (one a CPU
    where None). Without ``train_only`` a source that has no validation images is refused. What cannot be decoded is
    left out and reported. What was interrupted goes on; what is finished is not done again. Raises
    :class:`DataMissingError` or another :class:`DataError` for what is missing or in the way, and
    :class:`PaperlibError` for what cannot be written, by which nothing that was prepared is lost.
    """
    began = time.monotonic()
    if not source.is_dir():
        raise DataMissingError(
            f"{source} is no folder: name the one that holds train/, ILSVRC2012_img_train.tar or Kaggle's ILSVRC/"
        )
    if store not in ("jpeg", "raw") or size < 1 or not 1 <= quality <= 100 or (jobs is not None and jobs < 1):
        raise DataError("the store is jpeg or raw, size and jobs are at least 1, and quality is from 1 to 100")
    found = {split: find(source, split) for split in SPLITS}
    classes = sorted(found["train"])
    if not found["val"] and not train_only:
        raise DataMissingError(
            f"{source} has no validation images, val/<class>/ or ILSVRC's own: put them there, as no error can be told "
            "without, or say --train-only"
        )
    if unknown := sorted(found["val"].keys() - found["train"].keys()):
        raise DataError(
            f"{source} has val images of class {unknown[0]}, of which train has none (a folder in val is a class, as "
            "in train): get what is missing"
        )
    about: dict[str, Any] = {
        "format": FORMAT, "store": store, "size": size, "quality": quality if store == "jpeg" else None,
    }  # fmt: skip
    lines = [f"{item.size} {item.name}" for by_class in found.values() for items in by_class.values() for item in items]
    key = hashlib.sha256("\n".join([json.dumps(about), *lines]).encode()).hexdigest()
    parts = destination / f"parts-{key[:12]}"
    if finished := _finished(destination, key):
        shutil.rmtree(parts, ignore_errors=True)  # of a call killed in its last moment
        return finished

    shards: dict[str, dict[Path, list[tuple[int, Item]]]] = {}
    for split in SPLITS:
        order = interleaved([len(found[split].get(name, [])) for name in classes])
        rows = [(label, found[split][classes[label]][j]) for label, j in order]
        shards[split] = {parts / f"{split}-{k // SHARD:05}": rows[k : k + SHARD] for k in range(0, len(rows), SHARD)}
    try:
        _check_ours(destination, parts)
        parts.mkdir(parents=True, exist_ok=True)
        with FileLock(parts / "lock", timeout=0):
            if finished := _finished(destination, key):  # by another process, since we looked
                shutil.rmtree(parts, ignore_errors=True)
                return finished
            todo = {stem: rows for split in SPLITS for stem, rows in shards[split].items() if not _done(stem)}
            prepared = sum(map(len, todo.values()))
            with tqdm(None, "preparing", len(lines), initial=len(lines) - prepared, disable=not progress) as bar:
                _pack_all(todo, jobs or allowed_cpus(), bar, store, size, quality)
            index = about | {"key": key, "classes": classes}
            index |= _join(destination, {split: list(shards[split]) for split in SPLITS}, size)
            write_whole(destination / "report.txt", "".join(f"{line}\n" for line in _lines(index)).encode())
            index["files"] = {name: checksum_of(destination / name) for name in FILES}
            write_whole(destination / "index.json", json.dumps(index, indent=1).encode())
        shutil.rmtree(parts, ignore_errors=True)  # another process may have taken the lock meanwhile
    except Timeout:
        raise DataError(f"another process is preparing {destination}: wait for it, or end it") from None
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PaperlibError(
            f"cannot prepare into {destination} ({reason}): what is prepared is kept, and the same command goes on"
        ) from None
    return _report(destination, index, prepared, time.monotonic() - began)


def _finished(destination: Path, key: str) -> Report | None:
    """The report on a finished preparation, whose files are checked to the last byte; None where there is none yet."""
    if not (destination / "index.json").exists():
        return None
    index = read_index(destination)
    if index["key"] != key:
        raise DataError(f"{destination} holds other images, or is of other settings: name another folder")
    open_packed(destination, check=True)
    return _report(destination, index)


def _check_ours(destination: Path, parts: Path) -> None:
    ours = {*FILES, "report.txt", "index.json", parts.name}
    there = {path.name.removesuffix(".part") for path in destination.iterdir()} if destination.is_dir() else set()
    if foreign := sorted(there - ours):
        raise DataError(
            f"{destination} holds {foreign[0]}, which is not of this preparation (these images, these settings): "
            "name an empty folder"
        )


def _done(stem: Path) -> bool:
    return Path(f"{stem}.safetensors").exists()  # the last file of a shard


def _lines(index: dict[str, Any]) -> list[str]:
    kept = [f"{split}: {count} images" for split, count in index["counts"].items()]
    unusual = [f"of these {kind}: {count}" for kind, count in index["unusual"].items()]
    left_out = [f"left out: {len(index['left_out'])}", *map(": ".join, index["left_out"])]
    return [*kept, *unusual, *_lacking(index), *left_out]


def _lacking(index: dict[str, Any]) -> list[str]:
    """Where a source has the classes of ILSVRC-2012 and not its numbers of images: nothing else shows it."""
    if len(index["classes"]) != 1000 or not all(re.fullmatch(r"n\d{8}", name) for name in index["classes"]):
        return []
    whole = {"train": facts.ILSVRC[1].train, "val": facts.ILSVRC[1].validation}
    left_out = Counter(name.partition("/")[0] for name, _ in index["left_out"])
    there = {split: count + left_out[split] for split, count in index["counts"].items()}
    return [f"{there[s]:,} {s} images, ILSVRC-2012 has {n:,}" for s, n in whole.items() if there[s] not in (0, n)]


def _report(folder: Path, index: dict[str, Any], prepared: int = 0, seconds: float = 0.0) -> Report:
    size = sum(file["bytes"] for file in index["files"].values())
    left_out = tuple((name, reason) for name, reason in index["left_out"])
    return Report(folder, **index["counts"], bytes=size, left_out=left_out, unusual=index["unusual"],
                  lacking=tuple(_lacking(index)), prepared=prepared, seconds=seconds)  # fmt: skip
