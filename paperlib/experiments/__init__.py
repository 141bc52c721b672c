"""The declared experiments: controlled comparisons, each a table of arms."""

from paperlib.experiments.declared import (
    BASELINE,
    CONVOLUTIONS,
    DECLARED,
    EPOCHS_OF,
    FULL_TINY,
    NET,
    TINY_AIM,
    get,
    names,
)
from paperlib.experiments.form import FIVE, Comparison, Experiment
from paperlib.experiments.relu import PLAIN, UNIT_SIZES, UNITS
