"""The nets: sizes, readings, ablations, connectivity and initial weights."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paperlib.errors import PaperlibError
from paperlib.nets.layers import learned_layers, parameter_count, set_step
from paperlib.nets.sizes import (
    CIFAR_SIZES,
    EVIDENCE_SIZES,
    FULL_SIZES,
    SAMPLE_SIZES,
    TINY_SIZES,
    VGG_EVIDENCE_SIZES,
    VGG_FULL_SIZES,
    VGG_SAMPLE_SIZES,
)
from paperlib.nets.table import NETS, PARAMETERS, build, make, summary, weight_std
from paperlib.recipe import ModelRecipe, Recipe, Sizes

PAPER, SOURCE = Recipe.paper().model, Recipe.source2012().model
FOUR_LAYERS = replace(PAPER, lrn=False, dropout=0.0)
READINGS = pytest.mark.parametrize("reading", [PAPER, SOURCE], ids=["paper", "source"])
SIZES = pytest.mark.parametrize(
    "sizes", [FULL_SIZES, EVIDENCE_SIZES, SAMPLE_SIZES, TINY_SIZES], ids=["full", "evidence", "sample", "tiny"]
)


def layers(model: ModelRecipe, sizes: Sizes = EVIDENCE_SIZES) -> dict[str, str]:
    """Every layer by name as it describes itself, in order; no memory is used."""
    with torch.device("meta"):
        return {name: repr(m) for name, m in make(model, sizes).named_children()}


def changed(a: ModelRecipe, b: ModelRecipe, sizes: Sizes = EVIDENCE_SIZES) -> set[str]:
    """Names of the layers that only one of the two nets has, or that differ."""
    left, right = layers(a, sizes), layers(b, sizes)
    return {name for name in left | right if left.get(name) != right.get(name)}


def sides(model: ModelRecipe, sizes: Sizes) -> list[int]:
    """Sides of the maps that the convolutions give."""
    table = summary(model, sizes)
    return [int(out.split("x")[0]) for name, out in table["output"].items() if str(name).startswith("conv")]


def images(sizes: Sizes, n: int = 2, seed: int = 0) -> Tensor:
    """Noise of the size of pixels minus their mean."""
    shape = (n, sizes.channels, sizes.crop, sizes.crop)
    return 60 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------------------------------------------------
# Sizes (sections 3.2 and 3.5)

B1 = pd.DataFrame(
    [
        ("conv1", "55x55x96", 34_944, 105_415_200, 34_944, 105_415_200, 290_400),
        ("conv2", "27x27x256", 307_456, 223_948_800, 614_656, 447_897_600, 186_624),
        ("conv3", "13x13x384", 885_120, 149_520_384, 885_120, 149_520_384, 64_896),
        ("conv4", "13x13x384", 663_936, 112_140_288, 1_327_488, 224_280_576, 64_896),
        ("conv5", "13x13x256", 442_624, 74_760_192, 884_992, 149_520_384, 43_264),
        ("fc6", "4096", 37_752_832, 37_748_736, 37_752_832, 37_748_736, 4_096),
        ("fc7", "4096", 16_781_312, 16_777_216, 16_781_312, 16_777_216, 4_096),
        ("fc8", "1000", 4_097_000, 4_096_000, 4_097_000, 4_096_000, 1_000),
        ("sum", "", 60_965_224, 724_406_816, 62_378_344, 1_135_256_096, 659_272),
    ],
    columns=["layer", "output", "parameters", "macs", "parameters ungrouped", "macs ungrouped", "units"],
).set_index("layer")
"""Table B1 of shared/paper/claims.md, computed there by other means."""


@READINGS
def test_summary_of_the_paper_net_is_table_b1(reading: ModelRecipe) -> None:
    ours = summary(reading, FULL_SIZES)
    pd.testing.assert_frame_equal(
        ours[["output", "parameters", "macs", "units"]], B1[["output", "parameters", "macs", "units"]]
    )
    shares = [0.057, 0.504, 1.452, 1.089, 0.726, 61.925, 27.526, 6.720, 100.0]
    assert ours["share"].round(3).tolist() == shares


def test_summary_of_the_ungrouped_net_is_table_b1() -> None:
    ours = summary(replace(PAPER, net="ungrouped"), FULL_SIZES)
    assert ours["parameters"].tolist() == B1["parameters ungrouped"].tolist()
    assert ours["macs"].tolist() == B1["macs ungrouped"].tolist()
    assert ours["units"].tolist() == B1["units"].tolist()


def test_one_tower_net_of_footnote_2() -> None:
    """Half the kernels in conv1 to conv4; conv5 and the fully connected layers whole (S3.2-e)."""
    ours = summary(replace(PAPER, net="one_tower"), FULL_SIZES)
    maps = [int(out.split("x")[-1]) for out in ours["output"][:-1]]
    assert maps == [48, 128, 192, 192, 256, 4096, 4096, 1000]
    assert ours.loc["sum", "parameters"] == 59_798_312
    assert ours.loc["sum", "macs"] == 391_514_384
    assert not any("groups=2" in layer for layer in layers(replace(SOURCE, net="one_tower")).values())


@pytest.mark.parametrize(
    ("net", "sizes", "parameters"),
    [
        ("two_tower", EVIDENCE_SIZES, 708_970),
        ("two_tower", TINY_SIZES, 7_549_704),
        ("vgg_stack", VGG_FULL_SIZES, 132_863_336),  # torchvision's vgg11 has as many
        ("80sec", CIFAR_SIZES, 2_432 + 25_632 + 51_264 + 65_600 + 650),
        ("19pct", CIFAR_SIZES, 2_432 + 25_632 + 51_264 + 10_250),
    ],
)
def test_parameters(net: str, sizes: Sizes, parameters: int) -> None:
    model = FOUR_LAYERS if net in ("80sec", "19pct") else PAPER
    assert summary(replace(model, net=net), sizes).loc["sum", "parameters"] == parameters


@pytest.mark.parametrize("pool", ["overlapping", "2x2"])
@pytest.mark.parametrize(
    ("sizes", "want"),
    [
        (FULL_SIZES, [55, 27, 13, 13, 13, 6]),
        (EVIDENCE_SIZES, [24, 12, 6, 6, 6, 3]),
        (SAMPLE_SIZES, [24, 12, 6, 6, 6, 3]),
        (TINY_SIZES, [28, 14, 7, 7, 7, 3]),
    ],
    ids=["full", "evidence", "sample", "tiny"],
)
def test_sides_are_equal_for_both_pools_as_stated(pool: str, sizes: Sizes, want: list[int]) -> None:
    model = replace(PAPER, pool=pool)
    assert sides(model, sizes) == want[:5]
    assert learned_layers_of(model, sizes)["fc6"].in_features == sizes.kernels[4] * want[5] ** 2


def learned_layers_of(model: ModelRecipe, sizes: Sizes) -> dict[str, Any]:
    with torch.device("meta"):
        return dict(learned_layers(make(model, sizes)))


def test_2x2_pooling_as_run_147() -> None:
    """55 -> 28 rounded up, conv2 with pad 1 26, 13, conv5 with pad 0 11, rounded up 6: same parameters, less work."""
    as_run = replace(SOURCE, pool="2x2_as_run")
    assert sides(as_run, FULL_SIZES) == [55, 26, 13, 13, 11]
    table = summary(as_run, FULL_SIZES)
    assert table.loc["sum", "parameters"] == 60_965_224
    assert table.loc["fc6", "macs"] == 6 * 6 * 256 * 4096
    assert changed(SOURCE, as_run, FULL_SIZES) == {"pool1", "pool2", "pool5", "conv2", "conv5"}
    with torch.device("meta"):
        net = make(as_run, FULL_SIZES)
        x, after = torch.empty(1, 3, 224, 224), {}
        with torch.no_grad():
            for name, layer in net.eval().named_children():
                x = layer(x)
                after[name] = x.shape[-1]
    assert [after[name] for name in ("pool1", "conv2", "pool2", "conv5", "pool5")] == [28, 26, 13, 11, 6]


@pytest.mark.parametrize("sizes", [EVIDENCE_SIZES, SAMPLE_SIZES, TINY_SIZES], ids=["evidence", "sample", "tiny"])
def test_2x2_pooling_as_run_in_small_nets(sizes: Sizes) -> None:
    """The same confound: conv2 sees one row less, conv5 two; all other sides and the parameters are the paper's."""
    first, second, *middle, last = sides(PAPER, sizes)
    as_run = replace(PAPER, pool="2x2_as_run")
    assert sides(as_run, sizes) == [first, second - 1, *middle, last - 2]
    assert summary(as_run, sizes)["parameters"].tolist() == summary(PAPER, sizes)["parameters"].tolist()


