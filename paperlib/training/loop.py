"""One training loop for every experiment and scale: prepare, loop, finish.

:func:`fit` trains the net of a :class:`~paperlib.training.runs.Run`. Given a directory it writes a record and
checkpoints there and resumes from them: a run that was killed at any moment and started again equals an
uninterrupted one in every number, down to the bits of the weights (on one machine, with one thread count).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from paperlib.data.batches import Batches, Parts
from paperlib.data.images import Dataset
from paperlib.errors import PaperlibError
from paperlib.nets.layers import set_step
from paperlib.nets.table import build
from paperlib.training import checkpoints, evaluate, records, towers
from paperlib.training.journal import Journal, State, Sums
from paperlib.training.optim import PaperSGD, learning_rate
from paperlib.training.precision import Precision, forward_in, use_precision
from paperlib.training.processes import ALONE, Topology
from paperlib.training.records import Line
from paperlib.training.runs import Run


class Interrupted(Exception):
    """Training was asked to stop between two updates; the last checkpoint remains. ``step`` updates were done."""

    def __init__(self, step: int = 0) -> None:
        super().__init__()
        self.step = step


@dataclass
class Trained:
    """What :func:`fit` gives back: the net as it ended, and the record."""

    net: nn.Module
    lines: list[Line]

    @property
    def status(self) -> str:
        return records.status(self.lines)


def fit(
    run: Run, data: Dataset, directory: Path | None = None, *, about: dict[str, Any] | None = None,
    progress: bool = False, checkpoint_seconds: float = 60.0, keep_going: Callable[[], bool] = lambda: True,
    topology: Topology = ALONE, device: str = "cpu", precision: Precision = "fp32", start: nn.Module | None = None,
) -> Trained:  # fmt: skip
    """Train ``run`` on ``data``; with a ``directory``, record, checkpoint and resume there.

    As one of several processes (``topology``), all of them call it with the same run and data; rank 0 alone reads
    and writes the directory and has the whole record, and all get the whole net. ``device`` is where the net
    computes; "cuda" has not been tried. ``start`` is the net that the run starts from; without it, that is trained
    first. ``about`` (experiment, scale, arm) goes into the record's first line.

    Raises :class:`PaperlibError` where the data are not those of the run or the directory cannot be used,
    :class:`Interrupted` as soon as ``keep_going()`` is false. A loss that is not a number ends the run as "diverged".
    """
    refuse(run, data, start, topology)
    parts = Parts.of(data, run.sizes, run.stop)
    use_precision(precision)
    how = {"checkpoint_seconds": checkpoint_seconds, "keep_going": keep_going, "topology": topology}
    how |= {"device": device, "precision": precision}

    def trained(other: Run) -> nn.Module:
        """The net of a run that this one builds upon, in the folder beside this one's."""
        part = {**(about or {}), "arm": f"part of {(about or {}).get('arm', 'a run')}"}
        place = directory.parent / other.id if directory else None
        return fit(other, data, place, about=part, progress=progress, **how).net  # type: ignore[arg-type]

    given = checkpoints.weights_sha256(start.state_dict()) if start is not None else None
    first = records.first_line(run, data.name, about, device, topology.provenance(), given, precision)
    with Journal(first, directory, topology, checkpoint_seconds) as journal:
        if run.members > 1:
            return average(run, parts, journal, [trained(one).cpu() for one in run.alone()])
        if journal.finished:
            return as_it_ended(run, journal, directory)
        if run.start and not journal.state.step:
            start = start or trained(run.start)
        training = prepare(run, parts, journal, start, device, precision)
        loop(training, journal, keep_going, progress)
        return finish(training, journal)


# ---------------------------------------------------------------------------------------------------------
# Prepare


@dataclass
class Training:
    """One run on its way: what is trained, by what, on what, and how far it is."""

    run: Run
    parts: Parts
    batches: Batches
    net: nn.Module
    optimiser: PaperSGD
    state: State = field(default_factory=State)
    topology: Topology = ALONE
    precision: Precision = "fp32"


