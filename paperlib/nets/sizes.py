"""The sizes of the nets: the paper's own, and the small copies that the evidence is made on."""

from __future__ import annotations

from dataclasses import replace

from paperlib.recipe import Sizes

FULL_SIZES = Sizes()  # Section 3.5: 224x224 crops of 256x256 colour images, 1000 classes; sides 55, 27, 13, 6

EVIDENCE_SIZES = Sizes(
    side=32, crop=24, classes=10, kernels=(24, 64, 96, 96, 64), kernel_sizes=(5, 5, 3, 3, 3),
    strides=(1, 1, 1, 1, 1), pads=(2, 2, 1, 1, 1), pool_pads=(1, 1, 1), fc=512,
)  # fmt: skip
"""A quarter of the kernels, for 24x24 crops of 32x32 colour images; sides 24, 12, 6, 3."""

SAMPLE_SIZES = replace(EVIDENCE_SIZES, side=28, channels=1, kernels=(12, 32, 48, 48, 32), fc=256)
"""Half of the evidence net, for 24x24 crops of 28x28 grey images."""

TINY_SIZES = Sizes(
    side=64, crop=56, classes=200, kernels=(48, 128, 192, 192, 128), kernel_sizes=(7, 5, 3, 3, 3),
    strides=(2, 1, 1, 1, 1), pads=(3, 2, 1, 1, 1), pool_pads=(1, 1, 0), fc=2048,
)  # fmt: skip
"""Half of the kernels, for 56x56 crops of the 64x64 images of Tiny ImageNet; sides 28, 14, 7, 3."""


def widened(sizes: Sizes, width: float) -> Sizes:
    """``sizes`` with every hidden layer ``width`` times as wide, rounded to an even number (two towers)."""
    if width == 1:
        return sizes
    even = [2 * max(1, round(units * width / 2)) for units in (*sizes.kernels, sizes.fc)]
    return replace(sizes, kernels=tuple(even[:-1]), fc=even[-1])


CIFAR_SIZES = Sizes(side=32, crop=32, classes=10, kernels=(32, 32, 64), fc=64)
"""The four-layer nets as cuda-convnet has them."""

VGG_FULL_SIZES = Sizes(
    kernels=(64, 128, 256, 512, 512), kernel_sizes=(3,) * 5, strides=(1,) * 5, pads=(1,) * 5, pool_pads=(0,) * 5
)  # fmt: skip
"""Net A itself; ``kernels`` are those of its five stages."""

VGG_EVIDENCE_SIZES = replace(VGG_FULL_SIZES, side=32, crop=24, classes=10, kernels=(32, 64, 96, 128, 128), fc=512)
"""For 24x24 crops of 32x32 colour images; sides 24, 12, 6, 3, 3."""

VGG_SAMPLE_SIZES = replace(VGG_EVIDENCE_SIZES, side=28, channels=1, kernels=(16, 32, 48, 64, 64), fc=256)
"""Half of that, for 24x24 crops of 28x28 grey images."""
