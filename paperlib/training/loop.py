"""One training loop for every experiment and scale.

:func:`fit` trains the net of a :class:`~paperlib.training.runs.Run`. Given a directory it writes a record and
checkpoints there and resumes from them: a run that was killed at any moment and started again equals an
uninterrupted one in every number, down to the bits of the weights (on one machine, with one thread count).
"""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from paperlib.data.augment import Augmenter
from paperlib.data.images import Dataset, Rows
from paperlib.errors import PaperlibError
from paperlib.nets.layers import set_step
from paperlib.nets.lrn_cpu import compiling
from paperlib.nets.table import build
from paperlib.seeding import generator
from paperlib.training import checkpoints, evaluate, records, towers
from paperlib.training.journal import Journal, State, Sums
from paperlib.training.optim import PaperSGD, learning_rate
from paperlib.training.processes import ALONE, Topology, rounds
from paperlib.training.records import Line
from paperlib.training.runs import Run


class Interrupted(Exception):
    """Training was asked to stop between two updates; the last checkpoint stands. ``step`` updates were done."""

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
    run: Run,
    data: Dataset,
    directory: Path | None = None,
    *,
    about: dict[str, Any] | None = None,
    progress: bool = False,
    checkpoint_seconds: float = 60.0,
    keep_going: Callable[[], bool] = lambda: True,
    topology: Topology = ALONE,
    device: str = "cpu",
    start: nn.Module | None = None,
) -> Trained:
    """Train ``run`` on ``data``; with a ``directory``, record, checkpoint and resume there.

    As one of several processes (``topology``), all of them call it with the same run and data; rank 0 alone reads
    and writes the directory and has the whole record, and all get the whole net. ``device`` is where the net
    computes; "cuda" has not been tried. ``start`` is the net that the run starts from, where it is at hand; otherwise
    that is trained first.

    ``about`` (experiment, scale, arm) goes into the record's first line. Raises :class:`PaperlibError` where
    the data are not those of the run or the directory cannot be used, :class:`Interrupted` as soon as
    ``keep_going()`` is false. A loss that is not a number ends the run with the status "diverged".
    """
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
    keep_freed_memory()
    journal = Journal(run, directory, {**(about or {}), "data_name": data.name}, topology)
    means: dict[str, Any] = {"device": device} if device != "cpu" else {"compiled": True} if compiling() else {}
    journal.first["env"] |= means
    if start is not None:
        if run.start is None:
            raise PaperlibError("this run starts from its own first weights, and from no other net")
        journal.first["start_weights"] = checkpoints.weights_sha256(start.state_dict())

    def other(built_upon: Run) -> nn.Module:
        """The net of another run, trained beside this one's directory where that is not done."""
        beside = directory.parent / built_upon.id if directory else None
        part = {**(about or {}), "arm": f"part of {(about or {}).get('arm', 'a run')}"}
        return fit(
            built_upon, data, beside, about=part, progress=progress,
            checkpoint_seconds=checkpoint_seconds, keep_going=keep_going, topology=topology, device=device,
        ).net  # fmt: skip

    with journal:
        journal.lines = topology.same(journal.lines)
        if run.members > 1:
            return average(run, data, journal, [other(one).cpu() for one in run.alone()])
        if journal.finished:
            net = build(run.recipe.model, run.sizes, run.seed)
            journal.restore(net, None)
            topology.copy_from_first(net.state_dict())
            if (
                checkpoints.weights_sha256(net.state_dict())
                != records.of_kind(journal.lines, "end")[-1]["weights_sha256"]
            ):
                raise PaperlibError(
                    f"{directory} has the record of a finished run and not its weights; delete it to train again"
                )
            return Trained(net, journal.lines)
        loop = Loop(run, data, device)
        state = journal.restore(loop.net, loop.optimiser)
        if run.start and not topology.same(state.step):  # rank 0 alone has the checkpoint
            take_over(loop.net, start or other(run.start), run)
        state = loop.take_part(topology, state)
        state.means |= means
        for line in loop.updates(state, checkpoint_seconds, journal, progress and not topology.rank, keep_going):
            journal.write(line)
        loop.check_weights(state)
        journal.checkpoint(loop.net, loop.optimiser, state)
        loop.net = loop.whole_net()
        for line in loop.final(state):
            journal.write(line)
        return Trained(loop.net, journal.lines)


