"""Damaged and senseless files for everything that reads files: each must be read or refused in one sentence.

    python -m tools.fuzz                                a million inputs: `make fuzz`
    python -m tools.fuzz --seconds 600 records index    some readers, for ten minutes
    python -m tools.fuzz --first-round 40               inputs that the rounds 0 to 39 have not tried

Prints a line a reader: how many files it was given, refused (PaperlibError), read, and how many crashed it. A crash is
any other exception, and the end of the process. What crashed it is kept in build/fuzz/. The exit code is then 1.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import gzip
import hashlib
import io
import json
import logging
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from PIL import Image
from safetensors.torch import save

from paperlib import files
from paperlib.data import cache, imagenet, images, pack, packed, readers
from paperlib.errors import PaperlibError
from paperlib.evidence import store, weights
from paperlib.training import checkpoints, loop, records
from paperlib.training.journal import Journal
from tests import datasets, tiny
from tests.data import test_packed as sources

KEPT = files.SOURCE / "build" / "fuzz"
ROUND = 1000
"""Inputs of a reader in one round. Each round has its own seed, so that rounds can be repeated and continued."""
Files = dict[str, bytes]

# ------------------------------------------------------------------------------------------ damage

ODD = (
    b"\0", b"\xff" * 8, b"\x0b", b"\x1c", b"\x85", b"9" * 5000, b"[" * 3000, b"-1", b"1e999", b"NaN", b"\n", b"\r\n",
    b"null", b"\xef\xbb\xbf", b"\x7f\xff\xff\xff", b"\x80\0\0\0\0\0\0\0", b'"', b"\xc3\xa9", b"../", b"~x", b"\x1f\x8b",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 10**30, 0.5, 1e308, float("inf"), float("nan"), "", "x", "../x", "\ud800", "\0",
    "1", [], {}, [[]], [1, "a", None], {"a": 1}, {"step": "x"}, ["x"] * 50,
)  # fmt: skip


CHANCE = st.randoms(use_true_random=True)
"""A generator with a seed of hypothesis. To let hypothesis draw every byte takes ten times as long."""


def edited(whole: bytes, chance: Random) -> bytes:
    """Bytes changed, cut off, put in, taken out or repeated, at one to four places; or other bytes altogether."""
    if chance.random() < 0.05:
        return chance.randbytes(chance.randrange(80))
    data = whole
    for _ in range(chance.randint(1, 4)):
        at, count = chance.randint(0, len(data)), chance.randint(1, 600)
        new = chance.choice(ODD) if chance.random() < 0.4 else chance.randbytes(chance.randint(1, 6))
        data = chance.choice((
            data[:at] + new + data[at + len(new) :], data[:at], data[:at] + new + data[at:],
            data[:at] + data[at + count :], data[: at + count] + data[at:],
        ))  # fmt: skip
    return data


def edits(whole: bytes) -> SearchStrategy[bytes]:
    return CHANCE.map(lambda chance: edited(whole, chance))


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value within a JSON value, itself included."""
    yield above
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inside:
        yield from places(each, (*above, key))


def json_edited(whole: Any, paths: Sequence[tuple[Any, ...]], chance: Random) -> Any:
    """The JSON value with one to three values in it replaced by odd ones, removed, or joined by others."""
    value = [json.loads(json.dumps(whole))]
    for _ in range(chance.randint(1, 3)):
        new, how = copy.deepcopy(chance.choice(VALUES)), chance.choice(("put", "put", "remove", "add"))
        with contextlib.suppress(KeyError, IndexError, TypeError, AttributeError):  # gone by an earlier change
            inside, last = value, 0
            for key in chance.choice(paths):
                inside, last = inside[last], key
            if how == "remove":
                del inside[last]
            elif how == "add" and isinstance(inside[last], dict):
                inside[last]["new"] = new
            else:
                inside[last if isinstance(inside, list) else str(last)] = new  # an object's keys are texts
    return value[0] if value else None


def json_edits(whole: Any) -> SearchStrategy[Any]:
    paths = list(places(whole))
    return CHANCE.map(lambda chance: json_edited(whole, paths, chance))


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


# ------------------------------------------------------------------------------------------ the readers


@dataclass(frozen=True)
class Target:
    """A reader: whole files for it, what may come in the place of some of them, and the call that reads them.

    ``often`` is how many of a round's inputs it gets; slow readers get fewer. One that ``writes`` needs all files anew.
    """

    name: str
    whole: Files
    damage: SearchStrategy[Files]
    call: Callable[[Path], object]
    often: float = 1.0
    writes: bool = False


