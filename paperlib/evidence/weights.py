"""Recorded weights: half precision beside a run's record, and what section 6.1 of the paper sees in a trained net.

What is measured (a line of kind "look") is measured on the weights as they are recorded, so that everybody can do it
again from the repository alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from paperlib import files
from paperlib.data.augment import Augmenter
from paperlib.data.batches import Parts
from paperlib.data.images import Dataset
from paperlib.errors import PaperlibError
from paperlib.evidence import store
from paperlib.evidence.conv1 import colour_index, gaps_by_chance, tower_colour
from paperlib.experiments.form import Experiment
from paperlib.nets import table
from paperlib.seeding import generator
from paperlib.training import checkpoints, evaluate, records
from paperlib.training.journal import State
from paperlib.training.records import Line
from paperlib.training.runs import Run

LOOKED_AT = 2000
"""The first test images that are measured: as many as the sample has. All pixels of all pairs take long."""
NEIGHBOURS = 6  # Figure 4 shows the six training images nearest to each test image


def looked(net: nn.Module, run: Run, dataset: Dataset, path: Path | None) -> Line:
    """The line that says what :func:`look` finds in the weights in half precision, which are written to ``path``.

    Without a path they are not kept, and the line does not name them.
    """
    half = {name: t.half().contiguous() for name, t in net.state_dict().items()}
    kept: Line = {}
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_whole(path, save(half, metadata={"run": run.id}))
        kept = {"weights": files.sha256(path)}
    return {"kind": "look", **kept, **look(net_of(run, half), augmenter_of(run, dataset), run, dataset)}


def augmenter_of(run: Run, dataset: Dataset) -> Augmenter:
    """What prepares images for the net of a run."""
    return Parts.of(dataset, run.sizes, run.stop).augmenter(run.recipe.augment)


def recorded(experiment: Experiment, arm: str, seed: int, dataset: Dataset) -> tuple[nn.Module, Augmenter]:
    """The net of a recorded run whose weights are kept; raises :class:`PaperlibError` where they are not."""
    found = kept(experiment.run(arm, seed, dataset.fingerprint))
    if found is None:
        raise PaperlibError(f"no weights of {experiment.name}, {arm}, seed {seed} are recorded at this scale")
    return found.on(dataset)[:2]


def kept(run: Run) -> Checkpoint | None:
    """The recorded weights of a run; None where none are recorded."""
    lines = store.recorded().get(run.id, [])
    if not any("weights" in line for line in records.of_kind(lines, "look")):
        return None
    path = store.weights_of(lines[0])
    if not path.exists():
        raise PaperlibError(f"{path} is missing: restore it from git")
    return checkpoint(path)


def start_of(run: Run) -> nn.Module | None:
    """The net that a run starts from, where it does so from weights as they are recorded; else None.

    Raises :class:`PaperlibError` where these are not recorded: trained again elsewhere, they would be others.
    """
    if run.start is None or not run.start_rounded:
        return None
    if (found := kept(run.start)) is None:
        raise PaperlibError(
            f"this run starts from the weights of run {run.start.id[:12]}, which are not recorded: record them first"
        )
    return found.net()


def net_of(run: Run, tensors: dict[str, Tensor]) -> nn.Module:
    """The net of a run with these weights, in single precision and evaluation mode."""
    net = table.build(run.recipe.model, run.sizes, run.seed).to(memory_format=torch.channels_last)
    try:
        net.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except RuntimeError:
        raise PaperlibError(
            f"these weights are not those of the net of run {run.id[:12]}: restore or train them"
        ) from None
    return net.eval()


@dataclass(frozen=True)
class Checkpoint:
    """Weights on disk, and their run, on the data of ``scale``.

    They are those after ``step`` updates of the run; ``epochs`` counts the whole epochs of the runs it starts from too.
    """

    run: Run
    scale: str
    step: int
    epochs: int
    tensors: dict[str, Tensor]

    def net(self) -> nn.Module:
        """The net with these weights, in single precision."""
        return net_of(self.run, self.tensors)

    def on(self, dataset: Dataset) -> tuple[nn.Module, Augmenter, Dataset]:
        """The net, its Augmenter, and the part of ``dataset`` that it was trained for.

        Raises :class:`PaperlibError` where these are not the data of its run.
        """
        if dataset.fingerprint != self.run.data:
            raise PaperlibError(
                f"{dataset.title} is another copy than the one this net was trained on; name that with --data"
            )
        return self.net(), augmenter_of(self.run, dataset), dataset.only(self.run.stop.classes)


def checkpoint(path: Path) -> Checkpoint:
    """The weights at ``path``: recorded ones (``data/recorded/…/*.safetensors``), or the newest of a folder of runs/.

    Their checksum is checked first. Raises :class:`PaperlibError` where there are none, or not those of the record
    beside them.
    """
    if path.is_dir():
        return _of_folder(path)
    beside = path.with_suffix(".jsonl")
    if path.suffix != ".safetensors" or not path.is_file():
        raise PaperlibError(
            f"{path} holds no weights: name a folder of runs/, or recorded weights (data/recorded/…/*.safetensors)"
        )
    if not beside.is_file():
        raise PaperlibError(f"{beside}, the record that says which net these weights are of, is missing")
    lines = records.read_record(beside)
    if files.sha256(path) not in [line.get("weights") for line in records.of_kind(lines, "look")]:
        raise PaperlibError(f"{path} does not hold the weights that {beside.name} names: restore it from git")
    if records.status(lines) == "unfinished":
        raise PaperlibError(f"{beside} is the record of a run that did not finish: restore it from git")
    steps, run = records.of_kind(lines, "end")[-1]["steps"], store.run_of(lines)
    epochs, tensors = len(records.of_kind(lines, "epoch")), checkpoints.tensors_of(path.read_bytes(), path)
    return Checkpoint(run, lines[0].get("scale", ""), steps, epochs_behind(run, epochs), tensors)


def _of_folder(folder: Path) -> Checkpoint:
    """The newest checkpoint in a folder of runs/."""
    path = folder / "record.jsonl"
    if not records.begun(path):
        raise PaperlibError(f"{folder} is not the folder of a run: it holds no record.jsonl")
    first = records.read_record(path)[0]
    found = checkpoints.load_checkpoint(folder, first["id"], lambda saved: State.is_one(saved, first))
    if found is None:
        if checkpoints.steps(folder):
            raise PaperlibError(f"{folder} holds damaged checkpoints only: train the run again, or restore them")
        if (average := Run.from_config(first["config"])).members > 1:
            raise PaperlibError(
                f"{folder} is the average of {average.members} nets and holds no weights; name the folder of one of "
                f"them, for example {average.alone()[0].id[:12]}… in the same place"
            )
        raise PaperlibError(f"{folder} holds no checkpoint yet; a run writes one every minute and at its end")
    step, tensors, state = found
    weights = {name.removeprefix("weights/"): t for name, t in tensors.items() if name.startswith("weights/")}
    run = Run.from_config(first["config"])
    return Checkpoint(run, first.get("scale", ""), step, epochs_behind(run, len(state["test_errors"])), weights)


def epochs_behind(run: Run, its_own: int) -> int:
    """Whole epochs of a run, and of the runs that it starts from."""
    return its_own + sum(before.stop.epochs for before in run.starts)


def look(net: nn.Module, augmenter: Augmenter, run: Run, dataset: Dataset) -> Line:
    """What section 6.1 sees, in numbers: neighbours in feature space (Figure 4), colour in conv1 (Figure 3).

    ``label_agreement`` and ``pixel_agreement`` are the shares (%) of each test image's six nearest training images
    that have its label, by fc7 and by pixels; ``far_in_pixels`` the share of the former that are not among the latter.
    ``errors`` (%), by the number of views, are those of the weights as they are recorded. For a net of two towers that
    sees colour, ``colour_gap`` is how far apart the towers' mean colour indices lie, and
    ``colour_gap_by_chance`` how far those of two random halves of the same kernels do, on average.
    """
    dataset = dataset.only(run.stop.classes)
    images, labels = dataset.test_images[:LOOKED_AT], dataset.test_labels[:LOOKED_AT]
    train_features, test_features = (evaluate.features(net, augmenter, each) for each in (dataset.train_images, images))
    _, near = evaluate.neighbours(test_features, train_features, NEIGHBOURS)
    _, near_in_pixels = evaluate.neighbours(images, dataset.train_images, NEIGHBOURS)
    ranks = evaluate.pixel_rank_of_feature_neighbours(near, images, dataset.train_images)
    agreement = {
        name: round(evaluate.label_agreement(indices, dataset.train_labels, labels), 4)
        for name, indices in (("label_agreement", near), ("pixel_agreement", near_in_pixels))
    }
    errors = {
        f"{views}": evaluate.errors(net, augmenter, dataset.test_images, dataset.test_labels, views)
        for views in ((1, 10) if run.recipe.augment.crop else (1,))
    }
    line: Line = {"layer": "fc7", "neighbours": NEIGHBOURS, **agreement, "errors": errors}
    line["far_in_pixels"] = round(100 * (ranks > NEIGHBOURS).double().mean().item(), 4)
    line["median_pixel_rank"] = int(ranks.median())
    if run.sizes.channels == 3 and run.recipe.model.net == "two_tower":
        kernels = net.get_parameter("conv1.weight").detach()
        towers = tower_colour(kernels)
        by_chance = gaps_by_chance(colour_index(kernels), generator(run.seed, "halvings", 0))
        line["tower_colour"] = [round(value, 4) for value in towers.tolist()]
        line["colour_gap"] = round(float((towers[0] - towers[1]).abs()), 4)
        line["colour_gap_by_chance"] = round(float(by_chance.mean()), 4)
    return line
