"""The geometry and the arithmetic of the paper, against PyTorch, against counting by hand, and against literals."""

from __future__ import annotations

import dataclasses
import math
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Decimal

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import binom
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from paperlib.paper import arithmetic, facts, published

# --- the net, built again from torch's own layers -----------------------------------------------------------


def torch_net(kernels: tuple[int, ...], groups: tuple[int, ...]) -> nn.Sequential:
    """The net of section 3.5 without paperlib, on the meta device: shapes and counts, no memory and no time."""
    a, b, c, d, e = kernels
    with torch.device("meta"):
        return nn.Sequential(
            nn.ZeroPad2d((0, 3, 0, 3)),
            nn.Conv2d(3, a, 11, stride=4),
            nn.LocalResponseNorm(5),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(a, b, 5, padding=2, groups=groups[1]),
            nn.LocalResponseNorm(5),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(b, c, 3, padding=1, groups=groups[2]),
            nn.Conv2d(c, d, 3, padding=1, groups=groups[3]),
            nn.Conv2d(d, e, 3, padding=1, groups=groups[4]),
            nn.MaxPool2d(3, 2),
            nn.Flatten(),
            nn.Linear(36 * e, 4096),
            nn.Linear(4096, 4096),
            nn.Linear(4096, 1000),
        )


NETS = {
    "two_towers": ((96, 256, 384, 384, 256), (1, 2, 1, 2, 2)),
    "ungrouped": ((96, 256, 384, 384, 256), (1, 1, 1, 1, 1)),
    "one_gpu": ((48, 128, 192, 192, 256), (1, 1, 1, 1, 1)),
}


def macs_of(module: nn.Module, image: torch.Tensor) -> int:
    """Multiplications with addition, counted by torch."""
    with FlopCounterMode(display=False) as counter:
        module(image)
    return int(counter.get_total_flops()) // 2


@pytest.mark.parametrize("name", NETS)
def test_each_layer_has_the_parameters_macs_and_units_of_the_same_layer_in_torch(name: str) -> None:
    ours = getattr(arithmetic, name)()
    x, seen = torch.empty(1, 3, 224, 224, device="meta"), []
    for module in torch_net(*NETS[name]):
        y = module(x)
        if isinstance(module, nn.Conv2d | nn.Linear):
            seen.append((sum(p.numel() for p in module.parameters()), macs_of(module, x), y.numel(), x.shape[-1]))
        x = y
    assert [(layer.parameters, layer.macs, layer.units) for layer in ours] == [each[:3] for each in seen]
    assert [layer.inputs for layer in ours[5:]] == [each[3] for each in seen[5:]]


def test_the_one_column_net_of_2014_is_torchvisions() -> None:
    import torchvision  # here: it imports torch's compiler

    layers = arithmetic.one_weird_trick()
    with torch.device("meta"):
        alexnet = torchvision.models.alexnet()
        image = torch.empty(1, 3, 224, 224)
    assert arithmetic.parameter_count(layers) == sum(p.numel() for p in alexnet.parameters()) == 61_100_840
    assert arithmetic.mac_count(layers) == macs_of(alexnet, image) == 714_188_480
    assert arithmetic.unit_count(layers) == 494_184


TABLE = {  # parameters, share in per cent, MACs, parameters and MACs ungrouped, units
    "conv1": (34_944, 0.057, 105_415_200, 34_944, 105_415_200, 290_400),
    "conv2": (307_456, 0.504, 223_948_800, 614_656, 447_897_600, 186_624),
    "conv3": (885_120, 1.452, 149_520_384, 885_120, 149_520_384, 64_896),
    "conv4": (663_936, 1.089, 112_140_288, 1_327_488, 224_280_576, 64_896),
    "conv5": (442_624, 0.726, 74_760_192, 884_992, 149_520_384, 43_264),
    "fc6": (37_752_832, 61.925, 37_748_736, 37_752_832, 37_748_736, 4_096),
    "fc7": (16_781_312, 27.526, 16_777_216, 16_781_312, 16_777_216, 4_096),
    "fc8": (4_097_000, 6.720, 4_096_000, 4_097_000, 4_096_000, 1_000),
}


