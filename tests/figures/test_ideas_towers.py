"""The pictures of notebook 03."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import pytest
import torch
from matplotlib.text import Annotation
from torch import nn

from paperlib import nets
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


def test_rivals_have_their_parameters_and_meet_where_their_layers_have_one_group() -> None:
    towers, uncut = declared.get("towers", "sample"), declared.get("towers-uncut", "sample")
    models = {arm: of.recipe(arm).model for of, arm in ((towers, "one tower"), (uncut, "baseline"), (uncut, "uncut"))}
    drawing = ideas_towers.rivals({name: (model, towers.sizes) for name, model in models.items()})
    for name, of in drawing.data.groupby("net"):
        net = nets.build(models[str(name)], towers.sizes, seed=0)
        assert {*of["parameters"]} == {sum(p.numel() for p in net.parameters())}
        both = {"one tower": 0, "baseline": 4, "uncut": 7}[str(name)]  # all of conv2 to fc8, or conv3 and fc6 to fc8
        assert of["reads the other tower"].sum() == both
    assert "uncut: conv2, conv3, conv4, conv5, fc6, fc7, fc8" in drawing.alt


def test_a_silenced_half_of_conv5_is_zero() -> None:
    """A net that says class 0 if the first tower's map is larger, else class 1."""
    net = nn.Sequential(OrderedDict(act5=nn.ReLU(), mean=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten()))
    crops, labels = torch.ones(4, 2, 3, 3), torch.tensor([0, 0, 0, 1])
    crops[:3, 0] = 2.0  # three images of class 0
    crops[3, 1] = 2.0
    found = ideas_towers.errors_by_class(net, crops, labels, [(), {0}, [1]])
    assert found.tolist() == [[0, 0], [100, 0], [0, 100]]
    assert ideas_towers.apart(found[1:]).tolist() == [100]


def test_random_halves_have_as_many_maps_of_each_tower_and_come_in_pairs() -> None:
    halves = ideas_towers.random_halves(32, 10)
    assert len(halves) == 20 and len({frozenset(half) for half in halves}) == 20
    for one, other in zip(halves[::2], halves[1::2], strict=True):
        assert one | other == set(range(32)) and not one & other
        assert sum(each < 16 for each in one) == 8 == sum(each >= 16 for each in one)


def test_the_work_of_two_towers_by_class() -> None:
    errors = {"two": torch.tensor([10.0, 20.0]), "without 1": torch.tensor([90.0, 30.0]), "2": torch.tensor([5.0, 6.0])}
    control = torch.tensor([[1.0, 2.0], [3.0, 4.0], [2.0, 3.0]])
    drawing = ideas_towers.shared_work(errors, control, ["shirt", "boot"])
    axes = drawing.figure.axes[0]
    heights = [bar.get_height() for bar in axes.patches]
    assert heights == pytest.approx([10, 20, 90, 30, 5, 6]) and list(drawing.data["class"]) == ["shirt", "boot"]
    dots = axes.collections[0].get_offsets()
    assert [(round(float(x)), y) for x, y in dots] == [(0, 1), (0, 3), (0, 2), (1, 2), (1, 4), (1, 3)]
    assert drawing.data["highest"].tolist() == [3, 4]


def test_towers_are_counted_against_their_random_halves() -> None:
    halves = torch.tensor([20.0, 30.0, 50.0])
    drawing = ideas_towers.gaps({"one": (torch.tensor(40.0), halves), "two": (torch.tensor(10.0), halves)})
    assert "by 10 to 40 points" in drawing.caption and "2 of 6 random pairs of the recorded nets" in drawing.caption
    assert drawing.data["random halves"].tolist() == pytest.approx([33.3, 33.3])
    both = ideas_towers.gaps({"live, seed 0": (torch.tensor(40.0), halves), "two": (torch.tensor(25.0), halves)})
    assert "; 1 of 3 random pairs" in both.caption  # the live net has the seed of a recorded one


def test_the_exchange_has_as_many_bytes_as_the_formula() -> None:
    """Forward and backward together: what one process sends at conv3 in an update."""
    experiment = declared.get("towers", "sample")
    model = experiment.recipe("baseline").model
    drawing = ideas_towers.exchange(32, experiment.sizes.kernels[1] // 2, experiment.sizes.crop // 4, 8)
    assert drawing.data["bytes"].sum() == bytes_exchanged(model, experiment.sizes, 32, itemsize=8)["conv3"]
    for axes, start in zip(drawing.figure.axes, ("left", "right"), strict=True):
        arrows = [a for a in axes.texts if isinstance(a, Annotation)]
        assert len(arrows) == 4 and all((a.xyann[0] < a.xy[0]) == (start == "left") for a in arrows)
