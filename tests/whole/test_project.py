"""The project's own files: packaging, dependencies in three places, and nothing in them that belongs to one machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import licences
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUN = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = {name: [Requirement(line) for line in lines] for name, lines in PROJECT["optional-dependencies"].items()}
DEV = [*EXTRAS["dev"], *EXTRAS["course"]]
CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib"}
PINNED_BY_TORCH = re.compile(r"^(nvidia-|cuda-|triton$)")


def lock(name: str = "requirements.lock") -> list[Requirement]:
    lines = (ROOT / name).read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def tracked() -> list[Path]:
    """The files under version control, or, without git, those that are no by-products."""
    try:
        done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
        files = [ROOT / name for name in done.stdout.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        by_products = {"runs", "build", "dist", "cache", "__pycache__"}
        below = [path for path in ROOT.rglob("*") if path.is_file()]
        folders = [(path, path.relative_to(ROOT).parts[:-1]) for path in below]
        files = [path for path, parts in folders if not any(p in by_products or p.startswith(".") for p in parts)]
    return [path for path in files if path.is_file()]


# ------------------------------------------------------------------------------------------ dependencies


def conda_problems(environment: dict, run: list[Requirement], dev: list[Requirement], python: str) -> list[str]:
    """Where a conda environment differs from the requirements in names or ranges."""
    plain = [line for line in environment["dependencies"] if isinstance(line, str)]
    here = {}
    for line in plain:
        requirement = Requirement(line)
        here[CONDA_NAMES.get(requirement.name, requirement.name)] = requirement.specifier
    wanted = {r.name: r.specifier for r in (*run, *dev)} | {"python": SpecifierSet(python), "pip": SpecifierSet()}
    wrong = [f"{name} is missing" for name in sorted(wanted.keys() - here.keys())]
    wrong += [f"{name} is too much" for name in sorted(here.keys() - wanted.keys())]
    both = sorted(wanted.keys() & here.keys())
    wrong += [f"{name} is {here[name]} instead of {wanted[name]}" for name in both if here[name] != wanted[name]]
    by_pip = [line["pip"] for line in environment["dependencies"] if isinstance(line, dict)]
    return wrong if by_pip == [["-e ."]] else [*wrong, "paperlib itself is not installed"]


def test_environment_yml_is_in_step() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["channels"] == ["conda-forge"]
    assert conda_problems(environment, RUN, DEV, PROJECT["requires-python"]) == []


def test_an_environment_out_of_step_is_noticed() -> None:
    wrong = {"dependencies": ["python>=3.10", "pytorch>=2.9", "numpy>=2", "extra", {"pip": ["-e ."]}]}
    found = conda_problems(
        wrong, [Requirement("torch>=2.9"), Requirement("numpy>=1")], [Requirement("scipy")], ">=3.11"
    )
    assert found == [
        "pip is missing", "scipy is missing", "extra is too much",
        "numpy is >=2 instead of >=1", "python is >=3.10 instead of >=3.11",
    ]  # fmt: skip
    assert "paperlib itself is not installed" in conda_problems({"dependencies": []}, [], [], "")


def test_every_range_is_open_upwards_or_says_why() -> None:
    closed = {r.name for r in (*RUN, *DEV) if any(s.operator in ("<", "<=", "==", "~=", "===") for s in r.specifier)}
    assert closed == {"nbval"}  # whose private names are read
    assert all(any(s.operator == ">=" for s in r.specifier) for r in (*RUN, *DEV))


def test_the_lock_pins_exactly_and_within_the_ranges() -> None:
    ranges = {canonicalize_name(r.name): r.specifier for r in (*RUN, *DEV, *EXTRAS["book"])}
    for pin in [*lock(), *lock("requirements-book.lock")]:
        (specifier,) = pin.specifier
        assert specifier.operator == "==" and "*" not in specifier.version, pin
        assert ranges.get(canonicalize_name(pin.name), SpecifierSet()).contains(specifier.version), pin


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "arm64"])
def test_the_lock_has_one_pin_for_each_package_on_every_machine(machine: str) -> None:
    names = [r.name for r in lock() if r.marker is None or r.marker.evaluate({"platform_machine": machine})]
    assert len({canonicalize_name(name) for name in names}) == len(names)
    assert {"torch", "torchvision", "setuptools"} <= set(names)


def closure(names: list[tuple[str, tuple[str, ...]]]) -> set[str]:
    """Everything that these packages (with extras) need on this machine, by what is installed; torch's GPU part not."""
    found: set[str] = set()
    done: set[tuple[str, tuple[str, ...]]] = set()
    while names:
        name, extras = names.pop()
        if (name, extras) in done or PINNED_BY_TORCH.match(name):
            continue
        done.add((name, extras))
        found.add(name)
        for line in metadata.requires(name) or []:
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                names.append((canonicalize_name(needed.name), tuple(sorted(needed.extras))))
    return found


