"""Data sets on generated files: every layout, every damage, fetching, preparation, colours."""

from __future__ import annotations

import hashlib
import http.server
import io
import logging
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from paperlib.data import cache, images, known, readers, sample, sets
from paperlib.data import images as data_images
from paperlib.data.images import DataChecksumError, DataError, DataMissingError
from paperlib.files import ROOT
from tests import datasets
from tests.datasets import message


@pytest.fixture(autouse=True)
def small_layouts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Few images a class, and a user's cache folder of our own."""
    monkeypatch.setattr(readers, "LAYOUTS", {"cifar10": datasets.CIFAR, "tinyimagenet": datasets.TINY})
    monkeypatch.setattr(cache.pooch, "os_cache", lambda name: tmp_path / "user-cache" / name)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


def publish(monkeypatch: pytest.MonkeyPatch, name: str, archive: Path, url: str = "") -> str:
    """Make the SHA-256 of a generated archive the published one."""
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    first = readers.Copy(archive.name, readers.COPIES[name][0].read, url, sha256)
    monkeypatch.setattr(readers, "COPIES", readers.COPIES | {name: (first, *readers.COPIES[name][1:])})
    return sha256


def sha256sum_fingerprint(rule: str, files: dict[str, bytes]) -> str:
    """The fingerprint as data/README.md explains it to a reader with a shell."""
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}" for name, content in sorted(files.items())]
    return "sha256:" + hashlib.sha256("\n".join([rule, *lines, ""]).encode()).hexdigest()


def same(a: images.Dataset, b: images.Dataset) -> bool:
    parts = ("train_images", "train_labels", "test_images", "test_labels")
    return a.classes == b.classes and all(torch.equal(getattr(a, part), getattr(b, part)) for part in parts)


# ------------------------------------------------------------------------------------- order and fingerprints


def test_the_first_block_of_ten_classes_never_changes() -> None:
    assert [c for c, _ in readers.interleaved([5] * 10)][:10] == [6, 4, 2, 1, 7, 5, 0, 8, 9, 3]  # runs depend on it


def test_order_is_the_documented_hash() -> None:
    order = readers.interleaved([2, 2, 2])
    assert sorted(order) == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
    assert [j for _, j in order] == [0, 0, 0, 1, 1, 1]
    for j in (0, 1):
        by_hand = sorted(range(3), key=lambda c: hashlib.sha256(f"{j} {c}".encode()).hexdigest())
        assert [c for c, _ in order[3 * j : 3 * j + 3]] == by_hand


@given(
    counts=st.lists(st.integers(0, 60), min_size=1, max_size=8), ends=st.tuples(st.fractions(0, 1), st.fractions(0, 1))
)
@example(counts=[60, 1, 1, 1, 1, 1, 1, 1], ends=(Fraction(0), Fraction(37, 67)))
def test_every_stretch_holds_the_classes_as_the_whole_does(counts: list[int], ends: tuple[Fraction, Fraction]) -> None:
    """Of classes of any sizes: the last images, say, which a schedule may hold out."""
    order = readers.interleaved(counts)
    assert sorted(order) == [(c, j) for c, count in enumerate(counts) for j in range(count)]
    for c in range(len(counts)):
        assert [j for of, j in order if of == c] == list(range(counts[c]))
    start, stop = sorted(ends)
    stretch = Counter(c for c, _ in order[int(start * len(order)) : int(stop * len(order))])
    for c, count in enumerate(counts):  # ties, of which there are at most as many as classes, come in any order
        assert abs(stretch[c] - (stop - start) * count) <= len(counts) + 2


@pytest.mark.parametrize("name", ["cifar10", "tinyimagenet"])
def test_fingerprint_is_what_sha256sum_gives(root: Path, name: str) -> None:
    place = datasets.cifar_folder(root) if name == "cifar10" else datasets.tiny_folder(root)
    (place / "notes.txt").write_text("not an image")
    (place / ".DS_Store").write_text("")
    files = {str(p.relative_to(place)): p.read_bytes() for p in place.rglob("*") if p.is_file()}
    counted = {n: content for n, content in files.items() if n.endswith((".bin", ".JPEG", "annotations.txt"))}
    assert sets.load(name, root).fingerprint == sha256sum_fingerprint(f"{name} files 1", counted)


