"""Claims that are procedures and settings, where no other test holds just what the claim says.

Each test does once more, by other means, what one or two sentences of the paper describe. ``claims.toml`` names it in
the row of that claim, beside tests of the parts. None of these tests says what a procedure is good for.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from paperlib.data.augment import Augmenter
from paperlib.data.batches import Batches
from paperlib.data.images import Dataset
from paperlib.evidence import claims
from paperlib.experiments import declared, relu
from paperlib.nets.layers import ACTIVATIONS, Dropout, learned_layers, set_step
from paperlib.nets.lrn import LocalResponseNorm, SpatialResponseNorm
from paperlib.nets.sizes import EVIDENCE_SIZES
from paperlib.nets.table import build, make
from paperlib.recipe import Recipe, Stop
from paperlib.training import evaluate, loop
from paperlib.training.optim import PaperSGD
from paperlib.training.processes import Topology
from paperlib.training.runs import Run
from tests import tiny

SMALL = tiny.TOWERS


def noise_images(n: int, channels: int = 3, side: int = 10) -> Tensor:
    return tiny.images(n, side, channels, seed=n)


def dataset(n: int) -> Dataset:
    """``n`` training images and eight test images of noise, in six classes."""
    images, labels = noise_images(n + 8), torch.arange(n + 8) % 6
    return Dataset("sample", "Noise", images[:n], labels[:n], images[n:], labels[n:], tuple("abcdef"), "noise")


def the_papers_run(epochs: int, validation: int) -> Run:
    """The paper's recipe; its initial weights keep the size that signals have in the net of the paper's size."""
    recipe = Recipe.paper().but(**{"model.init": "gain_matched"})
    return Run(recipe, SMALL, Stop(epochs=epochs, validation=validation), "noise", seed=3)


# ---------------------------------------------------------------------------------------------------------
# Section 2 and Figure 1: what is done to the pixels, and what is not


def test_without_augmentation_only_the_mean_image_is_subtracted() -> None:
    """S2-e: the grey levels minus the mean of each pixel, in training and at test; no scale, no channel means."""
    images = noise_images(50, side=8)
    recipe = Recipe.paper().but(**{"augment.crop": False, "augment.mirror": "none", "augment.colour": 0.0})
    made = Augmenter(recipe.augment, SMALL, images)
    made.start_epoch(seed=0, epoch=0, n=50)
    pixels = images.numpy().astype(np.float64)
    expected = pixels - pixels.sum(0) / 50
    for got in (made.train_batch(images, torch.arange(50)), made.test_batch(images)):
        np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=1e-4)
    assert np.abs(expected.mean((1, 2, 3))).max() > 1  # images keep their own brightness


FIGURE1 = [e for e in declared.DECLARED if e.name in ("relu", "relu-rates", "relu-parts", "relu-19pct")]


def test_nothing_regularises_the_nets_of_figure_1() -> None:
    """S3.1-c: no decay, dropout, normalisation or augmentation in any arm, sweeps and the second net included."""
    assert {"relu", "relu-rates"} <= {e.name for e in FIGURE1}
    for experiment in FIGURE1:
        for arm in experiment.arms:
            recipe = experiment.recipe(arm)
            with torch.device("meta"):
                net = make(recipe.model, experiment.sizes)
            kinds = (Dropout, nn.Dropout, LocalResponseNorm, SpatialResponseNorm)
            assert not [layer for layer in net.modules() if isinstance(layer, kinds)], arm
            assert recipe.optim.weight_decay == 0.0 and recipe.optim.drops == (), arm
            images = noise_images(6, experiment.sizes.channels, experiment.sizes.side)
            made = Augmenter(recipe.augment, experiment.sizes, images)
            made.start_epoch(seed=0, epoch=1, n=6)
            assert torch.equal(made.train_batch(images, torch.arange(6)), made.test_batch(images)), arm


@pytest.mark.parametrize("scale", relu.RATES)
def test_each_net_of_figure_1_has_a_rate_of_its_own_from_inside_its_sweep(scale: str) -> None:
    """S3.1-c: tried, with a smaller and a larger one beside it, on a seed that decides nothing else."""
    sweep = declared.get("relu-rates", scale)
    for arm, rate in relu.RATES[scale].items():
        tried = relu.SWEPT[scale][arm]
        assert min(tried) < rate < max(tried) and rate in tried, arm
    for experiment in FIGURE1:
        if experiment.scale == scale and not experiment.sweep:
            for arm in experiment.arms:
                rate = relu.RATES[scale][arm]
                assert experiment.recipe(arm).optim.lr == rate
                assert experiment.recipe(arm) == sweep.recipe(f"{arm}@{rate:g}")  # swept as it is run
                assert not set(experiment.planned_seeds(arm)) & set(sweep.planned_seeds(f"{arm}@{rate:g}"))


# ---------------------------------------------------------------------------------------------------------
# Section 3: who reads whom, and what the units and the normalisation do


READS = {
    "conv1": "all", "conv2": "own", "conv3": "all", "conv4": "own", "conv5": "own",
    "fc6": "all", "fc7": "all", "fc8": "all",
}  # fmt: skip


@pytest.mark.parametrize("reading", [Recipe.paper(), Recipe.source2012()], ids=["paper", "source"])
def test_the_kernels_of_a_layer_read_the_maps_that_the_paper_says(reading: Recipe) -> None:
    """S3.2-b.1, S3.5-b: each layer alone, by which outputs one input reaches; half of the kernels are a tower."""
    found = {}
    for name, layer in learned_layers(build(reading.model, EVIDENCE_SIZES, seed=0)).items():
        if isinstance(layer, nn.Conv2d):
            inputs = layer.weight.shape[1] * layer.groups
            shape: tuple[int, ...] = (1, inputs, *layer.kernel_size)
        else:
            inputs = layer.weight.shape[1]
            shape = (1, inputs)
        reached = []  # for each input, which kernels see it
        with torch.no_grad():
            layer.bias.zero_()
            for i in range(inputs):
                x = torch.zeros(shape)
                x[0, i] = 1.0
                reached.append(layer(x)[0].flatten(1).any(1) if x.ndim == 4 else layer(x)[0] != 0)
        seen = torch.stack(reached)  # (inputs, kernels)
        kernels = seen.shape[1]
        own = torch.zeros_like(seen)
        own[: inputs // 2, : kernels // 2] = own[inputs // 2 :, kernels // 2 :] = True
        found[name] = "all" if seen.all() else "own" if torch.equal(seen, own) else "else"
    assert found == READS


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3, 1e6])
def test_a_relu_learns_from_one_positive_input_of_any_size_and_from_none_not_at_all(scale: float) -> None:
    """S3.3-e: the update of a unit against the chain rule by hand, beside that of tanh, which large inputs saturate."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(7, 5, generator=g, dtype=torch.float64)
    weights, slopes = torch.randn(2, 5, generator=g, dtype=torch.float64)[0], torch.arange(1.0, 8).double()
    x = -x * (x @ weights).sign()[:, None] * scale  # all seven inputs of the unit are negative
    one = x.clone()
    one[4] = -one[4]  # and here one is positive

    def moved(unit: str, examples: Tensor) -> Tensor:
        """By how much one update at the rate 1 changes the weights; the loss is a weighted sum of the outputs."""
        net = nn.Sequential(nn.Linear(5, 1, bias=False, dtype=torch.float64), ACTIVATIONS[unit]())
        with torch.no_grad():
            net[0].weight.copy_(weights)
        (net(examples)[:, 0] * slopes).sum().backward()
        PaperSGD(net, Recipe.paper().but(**{"optim.weight_decay": 0.0}).optim).step(1.0)
        return net[0].weight.detach()[0] - weights

    ulp = 1e-15 * float(weights.abs().max())  # of the subtraction
    torch.testing.assert_close(moved("relu", one), -slopes[4] * one[4], rtol=1e-9, atol=2 * ulp)
    assert torch.equal(moved("relu", x), torch.zeros(5, dtype=torch.float64))
    share = float(moved("tanh", one).norm() / moved("relu", one).norm())
    assert share < 1e-9 if scale >= 1e3 else share > 0.1


