"""Response normalisation, in every form, against the formula written out as loops over single numbers."""

from __future__ import annotations

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

from paperlib.errors import PaperlibError
from paperlib.nets import lrn_cpu
from paperlib.nets.lrn import LocalResponseNorm, SpatialResponseNorm, local_response_norm
from tests.tiny import maps


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


FORMS = ["NCHW", "NHWC"]


@contextmanager
def cut_up(in_cache: int = 2**17, block: int = 32) -> Iterator[None]:
    """While it lasts, normalisation over NHWC maps takes so many numbers, and so many maps, at a time."""
    with mock.patch.multiple(lrn_cpu, IN_CACHE=in_cache, BLOCK=block):
        lrn_cpu.window_blocks.cache_clear()
        yield
    lrn_cpu.window_blocks.cache_clear()


def in_format(x: Tensor, form: str) -> Tensor:
    return x.contiguous(memory_format=torch.contiguous_format if form == "NCHW" else torch.channels_last)


@settings(max_examples=90, deadline=None)
@given(
    channels=st.integers(1, 9),
    side=st.integers(1, 3),
    n=st.integers(0, 6).map(lambda h: 2 * h + 1),
    k=st.floats(0.1, 4),
    alpha=st.floats(0, 1e-2),
    beta=st.sampled_from([0.75, 0.5, 1.0, 0.3]),
    towers=st.integers(1, 3),
    seed=st.integers(0, 99),
    form=st.sampled_from(FORMS),
    in_cache=st.sampled_from([1, 30, 2**17]),
    block=st.sampled_from([2, 5, 48]),
)
def test_lrn_is_the_formula(
    channels: int, side: int, n: int, k: float, alpha: float, beta: float, towers: int, seed: int, form: str,
    in_cache: int, block: int,
) -> None:  # fmt: skip
    """In every form, and however many pixels and maps the fast form takes at a time."""
    x = maps(2, towers * channels, side, side + 1, seed=seed)
    with cut_up(in_cache, block):
        fast = LocalResponseNorm(n, k, alpha, beta, groups=towers)(in_format(x, form))
    for image, got in zip(x, fast, strict=True):
        for tower, got_tower in zip(image.chunk(towers), got.chunk(towers), strict=True):
            want = section_3_3(tower.numpy(), n, k, alpha, beta)
            np.testing.assert_allclose(got_tower.numpy(), want, rtol=1e-12, atol=1e-12)
    if towers == 1:
        torch.testing.assert_close(local_response_norm(x, n, k, alpha, beta), fast)


@pytest.mark.parametrize("beta", [0.75, 0.6])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("form", FORMS)
def test_lrn_gradient(beta: float, groups: int, form: str) -> None:
    norm = LocalResponseNorm(5, 2.0, 1e-3, beta, groups)
    with cut_up(in_cache=20, block=4):
        assert torch.autograd.gradcheck(norm, in_format(maps(2, 6, 2, 2, scale=10), form).requires_grad_())


@pytest.mark.parametrize("form", FORMS)
def test_lrn_gradient_of_a_window_wider_than_the_maps(form: str) -> None:
    x = in_format(maps(1, 3, 2, 2, scale=10), form).requires_grad_()
    with cut_up(in_cache=20):
        assert torch.autograd.gradcheck(LocalResponseNorm(9, 2.0, 1e-3), x)


@pytest.mark.parametrize("form", FORMS)
def test_lrn_gradient_equals_that_of_the_readable_form(form: str) -> None:
    """The gradient that comes back need not have the format of the maps."""
    x = in_format(maps(2, 8, 3, 3), form)
    gradients = []
    for norm in (LocalResponseNorm(), local_response_norm):
        leaf = x.clone().requires_grad_()
        with cut_up():
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


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("layer", [LocalResponseNorm(), SpatialResponseNorm()])
def test_norms_keep_two_tensors_at_most_for_the_backward_pass(layer: nn.Module, form: str) -> None:
    kept: list[Tensor] = []

    def keep(t: Tensor) -> Tensor:
        kept.append(t)
        return t

    with cut_up(), torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        layer(in_format(maps(1, 8, 3, 3), form).requires_grad_())
    assert len(kept) <= 2 and all(t.numel() == 72 for t in kept)


def test_norms_work_for_training_after_they_were_used_for_inference() -> None:
    lrn_cpu.window_blocks.cache_clear()
    x = in_format(maps(1, 8, 3, 3), "NHWC")
    with torch.inference_mode():
        LocalResponseNorm()(x)
    leaf = x.clone().requires_grad_()
    LocalResponseNorm()(leaf).sum().backward()
    assert leaf.grad is not None and leaf.grad.isfinite().all()


@pytest.mark.parametrize("form", FORMS)
def test_norms_in_half_the_precision(form: str) -> None:
    x = in_format(maps(2, 12, 4, 4).bfloat16(), form)
    with cut_up():
        out = LocalResponseNorm()(x)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.double(), local_response_norm(x.double()), rtol=0.03, atol=1e-3)


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


@pytest.mark.parametrize("in_cache", [1, 252, 2**17])
@pytest.mark.parametrize("form", ["NCHW", "NHWC"])
def test_spatial_norm_is_the_formula(form: str, in_cache: int) -> None:
    """All images at once, or (of 126 numbers each) two or one at a time, in either format."""
    x = in_format(maps(3, 3, 7, 6), form)
    with cut_up(in_cache=in_cache):
        got = SpatialResponseNorm()(x)
    assert got.stride() == x.stride()
    mean = F.avg_pool2d(x**2, 5, stride=1, padding=2, count_include_pad=True)  # source-2012: in PyTorch it is this
    torch.testing.assert_close(got, x * (1 + 1e-3 * mean) ** -0.75)
    corner = float((x[0, 0, :3, :3] ** 2).sum())  # 3x3 of the 5x5 window are in the map, the divisor stays 25
    assert float(got[0, 0, 0, 0]) == pytest.approx(float(x[0, 0, 0, 0]) / (1 + 1e-3 / 25 * corner) ** 0.75)


@pytest.mark.parametrize("in_cache", [1, 2**17])
@pytest.mark.parametrize("form", ["NCHW", "NHWC"])
def test_spatial_norm_gradient(form: str, in_cache: int) -> None:
    x = in_format(maps(2, 2, 4, 3, scale=5), form).requires_grad_()
    with cut_up(in_cache=in_cache):
        assert torch.autograd.gradcheck(SpatialResponseNorm(3, 0.1), x)
