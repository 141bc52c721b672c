"""What recorded runs say: metrics, intervals, verdicts, and the claims of the paper that they decide."""

from paperlib.evidence.decide import verdicts, verdicts_of
from paperlib.evidence.metrics import results, running_error, updates_to
from paperlib.evidence.rates import choose_rate
from paperlib.evidence.store import RECORDED, epochs_of, recorded, records_of, schedule

__all__ = [
    "RECORDED",
    "choose_rate",
    "epochs_of",
    "recorded",
    "records_of",
    "results",
    "running_error",
    "schedule",
    "updates_to",
    "verdicts",
    "verdicts_of",
]