def contrast_normalised(a: np.ndarray, n: int, k: float, alpha: float, beta: float) -> np.ndarray:
    """The formula of section 3.3 with the mean of the window taken off first, as in Jarrett et al. 2009; (N, H, W)."""
    b = np.empty_like(a)
    for i in range(len(a)):
        window = a[max(0, i - n // 2) : i + n // 2 + 1]
        mean = sum(window) / len(window)
        b[i] = (a[i] - mean) / (k + alpha * sum((each - mean) ** 2 for each in window)) ** beta
    return b


def test_response_normalisation_sees_brightness_where_contrast_normalisation_is_blind_to_it() -> None:
    """S3.3-f: the same amount added to all maps, and maps without any contrast."""
    g = torch.Generator().manual_seed(0)
    maps, norm = 20 * torch.rand(8, 3, 3, generator=g, dtype=torch.float64), LocalResponseNorm(5, 2.0, 1e-4, 0.75)
    brighter = maps + 200
    np.testing.assert_allclose(
        contrast_normalised(brighter.numpy(), 5, 2.0, 1e-4, 0.75),
        contrast_normalised(maps.numpy(), 5, 2.0, 1e-4, 0.75), rtol=0, atol=1e-10,
    )  # fmt: skip
    assert (norm(brighter[None]) - norm(maps[None])).abs().min() > 1
    flat = torch.full((1, 7, 2, 2), 300.0, dtype=torch.float64)
    assert not contrast_normalised(flat[0].numpy(), 5, 2.0, 1e-4, 0.75).any()
    inside = norm(flat)[0, 2:5]  # five maps of 300 around each: 2 + 1e-4 * 5 * 90000 = 47
    torch.testing.assert_close(inside, torch.full_like(inside, 300 / 47**0.75))


# ---------------------------------------------------------------------------------------------------------
# Section 4.1: when the colour noise is drawn


def test_the_colour_noise_is_drawn_once_for_an_image_and_anew_at_each_use() -> None:
    """S4.1-f: one shift for all pixels of an image, another in every epoch and for every image, unrelated."""
    images = noise_images(400, side=8)
    recipe = Recipe.paper().but(**{"augment.crop": False, "augment.mirror": "none"})
    made, rows, epochs = Augmenter(recipe.augment, SMALL, images), torch.arange(400), []
    for epoch in range(3):
        made.start_epoch(seed=0, epoch=epoch, n=400)
        noise = made.train_batch(images, rows) - made.test_batch(images)
        assert torch.allclose(noise, noise[:, :, :1, :1].expand_as(noise), atol=1e-4)
        epochs.append(noise[:, :, 0, 0])
    uses = torch.cat(epochs)
    assert len(uses.round(decimals=3).unique(dim=0)) > 1190  # of 1200
    for one, two in ((0, 1), (0, 2), (1, 2)):
        together = torch.corrcoef(torch.cat([epochs[one], epochs[two]], 1).T)[:3, 3:]
        assert together.abs().max() < 5 / 400**0.5


# ---------------------------------------------------------------------------------------------------------
# Sections 3.5 and 5: the objective, the update, the schedule


@dataclass
class InDouble:
    """A training whose net computes in double precision, so that a decay of a millionth of the weights shows."""

    of: loop.Training
    inputs: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.of.net.double()
        self.of.optimiser = PaperSGD(self.of.net, self.of.run.recipe.optim)
        augmenter = self.of.batches.augmenter
        self.training, self.testing = augmenter.train_batch, augmenter.test_batch
        augmenter.train_batch = self.train_batch  # type: ignore[method-assign]
        augmenter.test_batch = lambda images: self.testing(images).double()  # type: ignore[method-assign]

    def train_batch(self, images: Tensor, rows: Tensor, shared: Tensor | None = None) -> Tensor:
        self.inputs.append(self.training(images, rows, shared).double())
        return self.inputs[-1]


def test_updates_climb_the_mean_log_probability_as_sections_3_5_and_5_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """S3.5-a, S5-a, S5-c: the paper's recipe for two epochs of three batches, beside the sentences of the paper."""
    run, data = the_papers_run(epochs=2, validation=12), dataset(12 + 3 * 128 + 5)
    training, lines = tiny.training(run, data)
    wrapped, used = InDouble(training), []
    net = copy.deepcopy(training.net)
    v = {name: torch.zeros_like(w) for name, w in net.named_parameters()}
    theirs, read = loop.update, Batches.read

    def watched(self: Batches, batches: Any) -> Any:
        used.extend(batches)
        return read(self, batches)

    def beside(training: loop.Training, inputs: Tensor, of_them: Tensor, lr: float, epoch: int) -> tuple[float, int]:
        step = training.state.step
        loss, wrong = theirs(training, inputs, of_them, lr, epoch)
        labels = data.train_labels[used[step]]
        net.train()
        set_step(net, run.seed, step)
        raised = net(wrapped.inputs[-1]).exp()
        p = raised / raised.sum(1, keepdim=True)
        of_the_label = torch.stack([p[i, label] for i, label in enumerate(labels.tolist())])
        objective = of_the_label.log().sum() / 128  # "the average across training cases of the log-probability"
        uphill = torch.autograd.grad(objective, list(net.parameters()))
        with torch.no_grad():
            for (name, w), g in zip(net.named_parameters(), uphill, strict=True):
                v[name] = 0.9 * v[name] - 0.0005 * 0.01 * w + 0.01 * g
                w += v[name]
        assert loss == pytest.approx(-objective.item(), rel=1e-12)
        assert wrong == int((p.argmax(1) != labels).sum())
        assert lr == 0.01
        compared.append(step)
        for name, w in training.net.named_parameters():
            torch.testing.assert_close(training.optimiser.velocity[name], v[name], rtol=1e-8, atol=1e-15)
            torch.testing.assert_close(w.detach(), dict(net.named_parameters())[name].detach(), rtol=1e-10, atol=1e-15)
        return loss, wrong

    compared: list[int] = []
    monkeypatch.setattr(loop, "update", beside)
    monkeypatch.setattr(Batches, "read", watched)
    loop.loop(training, lines)
    assert compared == list(range(6))
    assert [len(rows) for rows in used] == [128] * 6
    for epoch in (used[:3], used[3:]):
        assert len(torch.cat(epoch).unique()) == 3 * 128  # no image twice in an epoch
    assert all(each.abs().max() > 1e-6 for each in v.values())  # every parameter moves


def scripted(errors: list[float], check: Callable[[Tensor], None]) -> Callable[..., float]:
    """Stands in for the test after an epoch: looks at the images it is given and tells the next error of the script."""
    script = iter(errors)

    def error(net: nn.Module, augmenter: Augmenter, images: Tensor, labels: Tensor, topology: Topology) -> float:
        check(images)
        return next(script)

    return error


def test_the_rate_starts_at_a_hundredth_and_falls_tenfold_three_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """S5-f: the paper's recipe, with validation errors that stall, recover and stall again; one rate for all layers."""
    data = dataset(128 + 16)
    errors = [60.0, 50, 50, 51, 50]  # three epochs no better than the second: the first drop
    errors += [40, 40, 41, 42]  # better, then three that are not: the second
    errors += [42, 42, 42]  # three more: the third
    errors += [42] * 6  # and no fourth

    def held_out(images: Tensor) -> None:
        assert torch.equal(images, data.train_images[-16:])

    monkeypatch.setattr(evaluate, "error_in_training", scripted(errors, held_out))
    training, lines = tiny.training(the_papers_run(epochs=18, validation=16), data)
    loop.loop(training, lines)
    rates = [line["lr"] for line in lines.lines[1:]]
    assert rates == pytest.approx([0.01] * 5 + [0.001] * 4 + [0.0001] * 3 + [0.00001] * 6, rel=1e-12)
    for epoch in (0, 60, 70, 89):
        assert {training.optimiser.group_rate(group, 0.01, epoch) for group in training.optimiser.groups} == {0.01}


# ---------------------------------------------------------------------------------------------------------
# Dropout at test (section 4.2)


@torch.no_grad()
def predictions(net: nn.Sequential, x: Tensor, masks: int) -> tuple[Tensor, Tensor, Tensor]:
    """Class probabilities for one input: the thinned nets' geometric mean, the halved net, the whole net."""
    net.train()
    logs = []
    for step in range(masks):
        set_step(net, 0, step)
        logs.append(torch.log_softmax(net(x), 1)[0])
    unhalved = nn.Sequential(*(layer for layer in net if not isinstance(layer, Dropout)))
    return torch.stack(logs).mean(0).softmax(0), net.eval()(x).softmax(1)[0], unhalved(x).softmax(1)[0]


def test_halving_is_the_geometric_mean_for_one_softmax_layer() -> None:
    """Up to the error of Monte Carlo: the masks are drawn and not listed, so that the layer's own are tested."""
    torch.manual_seed(0)
    net = nn.Sequential(Dropout(0.5), nn.Linear(30, 5).double())
    mean, halved, whole = predictions(net, torch.rand(1, 30, dtype=torch.float64), 6000)
    assert torch.allclose(mean, halved, atol=0.01)
    assert not torch.allclose(whole, halved, atol=0.01)  # the test would notice another net


def test_halving_is_near_the_geometric_mean_for_two_hidden_layers() -> None:
    """An approximation: within a tenth for nets that are unsure, and it does not hold without the halving."""
    torch.manual_seed(0)
    far, farther = [], []
    for _ in range(5):
        net = nn.Sequential(
            nn.Linear(20, 40), nn.ReLU(), Dropout(0.5), nn.Linear(40, 40), nn.ReLU(), Dropout(0.5), nn.Linear(40, 5)
        )
        for layer in (net[0], net[3], net[6]):
            nn.init.kaiming_normal_(layer.weight)
        mean, halved, unhalved = predictions(net, torch.randn(1, 20), 1500)
        far.append(float((mean - halved).abs().max()))
        farther.append(float((mean - unhalved).abs().max()))
    assert np.median(far) < 0.1 and np.median(far) < np.median(farther)


# ---------------------------------------------------------------------------------------------------------
# The table


def test_experiments_of_the_table_compare_for_their_claims_and_no_others() -> None:
    """A row whose experiment has no comparison for it would be "not run" for ever."""
    compared: dict[str, set[str]] = {}
    for experiment in declared.DECLARED:
        for comparison in experiment.comparisons:
            if comparison.claim:
                compared.setdefault(claims.row(comparison.claim).id, set()).add(experiment.name)
    named = {entry["id"]: set(entry["experiments"]) for entry in claims.entries() if entry["fate"] == "experiment"}
    assert named == compared
