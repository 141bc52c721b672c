"""Folders and files as people have them: what `paperlib data prepare` and the loaders make of each kind."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import re
import shutil
import socket
import struct
import tarfile
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from paperlib import cli
from paperlib.data import cache, imagenet, images, pack, packed, readers, sample, sets
from paperlib.data.images import DataError, DataMissingError
from paperlib.errors import PaperlibError
from tests import datasets
from tests.data.test_packed import (
    IDS,
    SIZE,
    VAL_IDS,
    WNIDS,
    all_files,
    as_kaggle,
    classes_of_val,
    devkit,
    flip,
    folders,
    make,
    tar,
    train_files,
    val_files,
    write,
)  # fmt: skip
from tests.datasets import jpeg, message


def saved(form: str, key: str = "any") -> bytes:
    stored = io.BytesIO()
    Image.fromarray(datasets.pixels(key, 20, 24, 3)).save(stored, form)
    return stored.getvalue()


def lines(folder: Path) -> list[str]:
    return (folder / "report.txt").read_text().splitlines()


# ------------------------------------------------------------------------------------- files of a class folder

FORMS = {"x.jpeg2000": "JPEG2000", "x.tpic": "TGA", "IMG 1": "PNG", "y.dat": "WEBP", "z.qoi": "QOI", "a.pcx": "PCX"}


@pytest.mark.parametrize("name", FORMS)
def test_images_are_taken_by_their_content(name: str, tmp_path: Path) -> None:
    source = folders(tmp_path)
    write(source / "train" / WNIDS[0], {name: saved(FORMS[name])})
    report = make(source, tmp_path / "made")
    assert (report.train, report.left_out, report.unusual) == (13, (), {"not JPEG": 1})


def test_every_other_file_is_counted_and_named(tmp_path: Path) -> None:
    source = folders(tmp_path)
    odd = {
        "notes.txt": b"text",
        "clip.mp4": b"\0\0\0\x18ftypmp42",
        "old.jpg~": b"x",
        "picture.svg": b"<svg/>",
        "none": b"",
    }
    write(source / "train" / WNIDS[1], odd)
    write(source / "val", {"labels.csv": b"a,b"})
    report = make(source, tmp_path / "made")
    named = [name for name, _ in report.left_out]
    assert named == sorted(f"train/{WNIDS[1]}/{name}" for name in odd) + ["val/labels.csv"]
    assert "left out 6, see" in str(report) and all(
        any(name in line for line in lines(tmp_path / "made")) for name in named
    )
    for reader in (packed.open_packed(tmp_path / "made", check=True).classes, imagenet.find(source, "train").classes):
        assert tuple(reader) == WNIDS


IM = b"Image type: Greyscale image\r\nImage size (x*y): 2*2\r\nFile size (no of images): 1\r\n".ljust(511, b"\0")


@pytest.mark.parametrize("form", ["ICNS", "XBM", "BLP", "IM"])
def test_a_format_that_is_not_read_here_is_named_as_such(form: str, tmp_path: Path) -> None:
    """Pillow could read it."""
    stored = io.BytesIO(IM + b"\x1a1234")
    if form != "IM":  # of which newer versions warn
        Image.new({"XBM": "1", "BLP": "P"}.get(form, "RGB"), (64, 64)).save(stored, form)
    source = folders(tmp_path)
    write(source / "train" / WNIDS[0], {"x": stored.getvalue()})
    ((name, reason),) = make(source, tmp_path / "made").left_out
    assert name == f"train/{WNIDS[0]}/x" and "not an image in a format that is read here" in reason


def test_no_image_starts_another_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostScript, which Pillow hands to Ghostscript, under the ending of a JPEG and without one."""
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n%%EOF\n"
    started: list[object] = []
    monkeypatch.setattr("subprocess.check_call", started.append)
    monkeypatch.setattr("PIL.EpsImagePlugin.has_ghostscript", lambda: True)
    source = folders(tmp_path)
    write(source / "train" / WNIDS[0], {"ps.JPEG": script, "ps": script})
    assert [name for name, _ in make(source, tmp_path / "made").left_out] == [
        f"train/{WNIDS[0]}/ps", f"train/{WNIDS[0]}/ps.JPEG",
    ]  # fmt: skip
    assert "damaged" in message(lambda: readers.decode(script, Path("x.JPEG"))) and not started


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "x.jpg")


def listen(folder: Path) -> None:
    here = os.getcwd()
    os.chdir(folder)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("x.jpg")
    os.chdir(here)


@pytest.mark.parametrize(
    ("spoil", "name", "reason"),
    [
        (pipe, "x.jpg", "a pipe, socket or device"),
        (listen, "x.jpg", "a pipe, socket or device"),
        (lambda f: (f / "x.jpg").symlink_to("/dev/zero"), "x.jpg", "a pipe, socket or device"),
        (lambda f: (f / "x.jpg").symlink_to("x.jpg"), "x.jpg", "a link to nothing"),
        (lambda f: (f / "album").symlink_to(f / "not there"), "album", "a link to nothing"),
        (lambda f: (f / "loop").symlink_to("."), "loop", "a link to a folder above it"),
        (lambda f: (f / "loop").symlink_to("../.."), "loop", "a link to a folder above it"),
    ],
    ids=["pipe", "socket", "device", "itself", "dangling", "loop", "higher loop"],
)
def test_only_regular_files_are_opened(spoil: Callable[[Path], object], name: str, reason: str, tmp_path: Path) -> None:
    source = folders(tmp_path)
    spoil(source / "train" / WNIDS[0])
    left_out = dict(make(source, tmp_path / "made").left_out)
    assert left_out[f"train/{WNIDS[0]}/{name}"] == reason


def test_a_copy_of_tiny_imagenet_with_a_pipe_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "LAYOUTS", {"tinyimagenet": datasets.TINY})
    place = datasets.tiny_folder(tmp_path)
    os.mkfifo(place / "val" / "images" / "val_9.JPEG")
    assert "val_9.JPEG is a pipe" in message(lambda: sets.load("tinyimagenet", tmp_path))


@pytest.mark.parametrize("name", ["recycler", "Recycler", "cache", "sync", "icon", "thumbs"])
def test_a_class_that_is_called_nearly_as_junk_is_kept(name: str, tmp_path: Path) -> None:
    source = folders(tmp_path)
    write(source / "train" / name, {"x.jpg": jpeg("x")})
    make(source, tmp_path / "made")
    assert name in packed.open_packed(tmp_path / "made").classes


@pytest.mark.parametrize("name", [".NET", ".a class", "._", ".DS_Storey"])
def test_a_name_that_begins_with_a_dot_may_be_a_class_or_an_image(name: str, tmp_path: Path) -> None:
    source = folders(tmp_path)
    taken = not name.startswith("._")  # as macOS names its own
    for split in ("train", "val"):
        write(source / split / (name if taken else "x"), {f"{name}.jpg": jpeg(split), f"{name} notes": b"x"})
        write(source / split / "x", {"a.jpg": jpeg("a")})
    report = make(source, tmp_path / "made")
    assert (report.train, len(report.left_out)) == ((14, 2) if taken else (13, 0))
    assert packed.open_packed(tmp_path / "made").classes == (*([name] if taken else []), *WNIDS, "x")


