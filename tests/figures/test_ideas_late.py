"""The pictures of ideas of sections 5 to 7: against PyTorch's optimiser, formulas, and nets that are built."""

from __future__ import annotations

import pytest
import torch

from paperlib.figures import ideas_depth, ideas_results, ideas_training
from paperlib.recipe import ModelRecipe


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_path_is_that_of_pytorch_at_a_constant_rate(momentum: float) -> None:
    w = torch.tensor([-10.0, 1.5], dtype=torch.float64, requires_grad=True)
    stock = torch.optim.SGD([w], lr=0.01, momentum=momentum)
    for place in ideas_training.descend(momentum, 0.01, 12):
        assert w.tolist() == pytest.approx(place.tolist())
        stock.zero_grad()
        (0.5 * (torch.tensor(ideas_training.STEEP) * w**2).sum()).backward()
        stock.step()


def test_after_a_drop_the_rules_part_as_the_formula_says() -> None:
    drawn = ideas_training.after_drop(before=300, after=60).data
    assert drawn["further"].iloc[-1] == pytest.approx(81 * (1 - 0.9**60), rel=1e-4)
    assert drawn.loc[drawn["update"] <= 0, "further"].abs().max() < 1e-6


def test_the_staircase_names_its_drops() -> None:
    drawn = ideas_training.staircase([50, 40, 40, 40], [0.1, 0.1, 0.1, 0.01, 0.01])
    assert "epoch 4" in drawn.caption and drawn.data["rate"].tolist() == [0.1, 0.1, 0.1, 0.01]


@pytest.mark.parametrize(("removed", "side"), [((), 163), (("conv2",), 131), (("conv1",), 131)])
def test_what_one_unit_sees(removed: tuple[str, ...], side: int) -> None:
    """163 for conv5: 11 pixels and what windows of 3, 5, 3, 3, 3, 3 add in steps of 4, 8, 8, 16, 16, 16."""
    assert ideas_depth.seen_by_one_unit(ModelRecipe(removed=removed)) == side


def test_a_net_without_a_layer_is_drawn_without_it() -> None:
    drawn = ideas_depth.nets_without({"whole": ModelRecipe(), "no conv3": ModelRecipe(removed=("conv3",))}).data
    without = drawn[drawn["net"] == "no conv3"]
    assert without["layer"].tolist() == ["conv1", "conv2", "conv4", "conv5"]
    assert without.loc[without["changed"], "layer"].tolist() == ["conv4"]


def test_published_errors_are_sorted_once_each_and_have_the_luck_of_their_images() -> None:
    frame = ideas_results.published()
    assert frame["top-5 error (%)"].is_monotonic_increasing
    assert not frame.duplicated(["whose", "what", "top-5 error (%)"]).any()
    assert ideas_results.standard_error(50, 100) == pytest.approx(5)


def test_gains_are_those_of_the_papers_tables() -> None:
    """Table 2: 18.2, 16.4 and 16.6 %; footnote 5 and Table 1: 18.3 and 17.0 %."""
    assert list(ideas_results.gains().values()) == pytest.approx([1.8, 1.6, 1.3])


def test_agreement_has_the_luck_of_the_images_and_says_where_it_ends() -> None:
    bank_labels, labels = torch.tensor([0, 1, 0]), torch.tensor([0, 1, 0, 1])
    indices = torch.tensor([[0, 2], [1, 0], [1, 0], [0, 2]])  # right: both, the first, the second, none
    drawn = ideas_results.agreement({"pixels": indices}, bank_labels, labels, "")
    assert drawn.data["share"].tolist() == pytest.approx([50, 50])
    assert drawn.data["two_standard_errors"].tolist() == pytest.approx([(1e4 / 3) ** 0.5, (2e4 / 3 / 4) ** 0.5])
    assert "pixels 50 % (± 41)" in drawn.caption