# ---------------------------------------------------------------------------------------------------------
# The whole net against PyTorch's functions, written out once more


def by_hand(net: nn.Module, x: Tensor, source: bool) -> Tensor:
    """The full-size net of section 3.5 at test, or that of layers-145.cfg, from ``torch.nn.functional`` alone."""
    w = dict(net.named_parameters())

    def conv(x: Tensor, name: str, **geometry: int) -> Tensor:
        return F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], **geometry)

    def lrn(x: Tensor) -> Tensor:
        if source:
            return torch.cat(
                [F.local_response_norm(half, 5, alpha=1e-4, beta=0.75, k=2.0) for half in x.chunk(2, 1)], 1
            )
        return F.local_response_norm(x, 5, alpha=5e-4, beta=0.75, k=2.0)

    x = conv(F.pad(x, (0, 3, 0, 3)), "conv1", stride=4)
    x = lrn(x).relu() if source else lrn(x.relu())
    x = F.max_pool2d(x, 3, 2)
    x = lrn(conv(x, "conv2", padding=2, groups=2).relu())
    if source:
        x = x * (1 + 1e-3 * F.avg_pool2d(x**2, 5, stride=1, padding=2)) ** -0.75
    x = F.max_pool2d(x, 3, 2)
    x = conv(x, "conv3", padding=1).relu()
    x = conv(x, "conv4", padding=1, groups=2).relu()
    x = F.max_pool2d(conv(x, "conv5", padding=1, groups=2).relu(), 3, 2).flatten(1)
    for name in ("fc6", "fc7"):
        x = F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"]).relu() / 2
    return F.linear(x, w["fc8.weight"], w["fc8.bias"])


