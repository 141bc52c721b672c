"""What recorded runs say: metrics, intervals, verdicts, and the claims of the paper that they decide.

What notebooks use is imported at its first use: the table of claims can be shown without torch.
"""

from typing import TYPE_CHECKING

from paperlib.lazy import importing

if TYPE_CHECKING:
    from paperlib.evidence.decide import verdicts, verdicts_of
    from paperlib.evidence.metrics import results, running_error, updates_to
    from paperlib.evidence.rates import choose_rate
    from paperlib.evidence.store import RECORDED, epochs_of, recorded, records_of, schedule

__getattr__ = importing(
    __name__,
    {
        "decide": ("verdicts", "verdicts_of"),
        "metrics": ("results", "running_error", "updates_to"),
        "rates": ("choose_rate",),
        "store": ("RECORDED", "epochs_of", "recorded", "records_of", "schedule"),
    },
)
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
