"""The scales: on what data, and with a net of which size, an experiment is run."""

from __future__ import annotations

from dataclasses import dataclass, replace

from paperlib.nets.sizes import EVIDENCE_SIZES, FULL_SIZES, SAMPLE_SIZES, TINY_SIZES
from paperlib.recipe import Sizes, Stop


@dataclass(frozen=True)
class Scale:
    """A data set and the net that is usually trained on it.

    ``proxy``: the paper reports nothing on these data. ``sweep`` is how long one learning rate is tried, None where no
    sweep is declared.
    """

    name: str
    title: str
    sizes: Sizes
    proxy: bool = True
    sweep: Stop | None = None

    def label(self, proxy: bool = False) -> str:
        """The title, with the word proxy where the scale is one, or the result shown is (``proxy``)."""
        return f"{self.title} (proxy)" if proxy or self.proxy else self.title


PHOTO_SIZES = replace(SAMPLE_SIZES, side=32, channels=3, classes=8)
SCALES = {
    scale.name: scale
    for scale in (
        Scale("sample", "Fashion-MNIST sample", SAMPLE_SIZES, sweep=Stop(epochs=4, window=26)),
        Scale("photos", "photo patches", PHOTO_SIZES, sweep=Stop(epochs=8, window=25)),
        Scale("cifar10", "CIFAR-10", EVIDENCE_SIZES, proxy=False, sweep=Stop(epochs=3, window=390)),
        Scale("tinyimagenet", "Tiny ImageNet", TINY_SIZES),
        Scale("ilsvrc2012", "ILSVRC-2012", FULL_SIZES, proxy=False),
    )
}
"""By name, the smallest first."""
LARGEST_FIRST = tuple(reversed(SCALES))
