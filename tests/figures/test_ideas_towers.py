"""The pictures of notebook 03."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from paperlib.experiments import declared
from paperlib.figures import ideas_towers
from paperlib.training.loop import Trained


def test_memory_bars_end_at_the_sum_and_at_half_of_it() -> None:
    drawing = ideas_towers.memory({"weights": 1.0, "activations": 3.0}, card=8.0)
    ends = [bar.get_x() + bar.get_width() for bar in drawing.figure.axes[0].patches]
    assert ends == [0.5, 1.0, 2.0, 4.0]
    assert "fills 50 % of one card" in drawing.caption and "Whole net: 4.00, of it weights 1.00" in drawing.alt


def test_wiring_is_that_of_the_groups() -> None:
    """Where the convolution above has one group its units read both towers, where it has two only their own."""
    experiment = declared.get("towers", "sample")
    model = experiment.recipe("baseline").model
    for where, both in (("conv3", ["conv3", "fc6", "fc7"]), ("never", [])):
        wires = ideas_towers.wiring(replace(model, communication=where), experiment.sizes)
        assert ideas_towers.crossings(wires) == both and len(wires) == 6
        own = [[True, False], [False, True]]
        assert all(reads == own for (_, above), reads in wires.items() if above not in both)
        drawing = ideas_towers.who_reads_whom({where: wires})
        lines = len(drawing.figure.axes[0].lines)
        assert lines == 2 * 6 + 2 * len(both) and f"read by {', '.join(both) or 'no layer'}" in drawing.alt


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
    assert ideas_towers.error_without(net, crops, labels, None) == 0
    assert ideas_towers.error_without(net, crops, labels, 0) == 75
    assert ideas_towers.error_without(net, crops, labels, 1) == 25
    assert not net.act5._forward_hooks


def test_one_tower_against_two() -> None:
    run = declared.get("towers", "sample").run("baseline", 0, "x")
    windows = [{"kind": "window", "step": 26, "train_error": 40.0}]
    live = {name: Trained(nn.Identity(), [{"kind": "run", "config": run.config}, *windows]) for name in ("a", "b")}
    drawing = ideas_towers.one_against_two(
        live, {"a": 30.0, "a, without tower 1": 60.0, "a, without 2": 70.0, "b": 35.0}
    )
    left, right = drawing.figure.axes
    assert [line.get_ydata().tolist() for line in left.lines] == [[40], [40]]
    assert [bar.get_width() for bar in right.patches] == pytest.approx([35, 70, 60, 30])
