"""What recorded runs say: metrics, intervals, verdicts, and the claims of the paper that they decide.

What notebooks use is imported at its first use: the table of claims can be shown without torch.
"""

from paperlib.lazy import importing

__getattr__ = importing(
    __name__,
    {
        "decide": ("verdicts", "verdicts_of"),
        "metrics": ("results", "running_error", "updates_to"),
        "rates": ("choose_rate",),
        "store": ("RECORDED", "epochs_of", "recorded", "records_of", "schedule"),
    },
)