def some_file(whole: Files, *names: str) -> SearchStrategy[Files]:
    """One of the files, edited."""
    return st.builds(
        lambda name, chance: {name: edited(whole[name], chance)}, st.sampled_from(names or tuple(whole)), CHANCE
    )


def tensors_with(header: Any, body: bytes) -> bytes:
    """A safetensors file with any header."""
    text = as_json(header)
    return len(text).to_bytes(8, "little") + text + body


def tensor_edits(whole: bytes) -> SearchStrategy[bytes]:
    """A safetensors file edited in its bytes, or in the words of its header."""
    size = int.from_bytes(whole[:8], "little")
    header, body = json.loads(whole[8 : 8 + size]), whole[8 + size :]
    return edits(whole) | json_edits(header).map(lambda changed: tensors_with(changed, body))


def idx() -> Target:
    raw = gzip.decompress(datasets.idx(datasets.pixels("idx", 3, 4, 5)))
    whole = {"x.gz": gzip.compress(raw)}
    damage = some_file(whole) | edits(raw).map(lambda data: {"x.gz": gzip.compress(data, 1)})
    return Target("IDX", whole, damage, lambda folder: readers.read_idx(folder / "x.gz"))


def copies() -> Iterator[Target]:
    """CIFAR-10 and Tiny ImageNet, as folders and as archives; these without the check of their checksum."""
    layouts = {"cifar10": datasets.CIFAR, "tinyimagenet": datasets.TINY}

    def target(name: str, title: str, path: str, whole: Files, read: Any, often: float) -> Target:
        def call(folder: Path) -> object:
            with mock.patch.dict(readers.LAYOUTS, layouts):
                return readers.read_copy(name, readers.Copy(path, read), folder / path)

        return Target(title, whole, some_file(whole), call, often)

    for name, title, read, files_of, archive in (
        ("cifar10", "CIFAR-10", readers._read_cifar_binary, datasets.cifar_batches, datasets.cifar_archive),
        ("tinyimagenet", "Tiny ImageNet", readers._read_tiny_imagenet, datasets.tiny_files, datasets.tiny_zip),
    ):
        whole = {f"copy/{file}": data for file, data in files_of().items()}
        yield target(name, title, "copy", whole, read, 0.3)
        with tempfile.TemporaryDirectory() as folder:
            packed_up = archive(Path(folder))
            yield target(name, f"{title} archive", packed_up.name, {packed_up.name: packed_up.read_bytes()}, read, 0.3)


def summed(header: bytes) -> bytes:
    """A tar header with the checksum that its other bytes need."""
    blank = header[:148] + b" " * 8 + header[156:]
    return header[:148] + b"%06o\0 " % sum(blank) + header[156:]


def tars() -> Target:
    inner = sources.class_tars(sources.train_files(2))
    whole = {"ILSVRC2012_img_train.tar": sources.tar(inner)}
    (name, data), *_ = whole.items()
    header = edits(data[:512]).map(lambda start: {name: summed(start.ljust(512, b"\0")[:512]) + data[512:]})
    return Target("ILSVRC tars", whole, some_file(whole) | header, lambda folder: imagenet.find(folder, "train"))


def tables() -> Iterator[Target]:
    """What tells the classes of ILSVRC's validation images."""
    kit, val = sources.devkit(), {f"val/{name}": b"" for name in sources.val_files()}
    train = {f"train/{name}": b"" for name in sources.train_files(1)}
    classes = sorted(sources.WNIDS)

    def find(folder: Path) -> object:
        return imagenet.find(folder, "val", classes)

    def find_without_meta(folder: Path) -> object:
        with mock.patch.object(imagenet, "ids_of", lambda meta: dict(sources.IDS)):
            return imagenet.find(folder, "val", classes)

    whole = {f"{imagenet.DEVKIT}/data/{name}": data for name, data in kit.items()} | val | train
    truth, meta = (f"{imagenet.DEVKIT}/data/{name}" for name in (imagenet.TRUTH, "meta.mat"))
    yield Target("ground truth", whole, some_file(whole, truth), find_without_meta)
    yield Target("meta.mat", whole, some_file(whole, meta), find, 0.002)
    archive = {f"{imagenet.DEVKIT}.tar.gz": sources.tar({f"data/{n}": b for n, b in kit.items()}, "w:gz")} | val | train
    plain = sources.tar({f"data/{name}": data for name, data in kit.items()})
    damage = some_file(archive, f"{imagenet.DEVKIT}.tar.gz") | edits(plain).map(
        lambda data: {f"{imagenet.DEVKIT}.tar.gz": gzip.compress(data, 1)}
    )
    yield Target("devkit", archive, damage, find_without_meta)
    rows = "".join(
        f"{n.split('/')[1][:-5]},{sources.IDS[i]} 1 2 3 4\n" for i, n in zip(sources.VAL_IDS, val, strict=True)
    )
    kaggle = {imagenet.SOLUTION: b"ImageId,PredictionString\n" + rows.encode()} | val | train
    yield Target("Kaggle's table", kaggle, some_file(kaggle, imagenet.SOLUTION), find)
    lines = "".join(f"{n[4:]} {classes.index(sources.IDS[i])}\n" for i, n in zip(sources.VAL_IDS, val, strict=True))
    caffe = {"val.txt": lines.encode(), "synsets.txt": "\n".join(classes).encode()} | val | train
    yield Target("Caffe's table", caffe, some_file(caffe, "val.txt", "synsets.txt"), find)