@pytest.mark.parametrize(
    "junk",
    ["@eaDir", "lost+found", "$RECYCLE.BIN", "#recycle", "__MACOSX", ".thumbnails", ".git", ".ipynb_checkpoints",
     ".Trashes", ".Spotlight-V100", ".Trash-1000", ".AppleDouble", "._n01440764", ".nfs00000000012"],
)  # fmt: skip
@pytest.mark.parametrize("packed_up", [False, True])
def test_junk_of_systems_is_no_class(junk: str, packed_up: bool, tmp_path: Path) -> None:
    source = folders(tmp_path)
    extra = {f"{junk}/x/THUMB.jpg": jpeg("t"), f"{WNIDS[0]}/{junk}/a.jpg/THUMB.jpg": jpeg("t"), "Thumbs.db": b"x"}
    if packed_up:
        write(source / "train", {f"{WNIDS[0]}.tar": tar({"a.jpg": jpeg("a")} | extra)})
        shutil.rmtree(source / "train" / WNIDS[0])
    else:
        write(source / "train", extra)
    report = make(source, tmp_path / "made")
    assert report.train == (9 if packed_up else 12) and report.left_out == ()
    assert packed.open_packed(tmp_path / "made").classes == WNIDS


NAMES = [b"caf\xe9.jpg", b"\xff\xfe \x80.JPG", b"two\nlines.jpg", b"bell\x07.jpg", "été 猫.jpg".encode()]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_of_a_file_is_taken_and_can_be_printed(name: bytes, tmp_path: Path) -> None:
    source = folders(tmp_path)
    for content, prefix in ((jpeg("odd"), b""), (b"broken", b"bad ")):
        (source / "train" / WNIDS[0] / os.fsdecode(prefix + name)).write_bytes(content)
    report = make(source, tmp_path / "made", jobs=1)
    assert report.train == 13 and len(report.left_out) == 1
    shown = report.left_out[0][0]
    assert shown.isprintable() and any(line.startswith(shown) for line in lines(tmp_path / "made"))
    inside = tar({os.fsdecode(name): jpeg("odd")})  # and in an archive
    write(source / "train", {"fox.tar": inside})
    write(source / "val" / "fox", {"a.jpg": jpeg("a")})
    assert make(source, tmp_path / "other").train == 14


ALIKE = [
    [b"\xe9.jpg", rb"\xe9.jpg"], [b"a\xff b.jpg", rb"a\xff b.jpg"], ["\u00e9.jpg".encode(), "e\u0301.jpg".encode()],
    [b"\xe2\x84\xaa.jpg", b"K.jpg", b"K.jpg (2)"], [b"x\n.jpg", rb"x\n.jpg"],
]  # fmt: skip


@pytest.mark.parametrize("names", ALIKE)
@pytest.mark.parametrize("packed_up", [False, True])
def test_names_that_are_printed_alike_are_all_taken(names: list[bytes], packed_up: bool, tmp_path: Path) -> None:
    source = folders(tmp_path)
    files = {os.fsdecode(name): jpeg(str(k)) for k, name in enumerate(names)}
    write(source / "train", {"x.tar": tar(files)} if packed_up else {f"x/{name}": b for name, b in files.items()})
    report = make(source, tmp_path / "made", store="raw")
    assert report.train == 12 + len(names) and report.left_out == ()
    opened = packed.open_packed(tmp_path / "made")
    stored = {image.numpy().tobytes() for image in opened.train[opened.train_labels == 3]}
    expected = (images.prepare(Image.open(io.BytesIO(content)), SIZE) for content in files.values())
    assert stored == {image.numpy().tobytes() for image in expected}


@pytest.mark.parametrize("name", [b"caf\xe9", b"\xff\xfe/made", "Ünï".encode()])
def test_any_name_of_the_destination(name: bytes, tmp_path: Path) -> None:
    made = tmp_path / os.fsdecode(name)
    assert make(folders(tmp_path), made).prepared == 18 and make(folders(tmp_path), made).prepared == 0
    assert packed.check_folder(made).endswith("all checksums are right") and len(packed.load(made).test_labels) == 6


def dangling(folder: Path) -> Path:
    (folder / "link").symlink_to("nowhere")
    return folder / "link"


BAD_DESTINATIONS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "in train": (lambda f: f / "source" / "train" / "made", "among the source images: name a folder outside"),
    "in a class": (lambda f: f / "source" / "val" / WNIDS[0] / "x" / "y", "among the source images"),
    "below a file": (lambda f: f / "source" / "train" / ".." / "notes" / "x", "Not a directory): name a folder"),
    "a link to nothing": (dangling, "File exists): name a folder"),
    "too long": (lambda f: f / ("a" * 300), "File name too long): name a folder"),
}


@pytest.mark.parametrize("case", BAD_DESTINATIONS)
def test_a_destination_that_cannot_be_is_one_sentence(case: str, tmp_path: Path) -> None:
    source = folders(tmp_path)
    write(source, {"notes": b"x"})
    place, said = BAD_DESTINATIONS[case]
    before = all_files(source)
    with pytest.raises(PaperlibError, match=re.escape(said)):
        make(source, place(tmp_path))
    assert all_files(source) == before


@pytest.mark.parametrize("name", [b"caf\xe9", b"a\nb", "Ünï".encode()])
def test_any_name_of_a_class_and_any_spelling(name: bytes, tmp_path: Path) -> None:
    for split in ("train", "val"):
        write(tmp_path / "source" / split / os.fsdecode(name), {"a.jpg": jpeg(split)})
    report = make(tmp_path / "source", tmp_path / "made")
    assert (report.train, report.val) == (1, 1)
    assert packed.open_packed(tmp_path / "made", check=True).classes == (readers.printable(os.fsdecode(name)),)


