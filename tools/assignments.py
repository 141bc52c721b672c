"""Make the course from the committed notebooks: student copies, solutions, and a folder ready for nbgrader.

    python tools/assignments.py                     all notebooks with exercises, into course/
    python tools/assignments.py 04_local_response_norm --to build/course
    COURSE_SECRET=... python tools/assignments.py   exercises in variations that only this secret gives

Per assignment the folder gets source/NAME/NAME.ipynb (title, claims, setup, exercises; for the teacher),
release/NAME/NAME.ipynb (the same for students: no solutions, hidden tests or outputs) and solutions/NAME.ipynb (to
hand out afterwards). data/ has the images that the experiments train on, and the recorded runs that they compare
with, without weights. Run it again at any time: submissions, marks and an edited nbgrader_config.py stay. The secret is
stored nowhere, so give it each time.
"""

from __future__ import annotations

import argparse
import copy
import hmac
import os
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell
from traitlets.config import Config

from notebooks import FOLD, FOLD_END, ROOT, find

EXERCISES = "## Exercises"
SECTIONS = ("## The claim", EXERCISES)  # of a student copy, after the title
TO_STUDENTS = """Replace each `raise NotImplementedError()` by your answer, and run the cell below it: it says what is \
wrong. There are hidden tests besides. Python, NumPy and PyTorch are yours to use. Call `paperlib` in an answer only \
where the exercise names what to call. Figures and tables "above" are in the whole notebook, which the book shows."""
LINK = re.compile(r"(```.*?```|`[^`]*`)|!?\[([^\]]*)\]\((?!https?:|#|attachment:)[^)\s]*\)", re.DOTALL)  # or code
EVIDENCE = re.compile(r"^setup\(.+\)$", re.MULTILINE)  # says what is recorded, of which a student copy shows nothing
VARIATIONS = Path(__file__).with_name("variations.toml")
SECRET = "COURSE_SECRET"
CONFIG = """\
# Settings for nbgrader; `python tools/assignments.py` writes this file once and never again.
c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "alexnet"
c.Execute.timeout = 60  # seconds a cell may run
c.Execute.startup_timeout = 180
c.Execute.interrupt_on_timeout = True
c.Execute.error_on_timeout = {"ename": "Timeout", "evalue": "the cell ran longer than 60 s", "traceback": []}
c.OverwriteCells.add_missing_cells = True  # deleted test cells come back from the source
"""


def shown(cell: NotebookNode) -> str:
    """The markdown that a cell printed when it was executed: what `claim_table` shows needs the records."""
    data = [output.get("data", {}) for output in cell.outputs]
    return "\n\n".join("".join(kinds["text/markdown"]) for kinds in data if "text/markdown" in kinds)


def trimmed(nb: NotebookNode) -> NotebookNode:
    """Title, claims, setup and exercises of a notebook; what else it has needs records, data and time.

    Links to other notebooks become plain text, and folded cells are open again.
    """
    kept, heading = [], ""
    for cell in copy.deepcopy(nb).cells:
        if cell.cell_type == "markdown":
            parts = []
            for part in re.split(r"^(?=## )", cell.source, flags=re.MULTILINE):
                if part.startswith("## "):
                    heading = part.partition("\n")[0]
                    if heading == EXERCISES:
                        part = f"{heading}\n\n{TO_STUDENTS}{part.removeprefix(heading)}"
                if not heading or heading.startswith(SECTIONS):
                    parts.append(part)
            cell.source = "".join(parts).strip()
            if cell.source.startswith(FOLD):
                cell.source = cell.source.removeprefix(FOLD).removesuffix(FOLD_END)
        elif "setup" in cell.metadata.get("tags", []):
            cell.source = EVIDENCE.sub("setup()", cell.source)
        elif "nbgrader" not in cell.metadata:
            cell = new_markdown_cell(shown(cell) if heading.startswith(SECTIONS) else "", id=cell.id)
        if not cell.source:
            continue
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(lambda found: found[1] or found[2], cell.source)
        else:
            cell.outputs, cell.execution_count = [], None
        cell.metadata.pop("jupyter", None)
        cell.metadata["tags"] = [tag for tag in cell.metadata.get("tags", []) if not tag.startswith("hide")]
        kept.append(cell)
    return nbformat.from_dict({**nb, "cells": kept})


def by_exercise(nb: NotebookNode) -> Iterator[tuple[set[str], list[NotebookNode]]]:
    """The cells of each numbered exercise, from its question to its last test, with their grade ids."""
    groups: list[list[NotebookNode]] = [[]]
    for cell in nb.cells:
        if cell.cell_type == "markdown" and re.search(r"^\*\*\d+\. ", cell.source, flags=re.MULTILINE):
            groups.append([])
        groups[-1].append(cell)
    for cells in groups[1:]:
        yield {cell.metadata["nbgrader"]["grade_id"] for cell in cells if "nbgrader" in cell.metadata}, cells


