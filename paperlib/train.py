"""One training loop for every experiment and scale.

:func:`fit` trains the net of a :class:`~paperlib.runs.Run`. Given a directory it writes a record and
checkpoints there and resumes from them: a run that was killed at any moment and started again equals an
uninterrupted one in every number, down to the bits of the weights (on one machine, with one thread count).
"""

from __future__ import annotations

import ctypes
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from filelock import FileLock, Timeout
from torch import Tensor, nn
from tqdm import tqdm

from paperlib import evaluate, runs, towers
from paperlib.augment import Augmenter
from paperlib.data import Dataset
from paperlib.errors import PaperlibError
from paperlib.layers import set_step
from paperlib.models import build
from paperlib.optim import PaperSGD, learning_rate
from paperlib.processes import ALONE, Topology
from paperlib.runs import Line, Run
from paperlib.seeding import generator


class Interrupted(Exception):
    """Training was asked to stop between two updates; the last checkpoint stands."""


@dataclass
class Trained:
    """What :func:`fit` gives back: the net as it ended, and the record."""

    net: nn.Module
    lines: list[Line]

    @property
    def status(self) -> str:
        return runs.status(self.lines)


@dataclass
class Sums:
    """Running sums of loss and wrong answers over some updates."""

    loss: float = 0.0
    wrong: float = 0.0
    seen: int = 0

    def add(self, loss: float, wrong: float, seen: int) -> None:
        self.loss, self.wrong, self.seen = self.loss + loss * seen, self.wrong + wrong, self.seen + seen

    def means(self) -> dict[str, float]:
        """Mean loss, and error in per cent; rounded, so that records stay short."""
        return {
            "train_loss": round(self.loss / self.seen, 6),
            "train_error": round(100 * self.wrong / self.seen, 4),
        }


@dataclass
class State:
    """Everything besides weights and velocities that the next update depends on."""

    step: int = 0
    epoch_sums: Sums = field(default_factory=Sums)
    window_sums: Sums = field(default_factory=Sums)
    test_errors: list[float] = field(default_factory=list)
    seconds: float = 0.0
    record_bytes: int = 0
    processes: str = ""  # where several had a part in it: the digits of sums depend on that
    ended: str = ""  # the status, once the run is over and only its last line is missing

    def as_json(self) -> Line:
        return {**vars(self), "epoch_sums": vars(self.epoch_sums), "window_sums": vars(self.window_sums)}

    @classmethod
    def from_json(cls, data: Line) -> State:
        sums = {name: Sums(**data[name]) for name in ("epoch_sums", "window_sums")}
        return cls(**{**data, **sums})


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
) -> Trained:
    """Train ``run`` on ``data``; with a ``directory``, record, checkpoint and resume there.

    As one of several processes (``topology``), all of them call it with the same run and data; rank 0 alone reads
    and writes the directory and has the whole record, and all get the whole net.

    ``about`` (experiment, scale, arm) goes into the record's first line. Raises :class:`PaperlibError` where
    the data are not those of the run or the directory cannot be used, :class:`Interrupted` as soon as
    ``keep_going()`` is false. A loss that is not a number ends the run with the status "diverged".
    """
    if data.fingerprint != run.data:
        raise PaperlibError(
            f"{data.title} is not the data of this run: its fingerprint is {data.fingerprint[:16]}, "
            f"the run needs {run.data[:16]}"
        )
    keep_freed_memory()
    journal = Journal(run, directory, {**(about or {}), "data_name": data.name}, topology)

    def other(built_upon: Run) -> nn.Module:
        """The net of another run, trained beside this one's directory where that is not done."""
        beside = directory.parent / built_upon.id if directory else None
        part = {**(about or {}), "arm": f"part of {(about or {}).get('arm', 'a run')}"}
        return fit(
            built_upon, data, beside, about=part, progress=progress,
            checkpoint_seconds=checkpoint_seconds, keep_going=keep_going, topology=topology,
        ).net  # fmt: skip

    with journal:
        journal.lines = topology.same(journal.lines)
        if run.members > 1:
            return average(run, data, journal, [other(one) for one in run.alone()])
        if journal.finished:
            net = build(run.recipe.model, run.sizes, run.seed)
            journal.restore(net, None)
            topology.copy_from_first(net.state_dict())
            if runs.weights_sha256(net.state_dict()) != runs.of_kind(journal.lines, "end")[-1]["weights_sha256"]:
                raise PaperlibError(
                    f"{directory} has the record of a finished run and not its weights; delete it to train again"
                )
            return Trained(net, journal.lines)
        loop = Loop(run, data)
        state = journal.restore(loop.net, loop.optimiser)
        if run.start and not state.step:
            take_over(loop.net, other(run.start))
        state = loop.take_part(topology, state)
        for line in loop.updates(state, checkpoint_seconds, journal, progress and not topology.rank, keep_going):
            journal.write(line)
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
        digest = runs.weights_sha256(net.state_dict())
        for each in (journal.first, line, {"kind": "end", "status": "done", "steps": 0, "weights_sha256": digest}):
            journal.write(each)
    return Trained(net, journal.lines)