def test_unicode_spellings_of_a_class_are_one(tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    write(tmp_path / "source" / "train" / composed, {"a.jpg": jpeg("a")})
    write(tmp_path / "source" / "val" / decomposed, {"a.jpg": jpeg("b")})
    assert make(tmp_path / "source", tmp_path / "made").val == 1
    write(tmp_path / "source" / "train" / decomposed, {"a.jpg": jpeg("c")})
    assert "two classes caf" in message(lambda: make(tmp_path / "source", tmp_path / "other"))


@pytest.mark.parametrize("name", ["aardvark", "n01500000"])
@pytest.mark.parametrize("form", ["folder", "text", "tar"])
def test_an_empty_class_of_training_images_is_refused(name: str, form: str, tmp_path: Path) -> None:
    source = folders(tmp_path)
    if form == "tar":
        write(source / "train", {f"{name}.tar": tar({})})
    else:
        (source / "train" / name).mkdir()
        write(source / "train" / name, {"readme.txt": b"x"} if form == "text" else {})
    assert f"no image of class {name}" in message(lambda: make(source, tmp_path / "made"))


LINKS = {
    "nowhere": "a link to nothing", "no/where": "a link to nothing", ".": "a link to a folder above it",
    "..": "a link to a folder above it", "../..": "a link to a folder above it", "../val": "a link to another split",
    f"../val/{WNIDS[1]}": "a link to another split", f"../train/{WNIDS[0]}": "a link to another folder of this split",
}  # fmt: skip


@pytest.mark.parametrize("name", ["images.tar", "images.zip", "part.gz"])
def test_archives_within_a_class_are_named(name: str, tmp_path: Path) -> None:
    source = folders(tmp_path)
    archive = {name: tar({"x.jpg": jpeg("x")}) if name.endswith(".tar") else b"PK\3\4"}
    write(source / "train" / WNIDS[0], archive)
    why = "an archive within a class: unpack it there"
    assert make(source, tmp_path / "made").left_out == ((f"train/{WNIDS[0]}/{name}", why),)
    write(source / "train" / "only", archive)
    assert f"no image of class only (only/{name}: {why})" in message(lambda: make(source, tmp_path / "made"))


@pytest.mark.parametrize("target", LINKS)
def test_a_link_that_leads_astray_is_no_class_and_moves_none(target: str, tmp_path: Path) -> None:
    for name in ("aardvark", "fox.tar"):
        source = folders(tmp_path / name)
        (source / "train" / name).symlink_to(target)
        with pytest.raises(DataError, match=re.escape(f"no image of class {name} ({LINKS[target]})")):
            make(source, tmp_path / "made")


@pytest.mark.parametrize("target", LINKS)
def test_a_link_that_leads_astray_within_a_class_is_named(target: str, tmp_path: Path) -> None:
    source = folders(tmp_path)
    (source / "train" / WNIDS[2] / "more").symlink_to(f"../{target}" if target.startswith("..") else target)
    report = make(source, tmp_path / "made")
    assert report.train == 12 and report.left_out == ((f"train/{WNIDS[2]}/more", LINKS[target]),)


def test_a_class_of_val_that_leads_to_those_of_train_is_named(tmp_path: Path) -> None:
    for number, name in enumerate(WNIDS[:2]):
        source = folders(tmp_path / name)
        shutil.rmtree(source / "val" / name)
        (source / "val" / name).symlink_to(("../train", f"../train/{name}")[number])
        report = make(source, tmp_path / name / "made")
        assert report.val == 4 and report.left_out == ((f"val/{name}", "a link to another split"),)


@pytest.mark.parametrize("target", ["train", f"train/{WNIDS[0]}", ".", "..", "nowhere", "val"])
def test_a_split_that_is_a_link_to_the_other_or_to_nothing(target: str, tmp_path: Path) -> None:
    source = folders(tmp_path)
    shutil.rmtree(source / "val")
    (source / "val").symlink_to(target)
    said = message(lambda: make(source, tmp_path / "made"))
    assert ("val cannot be read" if target in ("nowhere", "val") else "the same images as train and as val") in said


@pytest.mark.parametrize("first", ["val", "train"])
@pytest.mark.parametrize(
    "second", ["valid", "validation", "VAL", "TRAIN", "ILSVRC/Data/CLS-LOC/val", "data/cls-loc/train"]
)
def test_several_folders_that_may_be_one_split_are_not_guessed(first: str, second: str, tmp_path: Path) -> None:
    source = folders(tmp_path)
    shutil.copytree(source / first, source / second)
    if second.split("/")[-1].lower().startswith(first):
        said = message(lambda: make(source, tmp_path / "made"))
        assert first in said and second in said and f"may hold its {first} images" in said
    shutil.rmtree(source / second.split("/")[0])
    (source / "VALIDATION").symlink_to("val")  # the same place
    shutil.copytree(source / "train", source / "test")  # what is published beside val has no labels
    assert make(source, tmp_path / "made").val == 6


PLAIN = tar({"a.jpg": jpeg("a")})
ARCHIVES = {
    "fox.tgz": gzip.compress(PLAIN), "fox.tar.bz2": bz2.compress(PLAIN), "fox.tar.xz": lzma.compress(PLAIN),
    "fox.lzma": lzma.compress(PLAIN, lzma.FORMAT_ALONE), "fox": PLAIN, "fox.tar.part": PLAIN,
    "fox.tar.lz4": b"\x04\x22\x4d\x18" + bytes(9), "fox.tar.Z": b"\x1f\x9d\x90" + bytes(9),
    "fox.zip": b"PK\x03\x04" + bytes(9), "lz": b"LZIP\1" + bytes(9), "lzo": b"\x89LZO\0\r\n\x1a\n",
    "cab": b"MSCF" + bytes(9), "cpio": b"0707010000",
    "old cpio": b"\xc7\x71" + bytes(9), "sqsh": b"hsqs" + bytes(9), "ar": b"!<arch>\n",
    "iso": bytes(32769) + b"CD001", "lha": b"!!-lh5-",
    "gz.tar": gzip.compress(PLAIN), "zip.tar": b"PK\x03\x04" + bytes(600), "xz.TAR": lzma.compress(PLAIN),
    "fox.tar.br": b"\x8b\x02\x80abc", "cut.zip": b"", "page.tgz": b"<html>",
}  # fmt: skip


@pytest.mark.parametrize("file", ARCHIVES)
def test_a_class_in_an_archive_that_is_not_read_is_named(file: str, tmp_path: Path) -> None:
    source = folders(tmp_path)
    write(source / "train", {file: ARCHIVES[file]})
    assert f"{file} is an archive that is not read in place" in message(lambda: make(source, tmp_path / "made"))


# ---------------------------------------------------------------------------------------------- damaged images


def exif(entries: bytes, count: int, next_ifd: bytes = b"\0\0\0\0") -> bytes:
    return b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", count) + entries + next_ifd


TURN = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)  # orientation 6, a SHORT
METADATA = {
    "negative": (exif(TURN + struct.pack(">HHIi", 514, 9, 1, -1) + struct.pack(">HHII", 282, 5, 1, 99999), 3), True),
    "senseless type": (exif(TURN + struct.pack(">HHII", 0x9999, 77, 1, 5), 2), True),
    "cut": (exif(TURN + b"\x01\x1a\0\x05", 9, b""), None),
    "no tiff": (b"Exif\0\0nonsense and more of it", False),
}  # fmt: skip


