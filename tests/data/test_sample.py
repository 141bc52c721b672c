"""The embedded data: its bytes, its promises, and the tools that rebuild it, on synthetic originals."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from paperlib.data import images, known, readers, sample, sets
from paperlib.files import ROOT
from tests import datasets
from tools import build_photos, build_sample

SAMPLE = ROOT / "data" / "sample"
FILES = sorted([*SAMPLE.glob("fashion-mnist/*.gz"), *SAMPLE.glob("photos/*.jpg")])


def relative(path: Path) -> str:
    return path.relative_to(SAMPLE).as_posix()


# -------------------------------------------------------------------------------------------- committed bytes


def test_committed_bytes_are_those_of_the_checksums_and_of_the_readme() -> None:
    found = {relative(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in FILES}
    assert (SAMPLE / "SHA256SUMS").read_text() == "".join(f"{found[name]}  {name}\n" for name in sorted(found))
    readme = (SAMPLE.parent / "README.md").read_text(encoding="utf-8")
    for path in FILES:
        row = next(line for line in readme.splitlines() if line.startswith(f"| `{path.name}`") and "SHA" not in line
                   and re.search(r"[0-9a-f]{64}", line))  # fmt: skip
        assert found[relative(path)] in row and f" {path.stat().st_size:,} " in row


def test_the_whole_is_small() -> None:
    assert len(FILES) == 12
    assert sum(path.stat().st_size for path in SAMPLE.glob("fashion-mnist/*.gz")) <= 7_000_000
    assert all(path.stat().st_size <= 150_000 for path in SAMPLE.glob("photos/*.jpg"))
    assert "Zalando SE" in (SAMPLE / "fashion-mnist" / "LICENSE").read_text(encoding="utf-8")


def test_fingerprints_pin_the_files() -> None:
    """The same numbers as `(echo "sample idx 1"; sha256sum fashion-mnist/*.gz) | sha256sum`."""
    for name, rule, folder in (("sample", "sample idx 1", "fashion-mnist/"), ("photos", "photos patches 1", "photos/")):
        listed = [line for line in (SAMPLE / "SHA256SUMS").read_text().splitlines() if f"  {folder}" in line]
        digest = hashlib.sha256("\n".join([rule, *listed, ""]).encode()).hexdigest()
        assert known.FINGERPRINTS[name] == {"embedded": f"sha256:{digest}"}
        assert sets.load(name).fingerprint == f"sha256:{digest}"


@pytest.mark.parametrize("name", ["sample", "photos"])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "sums"])
def test_damage_is_noticed_and_named(tmp_path: Path, name: str, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(SAMPLE, tmp_path / "sample")
    monkeypatch.setattr(sample, "SAMPLE", tmp_path / "sample")
    file = sets.where(name)[0] / {"sample": "train-images-idx3-ubyte.gz", "photos": "coffee.jpg"}[name]
    content = bytearray(file.read_bytes())
    content[5000] ^= 1
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(content[:5000] if damage == "cut" else content)
    if damage == "sums":  # a changed file whose checksum was changed with it
        sums = tmp_path / "sample" / "SHA256SUMS"
        new, old = (
            hashlib.sha256(content).hexdigest(),
            hashlib.sha256((SAMPLE / relative_to(file, tmp_path)).read_bytes()),
        )
        sums.write_text(sums.read_text().replace(old.hexdigest(), new))
        file = sums
    with pytest.raises(images.DataMissingError if damage == "gone" else images.DataChecksumError) as caught:
        sets.load(name)
    text = str(caught.value)
    assert str(file) in text and "git checkout data/sample" in text and "\n" not in text


def relative_to(file: Path, tmp_path: Path) -> Path:
    return file.relative_to(tmp_path / "sample")


# ----------------------------------------------------------------------------------------------------- sample


def test_sample_is_balanced_at_every_point() -> None:
    sample = sets.load("sample")
    assert sample.title == "Fashion-MNIST sample" and len(sample.classes) == 10
    assert sample.train_images.shape == (10_000, 1, 28, 28) and sample.test_images.shape == (2_000, 1, 28, 28)
    for pixels, labels in ((sample.train_images, sample.train_labels), (sample.test_images, sample.test_labels)):
        assert pixels.dtype == torch.uint8 and labels.dtype == torch.int64
        assert (labels.reshape(-1, 10).sort(1).values == torch.arange(10)).all()
        assert len({tuple(block) for block in labels.reshape(-1, 10).tolist()}) > 50  # no fixed order of the classes


def test_no_image_of_the_sample_is_there_twice() -> None:
    sample = sets.load("sample")
    every = [image.numpy().tobytes() for image in (*sample.train_images, *sample.test_images)]
    assert len(set(every)) == 12_000


def test_sample_is_sorted_by_hash_within_a_class() -> None:
    """What makes the selection reproducible: see the docstring of tools/build_sample.py."""
    sample = sets.load("sample")
    for label in range(10):
        images = sample.test_images[sample.test_labels == label]
        digests = [hashlib.sha256(image.numpy().tobytes()).digest() for image in images]
        assert digests == sorted(digests) and digests[-1][0] < 64  # 200 of about 1,000, the smallest


# ---------------------------------------------------------------------------------------------- build_sample


SPLITS = {"train": 5, "t10k": 2}


@pytest.fixture
def originals(tmp_path: Path) -> Path:
    """Three classes in a random order; some images twice, and one of them in both splits."""
    folder = tmp_path / "originals"
    folder.mkdir()
    for split, n in (("train", 40), ("t10k", 24)):
        images = datasets.pixels(split, n, 6, 5)
        labels = np.arange(n) % 3
        images[30 % n :] = images[: n - 30 % n]
        if split == "t10k":
            images[:12] = datasets.pixels("train", 40, 6, 5)[:12]
        order = np.random.default_rng(n).permutation(n)
        (folder / f"{split}-images-idx3-ubyte.gz").write_bytes(datasets.idx(images[order]))
        (folder / f"{split}-labels-idx1-ubyte.gz").write_bytes(datasets.idx(labels[order]))
    return folder


def read(path: Path) -> np.ndarray:
    raw = gzip.decompress(path.read_bytes())
    shape = tuple(int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(raw[3]))
    return np.frombuffer(raw[4 + 4 * len(shape) :], np.uint8).reshape(shape)


def test_built_sample_follows_the_rule(originals: Path, tmp_path: Path) -> None:
    build_sample.build(originals, tmp_path / "out", SPLITS)
    taken: set[bytes] = set()
    for split, per_class in SPLITS.items():
        before_images = read(originals / f"{split}-images-idx3-ubyte.gz")
        before_labels = read(originals / f"{split}-labels-idx1-ubyte.gz")
        images, labels = (
            read(tmp_path / "out" / f"{split}-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1")
        )
        assert images.shape == (3 * per_class, 6, 5) and labels.shape == (3 * per_class,)
        for label in range(3):
            distinct = {image.tobytes() for image in before_images[before_labels == label]} - taken
            expected = sorted(distinct, key=lambda image: hashlib.sha256(image).hexdigest())[:per_class]
            assert [image.tobytes() for image in images[labels == label]] == expected
        assert all(sorted(block) == [0, 1, 2] for block in labels.reshape(-1, 3).tolist())
        taken |= {image.tobytes() for image in images}


def test_building_twice_gives_the_same_bytes_without_name_or_time(originals: Path, tmp_path: Path) -> None:
    first = build_sample.build(originals, tmp_path / "a", SPLITS)
    second = build_sample.build(originals, tmp_path / "b", SPLITS)
    assert [path.name for path in first] == [path.name for path in second] and len(first) == 4
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
        assert one.read_bytes()[3:8] == bytes(5)  # RFC 1952: no flags (so no file name), time 0


def test_a_full_sized_build_is_what_the_tool_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert build_sample.SPLITS == {"train": 1000, "t10k": 200}
    for split, n in (("train", 90), ("t10k", 60)):
        (tmp_path / f"{split}-images-idx3-ubyte.gz").write_bytes(datasets.idx(datasets.pixels(split, n, 4, 4)))
        (tmp_path / f"{split}-labels-idx1-ubyte.gz").write_bytes(datasets.idx(np.arange(n) % 10))
    monkeypatch.setattr(build_sample, "SPLITS", SPLITS)
    assert build_sample.main([str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    assert len(readers.read_idx(tmp_path / "out" / "train-images-idx3-ubyte.gz")) == 50


@pytest.mark.parametrize("damage", ["gone", "flip", "cut", "text", "mixed up", "too few", "wrong kind"])
def test_bad_originals_give_one_sentence_and_no_file(
    originals: Path, tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_sample, "SPLITS", SPLITS)
    file = originals / "t10k-images-idx3-ubyte.gz"
    content = bytearray(file.read_bytes())
    if damage == "gone":
        file.unlink()
    elif damage == "flip":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif damage == "cut":
        file.write_bytes(content[:-9])
    elif damage == "text":
        file.write_bytes(gzip.compress(b"not an array"))
    elif damage == "mixed up":
        shutil.copy(originals / "train-images-idx3-ubyte.gz", file)
    elif damage == "too few":
        monkeypatch.setattr(build_sample, "SPLITS", {"train": 5, "t10k": 50})
    else:
        file.write_bytes(gzip.compress(b"\0\0\x0d\1\0\0\0\1\0\0\0\0"))
    assert build_sample.main([str(originals), "--out", str(tmp_path / "out")]) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1 and output.err.startswith("build_sample: ")
    assert not (tmp_path / "out").exists()


# ----------------------------------------------------------------------------------------------------- photos


def test_photographs_are_colour_pictures_of_natural_sizes() -> None:
    pictures = sample.photographs()
    assert tuple(pictures) == sample.PHOTOS == tuple(sorted(path.stem for path in SAMPLE.glob("photos/*.jpg")))
    readme = (SAMPLE.parent / "README.md").read_text(encoding="utf-8")
    for name, picture in pictures.items():
        assert picture.dtype == torch.uint8 and picture.shape[0] == 3 and 300 <= min(picture.shape[1:]) <= 400
        assert (picture[0] != picture[2]).float().mean() > 0.5  # in colour
        with Image.open(SAMPLE / f"photos/{name}.jpg") as image:
            assert image.format == "JPEG" and not image.getexif() and "icc_profile" not in image.info
            assert np.array_equal(np.asarray(image).transpose(2, 0, 1), picture.numpy())
        licence = next(
            line for line in readme.splitlines() if line.startswith(f"| `{name}.jpg`") and "taken" not in line
        )
        assert "public domain" in licence or "CC0 1.0" in licence or "CC BY 2.0" in licence
    assert len({tuple(picture.shape) for picture in pictures.values()}) >= 3


@given(st.integers(240, 700), st.integers(240, 700))
def test_training_and_test_patches_share_no_pixel(height: int, width: int) -> None:
    covered = []
    for test in (False, True):
        cover = np.zeros((height, width), bool)
        places = sample.patch_places("any", height, width, test)
        assert len(places) == (100 if test else 400)
        for top, left, side in places:
            assert side in (32, 64) and 0 <= top <= height - side and 0 <= left <= width - side
            cover[top : top + side, left : left + side] = True
        covered.append(cover)
        assert 0.35 < sum(side == 32 for *_, side in places) / len(places) < 0.65
    assert not (covered[0] & covered[1]).any()


def test_photos_are_patches_of_the_photographs() -> None:
    photos, pictures = sets.load("photos"), sample.photographs()
    assert photos.classes == sample.PHOTOS and photos.title == "Photograph patches"
    for pixels, labels, count, test in (
        (photos.train_images, photos.train_labels, 400, False),
        (photos.test_images, photos.test_labels, 100, True),
    ):
        assert pixels.shape == (8 * count, 3, 32, 32) and pixels.dtype == torch.uint8 and labels.dtype == torch.int64
        assert (labels.reshape(-1, 8).sort(1).values == torch.arange(8)).all()
        for label, name in enumerate(sample.PHOTOS):
            picture = pictures[name].numpy()
            places = sample.patch_places(name, *picture.shape[1:], test)
            for patch, (top, left, side) in zip(pixels[labels == label].numpy(), places, strict=True):
                cut = picture[:, top : top + side, left : left + side].astype(float)
                if side == 64:
                    cut = (cut[:, ::2, ::2] + cut[:, 1::2, ::2] + cut[:, ::2, 1::2] + cut[:, 1::2, 1::2]) / 4
                assert np.abs(patch - cut).max() <= 0.5


# ---------------------------------------------------------------------------------------------- build_photos


@pytest.fixture
def photo_originals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An original of each name, small and random; SciPy's raw one is 60 × 50 here."""
    folder = tmp_path / "originals"
    folder.mkdir()
    monkeypatch.setattr(build_photos, "SHORTER", 40)
    monkeypatch.setattr(build_photos, "FACE_SIZE", (60, 50))
    for i, (name, file) in enumerate(build_photos.ORIGINALS.items()):
        array = datasets.pixels(name, 36 + 10 * i, 90, 3)
        if file.endswith(".dat"):
            (folder / file).write_bytes(bz2.compress(datasets.pixels(name, 50, 60, 3).tobytes()))
        else:
            exif = Image.Exif()
            exif[0x010E] = "a description"
            Image.fromarray(array).save(folder / file, exif=exif)
    return folder


