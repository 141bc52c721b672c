"""What a run needs, looked at one thing at a time; ``paperlib check`` prints the list.

A check is ``[OK]``, ``[FAIL]``, or ``[--]`` for what is not here and not needed for the embedded samples.
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
    """One thing: ``ok`` is True, False, or None where it is neither here nor needed."""

    ok: bool | None
    name: str
    detail: str


def lines(checks: Iterable[Check]) -> list[str]:
    """The checks as text, a line each."""
    marks = {True: "[OK]  ", False: "[FAIL]", None: "[--]  "}
    return [f"{marks[c.ok]} {c.name:<13} {' '.join(c.detail.split())}" for c in checks]


def passed(checks: Iterable[Check]) -> bool:
    """Whether nothing failed; what is not needed cannot fail."""
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


def torch_computes() -> Check:
    """PyTorch's version, and a convolution forward and backward against numbers worked out by hand."""
    import torch

    # the numbers 0 to 8 under a 3×3 kernel of ones, padded by 1: the middle sums all nine
    x = torch.arange(9.0).reshape(1, 1, 3, 3).requires_grad_()
    w = torch.ones(1, 1, 3, 3, requires_grad=True)
    y = torch.nn.functional.conv2d(x, w, padding=1)
    y.sum().backward()
    assert x.grad is not None and w.grad is not None
    found = [y[0, 0, 1, 1].item(), x.grad[0, 0, 0, 0].item(), x.grad[0, 0, 1, 1].item(), w.grad[0, 0, 1, 1].item()]
    if found != [36.0, 4.0, 9.0, 36.0]:
        return Check(
            False, "torch", f"{torch.__version__}, but a 3×3 convolution and its gradients come out as {found}"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an old driver
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU, which no sample needs"
    return Check(True, "torch", f"{torch.__version__}, convolution and gradients right, {device}")


def torchvision_fits() -> Check:
    """Whether torchvision fits this torch: its compiled operators are what fails where it does not."""
    import torch
    from torchvision import __version__
    from torchvision.ops import nms

    kept = nms(torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 2.0]]), torch.tensor([0.5, 0.9]), 0.5)
    return Check(kept.tolist() == [1], "torchvision", f"{__version__}")


def cores() -> Check:
    """The cores that this process may use, and the threads that torch would."""
    import torch

    here = allowed_cpus()
    threads = torch.get_num_threads()
    return Check(
        True, "cores", f"{here}, torch would use {threads} (a run takes one thread: --jobs {here} uses them all)"
    )


def memory(available: float | None = None, limit_file: Path = CGROUP_MEMORY) -> Check:
    """Memory that is free for us, in bytes; in a container its limit counts, which the system's figure leaves out."""
    import psutil

    free = psutil.virtual_memory().available if available is None else available
    with contextlib.suppress(OSError, ValueError):  # no container, or "max"
        free = min(free, int(limit_file.read_text()))
    return Check(free >= MEMORY_NEEDED * GB, "memory", f"{free / GB:.1f} GB free (needs {MEMORY_NEEDED:g})")


def disk(folder: Path, free: float | None = None) -> Check:
    """Space where runs are written, in bytes."""
    if free is None:
        free = shutil.disk_usage(_existing(folder)).free
    return Check(free >= DISK_NEEDED * GB, "disk", f"{free / GB:.1f} GB free at {folder} (needs {DISK_NEEDED:g})")


def writable(folder: Path) -> Check:
    """Whether a file can be made in ``folder``, tried out; nothing is left behind."""
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
    """Each data set: the embedded ones are loaded, with their checksums; of the others, whether and where they lie."""
    from paperlib.data import sets

    checks = []
    for name in EMBEDDED:
        try:
            loaded = sets.load(name)
            checks.append(
                Check(True, name, f"{len(loaded.train_images):,} + {len(loaded.test_images):,} images, embedded")
            )
        except (PaperlibError, OSError) as error:
            checks.append(Check(False, name, str(error)))
    for name in sets.KNOWN:
        if name not in EMBEDDED:
            here, where = found(name)
            checks.append(
                Check(here or None, name, where if here else f"not here, and only its own scale needs it; {where}")
            )
    return checks


def evidence() -> Check:
    """The recorded runs, all that their list of checksums names, unaltered."""
    from paperlib.evidence import store

    return Check(True, "records", f"{len(store.recorded())} recorded runs, as their checksums say")


def found(name: str) -> tuple[bool, str]:
    """Whether a data set lies at one of its places, and where; or where it was looked for. Its content is not read."""
    from paperlib.data import sets

    places = sets.where(name)
    here = [place for place in places if place.exists()]
    return bool(here), str(here[0]) if here else f"looked at {', '.join(map(str, places))}"


def run_all(runs_dir: Path | None = None) -> list[Check]:
    """All checks in the order in which they are shown; one that breaks is a failed one."""
    from paperlib.training import runs

    folder = runs_dir or runs.default_runs_dir()
    checks: list[Check] = []
    one: list[tuple[str, Callable[[], Check]]] = [
        ("Python", python_version), ("packages", package_versions), ("torch", torch_computes),
        ("torchvision", torchvision_fits), ("cores", cores), ("memory", memory),
        ("disk", lambda: disk(folder)), ("write access", lambda: writable(folder)),
    ]  # fmt: skip
    for name, check in one:
        checks += _guarded(name, lambda check=check: [check()])  # type: ignore[misc]
    return checks + _guarded("data sets", data_sets) + _guarded("records", lambda: [evidence()])


def _guarded(name: str, check: Callable[[], list[Check]]) -> list[Check]:
    try:
        return check()
    except PaperlibError as error:
        return [Check(False, name, str(error))]
    except Exception as error:  # a broken installation raises anything, from ImportError to RuntimeError
        return [Check(False, name, f"{type(error).__name__}: {error}"[:300])]


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
