"""Grade a class: every notebook in COURSE/submitted against COURSE/source, one table of who got what and why.

    python tools/grade.py                           all assignments of course/
    python tools/grade.py 04_local_response_norm --course /path/to/course --jobs 4

Writes COURSE/grades.csv (one row per student and exercise), COURSE/by_hand.md (what a teacher must look at) and
COURSE/feedback/STUDENT/ASSIGNMENT.md. Exit code 1 only where an assignment's own solutions fail its tests.

The setup cells run once. Each exercise is then graded in a forked process of its own: the student's cells in order,
then the test of COURSE/source in a namespace that has nothing of the student's but the answers. So tests, points and
metadata of a submission do not matter, and a cell that ends Python or never ends costs only its own points. Patched
functions of the libraries are put back before the test. An answer that calls functions of `paperlib` which the
solution does not call scores nothing and is listed for the teacher. Linux or macOS. This is fair grading, not a
sandbox: run the work of people you do not trust under an account without secrets, or in a container.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
import multiprocessing
import os
import re
import resource
import secrets
import signal
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from math import ceil
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import kernels
import nbformat
import pandas as pd
from nbformat import NotebookNode

LIBRARY = "paperlib"
HIDDEN = "### BEGIN HIDDEN TESTS"
TEST = "<test>"
STUDENT = "<ipython-input"  # how IPython names the code of a cell
SUSPICIOUS = r"\b(?:_getframe|setprofile|settrace|ctypes|gc|inspect|__eq__|__code__)\b"
IDLE = 5  # times the limit of computing time, an exercise may take by the clock: a busy machine costs nobody points
TO_MARK = "to be marked: "
STORED_RUNS = "records_of"  # a solution that calls it reads recorded runs where students train
TRAINS = r"\b(?:fit|short_run|records_of)\("
LARGEST = 50_000_000  # bytes of a notebook
MEMORY = 6 << 30  # bytes that a submission may allocate
FORK = multiprocessing.get_context("fork")


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


@dataclass
class Row:
    student: str
    assignment: str
    exercise: str
    points: float
    of: float
    by_hand: bool = False
    reason: str = ""


# ------------------------------------------------------------------------------------------ reading notebooks


def about(cell: NotebookNode) -> dict[str, Any]:
    found = cell.metadata.get("nbgrader", {})
    return found if isinstance(found, dict) else {}


def defined(source: str) -> list[str]:
    """Names that a cell defines at its top level; none where it is no Python."""
    try:
        body = ast.parse(source).body
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
            text += "\n\n" + cell.source
    return found


def setup_of(nb: NotebookNode) -> list[str]:
    return [cell.source for cell in nb.cells if cell.cell_type == "code" and "setup" in cell.metadata.get("tags", [])]


def read(folder: Path, assignment: str) -> tuple[NotebookNode | None, str]:
    """A student's notebook and a remark, or None and why it cannot be read; a wrong file name is only a remark."""
    there = sorted(path for path in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
    path = folder / f"{assignment}.ipynb"
    if path not in there:
        others = sorted(p.name for p in folder.rglob("*") if p.is_file() and ".ipynb_checkpoints" not in p.parts)
        if len(there) != 1:
            return None, f"no {path.name} in the folder (files: {', '.join(others)[:100] or 'none'})"
        path = there[0]
    remark = "" if path.name == f"{assignment}.ipynb" else f"the file is called {path.name}"
    try:
        if path.stat().st_size > LARGEST:
            return None, f"{path.name} is larger than {LARGEST // 1_000_000} MB"
        nb = nbformat.read(path, as_version=4)
        for cell in nb.cells:
            cell.source, _ = "".join(cell.source), about(cell)
    except Exception as error:  # whatever is wrong with it, the others are graded
        return None, f"{path.name} cannot be read: {type(error).__name__}: {str(error)[:100]}"
    return nb, remark


# ------------------------------------------------------------------------------------------ within the forked process


def code_of(value: Any) -> types.CodeType | None:
    return value.__code__ if type(value) is types.FunctionType else None


class Guard:
    """What functions and classes of the libraries were before a student's code ran."""

    def __init__(self, roots: set[str]) -> None:
        self.kept: list[tuple[Any, str, Any, Any]] = []
        seen: set[int] = set()
        for module in list(sys.modules.values()):
            name = getattr(module, "__name__", "")
            if not isinstance(module, types.ModuleType) or name.partition(".")[0] not in roots:
                continue
            for key, value in list(vars(module).items()):
                constant = name.partition(".")[0] == LIBRARY and not key.startswith("_")
                if constant or callable(value) or issubclass(type(value), types.ModuleType):
                    self.kept.append((module, key, value, code_of(value)))
                if (
                    issubclass(type(value), type)
                    and id(value) not in seen
                    and value.__module__.partition(".")[0] in roots
                ):
                    seen.add(id(value))
                    members = [(key, member) for key, member in vars(value).items() if callable(member)]
                    self.kept += [(value, key, member, code_of(member)) for key, member in members]

    def restore(self) -> list[str]:
        """Put everything back; the names of what had been changed."""
        changed = []
        for owner, key, value, code in self.kept:
            same = vars(owner).get(key) is value
            if same and code is code_of(value):
                continue
            with contextlib.suppress(AttributeError, TypeError):
                if not same:
                    setattr(owner, key, value)
                if code is not None:
                    value.__code__ = code
                module = owner.__module__ + "." if isinstance(owner, type) else ""
                changed.append(f"{module}{owner.__name__}.{key}")
        return changed


def limit(folder: str, seconds: float) -> None:
    """A process group of its own, an empty folder, no output; limits of computing time, memory and a file's size."""
    os.setsid()
    os.chdir(folder)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    in_use = 0
    with contextlib.suppress(OSError):
        in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    most = {resource.RLIMIT_AS: in_use + MEMORY, resource.RLIMIT_FSIZE: 100 << 20, resource.RLIMIT_CPU: ceil(seconds)}
    for what, number in most.items():
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(what, (number, resource.getrlimit(what)[1]))


def watcher(called: set[str], library: str) -> Callable[[types.FrameType, str, Any], None]:
    """For `sys.setprofile`: notes functions of the library that code of the student calls."""

    def watch(frame: types.FrameType, event: str, _: Any) -> None:
        if event != "call" or not frame.f_code.co_filename.startswith(library):
            return
        above = frame.f_back
        while above is not None and not above.f_code.co_filename.startswith((library, TEST)):
            if above.f_code.co_filename.startswith(STUDENT):
                module = frame.f_globals.get("__name__", LIBRARY)
                called.add(f"{module}.{frame.f_code.co_qualname}")
                return
            above = above.f_back

    return watch


def is_librarys_own(value: Any) -> bool:
    value = getattr(value, "func", value)  # functools.partial
    return str(getattr(value, "__module__", "")).partition(".")[0] == LIBRARY


def judge(test: str, names: dict[str, Any], clean: dict[str, Any], guard: Guard) -> dict[str, Any]:
    """Run a test cell on the student's answers: whether it passed, else why and in which line."""
    called = {f"{value.__module__}.{value.__qualname__}" for value in names.values() if is_librarys_own(value)}
    module = sys.modules.get(LIBRARY)
    library = str(Path(str(module.__file__)).parent) if module else "<no library>"
    space = {**clean, **names}
    verdict: dict[str, Any] = {"passed": False, "reason": "", "line": 0}
    code = compile(test, TEST, "exec")
    sys.setprofile(watcher(called, library))
    try:
        exec(code, space)
        verdict["passed"] = True
    except BaseException as error:  # SystemExit, KeyboardInterrupt: all of it is the answer's
        sys.setprofile(None)
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == TEST:
                verdict["line"] = verdict["line"] or trace.tb_lineno
            trace = trace.tb_next
        text = " ".join(str(error).split())[:300]
        of_test = isinstance(error, AssertionError)
        verdict["reason"] = text if of_test else f"{type(error).__name__}: {text}".rstrip(": ")
        if isinstance(error, NotImplementedError):
            verdict["reason"] = "left empty"
    finally:
        sys.setprofile(None)
    return verdict | {"called": sorted(called), "changed": guard.restore()}


def attempt(
    pipe: Connection, folder: str, shell: Any, cells: dict[int, str], exercise: Exercise, guard: Guard, seconds: float
) -> None:
    """The forked process: the student's cells, then the test, which arrives only then, with a word to sign with."""
    limit(folder, seconds)
    clean = dict(shell.user_ns)
    errors = {}
    for number, source in cells.items():
        pipe.send_bytes(json.dumps(number).encode())
        result = shell.run_cell(source, store_history=False, silent=True)
        error = result.error_before_exec or result.error_in_exec
        if error is not None:
            text = re.sub(r"\(<ipython-input[^>]*>, ", "(", str(error).partition("\n")[0])[:150]
            errors[number] = f"{type(error).__name__}: {text}".rstrip(": ")
    pipe.send_bytes(json.dumps(None).encode())
    test, word = json.loads(pipe.recv_bytes())
    changed = guard.restore()
    names = {name: shell.user_ns[name] for name in exercise.known if name in shell.user_ns}
    verdict = judge(test, names, clean, guard)
    missing = [name for name in exercise.names if name not in names]
    answer = {"word": word, "errors": errors, "missing": missing, "changed_before": changed, **verdict}
    pipe.send_bytes(json.dumps(answer).encode())


# ------------------------------------------------------------------------------------------ from outside


def run(
    shell: Any, cells: dict[int, str], exercise: Exercise, guard: Guard, timeout: float
) -> tuple[dict[str, Any], int | None]:
    """The verdict on one exercise, or why there is none with the cell that ended the process (None: the test did)."""
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = FORK.Pipe()
        process = FORK.Process(target=attempt, args=(theirs, folder, shell, cells, exercise, guard, timeout))
        process.start()
        theirs.close()
        place, word, too_long = -1, secrets.token_hex(16), {"reason": f"ran longer than {timeout:g} s"}
        try:
            while True:
                if not ours.poll(IDLE * timeout):
                    return too_long, place
                message = json.loads(ours.recv_bytes(1 << 20))
                if isinstance(message, dict) and secrets.compare_digest(str(message.get("word")), word):
                    return message, None
                if message is None and place is not None:
                    ours.send_bytes(json.dumps([exercise.test, word]).encode())
                place = message if message is None or isinstance(message, int) else place
        except (EOFError, OSError, ValueError):
            process.join(1)
            if process.exitcode == -signal.SIGXCPU:
                return too_long, place
            return {"reason": "ended Python (os._exit, or out of memory)"}, place
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid or 0, signal.SIGKILL)
            process.kill()
            process.join()
            ours.close()


