"""The course: what a student copy keeps, and how one exercise is graded; `make test-course` grades a whole class."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import assignments  # as the next three in tools/
import grade
import judging
import nbformat
import pandas as pd
import pytest
import submissions
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import notebooks as tool  # tools/notebooks.py

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
VARIATIONS = tomllib.loads(assignments.VARIATIONS.read_text(encoding="utf-8"))
ANSWER = "def double(x):\n    ### BEGIN SOLUTION\n    return factor * x\n    ### END SOLUTION"
TEST = (
    'assert double(2) == 4, "2 doubled is 4"\n'
    '### BEGIN HIDDEN TESTS\nassert double(factor + 1) == fractions.Fraction(6), "any x"\n### END HIDDEN TESTS'
)


def wrong_answers(assignment: str) -> list[tuple[str, str, str]]:
    """The grade id, what is wrong, and the source of each wrong answer in wrong_answers/ASSIGNMENT.py."""
    text = (ROOT / "tests" / "whole" / "wrong_answers" / f"{assignment}.py").read_text(encoding="utf-8")
    parts = re.split(r"^# %% ([\w-]+): (.+)\n", text, flags=re.MULTILINE)[1:]
    return [
        (name, what, source.strip()) for name, what, source in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    ]


def cell(source: str, name: str, *, points: int = 0, words: bool = False) -> NotebookNode:
    """An answer cell, with points a test cell, as words an answer that a teacher marks."""
    mine = {"grade": points > 0, "solution": not points or words, "locked": points > 0 and not words, "task": False}
    mine |= {"grade_id": name, "schema_version": 3, "cell_type": "markdown" if words else "code"}
    mine |= {"points": points} if points else {}
    make = new_markdown_cell if words else new_code_cell
    return make(source, metadata={"nbgrader": mine})


def lesson() -> NotebookNode:
    """A notebook of the series in short: sections, a claim, something that trains, and three exercises."""
    table = new_output("display_data", {"text/markdown": "| S1-a | it doubles |"})
    return new_notebook(
        cells=[
            new_markdown_cell("# 01 · Doubling"),
            new_code_cell(
                "%matplotlib inline\nimport fractions\nimport math\n\nfactor = 2", metadata={"tags": ["setup"]}
            ),
            new_markdown_cell("## The claim and a question\n\nsee [the table](00_claims.ipynb)"),
            new_code_cell("claim_table()", outputs=[table], execution_count=2),
            new_markdown_cell("**What do you expect?**\n\n## The idea\n\nspoilt\n\n**Predict:** what?"),
            new_code_cell("train()", outputs=[table, new_output("stream", text="trained")]),
            new_markdown_cell(
                "So it was.\n\n## What became of it since\n\nmuch\n\n## Exercises\n\n**1. Twice.** Double."
            ),
            cell(ANSWER, "double"),
            cell(TEST, "double-test", points=2),
            cell("def half(x):\n    ### BEGIN SOLUTION\n    return x / 2\n    ### END SOLUTION", "half"),
            cell(
                'assert half(2) == 1, "the half of 2"\nassert math.isclose(half(1), 0.5), "of 1"', "half-test", points=1
            ),
            new_markdown_cell("**2. Why?** Say of [this](00_claims.ipynb):\n\n```python\nby['x'](two)\n```"),
            cell("It is linear.", "why", points=3, words=True),
            new_markdown_cell("## Notes\n\nspoilt as well"),
        ]
    )


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("course")
    nb = lesson()
    tool.fold_answers(nb)
    nbformat.write(nb, folder / "01_doubling.ipynb")
    nbformat.write(new_notebook(cells=[new_markdown_cell("# no exercises")]), folder / "00_claims.ipynb")
    paths = [folder / "00_claims.ipynb", folder / "01_doubling.ipynb"]
    assert assignments.make(paths, folder / "course") == ["01_doubling"]
    return folder / "course"


def copy_in(course: Path, kind: str) -> NotebookNode:
    name = "01_doubling.ipynb"
    return nbformat.read(course / kind / name if kind == "solutions" else course / kind / "01_doubling" / name, 4)


def test_a_student_copy_is_title_claims_setup_and_blanks(course: Path) -> None:
    nb = copy_in(course, "release")
    text = "\n".join(cell.source for cell in nb.cells)
    for kept in ("# 01 · Doubling", "factor = 2", "see the table", "**What do you expect?**", "**1. Twice.** Double.",
                 "of this:", "by['x'](two)"):  # fmt: skip
        assert kept in text
    for gone in ("return", "HIDDEN", "any x", "spoilt", "train()", "So it was", "00_claims", "linear", "SOLUTION",
                 "Predict", "since"):  # fmt: skip
        assert gone not in text
    assert text.count("| S1-a | it doubles |") == 1
    assert text.count("raise NotImplementedError()") == 2 + 1 and text.count("YOUR ANSWER HERE") == 1
    assert not any(cell.get("outputs") or "jupyter" in cell.metadata or "hide-input" in cell.metadata.get("tags", [])
                   for cell in nb.cells)  # fmt: skip


def test_the_solutions_have_all_tests_and_no_marks(course: Path) -> None:
    text = "\n".join(cell.source for cell in copy_in(course, "solutions").cells)
    assert "    return factor * x" in text and '"any x"' in text and "linear" in text and "###" not in text
    assert "<details>" not in text and "<details>" not in "".join(c.source for c in copy_in(course, "source").cells)
    assert "add_missing_cells" in (course / "nbgrader_config.py").read_text()


PATCHED = "fractions.Fraction = lambda *a: 7\nabs = None\ndef double(x):\n    return 4 if x == 2 else 7"
COUNTED = "seen = []\ndef double(x):\n    seen.append(x)\n    return 4 if len(seen) == 1 else 0"
CLOSE = "math.isclose = lambda *a: True\ndef double(x):\n    return 2 * x"
OPERATOR = "fractions.Fraction.__ne__ = lambda a, b: True\ndef double(x):\n    return 2 * x"
EQUAL = "return type('Y', (), {'__eq__': lambda s, o: True})()"
MOCK = "from unittest.mock import ANY; return [ANY][0]"
IN_THE_TEST = "fractions.Fraction = lambda *a: 4; return 4"
ENDS = "import os\nos._exit(0)"
CASES = {  # the answer to `double` -> its points, whether a teacher is asked to look, and a part of the reason
    "right": ("return factor * x", 2, False, ""),
    "hard-coded": ("return {2: 5}[x]", 0, False, "2 doubled is 4"),
    "counted": (COUNTED, 0, False, "a hidden test fails: any x"),
    "raises": ("return x + '2'", 0, False, "TypeError"),
    "syntax": ("return (", 0, False, "SyntaxError"),
    "exits": ("import sys; sys.exit(0)", 0, False, "SystemExit"),
    "ends-python": ("import os; os._exit(0)", 0, False, "ended Python"),
    "ends-in-cell": (ENDS, 0, False, "no cell defines double"),
    "loops": ("while True: pass", 0, False, "ran longer"),
    "patched": (PATCHED, 0, False, "a hidden test fails"),
    "patched-in-test": (IN_THE_TEST, 0, True, "during the test"),
    "patched-and-right": (CLOSE, 2, True, "changes math.isclose"),
    "patched-operator": (OPERATOR, 2, True, "changes fractions.Fraction.__ne__"),
    "equals-all": (EQUAL, 2, True, "__eq__"),
    "equals-anything": (MOCK, 2, True, "returns a _ANY"),
    "own-class": ("class Y(int): pass\n\ndef double(x):\n    return Y(2 * x)", 2, True, "returns a Y"),
    "looks-around": ("1 or x.f_back; return 2 * x", 2, True, "uses f_back"),
    "reads-a-file": ("open('/dev/null').close(); return 2 * x", 2, True, "uses open"),
    "renamed": ("def dubble(x):\n    return 2 * x", 0, True, "no cell defines double, but its cell defines dubble"),
    "answer-below": (None, 0, True, "left empty where it is tested, but double is in cell"),
    "answer-above": (None, 0, True, "left empty where it is tested, but double is in cell"),
    "answer-in-test": (None, 0, True, "left empty where it is tested, but double is in cell"),
    "answer-as-text": (None, 0, True, "no cell defines double where it is tested, but double is in cell"),
    "answer-in-two": (None, 2, False, ""),
    "trains-between": (None, 2, False, ""),
    "no-tests": (None, 2, False, ""),
    "no-metadata": (None, 2, False, ""),
    "no-answer": (None, 0, False, "no cell defines double"),
}


def handed_in(course: Path, student: str) -> NotebookNode:
    """A student's copy, filled in; an answer of several lines takes the place of the whole cell."""
    nb = copy_in(course, "release")
    cells = {submissions.about(cell).get("grade_id"): cell for cell in nb.cells}
    blank = cells["double"].source
    for name, body in {"double": CASES[student][0] or "return 2 * x", "half": "return x / 2"}.items():
        cells[name].source = body if "\n" in body else f"def {name}(x):\n    {body}"
    answer, place = cells["double"].source, nb.cells.index(cells["double"])
    if student in ("answer-below", "answer-above", "answer-in-test"):
        cells["double"].source = blank
    match student:
        case "answer-below":
            nb.cells.append(new_code_cell(answer))
        case "answer-above":
            nb.cells.insert(place, new_code_cell(answer))
        case "answer-in-test":
            cells["double-test"].source = f"{answer}\n\n{cells['double-test'].source}"
        case "answer-as-text":
            nb.cells[place] = new_markdown_cell(answer, metadata=cells["double"].metadata)
        case "answer-in-two":
            cells["double"].source = "two = 2"
            nb.cells.insert(place + 1, new_code_cell("def double(x):\n    return two * x"))
        case "trains-between":
            nb.cells.insert(place + 2, new_code_cell("while True:\n    pass"))
        case "no-metadata":
            cells["why"].source = "Because.\n\n| x | y |\n|---|---|"
            for cell in nb.cells:
                cell.metadata = {}
        case "right":
            nb.cells += [new_markdown_cell("It is below."), new_code_cell("double(3)")]
    deleted = {"no-tests": ("double-test", "half-test"), "no-answer": ("double",)}.get(student, ())
    nb.cells = [cell for cell in nb.cells if submissions.about(cell).get("grade_id") not in deleted]
    return nb


