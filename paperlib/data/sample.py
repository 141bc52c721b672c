"""The embedded data: a sample of Fashion-MNIST and patches of photographs."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

import torch
from torch import Tensor

from paperlib.data import readers
from paperlib.data.images import DataChecksumError, DataMissingError, Dataset
from paperlib.data.known import FINGERPRINTS, TITLES
from paperlib.data.readers import interleaved, read_idx
from paperlib.files import ROOT, needs_checkout

SAMPLE = ROOT / "data" / "sample"
"""The embedded data; ``data/README.md`` says where it comes from."""

FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
FASHION_FILES = tuple(
    f"fashion-mnist/{split}-{kind}-ubyte.gz" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
)
PHOTOS = ("astronaut", "chelsea", "china", "coffee", "flower", "raccoon", "retina", "rocket")
TILE, PATCH = 80, 32
TRAIN_PATCHES, TEST_PATCHES = 400, 100


def _embedded(rule: str, name: str, files: Sequence[str]) -> str:
    """The fingerprint of embedded files; each is checked against ``data/sample/SHA256SUMS``, so that errors name it."""
    needs_checkout()
    restore = "restore it with `git checkout data/sample`"
    found = {}
    for file in ("SHA256SUMS", *files):
        if not (SAMPLE / file).is_file():
            raise DataMissingError(f"{SAMPLE / file}, part of the embedded data, is missing: {restore}")
        found[file] = hashlib.sha256((SAMPLE / file).read_bytes()).hexdigest()
    lines = (SAMPLE / "SHA256SUMS").read_text(encoding="utf-8", errors="replace").splitlines()
    expected = {file: checksum for checksum, _, file in (line.partition("  ") for line in lines)}
    del found["SHA256SUMS"]
    for file in files:
        if found[file] != (right := expected.get(file)):
            raise DataChecksumError(
                f"{SAMPLE / file} is cut short or altered (SHA-256 {found[file]} instead of {right}): {restore}"
            )
    fingerprint = readers.fingerprint(rule, found)
    if fingerprint not in FINGERPRINTS[name].values():
        raise DataChecksumError(f"{SAMPLE / 'SHA256SUMS'} is altered: {restore}")
    return fingerprint


def load_sample() -> Dataset:
    """The sample of Fashion-MNIST: 10,000 training and 2,000 test images, 1 × 28 × 28."""
    fingerprint = _embedded("sample idx 1", "sample", FASHION_FILES)
    images, labels, test_images, test_labels = (read_idx(SAMPLE / file) for file in FASHION_FILES)
    return Dataset(
        "sample", TITLES["sample"], images[:, None], labels.long(), test_images[:, None], test_labels.long(),
        FASHION_CLASSES, fingerprint,
    )  # fmt: skip


def photographs() -> dict[str, Tensor]:
    """The embedded photographs, name -> uint8 (3, H, W); ``data/README.md`` names their authors and licences."""
    needs_checkout()
    return {
        name: torch.from_numpy(readers.decode(path.read_bytes(), path).copy())
        for name, path in ((name, SAMPLE / f"photos/{name}.jpg") for name in PHOTOS)
    }


def patch_places(name: str, height: int, width: int, test: bool) -> list[tuple[int, int, int]]:
    """Where the patches of a photograph are cut: (top, left, side), in pixels; the side is 32 or 64.

    The photograph is divided into tiles of 80 × 80 pixels. Every fifth tile (a knight's move apart) gives the test
    patches. No patch crosses the border of a tile, so training and test patches share no pixel.
    """
    grid = [(row, col) for row in range(height // TILE) for col in range(width // TILE)]
    tiles = [(row, col) for row, col in grid if ((2 * row + col) % 5 == 2) == test]
    rng = random.Random(f"{name} {'test' if test else 'train'}")
    places = []
    for k in range(TEST_PATCHES if test else TRAIN_PATCHES):
        row, col = tiles[k % len(tiles)]
        side = PATCH * (1 + k // len(tiles) % 2)
        top, left = (int(rng.random() * (TILE - side + 1)) for _ in range(2))
        places.append((row * TILE + top, col * TILE + left, side))
    return places


def load_photos() -> Dataset:
    """32 × 32 patches, class = photograph; those cut at 64 × 64 are halved by averaging squares of four pixels."""
    fingerprint = _embedded("photos patches 1", "photos", [f"photos/{name}.jpg" for name in PHOTOS])
    pictures = photographs()

    def split(test: bool) -> tuple[Tensor, Tensor]:
        places = [patch_places(name, picture.shape[1], picture.shape[2], test) for name, picture in pictures.items()]
        order = interleaved([len(p) for p in places])
        patches = [_patch(pictures[PHOTOS[label]], *places[label][j]) for label, j in order]
        return torch.stack(patches), torch.tensor([label for label, _ in order])

    return Dataset("photos", TITLES["photos"], *split(test=False), *split(test=True), PHOTOS, fingerprint)


def _patch(picture: Tensor, top: int, left: int, side: int) -> Tensor:
    patch, s = picture[:, top : top + side, left : left + side], side // PATCH
    if s == 1:
        return patch
    sums = patch.reshape(3, PATCH, s, PATCH, s).sum((2, 4), dtype=torch.int32)
    return ((sums + s * s // 2) // (s * s)).to(torch.uint8)