@READINGS
def test_full_size_net_by_hand(reading: ModelRecipe) -> None:
    """Geometry, groups, order, LRN constants and dropout at test all at once; logits, not probabilities.

    With the literal initial weights the biases would drown the image, and the test would see little.
    """
    net = build(replace(reading, init="he"), FULL_SIZES, seed=1).eval()
    x = images(FULL_SIZES, n=1)
    with torch.no_grad():
        ours = net(x)
        torch.testing.assert_close(ours, by_hand(net, x, source=reading is SOURCE), rtol=1e-4, atol=1e-4)
        assert not torch.allclose(ours, by_hand(net, x, source=reading is PAPER), rtol=1e-2, atol=1e-2)


# ---------------------------------------------------------------------------------------------------------
# Readings and ablations: what a field changes, and that it changes nothing else


def test_order_of_the_layers() -> None:
    tail = ["conv3", "act3", "conv4", "act4", "conv5", "act5", "pool5", "flatten"]
    tail += ["fc6", "act6", "drop6", "fc7", "act7", "drop7", "fc8"]  # dropout after fc6 and fc7; no softmax
    second = ["conv2", "act2", "norm2", "pool2"]
    assert list(layers(PAPER)) == ["conv1", "act1", "norm1", "pool1", *second, *tail]
    second.insert(3, "spatial_norm2")
    assert list(layers(SOURCE)) == ["conv1", "norm1", "pool1", "act1", *second, *tail]
    assert list(layers(PAPER, FULL_SIZES))[0] == "edge1"


@pytest.mark.parametrize(
    ("base", "field", "value", "differs"),
    [
        (PAPER, "norm1_before_relu", True, set()),  # only the order, see above
        (PAPER, "lrn", False, {"norm1", "norm2"}),
        (SOURCE, "lrn", False, {"norm1", "norm2", "spatial_norm2"}),  # as #148
        (PAPER, "lrn_n", 3, {"norm1", "norm2"}),
        (PAPER, "lrn_k", 1.0, {"norm1", "norm2"}),
        (PAPER, "lrn_alpha", 2e-5, {"norm1", "norm2"}),
        (PAPER, "lrn_beta", 0.5, {"norm1", "norm2"}),
        (PAPER, "lrn_across_towers", False, {"norm1", "norm2"}),
        (PAPER, "spatial_norm", True, {"spatial_norm2"}),
        (PAPER, "pool", "2x2", {"pool1", "pool2", "pool5"}),
        (PAPER, "communication", "conv4", {"conv3", "conv4"}),
        (PAPER, "communication", "never", {"conv3", "norm1", "norm2", "fc6", "fc7"}),
        (SOURCE, "communication", "never", {"conv3", "fc6", "fc7"}),
        (PAPER, "extra_conv", 1, {"conv6", "act_conv6"}),
        (PAPER, "dropout", 0.0, {"drop6", "drop7"}),
        (PAPER, "dropout", 0.2, {"drop6", "drop7"}),
        (PAPER, "dropout_form", "inverted", {"drop6", "drop7"}),
        (PAPER, "activation", "tanh", {f"act{n}" for n in range(1, 8)}),
        (PAPER, "init", "he", set()),
        (PAPER, "init_std", 0.03, set()),
        (PAPER, "bias_one", 0.0, set()),
    ],
)
def test_a_field_changes_its_own_layers_only(base: ModelRecipe, field: str, value: Any, differs: set[str]) -> None:
    assert changed(base, replace(base, **{field: value})) == differs
    layers_of_the_same_name = [name for name in layers(base) if name not in differs]
    if field != "norm1_before_relu":  # and leaves the order of the others alone
        assert [
            name for name in layers(replace(base, **{field: value})) if name not in differs
        ] == layers_of_the_same_name


FIELD_MARKS = test_a_field_changes_its_own_layers_only.pytestmark  # type: ignore[attr-defined]


def test_no_field_is_forgotten() -> None:
    tested = {case[1] for case in FIELD_MARKS[0].args[1]}
    in_their_own_tests = {"net", "removed", "width"}
    assert tested | in_their_own_tests == {f.name for f in fields(ModelRecipe)}


