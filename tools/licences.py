"""Write book/licences.md: the licence of every package that the two lock files pin, as the packages themselves say it.

    make licences

Run it where the packages are installed. The line of one that is not installed stays as it is.
"""

from __future__ import annotations

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from paperlib import files

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "book" / "licences.md"
INTRODUCTION = """# Licences of what this builds on

The packages that `requirements.lock` and `requirements-book.lock` pin, with the licence that each names in its
metadata. `make licences` writes this page. The edition itself has the [MIT licence](../LICENSE).

| package | needed by | licence |
|---|---|---|
"""


def direct() -> dict[str, str]:
    """What pyproject.toml names -> by whom it is needed: the library, or an extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = {"library": project["dependencies"], **project["optional-dependencies"]}
    return {canonicalize_name(Requirement(line).name): group for group, lines in groups.items() for line in lines}


def pinned() -> list[str]:
    """The names in the two lock files, sorted."""
    lines = [line for name in ("", "-book") for line in (ROOT / f"requirements{name}.lock").read_text().splitlines()]
    return sorted({canonicalize_name(Requirement(line).name) for line in lines if line and line[0] != "#"})


def licence(name: str) -> str:
    """The licence in a package's metadata: an SPDX expression, a classifier, or the first line of a text.

    Raises PackageNotFoundError where it is not installed.
    """
    about = metadata.metadata(name)
    classes = [line.rpartition(" :: ")[2] for line in about.get_all("Classifier") or [] if line.startswith("License")]
    stated = [about.get("License-Expression") or "", ", ".join(classes), about.get("License") or ""]
    stated += [path.read_text() for path in metadata.files(name) or [] if re.search("LICEN[CS]E", path.name)]
    lines = (text.strip().partition("\n")[0].strip(" #") for text in stated if text != "UNKNOWN")
    return next((line[:120] for line in lines if line), "not named by it")


def table() -> str:
    """The page: a line a package, direct dependencies with who needs them."""
    before = dict(re.findall(r"^\| (\S+) \| .* \| (.*) \|$", PAGE.read_text() if PAGE.exists() else "", re.MULTILINE))
    lines, needed = [], direct()
    for name in pinned():
        try:
            said = licence(name)
        except metadata.PackageNotFoundError:
            said = before.get(name, "not installed here")
        lines.append(f"| {name} | {needed.get(name, '')} | {said} |\n")
    return INTRODUCTION + "".join(lines)


def main() -> int:
    files.write_whole(PAGE, table().encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
