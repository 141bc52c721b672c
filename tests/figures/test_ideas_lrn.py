"""The pictures of notebook 04."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from paperlib.figures import ideas_lrn
from paperlib.nets.lrn import LocalResponseNorm


def test_a_strong_channel_turns_down_its_window_only() -> None:
    factors = ideas_lrn.strong_channel().data["300"].to_numpy()
    alone = (2 + 1e-4 * 5 * 20**2) ** -0.75
    assert factors[2:8] == pytest.approx(alone) and factors[13:19] == pytest.approx(alone)
    assert factors[8:13] == pytest.approx((2 + 1e-4 * (4 * 20**2 + 300**2)) ** -0.75)


def test_a_lone_unit_is_largest_where_the_formula_says() -> None:
    """a / (2 + alpha a²)^0.75 has its maximum where alpha a² = 4."""
    drawing = ideas_lrn.unit_alone()
    for alpha in (1e-4, 2e-5):
        column = drawing.data[f"{alpha:g}"].to_numpy()
        peak = drawing.data["input"][column.argmax()]
        assert abs(peak - (4 / alpha) ** 0.5) <= 2.5  # the step of the axis
        assert column == pytest.approx(drawing.data["input"] / (2 + alpha * drawing.data["input"] ** 2) ** 0.75)
    assert "at an input of about 200" in drawing.alt


def test_kernels_answer_to_edges_of_their_direction() -> None:
    kernels = ideas_lrn.oriented_kernels()
    assert kernels.shape == (12, 1, 11, 11) and kernels.abs().sum((1, 2, 3)) == pytest.approx(torch.ones(12))
    edge = torch.zeros(3, 40, 40)
    edge[:, :, 20:] = 200.0  # a vertical edge: kernel 0 varies from left to right, kernel 6 from top to bottom
    maps = ideas_lrn.responses(edge)[0, :, 15:25, 15:25]
    assert maps[0].max() > 50 > 1 > maps[6].max()


def test_the_quotient_is_pytorchs_where_the_map_is_active() -> None:
    maps = 60 * torch.rand(1, 12, 8, 9, generator=torch.Generator().manual_seed(0))
    drawing = ideas_lrn.before_and_after(maps, channel=4)
    expected = nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0)(maps)[0, 4]
    shown = [panel.images[0].get_array() for panel in drawing.figure.axes[:4]]
    assert np.allclose(shown[1], expected, atol=1e-4)
    active = (maps[0, 4] >= 5).numpy()
    assert np.allclose(shown[2][active], (expected / maps[0, 4]).numpy()[active], atol=1e-5)
    assert np.ma.getmaskarray(np.ma.masked_invalid(shown[2])).tolist() == (~active).tolist()
    assert np.allclose(shown[3][active], ideas_lrn.NO_COMPETITION)


def test_other_constants_give_pytorchs_map() -> None:
    maps = 60 * torch.rand(1, 12, 8, 9, generator=torch.Generator().manual_seed(0))
    drawing = ideas_lrn.before_and_after(maps, 4, k=1.0, n=3, alpha=1e-3, beta=0.5)
    expected = nn.LocalResponseNorm(3, 3e-3, 0.5, 1.0)(maps)[0, 4]
    assert np.allclose(drawing.figure.axes[1].images[0].get_array(), expected, atol=1e-4)
    felt = (expected / maps[0, 4])[maps[0, 4] >= 5] < 0.9
    assert (
        f"{100 * felt.double().mean():.0f} % of the active places" in drawing.caption
        and "1.00 every" in drawing.caption
    )


def test_factors_without_competition_are_all_the_same() -> None:
    maps = 60 * torch.rand(1, 12, 8, 9, generator=torch.Generator().manual_seed(0))
    table = ideas_lrn.factors(maps).data
    assert len(table) == int((maps > 1).sum()) and table["0"].to_numpy() == pytest.approx(2**-0.75)
    assert (table["0.0001"] < table["2e-05"]).all() and (table["2e-05"] < table["0"]).all()


def test_one_place_has_a_strong_channel_outside_the_window_of_the_strongest() -> None:
    """The strongest place of all has only one direction, so the other one is drawn; shares are by the formula."""
    maps = torch.zeros(1, 9, 1, 2, dtype=torch.float64)
    maps[0, 4, 0, 0] = 500.0
    maps[0, 4, 0, 1], maps[0, 0, 0, 1] = 200.0, 100.0
    drawing = ideas_lrn.at_one_place(maps)
    assert drawing.data["before"].tolist() == [0.5, 0, 0, 0, 1, 0, 0, 0, 0]
    strong, weak = 200 / 6**0.75, 100 / 3**0.75
    assert drawing.data["after"][0] == pytest.approx(weak / strong) and weak / strong > 0.5
    assert f"gain {100 * (2 * weak / strong - 1):.0f} to" in drawing.caption


def test_units_that_feel_competition_are_counted_in_every_normalisation_of_a_net() -> None:
    """The second layer reads the first one's outputs; only positive inputs count, and the net keeps no hook."""
    net = nn.Sequential(OrderedDict(one=LocalResponseNorm(alpha=2e-5), relu=nn.ReLU(), two=LocalResponseNorm()))
    crops = 300 * torch.randn(2, 9, 3, 3, generator=torch.Generator().manual_seed(0))
    found = ideas_lrn.factors_in(net, crops)
    first = nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0)(crops)
    second = torch.relu(first)
    for name, x, y in (("one", crops, first), ("two", second, nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0)(second))):
        assert found[name] == pytest.approx((y[x > 0] / x[x > 0]).numpy(), abs=1e-5)
    assert not any(layer._forward_hooks for layer in net)
    drawing = ideas_lrn.trained_factors(np.array([0.59, 0.1]), found, seed=3)
    share = 100 * float((found["one"] < 0.9 * 2**-0.75).mean())
    assert f"{share:.0f} % of the active units of one" in drawing.caption and "; 50.0 % with ours" in drawing.caption