@READINGS
def test_readings_differ_as_the_table_says(reading: ModelRecipe) -> None:
    norms = [layers(reading)[name] for name in ("norm1", "norm2")]
    alpha, groups = ("0.0001", 1) if reading is PAPER else ("2e-05", 2)
    assert norms == [f"LocalResponseNorm(n=5, k=2, alpha={alpha}, beta=0.75, groups={groups})"] * 2
    assert ("spatial_norm2" in layers(reading)) == (reading is SOURCE)


def test_width() -> None:
    wide = summary(replace(PAPER, width=1.5), EVIDENCE_SIZES)["output"].tolist()
    assert wide == ["24x24x36", "12x12x96", "6x6x144", "6x6x144", "6x6x96", "768", "768", "10", ""]
    odd = replace(PAPER, width=0.3)  # 7.2 maps: rounded to a number that two towers can share
    assert learned_layers_of(odd, EVIDENCE_SIZES)["conv1"].out_channels == 8
    assert learned_layers_of(replace(odd, net="one_tower"), EVIDENCE_SIZES)["conv5"].out_channels == 20


@pytest.mark.parametrize("number", [1, 2])
def test_extra_convolutions_stand_over_the_last_pool(number: int) -> None:
    names = list(layers(replace(PAPER, extra_conv=number)))
    conv6 = names.index("conv6")
    assert names[conv6 - 1] == "pool5"
    assert names[conv6 + 2 * number] == "flatten"
    table = summary(replace(PAPER, extra_conv=number), EVIDENCE_SIZES)
    assert table.loc["conv6", "output"] == "3x3x64"
    assert table.loc["conv6", "parameters"] == 64 * 64 * 9 + 64  # reads both towers, as that of #146
    assert table.loc["fc6"].tolist()[0::3] == summary(PAPER, EVIDENCE_SIZES).loc["fc6"].tolist()[0::3]


@pytest.mark.parametrize("net", [*NETS])
def test_tanh_after_relu_has_relu_in_its_first_layer_only(net: str) -> None:
    model = replace(FOUR_LAYERS if net in ("80sec", "19pct") else PAPER, net=net, activation="tanh_after_relu")
    with torch.device("meta"):
        kinds = [type(layer) for layer in make(model, NETS[net].full)]
    units = [kind for kind in kinds if kind in (nn.ReLU, nn.Tanh)]
    assert units[0] is nn.ReLU and units[1:] and set(units[1:]) == {nn.Tanh}


# --- layers removed (section 7)


@READINGS
@SIZES
def test_a_removed_layer_leaves_all_sides(reading: ModelRecipe, sizes: Sizes) -> None:
    whole = summary(reading, sizes)["output"]
    for gone in ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7"):
        less = summary(replace(reading, removed=(gone,)), sizes)["output"]
        assert list(less.index) == [name for name in whole.index if name != gone]
        for name, output in less.items():
            if gone == "conv1" and name == "conv2":  # stands where conv1 stood, with its own maps
                assert output.split("x")[:2] == whole["conv1"].split("x")[:2]
                assert output.split("x")[2] == whole["conv2"].split("x")[2]
            else:
                assert output == whole[name]


@READINGS
@pytest.mark.parametrize(
    ("gone", "names"),
    [
        ("conv4", {"conv4", "act4"}),
        ("conv5", {"conv5", "act5"}),
        ("fc6", {"fc6", "act6", "drop6"}),
        ("fc7", {"fc7", "act7", "drop7"}),
        ("conv2 alone", {"conv2", "act2"}),
    ],
)
def test_a_removed_layer_takes_its_nonlinearity_and_dropout(reading: ModelRecipe, gone: str, names: set[str]) -> None:
    whole, less = layers(reading), layers(replace(reading, removed=(gone,)))
    assert set(whole) - set(less) == names
    assert [name for name in whole if name not in names] == list(less)


def test_what_a_removed_layer_did_for_the_others_falls_to_the_next() -> None:
    without1 = learned_layers_of(replace(SOURCE, removed=("conv1",)), FULL_SIZES)["conv2"]
    assert (without1.in_channels, without1.groups) == (3, 1)
    assert (without1.kernel_size, without1.stride, without1.padding) == ((11, 11), (4, 4), (0, 0))
    without3 = learned_layers_of(replace(SOURCE, removed=("conv3",)), FULL_SIZES)
    assert [without3[name].groups for name in ("conv1", "conv2", "conv4", "conv5")] == [1, 2, 1, 2]
    kept, gone = (set(layers(replace(SOURCE, removed=(name,)))) for name in ("conv1 alone", "conv1"))
    assert kept - gone == {"norm2", "spatial_norm2"} and gone < kept
    nothing_left = replace(SOURCE, removed=tuple(f"conv{n}" for n in range(1, 6)))
    assert list(learned_layers_of(nothing_left, EVIDENCE_SIZES)) == ["fc6", "fc7", "fc8"]


