"""The user's settings change nothing: kernels of tests and tools, figures, and a home folder that is not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import grade
import kernels
import matplotlib as mpl
import nbformat
import pytest
import reproduce
from nbformat.v4 import new_code_cell, new_notebook, new_output

import notebooks
from paperlib.data import cache
from paperlib.figures import draw

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent.parent
CELL = """%matplotlib inline
import os, matplotlib as mpl, matplotlib.pyplot as plt
plt.figure().text(0, 0, "x")
plt.savefig(os.devnull, format="png")
plt.close()
users = [name for name in ("PAPERLIB_SCALE", "PAPERLIB_RUNS", "PAPERLIB_DATA") if name in os.environ]
print(users, "mine" in globals(), os.environ["OMP_NUM_THREADS"])
print(mpl.rcParams["text.usetex"], mpl.rcParams["font.size"], mpl.get_backend())"""
PRINTED = "[] False 1\nFalse 10.0 inline\n"
RC = "text.usetex: True\nfont.size: 33\nfont.family: Nonsense\n"


def users_home(home: Path) -> dict[str, str]:
    """A home folder full of settings, and the environment of its user."""
    files = {
        ".ipython/profile_default/startup/00-mine.py": "mine = 1\nraise RuntimeError('at startup')",
        ".ipython/profile_default/ipython_kernel_config.py": "c.InteractiveShellApp.exec_lines = ['mine = 2', '1 / 0']",
        ".config/matplotlib/matplotlibrc": RC, "rc": RC, "start.py": "mine = 3\nprint('started')",
        ".local/share/jupyter/kernels/python3/kernel.json": json.dumps({"argv": ["false"], "display_name": "x"}),
        ".jupyter/jupyter_config.py": "1 / 0",
    }  # fmt: skip
    for name, content in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(content)
    return {
        "HOME": str(home), "IPYTHONDIR": str(home / ".ipython"), "MATPLOTLIBRC": str(home / "rc"),
        "MPLBACKEND": "TkAgg", "PYTHONSTARTUP": str(home / "start.py"), "PYTHONWARNINGS": "always",
        "JUPYTER_PATH": str(home / ".local/share/jupyter"), "JUPYTER_PREFER_ENV_PATH": "0", "OMP_NUM_THREADS": "7",
        "PAPERLIB_SCALE": "cifar10", "PAPERLIB_RUNS": "~nosuchuser", "PAPERLIB_DATA": str(home), "TQDM_DISABLE": "0",
    }  # fmt: skip


HOMELESS = """import pwd
def unknown(uid): raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = unknown"""
"""As Python sees a container that runs under the id of a foreign user."""


def surroundings(kind: str, folder: Path) -> dict[str, str]:
    """An environment: a user's settings, or no home folder to write to."""
    plain = {name: value for name, value in os.environ.items() if not kernels.USERS.fullmatch(name)}
    path = [str(ROOT), str(ROOT / "tools")]
    if kind == "settings":
        plain |= users_home(folder / "home")
    else:
        plain.pop("HOME", None)
        (folder / "site").mkdir()
        (folder / "site" / "sitecustomize.py").write_text(HOMELESS)
        path.append(str(folder / "site"))
    return plain | {"PYTHONPATH": os.pathsep.join(path)}


def notebook(folder: Path) -> Path:
    output = new_output("stream", name="stdout", text=PRINTED)
    cell = new_code_cell(CELL, execution_count=1, outputs=[output])
    nbformat.write(new_notebook(cells=[cell]), folder / "small.ipynb")
    return folder / "small.ipynb"


@pytest.mark.parametrize("kind", ["settings", "no home"])
def test_nbval_is_green_whatever_surrounds_it(kind: str, tmp_path: Path) -> None:
    command = [
        "-m",
        "pytest",
        "-p",
        "conftest",
        "-p",
        "no:cacheprovider",
        "-c",
        str(ROOT / "pyproject.toml"),
        "--nbval",
    ]
    done = subprocess.run(
        [sys.executable, *command, str(notebook(tmp_path))], cwd=tmp_path, env=surroundings(kind, tmp_path),
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("tool", [notebooks, reproduce, grade])
def test_each_tool_begins_with_a_clean_environment(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "clean", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tool.main([])


def test_the_command_needs_no_home(tmp_path: Path) -> None:
    more = {"PAPERLIB_RUNS": str(tmp_path / "runs")}
    done = subprocess.run(
        [sys.executable, "-m", "paperlib", "check"], cwd=tmp_path, env=surroundings("no home", tmp_path) | more,
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert not list(tmp_path.glob("~*"))


@pytest.mark.parametrize("home", [None, "", "/nonexistent", "/dev/null/x"])
def test_a_home_that_cannot_be_written_is_replaced(home: str | None, tmp_path: Path) -> None:
    environment = {"HOME": home} if home is not None else {}
    program = "import kernels, os; kernels.clean(); open(os.path.expanduser('~/x'), 'w'); print(os.environ['HOME'])"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment | {"PYTHONPATH": str(ROOT / "tools")}, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    assert kernels.PREFIX in done.stdout and not Path(done.stdout.strip()).exists()


def test_the_tensors_of_a_copy_are_kept_in_no_folder_called_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Path("/data/cifar-10-batches-bin")
    monkeypatch.setattr("pooch.os_cache", lambda _: "~/.cache/paperlib")
    assert cache.cache_files(place) == [Path("/data/.paperlib-cache/cifar-10-batches-bin.safetensors")]
    monkeypatch.setattr("pooch.os_cache", lambda _: "/var/cache/paperlib")
    assert len(cache.cache_files(place)) == 2


def test_figures_are_drawn_by_matplotlibs_defaults(tmp_path: Path) -> None:
    plain, _ = draw.draw(["claims"], tmp_path / "a")
    with mpl.rc_context({"font.size": 33, "text.usetex": True, "axes.facecolor": "red", "savefig.bbox": "tight"}):
        drawn, _ = draw.draw(["claims"], tmp_path / "b")
    assert drawn.read_bytes() == plain.read_bytes()
