"""What students hand in, for tools/grade.py: their notebooks, exercises and answers in words, as files and cells."""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

NO_WORDS = ("", "YOUR ANSWER HERE")
ABSENT = "not submitted"
LARGEST = 50_000_000  # bytes of a notebook


@dataclass
class Exercise:
    """One test cell, or one answer in words that a teacher marks (without a test)."""

    name: str  # the grade id of the answer cell
    points: float
    solution: str
    names: list[str] = field(default_factory=list)  # what this answer must define
    known: list[str] = field(default_factory=list)  # these and what the answers before it define
    test: str = ""
    test_id: str = ""
    text: str = ""  # what the notebook says before it

    def may_call(self) -> set[str]:
        """Words in the code of its text and of its solution, but not what the answer is to define."""
        code = re.findall(r"```.*?```|`[^`]+`", self.text, flags=re.DOTALL)
        return set(re.findall(r"\w+", " ".join([*code, self.solution]))) - set(self.names)


def about(cell: NotebookNode) -> dict[str, Any]:
    found = cell.metadata.get("nbgrader", {})
    return found if isinstance(found, dict) else {}


def defined(source: str) -> list[str]:
    """Names that a cell defines at its top level; none where it is no Python (but for lines that IPython reads)."""
    try:
        body = ast.parse(re.sub(r"^[%!].*", "", source, flags=re.MULTILINE)).body
    except SyntaxError:
        return []
    names = [node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    targets = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
    return names + [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]


def exercises_of(nb: NotebookNode) -> list[Exercise]:
    found: list[Exercise] = []
    known: list[str] = []
    names: list[str] = []
    answer, name = "", ""
    text = ""
    for cell in nb.cells:
        mine = about(cell)
        if mine.get("solution") and mine.get("grade"):
            found.append(Exercise(mine["grade_id"], float(mine["points"]), cell.source, text=text))
            text = ""
        elif mine.get("solution"):
            name = mine["grade_id"]
            answer, names = cell.source, defined(cell.source)
            known += names
        elif mine.get("grade"):
            if name in {exercise.name for exercise in found}:  # a second test of one answer
                name = mine["grade_id"]
            points, test_id = float(mine["points"]), mine["grade_id"]
            found.append(Exercise(name, points, answer, names, list(known), cell.source, test_id, text))
            text = ""
        elif cell.cell_type == "markdown":
            begins = re.search(r"^\*\*\d+\. ", cell.source, flags=re.MULTILINE)
            text = cell.source[begins.start() :] if begins else f"{text}\n\n{cell.source}"
    return found


def words_of(nb: NotebookNode, source: NotebookNode, name: str) -> str:
    """The answer in words: its cell, and text cells that the student added below it or below its question."""
    place = next(number for number, cell in enumerate(source.cells) if about(cell).get("grade_id") == name)
    given = {cell.source for cell in source.cells if cell.cell_type == "markdown" and not about(cell)}
    parts, here = [], False
    for cell in nb.cells:
        grade_id = about(cell).get("grade_id")
        if grade_id or cell.source in given:
            here = grade_id == name or cell.source == source.cells[place - 1].source
        if here and cell.source not in given and (grade_id or cell.cell_type != "code"):
            parts.append(cell.source.strip())
    return "\n\n".join(part for part in parts if part not in NO_WORDS)


def setup_of(nb: NotebookNode) -> list[str]:
    return [cell.source for cell in nb.cells if cell.cell_type == "code" and "setup" in cell.metadata.get("tags", [])]


def files_in(folder: Path) -> list[Path]:
    """Files below a folder, without those that Jupyter, macOS and editors keep for themselves."""
    parts = [(path, path.relative_to(folder).parts) for path in sorted(folder.rglob("*")) if path.is_file()]
    return [path for path, names in parts if not any(name.startswith((".", "__MACOSX")) for name in names)]


def read(student: Path, assignment: str, others: list[str]) -> tuple[NotebookNode | None, str]:
    """A student's notebook and a remark, or None and why there is none; a wrong file name is only a remark.

    It lies in the folder ASSIGNMENT, or as ASSIGNMENT.ipynb beside the folders of the ``others``.
    """
    folder, path = student / assignment, student / f"{assignment}.ipynb"
    if folder.is_dir():
        files = files_in(folder)
        there = [file for file in files if file.suffix == ".ipynb"]
        path = folder / path.name
        if path not in there:
            if len(there) != 1:
                names = ", ".join(file.name for file in files)[:100]
                return None, f"no {path.name} in the folder (files: {names or 'none'})"
            path = there[0]
    elif not path.is_file():
        known = {*others, *(f"{other}.ipynb" for other in others)}
        astray = [str(file.relative_to(student)) for file in files_in(student)]
        astray = [name for name in astray if Path(name).parts[0] not in known]
        return None, f"{ABSENT}, but there is {', '.join(astray)[:100]}" if astray else ABSENT
    remark = "" if path.name == f"{assignment}.ipynb" else f"the file is called {path.name}"
    try:
        if path.stat().st_size > LARGEST:
            return None, f"{path.name} is larger than {LARGEST // 1_000_000} MB"
        with warnings.catch_warnings(action="ignore"):  # of nbformat, on what it mends
            nb = nbformat.reads(path.read_text(encoding="utf-8-sig"), as_version=4)
        for cell in nb.cells:
            cell.source, _ = "".join(cell.source), about(cell)
    except Exception as error:  # whatever is wrong with it, the others are graded
        return None, f"{path.name} cannot be read: {type(error).__name__}: {str(error)[:100]}"
    return nb, remark
