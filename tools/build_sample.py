"""Rebuild data/sample/fashion-mnist from the original Fashion-MNIST files.

    python tools/build_sample.py ORIGINALS [--out FOLDER]

ORIGINALS holds the four files of Zalando's Fashion-MNIST (train-images-idx3-ubyte.gz and so on); on Debian,
`apt-get install dataset-fashion-mnist` puts them into /usr/share/datasets/fashion-mnist.

The rule, free of random numbers: in each split and class, sort the distinct images by the SHA-256 of their pixels
and keep the first (1,000 for training, 200 for testing; a test image that is also a training image of the
sample is passed over). Block j of the result holds the j-th image of each class, the classes of a block in the order
of `readers.interleaved`. Files are gzipped without name or time, so that building twice gives the same bytes
(with the same zlib; otherwise the unpacked bytes agree).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import sys
from pathlib import Path

import torch

from paperlib.data.images import DataError
from paperlib.data.readers import interleaved, read_idx
from paperlib.data.sample import SAMPLE
from paperlib.errors import PaperlibError

SPLITS = {"train": 1000, "t10k": 200}
"""Split, as its files are named -> images kept of each class."""


def idx_bytes(array: torch.Tensor) -> bytes:
    """A uint8 array as an IDX file: magic, sizes (big-endian), bytes."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.numpy().tobytes()


def select(images: torch.Tensor, labels: torch.Tensor, per_class: int, taken: set[bytes]) -> list[int]:
    """Indices of the images kept, in the order of the sample; their digests are added to ``taken``."""
    digests = [hashlib.sha256(image.numpy().tobytes()).digest() for image in images]
    chosen: list[list[int]] = []
    for label in range(int(labels.max()) + 1):
        first = {digests[i]: i for i in reversed(torch.nonzero(labels == label).flatten().tolist())}
        kept = sorted(first.keys() - taken)[:per_class]
        if len(kept) < per_class:
            raise DataError(f"class {label} of the originals has {len(kept)} distinct images, fewer than {per_class}")
        taken.update(kept)
        chosen.append([first[digest] for digest in kept])
    return [chosen[label][j] for label, j in interleaved([per_class] * len(chosen))]


def build(originals: Path, out: Path, splits: dict[str, int] | None = None) -> list[Path]:
    """Write the four files of the sample to ``out`` and return their paths; all originals are read before."""
    files: dict[str, bytes] = {}
    taken: set[bytes] = set()
    for split, per_class in (splits or SPLITS).items():
        images = read_idx(originals / f"{split}-images-idx3-ubyte.gz")
        labels = read_idx(originals / f"{split}-labels-idx1-ubyte.gz")
        if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
            raise DataError(f"{originals} holds {split} images and labels that do not belong together")
        order = select(images, labels, per_class, taken)
        files[f"{split}-images-idx3-ubyte.gz"] = idx_bytes(images[order])
        files[f"{split}-labels-idx1-ubyte.gz"] = idx_bytes(labels[order])
    out.mkdir(parents=True, exist_ok=True)
    for name, raw in files.items():
        (out / name).write_bytes(gzip.compress(raw, compresslevel=9, mtime=0))
    return [out / name for name in files]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Rebuild the Fashion-MNIST sample from its originals.")
    parser.add_argument("originals", type=Path)
    parser.add_argument("--out", type=Path, default=SAMPLE / "fashion-mnist")
    arguments = parser.parse_args(argv)
    try:
        for path in build(arguments.originals, arguments.out):
            print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}")
    except (PaperlibError, OSError) as error:
        print(f"build_sample: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
