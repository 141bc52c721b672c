"""The pictures of ideas: what is drawn is what an independent count or formula gives."""

from __future__ import annotations

import copy
import itertools
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from paperlib import data, nets
from paperlib.figures import figure2, ideas_architecture, ideas_augment, ideas_dropout
from paperlib.nets import layers, sizes, table
from paperlib.recipe import Recipe


def test_the_map_of_crops_counts_windows() -> None:
    seen = torch.zeros(7, 7)
    for top, left in itertools.product(range(3), repeat=2):
        seen[top : top + 5, left : left + 5] += 100 / 9
    assert torch.allclose(ideas_augment.share_seen(7, 5).float(), seen, atol=1e-3)


def test_ten_views_are_drawn_where_the_test_takes_them() -> None:
    image = torch.randint(0, 256, (3, 12, 12), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    drawn = ideas_augment.ten_views(image, 8).data
    views = data.ten_views(image[None], 8)[:5, 0]
    for view, top, left in zip(views, drawn["top"], drawn["left"], strict=True):
        assert torch.equal(view, image[:, top : top + 8, left : left + 8])
    one = ideas_augment.ten_views(image, 8, view=7)
    assert one.caption == "View 7 of 10: top right, mirrored."
    alphas = [drawn.get_alpha() for axes in one.figure.axes for drawn in axes.images]
    assert alphas == [None, *[0.15] * 6, 1.0, *[0.15] * 3]


def test_the_shifts_of_the_readings_differ_by_their_units() -> None:
    values, vectors = torch.tensor([2500.0, 100.0, 4.0]), torch.eye(3)
    shifts = [shift[0].item() for shift in ideas_augment.largest_shifts((values, vectors)).values()]
    assert shifts == pytest.approx([250.0, 250 / 255, 5.0])
    flipped = ideas_augment.colour_components(torch.zeros(3, 4, 4), (values, -vectors))
    assert flipped.data["levels"].tolist()[4] == "+15, +0, +0"  # whichever way an eigenvector points


@pytest.mark.parametrize(
    ("kind", "views"), [("centre only", 1), ("upside down", 2), ("crops", 9), ("crops and mirrors", 18)]
)
def test_a_bank_has_all_views_of_its_images(kind: str, views: int) -> None:
    images = torch.arange(2 * 36).reshape(2, 1, 6, 6)
    bank, count = ideas_augment.bank_of(images, kind, 4, 1)
    assert (len(bank), count) == (2 * views, views)
    assert len({tuple(view.flatten().tolist()) for view in bank}) == 2 * views


def test_the_halved_net_is_the_geometric_mean_where_the_logits_are_small() -> None:
    mean, halved = ideas_dropout.one_net(0.01, torch.Generator().manual_seed(0))
    assert torch.allclose(mean, halved, atol=1e-2) and float(mean.sum()) == pytest.approx(1)
    assert len(ideas_dropout.thinned_nets(3).data) == 4


@dataclass
class Run:
    lines: list[dict[str, Any]]


def test_a_net_that_memorises_is_drawn_with_both_its_errors() -> None:
    errors = [(1, 49.0, 37.0), (2, 48.0, 34.0)]
    epochs = [{"kind": "epoch", "epoch": n, "lr": 0.03, "test_error": a, "train_error": b} for n, a, b in errors]
    run: Any = Run([*epochs, {"kind": "fit", "top1_error": 7.0}])
    drawn = ideas_dropout.memorising({"one": run, "two": run}).data
    assert drawn["fit_error"].tolist() == [7.0, 7.0] and drawn["test_error"].tolist() == [48.0, 48.0]


def test_a_silenced_unit_is_one_whose_outgoing_weights_are_zero() -> None:
    torch.manual_seed(0)
    layers = {"fc7": nn.Linear(4, 5), "relu": nn.ReLU(), "drop7": nets.Dropout(0.5), "fc8": nn.Linear(5, 3)}
    net, inputs, labels = nn.Sequential(OrderedDict(layers)), torch.randn(40, 4), torch.arange(40) % 3
    whole, without = ideas_dropout.without_each_unit(net, inputs, labels)
    net.eval()
    assert whole == pytest.approx(100 * float((net(inputs).argmax(1) != labels).double().mean()))
    for unit, error in enumerate(without.tolist()):
        silent = copy.deepcopy(net)
        silent.fc8.weight.data[:, unit] = 0
        assert error == pytest.approx(100 * float((silent(inputs).argmax(1) != labels).double().mean()))
        changed = ideas_dropout.classes_without_each_unit(net, inputs)[1 + unit]
        assert torch.equal(changed, silent(inputs).argmax(1))
    drawn = ideas_dropout.lone_units({"one": net, "two": net}, inputs, labels).data
    assert drawn["rise"].tolist() == pytest.approx([error - whole for error in without.tolist()] * 2, abs=1e-4)
    assert (drawn["changed"] >= drawn["rise"].abs() - 1e-4).all()


def test_a_thinned_net_is_one_in_training_and_the_halved_one_in_evaluation() -> None:
    torch.manual_seed(0)
    layers = {"fc6": nn.Linear(4, 6), "act6": nn.ReLU(), "drop6": nets.Dropout(0.5), "fc7": nn.Linear(6, 6),
              "act7": nn.ReLU(), "drop7": nets.Dropout(0.5), "fc8": nn.Linear(6, 3)}  # fmt: skip
    net, inputs, labels = nn.Sequential(OrderedDict(layers)), torch.randn(50, 4), torch.arange(50) % 3
    halved, thinned = ideas_dropout.thinned_log_probabilities(net, inputs, 3)
    assert torch.allclose(halved, net.eval()(inputs).log_softmax(1))
    draw = torch.Generator().manual_seed(0)
    for one in thinned:
        masked = copy.deepcopy(net)
        for layer, mask in zip((masked.drop6, masked.drop7), torch.rand(2, 6, generator=draw) >= 0.5, strict=True):
            layer.forward = lambda x, mask=mask: x * mask
        assert torch.allclose(one, masked(inputs).log_softmax(1), atol=1e-6)
    drawn = ideas_dropout.thinned_and_halved(net, inputs, labels, 3).data
    for n, error in zip((1, 3), drawn["error"], strict=True):
        geometric = thinned.unflatten(0, (-1, n)).mean(1).softmax(2)
        assert error == pytest.approx(100 * float((geometric.argmax(2) != labels).double().mean()), abs=1e-3)


def test_windows_at_the_edge() -> None:
    drawn = ideas_architecture.edges(torch.zeros(3, 224, 224, dtype=torch.uint8)).data.set_index("way")
    assert drawn["positions"].tolist() == [55, 55, 55, 54]
    assert drawn.loc["rounded up (2012 source)", ["last", "zeros"]].tolist() == [226, 3]
    assert drawn.loc["rounded down", "unseen"] == 1


def test_who_reads_whom_is_what_the_recipe_says() -> None:
    recipe = Recipe.source2012()
    drawn = ideas_architecture.who_reads_whom({
        "as it is": recipe, "never": recipe.but(**{"model.communication": "never"}),
    }).data  # fmt: skip
    met = drawn[drawn["other"] > 0]
    assert drawn["own"].all()
    assert met["layer"][met["reading"] == "as it is"].tolist() == ["conv3", "fc6"]
    assert "never" not in set(met["reading"])  # up to fc6


def test_ports_with_the_papers_parameters_are_named() -> None:
    paper = ideas_architecture.arithmetic.net()
    whole = ideas_architecture.arithmetic.ungrouped()
    drawn = ideas_architecture.ports({"paper": paper, "port": paper, "whole": whole})
    assert drawn.data["parameters"].tolist() == pytest.approx([60.965224, 60.965224, 62.378344])
    assert "port" in drawn.caption and "whole" not in drawn.caption
    assert ideas_architecture.symbols().data.to_numpy().tolist() == [[0, 0], [1, 3]]


def test_shares_add_up() -> None:
    drawn = ideas_architecture.shares(nets.summary(Recipe.paper().model, nets.FULL_SIZES)).data
    assert drawn["share"].sum() == pytest.approx(100, abs=0.01) and drawn["work"].sum() == pytest.approx(100, abs=0.01)


def test_figure_2_without_its_counts_gives_none_away() -> None:
    drawn = figure2.fig2(counts=False)
    assert "neurons" not in drawn.alt + drawn.caption and "253,440" in figure2.fig2().alt


def test_masked_ports_differ_by_pairs_and_only_who_reads_whom_shows_in_their_counts() -> None:
    whole = table.summary(Recipe.paper().model, sizes.FULL_SIZES)["parameters"]
    ports = [ideas_architecture.masked_port(number) for number in range(6)]
    counts = [{n: layers.parameter_count(m) for n, m in layers.learned_layers(port).items()} for port in ports]
    assert len({str(port) for port in ports}) == 6 and len({str(each) for each in counts}) == 2
    assert all(each["conv3"] == whole["conv3"] / 2 + 192 for each in counts)