@pytest.mark.parametrize("case", METADATA)
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_damaged_exif_costs_no_image(case: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept, counted if it is damaged, and turned where the orientation is there; also when warnings are errors."""
    data, turned = METADATA[case]
    upright = Image.fromarray(datasets.pixels("upright", 20, 30, 3))
    stored = io.BytesIO()
    upright.save(stored, form, exif=data, **({"quality": 95} if form == "JPEG" else {}))
    source = folders(tmp_path)
    write(source / "train" / "a", {"x": stored.getvalue()})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = make(source, tmp_path / "made", store="raw")
    assert report.left_out == () and report.train == 13
    if case in ("no tiff", "cut"):
        assert report.unusual["with damaged metadata"] == 1
    opened = packed.open_packed(tmp_path / "made")
    (row,) = (opened.train_labels == opened.classes.index("a")).nonzero().flatten().tolist()
    plain = Image.open(io.BytesIO(pack.without_metadata(stored.getvalue())), formats=(form,))
    plain.info.pop("exif", None)
    pixels = np.asarray(plain.convert("RGB"))
    shown = np.rot90(pixels, -1) if turned else pixels
    if turned is not None:
        assert torch.equal(opened.train[row], images.prepare(Image.fromarray(np.ascontiguousarray(shown)), SIZE))


def chunk(kind: bytes, data: bytes, crc: int | None = None) -> bytes:
    return (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) if crc is None else crc)
    )


def after_start(image: bytes, *segments: tuple[int, bytes]) -> bytes:
    """A JPEG with more segments at its beginning."""
    added = (struct.pack(">BBH", 0xFF, mark, len(data) + 2) + data for mark, data in segments)
    return image[:2] + b"".join(added) + image[2:]


def with_exif(webp: bytes) -> bytes:
    """A WebP of the simple form in the extended one, with EXIF behind its pixels."""
    size = b"".join((side - 1).to_bytes(3, "little") for side in Image.open(io.BytesIO(webp)).size)
    body = (
        b"WEBPVP8X"
        + struct.pack("<II", 10, 8)
        + size
        + webp[12:]
        + b"EXIF"
        + struct.pack("<I", 60)
        + exif(TURN, 1).ljust(60)
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def with_tag(tiff: bytes, *tag: int) -> bytes:
    """A little-endian TIFF with one more tag (its number, type, count and value), in a directory at its end."""
    start = struct.unpack_from("<I", tiff, 4)[0]
    many = struct.unpack_from("<H", tiff, start)[0]
    tags = [tiff[at : at + 12] for at in range(start + 2, start + 2 + 12 * many, 12)]
    tags.append(struct.pack("<HHII", *tag))
    directory = b"".join(sorted(tags, key=lambda each: struct.unpack_from("<H", each)))
    return tiff[:4] + struct.pack("<I", len(tiff)) + tiff[8:] + struct.pack("<H", many + 1) + directory + bytes(4)


def with_profile(size: int) -> bytes:
    """A WebP with a profile of 40 bytes before its pixels, which says another size of itself."""
    webp = with_exif(WHOLE["WEBP"])
    body = webp[8:30] + b"ICCP" + struct.pack("<I", size) + b"profile " * 5 + webp[30:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


WHOLE = {form: saved(form) for form in ("JPEG", "PNG", "GIF", "TIFF", "WEBP")}
CUT: dict[str, tuple[str, bytes]] = {
    "short JFIF": ("JPEG", after_start(WHOLE["JPEG"], (0xE0, b"JFIF\0"))),
    "two of APP0": ("JPEG", after_start(WHOLE["JPEG"], (0xE0, b"JFIF"), (0xE0, b""))),
    "short Adobe": ("JPEG", after_start(WHOLE["JPEG"], (0xEE, b"Adobe\0"))),
    "short tRNS": ("PNG", WHOLE["PNG"][:33] + chunk(b"tRNS", b"\0") + WHOLE["PNG"][33:]),
    "empty tRNS": ("PNG", WHOLE["PNG"][:33] + chunk(b"tRNS", b"") + WHOLE["PNG"][33:]),
    "short gamma": ("PNG", WHOLE["PNG"][:33] + chunk(b"gAMA", b"\0") + WHOLE["PNG"][33:]),
    "text of 2 GB": ("PNG", WHOLE["PNG"][:33] + b"\x7f\xff\xff\xfftEXtTitle\0" + WHOLE["PNG"][33:]),
    "longer text": ("PNG", WHOLE["PNG"][:33] + b"\0\0\0\x29zTXtTitle\0" + bytes(9) + WHOLE["PNG"][33:]),
    "no application": ("GIF", WHOLE["GIF"][:781] + b"!\xff\0" + WHOLE["GIF"][781:]),
    "short control": ("GIF", WHOLE["GIF"][:781] + b"!\xfe\2hi\0!\xf9\1\0\0" + WHOLE["GIF"][781:]),
    "text of 4 GB": ("TIFF", with_tag(WHOLE["TIFF"], 270, 2, 2**32 - 1, 8)),
    "resolutions": ("TIFF", with_tag(WHOLE["TIFF"], 283, 5, 99_999_999, 8)),
    "far profile": ("TIFF", with_tag(WHOLE["TIFF"], 34675, 7, 2**31, 2**32 - 9)),
    "EXIF nowhere": ("TIFF", with_tag(WHOLE["TIFF"], 34665, 4, 1, 2**32 - 9)),
    "WebP, 1 byte": ("WEBP", with_exif(WHOLE["WEBP"])[:-1]), "WebP, 30 bytes": ("WEBP", with_exif(WHOLE["WEBP"])[:-30]),
    "short profile": ("WEBP", with_profile(4)), "profile of 4 GB": ("WEBP", with_profile(2**32 - 9)),
    "short comment": ("GIF", WHOLE["GIF"][:781] + b"!\xfe\2hello\0" + WHOLE["GIF"][781:]),
    "long comment": ("GIF", WHOLE["GIF"][:781] + b"!\xfe\xffhello\0" + WHOLE["GIF"][781:]),
}  # fmt: skip


@pytest.mark.parametrize("case", CUT)
def test_metadata_that_are_cut_or_absurd_cost_no_image(case: str, tmp_path: Path) -> None:
    """The pixels are those of the whole file, with the file's ending and without."""
    form, damaged = CUT[case]
    whole = images.prepare(Image.open(io.BytesIO(WHOLE[form])), SIZE)
    source = folders(tmp_path)
    write(source / "train" / "a", {f"x.{form}": damaged, "y": damaged})
    report = make(source, tmp_path / "made", store="raw")
    opened = packed.open_packed(tmp_path / "made")
    assert report.left_out == () and opened.classes[0] == "a"
    assert all(torch.equal(image, whole) for image in opened.train[opened.train_labels == 0])


TEXTS = {
    "checksum": chunk(b"tEXt", b"Title\0a cat", crc=1),
    "bomb": chunk(b"zTXt", b"Title\0\0" + zlib.compress(bytes(80_000_000))),
    "method": chunk(b"iTXt", b"Title\0\1\x09\0\0nonsense"),
    "profile": chunk(b"iCCP", b"name\0\x07" + b"x" * 40),
}


@pytest.mark.parametrize("case", TEXTS)
def test_damaged_text_in_a_png_costs_no_image(case: str) -> None:
    whole = datasets.png(datasets.pixels("png", 20, 24, 3))
    damaged = whole[:33] + TEXTS[case] + whole[33:]
    pixels, kinds = pack.read_image(damaged, SIZE)
    assert torch.equal(pixels, images.prepare(Image.open(io.BytesIO(whole)), SIZE))
    assert "not JPEG" in kinds


def test_pixels_that_are_cut_are_still_left_out() -> None:
    whole = jpeg("cut", 60, 40)
    for content in (whole[: len(whole) // 2], datasets.png(datasets.pixels("cut", 40, 40, 3))[:-300]):
        with pytest.raises(OSError):
            pack.read_image(content, SIZE)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_large_image_is_not_copied(mode: str) -> None:
    """Beside its own pixels, which Pillow has to hold once."""
    image = Image.new(mode, (3000, 2000))
    copies = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("copy", "convert", "transpose"):
            original = getattr(Image.Image, name)

            def counted(self: Image.Image, *how: object, name: str = name, original: Any = original) -> Any:
                copies.append(name)
                return original(self, *how)

            patch.setattr(Image.Image, name, counted)
        images.prepare(image, SIZE)
    assert copies.count("convert") == (mode != "RGB") and "transpose" not in copies


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_too_little_memory_is_one_sentence(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*_: object) -> None:
        raise error

    monkeypatch.setattr(pack, "save", lacking)
    monkeypatch.setattr(pack, "read_image" if isinstance(error, MemoryError) else "decoded", lacking)
    source = folders(tmp_path)
    assert "too little memory to prepare train/" in message(lambda: make(source, tmp_path / "made"), PaperlibError)


def test_without_semaphores_one_process_prepares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(pack, "ProcessPoolExecutor", read_only)
    assert make(folders(tmp_path), tmp_path / "made", jobs=4).prepared == 18
    assert "Read-only file system" in caplog.text


# ------------------------------------------------------------------------------------------------- tar archives


def header(name: str, size: bytes, kind: bytes = b"0") -> bytes:
    """A tar header with any twelve bytes as its size."""
    block = bytearray(tarfile.TarInfo(name).tobuf())
    block[124:136], block[156:157] = size, kind
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


SIZES = {
    "beyond the end": header("a.jpg", b"77777777777\0"),
    "negative": header("a.jpg", b"\xff" * 12),
    "huge": header("a.jpg", b"\x80" + b"\x7f" * 11),
    "huge pax header": header("pax", b"\x80" + b"\x7f" * 11, b"x"),
    "huge long name": header("long", b"\x80" + b"\x00" * 3 + b"\x7f" * 8, b"L"),
    "negative pax header": header("pax", b"\xff" * 12, b"x"),
    "no number": header("a.jpg", b"nonsense!!!!"),
}  # fmt: skip


@pytest.mark.parametrize("case", SIZES)
def test_senseless_sizes_in_a_tar_are_one_sentence(case: str, tmp_path: Path) -> None:
    source = folders(tmp_path)
    write(source / "train", {"fox.tar": SIZES[case] + bytes(2048)})
    assert "fox.tar" in message(lambda: make(source, tmp_path / "made"))


def test_what_an_archive_has_twice_is_named(tmp_path: Path) -> None:
    stored = io.BytesIO()
    with tarfile.open(fileobj=stored, mode="w") as archive:
        for name in ("a/x.jpg", "b/x.jpg"):
            member = tarfile.TarInfo(name)
            member.size = len(content := jpeg(name))
            archive.addfile(member, io.BytesIO(content))
    write(tmp_path / "source" / "train", {"cat.tar": stored.getvalue()})
    report = make(tmp_path / "source", tmp_path / "made")
    assert report.train == 1 and "replaced by a later file" in dict(report.left_out)["train/cat/x.jpg"]


# -------------------------------------------------------------------------------------------------- ILSVRC-2012


def reference(tmp_path: Path) -> dict[str, bytes]:
    make(folders(tmp_path / "plain"), tmp_path / "reference", store="raw")
    return all_files(tmp_path / "reference")


def same_pixels(tmp_path: Path, source: Path) -> None:
    """The same labels and pixels as from class folders, whatever the files are called."""
    make(source, tmp_path / "made", store="raw")
    made, expected = packed.open_packed(tmp_path / "made", check=True), reference(tmp_path)
    assert (tmp_path / "made" / "train.bin").read_bytes() == expected["train.bin"]
    assert made.classes == WNIDS and made.val_labels.bincount().tolist() == [2, 2, 2]
    by_class = {label: {image.numpy().tobytes() for image in made.val[made.val_labels == label]} for label in range(3)}
    for name, content in classes_of_val().items():
        pixels = images.prepare(Image.open(io.BytesIO(content)), SIZE).numpy().tobytes()
        assert pixels in by_class[WNIDS.index(name.split("/")[0])]


def upper(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name.upper(): content for name, content in files.items()}


def renamed(files: dict[str, bytes], ending: str) -> dict[str, bytes]:
    return {name.rpartition(".")[0] + ending: content for name, content in files.items()}


def caffe() -> bytes:
    return "".join(f"{n} {WNIDS.index(IDS[i])}\n" for i, n in zip(VAL_IDS, val_files(), strict=True)).encode()


KIT, KIT_INSIDE = "ILSVRC2012_devkit_t12", {f"ILSVRC2012_devkit_t12/data/{n}": b for n, b in devkit().items()}
FORMS_OF_VAL: dict[str, dict[str, bytes]] = {
    "jpeg": {f"val/{n}": b for n, b in renamed(val_files(), ".jpeg").items()} | KIT_INSIDE,
    "JPG": {f"val/{n}": b for n, b in renamed(val_files(), ".JPG").items()} | KIT_INSIDE,
    "capitals": {f"VAL/{n}": b for n, b in upper(val_files()).items()} | KIT_INSIDE,
    "small archive": {"ilsvrc2012_img_val.tar": tar(val_files())} | KIT_INSIDE,
    "devkit tar": {f"val/{n}": b for n, b in val_files().items()} | {f"{KIT}.tar": tar(KIT_INSIDE)},
    "devkit tgz": {f"val/{n}": b for n, b in val_files().items()} | {f"{KIT}.tgz": tar(KIT_INSIDE, "w:gz")},
    "devkit deeper": {f"val/{n}": b for n, b in val_files().items()} | {f"{KIT}/{n}": b for n, b in KIT_INSIDE.items()},
    "caffe": {f"val/{n}": b for n, b in val_files().items()} | {"val.txt": caffe()},
    "caffe within": {f"val/{n}": b for n, b in val_files().items()} | {"val/val.txt": caffe()},
    "caffe of PowerShell": {f"val/{n}": b for n, b in val_files().items()}
    | {"val.txt": caffe().decode().encode("utf-16")},
    "own folder": {f"ILSVRC2012_img_val/{n}": b for n, b in val_files().items()} | KIT_INSIDE,
    "inner folder": {f"val/images/{n}": b for n, b in val_files().items()} | {"val/val.txt": caffe()},
    "own folder within": {f"val/ILSVRC2012_img_val/{n}": b for n, b in val_files().items()} | KIT_INSIDE,
    "sorted within": {f"val/images/{n}": b for n, b in classes_of_val().items()},
    "devkit within": {f"validation/{n}": b for n, b in (val_files() | devkit()).items()},
    "caffe with synsets": {f"validation/{n}": b for n, b in val_files().items()}
    | {"caffe_ilsvrc12/val.txt": caffe(), "caffe_ilsvrc12/synsets.txt": "\n".join(WNIDS).encode()},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS_OF_VAL)
def test_forms_of_the_validation_set(form: str, tmp_path: Path) -> None:
    train = "ILSVRC2012_img_train" if form == "own folder" else "train"
    write(tmp_path / "source", FORMS_OF_VAL[form] | {f"{train}/{n}": b for n, b in train_files().items()})
    same_pixels(tmp_path, tmp_path / "source")


@pytest.mark.parametrize("above", ["imagenet-object-localization-challenge", "a/b"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_kaggles_tree_from_above_and_its_table_with_a_mark(above: str, mark: bytes, tmp_path: Path) -> None:
    as_kaggle(tmp_path / "source" / above)
    table = tmp_path / "source" / above / imagenet.SOLUTION
    table.write_bytes(mark + table.read_bytes())
    write(tmp_path / "source", {"readme.txt": b"x"})
    same_pixels(tmp_path, tmp_path / "source")


@pytest.mark.parametrize("place", [".", "ILSVRC", "ILSVRC/Data", "ILSVRC/Data/CLS-LOC", "ILSVRC/Data/CLS-LOC/val"])
@pytest.mark.parametrize("name", ["ILSVRC2012_val_", "val/ILSVRC2012_val_", "C:\\val\\ILSVRC2012_val_"])
def test_kaggles_table_in_any_folder_of_its_tree_and_with_other_names(place: str, name: str, tmp_path: Path) -> None:
    as_kaggle(tmp_path)
    text = (tmp_path / imagenet.SOLUTION).read_text().replace("ILSVRC2012_val_", name)
    (tmp_path / imagenet.SOLUTION).unlink()
    (tmp_path / place / imagenet.SOLUTION).write_text(text if place == "." else text.replace(",n", ".JPEG,n"))
    same_pixels(tmp_path, tmp_path / "ILSVRC" / "Data" / "CLS-LOC")


TWICE = {
    "Kaggle": ("LOC_val_solution.csv", b"ImageId,PredictionString\nx_1,n02085620 1\nX_1.JPEG,n01440764 1\n"),
    "Caffe": ("val.txt", b"x_1.JPEG 0\nx_2.JPEG 2\nval/x_1.jpg 1\n"),
    "Caffe, classes": ("synsets.txt", b"n01440764\nn01440764\nn02085620\n"),
    "Kaggle, NUL": ("LOC_val_solution.csv", b"ImageId,PredictionString\nx_1,\0\n"),
    "Kaggle, NULs": ("LOC_val_solution.csv", bytes(99)),
    "Caffe, NUL": ("val.txt", caffe() + b"\0"),
}


@pytest.mark.parametrize("case", TWICE)
def test_a_table_with_two_classes_of_an_image_or_with_nul_bytes_is_one_sentence(case: str, tmp_path: Path) -> None:
    name, content = TWICE[case]
    tables = {"val.txt": caffe(), name: content} if "Caffe" in case else {name: content}
    write(tmp_path, {f"val/{n}": b for n, b in val_files().items()} | tables)
    write(tmp_path / "train", train_files())
    said = message(lambda: make(tmp_path, tmp_path / "made"))
    assert (" twice" if "NUL" not in case else "NUL bytes") in said and "get it again" in said and "Error" not in said


def shifted(table: bytes) -> bytes:
    """A table with each class moved by one."""
    return re.sub(rb"(\s)([012])\n", lambda m: m[1] + b"%d\n" % ((int(m[2]) + 1) % 3), table)


def solution(by: int = 0) -> bytes:
    rows = (f"{n},{WNIDS[(WNIDS.index(IDS[i]) + by) % 3]} 1 2" for i, n in zip(VAL_IDS, val_files(), strict=True))
    return ("ImageId,PredictionString\n" + "\n".join(rows)).encode()


WORDS = {
    f"{name}.txt": "\n".join(order).encode() for name, order in (("synsets", WNIDS), ("synset_words", WNIDS[::-1]))
}
TABLES: dict[str, tuple[dict[str, bytes], dict[str, bytes]]] = {
    "Kaggle, Caffe": ({"LOC_val_solution.csv": solution()}, {"val.txt": shifted(caffe())}),
    "Kaggle, Kaggle": ({"LOC_val_solution.csv": solution()}, {"data/LOC_val_solution.csv": solution(1)}),
    "devkit, Caffe": (KIT_INSIDE, {"val.txt": shifted(caffe())}),
    "devkit, Kaggle": (KIT_INSIDE, {"val/LOC_val_solution.csv": solution(2)}),
    "Caffe, its classes": ({"val.txt": caffe()} | dict([*WORDS.items()][:1]), WORDS),
    "Caffe, Caffe": ({"val.txt": caffe()}, {"caffe/val.txt": shifted(caffe())}),
}


@pytest.mark.parametrize("case", TABLES)
def test_tables_that_contradict_each_other_are_refused(case: str, tmp_path: Path) -> None:
    """Alone each of them is taken, and so are two that agree."""
    first, second = TABLES[case]
    plain = {f"train/{n}": b for n, b in train_files().items()} | {f"val/{n}": b for n, b in val_files().items()}
    write(tmp_path / "a", plain | first)
    same_pixels(tmp_path, tmp_path / "a")
    write(tmp_path / "b", plain | first | second)
    said = message(lambda: make(tmp_path / "b", tmp_path / "made b"))
    assert " says that ilsvrc2012_val_00000001 is n" in said and said.endswith("move one away")
    if "val.txt" in second:
        write(tmp_path / "a", {name: caffe() for name in second})
        assert make(tmp_path / "a", tmp_path / "made a").val == 6


NO_TABLES = {
    "two columns of a name": ("LOC_val_solution.csv", solution().replace(b"String\n", b"String,PredictionString\n", 1)),
    "a head alone": ("LOC_val_solution.csv", b"ImageId,PredictionString\n"),
    "nothing": ("LOC_val_solution.csv", b""),
    "blank lines": ("val_annotations.txt", b"\n\n"),
    "from 1, the last class without an image": ("val.txt", b"".join(b"%s 1\n" % n.encode() for n in val_files())),
}


@pytest.mark.parametrize("case", NO_TABLES)
def test_a_table_that_cannot_be_meant_so_is_one_sentence(case: str, tmp_path: Path) -> None:
    name, content = NO_TABLES[case]
    write(tmp_path, {f"val/{n}": b for n, b in val_files().items()} | {name: content})
    write(tmp_path / "train", train_files())
    said = message(lambda: make(tmp_path, tmp_path / "made"))
    assert f"{name} is damaged" in said and "get it again" in said and "move it away" not in said


def test_an_image_of_tiny_imagenet_in_two_classes_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "LAYOUTS", {"tinyimagenet": datasets.TINY})
    file = datasets.tiny_folder(tmp_path) / "val" / "val_annotations.txt"
    first, second, *rest = file.read_text().splitlines()
    file.write_text("\n".join([first, first.replace(first.split()[1], second.split()[1]), *rest]))
    assert "an image in two classes" in message(lambda: sets.load("tinyimagenet", tmp_path))


def test_two_data_sets_in_a_folder_are_not_guessed(tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        folders(tmp_path / "both" / name).rename(tmp_path / "both" / f"{name}2")
    assert "several data sets" in message(lambda: make(tmp_path / "both", tmp_path / "made"))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"ILSVRC2012_val_00000001.JPEG\n",
        b"x.JPEG n01440764\n",
        b"x.JPEG,0\n",
        b"ILSVRC2012_val_00000001 1\nILSVRC2012_val_00000002 900\n",
        b"\xff 1",
    ],
)
def test_a_bad_table_of_caffe_is_one_sentence(text: bytes, tmp_path: Path) -> None:
    write(tmp_path / "source" / "train", train_files())
    write(tmp_path / "source" / "val", val_files())
    write(tmp_path / "source", {"val.txt": text})
    assert "val.txt is damaged or no table" in message(lambda: make(tmp_path / "source", tmp_path / "made"))


CRASH = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"


@pytest.mark.parametrize("reader", [CRASH, "raise ValueError('no')", "print('[[1, 2')", "print(5)"])
def test_a_meta_mat_that_crashes_its_reader_is_one_sentence(
    reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imagenet, "READ_META", reader)
    write(tmp_path / "source", FORMS_OF_VAL["JPG"] | {f"train/{n}": b for n, b in train_files().items()})
    assert "meta.mat or" in message(lambda: make(tmp_path / "source", tmp_path / "made"))


@pytest.mark.parametrize("annotated", [True, False])
@pytest.mark.parametrize("deep", ["", "images/"])
def test_tiny_imagenet_sorted_into_class_folders(
    annotated: bool, deep: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same images in the same order; with its annotations it is the published copy."""
    monkeypatch.setattr(readers, "LAYOUTS", {"tinyimagenet": datasets.TINY})
    unsorted = make(datasets.tiny_folder(tmp_path / "a"), tmp_path / "unsorted")
    assert (unsorted.train, unsorted.val) == (12, 6)
    published = sets.load("tinyimagenet", tmp_path / "a")
    place = datasets.tiny_folder(tmp_path / "b")
    for line in (place / "val" / "val_annotations.txt").read_text().splitlines():
        file, wnid = line.split("\t")[:2]
        write(place / "val" / wnid, {deep + file: (place / "val" / "images" / file).read_bytes()})
    shutil.rmtree(place / "val" / "images")
    if not annotated:
        (place / "val" / "val_annotations.txt").unlink()
    if not deep:
        for file in list(place.glob("train/*/images/*")):
            file.rename(file.parent.parent / file.name)
    found = sets.load("tinyimagenet", tmp_path / "b")
    assert torch.equal(found.train_images, published.train_images)
    assert torch.equal(found.test_images, published.test_images)
    assert torch.equal(found.test_labels, published.test_labels)
    assert (found.fingerprint == published.fingerprint) == annotated
    shutil.move(place / "train", tmp_path / "c" / "train")
    shutil.move(place / "val", tmp_path / "c" / "val")
    assert make(tmp_path / "c", tmp_path / "made").val == 6
    labels = [packed.open_packed(tmp_path / name).val_labels.tolist() for name in ("made", "unsorted")]
    assert labels[0] == labels[1]


# ------------------------------------------------------------------------------------- what the command tells


def test_a_set_without_validation_images_says_what_it_is_good_for(tmp_path: Path) -> None:
    source = folders(tmp_path)
    shutil.rmtree(source / "val")
    text = message(lambda: make(source, tmp_path / "made", train_only=False), DataMissingError)
    assert "`paperlib train` needs them" in text and "--train-only to prepare the training images" in text
    note = "no validation images, so `paperlib train` cannot use this folder"
    assert str(make(source, tmp_path / "made")).endswith(note) and note in lines(tmp_path / "made")


@pytest.mark.parametrize("above", ["dogs", "images/all"])
def test_classes_that_lie_too_deep_are_said(above: str, tmp_path: Path) -> None:
    for split in ("train", "val"):
        write(tmp_path / split / above, train_files())
    note, _ = make(tmp_path, tmp_path / "made").notes
    assert note == "a single class: if it holds others, each needs a folder directly in train"


@pytest.mark.parametrize("kaggle", [False, True])
def test_a_test_set_without_labels_is_no_val(kaggle: bool, tmp_path: Path) -> None:
    source = tmp_path / "source"
    if kaggle:
        as_kaggle(source)
        shutil.rmtree(source / "ILSVRC" / "Data" / "CLS-LOC" / "val")
    else:
        write(source, {f"train/{n}": b for n, b in train_files().items()} | {"test/1.jpg": jpeg("1")})
    assert make(source, tmp_path / "made").val == 0
    assert "has no validation images" in message(lambda: make(source, tmp_path / "other", train_only=False))


@pytest.mark.parametrize("how", [shutil.copy, os.link, os.symlink])
@pytest.mark.parametrize("several", [1, 2])
def test_one_image_in_two_splits_or_classes_is_said(how: Callable[..., Any], several: int, tmp_path: Path) -> None:
    """Counted once however often it is there; images that cannot be decoded are alike by chance."""
    source = folders(tmp_path)
    write(source, {f"{split}/{WNIDS[0]}/empty.jpg": b"" for split in ("train", "val")})
    for j in range(several):
        image = (source / "train" / WNIDS[1] / f"{WNIDS[1]}_{j}.JPEG").resolve()
        how(image, source / "val" / WNIDS[1] / f"again{j}.jpg")
        how(image, source / "train" / WNIDS[1] / f"again{j}.jpg")
    said = f"images both in train and in val, whose errors mislead: {several}, the first train/{WNIDS[1]}/"
    (note,) = make(source, tmp_path / "made").notes
    assert note.startswith(said) and note in lines(tmp_path / "made")
    how(image, source / "train" / WNIDS[2] / "again.jpg")
    _, note = make(source, tmp_path / "made2").notes
    assert note.startswith(f"images in several classes: 1, the first train/{WNIDS[1]}/")


@pytest.mark.parametrize("gone", [WNIDS[:1], WNIDS[1:]])
def test_classes_without_validation_images_are_said(gone: tuple[str, ...], tmp_path: Path) -> None:
    source = folders(tmp_path)
    for name in gone:
        shutil.rmtree(source / "val" / name)
    (note,) = make(source, tmp_path / "made").notes
    assert note == f"no validation images of {len(gone)} of 3 classes, the first {gone[0]}"


@pytest.mark.parametrize("count", [1000, 1001, 1100])
def test_more_than_a_thousand_classes_are_said_at_the_start(
    count: int, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pack, "_pack_all", stop)
    for c in range(count):
        write(tmp_path / "source" / "train" / f"c{c:04}", {"a.jpg": b""})
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "source", tmp_path / "made")
    assert (f"has {count} classes; `paperlib train` takes at most 1000" in caplog.text) == (count > 1000)


# --------------------------------------------------------------------------------------------- packed folders


@pytest.fixture(scope="module")
def packed_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("packed")
    make(folders(place), place / "made")
    return place / "made"


@pytest.mark.parametrize("name", [*packed.FILES, "index.json"])
def test_every_flipped_bit_is_found_by_data_check(
    name: str, packed_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And, but for gaps in raw pixels, before training: 12 places of each file."""
    file = tmp_path / "made" / name
    shutil.copytree(packed_folder, file.parent)
    whole = file.read_bytes()
    assert cli.main(["data", "check", str(file.parent)]) == 0
    assert "all checksums are right" in capsys.readouterr().out
    for at in np.linspace(0, len(whole) - 1, 12).astype(int):
        file.unlink()  # other threads may still read the old one
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert cli.main(["data", "check", str(file.parent)]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and str(file.parent) in error
        with pytest.raises(DataError):
            opened = packed.open_packed(file.parent)
            opened.train[:], opened.val[:]


def test_data_check_names_the_damaged_image(packed_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(packed_folder, tmp_path / "made")
    flip(tmp_path / "made" / "train.bin")
    assert "is altered in 1 images, the first at bytes" in message(lambda: packed.check_folder(tmp_path / "made"))


def as_format_2(folder: Path) -> None:
    """As the version before wrote it."""
    index = json.loads((folder / "index.json").read_text())
    for split in packed.SPLITS:
        tensors = load_file(folder / f"{split}.safetensors")
        del tensors["crc"]
        save_file(tensors, folder / f"{split}.safetensors")
        index["files"][f"{split}.safetensors"] = packed.checksum_of(folder / f"{split}.safetensors")
    del index["sha256"], index["notes"]
    (folder / "index.json").write_text(json.dumps(index | {"format": 2}))


def test_folders_of_the_version_before_are_read_and_known(packed_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(packed_folder, tmp_path / "made")
    as_format_2(tmp_path / "made")
    old, new = packed.load(tmp_path / "made"), packed.load(packed_folder)
    assert torch.equal(old.train_images[:], new.train_images[:]) and old.fingerprint == new.fingerprint
    assert "made by an older version, without a checksum for each image" in packed.check_folder(tmp_path / "made")
    assert make(folders(tmp_path), tmp_path / "made").prepared == 0


def test_raw_pixels_of_format_3_are_read_channel_by_channel(tmp_path: Path) -> None:
    make(folders(tmp_path / "source"), tmp_path / "made", store="raw")
    new = packed.open_packed(tmp_path / "made")
    shutil.copytree(tmp_path / "made", tmp_path / "old")
    index = json.loads((tmp_path / "old" / "index.json").read_text())
    for split, pictures in (("train", new.train[:]), ("val", new.val[:])):
        file, tensors = tmp_path / "old" / f"{split}.bin", tmp_path / "old" / f"{split}.safetensors"
        file.write_bytes(pictures.contiguous().numpy().tobytes())
        crc = torch.tensor([zlib.crc32(picture.contiguous().numpy().tobytes()) for picture in pictures])
        save_file(load_file(tensors) | {"crc": crc}, tensors)
        index["files"] |= {path.name: packed.checksum_of(path) for path in (file, tensors)}
    del index["sha256"]
    (tmp_path / "old" / "index.json").write_bytes(packed.sealed(index | {"format": 3}))
    old = packed.open_packed(tmp_path / "old", check=True)
    assert torch.equal(old.train[:], new.train[:]) and torch.equal(old.val[torch.tensor([1, 0])], new.val[[1, 0]])
    assert old.train[:].is_contiguous(memory_format=torch.channels_last) and old.train[0].shape == (
        3,
        *new.train.shape[2:],
    )


NONSENSE: dict[str, object] = {"files": {}, "classes": 5, "counts": [], "size": "large", "store": "zip", "format": [3]}


@pytest.mark.parametrize("entry", NONSENSE)
@pytest.mark.parametrize("whole", [True, False])
def test_nonsense_in_an_index_is_one_sentence(entry: str, whole: bool, packed_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(packed_folder, tmp_path / "made")
    file = tmp_path / "made" / "index.json"
    index = {k: v for k, v in json.loads(file.read_text()).items() if k != "sha256"} | {entry: NONSENSE[entry]}
    file.write_bytes(packed.sealed(index) if whole else json.dumps(index).encode())
    with pytest.raises(DataError) as caught:
        packed.open_packed(tmp_path / "made").train[:]
    assert str(tmp_path / "made") in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"format": 3' + b"0" * 6000 + b"}", b"\xff\xfe", b"null", b"3"])
def test_json_that_is_no_index_is_one_sentence(text: bytes, packed_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(packed_folder, tmp_path / "made")
    (tmp_path / "made" / "index.json").write_bytes(text)
    assert str(tmp_path / "made") in message(lambda: packed.open_packed(tmp_path / "made"))


# ------------------------------------------------------------------------------- permissions, paths, other files


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o007, 0o660), (0o077, 0o600)])
def test_written_files_follow_the_umask(mask: int, mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "LAYOUTS", {"cifar10": datasets.CIFAR})
    source, place = folders(tmp_path), datasets.cifar_folder(tmp_path / "root")
    before = os.umask(mask)
    try:
        make(source, tmp_path / "made")
        sets.load("cifar10", tmp_path / "root")
    finally:
        os.umask(before)
    cached = place.parent / ".paperlib-cache" / "cifar-10-batches-bin.safetensors"
    assert {file.stat().st_mode & 0o777 for file in [cached, *(tmp_path / "made").iterdir()]} == {mode}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variable", "command"),
    [
        ("PAPERLIB_DATA", ["data", "show"]),
        ("PAPERLIB_DATA", ["check"]),
        ("PAPERLIB_RUNS", ["agree"]),
        ("", ["data", "prepare", "~nosuchuser/a", "b"]),
        ("", ["data", "prepare", ".", "~nosuchuser"]),
        ("", ["data", "check", "~nosuchuser/x"]),
        ("", ["train", "full", "source", "--scale", "ilsvrc2012", "--data", "~nosuchuser"]),
        ("", ["evaluate", "~nosuchuser/x"]),
        ("", ["figures", "--of", "~nosuchuser/x"]),
        ("", ["promote", "~nosuchuser/x"]),
    ],
)
def test_an_unknown_home_folder_is_one_sentence(
    variable: str, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if variable:
        monkeypatch.setenv(variable, "~nosuchuser/data")
    code, said = cli.main(command), capsys.readouterr()
    assert code == (1 if command == ["check"] else 2)
    assert "names a user whose home folder is not known" in said.out + said.err


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folders(tmp_path)
    assert cli.main(["data", "prepare", "~/source", "~/made", "--size", "16", "--jobs", "1"]) == 0
    assert cli.main(["data", "check", "~/made"]) == 0
    assert packed.open_packed(tmp_path / "made").train.shape == (12, 3, 16, 16)


@pytest.mark.parametrize("shape", [(1,) * 200, (1,) * 65, (2**31, 2**31, 2**31), (0,) * 255])
def test_an_idx_file_of_senseless_shape_is_one_sentence(shape: tuple[int, ...], tmp_path: Path) -> None:
    body = bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape) + b"\0" * (shape[0] == 1)
    (tmp_path / "x.gz").write_bytes(gzip.compress(body))
    assert "is not an IDX file" in message(lambda: readers.read_idx(tmp_path / "x.gz"))


@pytest.mark.parametrize("bad", [b"\xff\xfe", b"\x80 \xe9\n" * 9])
def test_bytes_that_are_no_text_in_the_checksums(bad: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(sample.SAMPLE, tmp_path / "sample")
    monkeypatch.setattr(sample, "SAMPLE", tmp_path / "sample")
    (tmp_path / "sample" / "SHA256SUMS").write_bytes(bad)
    assert "git checkout data/sample" in message(lambda: sets.load("sample"))


def test_a_well_formed_cache_that_is_nonsense_counts_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every word of its header changed in turn; and tensors of another kind."""
    monkeypatch.setattr(readers, "LAYOUTS", {"cifar10": datasets.CIFAR})
    place = datasets.cifar_folder(tmp_path)
    expected = sets.load("cifar10", tmp_path)
    file = place.parent / ".paperlib-cache" / "cifar-10-batches-bin.safetensors"
    key = cache.cache_key("cifar10", place)
    with safe_open(file, "pt") as stored:
        about = stored.metadata()
    tensors = load_file(file)
    changed = [(tensors, about | {name: value + "x"}) for name, value in about.items()]
    changed += [({n: t.to(torch.bfloat16) for n, t in tensors.items()}, about), ({"x": torch.zeros(1)}, about)]
    changed += [(tensors | {"train_images": tensors["train_images"].permute(0, 1, 3, 2).contiguous()}, about)]
    changed += [(tensors | {"train_images": tensors["train_images"].reshape(50, 32, 3, 32)}, about)]
    for content, words in changed:
        save_file(content, file, words)
        assert cache.read_cache(place, key) is None
    assert torch.equal(sets.load("cifar10", tmp_path).train_images, expected.train_images)
