"""The update rule of section 5 against torch's and against closed forms, and the schedule by hand."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

from paperlib.recipe import OptimRecipe, Recipe
from paperlib.training.optim import PaperSGD, learning_rate, parameter_groups, plateau_drops


def optim(**changes: object) -> OptimRecipe:
    return Recipe().but(**{f"optim.{name}": value for name, value in changes.items()}).optim


def net() -> nn.Sequential:
    """Two convolutions and a linear layer in double precision, always with the same weights."""
    layers = OrderedDict(conv1=nn.Conv2d(2, 3, 3), conv2=nn.Conv2d(3, 2, 3), flatten=nn.Flatten(), fc=nn.Linear(8, 3))
    made = nn.Sequential(layers).double()
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=g, dtype=torch.float64) / 3)
    return made


def loss_of(made: nn.Module, step: int) -> Tensor:
    g = torch.Generator().manual_seed(100 + step)
    x = torch.randn(5, 2, 6, 6, generator=g, dtype=torch.float64)
    return nn.functional.cross_entropy(made(x), torch.tensor([0, 1, 2, 0, 1]))


def constant_gradient(made: nn.Module, value: float = 1.0) -> None:
    for parameter in made.parameters():
        parameter.grad = torch.full_like(parameter, value)


def state(made: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in made.state_dict().items()}


# ------------------------------------------------------------------------------------------ against torch


@pytest.mark.parametrize("decay", [0.0, 5e-4, 0.1])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_at_a_constant_rate_it_is_sgd_of_torch(momentum: float, decay: float) -> None:
    ours, theirs = net(), net()
    mine = PaperSGD(ours, optim(momentum=momentum, weight_decay=decay))
    stock = torch.optim.SGD(theirs.parameters(), lr=0.05, momentum=momentum, weight_decay=decay)
    for step in range(25):
        stock.zero_grad()
        loss_of(theirs, step).backward()
        stock.step()
        for parameter in ours.parameters():
            parameter.grad = None
        loss_of(ours, step).backward()
        mine.step(0.05)
    for name, tensor in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor, rtol=1e-12, atol=1e-13)
    moved = (ours.state_dict()["fc.weight"] - net().state_dict()["fc.weight"]).abs().max()
    assert moved > 1e-2  # or the two would agree about nothing


def test_after_a_drop_it_differs_from_torch_by_what_the_old_velocity_carries_on() -> None:
    """At a constant gradient g, k steps at rate e, then j at e/10: w differs by -0.9 e g m (1-m^k)(1-m^j) / (1-m)^2.

    Our velocity at the drop is -e g (1-m^k)/(1-m) and fades as m^i; torch's buffer meets the new rate at once, so
    that its part of the step is a tenth of that.
    """
    m, e, k = 0.9, 0.01, 30
    ours, theirs = net(), net()
    mine = PaperSGD(ours, optim(momentum=m, weight_decay=0.0))
    stock = torch.optim.SGD(theirs.parameters(), lr=e, momentum=m)
    for step in range(k + 40):
        rate = e if step < k else e / 10
        constant_gradient(ours, 2.0)
        constant_gradient(theirs, 2.0)
        stock.param_groups[0]["lr"] = rate
        stock.step()
        mine.step(rate)
        j = max(0, step + 1 - k)
        predicted = -0.9 * e * 2.0 * m * (1 - m**k) * (1 - m**j) / (1 - m) ** 2
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a - b, torch.full_like(a, predicted), rtol=1e-9, atol=1e-13)
    assert abs(predicted) > 5 * e * 2.0  # several whole steps at the old rate, not a rounding


def test_the_first_two_updates_by_hand() -> None:
    """v1 = -d e w0 - e g; w1 = w0 + v1; v2 = m v1 - d e w1 - e g; w2 = w1 + v2."""
    made = net()
    mine = PaperSGD(made, optim(momentum=0.9, weight_decay=0.5))
    weight = made.get_parameter("fc.weight")
    w0 = weight.detach().clone()
    v1 = -0.5 * 0.1 * w0 - 0.1 * 3.0
    w1 = w0 + v1
    v2 = 0.9 * v1 - 0.5 * 0.1 * w1 - 0.1 * 3.0
    for expected in (w1, w1 + v2):
        constant_gradient(made, 3.0)
        mine.step(0.1)
        torch.testing.assert_close(weight.detach(), expected, rtol=1e-14, atol=0)
    torch.testing.assert_close(mine.velocity["fc.weight"], v2, rtol=1e-14, atol=0)


# ------------------------------------------------------------------------------------------ groups of parameters


def test_every_parameter_is_in_one_group() -> None:
    made = net()
    groups = parameter_groups(made)
    names = [name for group in groups for name in group.names]
    assert sorted(names) == sorted(name for name, _ in made.named_parameters())
    for group in groups:
        assert all(name.endswith("bias") == group.is_bias for name in group.names)
        assert all(name.startswith("conv1.") == group.is_conv1 for name in group.names)
        assert [id(p) for p in group.params] == [id(made.get_parameter(name)) for name in group.names]


@pytest.mark.parametrize(
    ("drops", "expected"), [(True, -2 * 0.01), (False, -2 * 0.1)], ids=["bias rate drops", "bias rate stays"]
)
def test_the_rate_of_biases(drops: bool, expected: float) -> None:
    """After a drop from 0.1 to 0.01, twice the weights' rate, or twice the first one (readings 6 and 6b)."""
    made = net()
    before = state(made)
    recipe = optim(lr=0.1, momentum=0.0, weight_decay=0.0, bias_lr_factor=2.0, bias_lr_drops=drops)
    constant_gradient(made)
    PaperSGD(made, recipe).step(0.01)
    for name, after in made.state_dict().items():
        step = expected if name.endswith("bias") else -0.01
        torch.testing.assert_close(after - before[name], torch.full_like(after, step), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("decays", [True, False])
def test_decay_of_biases(decays: bool) -> None:
    """With no gradient only decay moves anything: w (1 - d e), for biases by their own rate (reading 7)."""
    made = net()
    before = state(made)
    recipe = optim(momentum=0.9, weight_decay=0.5, bias_lr_factor=2.0, decay_biases=decays)
    constant_gradient(made, 0.0)
    PaperSGD(made, recipe).step(0.1)
    for name, after in made.state_dict().items():
        factor = 1 - 0.5 * 0.1 if name.endswith("weight") else 1 - 0.5 * 0.2 * decays
        torch.testing.assert_close(after, before[name] * factor, rtol=1e-13, atol=0)


def test_conv1_is_slowed_and_then_frozen() -> None:
    """Reading 8: at most 1e-5 from the first epoch on; from the second neither gradient nor decay nor momentum."""
    made = net()
    mine = PaperSGD(made, optim(momentum=0.9, weight_decay=0.5, bias_lr_factor=2.0, freeze_conv1=(67, 72)))
    before = state(made)
    constant_gradient(made)
    mine.step(0.01, epoch=66)
    assert not torch.equal(made.state_dict()["conv1.weight"], before["conv1.weight"])
    for group in mine.groups:
        full = 0.02 if group.is_bias else 0.01
        assert mine.group_rate(group, 0.01, 66) == full
        for epoch in (67, 71):
            assert mine.group_rate(group, 0.01, epoch) == (1e-5 if group.is_conv1 else full)
        assert mine.group_rate(group, 1e-6, 67) == (2e-6 if group.is_bias else 1e-6)  # never raised
        for epoch in (72, 90):
            assert mine.group_rate(group, 0.01, epoch) == (0.0 if group.is_conv1 else full)
    before, velocity = state(made), mine.velocity["conv1.weight"].clone()
    made.get_parameter("conv1.weight").grad = None  # nobody needs to compute it any more
    made.get_parameter("conv1.bias").grad = None
    mine.step(0.01, epoch=72)
    for name, after in made.state_dict().items():
        assert torch.equal(after, before[name]) == name.startswith("conv1."), name
    assert torch.equal(mine.velocity["conv1.weight"], velocity)


def test_a_missing_gradient_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(RuntimeError, match="backward"):
        PaperSGD(net(), optim()).step(0.1)


# ------------------------------------------------------------------------------------------ the schedule


def test_drops_at_epochs() -> None:
    recipe = optim(lr=0.02, drops=(25, 51, 79))
    assert [learning_rate(recipe, e) for e in (0, 24, 25, 50, 51, 78, 79, 200)] == pytest.approx(
        [0.02, 0.02, 0.002, 0.002, 0.0002, 0.0002, 0.00002, 0.00002], rel=1e-12
    )
    assert learning_rate(optim(lr=0.02, drops=()), 1000) == 0.02


@pytest.mark.parametrize(
    ("errors", "drops"),
    [
        ([], []),
        ([50, 40, 30, 20], []),  # better every time
        ([50, 50, 50], [3]),  # the first is the best; then two that are no better
        ([50, 40, 41, 41], [4]),
        ([50, 40, 41, 39, 41, 41], [6]),  # a better one in between starts the count afresh
        ([50, 40, 41, 41, 41, 41], [4, 6]),  # and so does a drop
        ([50, 40, 41, 41, 30, 31, 31], [4, 7]),
        ([50, 40, 41, 41, 40, 40], [4, 6]),  # as good as the best is not better
        ([9] * 12, [3, 5, 7]),  # three times at most
    ],
)
def test_plateaus_by_hand(errors: list[float], drops: list[int]) -> None:
    recipe = optim(lr=1.0, patience=2, drops="plateau")
    assert plateau_drops(recipe, errors) == drops
    for epoch in range(len(errors) + 1):
        expected = 10.0 ** -sum(at <= epoch for at in drops)
        assert learning_rate(recipe, epoch, errors[:epoch]) == pytest.approx(expected)
        assert learning_rate(recipe, epoch, errors) == pytest.approx(expected)  # what comes later does not count


def test_patience_and_the_number_of_drops() -> None:
    stalled = [30.0] * 20
    assert plateau_drops(optim(patience=1, max_drops=2, drops="plateau"), stalled) == [2, 3]
    assert plateau_drops(optim(patience=5, max_drops=9, drops="plateau"), stalled) == [6, 11, 16]
    assert plateau_drops(optim(patience=3, max_drops=0, drops="plateau"), stalled) == []
