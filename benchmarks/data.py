"""Training batches from prepared 256x256 images on the disk: packed in one file, against a folder of JPEG files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.augment import PerImageColour
from benchmarks.timing import ROUNDS, Result, compare, seconds
from paperlib.data import pack, packed
from paperlib.data.augment import Augmenter
from paperlib.data.images import colour_pca
from paperlib.nets.sizes import FULL_SIZES
from paperlib.recipe import Recipe

IMAGES, BATCH, CLASSES = 512, 128, 4
WORKERS = 2
KINDS: dict[packed.Store, str] = {"jpeg": "JPEG", "raw": "uint8"}
AIMS: dict[packed.Store, float] = {"jpeg": 3.0, "raw": 6.0}


def made_up(folder: Path, n: int, split: str = "train") -> None:
    """``n`` JPEG files ``<split>/<class>/``, as preparation writes them: smooth colours with grain, so that one takes
    about as many bytes as a photograph.
    """
    draw = torch.Generator().manual_seed(0)
    for i in range(n):
        coarse = 255 * torch.rand(1, 3, 24, 24, generator=draw)
        pixels = F.interpolate(coarse, size=(256, 256), mode="bicubic")[0] + 2 * torch.randn(256, 256, generator=draw)
        file = folder / split / f"class{i % CLASSES}" / f"{i}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(pixels.clamp(0, 255).byte().permute(1, 2, 0).numpy())
        picture.save(file, quality=95, subsampling=0)


def loader_of(folder: Path, batch: int, mean: Tensor, pca: tuple[Tensor, Tensor]) -> DataLoader[tuple[Tensor, Tensor]]:
    """What ports have: an image at a time through torchvision's transforms, in WORKERS processes that stay."""
    from torchvision.datasets import ImageFolder  # here: torchvision imports torch's compiler
    from torchvision.transforms import v2

    steps = [
        v2.RandomCrop(224), v2.RandomHorizontalFlip(), v2.PILToTensor(), v2.ToDtype(torch.float32),
        v2.Normalize(mean.tolist(), [1.0, 1.0, 1.0]), PerImageColour(pca[0].float() / 255, pca[1].float()),
    ]  # fmt: skip
    images = ImageFolder(str(folder / "train"), v2.Compose(steps))
    return DataLoader(images, batch, shuffle=True, drop_last=True, num_workers=WORKERS, persistent_workers=True)


def compared(files: Path, folder: Path, store: packed.Store, batch: int, rounds: int) -> Result:
    """An epoch of the images of ``files``, prepared into ``folder``."""
    pack.prepare_folder(files, folder, store=store, jobs=1, progress=False)
    data = packed.open_packed(folder, threads=os.cpu_count() or 1)
    n = len(data.train)
    augmenter = Augmenter(Recipe.paper().augment, FULL_SIZES, data.train, data.sums.statistics())
    augmenter.start_epoch(0, 0, n)
    batches = torch.randperm(n)[: n // batch * batch].split(batch)
    mean, pca = data.sums.mean_image().mean((1, 2)), colour_pca(data.sums.colour_covariance())
    loader = loader_of(files, batch, mean, pca)

    def ours() -> None:
        for rows in batches:
            augmenter.train_batch(data.train[rows], rows)

    def theirs() -> None:
        for _ in loader:
            pass

    def decoding() -> None:
        for rows in batches:
            data.train[rows]

    return compare(
        f"training batches of {batch} from {KINDS[store]} packed in one file",
        f"ImageFolder of JPEG, transforms an image at a time, DataLoader with {WORKERS} workers",
        ours, theirs, aim=AIMS[store], reference=min(seconds(decoding) for _ in range(3)), rounds=rounds,
        images=len(batches) * batch,
    )  # fmt: skip


def run(n: int = IMAGES, batch: int = BATCH, rounds: int = ROUNDS) -> Iterator[Result]:
    """Crop, mirror, colour noise, the mean subtracted; nothing is trained on the batches.

    The files are in memory for both, as they were just written. Decoding alone is ours: each batch's images, read.
    """
    with tempfile.TemporaryDirectory() as name:
        files = Path(name) / "files"
        made_up(files, n)
        for store in KINDS:
            yield compared(files, Path(name) / store, store, batch, rounds)
