"""A made-up experiment and its records, for tests of evidence and verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paperlib.data.known import FINGERPRINTS
from paperlib.evidence import store as evidence_store
from paperlib.experiments import declared
from paperlib.experiments.form import Comparison, Experiment
from paperlib.recipe import Stop
from paperlib.training.records import Line
from tests import tiny

SIZES = replace(tiny.SIZES, classes=10)
FASTER = Comparison("S9-a", "fast", "slow", "updates", "log_ratio", smallest_effect=1.1)
MADE_UP = Experiment(
    "made-up", "sample", "Made up", tiny.PLAIN, SIZES, Stop(epochs=5, threshold=25.0, window=10),
    {"fast": {}, "slow": {"model.activation": "tanh"}}, seeds=(0, 1, 2, 3, 4), comparisons=(FASTER,),
)  # fmt: skip


def declare(monkeypatch: pytest.MonkeyPatch, *made: Experiment) -> None:
    """Let these be all experiments there are."""
    monkeypatch.setattr(declared, "DECLARED", list(made))
    monkeypatch.setattr(declared, "EXPERIMENTS", {(e.name, e.scale): e for e in made})
    evidence_store.forget()


def put(folder: Path, arm: str, seed: int, errors: Sequence[float], *how: str, **more: Any) -> list[Line]:
    """Record a made-up run of the experiment ``of`` (by default ``MADE_UP``)."""
    of = more.pop("of", MADE_UP)
    copy = next(iter(FINGERPRINTS[of.scale].values()))
    lines = tiny.record(of.run(arm, seed, copy), errors, *how, **more)
    tiny.store(folder, of, arm, lines)
    evidence_store.forget()
    return lines


def epoch(number: int, train_error: float, test_error: float) -> Line:
    return {"kind": "epoch", "epoch": number, "step": 6 * number, "train_loss": train_error / 50,
            "train_error": train_error, "test_error": test_error}  # fmt: skip


def crossing(time: float) -> list[float]:
    """Running errors at updates 5, 15, … 195 that fall by a point an update and cross 25 % at ``time``."""
    steps = np.arange(5, 200, 10)
    return [float(error) for error in np.clip(25 + (time - steps), 0, 90)]
