"""Packing and reading packed images, on generated ones: layouts, odd images, statistics, kills, damage, reading."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

from paperlib import cli
from paperlib.data import imagenet, images, pack, packed, readers
from paperlib.data import images as data_images
from paperlib.data.images import DataError, DataMissingError
from paperlib.errors import PaperlibError
from tests import datasets, tiny
from tests.datasets import jpeg, message

ROOT = Path(__file__).resolve().parents[2]
SIZE = 16
WNIDS = ("n01440764", "n01443537", "n02085620")
IDS = {1: "n02085620", 2: "n01440764", 3: "n01443537", 1001: "n00001740"}  # not in the order of the WordNet ids


def train_files(count: int = 4) -> dict[str, bytes]:
    return {f"{w}/{w}_{j}.JPEG": jpeg(f"{w} {j}", 24 + j, 20) for w in WNIDS for j in range(count)}


VAL_IDS = (2, 3, 1, 1, 2, 3)


def val_files() -> dict[str, bytes]:
    return {f"ILSVRC2012_val_{i:08}.JPEG": jpeg(f"val {i}", 20, 26) for i in range(1, 1 + len(VAL_IDS))}


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def tar(files: dict[str, bytes], mode: str = "w") -> bytes:
    stored = io.BytesIO()
    with tarfile.open(fileobj=stored, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stored.getvalue()


def class_tars(files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{w}.tar": tar({n.split("/")[1]: b for n, b in files.items() if n.startswith(w)}) for w in WNIDS}


def devkit() -> dict[str, bytes]:
    """The two files of the development kit, with meta.mat's columns and an inner node of WordNet."""
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "O")]
    rows = [(number, wnid, f"words of {wnid}", "gloss", 2 if number > 1000 else 0) for number, wnid in IDS.items()]
    stored = io.BytesIO()
    scipy.io.savemat(stored, {"synsets": np.array(rows, dtype=kind)[:, None]})
    truth = "".join(f"{number}\n" for number in VAL_IDS)
    return {"meta.mat": stored.getvalue(), imagenet.TRUTH: truth.encode()}


def classes_of_val() -> dict[str, bytes]:
    return {f"{IDS[i]}/{n}": b for i, (n, b) in zip(VAL_IDS, val_files().items(), strict=True)}


def folders(root: Path) -> Path:
    source = root / "source"
    write(source / "train", train_files())
    write(source / "val", classes_of_val())
    return source


def all_files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def make(source: Path, destination: Path, **how: object) -> pack.Report:
    return pack.prepare_folder(source, destination, **{"size": SIZE, "jobs": 1, "progress": False} | how)  # type: ignore[arg-type]


# ----------------------------------------------------------------------------------------------------- layouts


def train_as(source: Path, form: str) -> None:
    if form == "tar of tars":
        write(source, {"ILSVRC2012_img_train.tar": tar(class_tars(train_files()))})
    elif form == "folder of tars":
        write(source / "train", class_tars(train_files()))
    else:
        write(source / "train", train_files())


def val_as(source: Path, form: str) -> None:
    kit = devkit()
    if form == "tar":
        write(source, {"ILSVRC2012_img_val.tar": tar(val_files())})
    else:
        write(source / "val", val_files() if form == "flat" else classes_of_val())
    if form == "tar":
        inside = {f"ILSVRC2012_devkit_t12/data/{name}": content for name, content in kit.items()}
        write(source, {"ILSVRC2012_devkit_t12.tar.gz": tar({"ILSVRC2012_devkit_t12/readme.txt": b""} | inside, "w:gz")})
    elif form == "flat":
        write(source, {"data/meta.mat": kit["meta.mat"], imagenet.TRUTH: kit[imagenet.TRUTH]})


