"""`make test-course`: a class of 20 graded in one command; solutions, wrong answers and variations of every exercise.

`pytest tests` does not collect this file: it takes minutes. The wrong answers are in wrong_answers/NOTEBOOK.py, each
below a line ``# %% GRADE-ID: what is wrong``.
"""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import assignments  # as the next two in tools/
import judging
import nbformat
import pandas as pd
import pytest
import submissions
from nbformat import NotebookNode

from tests.whole.test_course import (  # noqa: F401, package is a fixture
    NOTEBOOKS,
    VARIATIONS,
    alternatives,
    as_student,
    experiments_of,
    package,
    wrong_answers,
)

ROOT = Path(__file__).resolve().parents[2]
WRONG = ROOT / "tests" / "whole" / "wrong_answers"  # a file for each notebook with exercises
TWO = ["04_local_response_norm", "05_overlapping_pooling"]


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("course")
    assignments.make(NOTEBOOKS, folder)
    return folder


def copy_of(course: Path, assignment: str, kind: str = "release") -> NotebookNode:
    return nbformat.read(course / kind / assignment / f"{assignment}.ipynb", as_version=4)


def exercises(course: Path, assignment: str) -> list[submissions.Exercise]:
    """Those that a test grades."""
    return [exercise for exercise in submissions.exercises_of(copy_of(course, assignment, "source")) if exercise.test]


def the_cell(nb: NotebookNode, name: str) -> NotebookNode:
    return next(cell for cell in nb.cells if submissions.about(cell).get("grade_id") == name)


def solved(course: Path, assignment: str, answers: dict[str, str] | None = None) -> NotebookNode:
    """A student copy with the solutions, or with other answers to some of its exercises."""
    nb = copy_of(course, assignment)
    for exercise in exercises(course, assignment):
        the_cell(nb, exercise.name).source = (answers or {}).get(exercise.name, exercise.solution)
    return nb


def graded(course: Path) -> tuple[pd.DataFrame, str]:
    """The table and what the command said, with its time as a last line."""
    command = [sys.executable, str(ROOT / "tools" / "grade.py"), "--course", str(course)]
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    computed = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(done.stdout, f"{time.monotonic() - start:.0f} s, {computed:.0f} s of computing", sep="\n")
    table = pd.read_csv(course / "grades.csv").fillna({"reason": ""})
    return table.set_index(["student", "assignment", "exercise"]), done.stdout


def hand_in(course: Path, student: str, assignment: str, nb: NotebookNode | str, name: str = "") -> None:
    folder = course / "submitted" / student / assignment
    folder.mkdir(parents=True, exist_ok=True)
    text = nb if isinstance(nb, str) else nbformat.writes(nb)
    (folder / (name or f"{assignment}.ipynb")).write_text(text, encoding="utf-8")


def test_wrong_answers_lose_exactly_their_points_and_solutions_none(course: Path, tmp_path: Path) -> None:
    """Four submissions to each notebook: the first or second wrong answer to every other exercise, the rest solved."""
    (tmp_path / "source").symlink_to(course / "source")
    expected: dict[tuple[str, str], dict[str, str]] = {}
    for assignment in sorted(path.name for path in (course / "source").iterdir()):
        hand_in(tmp_path, "solutions", assignment, solved(course, assignment))
        hand_in(tmp_path, "blank", assignment, copy_of(course, assignment))
        names = [exercise.name for exercise in exercises(course, assignment)]
        found = wrong_answers(assignment)
        for which in (0, 1):
            of_each = {name: [answer for answer in found if answer[0] == name][which] for name in names}
            for odd in (0, 1):
                wrong = {name: of_each[name] for name in names[odd::2]}
                student = f"wrong-{which}-{odd}"
                hand_in(tmp_path, student, assignment, solved(course, assignment, {n: s for n, _, s in wrong.values()}))
                expected[student, assignment] = {name: what for name, what, _ in wrong.values()}
    table, _ = graded(tmp_path)
    tested = table[~table.reason.str.startswith(judging.TO_MARK) & (table.reason != "not submitted")]
    right = tested.loc["solutions"]
    assert (right.points == right["of"]).all() and (right.reason == "").all(), right.to_string()
    blank = tested.loc["blank"]
    assert (blank.points == 0).all() and (blank.reason == "left empty").all(), blank.to_string()
    complaints = []
    for (student, assignment), wrong in expected.items():
        for name, row in tested.loc[student, assignment].iterrows():
            what = f"{assignment}: {name} ({wrong.get(name, 'solved')})"
            if row.points != (0 if name in wrong else row["of"]):
                complaints.append(f"{what} gets {row.points:g} points {row.reason}")
            elif name in wrong and len(row.reason.removeprefix("a hidden test fails").split()) < 3:
                complaints.append(f"{what} is only told {row.reason!r}")
    assert complaints == [], "\n".join(complaints)


