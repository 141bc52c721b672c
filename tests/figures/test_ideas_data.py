"""The pictures of notebook 01."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from paperlib.evidence import decide, metrics, store
from paperlib.figures import ideas_data


def test_set_sizes_are_in_order() -> None:
    drawing = ideas_data.set_sizes({"large": 1_000_000, "small": 10_000})
    assert drawing.data.values.tolist() == [["small", 10_000], ["large", 1_000_000]]
    assert "small 10,000, large 1,000,000" in drawing.alt


def test_preparation_marks_the_square_that_is_cut_out() -> None:
    photo = Image.fromarray(np.arange(60 * 90 * 3, dtype=np.uint8).reshape(60, 90, 3))
    panels = ideas_data.preparation(photo, size=32).figure.axes
    (mark,) = panels[1].patches
    assert (mark.get_x(), mark.get_y(), mark.get_width()) == (8, 0, 31)  # 48 x 32: 8 are cut off on either side
    assert [panel.images[0].get_array().shape[:2] for panel in panels] == [(60, 90), (32, 48), (32, 32), (32, 32)]


def test_a_difference_from_the_mean_has_a_signed_scale() -> None:
    image, mean = torch.tensor([[0, 200]], dtype=torch.uint8), torch.tensor([[50.0, 50.0]])
    drawing = ideas_data.mean_subtracted(image, mean)
    assert drawing.data["difference"].tolist() == [-50, 150]
    assert [panel.images[0].get_clim() for panel in drawing.figure.axes[:3]] == [(0, 255), (0, 255), (-255, 255)]


def test_moved_images_lose_their_right_edge() -> None:
    images = torch.arange(1, 5).reshape(1, 1, 1, 4)
    assert ideas_data.moved(images, 1).flatten().tolist() == [0, 1, 2, 3]
    assert ideas_data.moved(images, 0).equal(images) and ideas_data.moved(images, 4).sum() == 0


def test_errors_of_moved_images() -> None:
    """A net that says where the bright pixel is, and one that always says 0."""
    images, labels = torch.zeros(3, 1, 1, 4), torch.arange(3)
    images[labels, 0, 0, labels] = 1.0
    nets = {"convolutional": lambda x: x.flatten(1), "fully connected": lambda x: torch.eye(4)[[0] * len(x)]}
    frame = ideas_data.shift_errors(nets, (0, 1), images, labels)
    assert frame["net"].tolist() == ["convolutional"] * 2 + ["fully connected"] * 2
    assert frame["pixels"].tolist() == [0, 1, 0, 1]
    assert frame["test_error"].tolist() == pytest.approx([0, 100, 200 / 3, 200 / 3])
    twice = pd.concat([frame.assign(seed=0), frame.assign(seed=1, test_error=frame["test_error"] / 2)])
    figure = ideas_data.shifted(images[1], twice).figure
    mean, dots = figure.subfigs[1].axes[0].lines[:2]
    assert mean.get_ydata().tolist() == [0, 75] and dots.get_ydata().tolist() == [0, 100, 0, 50]
    assert len(figure.subfigs[0].axes) == 2


def test_errors_against_images_are_drawn_as_given() -> None:
    points = [{"images": n, "train_error": e, "test_error": 2 * e} for n, e in ((10, 5.0), (100, 8.0))]
    test, train = ideas_data.against_images(points).figure.axes[0].lines
    assert train.get_ydata().tolist() == [5, 8] and test.get_ydata().tolist() == [10, 16]


def test_errors_are_continued_by_the_two_laws_that_they_obey() -> None:
    """On points that lose 6 for each tenfold the line goes on so; on points that lose half of it, the power law."""
    for key, given, expected in (("line", (24.0, 18.0, 12.0), 6.0), ("law", (24.0, 12.0, 6.0), 3.0)):
        points = [{"images": 10**k, "train_error": 0.0, "test_error": e} for k, e in enumerate(given, 2)]
        drawing = ideas_data.continued(points, 100_000, seen=20_000)
        assert drawing.data[key].iloc[-1] == pytest.approx(expected) and "20,000" in drawing.alt


def test_the_weights_of_a_kernel_are_those_of_a_convolution() -> None:
    """The matrix with one number for each weight does what PyTorch's convolution does."""
    drawing = ideas_data.weights_drawn()
    which = drawing.data["kernel"].to_numpy().reshape(4, 16)
    kernel = torch.arange(1.0, 10.0)
    matrix = torch.tensor(
        [[0.0 if which[u, p] != which[u, p] else kernel[int(which[u, p])] for p in range(16)] for u in range(4)]
    )
    pixels = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.conv2d(pixels[None, None], kernel.reshape(1, 1, 3, 3)).flatten()
    assert torch.allclose(matrix @ pixels.flatten(), expected, atol=1e-5)
    assert "64 connections and 64 weights" in drawing.caption and "36 connections and 9 weights" in drawing.caption


def test_recorded_sizes_have_the_means_of_the_records(tmp_path: Path) -> None:
    drawing = ideas_data.recorded_sizes()
    frame = metrics.results("size", "sample")
    mean = frame[frame["arm"] == "mlp 640"]["test_error"].mean()
    of_arm = drawing.data.query("net == 'fully connected' and images == 640")
    assert of_arm["test_error"].mean() == pytest.approx(mean)
    assert (
        f"fully connected, 640 images: {mean:.1f} %" in drawing.alt and "sizes of the training set" in drawing.caption
    )
    with store.using(tmp_path):
        assert ideas_data.recorded_sizes().caption == ideas_data.few_or_many().caption == "Nothing is recorded yet."


def test_few_and_many_images_have_the_intervals_of_both_budgets() -> None:
    drawing = ideas_data.few_or_many()
    axes, costs = drawing.figure.axes
    verdicts = {
        name: {v.comparison.arms: v for v in decide.verdicts_of(name, "sample")} for name in ("size-long", "size")
    }
    found = [verdicts[name][f"{net} 10000 v. {net} 640"] for name in verdicts for net in ("conv", "mlp")]
    drawn = [list(line.get_xdata()) for line in costs.lines if len(line.get_xdata()) == 2][: len(found)]
    assert drawn == [[v.low, v.high] for v in found] and all(v.value in drawing.alt for v in found)
    frame = metrics.results("size-long", "sample").groupby("arm")["test_error"].mean()
    assert f"{frame['conv 10000']:.1f} instead of {frame['conv 640']:.1f} %" in drawing.caption