def prepare(
    run: Run, parts: Parts, journal: Journal, start: nn.Module | None = None, device: str = "cpu",
    precision: Precision = "fp32",
) -> Training:  # fmt: skip
    """The net with its first weights, or those of ``start``, or all as the journal's checkpoint has it.

    As one of several processes, this one's part of rank 0's.
    """
    keep_freed_memory()
    topology = journal.topology
    towers.check_batch(run.recipe.optim.batch_size, topology)
    batches = Batches(parts, run.recipe, run.seed, topology.data_rank, topology.data, device)
    net = build(run.recipe.model, run.sizes, run.seed).to(device).to(memory_format=torch.channels_last)
    optimiser = PaperSGD(net, run.recipe.optim)
    put_back(journal.tensors, {"weights": net.state_dict(), "velocity": optimiser.velocity})
    if start is not None and not journal.state.step:
        take_over(net, start, run)
    net, optimiser = towers.take_part(net, optimiser, topology)
    return Training(run, parts, batches, net, optimiser, journal.state, topology, precision)


@torch.no_grad()
def put_back(saved: dict[str, Tensor] | None, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Move what a checkpoint has ``saved``, where there is one, into ``tensors`` of the same names."""
    for kind, by_name in tensors.items() if saved is not None else ():
        for name, tensor in by_name.items():
            found = saved.pop(f"{kind}/{name}", None) if saved else None
            if found is None or (found.shape, found.dtype) != (tensor.shape, tensor.dtype):
                raise PaperlibError(
                    f"the checkpoint has no {kind} {name} of shape {tuple(tensor.shape)} and {tensor.dtype}: "
                    "delete the run's folder and train it again"
                )
            tensor.copy_(found)


def take_over(net: nn.Module, trained: nn.Module, run: Run) -> None:
    """Give ``net``, of ``run``, the weights of the one that it starts from, layer by layer.

    Where that was for other classes, the output layer stays as it is. Velocities begin at 0, and crops and masks are
    those of a first epoch again.
    """
    theirs, mine = trained.state_dict(), net.state_dict()
    output = list(mine)[-1].rpartition(".")[0]
    for name, weights in mine.items():
        if name.rpartition(".")[0] == output and run.start and run.start.stop.classes != run.stop.classes:
            continue
        if name not in theirs or theirs[name].shape != weights.shape:
            raise PaperlibError(f"the net that this run starts from has no {name} of shape {tuple(weights.shape)}")
        weights.copy_(theirs[name].half() if run.start_rounded else theirs[name])


def keep_freed_memory() -> None:
    """Ask glibc to keep freed memory for the next step: fresh pages cost a fifth of a small net's time."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return  # not glibc: nothing to tune
    m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4  # numbers of malloc.h
    mallopt(m_mmap_max, 0)
    mallopt(m_trim_threshold, 2**31 - 1)
    mallopt(m_top_pad, 2**28)


def refuse(run: Run, data: Dataset, start: nn.Module | None, topology: Topology) -> None:
    """Raise :class:`PaperlibError` where ``run`` cannot be trained so, or the processes would not do the same."""
    if data.fingerprint != run.data:
        raise PaperlibError(
            f"{data.title} is not the data of this run: its fingerprint is {data.fingerprint[:16]}, "
            f"the run needs {run.data[:16]}"
        )
    topology.refuse_unlike(
        [run.id, len(data.train_images), len(data.test_images)],
        "would train another run, or on other images, than rank 0: every process needs the same command, and every "
        "host the same prepared images",
    )
    if start is not None and run.start is None:
        raise PaperlibError("this run starts from its own first weights, and from no other net")
    if run.recipe.optim.drops == "plateau" and not run.stop.validation:
        raise PaperlibError("dividing the rate when validation stalls needs held-out images: set the stop's validation")


# ---------------------------------------------------------------------------------------------------------
# Loop


def loop(
    training: Training, journal: Journal, keep_going: Callable[[], bool] = lambda: True, progress: bool = False
) -> None:
    """Update after update until the stopping rule says so, with the lines of the record and the checkpoints."""
    run, state, batches, topology = training.run, training.state, training.batches, training.topology
    stop, last = run.stop, run.stop.epochs * batches.per_epoch
    journal.begin()
    bar = tqdm(
        total=last * batches.size, initial=state.step * batches.size, unit=" images", unit_scale=True,
        disable=not progress or topology.rank > 0, leave=False,
    )  # fmt: skip
    while not state.ended:
        epoch, done = divmod(state.step, batches.per_epoch)
        lr = learning_rate(run.recipe.optim, epoch, state.test_errors)
        for inputs, labels in batches.of_epoch(epoch, start=done):
            if not topology.agreed(keep_going()):
                raise Interrupted(state.step)
            loss, wrong = update(training, inputs, labels, lr, epoch)
            state.add(loss, wrong, batches.size)
            bar.update(batches.size)
            if state.ended:  # diverged
                break
            bar.set_postfix_str(errors_now(training, epoch), refresh=False)
            if stop.window and state.step % stop.window == 0:
                line: Line = {"kind": "window", "step": state.step, **state.window_sums.means()}
                state.window_sums = Sums()
                journal.write(line)
                if stop.threshold is not None and line["train_error"] <= stop.threshold:
                    state.ended = "reached"
                    break
            if state.step % batches.per_epoch == 0:
                error = evaluate.error_in_training(training.net, batches.augmenter, *training.parts.checked, topology)
                state.test_errors.append(error)
                bar.set_postfix_str(errors_now(training, epoch))
                journal.write(line_of_epoch(training, epoch, lr, journal.seconds))
                state.epoch_sums = Sums()
            if state.step == last:
                state.ended = "done" if stop.threshold is None else "censored"
            elif topology.agreed(journal.due):
                save(training, journal)
    bar.close()


def update(training: Training, inputs: Tensor, labels: Tensor, lr: float, epoch: int) -> tuple[float, int]:
    """One update (section 5) on this process's share of a batch; gives the whole batch's loss (nats) and wrong answers.

    ``inputs`` (B, C, crop, crop), ``labels`` (B,); ``lr`` is the weights' rate in ``epoch``.
    """
    net, topology = training.net, training.topology
    net.train()
    set_step(net, training.run.seed, training.state.step)  # keys the dropout masks
    net.zero_grad()
    with forward_in(training.precision, inputs.device.type):
        logits = net(inputs)
        loss = F.cross_entropy(logits, labels)
    loss.backward()
    topology.average_gradients(net)
    training.optimiser.step(lr, epoch)
    wrong = int((logits.argmax(1) != labels).sum())
    mean, total = topology.total(loss.item() / topology.world, wrong / topology.towers)
    return mean, int(total)


def line_of_epoch(training: Training, epoch: int, lr: float, seconds: float) -> Line:
    """What the record says of an epoch (from 0) at its end."""
    state = training.state
    checked = "validation_error" if training.run.stop.validation else "test_error"
    return {
        "kind": "epoch", "epoch": epoch + 1, "step": state.step, "lr": lr, **state.epoch_sums.means(),
        checked: state.test_errors[-1], "seconds": round(seconds, 1),
    }  # fmt: skip


def errors_now(training: Training, epoch: int) -> str:
    """For the bar: the training error of the epoch so far, and the error when it was last tested."""
    state, tested = training.state, "held-out" if training.run.stop.validation else "test"
    last = f", {tested} error {state.test_errors[-1]:.2f} %" if state.test_errors else ""
    return f"epoch {epoch + 1}: training error {state.epoch_sums.means()['train_error']:.1f} %{last}"


def save(training: Training, journal: Journal) -> None:
    """A checkpoint of the whole net, whichever part of it this process has."""
    weights, velocity = training.net.state_dict(), training.optimiser.velocity
    journal.save(towers.gather(weights, training.topology), towers.gather(velocity, training.topology))


# ---------------------------------------------------------------------------------------------------------
# Finish


def finish(training: Training, journal: Journal) -> Trained:
    """The last checkpoint, the whole net, and the record's last lines."""
    # a loss checks the weights before its update; nothing else checks those after the last one
    finite = all(bool(weights.isfinite().all()) for weights in training.net.state_dict().values())
    if training.topology.total(float(not finite))[0]:
        training.state.ended = "diverged"
    save(training, journal)
    net = whole_net(training).eval()
    for line in last_lines(training, net):
        journal.write(line)
    return Trained(net, journal.lines)


def whole_net(training: Training) -> nn.Module:
    """The one-process net with the weights of all towers."""
    if training.topology.world == 1:
        return training.net
    run = training.run
    net = build(run.recipe.model, run.sizes, run.seed).to(training.batches.device).to(memory_format=torch.channels_last)
    net.load_state_dict(towers.gather(training.net.state_dict(), training.topology))
    return net


def last_lines(training: Training, net: nn.Module) -> Iterator[Line]:
    """The errors of a net trained on crops, in one and in ten views; those on its own training images, where they are
    asked for; the end.
    """
    run, state, digest = training.run, training.state, checkpoints.weights_sha256(net.state_dict())

    def errors(part: tuple[Any, Tensor], views: int) -> Line:
        found = evaluate.errors(net, training.batches.augmenter, *part, views, training.topology)
        return {"views": views, **found, "n": len(part[0])}

    if state.ended == "done" and run.recipe.augment.crop:
        for views in (1, 10):
            yield {"kind": "test", **errors(training.parts.test, views), "weights_sha256": digest}
    if state.ended == "done" and run.stop.test_train:
        yield {"kind": "fit", **errors(training.parts.train, 1)}
    elsewhere = {"stretches": state.stretches} if len(state.stretches) > 1 else {}
    yield {"kind": "end", "status": state.ended, "steps": state.step, "weights_sha256": digest, **elsewhere}


# ---------------------------------------------------------------------------------------------------------
# What is not trained: a run that is finished already, and an average of others


def as_it_ended(run: Run, journal: Journal, directory: Path | None) -> Trained:
    """A finished run with its net; raises :class:`PaperlibError` where its weights are no more."""
    net = build(run.recipe.model, run.sizes, run.seed)
    put_back(journal.tensors, {"weights": net.state_dict()})
    journal.topology.copy_from_first(net.state_dict())
    if checkpoints.weights_sha256(net.state_dict()) != records.of_kind(journal.lines, "end")[-1]["weights_sha256"]:
        raise PaperlibError(
            f"{directory} has the record of a finished run and not its weights; delete it to train again"
        )
    return Trained(net, journal.lines)


def average(run: Run, parts: Parts, journal: Journal, nets: Sequence[nn.Module]) -> Trained:
    """The average of trained nets in the place of a training: its record compares it with its members, in ten views."""
    net = evaluate.Average(nets)
    if not journal.finished:
        augmenter, (images, labels) = parts.augmenter(run.recipe.augment), parts.test
        images = images[:]
        single = [evaluate.predict(each, augmenter, images, views=10) for each in nets]
        line: Line = {"kind": "ensemble", "members": [one.id for one in run.alone()], "views": 10, "n": len(images)}
        for k in (1, 5):
            errors = [evaluate.top_k_error(scores, labels, k) for scores in single]
            line[f"top{k}_error"] = round(evaluate.top_k_error(evaluate.ensemble(single), labels, k), 4)
            line[f"mean_top{k}_error"] = round(sum(errors) / len(errors), 4)
        digest = checkpoints.weights_sha256(net.state_dict())
        journal.begin()
        journal.write(line)
        journal.write({"kind": "end", "status": "done", "steps": 0, "weights_sha256": digest})
    return Trained(net, journal.lines)
