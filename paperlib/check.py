"""What a run needs, checked item by item; ``paperlib check`` prints the list.

A check is ``[OK]``, ``[FAIL]``, or ``[--]`` for an item that is absent and not needed for the embedded samples.
"""

from __future__ import annotations

import contextlib
import platform
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from paperlib.errors import PaperlibError
from paperlib.files import sha256
from paperlib.machine import allowed_cpus

DISTRIBUTION = "alexnet-executable-edition"
EMBEDDED = ("sample", "photos")
OLDEST_PYTHON = (3, 11)
MEMORY_NEEDED = 2.0  # GB: no notebook takes more
DISK_NEEDED = 1.0  # GB: the sample's runs with two checkpoints each, and executed notebooks
CGROUP_MEMORY = Path("/sys/fs/cgroup/memory.max")
GB = 1e9


@dataclass(frozen=True)
class Check:
    """One item: ``ok`` is True, False, or None if it is absent and not needed."""

    ok: bool | None
    name: str
    detail: str


def lines(checks: Iterable[Check]) -> list[str]:
    """The checks as text, one line each."""
    marks = {True: "[OK]  ", False: "[FAIL]", None: "[--]  "}
    return [f"{marks[c.ok]} {c.name:<13} {' '.join(c.detail.split())}" for c in checks]


def passed(checks: Iterable[Check]) -> bool:
    """Whether no check failed."""
    return all(c.ok is not False for c in checks)


def python_version(version: str | None = None) -> Check:
    """The interpreter's version (``version`` instead of the running one's)."""
    found = (version or platform.python_version()).rstrip("+")  # "3.14.0rc1+" is built from sources after 3.14.0rc1
    needed = ".".join(map(str, OLDEST_PYTHON))
    return Check(Version(found).release >= OLDEST_PYTHON, "Python", f"{found} (needs {needed} or newer)")


def package_versions(distribution: str = DISTRIBUTION) -> Check:
    """Whether every package that the edition depends on is installed in a version within its range."""
    try:
        wanted = [Requirement(line) for line in metadata.requires(distribution) or []]
    except metadata.PackageNotFoundError:
        return Check(False, "packages", "paperlib is not installed in this environment: run `make env`")
    wanted = [r for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})]
    wrong = []
    for requirement in wanted:
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{requirement} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement} is wanted and {version} is here")
    if wrong:
        return Check(False, "packages", f"{', '.join(wrong)}: run `make env`")
    return Check(True, "packages", f"all {len(wanted)} within their ranges")


def torch_device() -> Check:
    """PyTorch's version, and the GPU if there is one."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an old driver
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU, which no sample needs"
    return Check(True, "torch", f"{torch.__version__}, {device}")


def torchvision_fits() -> Check:
    """Whether torchvision fits this torch; where it does not, its operators fail to load."""
    from torchvision import __version__, ops  # noqa: F401

    return Check(True, "torchvision", f"{__version__}")


def cores() -> Check:
    """The cores that this process may use, and the threads that torch would."""
    import torch

    here, threads = allowed_cpus(), torch.get_num_threads()
    return Check(True, "cores", f"{here}, torch would use {threads} (a run takes one: --jobs {here} uses them all)")


def memory(available: float | None = None, limit_file: Path = CGROUP_MEMORY) -> Check:
    """Free memory, in bytes; a container's limit counts, which the system's figure ignores."""
    import psutil

    free = psutil.virtual_memory().available if available is None else available
    with contextlib.suppress(OSError, ValueError):  # no container, or "max"
        free = min(free, int(limit_file.read_text()))
    return Check(free >= MEMORY_NEEDED * GB, "memory", f"{free / GB:.1f} GB free (needs {MEMORY_NEEDED:g})")


def disk(folder: Path, free: float | None = None) -> Check:
    """Free space where runs are written, in bytes."""
    if free is None:
        free = shutil.disk_usage(_existing(folder)).free
    return Check(free >= DISK_NEEDED * GB, "disk", f"{free / GB:.1f} GB free at {folder} (needs {DISK_NEEDED:g})")


def writable(folder: Path) -> Check:
    """Whether a file can be written in ``folder``; it is tried, and nothing is left behind."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".check-"):
            pass
        for path in made:
            path.rmdir()
    except OSError as error:
        reason = f"{folder} ({error.strerror or error})"
        return Check(False, "write access", f"cannot write into {reason}: choose another folder with PAPERLIB_RUNS")
    return Check(True, "write access", f"{folder}")


def data_sets() -> list[Check]:
    """The embedded data sets, loaded with their checksums; for the others, whether and where they are."""
    from paperlib.data import sets

    checks = []
    for name in EMBEDDED:
        try:
            loaded = sets.load(name)
            images = f"{len(loaded.train_images):,} + {len(loaded.test_images):,} images, embedded"
            checks.append(Check(True, name, images))
        except (PaperlibError, OSError) as error:
            checks.append(Check(False, name, str(error)))
    for name in [each for each in sets.KNOWN if each not in EMBEDDED]:
        here, where = found(name)
        detail = where if here else f"not here, and only its own scale needs it; {where}"
        checks.append(Check(here or None, name, detail))
    return checks


def evidence() -> Check:
    """The recorded runs, all that their list of checksums names, unaltered."""
    from paperlib.evidence import store

    folder = store.current().folder
    for name, digest in (store.read_checksums(folder) or {}).items():  # weights are read where they are used
        if name.endswith(".safetensors") and (folder / name).exists() and sha256(folder / name) != digest:
            return Check(False, "records", f"{name} is not what its checksum says: restore it from git")
    return Check(True, "records", f"{len(store.recorded())} recorded runs, as their checksums say")


def found(name: str) -> tuple[bool, str]:
    """Whether a data set is at one of its places, and where; else the places searched. Its content is not read."""
    from paperlib.data import sets

    places = sets.where(name)
    here = [place for place in places if place.exists()]
    return bool(here), str(here[0]) if here else f"looked at {', '.join(map(str, places))}"


def run_all(runs_dir: Path | None = None) -> list[Check]:
    """All checks in the order shown; one that raises an error has failed."""
    from paperlib.training import runs

    folder = runs_dir or runs.default_runs_dir()
    checks: dict[str, Callable[[], Check | list[Check]]] = {
        "Python": python_version, "packages": package_versions, "torch": torch_device,
        "torchvision": torchvision_fits, "cores": cores, "memory": memory, "disk": lambda: disk(folder),
        "write access": lambda: writable(folder), "data sets": data_sets, "records": evidence,
    }  # fmt: skip
    return [one for name, check in checks.items() for one in _guarded(name, check)]


def _guarded(name: str, check: Callable[[], Check | list[Check]]) -> list[Check]:
    try:
        found = check()
        return found if isinstance(found, list) else [found]
    except PaperlibError as error:
        return [Check(False, name, str(error))]
    except Exception as error:  # a broken installation raises anything, from ImportError to RuntimeError
        return [Check(False, name, f"{type(error).__name__}: {error}"[:300])]


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