def test_built_photos_are_reduced_jpegs_without_metadata(photo_originals: Path, tmp_path: Path) -> None:
    assert tuple(build_photos.ORIGINALS) == sample.PHOTOS
    empty = tmp_path / "empty"
    empty.mkdir()
    first = build_photos.build([empty, photo_originals], tmp_path / "a")
    second = build_photos.build([photo_originals], tmp_path / "b")
    assert [path.name for path in first] == [f"{name}.jpg" for name in sample.PHOTOS]
    for i, (one, other) in enumerate(zip(first, second, strict=True)):
        assert one.read_bytes() == other.read_bytes()
        before = (50, 60) if one.stem == "raccoon" else (36 + 10 * i, 90)
        with Image.open(one) as image:
            assert image.format == "JPEG" and image.mode == "RGB" and not image.getexif()
            assert min(image.size) == min(40, *before)
            width, height = image.size
            assert abs(width / height - before[1] / before[0]) < 0.06


@pytest.mark.parametrize("damage", ["gone", "cut", "cut raw"])
def test_bad_photo_originals_give_one_sentence_and_no_file(
    photo_originals: Path, tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = photo_originals / ("face.dat" if damage == "cut raw" else "rocket.jpg")
    content = file.read_bytes()
    file.unlink()
    if damage != "gone":
        file.write_bytes(content[: len(content) // 2])
    assert build_photos.main([str(photo_originals), "--out", str(tmp_path / "out")]) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1 and file.name in output.err
    assert not (tmp_path / "out").exists()