def graded(course: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """By the command: a fork of this large process would copy most of it."""
    command = [sys.executable, str(Path(grade.__file__)), "--course", str(course), *options]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def table(course: Path) -> pd.DataFrame:
    """The class graded once by the command."""
    for student in CASES:
        folder = course / "submitted" / student / "01_doubling"
        folder.mkdir(parents=True)
        nbformat.write(handed_in(course, student), folder / "01_doubling.ipynb")
    right = nbformat.writes(handed_in(course, "right"))
    name = "01_doubling/01_doubling.ipynb"
    other = right.replace('"grade_id": "', '"grade_id": "of-another-')
    ends = right.replace("return factor * x", "import os; os.kill(os.getppid(), 9)")
    for path, text in {
        f"broken/{name}": "{", "renamed-file/01_doubling/mine (1).ipynb": right, "text/01_doubling/answer.txt": "4",
        f"list/{name}": "[1]", f"Núñez, Ana/{name}": "\ufeff" + right, "flat/01_doubling.ipynb": right,
        "zip/01_doubling/my work/01_doubling.ipynb": right, "zip/01_doubling/__MACOSX/._01_doubling.ipynb": "\0",
        "astray/01-doubling/01_doubling.ipynb": right, f"other/{name}": other, f"ends-grader/{name}": ends,
        f".ipynb_checkpoints/{name}": right, "__MACOSX/x/._01_doubling.ipynb": "\0",
    }.items():  # fmt: skip
        (course / "submitted" / path).parent.mkdir(parents=True)
        (course / "submitted" / path).write_text(text, encoding="utf-8")
    (course / "submitted" / "absent").mkdir()
    (course / "submitted" / "loose_01_doubling.ipynb").write_text(right)
    done = graded(course, "--timeout", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("not graded, as they are in no student's folder: loose_01_doubling.ipynb\n")
    return pd.read_csv(course / "grades.csv").fillna({"reason": ""}).set_index(["student", "exercise"])


@pytest.mark.slow
@pytest.mark.parametrize("student", CASES)
def test_each_gets_what_a_fair_teacher_would_give(student: str, table: pd.DataFrame) -> None:
    _, points, by_hand, reason = CASES[student]
    rows = table.loc[student]
    assert rows.loc["double", "points"] == points and rows.loc["half", "points"] == 1
    assert rows.loc["why", "points"] == 0 and rows.loc["why", "by_hand"]
    assert rows.loc["double", "by_hand"] == by_hand and reason in rows.loc["double", "reason"]


def test_what_cannot_be_read_is_named_and_the_others_are_graded(table: pd.DataFrame) -> None:
    reasons = {
        "broken": "NotJSONError",
        "text": "answer.txt",
        "list": "cannot be read",
        "other": "none of the exercises",
    }
    reasons |= {"astray": "but there is 01-doubling/01_doubling.ipynb", "ends-grader": "ended its grader"}
    for student, reason in reasons.items():
        assert table.loc[student].by_hand.all() and reason in table.loc[student, "reason"].iloc[0]
        assert table.loc[student].points.sum() == 0 and table.loc[student].of.sum() == 6
    assert "mine (1).ipynb" in table.loc["renamed-file", "reason"].iloc[0]
    assert set(table.loc["absent"].reason) == {"not submitted"} and not table.loc["absent"].by_hand.any()
    there = {*CASES, *reasons, "renamed-file", "absent", "Núñez, Ana", "flat", "zip"}
    assert set(table.index.get_level_values("student")) == there


@pytest.mark.parametrize("student", ["renamed-file", "Núñez, Ana", "flat", "zip"])
def test_a_notebook_is_found_where_learning_platforms_put_it(student: str, table: pd.DataFrame) -> None:
    assert table.loc[student].points.sum() == 3


def test_a_function_below_a_magic_is_a_definition() -> None:
    assert submissions.defined("%%time\ndef f():\n    pass") == ["f"] and submissions.defined("def f(") == []


def test_feedback_says_what_is_wrong_and_nothing_of_hidden_tests(table: pd.DataFrame, course: Path) -> None:
    told = {path.parent.name: path.read_text() for path in (course / "feedback").glob("*/*.md")}
    assert told.keys() == set(table.index.get_level_values("student"))
    assert "double: 0 of 2. 2 doubled is 4" in told["hard-coded"] and "half: 1 of 1\n" in told["hard-coded"]
    assert not any("assert" in text or "Fraction(6)" in text for text in told.values())
    by_hand = (course / "by_hand.md").read_text()
    assert "> It is linear." in by_hand and "> # 01" not in by_hand
    assert "- right (0): to be marked: It is below.\n" in by_hand
    assert "- no-metadata (0): to be marked: Because.\n  \n  | x | y |\n  |---|---|\n" in by_hand
    assert "- no-tests (0): to be marked: no answer\n" in by_hand


def test_totals_have_a_row_for_each_student(table: pd.DataFrame, course: Path) -> None:
    totals = pd.read_csv(course / "totals.csv").set_index("student")
    assert list(totals.columns) == ["01_doubling", "total"] and totals.loc["right"].tolist() == [3, 3]
    assert set(totals.index) == set(table.index.get_level_values("student"))


@pytest.mark.slow
def test_nobody_is_graded_by_a_test_that_the_solution_fails(course: Path, tmp_path: Path) -> None:
    shutil.copytree(course / "source", tmp_path / "source")
    nb = copy_in(course, "source")
    nb.cells = [cell for cell in nb.cells if submissions.about(cell).get("grade_id") != "double"]
    nbformat.write(nb, tmp_path / "source" / "01_doubling" / "01_doubling.ipynb")
    (tmp_path / "submitted" / "one" / "01_doubling").mkdir(parents=True)
    assert graded(tmp_path).returncode == 1 and not (tmp_path / "grades.csv").exists()


def test_marks_of_the_teacher_count(table: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "marks.csv").write_text(f"{grade.HEADER}\nright,01_doubling,why,2.5,good\n")
    rows = table.reset_index()
    marked = grade.with_marks(tmp_path, rows.copy()).set_index(["student", "exercise"])
    assert marked.loc[("right", "why"), ["points", "by_hand", "reason"]].tolist() == [2.5, False, "good"]
    assert marked.drop(("right", "why")).points.sum() == rows.points.sum()
    for text, message in {
        f"{grade.HEADER}\nnobody,01_doubling,why,1,\n": "marks nobody, 01_doubling, why, which is not in the course",
        f"{grade.HEADER}\nright,01_doubling,why,much,\n": "cannot be read: could not convert string to float: 'much'",
        f"{grade.HEADER}\nright,01_doubling,why,2.5,good\n".replace(",", ";"): "Its first line is student,assignment",
        "student,assignment,exercise\n": "Its first line is student,assignment",
    }.items():
        (tmp_path / "marks.csv").write_text(text)
        with pytest.raises(SystemExit, match=message):
            grade.with_marks(tmp_path, rows)


def test_grading_one_assignment_keeps_the_grades_of_the_others(tmp_path: Path) -> None:
    columns = ["student", "assignment", "exercise", "points", "of", "by_hand", "reason"]
    earlier = [["007", "01", "double", 2.0, 2.0, False, ""], ["007", "02", "half", 0.0, 1.0, True, "to be marked: x"]]
    pd.DataFrame(earlier, columns=columns).to_csv(tmp_path / "grades.csv", index=False)
    now = pd.DataFrame([["007", "02", "half", 1.0, 1.0, False, ""]], columns=columns)
    assert grade.with_earlier(tmp_path, now).values.tolist() == [earlier[0], now.loc[0].tolist()]


# ------------------------------------------------------------------------------------------ what a student has


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package alone, as a wheel installs it: no checkout."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "paperlib", folder / "paperlib", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def as_student(package: Path, program: str, folder: Path, cells: list[str]) -> str:
    """What a program prints that gets code cells, where a student works: in a folder with the package installed."""
    path = os.pathsep.join([str(package), str(ROOT)])  # the second for tests.tiny
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env={**os.environ, "PYTHONPATH": path}, text=True,
        input=json.dumps(cells), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def experiments_of(nb: NotebookNode) -> list[str]:
    """The code that exercises ask a student to run."""
    text = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


FIRST_CELLS = """
import json, re, sys
from pathlib import Path
from paperlib import files
assert files.ROOT == Path.cwd() != files.SOURCE, files.ROOT
for cell in json.load(sys.stdin):
    exec(re.sub("^%.*", "", cell, flags=re.M), {})
"""


def test_the_first_cell_of_each_student_copy_runs_without_a_checkout(package: Path, tmp_path: Path) -> None:
    assignments.give_data(tmp_path)
    copies = [assignments.trimmed(nbformat.read(path, as_version=4)) for path in NOTEBOOKS]
    cells = [cell for nb in copies if submissions.exercises_of(nb) for cell in submissions.setup_of(nb)]
    assert len(cells) >= 11
    as_student(package, FIRST_CELLS, tmp_path, cells)


def test_students_get_the_records_that_exercises_read_and_no_altered_ones(tmp_path: Path) -> None:
    from paperlib.errors import PaperlibError
    from paperlib.evidence import store

    assignments.give_data(tmp_path)
    assignments.give_data(tmp_path)  # again, as for a class that is under way
    code = "".join(block for path in NOTEBOOKS for block in experiments_of(nbformat.read(path, as_version=4)))
    read = set(re.findall(r"""\bevidence\.\w+\("([\w-]+)", "(\w+)\"""", code))
    with store.using(tmp_path / "data" / "recorded") as given:
        assert {("size", "sample"), ("depth", "sample")} <= read == {each for each in read if store.records_of(*each)}
        next(given.folder.glob("*/*/*.jsonl")).write_text("{}")
        store.forget()
        with pytest.raises(PaperlibError, match="is not the record that its checksum"):
            store.recorded()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_exercise_of_a_notebook_has_two_wrong_answers(path: Path) -> None:
    """They are tried by `make test-course`; an exercise that is renamed or new fails here."""
    source = assignments.trimmed(nbformat.read(path, as_version=4))
    wanted = {exercise.name: set(exercise.names) for exercise in submissions.exercises_of(source) if exercise.test}
    if wanted:
        found = [answer for answer in wrong_answers(path.stem) if answer[0] in wanted]
        assert sorted(name for name, *_ in found) == sorted([*wanted, *wanted])
        assert all(wanted[name] <= set(submissions.defined(answer)) for name, _, answer in found)
        assert len({answer for *_, answer in found}) == len(found)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_student_copy_needs_no_more_than_setup(path: Path) -> None:
    """Every exercise and no code but the setup, the answers and their tests; nothing of the other rooms."""
    whole = nbformat.read(path, as_version=4)
    nb = assignments.trimmed(whole)
    code = [cell for cell in nb.cells if cell.cell_type == "code"]
    assert all("setup" in cell.metadata.tags or "nbgrader" in cell.metadata for cell in code)
    assert nb.cells[0].source.startswith("# ") and not any(cell.outputs for cell in code)
    assert [cell.id for cell in nb.cells if "nbgrader" in cell.metadata] == [
        cell.id for cell in whole.cells if "nbgrader" in cell.metadata
    ]
    text = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
    headings = re.findall(r"^## .*", text, flags=re.MULTILINE)
    assert headings == (["## The claim and a question", "## Exercises"] if submissions.exercises_of(whole) else [])
    assert "**Predict:**" not in text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_teachers_table_of_minutes_names_every_exercise(path: Path) -> None:
    page = (ROOT / "book" / "teaching.md").read_text(encoding="utf-8")
    rows = re.findall(rf"^\| {path.stem[:2]} \|(.*)$", page, flags=re.MULTILINE)
    named = [pair for row in rows for pair in re.findall(r"([\w-]+) (\d+)", row)]
    there = submissions.exercises_of(nbformat.read(path, as_version=4))
    assert sorted(name for name, _ in named) == sorted(exercise.name.partition("-")[2] for exercise in there)
    assert len(there) < 3 or 90 <= sum(int(minutes) for _, minutes in named) <= 150


def alternatives(nb: NotebookNode) -> Iterator[tuple[submissions.Exercise, submissions.Exercise, str, str]]:
    """Each exercise as it is and in each of its variations, with the text of its markdown cells before and after."""
    for grade_ids, cells in assignments.by_exercise(nb):
        for grade_id in grade_ids & VARIATIONS.keys():
            for texts in VARIATIONS[grade_id]:
                other = [NotebookNode(cell) for cell in cells]  # the sources are replaced, the rest is shared
                assignments.replaced(other, texts)
                plain, varied = (
                    next(exercise for exercise in submissions.exercises_of(new_notebook(cells=part)) if exercise.test)
                    for part in (cells, other)
                )
                assert plain.name == grade_id
                yield plain, varied, cells[0].source, other[0].source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_variations_change_question_answer_and_visible_test(path: Path) -> None:
    """Each text that they replace is in the notebook. That solutions fit is tried by `make test-course`."""
    nb = assignments.trimmed(nbformat.read(path, as_version=4))
    seen = []
    for plain, varied, question, other_question in alternatives(nb):
        seen.append(plain.name)
        visible = [exercise.test.partition(judging.HIDDEN) for exercise in (plain, varied)]
        assert question != other_question and plain.solution != varied.solution and visible[0] != visible[1]
    tested = {exercise.name for exercise in submissions.exercises_of(nb) if exercise.test}
    needed = {name for name in tested if not name.endswith("-experiment")}
    assert set(seen) == needed and all(seen.count(name) >= 2 for name in needed)


def test_every_variation_belongs_to_an_exercise() -> None:
    sources = [nbformat.read(path, as_version=4) for path in NOTEBOOKS]
    assert VARIATIONS.keys() <= {exercise.name for nb in sources for exercise in submissions.exercises_of(nb)}


def test_a_secret_draws_one_variation_of_each_exercise_always_the_same() -> None:
    nb = assignments.trimmed(nbformat.read(NOTEBOOKS[4], as_version=4))
    drawn = {secret: nbformat.writes(assignments.varied(nb, secret)) for secret in "abcdefgh"}
    assert drawn == {secret: nbformat.writes(assignments.varied(nb, secret)) for secret in drawn}
    assert 1 < len(set(drawn.values())) <= 2**4 and nbformat.writes(nb) not in drawn.values()


def test_a_variation_of_a_text_that_is_gone_is_an_error() -> None:
    with pytest.raises(ValueError, match="this text is not in the exercise: three times"):
        assignments.replaced([new_markdown_cell("Double.")], {"Double": "Treble", "three times": "twice"})