def decide(
    row: Row, exercise: Exercise, verdict: dict[str, Any], sources: dict[int, str], allowed: set[str], show_hidden: bool
) -> None:
    """Points, reason and whether a teacher must look, from what the forked process found."""
    if "passed" not in verdict:
        row.reason = f"the test {verdict['reason']}"
        if STORED_RUNS in exercise.solution:
            row.by_hand, row.reason = True, f"{row.reason}; this exercise trains: use a longer --timeout, or read it"
        return
    row.points = row.of if verdict["passed"] else 0.0
    if not verdict["passed"]:
        row.reason = verdict["reason"]
        hidden_from = exercise.test.partition(HIDDEN)[0].count("\n") + 1 if HIDDEN in exercise.test else 10**9
        if verdict["line"] >= hidden_from and row.reason != "left empty":
            line = exercise.test.splitlines()[verdict["line"] - 1].strip()
            row.reason = "a hidden test fails" + (f": {row.reason}" if row.reason else "")
            row.reason += f" [{line}]" if show_hidden else ""
    if verdict["missing"]:
        row.points = 0.0
        name = verdict["missing"][0]
        row.reason = f"no cell defines {name}"
        for number, source in sources.items():
            if re.search(rf"\b(?:def|class)\s+{name}\b|^{name}\s*=", source, flags=re.MULTILINE):
                row.reason = f"the cell of {name}: {verdict['errors'].get(str(number), 'defines something else')}"
    words = exercise.may_call()
    needless = [name for name in verdict["called"] if name not in allowed and not words & set(name.split(".")[-2:])]
    if needless and verdict["passed"]:
        row.points, row.by_hand = 0.0, True
        row.reason = f"calls {', '.join(needless[:3])}, which the exercise does not name"
    if verdict["changed"]:
        row.points, row.by_hand = 0.0, True
        row.reason = f"changes {', '.join(verdict['changed'][:3])} during the test"
    elif verdict["changed_before"] and row.points:
        row.by_hand = True
        row.reason = f"changes {', '.join(verdict['changed_before'][:3])} (undone before the test)"


