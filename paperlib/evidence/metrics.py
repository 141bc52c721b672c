"""What is measured of one recorded run, and the tidy table of an experiment's results."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import load
from torch import Tensor

from paperlib.errors import PaperlibError
from paperlib.evidence import conv1, store
from paperlib.evidence.store import Record, cached, run_of
from paperlib.files import sha256
from paperlib.paper import facts
from paperlib.recipe import Sizes
from paperlib.seeding import generator
from paperlib.training import records

if TYPE_CHECKING:
    import pandas as pd


def results(name: str, scale: str, *wanted: str) -> pd.DataFrame:
    """One row a recorded run: arm, seed, how it ended, and the metrics wanted (errors in per cent, times in updates).

    All of :data:`METRICS` by default; some of them read weights, and take their time.
    """
    import pandas as pd  # here: it takes half a second

    runs = store.records_of(name, scale)
    rows = [(arm, seed, records.status(lines)) for arm, seed, lines in runs]
    frame = pd.DataFrame(rows, columns=["arm", "seed", "status"])
    return frame.assign(**{metric: measured(name, scale, metric) for metric in wanted or METRICS})


@cached
def measured(name: str, scale: str, metric: str) -> list[float]:
    """A metric of all recorded runs of an experiment."""
    return [METRICS[metric](lines) for *_, lines in store.records_of(name, scale)]


def running_error(lines: Record) -> tuple[list[float], list[float]]:
    """The running training error (per cent) of a record, and the update in the middle of each window."""
    windows = records.of_kind(lines, "window")
    width = run_of(lines).stop.window
    return [w["step"] - width / 2 for w in windows], [w["train_error"] for w in windows]


def updates_to(lines: Record, threshold: float) -> float:
    """Updates until the running training error first reaches ``threshold`` per cent, interpolated; NaN if never.

    Before the first window the error is taken as that of guessing, so that the time is never below zero.
    """
    classes = run_of(lines).sizes.classes
    steps, errors = running_error(lines)
    before_step, before_error = 0.0, 100 * (1 - 1 / classes)
    for step, error in zip(steps, errors, strict=True):
        if error <= threshold:
            share = (before_error - threshold) / (before_error - error)
            return before_step + share * (step - before_step)
        before_step, before_error = step, error
    return math.nan


def time_to_threshold(lines: Record) -> float:
    threshold = run_of(lines).stop.threshold
    return math.nan if threshold is None else updates_to(lines, threshold)


def _one(kind: str, key: str, which: int = -1) -> Callable[[Record], float]:
    """The value of ``key`` in the last line of a kind that has it, or in another; NaN where none has."""

    def read(lines: Record) -> float:
        found = [line[key] for line in records.of_kind(lines, kind) if key in line]
        return float(found[which]) if found else math.nan

    return read


def _views(views: int) -> Callable[[Record], float]:
    """Top-1 test error with this number of views; NaN where it is not recorded."""

    def read(lines: Record) -> float:
        found = [line["top1_error"] for line in records.of_kind(lines, "test") if line["views"] == views]
        return float(found[0]) if found else math.nan

    return read


def _of_kernels(measure: Callable[[Tensor], Tensor]) -> Callable[[Record], float]:
    """The mean of a measure over the kernels of conv1, above that of shuffled copies; NaN where no weights are kept."""

    @cache
    def above_chance(path: Path, checksum: str, seed: int) -> float:
        if not path.exists() or sha256(path) != checksum:
            raise PaperlibError(f"{path} is missing, or not the weights that its record names: restore it from git")
        found = load(path.read_bytes())["conv1.weight"].float()
        chance = conv1.shuffled(found, generator(seed, "shuffles", 0))
        return float(measure(found).mean() - measure(chance).mean())

    def read(lines: Record) -> float:
        for line in records.of_kind(lines, "look"):
            if "weights" in line:
                return above_chance(store.weights_of(lines[0]), line["weights"], lines[0]["seed"])
        return math.nan

    return read


STALLED = 0.8  # A run whose error stays above this share of the error of guessing has learnt nothing


def stalled(lines: Record) -> bool:
    """Whether a run never left guessing.

    Judged by its lowest test or validation error; without those by the last running training error. A record without
    any of them (an average of nets) is not stalled.
    """
    keys = ("test_error", "validation_error")
    unseen = [line[key] for line in records.of_kind(lines, "epoch") for key in keys if key in line]
    seen = [line["train_error"] for line in records.of_kind(lines, "window")][-1:]
    if not unseen and not seen:
        return False
    classes = lines[0]["config"]["sizes"].get("classes", Sizes().classes)
    return bool(min(unseen or seen) > STALLED * 100 * (1 - 1 / classes))


def _converged(lines: Record) -> float:
    """Updates to the first epoch whose test error is within a point of the run's lowest; NaN if it never learnt.

    The paper does not say what "converge" means; this is our definition, for runs at a constant rate (S4.2-c).
    """
    found = [line for line in records.of_kind(lines, "epoch") if "test_error" in line]
    if not found or stalled(lines):
        return math.nan
    lowest = min(line["test_error"] for line in found)
    return float(next(line["step"] for line in found if line["test_error"] <= lowest + 1))


@dataclass(frozen=True)
class Metric:
    """What is measured of a run: how it is read from a record, and how tables call it.

    ``unit`` is that of one run's value; "" where it has none, or the heading names it. Two values differ by
    ``difference``. Metrics ``in_epochs`` are recorded in updates and shown in epochs.
    """

    read: Callable[[Record], float]
    heading: str
    unit: str = "points"
    in_epochs: bool = False

    def __call__(self, lines: Record) -> float:
        return self.read(lines)

    @property
    def difference(self) -> str:
        """The unit of a difference."""
        return "points" if self.unit == "%" else self.unit


def _less(a: Callable[[Record], float], b: Callable[[Record], float]) -> Callable[[Record], float]:
    return lambda lines: a(lines) - b(lines)


_test_error, _train_error = _one("epoch", "test_error"), _one("epoch", "train_error")
_fit_error = _one("fit", "top1_error")  # of the finished net on its training images: no dropout, centre view

METRICS = {
    # to the threshold; NaN where it was not reached
    "updates": Metric(time_to_threshold, "epochs", "", in_epochs=True),
    # to the threshold of the paper's Figure 1, whatever the run's own is
    "updates_to_25": Metric(lambda lines: updates_to(lines, facts.FIGURE1.training_error), "epochs", "", True),
    # all that the run took: a bound where it was censored
    "steps": Metric(_one("end", "steps"), "length", "epochs", in_epochs=True),
    "train_error": Metric(_train_error, "training error", "%"),
    "train_loss": Metric(_one("epoch", "train_loss"), "training loss", "nats"),
    # the mean over the first epoch: how fast learning begins
    "first_loss": Metric(_one("epoch", "train_loss", 0), "loss of the first epoch", "nats"),
    "test_error": Metric(_test_error, "test error", "%"),
    "converged": Metric(_converged, "time to convergence", "epochs", in_epochs=True),
    "neighbours_gain": Metric(
        _less(_one("look", "label_agreement"), _one("look", "pixel_agreement")),
        "neighbours of the same class, in activities more than in pixels",
    ),
    # above 0: most of them are
    "far_in_pixels": Metric(
        lambda lines: _one("look", "far_in_pixels")(lines) - 50, "neighbours that are far in pixels, above a half"
    ),
    "colour_gap": Metric(
        _less(_one("look", "colour_gap"), _one("look", "colour_gap_by_chance")),
        "difference in colour of the towers, above chance", "",
    ),
    "orientation": Metric(
        _of_kernels(conv1.orientation_selectivity), "selectivity for orientation, above chance", ""
    ),
    "narrowness": Metric(_of_kernels(lambda kernels: -conv1.bandwidth(kernels)), "narrower than by chance", "octaves"),
    "ten_views_gain": Metric(_less(_views(1), _views(10)), "one view minus ten"),
    "ensemble_gain": Metric(
        _less(_one("ensemble", "mean_top1_error"), _one("ensemble", "top1_error")), "single nets minus their average"
    ),
    "fit_error": Metric(_fit_error, "error on the training images", "%"),
    # the finished net on unseen and on seen images, seen in one way: unlike "gap", fair between such arms
    "overfit": Metric(_less(_test_error, _fit_error), "test error minus error on the training images"),
    "gap": Metric(_less(_test_error, _train_error), "gap"),
}  # fmt: skip
TIMES = ("updates", "updates_to_25")
"""Those that a run may end without: how long it was trained is then a bound."""


def words(metric: str) -> str:
    """A metric as tables of comparisons call it: "test error", "updates to 25 %"."""
    return metric.replace("_", " ") + " %" * metric[-1].isdigit()