def average(run: Run, data: Dataset, journal: Journal, nets: Sequence[nn.Module]) -> Trained:
    """The average of trained nets in the place of a training: its record compares it with its members, in ten views."""
    net = evaluate.Average(nets)
    if not journal.finished:
        members = run.alone()
        loop = Loop(members[0], data)  # for what an image goes through on its way into the net
        images, labels = loop.data.test_images, loop.data.test_labels
        single = [evaluate.predict(each, loop.augmenter, images, views=10) for each in nets]
        line: Line = {"kind": "ensemble", "members": [member.id for member in members], "views": 10, "n": len(images)}
        for k in (1, 5):
            errors = [evaluate.top_k_error(scores, labels, k) for scores in single]
            line[f"top{k}_error"] = round(evaluate.top_k_error(evaluate.ensemble(single), labels, k), 4)
            line[f"mean_top{k}_error"] = round(sum(errors) / len(errors), 4)
        journal.rewrite(b"")
        digest = checkpoints.weights_sha256(net.state_dict())
        for each in (journal.first, line, {"kind": "end", "status": "done", "steps": 0, "weights_sha256": digest}):
            journal.write(each)
    return Trained(net, journal.lines)


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


class Loop:
    """The updates of one run, from any state on."""

    def __init__(self, run: Run, data: Dataset, device: str = "cpu") -> None:
        data = data.only(run.stop.classes)
        if len(data.classes) > run.sizes.classes:
            raise PaperlibError(
                f"{data.title} has {len(data.classes)} classes, the net of this run {run.sizes.classes}"
            )
        if (side := data.train_images.shape[-1]) != run.sizes.side:
            raise PaperlibError(
                f"{data.title} has images of {side} × {side} pixels, this run takes {run.sizes.side} × "
                f"{run.sizes.side}: prepare them in that size (--size {run.sizes.side})"
            )
        self.device = torch.device(device)
        self.run, self.data = run, data
        if run.recipe.optim.drops == "plateau" and not run.stop.validation:
            raise PaperlibError(
                "dividing the rate when validation stalls needs held-out images: set the stop's validation"
            )
        n = run.stop.train_images or len(data.train_images)
        if n > len(data.train_images):
            raise PaperlibError(f"{data.title} has {len(data.train_images)} training images, the run asks for {n}")
        if run.recipe.optim.batch_size > n - run.stop.validation:
            rest = f" and holds out {run.stop.validation:,} of them" if run.stop.validation else ""
            raise PaperlibError(
                f"this run takes {n:,} training images of {data.title}{rest}: too few training images for a batch of "
                f"{run.recipe.optim.batch_size}; take more images, or another arm"
            )
        held_out = n - run.stop.validation
        self.images, self.labels = part(data.train_images, 0, held_out), data.train_labels[:held_out]
        if run.stop.validation:  # the schedule looks at held-out training images, never at the test set
            self.check_images = part(data.train_images, held_out, n)
            self.check_labels = data.train_labels[held_out:n]
        else:
            self.check_images, self.check_labels = data.test_images, data.test_labels
        self.net = build(run.recipe.model, run.sizes, run.seed).to(self.device).to(memory_format=torch.channels_last)
        self.optimiser = PaperSGD(self.net, run.recipe.optim)
        self.topology = ALONE
        self.augmenter = Augmenter(run.recipe.augment, run.sizes, self.images, data.statistics).to(self.device)
        self.ahead: tuple[list[int], Future[Tensor]] | None = None  # rows that are being read for the next update
        # only whole batches: an epoch leaves out fewer than a batch of images, others each time
        self.steps_per_epoch = len(self.images) // run.recipe.optim.batch_size

    def take_part(self, topology: Topology, state: State) -> State:
        """Go on as one of several processes, each from rank 0's weights, velocities and state, which it gives back."""
        towers.check_batch(self.run.recipe.optim.batch_size, topology)
        self.topology = topology
        self.net, self.optimiser = towers.take_part(self.net, self.optimiser, topology)
        state = State.from_json(topology.same(state.as_json()))
        state.processes = topology.provenance().get("processes", state.processes)
        return state

    def whole_net(self) -> nn.Module:
        """The one-process net with the weights of all towers."""
        if self.topology.world == 1:
            return self.net
        net = build(self.run.recipe.model, self.run.sizes, self.run.seed)
        net = net.to(self.device).to(memory_format=torch.channels_last)
        net.load_state_dict(towers.gather(self.net.state_dict(), self.topology))
        return net

    def updates(
        self, state: State, checkpoint_seconds: float, journal: Journal, progress: bool, keep_going: Callable[[], bool]
    ) -> Iterator[Line]:
        """Train until the stopping rule says so; yields the lines of the record."""
        run, stop, per_epoch = self.run, self.run.stop, self.steps_per_epoch
        began, saved = time.perf_counter() - state.seconds, time.perf_counter()
        order, drawn_epoch = torch.empty(0), -1
        batch = run.recipe.optim.batch_size
        bar = tqdm(
            total=stop.epochs * per_epoch * batch, initial=state.step * batch, unit=" images", unit_scale=True,
            disable=not progress, leave=False,
        )  # fmt: skip
        while not state.ended:
            if not self.topology.agreed(keep_going()):
                raise Interrupted(state.step)
            epoch, k = divmod(state.step, per_epoch)
            if epoch != drawn_epoch:
                order, drawn_epoch = epoch_order(run, len(self.images), epoch), epoch
                self.augmenter.start_epoch(run.seed, epoch, len(self.images))
            rows, following = order[k * batch : (k + 1) * batch], order[(k + 1) * batch : (k + 2) * batch]
            lr = learning_rate(run.recipe.optim, epoch, state.test_errors)
            loss, wrong = self.update(rows, lr, epoch, state.step, following)
            state.step += 1
            bar.update(batch)
            if not math.isfinite(loss):
                state.ended = "diverged"
                break
            state.epoch_sums.add(loss, wrong, len(rows))
            state.window_sums.add(loss, wrong, len(rows))
            bar.set_postfix_str(f"epoch {epoch + 1}: {self.errors_now(state)}", refresh=False)
            if stop.window and state.step % stop.window == 0:
                line: Line = {"kind": "window", "step": state.step, **state.window_sums.means()}
                state.window_sums = Sums()
                yield line
                if stop.threshold is not None and line["train_error"] <= stop.threshold:
                    state.ended = "reached"
                    break
            if state.step % per_epoch == 0:
                error = self.error(self.check_images, self.check_labels)
                state.test_errors.append(error)
                state.seconds = time.perf_counter() - began
                name = "validation_error" if stop.validation else "test_error"
                yield {
                    "kind": "epoch",
                    "epoch": epoch + 1,
                    "step": state.step,
                    "lr": lr,
                    **state.epoch_sums.means(),
                    name: error,
                    "seconds": round(state.seconds, 1),
                }
                bar.set_postfix_str(f"epoch {epoch + 1}: {self.errors_now(state)}")
                state.epoch_sums = Sums()
            if state.step == stop.epochs * per_epoch:
                state.ended = "done" if stop.threshold is None else "censored"
            elif self.topology.agreed(time.perf_counter() - saved > checkpoint_seconds):
                state.seconds = time.perf_counter() - began
                journal.checkpoint(self.net, self.optimiser, state)
                saved = time.perf_counter()
        bar.close()

    def errors_now(self, state: State) -> str:
        """For the bar: the training error of the epoch so far, and the error when it was last tested."""
        tested = "held-out" if self.run.stop.validation else "test"
        last = f", {tested} error {state.test_errors[-1]:.2f} %" if state.test_errors else ""
        return f"training error {state.epoch_sums.means()['train_error']:.1f} %{last}"

    def read(self, rows: Tensor, following: Tensor | None = None) -> Tensor:
        """This process's images of a batch; those of the next one are read meanwhile, where they are not in memory.

        The first batch of an epoch is not read ahead, and neither are the images of a test.
        """
        if isinstance(self.images, Tensor):
            return self.images[rows]
        ready = self.ahead[1].result() if self.ahead and self.ahead[0] == rows.tolist() else self.images[rows]
        self.ahead = None
        if following is not None and len(following) == len(rows) * self.topology.data:
            mine = self.topology.rows(following)
            self.ahead = mine.tolist(), READER.submit(self.images.__getitem__, mine)
        return ready

    def update(
        self, rows: Tensor, lr: float, epoch: int, step: int, following: Tensor | None = None
    ) -> tuple[float, int]:
        """One update on the training images of ``rows``; gives the loss (nats) and the number of wrong answers.

        ``following`` are the rows of the next update. Of several processes, each reads its own rows only.
        """
        self.net.train()
        set_step(self.net, self.run.seed, step)  # keys the dropout masks
        mine = self.topology.rows(rows)
        shared = self.topology.rows(self.augmenter.sharing(rows))
        inputs = self.augmenter.train_batch(self.read(mine, following).to(self.device), mine, shared)
        labels = self.labels[mine].to(self.device)
        for parameter in self.net.parameters():
            parameter.grad = None
        logits = self.net(inputs)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        self.topology.average_gradients(self.net)
        self.optimiser.step(lr, epoch)
        wrong = int((logits.argmax(1) != labels).sum())
        mean, total = self.topology.total(loss.item() / self.topology.world, wrong / self.topology.towers)
        return mean, int(total)

    @torch.inference_mode()
    def error(self, images: Rows, labels: Tensor, batch_size: int = 500) -> float:
        """Top-1 error in per cent on the centre view, dropout off."""
        self.net.eval()
        batches, total = torch.arange(len(images)).split(batch_size), 0.0
        for rows in rounds(batches, self.topology.data_rank, self.topology.data):
            wrong = 0
            if rows is not None:
                logits = self.net(self.augmenter.test_batch(images[rows].to(self.device)))
                wrong = int((logits.argmax(1).cpu() != labels[rows]).sum())
            total += self.topology.total(wrong / self.topology.towers)[0]
        return round(100 * total / len(images), 4)

    def check_weights(self, state: State) -> None:
        """A run whose last update left weights that are no numbers has diverged in it: no loss comes after to tell."""
        finite = all(bool(weights.isfinite().all()) for weights in self.net.state_dict().values())
        if self.topology.total(float(not finite))[0]:
            state.ended = "diverged"

    def final(self, state: State) -> Iterator[Line]:
        """The last lines of a record: the errors of a net trained on crops, in one and in ten views; those on its own
        training images, where they are asked for; the end.
        """
        digest = checkpoints.weights_sha256(self.net.state_dict())
        if state.ended == "done" and self.run.recipe.augment.crop:
            for views in (1, 10):
                images, labels = self.data.test_images, self.data.test_labels
                errors = evaluate.errors(self.net, self.augmenter, images, labels, views, self.topology)
                yield {"kind": "test", "views": views, **errors, "n": len(images), "weights_sha256": digest}
        if state.ended == "done" and self.run.stop.test_train:
            errors = evaluate.errors(self.net, self.augmenter, self.images, self.labels, 1, self.topology)
            yield {"kind": "fit", "views": 1, **errors, "n": len(self.images)}
        means = state.means | ({"processes": state.processes} if state.processes else {})
        yield {"kind": "end", "status": state.ended, "steps": state.step, "weights_sha256": digest, **means}


READER = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
"""Reads the images of the next update while this one is computed; decoding has threads of its own."""


def part(images: Any, first: int, last: int) -> Any:
    """Images ``first`` to ``last`` - 1, without reading any that are not in memory."""
    return images[first:last] if isinstance(images, Tensor) else images.stretch(first, last)


def epoch_order(run: Run, n: int, epoch: int) -> Tensor:
    """The order of the training images in an epoch, keyed by (seed, epoch); as stored where nothing is shuffled."""
    if not run.recipe.augment.shuffle:
        return torch.arange(n)
    return torch.randperm(n, generator=generator(run.seed, "order", epoch))


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