@READINGS
@pytest.mark.parametrize(
    "changes",
    [
        *({"removed": (f"conv{n}",)} for n in range(1, 6)),
        {"removed": ("conv3", "conv4", "fc6", "fc7")},
        {"extra_conv": 4},
        {"pool": "2x2"},
        {"pool": "2x2_as_run"},
        {"lrn": False},
        {"communication": "conv4"},
        {"communication": "never", "width": 0.5},
        {"net": "one_tower"},
        {"net": "ungrouped"},
    ],
    ids=str,
)
def test_every_ablation_learns(reading: ModelRecipe, changes: dict[str, Any]) -> None:
    """One update's gradient reaches every weight, in the memory format that training uses."""
    model = replace(reading, init="he", **changes)
    net = build(model, SAMPLE_SIZES, seed=0).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    set_step(net, 0, 0)
    logits = net(images(SAMPLE_SIZES, n=8).contiguous(memory_format=torch.channels_last))
    assert logits.shape == (8, 10)
    F.cross_entropy(logits, torch.arange(8)).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


# --- connectivity (section 3.2, Figure 2)


def flow(net: nn.Module, below: str, above: str) -> list[list[bool]]:
    """Row: a tower of ``above``, in front of its nonlinearity; column: whether that tower of ``below`` reaches it."""
    seen: dict[str, Tensor] = {}

    def keep(name: str, out: Tensor) -> None:
        out.retain_grad()
        seen[name] = out

    handles = [
        layer.register_forward_hook(lambda _, __, out, name=name: keep(name, out))
        for name, layer in learned_layers(net).items()
    ]
    reached = []
    for tower in range(2):
        net(images(EVIDENCE_SIZES))
        seen[above].chunk(2, dim=1)[tower].sum().backward()
        gradient = seen[below].grad
        assert gradient is not None
        reached.append([bool(half.abs().sum() > 0) for half in gradient.chunk(2, dim=1)])
    for handle in handles:
        handle.remove()
    return reached


OWN, BOTH = [[True, False], [False, True]], [[True, True], [True, True]]


@pytest.mark.parametrize(
    ("communication", "want"),
    [
        ("conv3", [OWN, BOTH, OWN, OWN, BOTH, BOTH, BOTH]),
        ("conv4", [OWN, OWN, BOTH, OWN, BOTH, BOTH, BOTH]),
        ("never", [OWN, OWN, OWN, OWN, OWN, OWN, BOTH]),
    ],
)
def test_which_towers_a_layer_reads(communication: str, want: list[list[list[bool]]]) -> None:
    """Seen by gradients from each learned layer to the one before it."""
    model = replace(SOURCE, communication=communication, init="he")
    net = build(model, EVIDENCE_SIZES, seed=0).eval()
    names = list(learned_layers(net))
    assert names == ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
    assert [flow(net, below, above) for below, above in zip(names, names[1:], strict=False)] == want


def test_normalisation_across_towers_lets_them_touch() -> None:
    across = build(replace(PAPER, init="he"), EVIDENCE_SIZES, seed=0).eval()
    assert flow(across, "conv1", "conv2") == BOTH
    apart = build(replace(PAPER, init="he", lrn_across_towers=False), EVIDENCE_SIZES, seed=0).eval()
    assert flow(apart, "conv1", "conv2") == OWN


def test_towers_that_never_talk_do_not_in_either_reading() -> None:
    never = build(replace(PAPER, init="he", communication="never"), EVIDENCE_SIZES, seed=0).eval()
    assert flow(never, "conv1", "fc7") == OWN


def test_both_towers_see_the_whole_image() -> None:
    """Figure 2 is cut off at the top; some ports showed each tower half of the image."""
    conv1 = learned_layers(build(PAPER, EVIDENCE_SIZES, seed=0))["conv1"]
    for tower in range(2):
        x = images(EVIDENCE_SIZES, n=1).requires_grad_()
        conv1(x).chunk(2, dim=1)[tower].sum().backward()
        assert x.grad is not None and (x.grad != 0).all()


# --- dropout (section 4.2)


