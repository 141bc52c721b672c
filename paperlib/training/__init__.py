"""Training: the update, the loop, runs with their records and checkpoints, processes and towers."""

from paperlib.training.evaluate import (
    ensemble,
    errors,
    features,
    label_agreement,
    mean_over_views,
    neighbours,
    predict,
    top_k_error,
)
from paperlib.training.loop import Interrupted, Trained, fit
from paperlib.training.optim import PaperSGD, learning_rate
from paperlib.training.records import of_kind
from paperlib.training.runs import Run
from paperlib.training.towers import bytes_exchanged, demonstrate

__all__ = [
    "Interrupted",
    "PaperSGD",
    "Run",
    "Trained",
    "bytes_exchanged",
    "demonstrate",
    "ensemble",
    "errors",
    "features",
    "fit",
    "label_agreement",
    "learning_rate",
    "mean_over_views",
    "neighbours",
    "of_kind",
    "predict",
    "top_k_error",
]
