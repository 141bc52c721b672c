"""Augmentation against a loop over images in NumPy that is fed the same random numbers, and against known mistakes.

The mistakes are those that other implementations of the paper made with data: crops that rescale, vertical mirrors,
a mirror fixed per image, colours of one image or of a correlation, mixed units, clipping, noise on test images.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest
from torch import Tensor

from paperlib.data.augment import (
    Augmenter,
    Draws,
    centre,
    colour_shift,
    crop_and_mirror,
    positions,
    ten_views,
)
from paperlib.data.images import colour_pca
from paperlib.errors import PaperlibError
from paperlib.recipe import SOURCE2012, AugmentRecipe, Recipe, Sizes
from tests import tiny

SOURCE = {name: value for name, value in SOURCE2012.items() if name.startswith("augment.")}


def recipe(**changes: Any) -> AugmentRecipe:
    """The paper's recipe with some fields of ``augment`` changed."""
    return Recipe.paper().but(**{f"augment.{name}": value for name, value in changes.items()}).augment


def augmenter(images: Tensor, size: int, r: AugmentRecipe) -> Augmenter:
    sizes = Sizes(side=images.shape[-1], crop=size, channels=images.shape[1])
    made = Augmenter(r, sizes, images)
    made.start_epoch(seed=1, epoch=0, n=len(images))
    return made


def unflipped(n: int) -> Tensor:
    return torch.zeros(n, 2, dtype=torch.bool)


# ---------------------------------------------------------------------------------------------------------
# Each operation against a loop over images


@st.composite
def batches(draw: st.DrawFn) -> tuple[Tensor, int]:
    n, channels, height, width = (draw(st.integers(1, top)) for top in (5, 3, 9, 9))
    size = draw(st.integers(1, min(height, width)))
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    return torch.randint(0, 256, (n, channels, height, width), generator=g, dtype=torch.uint8), size


@given(batches(), st.randoms(use_true_random=False), st.booleans())
def test_crops_are_those_of_a_loop(batch, random, as_float_channels_last):
    images, size = batch
    top, left = images.shape[2] - size, images.shape[3] - size
    offsets = [(random.randint(0, top), random.randint(0, left)) for _ in images]
    expected = np.stack([x[:, i : i + size, j : j + size] for x, (i, j) in zip(images.numpy(), offsets, strict=True)])
    if as_float_channels_last:
        images = images.to(torch.float32, memory_format=torch.channels_last)
    got = crop_and_mirror(images, torch.tensor(offsets), unflipped(len(images)), size)
    assert got.dtype == images.dtype and got.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(got.numpy(), expected)


def test_a_crop_beyond_the_image_is_an_error():
    for offset in ([3, 0], [0, 3], [-1, 0]):
        with pytest.raises(IndexError):
            crop_and_mirror(tiny.images(1, 8), torch.tensor([offset]), unflipped(1), 6)


@given(batches(), st.randoms(use_true_random=False))
def test_mirrors_are_those_of_a_loop(batch, random):
    images, size = batch
    flags = [(random.random() < 0.5, random.random() < 0.5) for _ in images]

    def turned(plane: np.ndarray, mirrored: bool, upside_down: bool) -> np.ndarray:
        plane = np.fliplr(plane) if mirrored else plane
        return np.flipud(plane) if upside_down else plane

    windows = images[:, :, :size, :size].numpy()
    expected = np.stack([np.stack([turned(p, *flag) for p in x]) for x, flag in zip(windows, flags, strict=True)])
    corner = torch.zeros(len(images), 2, dtype=torch.int64)
    assert np.array_equal(crop_and_mirror(images, corner, torch.tensor(flags), size).numpy(), expected)