def test_dropout_is_on_the_outputs_of_fc6_and_fc7() -> None:
    net = build(replace(PAPER, init="he"), EVIDENCE_SIZES, seed=0).train()
    set_step(net, 0, 5)
    seen: dict[str, Tensor] = {}
    for name, layer in net.named_children():
        layer.register_forward_hook(lambda _, __, out, name=name: seen.update({name: out}))
    x = images(EVIDENCE_SIZES)
    net(x)
    drops = [name for name, layer in net.named_children() if "Dropout" in repr(layer)]
    assert drops == ["drop6", "drop7"]
    zeros = {
        n: float(((seen[f"drop{n}"] == 0) & (seen[f"act{n}"] > 0)).sum() / (seen[f"act{n}"] > 0).sum()) for n in (6, 7)
    }
    assert zeros[6] == pytest.approx(0.5, abs=0.1) and zeros[7] == pytest.approx(0.5, abs=0.1)
    first = seen["fc8"]
    net(x)
    assert torch.equal(seen["fc8"], first)  # the same step has the same masks
    set_step(net, 0, 6)
    net(x)
    assert not torch.equal(seen["fc8"], first)


# ---------------------------------------------------------------------------------------------------------
# Initial weights (section 5)

STD_IN_2012 = {"conv3": 0.03, "conv4": 0.03, "conv5": 0.03}
BIASES = {"conv1": 0, "conv2": 1, "conv3": 0, "conv4": 1, "conv5": 1, "fc6": 1, "fc7": 1, "fc8": 0}
FULL_FAN_IN = {
    "conv1": 3 * 11**2, "conv2": 48 * 5**2, "conv3": 256 * 3**2, "conv4": 192 * 3**2, "conv5": 192 * 3**2,
    "fc6": 6 * 6 * 256, "fc7": 4096, "fc8": 4096,
}  # fmt: skip


def assert_gaussian(weights: Tensor, std: float) -> None:
    """Mean 0, the given deviation, and the tails of a normal distribution, each within five standard errors."""
    weights, n = weights.detach(), weights.numel()
    assert float(weights.mean()) == pytest.approx(0, abs=5 * std / math.sqrt(n))
    assert float(weights.std()) == pytest.approx(std, rel=5 / math.sqrt(2 * n))
    beyond = float((weights.abs() > 2 * std).float().mean())
    assert beyond == pytest.approx(math.erfc(math.sqrt(2)), abs=5 * math.sqrt(0.0455 * 0.9545 / n))


@READINGS
def test_gaussian_init_and_biases(reading: ModelRecipe) -> None:
    net = build(reading, EVIDENCE_SIZES, seed=0)
    for name, layer in learned_layers(net).items():
        assert_gaussian(layer.weight, STD_IN_2012.get(name, 0.01) if reading is SOURCE else 0.01)
        assert layer.bias.unique().tolist() == [BIASES[name]]


@READINGS
@pytest.mark.parametrize("sizes", [EVIDENCE_SIZES, SAMPLE_SIZES, TINY_SIZES], ids=["evidence", "sample", "tiny"])
def test_gain_matched_init_keeps_std_times_root_of_fan_in(reading: ModelRecipe, sizes: Sizes) -> None:
    net = build(replace(reading, init="gain_matched"), sizes, seed=0)
    for name, layer in learned_layers(net).items():
        std = STD_IN_2012.get(name, 0.01) if reading is SOURCE else 0.01
        assert_gaussian(layer.weight, std * math.sqrt(FULL_FAN_IN[name] / layer.weight[0].numel()))
        assert layer.bias.unique().tolist() == [BIASES[name]]


def test_gain_matching_leaves_the_full_net_as_it_is() -> None:
    for name, layer in learned_layers_of(SOURCE, FULL_SIZES).items():
        assert layer.weight[0].numel() == FULL_FAN_IN[name]


@pytest.mark.parametrize(
    ("init", "variance"),
    [("he", lambda i, o: 2 / i), ("lecun", lambda i, o: 1 / i), ("xavier", lambda i, o: 2 / (i + o))],
)
def test_later_rules_for_initial_weights(init: str, variance: Any) -> None:
    net = build(replace(PAPER, net="one_tower", init=init), EVIDENCE_SIZES, seed=0)
    for layer in learned_layers(net).values():
        fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(layer.weight)  # type: ignore[no-untyped-call]
        assert_gaussian(layer.weight, math.sqrt(variance(fan_in, fan_out)))


def test_arms_share_initial_weights() -> None:
    """What two arms have in common starts equal, and does so whatever was drawn before; other seeds differ."""
    base = build(SOURCE, EVIDENCE_SIZES, seed=3).state_dict()
    torch.rand(7)
    for arm in (PAPER, replace(SOURCE, lrn=False), replace(SOURCE, pool="2x2"), replace(SOURCE, removed=("fc7",))):
        state = build(arm, EVIDENCE_SIZES, seed=3).state_dict()
        for name in ("conv1.weight", "conv2.weight", "fc6.weight"):
            assert torch.equal(state[name], base[name])
    torch.testing.assert_close(
        build(PAPER, EVIDENCE_SIZES, seed=3).state_dict()["conv4.weight"] * 3, base["conv4.weight"]
    )
    assert not torch.equal(build(SOURCE, EVIDENCE_SIZES, seed=4).state_dict()["conv1.weight"], base["conv1.weight"])


