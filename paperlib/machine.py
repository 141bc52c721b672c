"""What the machine and the shell give a process: processors, environment variables, standard streams."""

from __future__ import annotations

import os
import sys

from paperlib.errors import PaperlibError


def allowed_cpus() -> int:
    """Number of processors that this process may use; a container or a batch job may allow fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def whole_number(variable: str, at_least: int = 0, at_most: int = 10**9) -> int | None:
    """The whole number in an environment variable; None where it is unset or blank.

    Raises :class:`PaperlibError` for anything else, and for a number below ``at_least`` or above ``at_most``.
    """
    text = os.environ.get(variable, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10 and at_least <= int(text) <= at_most):
        limit = f"to {at_most}" if at_most < 10**9 else "up"
        raise PaperlibError(
            f"the environment variable {variable} is {text[:40]!r}, not a whole number from {at_least} {limit}: "
            "unset it, or start the job with torchrun"
        )
    return int(text)


def lacks_memory(error: BaseException) -> bool:
    """Whether an error is a lack of memory: Python's own, or torch's, which is a RuntimeError."""
    torchs = isinstance(error, RuntimeError) and ("allocate memory" in str(error) or "out of memory" in str(error))
    return isinstance(error, MemoryError) or torchs


def usable_streams() -> None:
    """Open closed standard streams on the null device, and write characters that an encoding lacks as escapes.

    Without this the next file to be opened would take the number of a closed stream, and receive its output.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - open until the process ends
        elif mode == "w" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