def test_a_copy_is_unknown_until_its_fingerprint_is_listed(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    datasets.cifar_folder(root)
    with caplog.at_level(logging.WARNING):
        unknown = sets.load("cifar10", root)
    assert unknown.title == "CIFAR-10 (unknown copy)" and "no known copy" in caplog.text
    caplog.clear()
    monkeypatch.setitem(known.FINGERPRINTS, "cifar10", {"official": unknown.fingerprint})
    assert sets.load("cifar10", root).title == "CIFAR-10" and not caplog.text
    assert repr(unknown) == "<CIFAR-10 (unknown copy): 50 train and 20 test images, 3 × 32 × 32, 10 classes>"


def test_the_fingerprint_of_cifar10_is_that_of_the_published_files() -> None:
    """From the SHA-256 of the six files inside ``cifar-10-binary.tar.gz`` (MD5 c32a1d4a…), as published."""
    sums = {
        "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
        "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
        "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
        "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
        "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
        "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
    }
    lines = ["cifar10 files 1", *(f"{digest}  {name}" for name, digest in sums.items()), ""]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert known.FINGERPRINTS["cifar10"] == {"official": f"sha256:{digest}"}


def test_fingerprints_of_the_known_copies_are_pinned() -> None:
    every = [fingerprint for known in known.FINGERPRINTS.values() for fingerprint in known.values()]
    assert len(set(every)) == len(every) == 4
    assert all(value.startswith("sha256:") and len(value) == 71 for value in every)


# ----------------------------------------------------------------------------------------------------- cache


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(readers, "read_copy", refuse)


def test_the_second_load_reads_the_cache_alone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets.cifar_folder(root)
    first = sets.load("cifar10", root)
    assert [p.name for p in (root / ".paperlib-cache").iterdir()] == ["cifar-10-batches-bin.safetensors"]
    forbid_reading(monkeypatch)
    second = sets.load("cifar10", root)
    assert same(first, second) and second.fingerprint == first.fingerprint and second.title == first.title


def test_a_changed_file_is_read_and_counted_anew(root: Path) -> None:
    place = datasets.tiny_folder(root)
    before = sets.load("tinyimagenet", root)
    file = place / "train" / datasets.WNIDS[1] / "images" / f"{datasets.WNIDS[1]}_3.JPEG"
    changed = datasets.pixels("changed", 64, 64, 3)
    file.write_bytes(datasets.png(changed))
    os.utime(file, ns=(1, 1))
    after = sets.load("tinyimagenet", root)
    row = next(i for i in range(9, 12) if after.train_labels[i] == 1)
    assert np.array_equal(after.train_images[row].numpy(), changed.transpose(2, 0, 1))
    assert after.fingerprint != before.fingerprint


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_cache_is_made_again(root: Path, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets.cifar_folder(root)
    cache = root / ".paperlib-cache" / "cifar-10-batches-bin.safetensors"
    first = sets.load("cifar10", root)
    first_images = first.train_images.clone()
    stored = bytearray(cache.read_bytes())
    stored[len(stored) // 2] ^= 1
    cache.unlink()
    cache.write_bytes({"flip": bytes(stored), "cut": bytes(stored[:-100]), "empty": b""}[damage])
    assert torch.equal(sets.load("cifar10", root).train_images, first_images)
    forbid_reading(monkeypatch)
    assert torch.equal(sets.load("cifar10", root).train_images, first_images)


def test_writing_into_a_loaded_tensor_leaves_the_cache_alone(root: Path) -> None:
    datasets.cifar_folder(root)
    expected = sets.load("cifar10", root).train_images.clone()
    sets.load("cifar10", root).train_images.zero_()
    assert torch.equal(sets.load("cifar10", root).train_images, expected)


def test_where_the_root_cannot_be_written_the_users_cache_is_used(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    datasets.cifar_folder(root)
    (root / ".paperlib-cache").write_text("a file where the folder should be")
    first = sets.load("cifar10", root)
    assert len(list((tmp_path / "user-cache").rglob("*.safetensors"))) == 1
    shutil.rmtree(tmp_path / "user-cache")
    (tmp_path / "user-cache").write_text("and here")
    caplog.clear()
    assert same(sets.load("cifar10", root), first)
    assert "cannot be cached" in caplog.text
    forbid_reading(monkeypatch)
    with pytest.raises(AssertionError, match="read again"):
        sets.load("cifar10", root)


# ------------------------------------------------------------------------------------------- CIFAR-10, binary


def test_cifar_archive_keeps_its_own_order(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, "cifar10", datasets.cifar_archive(root))
    loaded = sets.load("cifar10", root)
    files = datasets.cifar_batches()
    train = np.frombuffer(b"".join(files[f"data_batch_{i}.bin"] for i in range(1, 6)), np.uint8).reshape(50, 3073)
    test = np.frombuffer(files["test_batch.bin"], np.uint8).reshape(20, 3073)
    for records, pictures, labels in (
        (train, loaded.train_images, loaded.train_labels),
        (test, loaded.test_images, loaded.test_labels),
    ):
        assert labels.tolist() == records[:, 0].tolist()
        # the format's own words: 1024 red bytes row by row, then green, then blue
        assert all(
            pictures[i, c, y, x] == records[i, 1 + 1024 * c + 32 * y + x]
            for i, c, y, x in [(7, 2, 5, 31), (19, 0, 31, 0)]
        )
        assert np.array_equal(pictures.flatten().numpy(), records[:, 1:].flatten())
    cached = sets.load("cifar10", root)
    assert same(cached, loaded) and cached.fingerprint == loaded.fingerprint


def test_archive_and_unpacked_folder_are_one_copy(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, "cifar10", datasets.cifar_archive(root))
    fingerprint = sha256sum_fingerprint("cifar10 files 1", datasets.cifar_batches())
    monkeypatch.setitem(known.FINGERPRINTS, "cifar10", {"official": fingerprint})
    from_archive = sets.load("cifar10", root)
    datasets.cifar_folder(other := root / "unpacked")
    from_folder = sets.load("cifar10", other)
    assert same(from_folder, from_archive)
    for copy in (from_archive, from_folder):
        assert (copy.title, copy.fingerprint) == ("CIFAR-10", fingerprint)


@pytest.mark.parametrize("form", ["cifar-10-batches-py", "cifar-10-python.tar.gz"])
def test_the_python_version_is_named_and_not_read(root: Path, form: str) -> None:
    (root / form).mkdir()
    text = message(lambda: sets.load("cifar10", root), DataMissingError)
    assert str(root / form) in text and "python version" in text and "paperlib data fetch cifar10" in text
    datasets.cifar_folder(root)
    assert len(sets.load("cifar10", root).train_images) == 50


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_altered_archive_names_file_checksums_and_remedy(
    root: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = datasets.cifar_archive(root)
    right = publish(monkeypatch, "cifar10", archive)
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes({"flip": bytes(content), "cut": bytes(content[:1000]), "empty": b""}[damage])
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    text = message(lambda: sets.load("cifar10", root), DataChecksumError)
    assert str(archive) in text and right in text and found in text and "paperlib data fetch cifar10" in text
    assert not (root / ".paperlib-cache").exists()


def test_an_archive_altered_after_the_first_load_is_noticed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = datasets.cifar_archive(root)
    publish(monkeypatch, "cifar10", archive)
    sets.load("cifar10", root)
    archive.write_bytes(archive.read_bytes()[:-1])
    message(lambda: sets.load("cifar10", root), DataChecksumError)


def test_archive_paths_lead_nowhere(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = {"../../evil.bin": b"x", str(tmp_path / "absolute.bin"): b"x"}
    publish(monkeypatch, "cifar10", datasets.cifar_archive(root, evil))
    before = {p for p in tmp_path.rglob("*") if p.is_file()}
    sets.load("cifar10", root)
    new = {p for p in tmp_path.rglob("*") if p.is_file()} - before
    assert new == {root / ".paperlib-cache" / "cifar-10-binary.tar.gz.safetensors"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data_batch_3.bin": None}, ("data_batch_3.bin", "0 bytes instead of 30730")),
        ({"test_batch.bin": b"x" * 3073}, ("test_batch.bin", "3073 bytes instead of 61460")),
        ({"data_batch_1.bin": b"\x0a" * 30730}, ("data_batch_1.bin", "label above 9")),
    ],
)
def test_wrong_batches(root: Path, change: dict[str, bytes | None], words: tuple[str, ...]) -> None:
    place = root / "cifar-10-batches-bin"
    place.mkdir()
    for name, content in (datasets.cifar_batches() | change).items():
        if content is not None:
            (place / name).write_bytes(content)
    text = message(lambda: sets.load("cifar10", root))
    assert all(word in text for word in words)


@pytest.mark.parametrize("name", ["cifar10", "tinyimagenet"])
def test_a_file_of_the_right_checksum_that_is_no_archive(
    root: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = root / readers.COPIES[name][0].path
    archive.write_bytes(b"this is no archive")
    publish(monkeypatch, name, archive)
    assert str(archive) in message(lambda: sets.load(name, root))


# ---------------------------------------------------------------------------------------------- Tiny ImageNet


def check_tiny(loaded: images.Dataset) -> None:
    assert loaded.classes == datasets.WNIDS
    assert loaded.train_images.shape == (12, 3, 64, 64) and loaded.test_images.shape == (6, 3, 64, 64)
    for j in range(4):
        block = loaded.train_labels[3 * j : 3 * j + 3].tolist()
        assert sorted(block) == [0, 1, 2]
        for i, label in enumerate(block):
            image = loaded.train_images[3 * j + i].numpy()
            if (label, j) == (0, 0):
                assert all(np.array_equal(image[c], datasets.pixels("n01443537_0", 64, 64)) for c in range(3))
            else:
                key = f"{datasets.WNIDS[label]}_{j}"
                assert np.array_equal(image, datasets.pixels(key, 64, 64, 3).transpose(2, 0, 1))
    for image, label in zip(loaded.test_images.numpy(), loaded.test_labels.tolist(), strict=True):
        candidates = [i for i in range(6) if (i + 1) % 3 == label and i != 0]
        grey = np.array_equal(image[0], datasets.pixels("val_0", 64, 64)) and label == 1
        assert grey or any(
            np.array_equal(image, datasets.pixels(f"val_{i}", 64, 64, 3).transpose(2, 0, 1)) for i in candidates
        )
    assert len({image.numpy().tobytes() for image in loaded.test_images}) == 6


def test_tiny_imagenet_from_a_folder(root: Path) -> None:
    datasets.tiny_folder(root)
    check_tiny(sets.load("tinyimagenet", root))


def test_classes_of_tiny_imagenet_are_shown_by_their_first_word(root: Path) -> None:
    place = datasets.tiny_folder(root)
    loaded = sets.load("tinyimagenet", root)
    assert sets.shown_classes(loaded, root) == loaded.classes  # this copy has no words
    (place / "words.txt").write_text(
        f"{loaded.classes[1]}\tEgyptian cat, tabby\n{loaded.classes[0]}\t ,\n", encoding="utf-8"
    )
    assert sets.shown_classes(loaded, root) == (loaded.classes[0], "Egyptian cat", *loaded.classes[2:])
    assert sets.load("tinyimagenet", root).fingerprint == loaded.fingerprint
    assert sets.shown_classes(sets.load("sample")) == sample.FASHION_CLASSES


def test_tiny_imagenet_zip_and_its_folder_are_one_copy(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "other").mkdir()
    datasets.tiny_folder(root / "other")
    folder = sets.load("tinyimagenet", root / "other")
    publish(monkeypatch, "tinyimagenet", datasets.tiny_zip(root))
    unlisted = sets.load("tinyimagenet", root)
    check_tiny(unlisted)
    assert (unlisted.fingerprint, unlisted.title) == (folder.fingerprint, "Tiny ImageNet (unknown copy)")
    monkeypatch.setitem(known.FINGERPRINTS, "tinyimagenet", {"official": folder.fingerprint})
    shutil.rmtree(root / ".paperlib-cache")
    listed = sets.load("tinyimagenet", root)
    assert (listed.fingerprint, listed.title) == (folder.fingerprint, "Tiny ImageNet") and same(listed, folder)


# ------------------------------------------------------------------------------------------------ bad layouts


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-40])


def nest(place: Path) -> None:
    """One folder too deep, as some unpacking programs do."""
    moved = place.rename(place.with_name("moved"))
    place.mkdir()
    moved.rename(place / place.name)


BAD_TINY: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "missing class": (lambda p: shutil.rmtree(p / "train" / "n01629819"), ("2 classes", "instead of 3")),
    "extra class": (lambda p: shutil.copytree(p / "train" / "n01629819", p / "train" / "n09999999"), ("4 classes",)),
    "too few": (
        lambda p: (p / "train/n01629819/images/n01629819_2.JPEG").unlink(),
        ("3 train images of class n01629819 instead of 4",),
    ),
    "no annotations": (lambda p: (p / "val/val_annotations.txt").unlink(), ("lacks val/val_annotations.txt",)),
    "short annotations": (
        lambda p: (p / "val/val_annotations.txt").write_text("val_0.JPEG\tn01629819\t0\n"),
        ("0 val images of class n01443537 instead of 2",),
    ),
    "foreign annotation": (
        lambda p: (p / "val/val_annotations.txt").write_text("val_0.JPEG\tn12345678\t0\n"),
        ("val_annotations.txt", "n12345678"),
    ),
    "empty line": (lambda p: (p / "val/val_annotations.txt").write_bytes(b"\n\xff\n"), ("val_annotations.txt",)),
    "missing val image": (lambda p: (p / "val/images/val_3.JPEG").unlink(), ("val_annotations.txt", "val_3.JPEG")),
    "nested": (
        nest,
        ("holds another folder tiny-imagenet-200",),
    ),
    "cut short": (lambda p: cut(p / "val/images/val_3.JPEG"), ("val_3.JPEG", "damaged")),
    "too many": (
        lambda p: shutil.copy(
            p / "train/n01629819/images/n01629819_2.JPEG", p / "train/n01629819/images/n01629819_9.JPEG"
        ),
        ("5 train images of class n01629819 instead of 4",),
    ),
    "empty": (lambda p: (shutil.rmtree(p), p.mkdir()), ("0 classes",)),
    "a file": (lambda p: (shutil.rmtree(p), p.write_text("x")), ("cannot be read",)),
    "text": (lambda p: (p / "val/images/val_2.JPEG").write_text("x" * 99), ("val_2.JPEG", "damaged")),
    "empty image": (lambda p: (p / "val/images/val_2.JPEG").write_bytes(b""), ("val_2.JPEG", "damaged")),
    "wrong size": (
        lambda p: (p / "val/images/val_2.JPEG").write_bytes(datasets.png(datasets.pixels("big", 80, 64, 3))),
        ("80×64 pixels instead of 64×64",),
    ),
    "dangling link": (
        lambda p: (p / "val/images/val_9.JPEG").symlink_to("nowhere"),
        ("val_9.JPEG is a link to nothing",),
    ),
}


@pytest.mark.parametrize("case", BAD_TINY)
def test_bad_tiny_imagenet_folders(root: Path, case: str) -> None:
    place = datasets.tiny_folder(root)
    spoil, words = BAD_TINY[case]
    spoil(place)
    text = message(lambda: sets.load("tinyimagenet", root))
    assert str(place) in text and all(word in text for word in words)


@given(st.binary(max_size=40), st.integers(0, 10**6), st.booleans())
def test_damaged_images_give_pixels_or_a_data_error(noise: bytes, at: int, jpeg: bool) -> None:
    stored = io.BytesIO()
    Image.fromarray(datasets.pixels("fuzz", 32, 32, 3)).save(stored, "JPEG" if jpeg else "PNG")
    content = stored.getvalue()
    at %= len(content)
    damaged = content[:at] + noise + content[at + len(noise) :][: 10 * len(noise)]
    try:
        assert readers.decode(damaged, Path("x")).dtype == np.uint8
    except DataError as error:
        assert "x is damaged" in str(error)


# ------------------------------------------------------------------------------------- what is not there, where


@pytest.mark.parametrize("name", ["cifar10", "tinyimagenet"])
def test_missing_data_names_set_places_and_command(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAPERLIB_DATA", str(root))
    text = message(lambda: sets.load(name), DataMissingError)
    assert known.TITLES[name] in text and f"paperlib data fetch {name}" in text
    assert all(str(place) in text for place in sets.where(name)) and sets.where(name)[0].parent == root
    assert list(root.iterdir()) == []


def test_the_argument_comes_before_the_environment_and_that_before_the_repository(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sets.data_root() == ROOT / "data" / "cache"
    monkeypatch.setenv("PAPERLIB_DATA", "~/somewhere")
    assert sets.data_root() == Path.home() / "somewhere"
    assert sets.data_root(root) == root
    assert [place.name for place in sets.where("cifar10", root)] == [
        "cifar-10-binary.tar.gz", "cifar-10-batches-bin",
    ]  # fmt: skip


@pytest.mark.parametrize("action", [sets.load, sets.where, sets.fetch])
def test_unknown_names_list_the_known(action: Callable[[str], object]) -> None:
    text = message(lambda: action("cifar100"))
    assert "'cifar100'" in text and "sample, photos, cifar10, tinyimagenet" in text


# --------------------------------------------------------------------------------------------------- fetching


class Server:
    """Serves one body at every path and counts the requests; ``cut`` sends only so many bytes of it."""

    def __init__(self) -> None:
        self.body, self.status, self.cut, self.requests, self.length = b"", 200, -1, 0, ""
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests += 1
                self.send_response(outer.status)
                self.send_header("Content-Length", outer.length or str(len(outer.body)))
                self.end_headers()
                self.wfile.write(outer.body[: outer.cut] if outer.cut >= 0 else outer.body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/archive"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of a generated CIFAR-10 archive, whose SHA-256 counts as the published one."""
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    running = Server()
    archive = datasets.cifar_archive(tmp_path)
    running.body = archive.read_bytes()
    publish(monkeypatch, "cifar10", archive, running.url)
    yield running
    running.stop()


def test_fetched_archive_loads_and_is_not_fetched_twice(root: Path, server: Server) -> None:
    folder = root / "not" / "yet"
    path = sets.fetch("cifar10", folder)
    assert path.read_bytes() == server.body and [p.name for p in folder.iterdir()] == [path.name]
    assert sets.fetch("cifar10", folder) == path and server.requests == 1
    assert len(sets.load("cifar10", folder).train_images) == 50


def test_a_broken_archive_is_replaced(root: Path, server: Server) -> None:
    (root / "cifar-10-binary.tar.gz").write_bytes(b"half of it")
    assert sets.fetch("cifar10", root).read_bytes() == server.body
    assert [p.name for p in root.iterdir()] == ["cifar-10-binary.tar.gz"]


@pytest.mark.parametrize("damage", ["flip", "cut", "status", "gone", "length abc", "length 5x", "length 1.5"])
def test_a_failed_download_says_so_and_leaves_nothing(root: Path, server: Server, damage: str) -> None:
    if damage == "flip":
        server.body = server.body[:-1] + bytes([server.body[-1] ^ 1])
    elif damage == "cut":
        server.cut = 5000
    elif damage == "status":
        server.status = 404
    elif damage.startswith("length"):
        server.length = damage.split()[1]
    else:
        server.stop()
    text = message(lambda: sets.fetch("cifar10", root))
    assert server.url in text and str(root / "cifar-10-binary.tar.gz") in text
    if damage == "flip":
        found, right = hashlib.sha256(server.body).hexdigest(), readers.COPIES["cifar10"][0].sha256
        assert found in text and right in text
    assert list(root.iterdir()) == []


def test_a_root_that_cannot_be_written(root: Path, server: Server) -> None:
    (root / "file").write_text("")
    text = message(lambda: sets.fetch("cifar10", root / "file"))
    assert "cannot be written" in text and "PAPERLIB_DATA" in text and server.requests == 0


@pytest.mark.parametrize("name", ["sample", "photos"])
def test_embedded_data_is_not_fetched(name: str) -> None:
    assert "nothing to fetch" in message(lambda: sets.fetch(name))


def test_ilsvrc_is_not_fetched_but_prepared() -> None:
    assert "paperlib data prepare" in message(lambda: sets.fetch("ilsvrc2012"))


def test_only_the_published_archives_are_fetched() -> None:
    for forms in readers.COPIES.values():
        assert (
            [bool(copy.url) for copy in forms]
            == [bool(copy.sha256) for copy in forms]
            == [True] + [False] * (len(forms) - 1)
        )


# ---------------------------------------------------------------------------------------- section 2: prepare()


@given(st.integers(4, 64), st.integers(0, 90), st.booleans())
def test_a_picture_of_the_right_shorter_side_is_only_cut(size: int, extra: int, tall: bool) -> None:
    shape = (size + extra, size) if tall else (size, size + extra)
    array = datasets.pixels(f"{size} {extra}", *shape, 3)
    start = extra // 2
    expected = array[start : start + size] if tall else array[:, start : start + size]
    result = images.prepare(Image.fromarray(array), size)
    assert result.dtype == torch.uint8 and np.array_equal(result.numpy(), expected.transpose(2, 0, 1))


@given(st.integers(40, 700), st.integers(40, 700))
def test_every_pixel_comes_from_the_place_that_section_2_says(width: int, height: int) -> None:
    """Red rises by columns and green by rows of the original, so that a pixel's colour tells where it came from."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    picture = (
        np.stack([255 * x / (width - 1), 255 * y / (height - 1), np.full(x.shape, 77)], -1).round().astype(np.uint8)
    )
    result = images.prepare(Image.fromarray(picture)).numpy().astype(float)
    assert result.shape == (3, 256, 256) and (result[2] == 77).all()
    step = min(width, height) / 256  # original pixels per pixel of the result
    for plane, length, axis in ((result[0], width, 1), (result[1], height, 0)):
        assert np.ptp(plane, axis=1 - axis).max() == 0
        line = plane.take(0, axis=1 - axis)
        centres = length / 2 + (np.arange(256) + 0.5 - 128) * step - 0.5  # the centre stays the centre
        inside = (centres > step + 1) & (centres < length - 2 - step)  # where the filter does not meet the border
        slack = 255 / (length - 1) * step + 1  # rounding: one pixel of the result, one grey level
        assert np.abs(line - 255 * centres / (length - 1))[inside].max() <= slack


def test_prepare_turns_grey_cmyk_and_transparent_pictures_into_rgb() -> None:
    grey = datasets.pixels("grey", 64, 96)
    result = images.prepare(Image.fromarray(grey), 64)
    assert all(np.array_equal(plane, grey[:, 16:80]) for plane in result.numpy())
    colour = Image.fromarray(np.full((64, 64, 3), (200, 30, 90), np.uint8))
    for other in (colour.convert("RGBA"), colour.convert("CMYK"), colour.quantize(4)):
        assert np.abs(images.prepare(other, 64).numpy().astype(int) - [[[200]], [[30]], [[90]]]).max() <= 1


def test_prepare_keeps_the_shades_of_sixteen_bits() -> None:
    """Pillow alone would cut everything above 255 off: a ramp came out white."""
    ramp = np.linspace(0, 65535, 64 * 64).round().astype(np.uint16).reshape(64, 64)
    for form in ("PNG", "TIFF"):
        stored = io.BytesIO()
        Image.fromarray(ramp).save(stored, form)
        result = images.prepare(Image.open(stored), 64).numpy()
        assert np.abs(result - ramp / 257).max() <= 0.5 + 1e-9
    flat = images.prepare(Image.fromarray(np.full((9, 9), 40_000, np.int32)), 9)
    assert flat.unique().tolist() == [round(40_000 / 257)]


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.zeros((9, 9), np.float32), "fractions of unknown range"),
        (np.full((9, 9), 2**20, np.int32), "more than 16 bits"),
        (np.full((9, 9), -1, np.int32), "more than 16 bits"),
        (np.zeros((1, 20_000), np.uint8), r"20000 × 1 pixels are too long \(max 100:1\)"),
    ],
    ids=["fractions", "deep", "negative", "long"],
)
def test_prepare_refuses_what_no_picture_is(pixels: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words):
        images.prepare(Image.fromarray(pixels))


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 1), (8, 3)])
def test_prepare_turns_a_picture_upright(orientation: int, turns: int) -> None:
    upright = datasets.pixels("exif", 64, 64, 3)
    lying = Image.fromarray(np.rot90(upright, turns).copy())
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = io.BytesIO()
    lying.save(stored, "PNG", exif=exif)
    assert np.array_equal(images.prepare(Image.open(stored), 64).numpy(), upright.transpose(2, 0, 1))


# --------------------------------------------------------------------- mean image and the covariance of colours


@given(st.integers(1, 40), st.integers(1, 3), st.integers(0, 99))
def test_mean_image_is_the_rounded_true_mean(n: int, channels: int, seed: int) -> None:
    images = datasets.pixels(f"mean {seed}", n, channels, 5, 4)
    expected = images.astype(np.float64).mean(0).astype(np.float32)
    result = data_images.mean_image(torch.from_numpy(images))
    assert result.dtype == torch.float32 and np.allclose(result.numpy(), expected, rtol=2e-7, atol=0)


def test_mean_image_over_more_than_one_chunk() -> None:
    images = torch.zeros(2500, 1, 2, 2, dtype=torch.uint8)
    images[1024:] = 255
    assert data_images.mean_image(images).flatten().tolist() == pytest.approx([255 * 1476 / 2500] * 4)


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=8))
def test_colour_covariance_is_numpys_whatever_the_parts(shapes: list[tuple[int, int, int]]) -> None:
    parts = [torch.from_numpy(datasets.pixels(f"cov {i}", n, 3, h, w)) for i, (n, h, w) in enumerate(shapes)]
    flat = np.concatenate([part.numpy().transpose(1, 0, 2, 3).reshape(3, -1) for part in parts], 1)
    expected = np.cov(flat, bias=True)
    streamed = images.colour_covariance(iter(parts))
    assert streamed.dtype == torch.float64 and np.allclose(streamed.numpy(), expected, rtol=1e-9, atol=1e-9)
    singles = [image for part in parts for image in part]
    assert torch.equal(streamed, images.colour_covariance(singles))
    assert torch.equal(streamed, images.colour_covariance(parts[::-1]))


def test_colour_covariance_of_a_tensor_and_of_one_colour() -> None:
    images = torch.from_numpy(datasets.pixels("tensor", 300, 3, 4, 4))
    assert torch.equal(data_images.colour_covariance(images), data_images.colour_covariance([images[:7], images[7:]]))
    flat = torch.empty(5, 3, 8, 8, dtype=torch.uint8)
    flat[:] = torch.tensor([255, 3, 128], dtype=torch.uint8)[None, :, None, None]
    assert torch.equal(data_images.colour_covariance(flat), torch.zeros(3, 3, dtype=torch.float64))


@pytest.mark.parametrize(
    "bad", [torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(3, 4, dtype=torch.uint8)]
)
def test_colours_of_anything_else_are_refused(bad: torch.Tensor) -> None:
    message(lambda: images.colour_covariance([bad]))
    message(lambda: images.colour_covariance([]))
    message(lambda: images.mean_image(bad.flatten()))


@given(st.integers(0, 10**6))
def test_colour_pca_is_an_eigendecomposition(seed: int) -> None:
    pixels = np.random.default_rng(seed).normal(size=(3, 50)) * [[90], [40], [7]]
    covariance = np.cov(pixels, bias=True)
    values, vectors = images.colour_pca(torch.from_numpy(covariance))
    assert np.allclose(values.numpy(), np.linalg.eigvalsh(covariance)[::-1])
    assert np.allclose(vectors @ torch.diag(values) @ vectors.T, covariance)
    assert np.allclose(vectors.T @ vectors, np.eye(3))
    assert all(column[column.abs().argmax()] > 0 for column in vectors.T)
