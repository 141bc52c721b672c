"""The environment of kernels whose outputs are compared: one thread, no bars, and none of the user's settings.

conftest.py, tools/notebooks.py, tools/reproduce.py and tools/grade.py call :func:`clean` before anything reads them.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIXED = {
    "PYTHONHASHSEED": "0", "TQDM_DISABLE": "1", "PAPERLIB_CONTROLS": "0", "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}  # fmt: skip
USERS = re.compile("PAPERLIB_.*|IPYTHON.*|JUPYTER_.*|MPL.*|MATPLOTLIBRC|PYTHON(STARTUP|WARNINGS|OPTIMIZE|INSPECT)")
"""Variables that change what a kernel computes or prints."""
PREFIX = "kernels-of-the-edition-"


def clean() -> None:
    """Give this process, and all that it starts, the same environment whatever the user has set.

    IPython's profile, Jupyter's kernels and matplotlib's settings are those of an empty folder, which is removed when
    this process ends. So is the home folder, where there is none that can be written.
    """
    above = Path(os.environ.get("IPYTHONDIR", "")).parent
    if not (above.name.startswith(PREFIX) and above.is_dir()):  # not made by the process that started this one
        above = Path(tempfile.mkdtemp(prefix=PREFIX))
        atexit.register(shutil.rmtree, above, ignore_errors=True)
    for name in filter(USERS.fullmatch, list(os.environ)):
        del os.environ[name]
    folders = {"IPYTHONDIR": "ipython", "MPLCONFIGDIR": "matplotlib"}
    folders |= {f"JUPYTER_{name}_DIR": "jupyter" for name in ("CONFIG", "DATA", "RUNTIME")}
    for name, folder in folders.items():
        (above / folder).mkdir(exist_ok=True)
        os.environ[name] = str(above / folder)
    if not os.access(os.environ.get("HOME", ""), os.W_OK):
        os.environ["HOME"] = str(above)
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path not in ("", str(ROOT))]
    os.environ.update(FIXED, PYTHONPATH=os.pathsep.join([str(ROOT), *paths]))
