"""Make the course from the committed notebooks: student copies, solutions, and a folder ready for nbgrader.

    python tools/assignments.py                     all notebooks with exercises, into course/
    python tools/assignments.py 04_local_response_norm --to build/course

Per assignment the folder gets source/NAME/NAME.ipynb (title, claims, setup, exercises; for the teacher),
release/NAME/NAME.ipynb (the same for students: no solutions, hidden tests or outputs) and solutions/NAME.ipynb (to
hand out afterwards). Run it again at any time: submissions, marks and an edited nbgrader_config.py stay.
"""

from __future__ import annotations

import argparse
import copy
import os
import re
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell
from traitlets.config import Config

from notebooks import find

EXERCISES = "## Exercises"
TO_STUDENTS = """Replace each `raise NotImplementedError()` by your answer, and run the cell below it: it says what is \
wrong. There are hidden tests besides. Python, NumPy and PyTorch are yours to use. Call `paperlib` in an answer only \
where the exercise names what to call."""
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
    kept, room = [], ""
    for cell in copy.deepcopy(nb).cells:
        if cell.cell_type == "markdown" and (found := re.findall(r"^## .*$", cell.source, flags=re.MULTILINE)):
            room = found[-1]
            if room.startswith(EXERCISES):
                cell.source = f"{room}\n\n{TO_STUDENTS}" + cell.source.partition(room)[2]
        is_setup = "setup" in cell.metadata.get("tags", [])
        if room and not room.startswith(("## What the paper claims", EXERCISES)) and not is_setup:
            continue
        if cell.cell_type == "code" and not is_setup and "nbgrader" not in cell.metadata:
            cell = new_markdown_cell(shown(cell), id=cell.id)
            if not cell.source:
                continue
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"!?\[([^\]]*)\]\((?!https?:|#|attachment:)[^)\s]*\)", r"\1", cell.source)
        else:
            cell.outputs, cell.execution_count = [], None
        cell.metadata.pop("jupyter", None)
        cell.metadata["tags"] = [tag for tag in cell.metadata.get("tags", []) if not tag.startswith("hide")]
        kept.append(cell)
    return nbformat.from_dict({**nb, "cells": kept})


def solution(nb: NotebookNode) -> NotebookNode:
    """What students get afterwards: the answers without nbgrader's marks, and all tests."""
    solved = copy.deepcopy(nb)
    for cell in solved.cells:
        cell.source = re.sub(r"^ *### (?:BEGIN|END) (?:SOLUTION|HIDDEN TESTS)\n?", "", cell.source, flags=re.MULTILINE)
    return solved


def make(paths: list[Path], course: Path) -> list[str]:
    """Write the course folder; the names of its assignments, where a notebook without exercises is none."""
    names = []
    course.mkdir(parents=True, exist_ok=True)
    (course / "submitted").mkdir(exist_ok=True)
    if not (course / "nbgrader_config.py").exists():
        (course / "nbgrader_config.py").write_text(CONFIG)
    for path in paths:
        nb = trimmed(nbformat.read(path, as_version=4))
        if not any("nbgrader" in cell.metadata for cell in nb.cells):
            continue
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
    options = parser.parse_args(arguments)
    names = make(find(options.names), options.to)
    if not names:
        sys.exit("none of these notebooks has exercises")
    print(f"{len(names)} assignments in {options.to}: hand out release/, collect into submitted/STUDENT/ASSIGNMENT/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
