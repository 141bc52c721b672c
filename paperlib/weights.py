"""Recorded weights: half precision beside a run's record, and what section 6.1 of the paper sees in a trained net.

What is measured (a line of kind "look") is measured on the weights as they are recorded, so that everybody can do it
again from the repository alone.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from paperlib import evaluate, evidence, models, runs, train
from paperlib.augment import Augmenter
from paperlib.data import Dataset
from paperlib.design import Experiment
from paperlib.errors import PaperlibError
from paperlib.runs import Line, Run
from paperlib.seeding import generator

NEIGHBOURS = 6
"""Figure 4 shows the six training images nearest to each test image."""


def keep(net: nn.Module, run: Run, dataset: Dataset, path: Path) -> Line:
    """Write the weights in half precision to ``path``, and give the line that says what :func:`look` finds in them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file({name: t.half().contiguous() for name, t in net.state_dict().items()}, part, metadata={"run": run.id})
    part.chmod(0o644)  # safetensors keeps its files to their owner
    part.replace(path)
    kept, augmenter = read(path, run, dataset)
    return {"kind": "look", "weights": evidence.sha256(path), **look(kept, augmenter, run, dataset)}


def read(path: Path, run: Run, dataset: Dataset) -> tuple[nn.Module, Augmenter]:
    """A net from its recorded weights, in single precision and evaluation mode, and the way of an image into it."""
    net = models.build(run.recipe.model, run.sizes, run.seed).to(memory_format=torch.channels_last)
    net.load_state_dict({name: t.float() for name, t in load_file(path).items()})
    return net.eval(), train.Loop(run, dataset).augmenter


def recorded(experiment: Experiment, arm: str, seed: int, dataset: Dataset) -> tuple[nn.Module, Augmenter]:
    """The net of a recorded run whose weights are kept; raises :class:`PaperlibError` where they are not."""
    run = experiment.run(arm, seed, dataset.fingerprint)
    lines = evidence.recorded().get(run.id, [])
    looks = runs.of_kind(lines, "look")
    if not looks:
        raise PaperlibError(f"no weights of {experiment.name}, {arm}, seed {seed} are recorded at this scale")
    path = evidence.place_of(lines[0]).with_suffix(".safetensors")
    if not path.exists():
        raise PaperlibError(f"{path} is missing: restore it from git")
    if evidence.sha256(path) != looks[0]["weights"]:
        raise PaperlibError(f"{path} does not hold the weights that its record names: restore it from git")
    return read(path, run, dataset)


def look(net: nn.Module, augmenter: Augmenter, run: Run, dataset: Dataset) -> Line:
    """What section 6.1 sees, in numbers: neighbours in feature space (Figure 4), colour in conv1 (Figure 3).

    ``label_agreement`` and ``pixel_agreement`` are the shares (%) of each test image's six nearest training images
    that have its label, by fc7 and by pixels; ``far_in_pixels`` the share of the former that are not among the latter.
    For a net of two towers that sees colour, ``colour_gap`` is how far apart the towers' mean colour indices lie, and
    ``colour_gap_by_chance`` how far those of two random halves of the same kernels do, on average.
    """
    dataset = dataset.only(run.stop.classes)
    train_features, test_features = (
        evaluate.features(net, augmenter, images) for images in (dataset.train_images, dataset.test_images)
    )
    _, near = evaluate.neighbours(test_features, train_features, NEIGHBOURS)
    _, near_in_pixels = evaluate.neighbours(dataset.test_images, dataset.train_images, NEIGHBOURS)
    ranks = evaluate.pixel_rank_of_feature_neighbours(near, dataset.test_images, dataset.train_images)
    agreement = {
        name: round(evaluate.label_agreement(indices, dataset.train_labels, dataset.test_labels), 4)
        for name, indices in (("label_agreement", near), ("pixel_agreement", near_in_pixels))
    }
    line: Line = {"layer": "fc7", "neighbours": NEIGHBOURS, **agreement}
    line["far_in_pixels"] = round(100 * (ranks > NEIGHBOURS).double().mean().item(), 4)
    line["median_pixel_rank"] = int(ranks.median())
    if run.sizes.channels == 3 and run.recipe.model.net == "two_tower":
        kernels = net.get_parameter("conv1.weight").detach()
        towers = evaluate.tower_colour(kernels)
        by_chance = evaluate.gaps_by_chance(evaluate.colour_index(kernels), generator(run.seed, "halvings", 0))
        line["tower_colour"] = [round(value, 4) for value in towers.tolist()]
        line["colour_gap"] = round(float((towers[0] - towers[1]).abs()), 4)
        line["colour_gap_by_chance"] = round(float(by_chance.mean()), 4)
    return line