def grade(
    student: str,
    assignment: str,
    nb: NotebookNode,
    remark: str,
    context: tuple[Any, Guard, list[Exercise], list[str], dict[str, set[str]], float, bool],
) -> list[Row]:
    """All exercises of one submission."""
    shell, guard, exercises, setup, allowed, timeout, show_hidden = context
    tests = {exercise.test_id for exercise in exercises}
    place = {about(cell).get("grade_id"): number for number, cell in enumerate(nb.cells)}
    sources = {
        number: cell.source for number, cell in enumerate(nb.cells)
        if cell.cell_type == "code" and about(cell).get("grade_id") not in tests and cell.source not in setup
    }  # fmt: skip
    skipped: dict[int, str] = {}
    rows = []
    for exercise in exercises:
        row = Row(student, assignment, exercise.name, 0.0, exercise.points)
        rows.append(row)
        if not exercise.test:
            answer = nb.cells[place[exercise.name]].source if exercise.name in place else ""
            row.by_hand, row.reason = True, f"{TO_MARK}{' '.join(answer.split()) or 'no answer'}"
            continue
        end = place.get(exercise.test_id, len(nb.cells))
        verdict: dict[str, Any] = {}
        while not verdict:
            cells = {number: text for number, text in sources.items() if number < end and number not in skipped}
            verdict, guilty = run(shell, cells, exercise, guard, timeout)
            if guilty is not None and "passed" not in verdict and guilty in cells:
                skipped[guilty], verdict = verdict["reason"], {}
        if "errors" in verdict:
            verdict["errors"] |= {str(number): why for number, why in skipped.items()}
        decide(row, exercise, verdict, sources, allowed.get(exercise.name, set()), show_hidden)
        mine = [text for text in sources.values() if set(defined(text)) & set(exercise.names)]
        if row.points and (found := re.search(SUSPICIOUS, "\n".join(mine))):
            row.by_hand, row.reason = True, f"uses {found[0]}: look at the answer"
        if row.points and STORED_RUNS in exercise.solution and not re.search(TRAINS, "\n".join(mine)):
            row.by_hand, row.reason = True, "gives numbers, but neither trains nor reads recorded runs"
        if remark:
            row.reason = f"{row.reason} ({remark})".strip()
    return rows