def test_the_table_of_the_two_tower_net() -> None:
    two, one = arithmetic.two_towers(), arithmetic.ungrouped()
    share = arithmetic.shares(two)
    ours = {
        a.name: (a.parameters, round(share[a.name], 3), a.macs, b.parameters, b.macs, a.units)
        for a, b in zip(two, one, strict=True)
    }
    assert ours == TABLE
    assert (arithmetic.parameter_count(two), arithmetic.parameter_count(one)) == (60_965_224, 62_378_344)
    assert (arithmetic.mac_count(two), arithmetic.mac_count(one)) == (724_406_816, 1_135_256_096)
    assert arithmetic.unit_count(two) == 659_272
    assert sum(layer.weights for layer in two) == 60_954_656
    assert arithmetic.parameter_count(arithmetic.one_gpu()) == 59_798_312
    assert arithmetic.mac_count(arithmetic.one_gpu()) == 391_514_384


# --- sides --------------------------------------------------------------------------------------------------

windows = st.tuples(st.integers(1, 64), st.integers(1, 12), st.integers(1, 6), st.integers(0, 4))


@given(windows)
def test_conv_side_counts_the_windows(window: tuple[int, int, int, int]) -> None:
    side, kernel, stride, pad = window
    padded = side + 2 * pad
    assume(kernel <= padded)
    starts = [start for start in range(0, padded, stride) if start + kernel <= padded]
    assert arithmetic.conv_side(side, kernel, stride, pad) == len(starts)
    enough = 1  # rounded up: windows are added until the last pixel is covered
    while (enough - 1) * stride + kernel < padded:
        enough += 1
    assert arithmetic.conv_side(side, kernel, stride, pad, ceil=True) == enough
    beyond = (enough - 1) * stride + kernel - padded
    assert arithmetic.overhang(side, kernel, stride, pad) == beyond


@pytest.mark.parametrize(
    ("side", "pad", "ceil", "expected"),
    [(224, 0, False, 54), (224, 0, True, 55), (227, 0, False, 55), (224, 2, False, 55)],
)
def test_the_first_layer_has_54_or_55_positions(side: int, pad: int, ceil: bool, expected: int) -> None:
    assert arithmetic.conv_side(side, 11, 4, pad, ceil) == expected


def test_pool_sides_of_the_paper_and_of_its_comparison() -> None:
    def chain(z: int, ceil: bool) -> list[int]:
        sides = [55]
        for _ in range(3):
            sides.append(arithmetic.conv_side(sides[-1], z, 2, ceil=ceil))
        return sides

    assert chain(3, False) == chain(3, True) == [55, 27, 13, 6]
    assert chain(2, False) == [55, 27, 13, 6]
    assert chain(2, True) == [55, 28, 14, 7]