def take_over(net: nn.Module, trained: nn.Module) -> None:
    """Give ``net`` the weights of another one, layer by layer; its output layer is for other classes and stays."""
    theirs, mine = trained.state_dict(), net.state_dict()
    output = list(mine)[-1].rpartition(".")[0]
    for name, weights in mine.items():
        if name.rpartition(".")[0] == output:
            continue
        if name not in theirs or theirs[name].shape != weights.shape:
            raise PaperlibError(f"the net that this run starts from has no {name} of shape {tuple(weights.shape)}")
        weights.copy_(theirs[name])


class Loop:
    """The updates of one run, from any state on."""

    def __init__(self, run: Run, data: Dataset) -> None:
        data = data.only(run.stop.classes)
        self.run, self.data = run, data
        if run.recipe.optim.drops == "plateau" and not run.stop.validation:
            raise PaperlibError(
                "dividing the rate when validation stalls needs held-out images: set the stop's validation"
            )
        n = run.stop.train_images or len(data.train_images)
        if n > len(data.train_images):
            raise PaperlibError(f"{data.title} has {len(data.train_images)} training images, the run asks for {n}")
        if not 0 < run.recipe.optim.batch_size <= n - run.stop.validation:
            raise PaperlibError(
                f"{data.title} has too few training images for a batch of {run.recipe.optim.batch_size}; "
                "take a smaller batch"
            )
        self.images, self.labels = (
            data.train_images[: n - run.stop.validation],
            data.train_labels[: n - run.stop.validation],
        )
        if run.stop.validation:  # the schedule looks at held-out training images, never at the test set
            self.check_images, self.check_labels = (
                data.train_images[n - run.stop.validation : n],
                data.train_labels[n - run.stop.validation : n],
            )
        else:
            self.check_images, self.check_labels = data.test_images, data.test_labels
        self.net = build(run.recipe.model, run.sizes, run.seed).to(memory_format=torch.channels_last)
        self.optimiser = PaperSGD(self.net, run.recipe.optim)
        self.topology = ALONE
        self.augmenter = Augmenter(run.recipe.augment, run.sizes, self.images)
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
        net = build(self.run.recipe.model, self.run.sizes, self.run.seed).to(memory_format=torch.channels_last)
        net.load_state_dict(towers.gather(self.net.state_dict(), self.topology))
        return net

    def updates(
        self, state: State, checkpoint_seconds: float, journal: Journal, progress: bool, keep_going: Callable[[], bool]
    ) -> Iterator[Line]:
        """Train until the stopping rule says so; yields the lines of the record."""
        run, stop, per_epoch = self.run, self.run.stop, self.steps_per_epoch
        began, saved = time.perf_counter() - state.seconds, time.perf_counter()
        order, drawn_epoch = torch.empty(0), -1
        bar = tqdm(total=stop.epochs * per_epoch, initial=state.step, unit="update", disable=not progress, leave=False)
        while not state.ended:
            if not self.topology.agreed(keep_going()):
                raise Interrupted
            epoch, k = divmod(state.step, per_epoch)
            if epoch != drawn_epoch:
                order, drawn_epoch = epoch_order(run, len(self.images), epoch), epoch
                self.augmenter.start_epoch(run.seed, epoch, len(self.images))
            rows = order[k * run.recipe.optim.batch_size : (k + 1) * run.recipe.optim.batch_size]
            lr = learning_rate(run.recipe.optim, epoch, state.test_errors)
            loss, wrong = self.update(rows, lr, epoch, state.step)
            state.step += 1
            bar.update()
            if not math.isfinite(loss):
                state.ended = "diverged"
                break
            state.epoch_sums.add(loss, wrong, len(rows))
            state.window_sums.add(loss, wrong, len(rows))
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
                state.epoch_sums = Sums()
                bar.set_postfix(epoch=epoch + 1, test_error=error)
            if state.step == stop.epochs * per_epoch:
                state.ended = "done" if stop.threshold is None else "censored"
            elif self.topology.agreed(time.perf_counter() - saved > checkpoint_seconds):
                state.seconds = time.perf_counter() - began
                journal.checkpoint(self.net, self.optimiser, state)
                saved = time.perf_counter()
        bar.close()

    def update(self, rows: Tensor, lr: float, epoch: int, step: int) -> tuple[float, int]:
        """One update on the training images of ``rows``; gives the loss (nats) and the number of wrong answers."""
        self.net.train()
        set_step(self.net, self.run.seed, step)  # keys the dropout masks
        inputs = self.topology.rows(self.augmenter.train_batch(self.images[rows], rows))
        labels = self.topology.rows(self.labels[rows])
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
    def error(self, images: Tensor, labels: Tensor, batch_size: int = 500) -> float:
        """Top-1 error in per cent on the centre view, dropout off."""
        self.net.eval()
        batches = list(zip(images.split(batch_size), labels.split(batch_size), strict=True))
        wrong = sum(
            int((self.net(self.augmenter.test_batch(x)).argmax(1) != y).sum())
            for x, y in batches[self.topology.data_rank :: self.topology.data]
        )
        (total,) = self.topology.total(wrong / self.topology.towers)
        return round(100 * total / len(images), 4)

    def final(self, state: State) -> Iterator[Line]:
        """The last lines of a record: the test errors of a net trained on crops, in one and in ten views; the end."""
        digest = runs.weights_sha256(self.net.state_dict())
        if state.ended == "done" and self.run.recipe.augment.crop:
            for views in (1, 10):
                scores = evaluate.predict(self.net, self.augmenter, self.data.test_images, views)
                errors = {
                    f"top{k}_error": round(evaluate.top_k_error(scores, self.data.test_labels, k), 4) for k in (1, 5)
                }
                yield {"kind": "test", "views": views, **errors, "n": len(scores), "weights_sha256": digest}
        shared = {"processes": state.processes} if state.processes else {}
        yield {"kind": "end", "status": state.ended, "steps": state.step, "weights_sha256": digest, **shared}


