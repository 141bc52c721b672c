"""Each layer against the formula it stands for, written out as loops over single numbers."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from paperlib.errors import PaperlibError
from paperlib.nets.layers import Dropout, GroupedLinear, MaxPool, PadToCeil, output_side, pad_to_ceil, set_step
from tests.tiny import maps

# ---------------------------------------------------------------------------------------------------------
# Pools and pads


@pytest.mark.parametrize("pad", [0, 1])
@pytest.mark.parametrize("z", [2, 3])
def test_max_pool_takes_windows_of_z_every_s(z: int, pad: int) -> None:
    x = maps(1, 2, 9, 9)
    got = MaxPool(z=z, s=2, pad=pad)(x)
    for i in range(got.shape[2]):
        for j in range(got.shape[3]):
            top, left = 2 * i - pad, 2 * j - pad
            window = x[:, :, max(0, top) : top + z, max(0, left) : left + z]
            torch.testing.assert_close(got[:, :, i, j], window.amax((2, 3)))


@settings(max_examples=80, deadline=None)
@given(side=st.integers(3, 60), z=st.integers(2, 3), s=st.integers(1, 3), pad=st.integers(0, 1), ceil=st.booleans())
def test_output_side_of_pools(side: int, z: int, s: int, pad: int, ceil: bool) -> None:
    pool = MaxPool(z, s, pad, ceil)
    assert pool.output_side(side) == pool(torch.zeros(1, 1, side, side)).shape[2]


@pytest.mark.parametrize(
    ("side", "pad", "ceil", "want"), [(224, 0, False, 54), (224, 0, True, 55), (227, 0, False, 55), (224, 2, False, 55)]
)
def test_sides_of_conv1(side: int, pad: int, ceil: bool, want: int) -> None:
    """224 and 55 of the paper fit together only if the side is rounded up; 227 and a pad of 2 are what ports do."""
    assert output_side(side, 11, 4, pad, ceil) == want


def test_output_side_refuses_too_small_an_image() -> None:
    with pytest.raises(PaperlibError, match="does not fit"):
        output_side(8, 11, 4)


@settings(max_examples=40, deadline=None)
@given(side=st.integers(7, 40), kernel=st.integers(1, 7), stride=st.integers(1, 5), pad=st.integers(0, 2))
def test_pad_to_ceil_gives_the_rounded_up_side(side: int, kernel: int, stride: int, pad: int) -> None:
    x = torch.randn(1, 1, side, side, generator=torch.Generator().manual_seed(0))
    weight = torch.ones(1, 1, kernel, kernel)
    padded = pad_to_ceil(x, kernel, stride, pad)
    out = F.conv2d(padded, weight, stride=stride, padding=pad)
    assert out.shape[2:] == (1 + math.ceil((side + 2 * pad - kernel) / stride),) * 2
    assert 0 <= padded.shape[2] - side < stride
    plain = F.conv2d(x, weight, stride=stride, padding=pad)
    rows, columns = plain.shape[2:]
    torch.testing.assert_close(out[:, :, :rows, :columns], plain)  # nothing moved: the zeros are right and below


def test_224_to_55_is_three_zeros_right_and_below() -> None:
    x = maps(1, 3, 224, 224)
    torch.testing.assert_close(pad_to_ceil(x, 11, 4), F.pad(x, (0, 3, 0, 3)), rtol=0, atol=0)
    weight = maps(2, 3, 11, 11, scale=0.01, seed=1)
    out = F.conv2d(PadToCeil(11, 4)(x), weight, stride=4)
    assert out.shape == (1, 2, 55, 55)
    # the last window, 11 from pixel 216 on: only 8 of its rows and columns are in the image
    last = (x[0, :, 216:, 216:] * weight[1, :, :8, :8]).sum()
    torch.testing.assert_close(out[0, 1, 54, 54], last)
    # torchvision's pad of 2 and Caffe's 227 have 55 units too, which see other pixels
    assert not torch.allclose(out, F.conv2d(x, weight, stride=4, padding=2))


def test_pad_to_ceil_leaves_alone_what_fits() -> None:
    x = maps(1, 1, 227, 227)
    assert torch.equal(pad_to_ceil(x, 11, 4), x)


# ---------------------------------------------------------------------------------------------------------
# Fully connected layers in towers


def test_grouped_linear_is_one_layer_for_each_tower() -> None:
    layer = GroupedLinear(10, 6, groups=2).double()
    x = maps(4, 10)
    upper = x[:, :5] @ layer.weight[:3].T + layer.bias[:3]
    lower = x[:, 5:] @ layer.weight[3:].T + layer.bias[3:]
    torch.testing.assert_close(layer(x), torch.cat([upper, lower], 1))
    with pytest.raises(PaperlibError, match="do not divide"):
        GroupedLinear(9, 6, groups=2)


# ---------------------------------------------------------------------------------------------------------
# Dropout


def dropout(p: float = 0.5, form: str = "2012", seed: int = 3, step: int = 0) -> Dropout:
    net = nn.ModuleDict({"drop6": Dropout(p, form)})
    set_step(net, seed, step)
    layer = net["drop6"]
    assert isinstance(layer, Dropout)
    return layer


@pytest.mark.parametrize("p", [0.5, 0.2])
def test_dropout_2012_scales_at_test_and_never_in_training(p: float) -> None:
    x = torch.ones(400, 100)
    trained = dropout(p).train()(x)
    assert set(trained.unique().tolist()) == {0.0, 1.0}
    assert float((trained == 0).float().mean()) == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / 40_000))
    torch.testing.assert_close(dropout(p).eval()(x), (1 - p) * x)


@pytest.mark.parametrize("p", [0.5, 0.2])
def test_dropout_inverted_scales_in_training_and_never_at_test(p: float) -> None:
    x = torch.ones(400, 100)
    trained = dropout(p, "inverted").train()(x)
    torch.testing.assert_close(trained, dropout(p).train()(x) / (1 - p))  # the same units, scaled
    assert float(trained.mean()) == pytest.approx(1.0, abs=5 * math.sqrt(p / (1 - p) / 40_000))
    assert torch.equal(dropout(p, "inverted").eval()(x), x)


@pytest.mark.parametrize("form", ["2012", "inverted"])
def test_dropout_scales_once(form: str) -> None:
    """The mean in training over the mean at test is 1 in either form; scaling twice makes it 2 or 1/2."""
    x = torch.ones(1000, 100)
    layer = dropout(0.5, form)
    assert float(layer.train()(x).mean() / layer.eval()(x).mean()) == pytest.approx(1.0, abs=0.02)


def test_dropout_masks_are_keyed() -> None:
    x = torch.ones(64, 256)
    kept = dropout()(x)
    assert torch.equal(kept, dropout()(x))  # same seed, step and layer
    net = nn.ModuleDict({"drop6": Dropout(), "drop7": Dropout()})
    set_step(net, 3, 0)
    others = [dropout(step=1)(x), dropout(seed=4)(x), net["drop7"](x)]
    assert torch.equal(net["drop6"](x), kept)
    for other in others:
        agreement = float((kept == other).float().mean())
        assert agreement == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(x.numel()))


def test_dropout_masks_differ_between_units_and_cases() -> None:
    kept = dropout()(torch.ones(64, 256))
    assert len(kept.unique(dim=0)) == 64
    assert len(kept.unique(dim=1).T) == 256


def test_dropout_leaves_the_global_random_numbers_alone() -> None:
    before = torch.get_rng_state()
    dropout()(torch.ones(3, 4))
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_stops_the_gradient_of_dropped_units() -> None:
    x = torch.ones(8, 16, requires_grad=True)
    out = dropout()(x)
    out.sum().backward()
    assert torch.equal(x.grad, (out != 0).float())


def test_dropout_in_training_needs_a_step_and_at_test_does_not() -> None:
    layer = Dropout()
    torch.testing.assert_close(layer.eval()(torch.ones(2, 3)), torch.full((2, 3), 0.5))
    with pytest.raises(PaperlibError, match="set_step"):
        layer.train()(torch.ones(2, 3))


@pytest.mark.parametrize(("p", "form"), [(1.0, "2012"), (-0.1, "2012"), (0.5, "keras")])
def test_dropout_refuses(p: float, form: str) -> None:
    with pytest.raises(PaperlibError, match="dropout"):
        Dropout(p, form)