def pictures() -> Iterator[Target]:
    """Images of every format, as `data prepare` reads them, and those of Tiny ImageNet."""
    picture = Image.fromarray(datasets.pixels("picture", 20, 24, 3))
    exif = Image.Exif()
    exif[0x0112], exif[0x8298] = 6, "nobody"
    whole = {}
    for form in [name for name in images.formats() if name in Image.SAVE]:
        stored = io.BytesIO()
        with contextlib.suppress(OSError, KeyError, ValueError):  # cannot be written by this Pillow
            picture.save(stored, form, **({"exif": exif} if form in ("JPEG", "PNG", "WEBP", "TIFF") else {}))
            whole[form] = stored.getvalue()

    def prepare(folder: Path) -> object:
        for file in folder.iterdir():
            item = imagenet.Item("train/a/x", str(file), 0, file.stat().st_size)
            with mock.patch.object(os, "fsync", lambda fd: None), tempfile.TemporaryDirectory() as made:
                return pack.pack([(0, item)], Path(made) / "shard", "jpeg", 16, 95)

    damage = some_file(whole).map(lambda file: dict(x=next(iter(file.values()))))
    yield Target("images", {"x": whole["JPEG"]}, damage, prepare)
    yield Target("small images", {"x": whole["JPEG"]}, damage,
                 lambda folder: readers.decode((folder / "x").read_bytes(), folder / "x"))  # fmt: skip


def of_packed() -> Iterator[Target]:
    """A prepared folder: bytes of its files; words of its index with the right checksum; headers of its tensors."""
    with tempfile.TemporaryDirectory() as place:
        pack.prepare_folder(sources.folders(Path(place)), Path(place) / "made", size=8, jobs=1, progress=False)
        whole = {path.name: path.read_bytes() for path in (Path(place) / "made").iterdir()}
    index = {name: value for name, value in json.loads(whole["index.json"]).items() if name != "sha256"}

    def call(folder: Path) -> object:
        opened = packed.open_packed(folder, threads=1)
        return opened.train[:], opened.val[:], opened.sums.statistics()

    def resealed(name: str, data: bytes) -> Files:
        about = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        return {name: data, "index.json": packed.sealed(index | {"files": index["files"] | {name: about}})}

    def seal(value: Any) -> bytes:
        return packed.sealed(value) if isinstance(value, dict) else as_json(value)

    tensors = [name for name in whole if name.endswith(".safetensors")]
    words = json_edits(index).map(lambda value: {"index.json": seal(value)})
    yield Target("index", whole, some_file(whole, "index.json") | words, call)
    yield Target("packed images", whole, some_file(whole, *packed.FILES), call)
    yield Target("packed tensors", whole, st.sampled_from(tensors).flatmap(
        lambda name: tensor_edits(whole[name]).map(lambda data: resealed(name, data))), call)  # fmt: skip


def of_cache() -> Target:
    place, key = Path("copy"), "k" * 64
    tensors = {name: torch.zeros(2, 3, 4, 4, dtype=torch.uint8) for name in ("train_images", "test_images")}
    tensors |= {name: torch.zeros(2, dtype=torch.int64) for name in ("train_labels", "test_labels")}
    with tempfile.TemporaryDirectory() as folder:
        cache.write_cache(Path(folder) / place, key, (tensors, ("a", "b"), "sha256:x"))
        file = f".paperlib-cache/{place}.safetensors"
        whole = {file: (Path(folder) / file).read_bytes()}
    damage = tensor_edits(whole[file]).map(lambda data: {file: data})
    return Target("cache", whole, damage, lambda folder: cache.read_cache(folder / place, key))


