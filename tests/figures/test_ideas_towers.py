"""The pictures of notebook 03."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from matplotlib.text import Annotation
from torch import Tensor, nn

from paperlib.experiments import declared
from paperlib.figures import ideas_towers
from paperlib.training.towers import bytes_exchanged


def test_memory_bars_end_at_the_sum_and_at_half_of_it() -> None:
    drawing = ideas_towers.memory({"weights": 1.0, "activations": 3.0}, card=8.0)
    ends = [bar.get_x() + bar.get_width() for bar in drawing.figure.axes[0].patches]
    assert ends == [0.5, 1.0, 2.0, 4.0]
    assert "fills 50 % of one card" in drawing.caption and "Whole net: 4.00, of it weights 1.00" in drawing.alt


def test_wiring_is_that_of_the_groups() -> None:
    """Where the convolution above has one group its units read both towers, where it has two only their own."""
    experiment = declared.get("towers", "sample")
    model = experiment.recipe("baseline").model
    for where, both in (("conv3", ["conv3", "fc6", "fc7", "fc8"]), ("never", ["fc8"])):
        wires = ideas_towers.wiring(replace(model, communication=where), experiment.sizes)
        assert ideas_towers.crossings(wires) == both and len(wires) == 7
        own = [[True, False], [False, True]]
        assert all(reads == own for (_, above), reads in wires.items() if above not in both)
        drawing = ideas_towers.who_reads_whom({where: wires})
        lines = len(drawing.figure.axes[0].lines)
        assert lines == 2 * 7 + 2 * len(both) and f"read by {', '.join(both)}" in drawing.alt


class Towers(nn.Module):
    """Says class 0 if the first tower's map is larger, else class 1."""

    def __init__(self) -> None:
        super().__init__()
        self.act5 = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.act5(x).mean((2, 3)).chunk(2, dim=1)
        return torch.cat([first, second], dim=1)


def test_a_silenced_tower_is_zero_only_while_it_is_asked_for() -> None:
    net, crops, labels = Towers(), torch.ones(4, 2, 3, 3), torch.tensor([0, 0, 0, 1])
    crops[:3, 0] = 2.0  # three images of class 0
    crops[3, 1] = 2.0
    for tower, expected in ((None, [0, 0]), (0, [100, 0]), (1, [0, 100])):
        assert ideas_towers.errors_by_class(net, crops, labels, tower).tolist() == expected
    assert not net.act5._forward_hooks


def test_the_work_of_two_towers_by_class() -> None:
    errors = {"two": torch.tensor([10.0, 20.0]), "without 1": torch.tensor([90.0, 30.0]), "2": torch.tensor([5.0, 6.0])}
    drawing = ideas_towers.shared_work(errors, ["shirt", "boot"])
    heights = [bar.get_height() for bar in drawing.figure.axes[0].patches]
    assert heights == pytest.approx([10, 20, 90, 30, 5, 6]) and list(drawing.data["class"]) == ["shirt", "boot"]


def test_the_exchange_has_as_many_bytes_as_the_formula() -> None:
    """Forward and backward together: what one process sends at conv3 in an update."""
    experiment = declared.get("towers", "sample")
    model = experiment.recipe("baseline").model
    drawing = ideas_towers.exchange(32, experiment.sizes.kernels[1] // 2, experiment.sizes.crop // 4, 8)
    assert drawing.data["bytes"].sum() == bytes_exchanged(model, experiment.sizes, 32, itemsize=8)["conv3"]
    for axes, start in zip(drawing.figure.axes, ("left", "right"), strict=True):
        arrows = [a for a in axes.texts if isinstance(a, Annotation)]
        assert len(arrows) == 4 and all((a.xyann[0] < a.xy[0]) == (start == "left") for a in arrows)