def grade_assignment(pipe: Connection, course: Path, assignment: str, students: list[str], options: Any) -> None:
    """A process for one assignment: setup once, then a forked process for each submission, `jobs` at a time."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    source = nbformat.read(course / "source" / assignment / f"{assignment}.ipynb", as_version=4)
    exercises, setup = exercises_of(source), setup_of(source)
    config = Config()
    config.HistoryManager.enabled = False  # it would start a thread
    shell = InteractiveShell.instance(config=config)
    shell.enable_gui = lambda gui=None: None  # %matplotlib inline
    for cell in setup:
        shell.run_cell(cell, silent=True).raise_error()
    imported = [node for cell in setup for node in ast.walk(ast.parse(re.sub(r"^[%!].*", "", cell, flags=re.M)))]
    roots = {alias.name for node in imported if isinstance(node, ast.Import) for alias in node.names}
    roots |= {str(node.module) for node in imported if isinstance(node, ast.ImportFrom)}
    guard = Guard({root.partition(".")[0] for root in roots} | {"builtins", "math"})

    # what the solutions call is allowed; they must pass, else nobody is graded
    allowed: dict[str, set[str]] = {}
    ids = [about(cell).get("grade_id") for cell in source.cells]
    code = {i: cell.source for i, cell in enumerate(source.cells) if about(cell).get("solution")}
    for exercise in exercises:
        if exercise.test:
            before = {i: text for i, text in code.items() if i < ids.index(exercise.test_id)}
            verdict, _ = run(shell, before, exercise, guard, options.timeout)
            if not verdict.get("passed"):
                pipe.send_bytes(json.dumps({"broken": f"{exercise.name}: {verdict['reason']}"}).encode())
                return
            allowed[exercise.name] = set(verdict["called"])
    context = (shell, guard, exercises, setup, allowed, options.timeout, options.show_hidden)

    def rows_of(student: str) -> list[Row]:
        folder = course / "submitted" / student / assignment
        nb, remark = read(folder, assignment) if folder.is_dir() else (None, "not submitted")
        if nb is None:
            by_hand = folder.is_dir()
            return [Row(student, assignment, exercise.name, 0.0, exercise.points, by_hand, remark)
                    for exercise in exercises]  # fmt: skip
        return grade(student, assignment, nb, remark, context)

    def child(out: Connection, student: str) -> None:
        out.send_bytes(json.dumps([asdict(row) for row in rows_of(student)]).encode())

    for rows in in_turns(child, students, options.jobs):
        pipe.send_bytes(json.dumps(rows).encode())


def in_turns(work: Callable[[Connection, str], None], items: list[str], jobs: int) -> Iterator[list[dict[str, Any]]]:
    """The results of `work` in forked processes, as they come; a process that fails counts as its item's result."""
    waiting, running = list(items), {}
    while waiting or running:
        while waiting and len(running) < jobs:
            ours, theirs = FORK.Pipe()
            process = FORK.Process(target=work, args=(theirs, waiting[0]))
            process.start()
            theirs.close()
            running[ours] = (process, waiting.pop(0))
        for ready in wait(list(running)):
            assert isinstance(ready, Connection)
            process, item = running.pop(ready)
            try:
                yield json.loads(ready.recv_bytes())
            except EOFError:
                yield [asdict(Row(item, "", "", 0.0, 0.0, True, "the grader failed on this submission"))]
            process.join()


