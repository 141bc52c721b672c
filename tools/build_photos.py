"""Rebuild data/sample/photos from the photographs that scikit-image, scikit-learn and SciPy ship.

    python tools/build_photos.py FOLDER [FOLDER …] [--out FOLDER]

The FOLDERs hold the originals, each looked for by its name: skimage/data of scikit-image 0.26, sklearn/datasets/images
of scikit-learn 1.9, and, for the raccoon, scipy/misc of SciPy 1.9 (face.dat; the same file is what scipy.datasets.face
downloads today). Authors and licences are in data/README.md.

Each picture is scaled so that its shorter side is at most 400 pixels (Lanczos) and stored as a JPEG of quality 90
without chroma subsampling or any metadata. Another version of Pillow may write other bytes for the same picture.
"""

from __future__ import annotations

import argparse
import bz2
import hashlib
import io
import sys
from pathlib import Path

from PIL import Image

from paperlib.data.images import DataError, DataMissingError
from paperlib.data.sample import SAMPLE
from paperlib.errors import PaperlibError

ORIGINALS = {
    "astronaut": "astronaut.png",
    "chelsea": "chelsea.png",
    "china": "china.jpg",
    "coffee": "coffee.png",
    "flower": "flower.jpg",
    "raccoon": "face.dat",
    "retina": "retina.jpg",
    "rocket": "rocket.jpg",
}
"""Name of the photograph -> name of the original file."""

SHORTER = 400
FACE_SIZE = (1024, 768)


def open_original(folders: list[Path], file: str) -> Image.Image:
    """The original as an RGB picture; face.dat is bzip2 over raw RGB rows."""
    path = next((folder / file for folder in folders if (folder / file).is_file()), None)
    if path is None:
        raise DataMissingError(f"the original {file} is in none of {', '.join(map(str, folders))}")
    try:
        if path.suffix == ".dat":
            return Image.frombytes("RGB", FACE_SIZE, bz2.decompress(path.read_bytes()))
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, EOFError, SyntaxError, ValueError) as error:
        raise DataError(f"the original {path} is damaged or cut short ({error}): get it again") from None


def reduce(image: Image.Image) -> bytes:
    """The picture with its shorter side at most ``SHORTER``, as a JPEG."""
    scale = min(1.0, SHORTER / min(image.size))
    width, height = (round(side * scale) for side in image.size)
    small = image if scale == 1.0 else image.resize((width, height), Image.Resampling.LANCZOS)
    stored = io.BytesIO()
    Image.frombytes("RGB", small.size, small.tobytes()).save(stored, "JPEG", quality=90, subsampling=0, optimize=True)
    return stored.getvalue()


def build(folders: list[Path], out: Path) -> list[Path]:
    """Write all photographs to ``out`` and return their paths; all originals are read before."""
    files = {f"{name}.jpg": reduce(open_original(folders, original)) for name, original in ORIGINALS.items()}
    out.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (out / name).write_bytes(data)
    return [out / name for name in files]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Rebuild the photographs of the sample from their originals.")
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=SAMPLE / "photos")
    arguments = parser.parse_args(argv)
    try:
        for path in build(arguments.folders, arguments.out):
            print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}")
    except (PaperlibError, OSError) as error:
        print(f"build_photos: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
