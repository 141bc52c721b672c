"""What every test needs: kernels that find paperlib and compute with one thread, and hermetic, repeatable tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent

# Inherited by the notebooks' kernels, whose working directory is the notebook's; tools/notebooks.py sets the same.
os.environ["PYTHONPATH"] = os.pathsep.join(p for p in (str(ROOT), os.environ.get("PYTHONPATH")) if p)
os.environ.setdefault("PYTHONHASHSEED", "0")  # the order in which a set of strings is printed
os.environ.setdefault("TQDM_DISABLE", "1")  # nbval compares stderr
os.environ.setdefault("OMP_NUM_THREADS", "1")  # sums in another order have other last bits
os.environ.setdefault("MKL_NUM_THREADS", "1")
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


@pytest.fixture(autouse=True)
def _without_the_users_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests see no PAPERLIB_* variable but those that they set themselves."""
    for name in [name for name in os.environ if name.startswith("PAPERLIB_")]:
        monkeypatch.delenv(name)


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