def replaced(cells: list[NotebookNode], texts: dict[str, str]) -> None:
    """Replace in an exercise's cells every text on the left by that on the right, all at once.

    Raises ValueError for a text that occurs in none of them: the notebook has changed since the variation was written.
    """
    for old in texts:
        if not any(old in cell.source for cell in cells):
            raise ValueError(f"{VARIATIONS.name}: this text is not in the exercise: {old}")
    either = re.compile("|".join(re.escape(old) for old in sorted(texts, key=len, reverse=True)))
    for cell in cells:
        cell.source = either.sub(lambda found: texts[found[0]], cell.source)


def varied(nb: NotebookNode, secret: str) -> NotebookNode:
    """The notebook with one alternative of each exercise that has some; the same secret draws the same ones."""
    table = tomllib.loads(VARIATIONS.read_text(encoding="utf-8"))
    nb = copy.deepcopy(nb)
    for grade_ids, cells in by_exercise(nb):
        for grade_id in grade_ids & table.keys():
            drawn = hmac.digest(secret.encode(), grade_id.encode(), "sha256")
            replaced(cells, table[grade_id][int.from_bytes(drawn) % len(table[grade_id])])
    return nb


def solution(nb: NotebookNode) -> NotebookNode:
    """What students get afterwards: the answers without nbgrader's marks, and all tests."""
    solved = copy.deepcopy(nb)
    for cell in solved.cells:
        cell.source = re.sub(r"^ *### (?:BEGIN|END) (?:SOLUTION|HIDDEN TESTS)\n?", "", cell.source, flags=re.MULTILINE)
    return solved


def give_data(course: Path) -> None:
    """What the experiments read: the sample's images, and all recorded runs without weights, with their checksums."""
    shutil.copytree(ROOT / "data" / "sample", course / "data" / "sample", dirs_exist_ok=True)
    recorded = course / "data" / "recorded"
    shutil.rmtree(recorded, ignore_errors=True)
    shutil.copytree(ROOT / "data" / "recorded", recorded, ignore=shutil.ignore_patterns("*.safetensors"))
    sums = (recorded / "SHA256SUMS").read_text().splitlines(keepends=True)
    (recorded / "SHA256SUMS").write_text("".join(line for line in sums if line.endswith(".jsonl\n")))


def make(paths: list[Path], course: Path, secret: str = "") -> list[str]:
    """Write the course folder; the names of its assignments, where a notebook without exercises is none."""
    names = []
    course.mkdir(parents=True, exist_ok=True)
    (course / "submitted").mkdir(exist_ok=True)
    if not (course / "nbgrader_config.py").exists():
        (course / "nbgrader_config.py").write_text(CONFIG)
    give_data(course)
    for path in paths:
        nb = trimmed(nbformat.read(path, as_version=4))
        if not any("nbgrader" in cell.metadata for cell in nb.cells):
            continue
        nb = varied(nb, secret) if secret else nb
        for target, content in {
            course / "source" / path.stem / path.name: nb,
            course / "solutions" / path.name: solution(nb),
        }.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            nbformat.write(content, target)
        names.append(path.stem)
    from nbgrader.converters import GenerateAssignment  # here: it takes seconds
    from nbgrader.coursedir import CourseDirectory

    # nbgrader calls `alembic` by its name for a new gradebook, also where the environment is not activated
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    for name in names:
        config = Config()
        config.CourseDirectory.root = str(course.resolve())
        config.CourseDirectory.assignment_id = name
        converter = GenerateAssignment(coursedir=CourseDirectory(config=config))
        converter.force = converter.create_assignment = True
        converter.start()
    return names


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="notebooks; all without it")
    parser.add_argument("--to", type=Path, default=Path("course"), metavar="FOLDER", help="the course (course)")
    parser.add_argument(
        "--secret", default=os.environ.get(SECRET, ""), metavar="WORD", help=f"draws variations ({SECRET}, or none)"
    )
    options = parser.parse_args(arguments)
    names = make(find(options.names), options.to, options.secret)
    if not names:
        sys.exit("none of these notebooks has exercises")
    kind = (
        "in variations drawn by the secret" if options.secret else "as the series has them, whose solutions are public"
    )
    print(f"{len(names)} assignments in {options.to}, {kind}.")
    print("Hand out release/ and data/; collect into submitted/STUDENT/ASSIGNMENT/.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