def test_the_lock_is_complete_and_has_nothing_else() -> None:
    pins = {canonicalize_name(r.name): r for r in lock() if r.marker is None}
    needed = closure([(canonicalize_name(r.name), tuple(r.extras)) for r in (*RUN, *DEV)] + [("setuptools", ())])
    locked = {canonicalize_name(r.name) for r in lock()}
    as_pinned = all(pin.specifier.contains(metadata.version(name)) for name, pin in pins.items() if name in needed)
    # other versions, in a reader's own environment, may need other things
    assert needed == locked if as_pinned else {canonicalize_name(r.name) for r in (*RUN, *DEV)} <= locked


def test_the_books_lock_adds_to_the_other() -> None:
    pins, others = (
        {canonicalize_name(r.name) for r in lock(name)} for name in ("requirements-book.lock", "requirements.lock")
    )
    assert {canonicalize_name(r.name) for r in EXTRAS["book"]} <= pins and not pins & others


# ------------------------------------------------------------------------------------------ packaging


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as pip would, in an environment that need not have pip."""
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "paperlib", source / "paperlib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-c", build, str(folder)], cwd=source, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_package_and_its_data(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        entry_points = archive.read(next(name for name in held if name.endswith("entry_points.txt"))).decode()
    wanted = [path for kind in ("*.py", "*.toml") for path in (ROOT / "paperlib").rglob(kind)]
    assert {path.relative_to(ROOT).as_posix() for path in wanted} <= held
    assert any(name.endswith("licenses/LICENSE") for name in held)
    assert "paperlib = paperlib.cli:main" in entry_points


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Calls Python with the installed wheel, in an empty folder and without a checkout."""
    site, folder = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("empty")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)

    def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        variables = {**os.environ, "PYTHONPATH": str(site), **environment}
        done = subprocess.run(
            [sys.executable, *arguments], cwd=folder, env=variables, capture_output=True, text=True, check=False
        )
        assert list(folder.iterdir()) == [] and {p.name.partition("-")[0] for p in site.iterdir()} <= {
            "paperlib", "alexnet_executable_edition"
        }  # fmt: skip
        return done

    return call


