"""What kernels are said to have learnt, for kernels of which it is known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from paperlib.errors import PaperlibError
from paperlib.evidence import conv1


def noise(count: int = 200, channels: int = 3, side: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(seed))


def grating(cycles: float, angle: float, side: int = 11, phase: float = 0.3) -> Tensor:
    """A grey grating of so many cycles a pixel under a round window: (1, 3, side, side)."""
    y, x = torch.meshgrid(*[torch.arange(side) - (side - 1) / 2] * 2, indexing="ij")
    wave = torch.cos(2 * math.pi * cycles * (x * math.cos(angle) + y * math.sin(angle)) + phase)
    return (wave * torch.exp(-(x**2 + y**2) / (2 * (side / 4) ** 2))).expand(1, 3, side, side)


def blob(side: int = 11) -> Tensor:
    y, x = torch.meshgrid(*[torch.arange(side) - (side - 1) / 2] * 2, indexing="ij")
    return torch.exp(-(x**2 + y**2) / (2 * (side / 6) ** 2)).expand(1, 3, side, side)


# ---------------------------------------------------------------------------------------------------------
# Colour


def test_colour_index_of_known_kernels() -> None:
    g = torch.Generator().manual_seed(0)
    plane = torch.randn(1, 5, 5, generator=g)
    grey = plane.expand(3, 5, 5)
    red_green = torch.cat([plane, -plane, torch.zeros(1, 5, 5)])
    red = torch.cat([plane, torch.zeros(2, 5, 5)])  # a third of a pure red is brightness
    some = torch.stack([grey, red_green, red, grey + red_green, torch.zeros(3, 5, 5)])
    # grey and red-green are orthogonal: energies 3 and 2 per unit of the plane's
    assert conv1.colour_index(some).tolist() == pytest.approx([0, 1, 2 / 3, 2 / 5, 0], abs=1e-6)
    assert torch.allclose(conv1.colour_index(7 * some), conv1.colour_index(some))


def test_random_kernels_have_two_thirds_of_colour() -> None:
    some = torch.randn(500, 3, 11, 11, generator=torch.Generator().manual_seed(0))
    assert conv1.colour_index(some).mean().item() == pytest.approx(2 / 3, abs=0.005)


def test_towers_are_compared_in_order_and_against_chance() -> None:
    g = torch.Generator().manual_seed(0)
    grey = torch.randn(12, 1, 5, 5, generator=g).expand(12, 3, 5, 5)
    any_colour = torch.randn(12, 3, 5, 5, generator=g)
    specialised = torch.cat([grey, any_colour])
    assert conv1.tower_colour(specialised).tolist() == pytest.approx([0, 2 / 3], abs=0.05)
    # 2 of the C(24, 12) = 2,704,156 halvings are as far apart
    by_chance = conv1.gaps_by_chance(conv1.colour_index(specialised), torch.Generator().manual_seed(1))
    assert (by_chance >= 0.6).double().mean() < 0.001


def test_gap_by_chance_is_the_share_of_all_halvings() -> None:
    """Eight kernels, four a tower: all 70 halvings counted."""
    some = torch.randn(8, 3, 3, 3, generator=torch.Generator().manual_seed(2))
    index = conv1.colour_index(some).numpy()
    gap = abs(index[:4].mean() - index[4:].mean())
    halves = [list(h) for h in itertools.combinations(range(8), 4)]
    exact = np.mean([abs(index[h].mean() - np.delete(index, h).mean()) >= gap - 1e-12 for h in halves])
    by_chance = conv1.gaps_by_chance(conv1.colour_index(some), torch.Generator().manual_seed(3), splits=20_000)
    got = (by_chance >= gap - 1e-9).double().mean().item()
    assert got == pytest.approx(exact, abs=5 * math.sqrt(exact * (1 - exact) / 20_000))


def test_grey_kernels_of_one_channel_have_no_index() -> None:
    with pytest.raises(PaperlibError, match=r"not \(4, 1, 5, 5\)"):
        conv1.colour_index(torch.zeros(4, 1, 5, 5))


# ---------------------------------------------------------------------------------------------------------
# Orientation and frequency


def test_both_measures_are_those_of_a_loop_over_frequencies() -> None:
    """The discrete-time Fourier transform, term by term."""
    kernel = noise(1, 2, 3, seed=4)[0].double().numpy()
    kernel -= kernel.mean((1, 2), keepdims=True)
    total, moment, octaves = 0.0, 0j, []
    for i, k in itertools.product(range(conv1.SPECTRUM), repeat=2):
        v, u = ((n if n < conv1.SPECTRUM / 2 else n - conv1.SPECTRUM) / conv1.SPECTRUM for n in (i, k))
        if u == v == 0:
            continue
        wave = np.exp(-2j * np.pi * (v * np.arange(3)[:, None] + u * np.arange(3)))
        power = float((abs((kernel * wave).sum((1, 2))) ** 2).sum())
        total += power
        moment += power * np.exp(2j * np.arctan2(v, u))
        octaves.append((np.log2(np.hypot(u, v)), power))
    logs, powers = np.array(octaves).T
    spread = np.sqrt(np.average((logs - np.average(logs, weights=powers)) ** 2, weights=powers))
    found = torch.from_numpy(kernel)[None]
    assert float(conv1.orientation_selectivity(found)) == pytest.approx(abs(moment) / total)
    assert float(conv1.bandwidth(found)) == pytest.approx(spread)


@settings(max_examples=30, deadline=None)
@given(cycles=st.floats(0.2, 0.35), angle=st.floats(0, math.pi), phase=st.floats(0, math.pi))
def test_a_grating_has_an_orientation_and_a_frequency(cycles: float, angle: float, phase: float) -> None:
    one = grating(cycles, angle, phase=phase)
    assert float(conv1.orientation_selectivity(one)) > 0.6
    assert float(conv1.bandwidth(one)) < 0.75 * float(conv1.bandwidth(noise(side=11)).mean())


def test_a_blob_has_no_orientation_and_noise_neither_by_more_than_chance() -> None:
    assert float(conv1.orientation_selectivity(blob())) < 1e-4
    some = noise()
    chance = conv1.shuffled(some, torch.Generator().manual_seed(1), copies=5)
    for measure in (conv1.orientation_selectivity, conv1.bandwidth):
        spread = float(measure(chance).std()) / math.sqrt(len(some))
        assert float(measure(some).mean()) == pytest.approx(float(measure(chance).mean()), abs=4 * spread)


def test_what_turns_or_brightens_a_kernel_changes_neither() -> None:
    some = noise(20, seed=2)
    for measure in (conv1.orientation_selectivity, conv1.bandwidth):
        for changed in (some.rot90(1, (2, 3)), some.flip(3), 7 * some, some + 3):
            torch.testing.assert_close(measure(changed), measure(some), rtol=1e-5, atol=1e-6)


def test_kernels_without_variation_have_neither() -> None:
    flat = torch.ones(2, 3, 5, 5)
    assert conv1.orientation_selectivity(flat).tolist() == [0, 0]
    assert conv1.bandwidth(flat).isnan().all()


def test_shuffled_copies_have_the_pixels_of_their_kernels() -> None:
    """Whole pixels move, all channels together."""
    some = noise(3, side=4)
    copies = conv1.shuffled(some, torch.Generator().manual_seed(0), copies=5)
    assert copies.shape == (15, 3, 4, 4)
    for n, copy in enumerate(copies):
        theirs, mine = (sorted(map(tuple, k.flatten(1).T.tolist())) for k in (some[n % 3], copy))
        assert theirs == mine
    assert len({tuple(copy.flatten().tolist()) for copy in copies}) == 15


def test_kernels_as_smooth_have_the_power_of_theirs_at_each_radius_and_no_orientation_but_by_chance() -> None:
    """The periodic spectrum of a grating is one pair of frequencies: its power comes back on all of their radius."""
    some = torch.cat([noise(2, side=5), torch.cos(2 * math.pi * torch.arange(5) / 5).expand(1, 3, 5, 5)])
    copies = conv1.as_smooth(some, torch.Generator().manual_seed(0), copies=40)
    assert copies.shape == (120, 3, 5, 5)
    turns = [k if k < 3 else k - 5 for k in range(5)]

    def power(kernels: Tensor, radius: int) -> Tensor:
        of = torch.fft.fft2(kernels.double()).abs().square()
        return sum(of[..., y, x] for y in range(5) for x in range(5) if turns[y] ** 2 + turns[x] ** 2 == radius)

    for radius in (0, 1, 2, 4, 5, 8):
        torch.testing.assert_close(power(copies, radius), power(some, radius).repeat(40, 1), rtol=1e-4, atol=1e-4)
    grating, turned = some[2:], copies[2::3]
    assert conv1.orientation_selectivity(turned).mean() < 0.7 * conv1.orientation_selectivity(grating)[0]