# ------------------------------------------------------------------------------------------ what a teacher gets


def with_marks(course: Path, table: pd.DataFrame) -> pd.DataFrame:
    """The table with what the teacher has entered in COURSE/marks.csv: student,assignment,exercise,points,comment."""
    marks = course / "marks.csv"
    if not marks.exists():
        return table
    keys = ["student", "assignment", "exercise"]
    given = pd.read_csv(marks, dtype=dict.fromkeys([*keys, "comment"], str), keep_default_na=False).set_index(keys)
    if unknown := sorted(set(given.index) - set(table.set_index(keys).index)):
        sys.exit(f"{marks} marks {', '.join(unknown[0])}, which is not in the course")
    for key, mark in given.iterrows():
        rows = (table[keys] == list(key)).all(axis=1)
        table.loc[rows, ["points", "by_hand", "reason"]] = [float(mark.points), False, str(mark.comment)]
    return table


def write(course: Path, table: pd.DataFrame, guides: dict[str, dict[str, str]]) -> None:
    """The CSV, the list for the teacher with the marking guide, and each student's feedback."""
    table.to_csv(course / "grades.csv", index=False)
    lines = ["# To look at by hand", "", "Enter marks in marks.csv (student,assignment,exercise,points,comment)."]
    for (assignment, exercise), rows in table[table.by_hand].groupby(["assignment", "exercise"], sort=False):
        lines += ["", f"## {assignment}, {exercise} ({rows['of'].iloc[0]:g} points)"]
        if guide := guides.get(assignment, {}).get(exercise):
            lines += ["", *(f"> {line}" for line in guide.strip().splitlines())]
        lines += ["", *(f"- {row.student} ({row.points:g}): {row.reason}" for row in rows.itertuples())]
    (course / "by_hand.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for (student, assignment), rows in table.groupby(["student", "assignment"]):
        folder = course / "feedback" / str(student)
        folder.mkdir(parents=True, exist_ok=True)
        text = [f"# {assignment}: {rows.points.sum():g} of {rows.of.sum():g} points", ""]
        for row in rows.itertuples():
            seen = "your teacher looks at this answer" if row.by_hand else row.reason
            text.append(f"- {row.exercise}: {row.points:g} of {row.of:g}" + (f". {seen}" if seen else ""))
        (folder / f"{assignment}.md").write_text("\n".join(text) + "\n", encoding="utf-8")


def summary(table: pd.DataFrame) -> str:
    """Who got how many points, below it every exercise that lost some or is to be looked at, with the reason."""
    points = table.pivot_table(index="student", columns="assignment", values="points", aggfunc="sum")
    to_mark = table.reason.str.startswith(TO_MARK)
    lost = table[((table.points < table.of) | table.by_hand) & ~to_mark]
    lines = [points.assign(total=points.sum(axis=1)).to_string(float_format="{:g}".format), ""]
    for (student, assignment), rows in lost.groupby(["student", "assignment"]):
        if len(rows) > 1 and rows.reason.nunique() == 1:
            first = {"exercise": "all of these", "points": rows.points.sum(), "of": rows.of.sum()}
            rows = rows.head(1).assign(**first)
        for row in rows.itertuples():
            mark = "  BY HAND" if row.by_hand else ""
            lines.append(
                f"{student}  {assignment}  {row.exercise}  {row.points:g}/{row.of:g}{mark}  {row.reason[:200]}"
            )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """0 also where submissions could not be read: the table names them; 1 where an assignment is broken itself."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("assignments", nargs="*", metavar="ASSIGNMENT", help="all of the course without it")
    parser.add_argument("--course", type=Path, default=Path("course"), metavar="FOLDER", help="the course (course)")
    parser.add_argument("--jobs", type=int, default=2, help="submissions at a time (2)")
    parser.add_argument("--timeout", type=float, default=20, metavar="SECONDS", help="of computing, per exercise (20)")
    parser.add_argument("--show-hidden", action="store_true", help="name the line of a hidden test that fails")
    options = parser.parse_args(arguments)
    kernels.clean()
    os.environ |= {"OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    course = options.course.resolve()
    there = sorted(path.name for path in (course / "source").glob("*") if path.is_dir())
    chosen = options.assignments or [
        name for name in there if any((course / "submitted").glob(f"*/{name}"))
    ]  # fmt: skip
    if unknown := sorted(set(chosen) - set(there)):
        sys.exit(f"no assignment {unknown[0]} in {course / 'source'}; run `make assignments` first")
    students = sorted(path.name for path in (course / "submitted").glob("*") if path.is_dir())
    if not students or not chosen:
        sys.exit(f"no submissions in {course / 'submitted'}: put them in STUDENT/ASSIGNMENT/ASSIGNMENT.ipynb")
    rows, broken = [], 0
    for assignment in chosen:
        ours, theirs = FORK.Pipe()
        process = FORK.Process(target=grade_assignment, args=(theirs, course, assignment, students, options))
        process.start()
        theirs.close()
        with contextlib.suppress(EOFError):
            while True:
                message = json.loads(ours.recv_bytes())
                if isinstance(message, dict):
                    print(f"{assignment} is broken: its own solution fails its test. {message['broken']}")
                    broken = 1
                else:
                    rows += [{**row, "assignment": assignment} for row in message]
        process.join()
        if process.exitcode:
            print(f"{assignment} could not be graded: its setup fails")
            broken = 1
    if rows:
        table = pd.DataFrame(rows).sort_values(["student", "assignment"], kind="stable")
        table = with_marks(course, table)
        sources = {name: nbformat.read(course / "source" / name / f"{name}.ipynb", as_version=4) for name in chosen}
        guides = {
            name: {exercise.name: f"{exercise.text}\n\n{exercise.solution}" for exercise in exercises_of(nb)}
            for name, nb in sources.items()
        }
        write(course, table, guides)
        print(summary(table))
        words = table.reason.str.startswith(TO_MARK)
        print(f"\n{course / 'grades.csv'}: {len(students)} students. In by_hand.md: {int(words.sum())} answers in")
        print(f"words to mark, and {int((table.by_hand & ~words).sum())} others to look at.")
    return broken


if __name__ == "__main__":
    sys.exit(main())