def of_runs() -> Iterator[Target]:
    """Records, checkpoints, and a run that resumes; words of their JSON come with the right checksums."""
    run = tiny.plain()
    first = records.first_line(run, "tiny")
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.suppress(loop.Interrupted):
            loop.fit(run, tiny.dataset(), Path(folder), checkpoint_seconds=0.0, keep_going=tiny.for_updates(8))
        half = {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.name != "lock"}
        whole = loop.fit(run, tiny.dataset(), Path(folder)).lines
    name, (_, newest) = "record.jsonl", sorted(file for file in half if file.endswith(".json"))
    tensor_file = newest.replace("json", "safetensors")
    content = {field: value for field, value in json.loads(half[newest]).items() if field != checkpoints.CHECK}
    done = {name: "".join(map(records.as_text, whole)).encode()}

    def resealed(lines: Any) -> Files:
        with contextlib.suppress(Exception):  # what cannot be sealed is tried as it is
            lines[0]["id"] = records.id_of(lines[0]["config"])
            lines = records.sealed(lines)
        lines = lines if isinstance(lines, list) else [lines]
        return {name: "".join(json.dumps(line) + "\n" for line in lines).encode()}

    def read(folder: Path) -> object:
        lines = records.read_record(folder / name)
        return records.in_parts([lines]), records.comparable(lines), records.status(lines), store.run_of(lines)

    def checkpoint(content: Any) -> Files:
        if isinstance(content, dict):
            content = content | {checkpoints.CHECK: checkpoints._digest(content)}
        return {newest: as_json(content)}

    def resealed_tensors(data: bytes) -> Files:
        other = checkpoint(content | {"sha256": hashlib.sha256(data).hexdigest()})
        return {tensor_file: data, **other}

    def enter(folder: Path) -> None:
        with Journal(first, folder):
            pass

    def resume(folder: Path) -> None:
        with contextlib.suppress(loop.Interrupted), mock.patch.object(os, "fsync", lambda fd: None):
            loop.fit(run, tiny.dataset(), folder, keep_going=tiny.for_updates(1))

    tensors = tensor_edits(half[tensor_file]).map(resealed_tensors)
    words, lines_of_half = (
        json_edits(content).map(checkpoint),
        json_edits([json.loads(line) for line in half[name].splitlines()]),
    )
    yield Target("records", done, some_file(done) | json_edits(whole).map(resealed), read)
    yield Target("checkpoints", half, some_file(half) | words | tensors, enter, 0.5)
    yield Target("resumed runs", half, words | tensors | lines_of_half.map(resealed), resume, 0.1, writes=True)
    yield Target("safetensors", {"x": half[tensor_file]},
                 tensor_edits(half[tensor_file]).map(lambda data: {"x": data}),
                 lambda folder: checkpoints.tensors_of((folder / "x").read_bytes(), folder / "x"))  # fmt: skip

    at = "relu/sample/x.jsonl"
    listed = {at: done[name], store.CHECKSUMS: f"{hashlib.sha256(done[name]).hexdigest()}  {at}\n".encode()}

    def recorded(folder: Path) -> object:
        with store.using(folder):
            return store.recorded(), store.stale()

    yield Target("recorded runs", listed, some_file(listed), recorded)
    kept = save(checkpoints.tensors_of(half[tensor_file], Path()))
    look = {"kind": "look", "label_agreement": 1.0, "weights": hashlib.sha256(kept).hexdigest()}
    beside = {"x.jsonl": "".join(map(records.as_text, records.sealed([*whole[:-1], look, whole[-1]]))).encode()}
    yield Target("recorded weights", beside | {"x.safetensors": kept}, some_file(beside | {"x.safetensors": kept}),
                 lambda folder: weights.checkpoint(folder / "x.safetensors"))  # fmt: skip


def targets() -> list[Target]:
    """The table of all readers."""
    return [idx(), *copies(), tars(), *tables(), *pictures(), *of_packed(), of_cache(), *of_runs()]


# ------------------------------------------------------------------------------------------ trying them


