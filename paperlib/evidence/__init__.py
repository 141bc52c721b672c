"""What recorded runs say: metrics, intervals, verdicts, and the claims of the paper that they decide.

What notebooks use is imported at its first use: the table of claims can be shown without torch.
"""

from importlib import import_module
from typing import Any

MODULE_OF = {
    "verdicts": "decide", "verdicts_of": "decide", "results": "metrics", "running_error": "metrics",
    "updates_to": "metrics", "choose_rate": "rates", "RECORDED": "store", "epochs_of": "store", "recorded": "store",
    "records_of": "store", "schedule": "store",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in MODULE_OF:
        return getattr(import_module(f"{__name__}.{MODULE_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
