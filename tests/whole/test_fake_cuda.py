"""Devices without a GPU: every tensor that meets the net's is where the net is.

What needs a real GPU, and is in ``python -m benchmarks gpu``: backward passes, so whole updates, and all numbers.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from paperlib.data.augment import Augmenter
from paperlib.data.batches import Parts
from paperlib.nets import table
from paperlib.nets.layers import set_step
from paperlib.nets.lrn import LocalResponseNorm, SpatialResponseNorm, local_response_norm
from paperlib.nets.sizes import SAMPLE_SIZES, VGG_SAMPLE_SIZES
from paperlib.recipe import Recipe, Sizes
from paperlib.training import evaluate, loop, towers
from paperlib.training.journal import Journal
from paperlib.training.processes import Topology
from paperlib.training.records import first_line
from tests import tiny
from tests.whole.pretended import PretendedGPU


@pytest.fixture
def gpu() -> Iterator[PretendedGPU]:
    with PretendedGPU() as pretended:
        yield pretended


def there(*shape: int, channels_last: bool = False) -> Tensor:
    return torch.zeros(shape).to("cuda").to(memory_format=[torch.contiguous_format, torch.channels_last][channels_last])


def placed(training: loop.Training) -> set[str]:
    tensors = [*training.net.parameters(), *training.net.buffers(), *training.optimiser.velocity.values()]
    return {tensor.device.type for tensor in tensors}


@pytest.fixture
def training(gpu: PretendedGPU) -> loop.Training:
    """All that is random, prepared for the GPU."""
    run, data = tiny.everything(), tiny.dataset()
    parts = Parts.of(data, run.sizes, run.stop)
    return loop.prepare(run, parts, Journal(first_line(run, data.name, device="cuda")), device="cuda")


def test_a_tensor_left_behind_is_noticed(gpu: PretendedGPU) -> None:
    x = torch.ones(2, 3)
    assert (x.to("cuda") + x.to("cuda")).device.type == "cuda" and gpu.moved == [(2, 3)] * 2
    with pytest.raises(RuntimeError, match="same device"):
        x.to("cuda") + x
    with pytest.raises(RuntimeError, match="device"):
        nn.Linear(3, 1).to("cuda")(x)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    "norm",
    [local_response_norm, LocalResponseNorm(), LocalResponseNorm(beta=0.5, groups=2), SpatialResponseNorm()],
    ids=["formula", "paper", "towers", "pixels"],
)
def test_normalisation_stays_on_its_device(gpu: PretendedGPU, norm: nn.Module, channels_last: bool) -> None:
    x = there(2, 8, 6, 6, channels_last=channels_last)
    y = norm(x)
    assert (y.device, y.shape, y.stride()) == (x.device, x.shape, x.stride())


@pytest.mark.parametrize(
    ("net", "sizes"), [("two_tower", SAMPLE_SIZES), ("one_tower", SAMPLE_SIZES), ("ungrouped", SAMPLE_SIZES),
    ("80sec", tiny.SIZES), ("19pct", tiny.SIZES), ("mlp", SAMPLE_SIZES), ("vgg_stack", VGG_SAMPLE_SIZES)],
)  # fmt: skip
@pytest.mark.parametrize("training", [False, True])
def test_nets_compute_where_they_are(gpu: PretendedGPU, net: str, sizes: Sizes, training: bool) -> None:
    recipe = (tiny.PLAIN if net in ("80sec", "19pct") else Recipe.paper()).but(**{"model.net": net})
    built = table.build(recipe.model, sizes, 0).to("cuda").to(memory_format=torch.channels_last)
    set_step(built.train(training), 0, 0)
    logits = built(there(3, sizes.channels, sizes.crop, sizes.crop, channels_last=True))
    assert (logits.device.type, logits.shape) == ("cuda", (3, sizes.classes))


@pytest.mark.parametrize("pixels", ["centred", "standardised"])
@pytest.mark.parametrize("mean", ["place", "centre"])
def test_augmentation_and_ten_views(gpu: PretendedGPU, pixels: str, mean: str) -> None:
    recipe = tiny.EVERYTHING.but(**{"augment.pixels": pixels, "augment.mean": mean}).augment
    images = tiny.dataset().train_images
    augmenter = Augmenter(recipe, tiny.SIZES, images).to("cuda")
    augmenter.start_epoch(0, 0, len(images))
    rows = torch.arange(16)
    batch = images[rows].to("cuda")
    for got in (augmenter.train_batch(batch, rows), augmenter.test_batch(batch), augmenter.test_views(batch)[0]):
        assert (got.device.type, got.shape, got.dtype) == ("cuda", (16, 3, 8, 8), torch.float32)


def test_batches_are_handed_over_as_bytes(gpu: PretendedGPU, training: loop.Training) -> None:
    gpu.moved.clear()
    set_step(training.net, 0, 0)
    for inputs, labels in training.batches.of_epoch(0):
        assert (inputs.device.type, labels.device.type) == ("cuda", "cuda")
        loss = nn.functional.cross_entropy(training.net(inputs), labels)  # as loop.update
        assert loss.device.type == "cuda"
        break
    assert (16, 3, 10, 10) in gpu.moved and (16, 3, 8, 8) not in gpu.moved


@pytest.mark.parametrize("views", [1, 10])
def test_evaluation(training: loop.Training, views: int) -> None:
    """The pretended answer is class scores of 0: ties, so the error of guessing among six."""
    found = evaluate.errors(training.net, training.batches.augmenter, *training.parts.test, views)
    assert found["top1_error"] == pytest.approx(100 * 5 / 6, abs=1e-3)
    error = evaluate.error_in_training(training.net, training.batches.augmenter, *training.parts.test)
    labels = training.parts.test[1]
    assert error == pytest.approx(100 * float((labels != 0).float().mean()), abs=1e-3)  # the first class, of equals


def test_the_step_and_its_velocity(training: loop.Training) -> None:
    assert placed(training) == {"cuda"}
    for parameter in training.net.parameters():
        parameter.grad = torch.zeros(parameter.shape).to("cuda")
    training.optimiser.step(0.1, 0)
    assert placed(training) == {"cuda"}


def test_the_net_put_together_of_both_towers(training: loop.Training, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(towers, "gather", lambda tensors, topology: dict(tensors))
    training.topology = Topology(towers=2)
    assert {parameter.device.type for parameter in loop.whole_net(training).parameters()} == {"cuda"}