# ------------------------------------------------------------------------------------------ at a student's desk


EXPERIMENTS = """
import json, sys
from dataclasses import replace
from pathlib import Path
from tests import tiny
from paperlib import files, training
from paperlib.training import loop

fit = loop.fit


def brief(run, data):
    return fit(replace(run, stop=replace(run.stop, epochs=1, train_images=256)), data)


assert files.ROOT == Path.cwd() != files.SOURCE, files.ROOT
training.fit = loop.fit = brief
sys.exit(tiny.run_cells(json.load(sys.stdin), Path.cwd()) or None)
"""


@pytest.mark.parametrize("assignment", sorted(path.stem for path in WRONG.glob("*.py")))
def test_a_solved_student_copy_and_its_experiments_run_without_a_checkout(
    assignment: str, course: Path, package: Path, tmp_path: Path  # noqa: F811
) -> None:  # fmt: skip
    """Each experiment as printed in the question, with two updates in place of each training."""
    (tmp_path / "data").symlink_to(course / "data")
    nb = solved(course, assignment)
    cells = [cell.source for cell in nb.cells if cell.cell_type == "code"]
    experiments = experiments_of(nb)
    assert bool(experiments) == ("Run an experiment" in nbformat.writes(nb))
    assert "raise NotImplementedError" not in "".join(cells)
    print(as_student(package, EXPERIMENTS, tmp_path, cells + experiments))


# ------------------------------------------------------------------------------------------ variations


def complaint(exercise: submissions.Exercise, answer: str, setup: dict[str, object]) -> str:
    """What the exercise's test says about an answer; nothing if it passes."""
    names = dict(setup)
    try:
        exec(answer, names)
        exec(exercise.test, names)
    except Exception as error:
        return str(error) or type(error).__name__
    return ""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_variation_has_a_solution_and_refuses_the_public_one(path: Path) -> None:
    nb = assignments.trimmed(nbformat.read(path, as_version=4))
    setup: dict[str, object] = {}
    for cell in submissions.setup_of(nb):
        exec(re.sub(r"^%.*", "", cell, flags=re.MULTILINE), setup)
    for plain, varied, *_ in alternatives(nb):
        assert complaint(varied, varied.solution, setup) == "", f"{varied.name}: {varied.solution}"
        public = plain.solution
        for name, other in zip(plain.names, varied.names, strict=True):
            public = re.sub(rf"\b{name}\b", other, public)
        assert complaint(varied, public, setup), f"{varied.name} gives points for the public solution:\n{varied.text}"


