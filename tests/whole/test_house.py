"""How paperlib is built: packages import downward only, without circles, and no module grows beyond one concern."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import paperlib
from paperlib.files import ROOT
from paperlib.training.processes import Child
from tests import tiny

FLOORS = [
    {"errors", "lazy", "seeding"}, {"files", "machine", "values"}, {"paper"}, {"recipe"}, {"nets", "data"},
    {"training"}, {"experiments"}, {"evidence"}, {"figures"}, {"campaign", "check"}, {"promote"}, {"notebook"}, {"cli"},
]  # fmt: skip
"""From the ground up: what stands on a floor imports from its own package and from the floors below."""
MODULES = sorted((ROOT / "paperlib").rglob("*.py"))
LONGEST = 450
LISTS = {"paper/facts.py", "experiments/declared.py"}
"""Data rather than code: one list each."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT / "paperlib").as_posix()


def floor_of(top: str) -> int:
    return next(number for number, floor in enumerate(FLOORS) if top in floor)


def imports(path: Path) -> Iterator[str]:
    """The modules of ours that a file imports, anywhere in it, without the leading ``paperlib``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "paperlib":
            below = (node.module or "").partition(".")[2]
            for alias in node.names:
                longer = f"{below}.{alias.name}".strip(".")
                is_module = (ROOT / "paperlib" / longer.replace(".", "/")).with_suffix(".py").exists()
                is_package = (ROOT / "paperlib" / longer.replace(".", "/")).is_dir()
                yield longer if is_module or is_package else below


def test_imports_go_downward() -> None:
    upward = []
    for path in MODULES:
        top = name_of(path).removesuffix(".py").partition("/")[0]
        for imported in imports(path) if top not in ("__init__", "__main__") else ():
            other = imported.partition(".")[0]
            if other != top and floor_of(other) >= floor_of(top):
                upward.append(f"{name_of(path)} imports {imported}")
    assert not upward


def test_there_is_no_circle() -> None:
    """Within a package, too: whoever reads a module can read what it imports first."""
    graph = {
        name_of(path).removesuffix(".py").replace("/", "."): {i for i in imports(path) if "." in i}
        for path in MODULES if path.name != "__init__.py"
    }  # fmt: skip
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way, module))
        if module not in done:
            for other in graph.get(module, ()):
                visit(other, (*way, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_a_module_is_one_concern() -> None:
    long = {name_of(path) for path in MODULES if len(path.read_text(encoding="utf-8").splitlines()) > LONGEST}
    assert long <= LISTS


def test_the_map_names_every_part() -> None:
    tops = {name_of(path).removesuffix(".py").partition("/")[0] for path in MODULES} - {"__init__", "__main__"}
    assert tops == set().union(*FLOORS)
    assert all(f"``{top}``" in (paperlib.__doc__ or "") for top in tops)


def test_neither_training_nor_the_tables_of_notebooks_wait_for_what_draws() -> None:
    for module in ("paperlib.campaign", "paperlib.notebook"):
        child = Child("an import", tiny.slow_imports, module, context=tiny.processes())
        assert child.result() == []
        child.end()


def test_the_tests_have_the_same_packages() -> None:
    """Beside them stands tests/whole/, for what cuts across."""
    packages = {path.parent.name for path in MODULES} - {"paperlib"}
    assert {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")} == packages | {"whole"}