def write(folder: Path, content: Mapping[str, bytes]) -> None:
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def tried(target: Target, inputs: int, number: int, folder: Path) -> tuple[Counter[str], dict[str, str]]:
    """What became of ``inputs`` inputs of round ``number``; and the crashes, the place in the code -> the traceback."""
    outcome: Counter[str] = Counter()
    crashes: dict[str, str] = {}
    fresh = True

    @seed(number)
    @settings(max_examples=inputs, database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(target.damage)
    def one(damaged: Files) -> None:
        nonlocal fresh
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
            write(folder, target.whole)
        write(folder, damaged)
        outcome["tries"] += 1
        fresh = False
        try:
            try:
                target.call(folder)
                outcome["read"] += 1
            except PaperlibError as error:
                if "\n" in str(error):
                    raise ValueError("the message has two lines") from error
                outcome["refused"] += 1
        except (Exception, SystemExit) as error:
            outcome["crashed"] += 1
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"
            if where not in crashes:
                crashes[where] = "".join(traceback.format_exception(error))
                shutil.copytree(folder, KEPT / target.name / where.replace("/", "-"), dirs_exist_ok=True)
        if set(damaged) != set(target.whole):
            write(folder, {name: target.whole[name] for name in damaged if name in target.whole})
        fresh = target.writes

    one()
    return outcome, crashes


def in_a_process(answer: Connection, chosen: Sequence[tuple[Target, int]], number: int, folder: Path) -> None:
    torch.set_num_threads(1)
    logging.disable()
    for target, inputs in chosen:
        answer.send(tried(target, inputs, number, folder / target.name))


def one_round(
    chosen: Sequence[tuple[Target, int]], number: int
) -> Iterator[tuple[Target, Counter[str], dict[str, str]]]:
    """:func:`tried` for a number of inputs of each reader, in a process whose death is a crash of the reader, too."""
    context, left = multiprocessing.get_context("fork"), list(chosen)
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as place:
        while left:
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=in_a_process, args=(theirs, left, number, Path(place)))
            process.start()
            theirs.close()
            with contextlib.suppress(EOFError):
                while left:
                    found: tuple[Counter[str], dict[str, str]] = ours.recv()
                    yield left.pop(0)[0], *found
            process.join()
            if left:
                target, where = left.pop(0)[0], f"the process ended with code {process.exitcode}"
                shutil.copytree(Path(place) / target.name, KEPT / target.name / where, dirs_exist_ok=True)
                yield target, Counter(crashed=1, tries=1), {where: where}


def rounds(
    chosen: Sequence[Target], inputs: int, seconds: float, first: int
) -> tuple[int, dict[str, Counter[str]], dict[str, str]]:
    """Rounds over all readers until the number of inputs or the time is reached; gives the number of the next."""
    begun, number = time.monotonic(), first
    total = {target.name: Counter[str]() for target in chosen}
    crashes: dict[str, str] = {}
    whole = sum(target.often for target in chosen)
    while (left := inputs - sum(each["tries"] for each in total.values())) > 0 and time.monotonic() - begun < seconds:
        shares = [(target, ceil(min(ROUND, left / whole) * target.often)) for target in chosen]
        for target, outcome, found in one_round(shares, number):
            total[target.name] += outcome
            crashes |= {f"{target.name}: {where}": text for where, text in found.items()}
        number += 1
    return number, total, crashes


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="READER", help="only these; all without it")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="how many files in all (1000000)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after the round that exceeds this")
    parser.add_argument("--first-round", type=int, default=0, metavar="N", help="number of the first round (0)")
    options = parser.parse_args(arguments)
    chosen = targets()
    if options.names:
        if unknown := set(options.names) - {target.name for target in chosen}:
            sys.exit(f"no reader {unknown.pop()!r}; they are {', '.join(target.name for target in chosen)}")
        chosen = [target for target in chosen if target.name in options.names]
    number, total, crashes = rounds(chosen, options.inputs, options.seconds, options.first_round)
    columns = ("tries", "refused", "read", "crashed")
    total["all"] = sum(total.values(), Counter())
    print(f"{'reader':<24}" + "".join(f"{column:>12}" for column in columns))
    for name, outcome in total.items():
        print(f"{name:<24}" + "".join(f"{outcome[column]:>12,}" for column in columns))
    print(f"Rounds {options.first_round} to {number - 1}; `--first-round {number}` tries others.")
    for where, text in crashes.items():
        print(f"\n{where}, the files are in {os.path.relpath(KEPT)}\n{text}")
    return int(bool(crashes))


if __name__ == "__main__":
    sys.exit(main())