def as_kaggle(source: Path) -> None:
    """As Kaggle gives it out: a table in another order than the images, one to two boxes each, and unlabelled tests."""
    folders = source / "ILSVRC" / "Data" / "CLS-LOC"
    write(folders / "train", train_files())
    write(folders / "val", val_files())
    write(folders / "test", {"ILSVRC2012_test_00000001.JPEG": jpeg("test")})
    rows = [
        f"{name.removesuffix('.JPEG')},{' '.join([f'{IDS[i]} 85 1 499 272'] * (1 + i % 2))} "
        for i, name in zip(VAL_IDS, val_files(), strict=True)
    ]
    write(source, {"LOC_val_solution.csv": "\n".join(["ImageId,PredictionString", *reversed(rows), ""]).encode()})


@pytest.mark.parametrize("train", ["tar of tars", "folder of tars", "class folders"])
@pytest.mark.parametrize("val", ["tar", "flat", "class folders"])
def test_every_layout_gives_the_same_bytes(train: str, val: str, tmp_path: Path) -> None:
    train_as(tmp_path / "source", train)
    val_as(tmp_path / "source", val)
    before = all_files(tmp_path / "source")
    report = make(tmp_path / "source", tmp_path / "made")
    assert (report.train, report.val, report.left_out, report.prepared) == (12, 6, (), 18)
    assert all_files(tmp_path / "source") == before  # nothing is unpacked
    make(folders(tmp_path / "other"), tmp_path / "reference")
    assert all_files(tmp_path / "made") == all_files(tmp_path / "reference")


def test_what_kaggle_gives_out_gives_the_same_bytes(tmp_path: Path) -> None:
    as_kaggle(tmp_path / "source")
    make(tmp_path / "source", tmp_path / "made")
    make(folders(tmp_path / "other"), tmp_path / "reference")
    assert all_files(tmp_path / "made") == all_files(tmp_path / "reference")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (b"ImageId,PredictionString\nx_1,n02085620 1\n", "which is not in "),
        (b"ImageId\nILSVRC2012_val_00000001\n", "LOC_val_solution.csv is damaged"),
        (b"ImageId,PredictionString\nILSVRC2012_val_00000001,\n", "LOC_val_solution.csv is damaged"),
        (b"\xff\xfe\x00", "LOC_val_solution.csv is damaged"),
    ],
)
def test_a_bad_table_of_kaggle_is_one_sentence(table: bytes, words: str, tmp_path: Path) -> None:
    as_kaggle(tmp_path / "source")
    write(tmp_path / "source", {"LOC_val_solution.csv": table})
    assert words in message(lambda: make(tmp_path / "source", tmp_path / "made"))


def test_labels_follow_meta_mat_and_the_order_is_interleaved(tmp_path: Path) -> None:
    train_as(tmp_path, "class folders")
    val_as(tmp_path, "tar")
    make(tmp_path, tmp_path / "made", store="raw")
    opened = packed.open_packed(tmp_path / "made", check=True)
    assert opened.classes == WNIDS
    order = readers.interleaved([4, 4, 4])
    assert opened.train_labels.tolist() == [label for label, _ in order]
    for row, (label, j) in enumerate(order):
        source = Image.open(io.BytesIO(train_files()[f"{WNIDS[label]}/{WNIDS[label]}_{j}.JPEG"]))
        assert torch.equal(opened.train[row], images.prepare(source, SIZE))
    pictures = [images.prepare(Image.open(io.BytesIO(content)), SIZE) for content in val_files().values()]
    assert opened.val_labels.sort().values.tolist() == [0, 0, 1, 1, 2, 2]
    for row, label in enumerate(opened.val_labels.tolist()):
        (which,) = [i for i, picture in enumerate(pictures) if torch.equal(picture, opened.val[row])]
        assert WNIDS[label] == IDS[VAL_IDS[which]]