@given(batches())
def test_ten_views_are_those_of_a_loop(batch):
    images, size = batch
    height, width = images.shape[2:]
    low, right, middle = height - size, width - size, ((height - size) // 2, (width - size) // 2)
    got = ten_views(images, size)
    assert got.shape == (10, len(images), images.shape[1], size, size)
    for k, (top, left) in enumerate([(0, 0), (0, right), middle, (low, 0), (low, right)]):
        for i, image in enumerate(images.numpy()):
            view = image[:, top : top + size, left : left + size]
            assert np.array_equal(got[k, i].numpy(), view)
            assert np.array_equal(got[5 + k, i].numpy(), view[:, :, ::-1])


def test_the_centre_of_256_starts_at_16():
    image = torch.arange(256 * 256).reshape(1, 1, 256, 256)
    assert centre(image, 224)[0, 0, 0, 0] == 16 * 256 + 16
    assert torch.equal(centre(image, 224), ten_views(image, 224)[2])


@given(batches(), st.sampled_from(["eigenvalue", "std"]))
def test_colour_shifts_are_those_of_a_loop(batch, scale):
    images, _ = batch
    g = torch.Generator().manual_seed(len(images))
    alphas = torch.randn(len(images), 3, generator=g, dtype=torch.float64)
    root = torch.randn(3, 3, generator=g, dtype=torch.float64) * 40
    eigenvalues, p = colour_pca(root @ root.T)
    got = colour_shift(alphas, (eigenvalues, p), scale)
    for i, alpha in enumerate(alphas):
        shift = np.zeros(3)
        for k in range(3):  # section 4.1, written as it stands there
            lam = eigenvalues[k].item()
            size = 255 * (lam / 255**2) if scale == "eigenvalue" else math.sqrt(lam)
            shift += p[:, k].numpy() * alpha[k].item() * size
        assert np.allclose(got[i].numpy(), shift, rtol=1e-9)


READINGS: list[dict[str, Any]] = [
    {},
    {name.removeprefix("augment."): value for name, value in SOURCE.items()},
    {"mean": "centre", "mirror": "both", "share": 3},
    {"mean": "place", "mirror": "vertical", "colour_scale": "std", "colour_shrink": True},
    {"pixels": "standardised", "offsets": 33},
    {"crop": False, "mean": "centre"},
    {"crop": False, "mean": "place", "colour": 0.0},
    {"mirror": "none", "share": 5, "colour": 0.3},
]


@pytest.mark.parametrize("changes", READINGS)
@pytest.mark.parametrize("size", [7, 12])
def test_a_batch_is_that_of_a_loop(changes, size):
    """The whole of it, image by image in float64: every reading's order of crop, mirror, mean, noise and division."""
    r, images, side = recipe(**changes), tiny.images(40, 12), 12
    made = augmenter(images, size, r)
    rows = torch.randperm(40, generator=torch.Generator().manual_seed(5))[:13]
    draws = made.draws
    mean = images.double().mean(0).numpy()
    channel_mean = mean.mean((1, 2))[:, None, None]
    channel_std = np.sqrt((images.double().numpy() ** 2).mean((0, 2, 3)) - channel_mean[:, 0, 0] ** 2)[:, None, None]
    pixels = images.double().numpy().transpose(1, 0, 2, 3).reshape(3, -1)
    lam, p = np.linalg.eigh(np.cov(pixels, bias=True))
    p = p * np.sign(p[np.abs(p).argmax(0), range(3)])  # the sign of an eigenvector is free: this is the library's
    lam, p = lam[::-1], p[:, ::-1]

    def loop(position: int) -> np.ndarray:
        row = int(rows[position])
        leader = int(rows[position - position % r.share])  # its crop and mirror are shared
        x = images[row].double().numpy()
        places = max(1, side - size + (1 if r.offsets == 33 else 0))
        u, v = draws.places[leader].double().tolist()
        top, left = (math.floor(u * places), math.floor(v * places)) if r.crop else ((side - size) // 2,) * 2
        middle = (side - size) // 2
        central_mean = mean[:, middle : middle + size, middle : middle + size]
        if r.pixels == "standardised":
            x = (x - channel_mean) / channel_std
        elif r.mean == "place":
            x = x - mean
        x = x[:, top : top + size, left : left + size]
        if r.mirror in ("horizontal", "both") and draws.mirrors[leader, 0] < 0.5:
            x = x[:, :, ::-1]
        if r.mirror in ("vertical", "both") and draws.mirrors[leader, 1] < 0.5:
            x = x[:, ::-1, :]
        if r.pixels == "centred" and r.mean == "centre":
            x = x - central_mean
        if r.colour:
            alpha = draws.alphas[row].double().numpy() * r.colour
            sizes = lam / 255 if r.colour_scale == "eigenvalue" else np.sqrt(lam)
            shift = (p @ (alpha * sizes))[:, None, None]
            x = x + (shift / channel_std if r.pixels == "standardised" else shift)
            x = x / (1 + r.colour) if r.colour_shrink else x
        return x

    got = made.train_batch(images[rows], rows)
    assert got.dtype == torch.float32 and got.is_contiguous(memory_format=torch.channels_last)
    expected = np.stack([loop(position) for position in range(len(rows))])
    assert np.allclose(got.numpy(), expected, rtol=1e-6, atol=1e-4)  # of values up to 255 in float32


@pytest.mark.parametrize("mean", ["place", "centre"])
def test_ten_views_meet_the_mean_of_their_reading(mean):
    images = tiny.images(20, 10)
    views = augmenter(images, 6, recipe(mean=mean)).test_views(images[:3])
    whole = images.double().mean(0)
    for k, (top, left) in enumerate([(0, 0), (0, 4), (2, 2), (4, 0), (4, 4)]):
        at = (top, left) if mean == "place" else (2, 2)
        own = whole[:, at[0] : at[0] + 6, at[1] : at[1] + 6]
        view = images[:3, :, top : top + 6, left : left + 6].double()
        mirrored = (view - own).flip(3) if mean == "place" else view.flip(3) - own
        assert torch.allclose(views[k].double(), view - own, atol=1e-4)
        assert torch.allclose(views[5 + k].double(), mirrored, atol=1e-4)


def test_the_centre_view_is_one_of_the_ten():
    images = tiny.images(20, 10)
    for r in (recipe(), recipe(mean="centre"), recipe(pixels="standardised")):
        made = augmenter(images, 6, r)
        assert torch.equal(made.test_views(images)[2], made.test_batch(images))


def test_everything_stays_on_the_device_of_the_images():
    """On the meta device a tensor that was left on the CPU by mistake is an error."""
    images = tiny.images(8, 12)
    for r in (recipe(), recipe(mean="centre", colour_shrink=True), recipe(pixels="standardised", mirror="both")):
        made = augmenter(images, 8, r).to("meta")
        there, rows = images.to("meta"), torch.arange(8)
        for out in (made.train_batch(there, rows), made.test_batch(there), made.test_views(there)):
            assert out.device.type == "meta" and out.shape[-3:] == (3, 8, 8)


# ---------------------------------------------------------------------------------------------------------
# Crops and mirrors: how many, of what, and when


@pytest.mark.parametrize(("side", "size"), [(40, 8), (256, 224)])
@pytest.mark.parametrize(("offsets", "factor"), [(32, 2048), (33, 2178)])
def test_number_of_distinct_crops(side, size, offsets, factor):
    """S4.1-b: all places and mirrors of one image, made and counted; 40 → 8 has as many as the paper's 256 → 224."""
    image, seen = tiny.images(1, side, channels=1), set()
    count = positions(side, size, offsets)
    for top in range(count):
        each = torch.tensor([(top, left) for left in range(count)])
        for flag in (False, True):
            flips = torch.tensor([[flag, False]] * count)
            views = crop_and_mirror(image.expand(count, -1, -1, -1), each, flips, size)
            seen |= {hash(x.numpy().tobytes()) for x in views}
    assert len(seen) == factor


@pytest.mark.parametrize(("offsets", "factor"), [(32, 2048), (33, 2178)])
def test_an_epoch_draws_each_of_them(offsets, factor):
    """20,000 draws: every crop and mirror occurs, about equally often, and nothing else does."""
    image = tiny.images(1, 40, channels=1)
    made = augmenter(image, 8, recipe(offsets=offsets, colour=0.0, mean="centre"))
    made.start_epoch(0, 0, 20_000)
    batch = made.train_batch(image.expand(20_000, -1, -1, -1), torch.arange(20_000))
    _, counts = np.unique(batch.flatten(1).contiguous().numpy(), axis=0, return_counts=True)
    assert len(counts) == factor
    expected = 20_000 / factor
    assert ((counts - expected) ** 2 / expected).sum() < factor + 5 * math.sqrt(2 * factor)  # chi squared


def test_the_last_place_is_never_reached_by_rounding():
    almost_one = torch.tensor([[1 - 2**-24, 0.0]])
    draws = Draws(almost_one, almost_one, torch.zeros(1, 3))
    for places in (1, 2, 8, 9, 31, 32, 33, 1000):
        assert draws.offsets(torch.tensor([0]), places).tolist() == [[places - 1, 0]]


def test_by_default_only_left_and_right_are_exchanged():
    """An image that grows brighter downwards and to the right: the paper's mirror changes the second only."""
    ramp = (torch.arange(16)[:, None] * 8 + torch.arange(16)).to(torch.uint8).expand(200, 1, 16, 16).contiguous()
    cases: list[tuple[dict[str, Any], set[int], set[int]]] = [
        ({}, {1}, {1, -1}), ({"mirror": "none"}, {1}, {1}), ({"mirror": "vertical"}, {1, -1}, {1}),
    ]  # fmt: skip
    for changes, down, along in cases:
        made = augmenter(ramp, 16, recipe(colour=0.0, pixels="standardised", **changes))
        batch = made.train_batch(ramp, torch.arange(200))
        assert set((batch[:, 0, 1, 0] - batch[:, 0, 0, 0]).sign().int().tolist()) == down
        assert set((batch[:, 0, 0, 1] - batch[:, 0, 0, 0]).sign().int().tolist()) == along


def test_an_image_is_not_mirrored_in_every_epoch_alike():
    """Each of 300 images is mirrored in some of 20 epochs, and about half of all images in each."""
    flags = torch.stack([Draws.of_epoch(3, epoch, 300).flags(torch.arange(300))[:, 0] for epoch in range(20)])
    assert flags.any(0).all() and not flags.all(0).any()
    assert (flags.double().mean(1) - 0.5).abs().max() < 5 * 0.5 / math.sqrt(300)


def test_sharing_is_among_images_consecutive_in_the_batch():
    """The 2012 code's chunks of 32: crop and mirror as the chunk's first image, colour noise of one's own."""
    image = tiny.images(1, 40)
    made = augmenter(image, 8, recipe(share=32, colour=0.0, mean="centre"))
    made.start_epoch(0, 0, 1000)
    rows = torch.randperm(1000, generator=torch.Generator().manual_seed(1))[:128]
    batch = made.train_batch(image.expand(128, -1, -1, -1), rows)
    chunks = batch.unflatten(0, (4, 32))
    assert all(torch.equal(x, chunk[0]) for chunk in chunks for x in chunk)
    assert len({x.numpy().tobytes() for x in chunks[:, 0].contiguous()}) == 4
    noisy = augmenter(image, 8, recipe(share=32, mean="centre"))
    noisy.pca = colour_pca(torch.diag(torch.tensor([900.0, 400.0, 100.0])))
    noisy.start_epoch(0, 0, 1000)
    shifts = noisy.train_batch(image.expand(128, -1, -1, -1), rows) - batch
    assert len(shifts[:, :, 0, 0].unique(dim=0)) == 128


def test_without_crops_the_net_sees_the_centre():
    images = tiny.images(30, 12)
    made = augmenter(images, 8, recipe(crop=False, mirror="none", colour=0.0))
    rows = torch.arange(30)
    assert torch.equal(made.train_batch(images, rows), made.test_batch(images))
    assert torch.equal(centre(augmenter(images, 12, made.recipe).train_batch(images, rows), 8), made.test_batch(images))


def test_test_images_are_never_augmented():
    images = tiny.images(30, 12)
    made = augmenter(images, 8, recipe())
    before = made.test_batch(images), made.test_views(images)
    made.start_epoch(7, 3, 30)
    assert torch.equal(made.test_batch(images), before[0]) and torch.equal(made.test_views(images), before[1])
    expected = images.double()[:, :, 2:10, 2:10] - images.double().mean(0)[:, 2:10, 2:10]
    assert torch.allclose(before[0].double(), expected, atol=1e-4)


# ---------------------------------------------------------------------------------------------------------
# Colours


def coloured_images(copies: int = 20, side: int = 4) -> Tensor:
    """Images of one colour each, in all with the covariance eigenvalues 3600, 216 and 18 along known axes.

    The six colours 128 ± a d lie on the axes d = (1,1,1), (1,-1,0), (1,1,-2): the eigenvalue of each is a² |d|² / 3.
    """
    axes = [(60, (1, 1, 1)), (18, (1, -1, 0)), (3, (1, 1, -2))]
    colours = [[128 + sign * a * c for c in d] for a, d in axes for sign in (1, -1)]
    one_each = torch.tensor(colours, dtype=torch.uint8)[:, :, None, None].expand(-1, -1, side, side)
    return one_each.repeat(copies, 1, 1, 1)


AXES = torch.tensor([[1, 1, 1], [1, -1, 0], [1, 1, -2]]).double()
AXES = AXES / AXES.norm(dim=1, keepdim=True)


@pytest.mark.parametrize(
    ("changes", "one_sigma"),
    [
        ({"colour_scale": "eigenvalue"}, [0.1 * 3600 / 255, 0.1 * 216 / 255, 0.1 * 18 / 255]),  # 1.41, 0.08, 0.007
        ({"colour_scale": "std"}, [6.0, 0.1 * math.sqrt(216), 0.1 * math.sqrt(18)]),  # 6, 1.5, 0.4
        ({"colour_scale": "std", "colour": 0.2}, [12.0, 0.2 * math.sqrt(216), 0.2 * math.sqrt(18)]),
    ],
)
def test_one_standard_deviation_of_noise_in_grey_levels(changes, one_sigma):
    """Units and axes of the noise, from data whose covariance is known by construction.

    Catches: the covariance of each image (zero here) or a correlation (eigenvalues near 3), copied ImageNet
    constants, λ of 0–255 pixels taken literally (360 grey levels), λ of 0–1 pixels left at that scale (0.006).
    """
    images = coloured_images()
    made = augmenter(images, 4, recipe(mirror="none", **changes))
    rows = torch.arange(len(images))
    noise = (made.train_batch(images, rows) - made.test_batch(images)).double()
    assert torch.allclose(noise, noise[:, :, :1, :1].expand_as(noise), atol=1e-4)  # one shift for a whole image
    along = noise[:, :, 0, 0] @ AXES.T  # (N, 3)
    sigma = torch.tensor(one_sigma).double()
    assert torch.allclose(along.abs(), made.draws.alphas.double().abs() * sigma, atol=2e-4)  # an axis has no sign


def test_standardised_pixels_are_shifted_by_as_many_grey_levels():
    images = coloured_images()
    made = augmenter(images, 4, recipe(mirror="none", pixels="standardised", colour_scale="std"))
    noise = made.train_batch(images, torch.arange(len(images))) - made.test_batch(images)
    std = images.double().transpose(0, 1).flatten(1).std(1, correction=0)[None, :]
    along = (noise[:, :, 0, 0].double() * std) @ AXES.T
    sigma = torch.tensor([3600.0, 216, 18]).double().sqrt() * 0.1
    assert torch.allclose(along.abs(), made.draws.alphas.double().abs() * sigma, atol=2e-4)


def test_the_trap_of_units_on_imagenet_colours():
    """Eigenvalues of 0-1 pixels, 0.2175 …, as published by others: 5.5 grey levels, or 11.9 for √λ; never 1,400."""
    pca = (torch.tensor([0.2175, 0.0188, 0.0045]).double() * 255**2, torch.eye(3).double())
    one_sigma = torch.tensor([[0.1, 0, 0]]).double()
    assert colour_shift(one_sigma, pca, "eigenvalue")[0, 0].item() == pytest.approx(5.546, abs=1e-3)
    assert colour_shift(one_sigma, pca, "std")[0, 0].item() == pytest.approx(11.892, abs=1e-3)


def test_noise_is_neither_clipped_nor_rounded():
    """White and black images with strong noise: half of them leave the range of bytes, all by fractions."""
    images = torch.cat([torch.zeros(100, 3, 4, 4), torch.full((100, 3, 4, 4), 255.0)]).to(torch.uint8)
    made = augmenter(images, 4, recipe(mirror="none", colour=1.0, colour_scale="std"))
    pixels = made.train_batch(images, torch.arange(200)) + made.mean_image
    assert pixels.isfinite().all()  # these have one axis of colour only, whose fellows may come out a little below 0
    assert ((pixels < 0) | (pixels > 255)).double().mean() > 0.3
    assert (pixels.frac().abs() > 1e-3).double().mean() > 0.9


def test_the_2012_code_divides_by_a_tenth_more_after_the_noise():
    images, rows = coloured_images(), torch.arange(120)
    plain = augmenter(images, 4, recipe(colour_scale="std")).train_batch(images, rows)
    shrunk = augmenter(images, 4, recipe(colour_scale="std", colour_shrink=True)).train_batch(images, rows)
    assert torch.allclose(shrunk * 1.1, plain, atol=1e-4)


def test_noise_and_division_end_with_the_epoch_given():
    images, rows = coloured_images(), torch.arange(120)
    made = augmenter(images, 4, recipe(colour_shrink=True, colour_off_epoch=67, mirror="none"))
    quiet = made.test_batch(images)
    for epoch, off in ((0, False), (66, False), (67, True), (80, True)):
        made.start_epoch(1, epoch, 120)
        assert torch.equal(made.train_batch(images, rows), quiet) == off


def test_grey_images_have_no_colour_noise():
    images = tiny.images(10, 8, channels=1)
    with pytest.raises(PaperlibError, match="three channels and these have 1; set augment.colour to 0"):
        augmenter(images, 6, recipe())
    assert augmenter(images, 6, recipe(colour=0.0)).train_batch(images, torch.arange(10)).shape == (10, 1, 6, 6)


# ---------------------------------------------------------------------------------------------------------
# Random numbers: keyed, and shared by arms


def test_an_epoch_is_a_function_of_seed_and_epoch():
    images = tiny.images(50, 12)
    made, again = augmenter(images, 8, recipe()), augmenter(images, 8, recipe())
    made.start_epoch(4, 2, 50)
    state = torch.random.get_rng_state()
    whole = made.train_batch(images, torch.arange(50))
    torch.manual_seed(99)
    again.start_epoch(4, 1, 50)
    other_epoch = again.train_batch(images, torch.arange(50))
    again.start_epoch(5, 2, 50)
    other_seed = again.train_batch(images, torch.arange(50))
    again.start_epoch(4, 2, 50)
    for rows in (torch.arange(50).flip(0), torch.tensor([7, 30, 2])):  # in any order, in any batches
        assert torch.equal(again.train_batch(images[rows], rows), whole[rows])
    for other in (other_epoch, other_seed):
        assert sum(torch.equal(x, y) for x, y in zip(whole, other, strict=True)) == 0
    torch.random.set_rng_state(state)


def test_the_numbers_have_the_distributions_they_claim():
    """Standard normal α, uniform places and mirrors, by the test of Kolmogorov and Smirnov; columns uncorrelated."""
    draws = Draws.of_epoch(0, 0, 20_000)
    for column in draws.alphas.T:
        assert kstest(column.numpy(), "norm").pvalue > 1e-3
    for column in torch.cat([draws.places, draws.mirrors], 1).T:
        assert kstest(column.numpy(), "uniform").pvalue > 1e-3
    together = torch.cat([draws.places, draws.mirrors, draws.alphas], 1)
    off_diagonal = torch.corrcoef(together.T) - torch.eye(7)
    assert off_diagonal.abs().max() < 5 / math.sqrt(20_000)


def test_drawing_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    Draws.of_epoch(1, 2, 100)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_arm_without_mirrors_shares_crops_and_colours():
    images, rows = tiny.images(60, 12), torch.arange(60)
    r = {"mean": "centre", "pixels": "standardised"}  # so that a mirrored input is the mirror of the input
    with_them = augmenter(images, 8, recipe(**r)).train_batch(images, rows)
    without = augmenter(images, 8, recipe(mirror="none", **r)).train_batch(images, rows)
    mirrored = torch.tensor([torch.equal(x, y.flip(-1)) for x, y in zip(with_them, without, strict=True)])
    same = torch.tensor([torch.equal(x, y) for x, y in zip(with_them, without, strict=True)])
    assert torch.equal(mirrored, ~same) and 15 < mirrored.sum() < 45


def test_an_arm_without_colour_or_crop_shares_the_rest():
    images, rows = tiny.images(60, 12), torch.arange(60)
    full = augmenter(images, 8, recipe()).train_batch(images, rows)
    quiet = augmenter(images, 8, recipe(colour=0.0)).train_batch(images, rows)
    double = augmenter(images, 8, recipe(colour=0.2)).train_batch(images, rows)
    shift = full - quiet  # a constant per image and channel, twice as large at twice the noise
    assert torch.allclose(shift, shift[:, :, :1, :1].expand_as(shift), atol=1e-4) and shift.abs().max() > 0.1
    assert torch.allclose(double - quiet, 2 * shift, atol=1e-4)
    uncropped = augmenter(images, 8, recipe(crop=False)).train_batch(images, rows)
    uncropped_quiet = augmenter(images, 8, recipe(crop=False, colour=0.0)).train_batch(images, rows)
    assert torch.allclose(uncropped - uncropped_quiet, shift, atol=1e-4)
    unmirrored = augmenter(images, 8, recipe(crop=False, colour=0.0, mirror="none")).train_batch(images, rows)
    flags = torch.tensor([torch.equal(x, y.flip(-1)) for x, y in zip(uncropped_quiet, unmirrored, strict=True)])
    assert torch.equal(flags, Draws.of_epoch(1, 0, 60).flags(rows)[:, 0])


def test_32_and_33_offsets_differ_by_a_pixel_at_most():
    draws, rows = Draws.of_epoch(0, 0, 5000), torch.arange(5000)
    step = draws.offsets(rows, 33) - draws.offsets(rows, 32)
    assert set(step.unique().tolist()) == {0, 1}


# ---------------------------------------------------------------------------------------------------------
# What is refused


@pytest.mark.parametrize(
    ("changes", "size", "message"),
    [
        ({"offsets": 8}, 8, "augment.offsets must be 32 or 33"),
        ({"share": 0}, 8, "augment.share"),
        ({"colour": -0.1}, 8, "augment.colour"),
        ({}, 13, "13 × 13 does not fit into images of 12 × 12"),
    ],
)
def test_what_cannot_be_is_refused(changes, size, message):
    with pytest.raises(PaperlibError, match=message):
        augmenter(tiny.images(4, 12), size, recipe(**changes))
