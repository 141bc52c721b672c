"""Each layer against the formula it stands for, written out as loops over single numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from paperlib import layers
from paperlib.errors import PaperlibError
from paperlib.layers import (
    Dropout,
    GroupedLinear,
    LocalResponseNorm,
    MaxPool,
    PadToCeil,
    SpatialResponseNorm,
    local_response_norm,
    output_side,
    pad_to_ceil,
    set_step,
)


def maps(*shape: int, scale: float = 40.0, seed: int = 0) -> Tensor:
    """Numbers of the size that maps have on 0-255 pixels, so that the constant k does not hide the sum."""
    return scale * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def section_3_3(a: np.ndarray, n: int, k: float, alpha: float, beta: float) -> np.ndarray:
    """b^i_xy of section 3.3 for one image (N, H, W), letter by letter."""
    big_n, height, width = a.shape
    b = np.empty_like(a)
    for i in range(big_n):
        for y in range(height):
            for x in range(width):
                total = 0.0
                for j in range(max(0, i - n // 2), min(big_n - 1, i + n // 2) + 1):
                    total += a[j, y, x] ** 2
                b[i, y, x] = a[i, y, x] / (k + alpha * total) ** beta
    return b


@contextmanager
def cut_up(in_cache: int, block: int = 48) -> Iterator[None]:
    """While it lasts, normalisation over NHWC maps takes so many numbers, and so many maps, at a time."""
    with mock.patch.multiple(layers, IN_CACHE=in_cache, BLOCK=block):
        layers.window_blocks.cache_clear()
        yield
    layers.window_blocks.cache_clear()


@pytest.fixture
def with_compiler() -> Iterator[None]:
    layers.use_compiler()
    yield
    layers.use_compiler(False)


def in_format(x: Tensor, nhwc: bool) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last if nhwc else torch.contiguous_format)


# ---------------------------------------------------------------------------------------------------------
# Local response normalisation


@settings(max_examples=60, deadline=None)
@given(
    channels=st.integers(1, 9),
    side=st.integers(1, 3),
    n=st.integers(0, 6).map(lambda h: 2 * h + 1),
    k=st.floats(0.1, 4),
    alpha=st.floats(0, 1e-2),
    beta=st.sampled_from([0.75, 0.5, 1.0, 0.3]),
    towers=st.integers(1, 3),
    seed=st.integers(0, 99),
    nhwc=st.booleans(),
    in_cache=st.sampled_from([1, 30, 2**17]),
    block=st.sampled_from([2, 5, 48]),
)
def test_lrn_is_the_formula(
    channels: int, side: int, n: int, k: float, alpha: float, beta: float, towers: int, seed: int, nhwc: bool,
    in_cache: int, block: int,
) -> None:  # fmt: skip
    """In both memory formats, and however many pixels and maps the fast form takes at a time."""
    x = maps(2, towers * channels, side, side + 1, seed=seed)
    with cut_up(in_cache, block):
        fast = LocalResponseNorm(n, k, alpha, beta, groups=towers)(in_format(x, nhwc))
    for image, got in zip(x, fast, strict=True):
        for tower, got_tower in zip(image.chunk(towers), got.chunk(towers), strict=True):
            want = section_3_3(tower.numpy(), n, k, alpha, beta)
            np.testing.assert_allclose(got_tower.numpy(), want, rtol=1e-12, atol=1e-12)
    if towers == 1:
        torch.testing.assert_close(local_response_norm(x, n, k, alpha, beta), fast)


@pytest.mark.parametrize("beta", [0.75, 0.6])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("nhwc", [False, True])
def test_lrn_gradient(beta: float, groups: int, nhwc: bool) -> None:
    norm = LocalResponseNorm(5, 2.0, 1e-3, beta, groups)
    with cut_up(in_cache=20, block=4):
        assert torch.autograd.gradcheck(norm, in_format(maps(2, 6, 2, 2, scale=10), nhwc).requires_grad_())


@pytest.mark.parametrize("nhwc", [False, True])
def test_lrn_gradient_of_a_window_wider_than_the_maps(nhwc: bool) -> None:
    x = in_format(maps(1, 3, 2, 2, scale=10), nhwc).requires_grad_()
    assert torch.autograd.gradcheck(LocalResponseNorm(9, 2.0, 1e-3), x)


@pytest.mark.parametrize("nhwc", [False, True])
def test_lrn_gradient_equals_that_of_the_readable_form(nhwc: bool) -> None:
    """The gradient that comes back need not have the format of the maps."""
    x = in_format(maps(2, 8, 3, 3), nhwc)
    gradients = []
    for norm in (LocalResponseNorm(), local_response_norm):
        leaf = x.clone().requires_grad_()
        (norm(leaf) * maps(2, 8, 3, 3, seed=1)).sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients)


def test_lrn_sum_is_cut_off_at_the_first_and_the_last_map() -> None:
    ones = torch.ones(1, 7, 1, 1, dtype=torch.float64)
    sums = 1 / LocalResponseNorm(n=5, k=1.0, alpha=1.0, beta=1.0)(ones).flatten() - 1
    torch.testing.assert_close(sums, torch.tensor([3.0, 4, 5, 5, 5, 4, 3], dtype=torch.float64))


def test_lrn_window_reaches_two_maps_to_either_side() -> None:
    x = torch.zeros(1, 9, 1, 1, dtype=torch.float64)
    x[0, 4] = 1000.0
    probe = LocalResponseNorm()(x + 1).flatten() / LocalResponseNorm()(torch.ones_like(x)).flatten()
    assert (probe < 0.5).nonzero().flatten().tolist() == [2, 3, 5, 6]  # map 4 itself grew


@pytest.mark.parametrize(
    ("alpha", "alpha_in_torch", "other"),
    [(1e-4 / 5, 1e-4, 5e-4), (1e-4, 5e-4, 1e-4)],
    ids=["source", "paper"],
)
def test_lrn_in_both_readings_against_pytorch(alpha: float, alpha_in_torch: float, other: float) -> None:
    x = maps(3, 48, 5, 5)
    ours = LocalResponseNorm(n=5, k=2.0, alpha=alpha, beta=0.75)(x)
    torch.testing.assert_close(ours, nn.LocalResponseNorm(5, alpha=alpha_in_torch, beta=0.75, k=2.0)(x))
    assert not torch.allclose(ours, nn.LocalResponseNorm(5, alpha=other, beta=0.75, k=2.0)(x), rtol=1e-2)
    assert not torch.allclose(ours, nn.LocalResponseNorm(5, alpha=alpha_in_torch, beta=0.75)(x), rtol=1e-2)  # k=1


def test_lrn_per_tower_is_each_half_alone() -> None:
    x = maps(2, 10, 3, 3)
    whole, apart = LocalResponseNorm(), LocalResponseNorm(groups=2)
    torch.testing.assert_close(apart(x), torch.cat([whole(x[:, :5]), whole(x[:, 5:])], 1))
    differs = (apart(x) != whole(x)).any(dim=(0, 2, 3)).nonzero().flatten().tolist()
    assert differs == [3, 4, 5, 6]  # only maps whose window crosses the border


@pytest.mark.parametrize("layer", [LocalResponseNorm(), LocalResponseNorm(groups=2), SpatialResponseNorm()])
def test_norms_keep_memory_format_and_precision(layer: nn.Module) -> None:
    x = maps(2, 12, 6, 6).float()
    want = layer(x.double())
    for memory_format in (torch.contiguous_format, torch.channels_last):
        inputs = x.contiguous(memory_format=memory_format)
        out = layer(inputs)
        assert out.is_contiguous(memory_format=memory_format)
        assert out.dtype == torch.float32
        torch.testing.assert_close(out.double(), want, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("nhwc", [False, True])
@pytest.mark.parametrize("layer", [LocalResponseNorm(), SpatialResponseNorm()])
def test_norms_keep_two_tensors_at_most_for_the_backward_pass(layer: nn.Module, nhwc: bool) -> None:
    kept: list[Tensor] = []

    def keep(t: Tensor) -> Tensor:
        kept.append(t)
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        layer(in_format(maps(1, 8, 3, 3), nhwc).requires_grad_())
    assert len(kept) <= 2 and all(t.numel() == 72 for t in kept)


def test_norms_work_for_training_after_they_were_used_for_inference() -> None:
    layers.window_blocks.cache_clear()
    x = in_format(maps(1, 8, 3, 3), nhwc=True)
    with torch.inference_mode():
        LocalResponseNorm()(x)
    leaf = x.clone().requires_grad_()
    LocalResponseNorm()(leaf).sum().backward()
    assert leaf.grad is not None and leaf.grad.isfinite().all()


@pytest.mark.parametrize("nhwc", [False, True])
def test_norms_in_half_the_precision(nhwc: bool) -> None:
    x = in_format(maps(2, 12, 4, 4).bfloat16(), nhwc)
    out = LocalResponseNorm()(x)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.double(), local_response_norm(x.double()), rtol=0.03, atol=1e-3)


@pytest.mark.usefixtures("with_compiler")
@pytest.mark.parametrize("groups", [1, 2])
def test_compiled_lrn_is_the_formula_too(groups: int) -> None:
    """Of 128 pixels 100 are compiled in two chunks, and 28 are left over; without a compiler none are compiled."""

    def readable(a: Tensor) -> Tensor:
        return torch.cat([local_response_norm(part, alpha=1e-3) for part in a.chunk(groups, 1)], 1)

    x, g = (in_format(maps(2, 8, 8, 8, seed=seed), nhwc=True) for seed in (0, 1))
    results = []
    with cut_up(in_cache=100), mock.patch.object(layers, "compiled", wraps=layers.compiled) as compiled:
        for norm in (LocalResponseNorm(alpha=1e-3, groups=groups), readable):
            leaf = x.clone().requires_grad_()
            out = norm(leaf)
            out.backward(g)
            results.append((out.detach(), leaf.grad))
    torch.testing.assert_close(*results)
    assert compiled.call_count == (2 * 5 if layers.compiler() else 0)  # of each chunk two steps there and three back


def test_without_a_compiler_nothing_is_compiled(caplog: pytest.LogCaptureFixture) -> None:
    layers.compiler.cache_clear()
    with mock.patch.object(torch, "compile", side_effect=RuntimeError("no compiler")):
        layers.use_compiler()
    assert not layers.compiling()
    assert "torch.compile does not work here (RuntimeError)" in caplog.text
    layers.compiler.cache_clear()


@pytest.mark.parametrize("n", [0, 2, 4, -1])
def test_even_windows_are_refused(n: int) -> None:
    for refused in (LocalResponseNorm, SpatialResponseNorm, lambda n: local_response_norm(maps(1, 4, 1, 1), n)):
        with pytest.raises(PaperlibError, match="odd window"):
            refused(n)


def test_norms_refuse_what_divides_by_zero_or_does_not_divide() -> None:
    with pytest.raises(PaperlibError, match="k > 0"):
        LocalResponseNorm(k=0.0)
    with pytest.raises(PaperlibError, match="shared out among 2 towers"):
        LocalResponseNorm(groups=2)(maps(1, 7, 2, 2))


def test_spatial_norm_is_the_formula() -> None:
    x = maps(2, 3, 7, 6)
    got = SpatialResponseNorm()(x)
    mean = F.avg_pool2d(x**2, 5, stride=1, padding=2, count_include_pad=True)  # source-2012: in PyTorch it is this
    torch.testing.assert_close(got, x * (1 + 1e-3 * mean) ** -0.75)
    corner = float((x[0, 0, :3, :3] ** 2).sum())  # 3x3 of the 5x5 window are in the map, the divisor stays 25
    assert float(got[0, 0, 0, 0]) == pytest.approx(float(x[0, 0, 0, 0]) / (1 + 1e-3 / 25 * corner) ** 0.75)


def test_spatial_norm_gradient() -> None:
    assert torch.autograd.gradcheck(SpatialResponseNorm(3, 0.1), maps(2, 2, 4, 3, scale=5).requires_grad_())


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