@pytest.mark.parametrize("command", ["claims", "list", "figures", "run relu --scale sample"])
def test_without_a_checkout_a_command_says_what_it_needs(
    command: str, installed: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = installed("-m", "paperlib", *command.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1 and "PAPERLIB_HOME" in done.stderr


@pytest.mark.slow
def test_the_installed_library_works_without_a_checkout_and_finds_a_named_one(
    installed: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = installed("-c", "from paperlib import nets, recipe, training, files; print(files.SOURCE)")
    assert done.returncode == 0 and Path(done.stdout.strip()) != ROOT
    assert "usage" in installed("-m", "paperlib", "-h").stdout.lower()
    named = installed("-m", "paperlib", "list", "relu", PAPERLIB_HOME=str(ROOT))
    assert named.returncode == 0 and "2012/tanh" in named.stdout


def test_the_console_script_is_installed() -> None:
    (script,) = metadata.entry_points(group="console_scripts", name="paperlib")
    from paperlib.cli import main

    assert script.load() is main


def test_versions_and_licence_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0" and {"message", "title", "authors"} <= citation.keys()
    assert citation["version"] == PROJECT["version"] == metadata.version(PROJECT["name"])
    assert citation["license"] == PROJECT["license"] == "MIT"
    assert citation["title"] in PROJECT["authors"][0]["name"] and citation["authors"] == PROJECT["authors"]
    assert PROJECT["authors"][0]["name"] in (ROOT / "LICENSE").read_text()
    (paper,) = citation["references"]
    assert [author["family-names"] for author in paper["authors"]] == ["Krizhevsky", "Sutskever", "Hinton"]
    assert paper["year"] == 2012


# ------------------------------------------------------------------------------------------ make and CI


def test_ci_runs_make_test() -> None:
    run = ROOT / ".ci" / "run"
    assert run.stat().st_mode & 0o111
    assert re.search(r"^set -euo pipefail$", run.read_text(), re.MULTILINE)
    assert run.read_text().splitlines()[-1] == "exec make test test-slow"


def test_ci_audits_what_the_lock_files_pin() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())["jobs"]
    (audit,) = [step["run"] for job in jobs.values() for step in job["steps"] if "pip_audit" in step.get("run", "")]
    assert all(f"--requirement {name}" in audit for name in ("requirements.lock", "requirements-book.lock"))


def test_the_licence_of_every_pinned_package_is_listed() -> None:
    """Also of all direct dependencies; each was read from an installed package."""
    rows = re.findall(r"^\| (\S+) \| (.*) \| (.*) \|$", licences.PAGE.read_text(), re.MULTILINE)[1:]
    assert [name for name, _, _ in rows] == licences.pinned()
    assert {name: group for name, group, _ in rows if group} == licences.direct()
    assert not [name for name, _, said in rows if not said or said.startswith("not ")]
    stated = {name: said for name, _, said in rows}
    assert "BSD-3-Clause" in stated["torch"] and licences.licence("pytest") == stated["pytest"] == "MIT"


def dry_run(target: str, folder: Path, *variables: str) -> list[str]:
    """The lines that make would run; as if it were not itself run by `make test`, which it then says in its output."""
    outside = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    made = subprocess.run(
        ["make", "-n", target, *variables], cwd=folder, env=outside, capture_output=True, text=True, check=True
    )
    return made.stdout.splitlines()


TARGETS = [
    "lab",
    "reproduce",
    "reproduce-all",
    "test",
    "test-slow",
    "figures",
    "notebooks",
    "assignments",
    "readme",
    "book",
    "ids",
    "fuzz",
    "faults",
    "licences",
]


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """A folder in which make has done nothing yet."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "requirements-book.lock"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


@pytest.mark.parametrize("target", ["env", *TARGETS])
def test_every_target_builds_the_environment_first(target: str, before: Path) -> None:
    _, made, locked, *_ = dry_run(target, before)
    assert made.endswith("-m venv .venv") and "requirements.lock" in locked
    (before / ".venv").mkdir()
    (before / ".venv" / ".stamp").touch()
    (before / ".venv" / ".book").touch()
    then = "\n".join(dry_run(target, before))
    assert "-m venv" not in then and "pip install" not in then


@pytest.mark.parametrize("target", TARGETS)
def test_another_environment_is_used_as_it_is(target: str, before: Path) -> None:
    lines = "\n".join(dry_run(target, before, "BIN=elsewhere/bin"))
    assert "venv" not in lines and "pip install" not in lines and ("elsewhere/bin/" in lines or target == "ids")


@pytest.mark.parametrize(("version", "code"), [("3.10", 2), ("3.11", 0)])
def test_an_old_python_is_refused_at_once(version: str, code: int, before: Path) -> None:
    (before / "python").write_text(
        f'#!/bin/sh\ncase $1 in -c) exec {sys.executable} -c "import sys; sys.version_info = '
        f"tuple(map(int, '{version}'.split('.'))); sys.version = '{version}'; $2\";; esac\nmkdir -p .venv/bin\n"
        "cp python .venv/bin/python\n"
    )
    (before / "python").chmod(0o755)
    done = subprocess.run(["make", "env", "PYTHON=./python"], cwd=before, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert ("Python 3.11 or newer is needed, and ./python is 3.10" in done.stderr) == bool(code)
    assert (before / ".venv").exists() != bool(code)


def test_clean_keeps_what_took_hours() -> None:
    (line,) = dry_run("clean", ROOT)
    assert "build" in line.split() and not {"runs", "data", "data/cache", ".venv", "."} & set(line.split())


# ------------------------------------------------------------------------------------------ nothing of one machine

# in pieces, so that this file keeps to its own rule
MACHINE = {
    "a path of one machine": r"(?<![\w.~/}])/(?:home|root|work|Users|opt|mnt|srv)" + r"/[\w.]",
    "a path of one machine ": r"\b[C-Z]:\\" + r"\w",
    "a host of a package registry": r"pythonhosted" + r"\.org|pypi" + r"\.org|conda\.anaconda" + r"\.org",
    "an address of an index": r"--(?:extra-)?index" + r"-url|--find" + r"-links|--trusted" + r"-host",
}


def machine_traces(text: str) -> list[str]:
    return [f"{what.strip()}: {m.group()}" for what, pattern in MACHINE.items() for m in re.finditer(pattern, text)]


@pytest.mark.parametrize(
    "text",
    [
        "see /" + "home/me/x",
        "'/" + "work/main'",
        "C:" + "\\Users",
        "https://pypi" + ".org/simple",
        "pip --index" + "-url x",
    ],
)
def test_traces_of_a_machine_are_noticed(text: str) -> None:
    assert len(machine_traces(text)) == 1


@pytest.mark.parametrize(
    "text", ["data/home/x", "https://example.org/work/x", "../opt/x", "~/work/x", "a / b", "at work/home"]
)
def test_ordinary_text_is_no_trace(text: str) -> None:
    assert machine_traces(text) == []


def test_no_tracked_file_belongs_to_one_machine() -> None:
    found = {}
    for path in tracked():
        try:
            traces = machine_traces(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            continue  # an image or an archive
        if traces:
            found[str(path.relative_to(ROOT))] = traces
    assert found == {}


def test_no_by_product_is_tracked() -> None:
    names = [path.relative_to(ROOT).as_posix() for path in tracked()]
    by_product = re.compile(
        r"(^|/)(runs|build|__pycache__|\.venv|\.ipynb_checkpoints|\.\w+_cache|[\w.]+\.egg-info)/|^data/cache/"
    )
    assert [name for name in names if by_product.search(name)] == []
    sizes = {name: path.stat().st_size for name, path in zip(names, tracked(), strict=True)}
    weights = {name for name in sizes if name.startswith("data/recorded/full/") and name.endswith(".safetensors")}
    assert all(size < (25e6 if name in weights else 10e6) for name, size in sizes.items())


def broken_links(text: str, folder: Path) -> list[str]:
    """Relative targets of Markdown links and pictures that do not exist."""
    targets = re.findall(r"\]\(([^)\s#]+)[^)]*\)", text)
    return [t for t in targets if not re.match(r"[a-z]+:", t) and not (folder / t).exists()]


def test_links_between_documents_lead_somewhere(tmp_path: Path) -> None:
    (tmp_path / "there.md").touch()
    text = "[a](there.md) [b](there.md#part) [c](https://example.org) ![d](gone.png) [e](#part) `x`"
    assert broken_links(text, tmp_path) == ["gone.png"]
    documents = [path for path in tracked() if path.suffix == ".md"]
    found = {path.name: broken_links(path.read_text(encoding="utf-8"), path.parent) for path in documents}
    assert {name: links for name, links in found.items() if links} == {}
