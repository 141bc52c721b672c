"""The choice of learning rates from recorded sweeps."""

from __future__ import annotations

import math

from paperlib.evidence import store
from paperlib.evidence.metrics import running_error, time_to_threshold
from paperlib.experiments import declared
from paperlib.training import records


def choose_rate(scores: dict[float, float]) -> float | None:
    """The rule of the sweeps: the rate with the lowest score (:func:`swept`).

    Equal scores: the lower rate. None while the sweep cannot tell: the best rate must have a worse or
    diverged neighbour on both sides.
    """
    rates = sorted(scores)
    alive = [r for r in rates if not math.isnan(scores[r])]
    if not alive:
        return None
    best = min(alive, key=lambda r: (scores[r], r))
    return best if rates[0] < best < rates[-1] else None


def swept(scale: str, name: str = "relu-rates") -> dict[str, dict[float, float]]:
    """Arm -> rate -> score of a recorded sweep, Figure 1's by default; the lower the better.

    The score is the last running training error (%), or, of an arm that is tried until it reaches a threshold, the
    updates to it; NaN where the run diverged or did not reach the threshold.
    """
    scores: dict[str, dict[float, float]] = {}
    experiment = declared.get(name, scale)
    for tried, _, lines in store.records_of(name, scale):
        arm, rate = experiment.tried[tried]
        if store.run_of(lines).stop.threshold is not None:
            score = time_to_threshold(lines)
        else:
            score = math.nan if records.status(lines) == "diverged" else running_error(lines)[1][-1]
        scores.setdefault(arm, {})[rate] = score
    return scores


def chosen_rates(scale: str) -> dict[str, float | None]:
    """Arm -> the rate that the recorded sweep of Figure 1 chooses, None where it cannot tell yet."""
    return {arm: choose_rate(errors) for arm, errors in swept(scale).items()}