def test_bias_one_is_the_value_of_the_biases_that_start_at_one() -> None:
    net = build(replace(PAPER, bias_one=0.1), EVIDENCE_SIZES, seed=0)
    for name, layer in learned_layers(net).items():
        assert float(layer.bias.detach().mean()) == pytest.approx(0.1 * BIASES[name])


# --- the four-layer nets


@pytest.mark.parametrize("net", ["80sec", "19pct"])
def test_four_layer_init_is_that_of_the_2012_configurations(net: str) -> None:
    std = {"conv1": 1e-4, "conv2": 0.01, "conv3": 0.01, "fc64": 0.1, "fc10": 0.1 if net == "80sec" else 0.01}
    layers_of = learned_layers(build(replace(FOUR_LAYERS, net=net), CIFAR_SIZES, seed=0))
    assert [*layers_of] == [name for name in std if name != "fc64" or net == "80sec"]
    for name, layer in layers_of.items():
        assert_gaussian(layer.weight, std[name])
        assert not layer.bias.any()


# ---------------------------------------------------------------------------------------------------------
# Nets to compare with


@pytest.mark.parametrize("sizes", [SAMPLE_SIZES, EVIDENCE_SIZES, TINY_SIZES], ids=["sample", "evidence", "tiny"])
def test_mlp_has_as_many_parameters_as_the_two_tower_net(sizes: Sizes) -> None:
    ours = summary(replace(SOURCE, net="mlp"), sizes).loc["sum", "parameters"]
    assert ours == pytest.approx(summary(SOURCE, sizes).loc["sum", "parameters"], rel=0.005)
    assert not [name for name, layer in layers(replace(SOURCE, net="mlp"), sizes).items() if "Conv2d" in layer]


def test_mlp_init() -> None:
    """Gains of the layers that each stands for: fc1 reads pixels as conv1 does."""
    net = build(replace(SOURCE, net="mlp", init="gain_matched"), SAMPLE_SIZES, seed=0)
    for (name, layer), like in zip(learned_layers(net).items(), ("conv1", "fc7", "fc8"), strict=True):
        assert_gaussian(layer.weight, 0.01 * math.sqrt(FULL_FAN_IN[like] / layer.weight[0].numel()))
        assert layer.bias.unique().tolist() == [0 if name == "fc3" else 1]


def test_vgg_stack_is_net_a_of_its_paper() -> None:
    table = summary(replace(PAPER, net="vgg_stack"), VGG_FULL_SIZES)
    maps = [out.split("x")[-1] for out in table["output"][:-1]]
    assert maps == ["64", "128", "256", "256", "512", "512", "512", "512", "4096", "4096", "1000"]
    assert sides(replace(PAPER, net="vgg_stack"), VGG_FULL_SIZES) == [224, 112, 56, 56, 28, 28, 14, 14]
    assert table.loc["fc9", "macs"] == 512 * 7 * 7 * 4096


@pytest.mark.parametrize(
    ("sizes", "evidence"), [(VGG_SAMPLE_SIZES, SAMPLE_SIZES), (VGG_EVIDENCE_SIZES, EVIDENCE_SIZES)]
)
def test_vgg_stack_with_and_without_lrn(sizes: Sizes, evidence: Sizes) -> None:
    a_lrn, a = replace(PAPER, net="vgg_stack"), replace(PAPER, net="vgg_stack", lrn=False)
    assert changed(a_lrn, a, sizes) == {"norm1"}
    assert list(layers(a_lrn, sizes))[:4] == ["conv1", "act1", "norm1", "pool1"]
    assert summary(a, sizes).loc["sum", "macs"] <= 2 * summary(PAPER, evidence).loc["sum", "macs"]


@pytest.mark.parametrize(("net", "sizes"), [("mlp", SAMPLE_SIZES), ("vgg_stack", VGG_SAMPLE_SIZES)])
def test_nets_to_compare_with_learn(net: str, sizes: Sizes) -> None:
    built = build(replace(SOURCE, net=net, init="he"), sizes, seed=0)
    set_step(built, 0, 0)
    F.cross_entropy(built(images(sizes, n=8)), torch.arange(8)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in built.parameters())


# ---------------------------------------------------------------------------------------------------------
# What makes no net


@pytest.mark.parametrize(
    ("changes", "sizes", "says"),
    [
        ({"net": "resnet"}, EVIDENCE_SIZES, "no net 'resnet'"),
        ({"removed": ("fc8",)}, EVIDENCE_SIZES, "cannot name 'fc8'"),
        ({"extra_conv": 5}, EVIDENCE_SIZES, "0 to 4"),
        ({"width": 0.0}, EVIDENCE_SIZES, "greater than 0"),
        ({"lrn_n": 4}, EVIDENCE_SIZES, "odd window"),
        ({}, CIFAR_SIZES, "five convolutions"),
        ({}, replace(EVIDENCE_SIZES, kernels=(25, 64, 96, 96, 64)), "even number"),
        ({}, replace(FULL_SIZES, crop=8), "does not fit"),
        ({"pool": "2x2_as_run", "removed": ("conv2",)}, FULL_SIZES, "no 2x2 pooling"),
    ],
)
def test_refusals(changes: dict[str, Any], sizes: Sizes, says: str) -> None:
    with pytest.raises(PaperlibError, match=says):
        make(replace(PAPER, **changes), sizes)