def epoch_order(run: Run, n: int, epoch: int) -> Tensor:
    """The order of the training images in an epoch, keyed by (seed, epoch); as stored where nothing is shuffled."""
    if not run.recipe.augment.shuffle:
        return torch.arange(n)
    return torch.randperm(n, generator=generator(run.seed, "order", epoch))


class Journal:
    """Record and checkpoints of one run in its directory; without a directory the lines stay in memory.

    Of several processes, rank 0 alone has the directory.
    """

    def __init__(self, run: Run, directory: Path | None, about: dict[str, Any], topology: Topology = ALONE) -> None:
        self.run, self.directory, self.topology = run, directory if topology.rank == 0 else None, topology
        data_name = about.pop("data_name")
        self.first: Line = {
            "kind": "run", "format": runs.FORMAT, "id": run.id, **about, "seed": run.seed, "config": run.config,
            "data": {"name": data_name, "fingerprint": run.data},
            "code": runs.code_version(), "env": runs.environment() | topology.provenance(),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }  # fmt: skip
        self.lines: list[Line] = []

    @property
    def finished(self) -> bool:
        return runs.status(self.lines) != "unfinished"

    @property
    def path(self) -> Path:
        assert self.directory is not None
        return self.directory / "record.jsonl"

    def __enter__(self) -> Journal:
        if self.directory is None:
            return self
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self.lock = FileLock(self.directory / "lock")
            self.lock.acquire(timeout=0)
        except Timeout:
            raise PaperlibError(
                f"another process is training in {self.directory}; wait for it or use another folder"
            ) from None
        except OSError as error:
            raise PaperlibError(
                f"cannot write into {self.directory}: {error.strerror or error}; "
                "choose another folder with PAPERLIB_RUNS"
            ) from None
        try:
            self.lines = self.lines_so_far()
        except BaseException:  # nobody calls __exit__ where __enter__ fails
            self.lock.release()
            raise
        return self

    def lines_so_far(self) -> list[Line]:
        """The record as it stands, empty where there is none."""
        if not runs.begun(self.path):
            return []
        lines = runs.read_record(self.path)
        if lines[0].get("id") != self.run.id:
            raise PaperlibError(
                f"{self.path} is the record of another run "
                f"({str(lines[0].get('id'))[:12]}, not {self.run.id[:12]}); use another folder"
            )
        return lines

    def __exit__(self, *_: object) -> None:
        if self.directory is not None:
            self.lock.release()

    def restore(self, net: nn.Module, optimiser: PaperSGD | None) -> State:
        """Put the newest checkpoint into ``net`` and ``optimiser``; a record that ran ahead of it is cut back to it."""
        found = runs.load_checkpoint(self.directory, self.run.id) if self.directory else None
        if found and not self.finished and self.size() < found[2]["record_bytes"]:
            found = None  # somebody deleted the record: only a new start gives a whole one
        if not self.finished and self.directory:
            runs.drop_checkpoints(self.directory, after=found[0] if found else -1)
        if found is None:
            if not self.finished:
                self.rewrite(b"")
                self.write(self.first)
            return State()
        _, tensors, saved = found
        with torch.no_grad():
            for name, parameter in net.state_dict().items():
                parameter.copy_(tensors[f"weights/{name}"])
            for name, velocity in (optimiser.velocity if optimiser else {}).items():
                velocity.copy_(tensors[f"velocity/{name}"])
        state = State.from_json(saved)
        if not self.finished:
            self.rewrite(self.path.read_bytes()[: state.record_bytes])
            self.lines = runs.read_record(self.path)
        return state

    def size(self) -> int:
        """Bytes of the record."""
        return self.path.stat().st_size if self.path.exists() else 0

    def rewrite(self, content: bytes) -> None:
        if self.directory is not None:
            runs.write_whole(self.path, content)
        self.lines = []

    def write(self, line: Line) -> None:
        """Append one line to the record."""
        self.lines.append(line)
        if self.directory is None:
            return
        try:
            with self.path.open("a") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise PaperlibError(
                f"cannot write {self.path}: {error.strerror or error}; make room and run again, "
                "nothing up to the last checkpoint is lost"
            ) from None

    def checkpoint(self, net: nn.Module, optimiser: PaperSGD, state: State) -> None:
        """Save all that the next update depends on, as the one-process net has it."""
        weights, velocity = (towers.gather(t, self.topology) for t in (net.state_dict(), optimiser.velocity))
        if self.directory is None:
            return
        state.record_bytes = self.path.stat().st_size
        tensors = {f"weights/{n}": t for n, t in weights.items()}
        tensors |= {f"velocity/{n}": t for n, t in velocity.items()}
        runs.save_checkpoint(self.directory, self.run.id, state.step, tensors, state.as_json())


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