@pytest.mark.parametrize("arguments", [(4, 5), (4, 7, 1, 1), (8, 3, 0)])
def test_a_window_that_does_not_fit_is_refused(arguments: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        arithmetic.conv_side(*arguments)


# --- cost and noise -----------------------------------------------------------------------------------------


def test_updates_and_operations_of_the_training() -> None:
    assert [arithmetic.updates(n) for n in (1_200_000, 1_261_406, 1_281_167)] == [843_750, 886_926, 900_821]
    assert f"{arithmetic.training_flops():.2e}" == "4.69e+17"
    assert [round(arithmetic.share_of_peak(days)) for days in (5, 5.5, 6)] == [34, 31, 29]
    assert arithmetic.training_flops() / (1e15 * 86_400) == pytest.approx(0.0054, abs=0.00005)


def test_backward_costs_twice_as_much_as_forward() -> None:
    layer = nn.Linear(30, 20, bias=False)
    x = torch.ones(1, 30, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        layer(x).sum().backward()
    assert counter.get_total_flops() == 3 * 2 * 30 * 20


@given(st.floats(1, 99), st.integers(100, 200_000))
def test_standard_error_is_that_of_a_binomial(error: float, n: int) -> None:
    assert arithmetic.standard_error(error, n) == pytest.approx(100 * binom.std(n, error / 100) / n)


def test_standard_errors_of_the_published_numbers() -> None:
    assert round(arithmetic.standard_error(37.5, 150_000), 3) == 0.125
    assert [round(arithmetic.standard_error(e, 50_000), 2) for e in (40.7, 18.2)] == [0.22, 0.17]
    assert [round(arithmetic.difference_error(e, e, 50_000), 2) for e in (40.7, 18.2)] == [0.31, 0.24]
    assert [round(arithmetic.standard_error(e, 10_000), 2) for e in (11, 13)] == [0.31, 0.34]
    assert round(arithmetic.difference_error(11, 13, 10_000), 2) == 0.46


def test_memory_counts_what_torch_would_keep() -> None:
    x = torch.empty(1, 3, 224, 224, device="meta")
    kept = x.numel()  # the image has no gradient
    for module in torch_net(*NETS["two_towers"]):
        x = module(x)
        if not isinstance(module, nn.ZeroPad2d | nn.Flatten):
            kept += 2 * x.numel()
    total = 4 * (128 * kept + 3 * 60_965_224) / 1e9
    outcome = arithmetic.memory()
    assert outcome.value == f"{total:.1f} GB" == "2.1 GB"
    assert f"{4 * 128 * kept / 1e9:.2f} GB" in outcome.detail
    assert outcome.status == "estimate"


# --- agreement ----------------------------------------------------------------------------------------------


@given(st.integers(0, 99_999), st.sampled_from([1, 10, 1000]))
def test_agreement_is_rounding_half_up_then_cutting_off(thousandths: int, steps: int) -> None:
    computed, step = Decimal(thousandths) / 1000, Decimal(steps) / 10
    rounded = (computed / step).quantize(Decimal(1), ROUND_HALF_UP) * step
    cut = (computed / step).quantize(Decimal(1), ROUND_FLOOR) * step
    assert arithmetic.agreement(float(computed), float(rounded), float(step)) == "exact"
    assert arithmetic.agreement(float(computed), float(cut), float(step)) == ("exact" if cut == rounded else "rounding")
    assert arithmetic.agreement(float(computed), float(rounded + step), float(step)) == "erratum"
    assert arithmetic.agreement(float(computed), float(cut - step), float(step)) == "erratum"


# --- the claims ---------------------------------------------------------------------------------------------

STATUS = {
    "parameters": ("rounding", "60,965,224"),
    "neurons": ("rounding", "659,272"),
    "learned_layers": ("exact", "5 + 3"),
    "fewer_than_dense": ("exact", "1,093 times fewer parameters"),
    "conv_shares": ("erratum", "conv3 1.452 %, conv4 1.089 %"),
    "ilsvrc_training_images": ("rounding", "1,261,406 (2010), 1,281,167 (2012)"),
    "ilsvrc_test_images": ("imprecise", "150,000 (2010), 100,000 (2012)"),
    "order_of_gains": ("exact", "1.7 > 1.4 > 0.4"),
    "memory": ("estimate", "2.1 GB"),
    "work_per_gpu": ("exact", "362 M against 392 M"),
    "one_gpu_parameters": ("exact", "59,798,312 (98.1 %)"),
    "largest_layer": ("exact", "fc6 61.9 %"),
    "pool_sides": ("exact", "55 -> 27 -> 13 -> 6"),
    "first_side": ("exact", "55"),
    "second_layer": ("exact", "256 of 5x5x48"),
    "later_layers": ("exact", "384 of 3x3x256, 384 of 3x3x192, 256 of 3x3x192"),
    "fully_connected": ("exact", "4096-4096-1000"),
    "figure2_neurons": ("erratum", "conv1 290,400"),
    "label_bits": ("exact", "9.966 bits"),
    "augmentation_factor": ("imprecise", "2,178"),
    "colour_noise": ("estimate", "5.5, 1,414 or 11.9 grey levels"),
    "passes": ("exact", "93 and 91"),
    "training_time": ("estimate", "208 to 250 images/s, 29 to 34 % of peak"),
    "table1_cnn": ("exact", "37.4727 / 16.9987"),
    "centre_view": ("exact", "39.0247 / 18.2953"),
    "validation_against_test": ("erratum", "top-1 0.18, top-5 0.02"),
    "table2_one": ("exact", "40.664 / 18.21"),
    "table2_five": ("exact", "16.422"),
    "table2_pretrained": ("exact", "38.99 / 16.622"),
    "table2_seven": ("exact", "15.315"),
    "contest": ("exact", "15.315 / 26.172"),
    "two_gpu_gain": ("exact", "1.6953 / 1.23"),
    "lrn_gain": ("exact", "1.37 / 1.152"),
    "pooling_gain": ("exact", "0.394 / 0.3"),
}


@pytest.mark.parametrize("name", STATUS)
def test_each_claim_has_the_outcome_that_was_worked_out_by_hand(name: str) -> None:
    outcome = getattr(arithmetic, name)()
    assert (outcome.status, outcome.value) == STATUS[name]
    assert outcome.detail.endswith(".")


def figure2_corrected() -> tuple[int, ...]:
    return (150_528, 290_400, *facts.FIGURE2_NEURONS[2:])


@pytest.mark.parametrize(
    ("function", "constant", "value", "status"),
    [
        ("parameters", "PARAMETERS", 61_000_000, "exact"),
        ("parameters", "PARAMETERS", 62_000_000, "erratum"),
        ("neurons", "NEURONS", 660_000, "exact"),
        ("neurons", "NEURONS", 640_000, "erratum"),
        ("learned_layers", "LEARNED_LAYERS", 9, "erratum"),
        ("conv_shares", "CONV_SHARE_BOUND", 1.5, "exact"),
        ("conv_shares", "CONV_SHARE_BOUND", 1.2, "erratum"),
        ("ilsvrc_test_images", "ILSVRC", facts.ILSVRC[:1], "exact"),
        ("ilsvrc_training_images", "ILSVRC_STATED", dataclasses.replace(facts.ILSVRC_STATED, validation=1), "erratum"),
        ("figure2_neurons", "FIGURE2_NEURONS", figure2_corrected(), "exact"),
        ("later_layers", "FIGURE2_NEURONS", (0,) * 9, "erratum"),
        ("first_side", "FIGURE2_SIDES", (224, 54, 27, 13, 13, 13), "erratum"),
        ("pool_sides", "FIGURE2_SIDES", (224, 55, 28, 14, 14, 14), "erratum"),
        ("label_bits", "LABEL_BITS", 9, "rounding"),
        ("augmentation_factor", "AUGMENTATION_FACTOR", 2178, "exact"),
        ("validation_against_test", "VALIDATION_TEST_BOUND", 0.2, "exact"),
        ("centre_view", "CENTRE_VIEW", (39.1, 18.3), "erratum"),
        ("pooling_gain", "GAINS", (dataclasses.replace(facts.GAINS[2], top5=0.4),), "erratum"),
        ("order_of_gains", "GAINS", (dataclasses.replace(facts.GAINS[0], top1=0.1), *facts.GAINS[1:]), "erratum"),
        ("table2_one", "TABLE2", tuple(dataclasses.replace(r, val_top1=40.6) for r in facts.TABLE2), "rounding"),
    ],
)
def test_the_status_is_computed_from_what_the_paper_states(
    monkeypatch: pytest.MonkeyPatch, function: str, constant: str, value: object, status: str
) -> None:
    monkeypatch.setattr(facts, constant, value)
    assert getattr(arithmetic, function)().status == status


def test_the_depths_of_the_kernels_are_held_against_who_reads_whom(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = tuple(dataclasses.replace(conv, depth=96) if conv.name == "conv2" else conv for conv in facts.CONVS)
    monkeypatch.setattr(facts, "CONVS", wrong)
    assert arithmetic.second_layer().status == "erratum"
    assert arithmetic.later_layers().status == "exact"


def test_crops_and_mirrors_counted_one_by_one() -> None:
    crops = {(y, x, mirrored) for y in range(256) for x in range(256) for mirrored in (0, 1) if max(y, x) + 224 <= 256}
    assert arithmetic.augmentation_factor().value == f"{len(crops):,}"
    assert len([1 for y, x, _ in crops if max(y, x) < 32]) == facts.AUGMENTATION_FACTOR


def test_the_wrong_number_of_figure_2_is_a_side_too_little() -> None:
    assert facts.FIGURE2_NEURONS[1] == 55 * 48 * 96
    assert "253,440 = 55 x 48 x 96" in arithmetic.figure2_neurons().detail


def test_dense_layers_counted_by_torch() -> None:
    with torch.device("meta"):
        dense = nn.Linear(224 * 224 * 3, 55 * 55 * 96, bias=False)
    assert f"{dense.weight.numel():.2e}" == "4.37e+10"
    assert "150,528 x 290,400 = 4.37e+10 instead of 34,944" in arithmetic.fewer_than_dense().detail


def test_ten_views_gain_and_noise_stand_in_the_details() -> None:
    assert "gain 1.55 / 1.30" in arithmetic.centre_view().detail
    assert "1.3 unpaired standard errors" in arithmetic.pooling_gain().detail
    assert "more than 0.1" in arithmetic.validation_against_test().detail


def test_a_unit_colour_covariance_has_the_noise_of_the_paper() -> None:
    detail = arithmetic.colour_noise().detail
    for scale, unit in ((1, "eigenvalues of 0-1 pixels"), (255, "eigenvalues of 0-255 pixels")):
        values = torch.tensor([0.2175, 0.0188, 0.0045], dtype=torch.float64) * scale**2
        levels = 0.1 * values * 255 / scale
        assert f"{unit} " + " / ".join(f"{float(level):,.1f}" for level in levels) in detail
    deviations = [0.1 * math.sqrt(value * 255**2) for value in (0.2175, 0.0188, 0.0045)]
    assert "standard deviations (2012 source) " + " / ".join(f"{each:,.1f}" for each in deviations) in detail


def test_a_run_without_both_error_rates_is_refused() -> None:
    with pytest.raises(LookupError, match="#131"):
        published._errors(facts.run_log("131"))
