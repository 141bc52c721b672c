"""The pictures of notebook 02."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from paperlib.data import sets
from paperlib.experiments import declared
from paperlib.figures import ideas_relu
from paperlib.training.loop import Trained


def test_slopes_are_those_of_the_formulas() -> None:
    table = ideas_relu.slopes().data
    x = table["x"].to_numpy()
    assert np.allclose(table["tanh slope"], 1 - np.tanh(x) ** 2, atol=1e-6)
    assert table["sigmoid slope"].max() == pytest.approx(0.25)
    assert (table["relu slope"] == (x > 0)).all()


def small_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def test_signals_are_inputs_of_units_and_gradients_of_weights() -> None:
    net, x, y = small_net(), torch.randn(5, 3), torch.tensor([0, 1, 0, 1, 1])
    found = ideas_relu.signals_of(net, x, y)
    nn.functional.cross_entropy(net(x), y).backward()
    for name, layer in (("0", net[0]), ("2", net[2])):
        z, gradient = found[name]
        assert torch.allclose(gradient, layer.weight.grad) and not z.requires_grad
    assert torch.equal(found["0"][0], net[0](x).detach()) and not net[0]._forward_hooks


def test_first_signals_are_far_larger_with_matched_weights_on_raw_pixels() -> None:
    """By a factor of the ratio of the weights' deviations: conv1 reads the same pixels in both settings."""
    frame = ideas_relu.first_signals(sets.load("sample"), ("2012", "2012+init"), n=32)
    by = frame.set_index(["setting", "unit", "layer"]).sort_index()
    sizes = {s: (10 ** by.loc[(s, "relu", "conv1"), "logs"]).std() for s in ("2012", "2012+init")}
    assert 500 < sizes["2012+init"] / sizes["2012"] < 5000
    assert by.loc[("2012+init", "tanh", "conv1"), "saturated"] > 80 > 1 > by.loc[("2012", "tanh", "conv1"), "saturated"]
    drawing = ideas_relu.signals(frame)
    assert len(drawing.figure.axes) == 2 * 4 and "logs" not in drawing.data
    heights = [patch.get_xy()[:, 1].max() for patch in drawing.figure.axes[0].patches[:2]]
    assert all(5 < height < 100 for height in heights)  # per cent a bin
    panels = ideas_relu.gradients(frame).figure.axes
    assert panels[0].lines[0].get_ydata().tolist() == frame["gradient"][:5].tolist()


def test_silent_units_are_below_zero_for_all_images() -> None:
    net = small_net()
    with torch.no_grad():
        net[0].weight.zero_()
        net[0].bias.copy_(torch.tensor([-1.0, 1.0, 0.0, 2.0]))
    shares = ideas_relu.silent(net, torch.randn(6, 3))
    assert shares == {"0": 50.0} and not net[0]._forward_hooks
    drawing = ideas_relu.silent_units({"2012": shares, "today": {"0": 0.0}})
    assert [bar.get_height() for bar in drawing.figure.axes[0].patches] == [50, 0]


def test_half_the_side_has_means_of_four_pixels() -> None:
    images = sets.load("sample")
    few = replace(images, train_images=images.train_images[:3], test_images=images.test_images[:2])
    small = ideas_relu.half_the_side(few)
    assert small.train_images.shape == (3, 1, 14, 14) and small.train_images.dtype == torch.uint8
    expected = few.test_images[1, 0, 4:6, 10:12].float().mean()
    assert abs(float(small.test_images[1, 0, 2, 5]) - expected) <= 0.5


def test_the_race_has_its_ratio_in_the_title() -> None:
    run = declared.get("relu", "sample").run("2012/relu", 0, "x")
    live = {}
    for unit, errors in (("relu", [50.0, 10.0]), ("tanh", [50.0, 50.0, 50.0, 10.0])):
        epochs = [{"kind": "epoch", "epoch": 1, "step": 78}]
        windows = [
            {"kind": "window", "step": 26 * (i + 1), "train_error": error, "train_loss": 1.0}
            for i, error in enumerate(errors)
        ]
        live[unit] = Trained(nn.Identity(), [{"kind": "run", "id": run.id, "config": run.config}, *windows, *epochs])
    drawing = ideas_relu.race(live, 20.0, "sample")
    # 20 % is three quarters of the way from 50 to 10: 13 + 0.75 * 26 and 65 + 0.75 * 26 updates
    assert f"tanh takes {(65 + 19.5) / (13 + 19.5):.1f} × as long to 20 %" in drawing.figure.axes[0].get_title(
        loc="left"
    )
    assert drawing.data["epoch"][0] == pytest.approx(13 / 78)
    del live["tanh"].lines[4]
    assert "did not get there" in ideas_relu.race(live, 20.0, "sample").figure.axes[0].get_title(loc="left")


def test_mean_slopes_are_those_of_the_formulas() -> None:
    net, x = small_net(), torch.randn(6, 3)
    z = net[0](x).detach()
    for unit, expected in (("relu", (z > 0).double().mean()), ("tanh", (1 - torch.tanh(z) ** 2).mean())):
        assert ideas_relu.mean_slopes(net, x, unit) == {"0": pytest.approx(float(expected), abs=1e-6)}
    assert not net[0]._forward_hooks


def test_slopes_before_and_after_are_beside_each_other() -> None:
    values = {"2012/relu": (0.5, 0.4), "2012+pixels/tanh": (1.0, 0.1)}
    means = {
        (arm, when): {"conv1": x}
        for arm, pair in values.items()
        for when, x in zip(("before", "after"), pair, strict=True)
    }
    drawing = ideas_relu.slopes_of_training(means, "sample")
    assert [tuple(bar.get_height() for bar in axes.patches) for axes in drawing.figure.axes] == [*values.values()]
    assert drawing.figure.axes[1].get_title(loc="left") == "tanh, 2012, standardised pixels"
    assert drawing.data.set_index(["layer", "arm", "when"])["slope"]["conv1", "2012+pixels/tanh", "after"] == 0.1
