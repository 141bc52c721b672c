"""The pictures of notebook 05."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from paperlib.figures import ideas_pool

GRID = torch.tensor([[3, 1, 0, 2, 5], [0, 4, 1, 1, 0], [2, 0, 9, 0, 1], [1, 6, 0, 3, 2], [0, 2, 1, 0, 7]])


def test_winners_are_counted_by_window() -> None:
    expected = torch.zeros(5, 5, dtype=torch.int)
    expected[2, 2] = 4
    assert torch.equal(ideas_pool.winners(GRID, 3), expected)
    expected[2, 2] = 1
    for row, column in ((1, 1), (0, 3), (3, 1)):
        expected[row, column] = 1
    assert torch.equal(ideas_pool.winners(GRID, 2), expected)


def test_the_grid_passes_on_what_pytorch_does() -> None:
    drawing = ideas_pool.grid_pooled(GRID)
    for z, of_z in drawing.data.groupby("z"):
        assert of_z["value"].tolist() == F.max_pool2d(GRID.double()[None, None], int(z), 2).flatten().int().tolist()
    boxes = [
        len(panel.patches) - panel_cells for panel, panel_cells in zip(drawing.figure.axes, (25, 4, 25, 4), strict=True)
    ]
    assert boxes == [4, 0, 4, 0] and "[[4, 2], [6, 9]]" in drawing.alt


def test_a_change_is_that_of_the_moved_photograph() -> None:
    photo = (255 * torch.rand(3, 20, 24, generator=torch.Generator().manual_seed(0))).to(torch.uint8)
    for z in ideas_pool.POOLS:
        here, difference, size = ideas_pool.change(photo, z)
        grey = photo.float().mean(0)[None]
        a, b = (F.max_pool2d(grey[..., k : k + 20], z, 2) for k in (0, 1))
        assert torch.equal(here, a) and torch.equal(difference, b - a)
        assert size == pytest.approx(100 * float((b - a).abs().mean() / a.std()))
    constant = torch.full((3, 20, 24), 7, dtype=torch.uint8)
    assert ideas_pool.change(constant, 2)[1].abs().max() == 0
    table = ideas_pool.moved_by_a_pixel(photo).data
    assert table["change"].tolist() == pytest.approx([ideas_pool.change(photo, z)[2] for z in (2, 3)])


def test_changes_count_the_photographs() -> None:
    draw = torch.Generator().manual_seed(1)
    photos = {name: (255 * torch.rand(3, 20, 24, generator=draw)).to(torch.uint8) for name in ("a", "b")}
    drawing = ideas_pool.changes(photos)
    less = sum(drawing.data["z = 3"] < drawing.data["z = 2"])
    assert f"In {less} of 2 photographs" in drawing.caption and drawing.data["name"].tolist() == ["a", "b"]


def test_a_batch_of_maps_changes_as_its_maps_do() -> None:
    batch = torch.randn(6, 1, 20, 24, generator=torch.Generator().manual_seed(2))
    for z in ideas_pool.POOLS:
        here, difference, _ = ideas_pool.change(batch, z)
        assert torch.equal(difference[4], ideas_pool.change(batch[4], z)[1]) and here.shape == difference.shape