def test_any_folder_of_classes_with_test_or_train_alone(tmp_path: Path) -> None:
    files = {f"{c}/{j}.{kind}": datasets.png(datasets.pixels(f"{c}{j}", 20, 20, 3))
             for c in ("cat", "dog") for j, kind in enumerate(("png", "PNG"))}  # fmt: skip
    beside = {"cat/notes.txt": b"", ".hidden/x.png": b"", "cat/deep/er.png": files["cat/0.png"]}
    write(tmp_path / "a" / "train", files | beside)
    report = make(tmp_path / "a", tmp_path / "alone")
    assert (report.train, report.val, report.unusual) == (5, 0, {"not JPEG": 5})
    opened = packed.open_packed(tmp_path / "alone", check=True)
    assert opened.classes == ("cat", "dog") and len(opened.val) == 0 and opened.val[:].shape == (0, 3, SIZE, SIZE)
    write(tmp_path / "a" / "test", files)
    assert make(tmp_path / "a", tmp_path / "tested").val == 4


def test_a_hostile_archive_reaches_nothing(tmp_path: Path) -> None:
    """Links, devices and dot files are passed over; names with .. or / give the last part, in the class of the tar."""
    stored = io.BytesIO()
    (tmp_path / "secret.jpg").write_bytes(jpeg("secret"))
    with tarfile.open(fileobj=stored, mode="w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            member = tarfile.TarInfo("link.jpg")
            member.type, member.linkname = kind, str(tmp_path / "secret.jpg")
            archive.addfile(member)
        for name in ("../../up.jpg", "/etc/root.jpg", "./._up.jpg"):
            member = tarfile.TarInfo(name)
            content = jpeg(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    write(tmp_path / "source" / "train", {"cat.tar": stored.getvalue()})
    found = imagenet.find(tmp_path / "source", "train")
    assert [item.name for item in found.classes["cat"]] == ["train/cat/root.jpg", "train/cat/up.jpg"]
    assert {item.file for item in found.classes["cat"]} == {str(tmp_path / "source" / "train" / "cat.tar")}
    assert found.unused == [("train/cat/link.jpg", "no regular file in its archive")] * 3


def test_fingerprint_is_that_of_the_sources(tmp_path: Path) -> None:
    source = folders(tmp_path)
    files = {n: hashlib.sha256(b).hexdigest() for n, b in all_files(source).items()}
    expected = readers.fingerprint(f"packed images 2, {SIZE} pixels", files)
    for store, quality in (("jpeg", 95), ("jpeg", 50), ("raw", 95)):
        make(source, tmp_path / f"{store}{quality}", store=store, quality=quality)
        assert packed.open_packed(tmp_path / f"{store}{quality}").fingerprint == expected
    make(source, tmp_path / "larger", size=20)
    assert packed.open_packed(tmp_path / "larger").fingerprint != expected


# ------------------------------------------------------------------------------------- what is wrong in a source


def spoil_truth(source: Path) -> None:
    (source / imagenet.TRUTH).write_text("1\n9999\n")


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "is not a folder"),
    "no train": (lambda s: shutil.rmtree(s / "train"), "neither ILSVRC2012_img_train.tar nor a folder train"),
    "empty train": (lambda s: [shutil.rmtree(s / "train"), (s / "train").mkdir()], "holds no images"),
    "empty val": (lambda s: [shutil.rmtree(s / "val"), (s / "val").mkdir()], "holds no images"),
    "no meta.mat": (lambda s: (s / "data" / "meta.mat").unlink(), "lacks meta.mat"),
    "no ground truth": (lambda s: (s / imagenet.TRUTH).unlink(), f"lacks {imagenet.TRUTH}"),
    "damaged meta.mat": (lambda s: (s / "data" / "meta.mat").write_bytes(b"MATLAB no"), "meta.mat or"),
    "unknown id": (spoil_truth, "9999"),
    "short ground truth": (lambda s: (s / imagenet.TRUTH).write_text("1\n2\n"), f"which is not in {imagenet.TRUTH}"),
    "other name": (lambda s: write(s / "val", {"x.jpg": b""}), "x.jpg"),
    "no two images of val": (
        lambda s: [(s / "val" / f"ILSVRC2012_val_{i:08}.JPEG").unlink() for i in (5, 2)],
        f"lacks 2 of the 6 validation images of {imagenet.TRUTH}, the first ilsvrc2012_val_00000002",
    ),
    "flat and sorted": (lambda s: write(s / "val" / WNIDS[0], {"x.jpg": b""}), "beside class folders"),
    "flat train": (lambda s: write(s / "train", {"x.jpg": b""}), "x.jpg, which is in no class folder"),
    "class only in val": (lambda s: shutil.rmtree(s / "train" / WNIDS[1]), f"class {WNIDS[1]}"),
    "no tar": (lambda s: write(s, {"ILSVRC2012_img_train.tar": b"x" * 2000}), "cannot be read"),
    "tar cut in a header": (
        lambda s: write(s / "train", {"x.tar": tar({"a.jpg": jpeg("a"), "b.jpg": jpeg("b")})[:2660]}), "cannot be read",
    ),
    "tar cut between": (lambda s: write(s / "train", {"x.tar": tar({"a.jpg": b"1"})[:1024]}), "it is cut short"),
    "broken devkit": (
        lambda s: [(s / "data" / "meta.mat").unlink(), write(s, {"ILSVRC2012_devkit_t12.tar.gz": b"\x1f\x8bno"})],
        "devkit_t12.tar.gz cannot be read",
    ),
    "nothing decodes": (
        lambda s: [write(s / "train", {n: b"x" for n in train_files()})], "no training image can be decoded",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_sentence(case: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    train_as(source, "class folders")
    val_as(source, "flat")
    spoil, words = WRONG[case]
    spoil(source)
    missing = case.startswith("no ") and case not in ("no tar",)
    text = message(lambda: make(source, tmp_path / "made"), DataMissingError if missing else DataError)
    assert words in text and (str(source) in text or case == "nothing decodes")


def test_too_few_images_of_the_thousand_classes_are_told(tmp_path: Path) -> None:
    """Nothing else shows that some of ILSVRC-2012 are missing; one image a class here."""
    image = jpeg("one", 8, 8)
    for split in ("train", "val"):
        write(
            tmp_path / "source" / split, {f"n{c:08}/{split}.JPEG": image + f"{split}{c}".encode() for c in range(1000)}
        )
    report = make(tmp_path / "source", tmp_path / "made", size=8)
    told = ["1,000 train images, ILSVRC-2012 has 1,281,167", "1,000 val images, ILSVRC-2012 has 50,000"]
    assert str(report).endswith("; ".join(["left out 0", *told]))
    assert (tmp_path / "made" / "report.txt").read_text().splitlines()[2:4] == told
    assert make(folders(tmp_path / "other"), tmp_path / "few").notes == ()


def test_settings_are_checked(tmp_path: Path) -> None:
    source = folders(tmp_path)
    for how in ({"store": "png"}, {"size": 0}, {"size": 20_000}, {"quality": 101}, {"jobs": 0}):
        assert "size is 1 to 4096" in message(lambda how=how: make(source, tmp_path / "made", **how))  # type: ignore[misc]
    assert not (tmp_path / "made").exists()


# -------------------------------------------------------------------------------------------------- odd images


def test_odd_images_are_counted_and_corrupt_ones_left_out(tmp_path: Path) -> None:
    whole = jpeg("whole", 60, 40)
    files = {
        "a/broken.jpg": b"no image at all",
        "a/cmyk.jpg": jpeg("cmyk", mode="CMYK"),
        "a/cut.jpg": whole[: len(whole) // 2],
        "a/empty.jpg": b"",
        "a/grey.jpg": jpeg("grey", mode="L"),
        "a/png.JPEG": datasets.png(datasets.pixels("png", 30, 20, 3)),
        "a/turned.jpg": jpeg("turned", 30, 20, turned=6),
        "a/whole.jpg": whole,
    }
    write(tmp_path / "source" / "train", files)
    report = make(tmp_path / "source", tmp_path / "made", store="raw")
    assert report.train == 5 and report.unusual == {"grey": 1, "CMYK": 1, "turned": 1, "not JPEG": 1}
    assert [name for name, _ in report.left_out] == ["train/a/broken.jpg", "train/a/cut.jpg", "train/a/empty.jpg"]
    text = (tmp_path / "made" / "report.txt").read_text()
    assert "left out: 3\n" in text and "of these CMYK: 1\n" in text and "0x" not in text
    for name, reason in report.left_out:
        assert f"{name}: {reason}\n" in text and len(reason) > 10
    assert "5 train and 0 val images" in str(report) and "left out 3, see" in str(report)
    opened = packed.open_packed(tmp_path / "made", check=True)
    kept = [name for name in sorted(files) if f"train/{name}" not in dict(report.left_out)]
    for row, name in enumerate(kept):
        assert torch.equal(opened.train[row], images.prepare(Image.open(io.BytesIO(files[name])), SIZE)), name
    grey = opened.train[kept.index("a/grey.jpg")]
    assert torch.equal(grey[0], grey[1]) and torch.equal(grey[0], grey[2])
    assert make(tmp_path / "source", tmp_path / "made", store="raw").left_out == report.left_out


def test_an_unreadable_file_stops_instead_of_being_left_out(tmp_path: Path) -> None:
    source = folders(tmp_path)
    item = imagenet.find(source, "train").classes[WNIDS[0]][0]
    Path(item.file).write_bytes(b"short")
    stem = tmp_path / "shard"
    assert "shorter" in message(lambda: pack.pack([(0, item)], stem, "raw", SIZE, 95))
    Path(item.file).unlink()
    assert "cannot be read" in message(lambda: pack.pack([(0, item)], stem, "raw", SIZE, 95))
    assert not list(tmp_path.glob("shard*"))


# -------------------------------------------------------------------------------------------------- statistics


@pytest.mark.parametrize("store", ["jpeg", "raw"])
def test_statistics_are_numpys_over_what_is_read_back(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "SHARD", 5)
    make(folders(tmp_path), tmp_path / "made", store=store)
    opened = packed.open_packed(tmp_path / "made", check=True)
    images, sums = opened.train[:], opened.sums
    pixels = images.numpy().astype(np.int64)
    assert sums.n == 12
    assert np.array_equal(sums.pixel_sum.numpy(), pixels.sum(0))
    assert np.array_equal(sums.pixel_square.numpy(), (pixels**2).sum(0))
    flat = pixels.transpose(1, 0, 2, 3).reshape(3, -1)
    assert np.array_equal(sums.colour_first.numpy(), flat.sum(1))
    assert np.array_equal(sums.colour_second.numpy(), flat @ flat.T)
    assert torch.equal(sums.mean_image(), data_images.mean_image(images))
    assert torch.equal(sums.colour_covariance(), data_images.colour_covariance(images))
    assert np.allclose(sums.colour_covariance().numpy(), np.cov(flat, bias=True))


def test_jpegs_are_whole_files_near_the_pixels(tmp_path: Path) -> None:
    source = folders(tmp_path)
    make(source, tmp_path / "jpeg")
    make(source, tmp_path / "raw", store="raw")
    near, exact = (packed.open_packed(tmp_path / store) for store in ("jpeg", "raw"))
    ends, stored = near.train.offsets.tolist(), (tmp_path / "jpeg" / "train.bin").read_bytes()
    for row in range(len(near.train)):
        picture = Image.open(io.BytesIO(stored[ends[row] : ends[row + 1]]))
        assert np.array_equal(np.asarray(picture), near.train[row].permute(1, 2, 0).numpy())
    assert torch.equal(near.train_labels, exact.train_labels)
    assert (near.train[:].int() - exact.train[:].int()).abs().float().mean() < 3


# ------------------------------------------------------------------------------------------ killed, full, twice


def killed(source: Path, destination: Path, after: int) -> None:
    """Prepare until SIGKILL, at the sync after so many."""
    calls, fsync = itertools.count(), os.fsync

    def count(file: int) -> None:
        if next(calls) == after:
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(file)

    os.fsync, pack.SHARD = count, 5
    make(source, destination, store="raw")


POOL_KILLED = """
import os, signal, sys
from pathlib import Path
from paperlib.data import pack as packing
def die(self, n):
    os.kill(os.getpid(), signal.SIGKILL)
if __name__ == "__main__":
    packing.tqdm.update, packing.SHARD = die, 5
    packing.prepare_folder(Path(sys.argv[1]), Path(sys.argv[2]), store="raw", size=16, jobs=2, progress=False)
"""


def run_script(tmp_path: Path, script: str, *arguments: object) -> int:
    """Its exit code, once nobody holds its output any more: no worker outlives the process that started it."""
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run([sys.executable, tmp_path / "script.py", *map(str, arguments)], capture_output=True)
    return done.returncode


@pytest.mark.parametrize("after", [3, 10, 12, 17])
def test_a_killed_preparation_goes_on(after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five shards are two files each, then five appends; 17: two of the final small files stand."""
    source = folders(tmp_path)
    monkeypatch.setattr(pack, "SHARD", 5)
    make(source, tmp_path / "whole", store="raw")
    process = tiny.processes().Process(target=killed, args=(source, tmp_path / "made", after))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "made" / "index.json").exists()
    assert "to complete it" in message(lambda: packed.open_packed(tmp_path / "made"), DataMissingError)
    report = make(source, tmp_path / "made", store="raw")
    assert report.prepared == (13 if after == 3 else 0)  # of 18; one shard was whole
    assert all_files(tmp_path / "made") == all_files(tmp_path / "whole")


@pytest.mark.slow
def test_a_killed_pool_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = folders(tmp_path)
    monkeypatch.setattr(pack, "SHARD", 5)
    assert run_script(tmp_path, POOL_KILLED, source, tmp_path / "made") == -signal.SIGKILL
    report = make(source, tmp_path / "made", store="raw", jobs=2)
    assert report.prepared < 18
    make(source, tmp_path / "whole", store="raw")
    assert all_files(tmp_path / "made") == all_files(tmp_path / "whole")


def ended(*_: object) -> int:
    os._exit(9)


@pytest.mark.usefixtures("quick_processes")
def test_a_worker_that_is_ended_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "SHARD", 5)
    with monkeypatch.context() as patch:
        patch.setattr(pack, "pack", ended)
        text = message(lambda: make(folders(tmp_path), tmp_path / "made", jobs=2), PaperlibError)
    assert "ended from outside" in text and "--jobs" in text
    assert make(tmp_path / "source", tmp_path / "made").prepared == 18


@pytest.mark.parametrize("at", [0, 3, 6, 11, 15])
def test_a_full_disk_is_one_sentence_and_loses_nothing(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, calls, fsync = folders(tmp_path), [0], os.fsync
    monkeypatch.setattr(pack, "SHARD", 5)
    make(source, tmp_path / "whole")

    def full(file: int) -> None:
        calls[0] += 1
        if calls[0] > at:
            raise OSError(28, "No space left on device")
        fsync(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert "No space left on device" in message(lambda: make(source, tmp_path / "made"), PaperlibError)
    assert make(source, tmp_path / "made").prepared == (18 if at == 0 else 13 if at == 3 else 6 if at == 6 else 0)
    assert all_files(tmp_path / "made") == all_files(tmp_path / "whole")


def test_what_is_finished_is_not_done_again(tmp_path: Path) -> None:
    source = folders(tmp_path)
    first = make(source, tmp_path / "made")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "made").iterdir()}
    key = json.loads((tmp_path / "made" / "index.json").read_text())["key"]
    leftover = tmp_path / "made" / f"parts-{packed.FORMAT}-{key[:12]}"
    leftover.mkdir()
    again = make(source, tmp_path / "made")
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "made").iterdir()} == before
    assert (again.train, again.bytes, again.prepared) == (first.train, first.bytes, 0)
    assert "nothing left to do" in str(again) and not leftover.exists()
    assert "other images or was made with other settings" in message(lambda: make(source, tmp_path / "made", size=20))
    (tmp_path / "made" / "train.bin").unlink()
    assert "train.bin is missing" in message(lambda: make(source, tmp_path / "made"), DataMissingError)


def test_one_that_ends_while_another_looks_is_not_prepared_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second call had seen no index.json; when it has the lock, it looks again."""
    source, done, original = folders(tmp_path), tmp_path / "done", readers.interleaved
    others: list[pack.Report] = []

    def meanwhile(counts: list[int]) -> list[tuple[int, int]]:
        if not others:
            monkeypatch.setattr(pack, "interleaved", original)
            others.append(make(source, done))
        return original(counts)

    monkeypatch.setattr(pack, "interleaved", meanwhile)
    report = make(source, done)
    assert others[0].prepared and not report.prepared and report.train == others[0].train
    packed.open_packed(done, check=True)
    assert sorted(path.name for path in done.iterdir()) == sorted([*packed.FILES, "index.json", "report.txt"])


def test_the_same_command_checks_what_is_finished_to_the_last_byte(tmp_path: Path) -> None:
    source = folders(tmp_path)
    make(source, tmp_path / "done")
    flip(tmp_path / "done" / "train.bin")
    assert "train.bin is altered" in message(lambda: make(source, tmp_path / "done"))


def test_a_class_may_have_the_name_of_its_split(tmp_path: Path) -> None:
    """COCO, for one, has a class "train"; a folder train that holds nothing else is one too many."""
    for name in ("train", "bus"):
        write(tmp_path / "many" / "train" / name, {"a.jpg": jpeg(name)})
    make(tmp_path / "many", tmp_path / "done")
    assert packed.open_packed(tmp_path / "done").classes == ("bus", "train")
    write(tmp_path / "one" / "train" / "train" / "bus", {"a.jpg": jpeg("a")})
    for beside in (".ipynb_checkpoints", "__MACOSX"):
        (tmp_path / "one" / "train" / beside).mkdir()
    assert "holds another folder train" in message(lambda: make(tmp_path / "one", tmp_path / "other"))


def test_nothing_foreign_is_touched(tmp_path: Path) -> None:
    source = folders(tmp_path)
    write(tmp_path / "made", {"thesis.tex": b"mine"})
    assert "thesis.tex" in message(lambda: make(source, tmp_path / "made"))
    assert all_files(tmp_path / "made") == {"thesis.tex": b"mine"} and len(list((tmp_path / "made").iterdir())) == 1
    assert "holds train" in message(lambda: make(source, source))
    (tmp_path / "file").write_text("")
    assert "cannot prepare into" in message(lambda: make(source, tmp_path / "file"), PaperlibError)


def test_two_at_a_time_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = folders(tmp_path)

    def inside(*_: object) -> int:
        raise RuntimeError(message(lambda: make(source, tmp_path / "made")))

    monkeypatch.setattr(pack, "_join", inside)
    with pytest.raises(RuntimeError, match="another process is preparing"):
        make(source, tmp_path / "made")


def test_bytes_lost_between_two_calls_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = folders(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(pack, "checksum_of", lambda file: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            make(source, tmp_path / "made")
    (tmp_path / "made" / "train.bin").unlink()
    assert "has lost bytes" in message(lambda: make(source, tmp_path / "made"))


# ----------------------------------------------------------------------------------------------------- reading


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    for store in ("jpeg", "raw"):
        make(folders(root / store), root / store / "made", store=store)
    return root


@pytest.mark.parametrize("store", ["jpeg", "raw"])
@pytest.mark.parametrize("threads", [1, 3, 40])
def test_images_are_read_as_a_tensor_is(store: str, threads: int, made: Path) -> None:
    images = packed.open_packed(made / store / "made", threads=threads).train
    every = torch.stack(list(images))
    assert every.dtype == images.dtype == torch.uint8 and every.shape == images.shape == (12, 3, SIZE, SIZE)
    assert len(images) == 12 and images.ndim == 4
    rows = torch.tensor([11, 0, 0, -1, 5])
    for key in (3, -1, slice(None), slice(2, 9), slice(1, 20, 4), slice(-3, None), slice(5, 5), rows, rows[:0]):
        assert torch.equal(images[key], every[key])
    assert torch.equal(images[rows.reshape(5, 1)], every[rows.reshape(5, 1)])
    assert torch.equal(images[torch.arange(12) % 3 == 0], every[torch.arange(12) % 3 == 0])
    for a, b in zip(images.split(5), every.split(5), strict=True):
        assert torch.equal(a, b)
    part = images.stretch(3, 100)
    assert len(part) == 9 and torch.equal(part[:], every[3:]) and len(images.stretch(4, 2)) == 0
    assert torch.equal(images.stretch(-4, -1)[rows[1:3]], every[-4:-1][rows[1:3]])
    for bad in (12, -13, torch.tensor([12])):
        with pytest.raises(IndexError):
            images[bad]


def test_images_may_be_pickled_and_forked(made: Path) -> None:
    images = packed.open_packed(made / "jpeg" / "made", threads=2).train
    every = images[:]
    assert torch.equal(pickle.loads(pickle.dumps(images))[:], every)
    with multiprocessing.get_context("fork").Pool(1) as pool:  # our threads are open, and do not exist over there
        assert torch.equal(torch.from_numpy(pool.apply(first_images, (images,))), every[:4])


def first_images(images: packed.Images) -> np.ndarray:
    return images[:4].numpy()


def spoil_index(folder: Path, **changes: object) -> None:
    index = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps({k: v for k, v in (index | changes).items() if v is not None}))


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (shutil.rmtree, "lacks index.json, which is written last: name a folder of prepared images"),
    "no index": (lambda f: (f / "index.json").unlink(), "run the same `paperlib data prepare` to complete it"),
    "interrupted": (lambda f: [shutil.rmtree(f), (f / "parts-1").mkdir(parents=True)], "data prepare` to complete it"),
    "no classes": (lambda f: spoil_index(f, classes=None), "lacks classes"),
    "other format": (lambda f: spoil_index(f, format=1), "has format 1 and this version reads (2, 3, 4)"),
    "no images": (lambda f: (f / "train.bin").unlink(), "train.bin is missing"),
    "no statistics": (lambda f: (f / "statistics.safetensors").unlink(), "statistics.safetensors is missing"),
    "cut": (lambda f: os.truncate(f / "val.bin", 10), "val.bin has 10 bytes instead of"),
    "labels": (lambda f: flip(f / "val.safetensors"), "val.safetensors is altered"),
    "pixels": (lambda f: flip(f / "train.bin"), "train.bin is altered"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_one_sentence(case: str, made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(made / "raw" / "made", folder)
    spoil, words = DAMAGE[case]
    spoil(folder)
    missing = case in ("gone", "no index", "no images", "no statistics")
    text = message(lambda: packed.open_packed(folder, check=True), DataMissingError if missing else DataError)
    assert words in text and str(folder) in text
    if case == "pixels":
        packed.open_packed(folder)  # all of a large file is read only on demand


def test_an_altered_jpeg_is_noticed_when_it_is_read(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "jpeg" / "made", tmp_path / "copy")
    file = tmp_path / "copy" / "train.bin"
    file.write_bytes(bytes(file.stat().st_size))
    images = packed.open_packed(tmp_path / "copy").train
    assert "is altered at bytes" in message(lambda: images[:])


# ------------------------------------------------------------------------------------------------ command line


def test_the_command_prepares_and_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = folders(tmp_path)
    options = ["--size", "16", "--store", "raw", "--jobs", "1"]
    assert cli.main(["data", "prepare", str(source), str(tmp_path / "made"), *options]) == 0
    out = capsys.readouterr().out
    size = sum(p.stat().st_size for p in (tmp_path / "made").iterdir() if p.name in packed.FILES)
    assert len(out.splitlines()) == 1 and "12 train and 6 val images" in out
    assert f"{size:,} bytes" in out and "images/s; left out 0" in out
    assert packed.open_packed(tmp_path / "made", check=True).train.shape == (12, 3, 16, 16)
    assert cli.main(["data", "prepare", str(tmp_path / "nothing"), str(tmp_path / "x")]) == 2
    assert "is not a folder" in capsys.readouterr().err