@pytest.mark.parametrize(
    ("net", "changes", "says"),
    [
        ("80sec", {"lrn": True}, "the net 80sec does not read model.lrn, so it cannot be True: set it to False"),
        ("80sec", {"dropout": 0.5}, "does not read model.dropout, so it cannot be 0.5: set it to 0.0"),
        ("80sec", {"width": 2.0}, "does not read model.width"),
        ("19pct", {"pool": "2x2"}, "does not read model.pool, so it cannot be '2x2': set it to 'overlapping'"),
        ("19pct", {"removed": ("conv1",)}, "does not read model.removed"),
        ("mlp", {"removed": ("fc6",)}, "does not read model.removed"),
        ("mlp", {"init_std": 0.02}, "does not read model.init_std"),
        ("vgg_stack", {"removed": ("conv3",)}, r"model.removed, so it cannot be \('conv3',\): set it to \(\)"),
        ("vgg_stack", {"extra_conv": 1}, "does not read model.extra_conv"),
        ("vgg_stack", {"bias_one": 0.0}, "does not read model.bias_one"),
        ("one_tower", {"communication": "never"}, "does not read model.communication"),
        ("ungrouped", {"communication": "conv4"}, "does not read model.communication"),
    ],
)
def test_what_a_net_does_not_read_is_refused(net: str, changes: dict[str, Any], says: str) -> None:
    """80sec with LRN was 80sec, and so was its record."""
    model = replace(FOUR_LAYERS if net in ("80sec", "19pct") else SOURCE, net=net)
    with torch.device("meta"):
        make(model, NETS[net].full)
        with pytest.raises(PaperlibError, match=says):
            make(replace(model, **changes), NETS[net].full)


OTHER_VALUES: dict[str, Any] = {
    "activation": "tanh", "lrn": False, "lrn_n": 3, "lrn_k": 1.0, "lrn_alpha": 1.0, "lrn_beta": 1.0,
    "norm1_before_relu": True, "lrn_across_towers": False, "spatial_norm": True, "pool": "2x2",
    "communication": "conv4", "removed": ("conv3",), "extra_conv": 1, "width": 0.5, "init": "he",
    "init_std": 0.03, "bias_one": 0.5, "dropout": 0.1, "dropout_form": "inverted",
}  # fmt: skip
OTHER_SIZES: dict[str, Any] = {
    "crop": 200, "channels": 1, "classes": 7, "kernels": (32,) * 5, "kernel_sizes": (11, 7, 3, 3, 3),
    "strides": (3, 1, 1, 1, 1), "pads": (0, 1, 1, 1, 1), "pool_pads": (1, 1, 1), "fc": 512,
}  # fmt: skip


def described(model: ModelRecipe, sizes: Sizes) -> list[Any]:
    """Every layer, and its initial weights and biases."""
    family = NETS[model.net]
    with torch.device("meta"):
        net = family.make(model, sizes)
        learned = learned_layers(net).items()
        start = [
            (name, weight_std(name, layer, model), model.bias_one if name in family.ones else 0.0)
            for name, layer in learned
        ]
    return [[(name, repr(layer)) for name, layer in net.named_children()], start]


@pytest.mark.parametrize("net", NETS)
def test_the_table_says_which_fields_a_net_reads(net: str) -> None:
    sizes, model = NETS[net].full, replace(PAPER, net=net)
    assert {*OTHER_VALUES} == {f.name for f in fields(ModelRecipe)} - {"net"}
    assert {*OTHER_SIZES} == {f.name for f in fields(Sizes)} - {"side"}  # of the stored image, which no net sees
    plain = described(model, sizes)
    others = OTHER_SIZES | {"kernels": OTHER_SIZES["kernels"][: len(sizes.kernels)]}
    read = {name for name, value in OTHER_VALUES.items() if described(replace(model, **{name: value}), sizes) != plain}
    read |= {name for name, value in others.items() if described(model, replace(sizes, **{name: value})) != plain}
    assert read == NETS[net].reads - {"side"}


def test_a_net_of_the_wrong_size_is_noticed_where_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PARAMETERS, ("two_tower", SAMPLE_SIZES), 178_721)
    with pytest.raises(AssertionError):
        make(PAPER, SAMPLE_SIZES)
    assert parameter_count(make(replace(PAPER, width=2.0), SAMPLE_SIZES)) > 178_721