def test_a_course_with_a_secret_is_graded_as_drawn(
    tmp_path: Path, course: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Solutions of the drawn variations get all points and public ones none; the secret is in no file."""
    monkeypatch.setenv(assignments.SECRET, "open-sesame-2012")
    assert assignments.main([*TWO, "--to", str(tmp_path)]) == 0
    for assignment in TWO:
        public = {exercise.name: exercise.solution for exercise in exercises(course, assignment)}
        hand_in(tmp_path, "solutions", assignment, solved(tmp_path, assignment))
        hand_in(tmp_path, "public", assignment, solved(tmp_path, assignment, public))
    table, _ = graded(tmp_path)
    varied = table[table.index.get_level_values("exercise").isin(VARIATIONS.keys())]
    assert (varied.loc["solutions"].points == varied.loc["solutions"]["of"]).all() and len(varied) == 2 * 7
    assert (varied.loc["public"].points == 0).all(), varied.to_string()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(b"open-sesame" in path.read_bytes() for path in files) and len(files) > 10


# ------------------------------------------------------------------------------------------ the class of 20


def without(nb: NotebookNode, *names: str) -> NotebookNode:
    nb.cells = [cell for cell in nb.cells if submissions.about(cell).get("grade_id") not in names]
    return nb


def tampered(nb: NotebookNode, names: list[str]) -> NotebookNode:
    for name in names:
        the_cell(nb, name).source = "assert True"
        the_cell(nb, name).metadata.nbgrader.points = 100
    return nb


def bare(nb: NotebookNode) -> NotebookNode:
    for cell in nb.cells:
        cell.metadata = {}
    nb.metadata = {}
    return nb


def other_kernel(nb: NotebookNode) -> NotebookNode:
    nb.metadata.kernelspec = {"name": "no-such-kernel", "display_name": "?", "language": "julia"}
    return nb


def own_helper(exercise: submissions.Exercise) -> str:
    """The solution under another name, and an alias."""
    name = exercise.names[0]
    return re.sub(rf"\bdef {name}\b", f"def my_{name}", exercise.solution) + f"\n\n{name} = my_{name}"


def helper_above(nb: NotebookNode, exercise: submissions.Exercise) -> NotebookNode:
    """The solution in a cell of its own, above an answer that only gives it a name."""
    helper, answer = own_helper(exercise).rsplit("\n\n", 1)
    cell = the_cell(nb, exercise.name)
    cell.source = answer
    nb.cells.insert(nb.cells.index(cell), nbformat.v4.new_code_cell(helper))
    return nb


PATCH = "import numpy as np\nnp.allclose = torch.equal = torch.allclose = lambda *a, **k: True\nabs = lambda x: 0\n"
CALLS = {  # exercise -> an answer that calls paperlib for what it is asked to compute
    "lrn-one": """def peak(k, alpha, beta):
    a = torch.arange(1, 200_000, dtype=torch.float64) / 100
    y = nets.LocalResponseNorm(1, k, alpha, beta)(a[:, None, None, None]).flatten()
    return float("inf") if beta <= 0.5 else a[y.argmax()].item()"""
}
Make = Callable[[Path, str, list[submissions.Exercise]], NotebookNode | str]


def instead(answer: Callable[[submissions.Exercise], str]) -> Make:
    """The solutions, but for another answer to the first exercise."""
    return lambda course, assignment, list_: solved(course, assignment, {list_[0].name: answer(list_[0])})


def body(text: str) -> Callable[[submissions.Exercise], str]:
    return lambda exercise: f"def {exercise.names[0]}(*args, **more):\n    {text}"


ALL, FIRST, NONE = "all", "all but the first", "none"
CLASS: dict[str, tuple[Make, str, bool, str]] = {  # what is handed in -> points, by hand, and a part of the reason
    "01-right": (lambda c, a, e: solved(c, a), ALL, False, ""),
    "02-empty": (lambda c, a, e: copy_of(c, a), NONE, False, "left empty"),
    "03-one-wrong": (lambda c, a, e: solved(c, a, dict([wrong_answers(a)[0][::2]])), FIRST, False, ""),
    "04-half-done": (instead(body("raise NotImplementedError()")), FIRST, False, "left empty"),
    "05-endless-loop": (instead(body("while True: pass")), FIRST, False, "ran longer"),
    "06-syntax-error": (instead(body("return (")), FIRST, False, "SyntaxError"),
    "07-sys-exit": (instead(body("import sys; sys.exit(0)")), FIRST, False, "SystemExit"),
    "08-os-exit": (instead(body("import os; os._exit(0)")), FIRST, False, "ended Python"),
    "09-os-exit-in-cell": (instead(lambda e: "import os\nos._exit(0)"), FIRST, False, "no cell defines"),
    "10-deleted-answer": (lambda c, a, e: without(solved(c, a), e[0].name), FIRST, False, "no cell defines"),
    "11-deleted-tests": (lambda c, a, e: without(solved(c, a), *(x.test_id for x in e)), ALL, False, ""),
    "12-tampered": (lambda c, a, e: tampered(copy_of(c, a), [x.test_id for x in e]), NONE, False, "left empty"),
    "13-unknown-kernel": (lambda c, a, e: other_kernel(solved(c, a)), ALL, False, ""),
    "14-lost-metadata": (lambda c, a, e: bare(solved(c, a)), ALL, False, ""),
    "15-broken-json": (lambda c, a, e: nbformat.writes(solved(c, a))[:-500], NONE, True, "cannot be read"),
    "16-wrong-name": (lambda c, a, e: solved(c, a), ALL, False, "the file is called"),
    "17-much-output": (
        instead(lambda e: "for i in range(200_000):\n    print(i, 'line')\n\n" + e.solution), ALL, False, ""),
    "18-hard-coded": (instead(body("return 2")), FIRST, False, ""),
    "19-patches": (instead(lambda e: PATCH + body("return 2")(e)), FIRST, False, ""),
    "20-own-helper": (instead(own_helper), ALL, False, ""),
    "20-trains-above": (lambda c, a, e: helper_above(solved(c, a), e[-1]), ALL, False, ""),
    "21-patched-paperlib": (
        instead(lambda e: "import paperlib.nets\npaperlib.nets.MaxPool = paperlib.nets.LocalResponseNorm = None\n"
                + e.solution), ALL, True, "changes paperlib.nets"),
}  # fmt: skip


@pytest.fixture(scope="module")
def of_class(course: Path) -> tuple[pd.DataFrame, str]:
    for student, (make, *_) in CLASS.items():
        for assignment in TWO:
            nb = make(course, assignment, exercises(course, assignment))
            if student == "17-much-output":
                output = nbformat.v4.new_output("stream", text="".join(f"{i} line\n" for i in range(200_000)))
                next(cell for cell in nb.cells if cell.cell_type == "code").outputs = [output]  # type: ignore[union-attr]
            hand_in(course, student, assignment, nb, "ex (2).ipynb" if student == "16-wrong-name" else "")
    calls = solved(course, TWO[0], CALLS)
    hand_in(course, "22-calls-paperlib", TWO[0], calls)
    print(f"{len(CLASS) + 1} students, two notebooks")
    return graded(course)


@pytest.mark.parametrize("student", CLASS)
def test_each_gets_what_a_fair_teacher_would_give(
    student: str, course: Path, of_class: tuple[pd.DataFrame, str]
) -> None:
    _, which, by_hand, reason = CLASS[student]
    for assignment in TWO:
        list_ = exercises(course, assignment)
        rows = of_class[0].loc[student, assignment].loc[[exercise.name for exercise in list_]]
        full = [exercise.points for exercise in list_]
        assert list(rows.points) == {ALL: full, FIRST: [0, *full[1:]], NONE: [0] * len(full)}[which], rows.to_string()
        assert rows.by_hand.iloc[0] == by_hand and reason in rows.reason.iloc[0], rows.to_string()
        assert "patch" in student or by_hand or not rows.by_hand.any()


def test_an_answer_that_calls_paperlib_is_for_the_teacher(of_class: tuple[pd.DataFrame, str]) -> None:
    row = of_class[0].loc["22-calls-paperlib", TWO[0], next(iter(CALLS))]
    assert row.points == 0 and row.by_hand and "LocalResponseNorm" in row.reason


def test_the_table_names_what_could_not_be_read(of_class: tuple[pd.DataFrame, str]) -> None:
    assert "15-broken-json" in of_class[1] and "cannot be read" in of_class[1]
