"""What every test needs: an environment without the user's settings, and hypothesis and nbval set up."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import kernels
import pytest

ROOT = Path(__file__).resolve().parent

kernels.clean()  # for the kernels of nbval, and before any test imports what it is about
# jsonschema's check of IRIs, of which a notebook has none, compiles a grammar when it is imported: three CPU seconds
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

try:  # readers of the notebooks need not have installed the extra `dev`
    from hypothesis import settings
except ImportError:
    pass
else:
    settings.register_profile("repeatable", derandomize=True, deadline=None, database=None, max_examples=40)
    settings.register_profile("search", deadline=None)  # HYPOTHESIS_PROFILE=search looks for new examples
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def pytest_configure(config: pytest.Config) -> None:
    """Find the sanitizing rules from any working directory; patch nbval where NBVAL_DIAGNOSE=1 asks for it.

    The notebooks must pass plain nbval. The patch hides the value of a line that ends in ``;`` as Jupyter does, so
    that a failure can be told from that trap.
    """
    rules = getattr(config.option, "nbval_sanitize_with", None)
    if rules and not os.path.exists(rules):  # nbval looks below the working directory, not the root
        config.option.nbval_sanitize_with = str(ROOT / rules)
    if os.environ.get("NBVAL_DIAGNOSE") == "1":
        from nbval.kernel import RunningKernel

        def execute_cell_input(self, cell_input, allow_stdin=None):  # nbval issue #194
            return self.kc.execute(cell_input, store_history=True, allow_stdin=allow_stdin, stop_on_error=False)

        RunningKernel.execute_cell_input = execute_cell_input
