"""Grade a class: every notebook in COURSE/submitted against COURSE/source, one table of who got what and why.

    python tools/grade.py                           all assignments of course/
    python tools/grade.py 04_local_response_norm --course /path/to/course --jobs 4

Writes COURSE/grades.csv (one row per student and exercise), COURSE/totals.csv (one per student), COURSE/by_hand.md
(what a teacher must look at) and COURSE/feedback/STUDENT/ASSIGNMENT.md. Exit code 1 only where an assignment's own
solutions fail its tests.

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
import io
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
import warnings
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
SUSPICIOUS = r"\b(?:_getframe|f_back|f_globals|f_locals|setprofile|settrace|ctypes|gc|inspect|__eq__|__code__)\b"
SUSPICIOUS += r"|(?<![.\w])(?:open|exec)(?=\()|\bread_text\b"
NO_WORDS = ("", "YOUR ANSWER HERE")
IDLE = 5  # times the limit of computing time, an exercise may take by the clock: a busy machine costs nobody points
TO_MARK = "to be marked: "
ABSENT = "not submitted"
HEADER = "student,assignment,exercise,points,comment"
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


# ------------------------------------------------------------------------------------------ within the forked process


def code_of(value: Any) -> types.CodeType | None:
    return value.__code__ if type(value) is types.FunctionType else None


class Guard:
    """What functions and classes of the libraries were before a student's code ran."""

    def __init__(self, roots: set[str]) -> None:
        self.kept: list[tuple[Any, str, Any, Any]] = []
        self.classes: list[tuple[type, set[str]]] = []
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
                    self.classes.append((value, set(vars(value))))

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
        for owner, keys in self.classes:  # an operator that was inherited, such as == of a tensor
            for key in vars(owner).keys() - keys:
                if key.startswith("__") and callable(vars(owner)[key]):
                    delattr(owner, key)
                    changed.append(f"{owner.__module__}.{owner.__name__}.{key}")
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


def made_up(value: Any) -> str:
    """The class of a value, or of one within it, which the student wrote or which equals everything; or nothing."""
    if str(type(value).__module__).partition(".")[0] in ("__main__", "unittest"):
        return type(value).__name__
    within = value.values() if type(value) is dict else value if type(value) in (tuple, list) else ()
    return next(filter(None, map(made_up, within)), "")


def watcher(called: set[str], returned: set[str], library: str) -> Callable[[types.FrameType, str, Any], None]:
    """For `sys.setprofile`: notes functions of the library that code of the student calls, and odd results of it."""

    def watch(frame: types.FrameType, event: str, value: Any) -> None:
        if event == "return" and frame.f_back is not None and frame.f_back.f_code.co_filename == TEST:
            returned.add(made_up(value))
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
    space, returned = {**clean, **names}, set[str]()
    verdict: dict[str, Any] = {"passed": False, "reason": "", "line": 0}
    code = compile(test, TEST, "exec")
    sys.setprofile(watcher(called, returned, library))
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
    odd = sorted(returned - {"", *names})
    return verdict | {"called": sorted(called), "returned": odd, "changed": guard.restore()}


def attempt(
    ends: tuple[Connection, Connection],
    folder: str,
    shell: Any,
    cells: dict[int, str],
    exercise: Exercise,
    guard: Guard,
    seconds: float,
) -> None:
    """The forked process: the student's cells, then the test, which arrives only then, with a word to sign with."""
    graders, pipe = ends
    graders.close()  # so that this process ends where the grader has
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
        process = FORK.Process(target=attempt, args=((ours, theirs), folder, shell, cells, exercise, guard, timeout))
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


def defines(name: str, source: str) -> bool:
    """Whether a cell of any kind seems to define it, also where it is no Python."""
    return bool(re.search(rf"\b(?:def|class)\s+{name}\b|^{name}\s*=(?!=)", source, flags=re.MULTILINE))


def not_found(row: Row, exercise: Exercise, verdict: dict[str, Any], cells: list[NotebookNode]) -> None:
    """Why an answer is missing or empty; a teacher looks where it may be in another place or has another name."""
    name = (verdict["missing"] or exercise.names)[0]
    there = [number for number, cell in enumerate(cells) if defines(name, cell.source)]
    filled = [number for number in there if "raise NotImplementedError" not in cells[number].source]
    others = [defined(cell.source) for cell in cells if about(cell).get("grade_id") == exercise.name]
    if verdict["missing"]:
        row.points, row.reason = 0.0, f"no cell defines {name}"
    failed = [verdict["errors"][str(number)] for number in there if str(number) in verdict["errors"]]
    if verdict["missing"] and failed:
        row.reason = f"the cell of {name}: {failed[-1]}"
    elif filled and (verdict["missing"] or len(filled) < len(there)):
        row.by_hand = True
        row.reason += f" where it is tested, but {name} is in cell {filled[-1] + 1}: look at the answer"
    elif verdict["missing"] and not there and any(others):
        row.by_hand = True
        row.reason += f", but its cell defines {', '.join(others[-1])}: look at the answer"


def decide(
    row: Row,
    exercise: Exercise,
    verdict: dict[str, Any],
    cells: list[NotebookNode],
    allowed: set[str],
    show_hidden: bool,
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
    if verdict["missing"] or row.reason == "left empty":
        not_found(row, exercise, verdict, cells)
    words = exercise.may_call()
    needless = [name for name in verdict["called"] if name not in allowed and not words & set(name.split(".")[-2:])]
    if needless and verdict["passed"]:
        row.points, row.by_hand = 0.0, True
        row.reason = f"calls {', '.join(needless[:3])}, which the exercise does not name"
    if verdict["changed"]:
        row.points, row.by_hand = 0.0, True
        row.reason = f"changes {', '.join(verdict['changed'][:3])} during the test"
    elif verdict["returned"] and row.points:
        row.by_hand, row.reason = True, f"returns a {verdict['returned'][0]}, no number: look at the answer"
    elif verdict["changed_before"] and row.points:
        row.by_hand = True
        row.reason = f"changes {', '.join(verdict['changed_before'][:3])} (undone before the test)"


def nothing(student: str, assignment: str, exercises: list[Exercise], reason: str, by_hand: bool = True) -> list[Row]:
    return [Row(student, assignment, exercise.name, 0.0, exercise.points, by_hand, reason) for exercise in exercises]


def grade(
    student: str,
    assignment: str,
    nb: NotebookNode,
    remark: str,
    context: tuple[Any, Guard, NotebookNode, dict[str, set[str]], float, bool],
) -> list[Row]:
    """All exercises of one submission."""
    shell, guard, source, allowed, timeout, show_hidden = context
    exercises, setup = exercises_of(source), setup_of(source)
    tests = {exercise.test_id for exercise in exercises}
    ids = {about(cell).get("grade_id") for cell in nb.cells} - {None}
    if not ids & {about(cell).get("grade_id") for cell in source.cells} and (
        ids or not any(defines(name, cell.source) for e in exercises for name in e.names for cell in nb.cells)
    ):
        return nothing(student, assignment, exercises, "none of the exercises is in this notebook")
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
            row.by_hand, row.reason = True, f"{TO_MARK}{words_of(nb, source, exercise.name) or 'no answer'}"
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
        decide(row, exercise, verdict, nb.cells, allowed.get(exercise.name, set()), show_hidden)
        ran = "\n".join(text for number, text in sources.items() if number < end)
        if row.points and (found := re.search(SUSPICIOUS, ran)):
            row.by_hand, row.reason = True, f"uses {found[0]}: look at the answer"
        if row.points and STORED_RUNS in exercise.solution and not re.search(TRAINS, ran):
            row.by_hand, row.reason = True, "gives numbers, but neither trains nor reads recorded runs"
        if remark:
            row.reason = f"{row.reason} ({remark})".strip()
    return rows


def grade_assignment(
    pipe: Connection, course: Path, assignment: str, all_: list[str], students: list[str], options: Any
) -> None:
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
        with contextlib.redirect_stdout(io.StringIO()):  # what it shows
            result = shell.run_cell(cell, silent=True)
        result.raise_error()
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
    context = (shell, guard, source, allowed, options.timeout, options.show_hidden)

    def rows_of(student: str) -> list[Row]:
        nb, remark = read(course / "submitted" / student, assignment, all_)
        if nb is None:
            return nothing(student, assignment, exercises, remark, by_hand=remark != ABSENT)
        return grade(student, assignment, nb, remark, context)

    def child(out: Connection, student: str) -> None:
        out.send_bytes(json.dumps([asdict(row) for row in rows_of(student)]).encode())

    for student, rows in in_turns(child, students, options.jobs):
        failed = nothing(student, assignment, exercises, "this submission ended its grader, or the grader failed on it")
        pipe.send_bytes(json.dumps(rows or [asdict(row) for row in failed]).encode())


def in_turns(
    work: Callable[[Connection, str], None], items: list[str], jobs: int
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Each item with the result of `work` in a forked process, as they come; nothing from a process that failed."""
    waiting, running = list(items), {}
    while waiting or running:
        while waiting and len(running) < jobs:
            ours, theirs = FORK.Pipe()
            process = FORK.Process(target=work, args=(theirs, waiting[0]))
            process.start()
            theirs.close()
            running[ours] = (process, waiting.pop(0))
        # a student's process may have ended its parent and hold the pipe's other end: no end of file tells
        ended = [ours for ours, (process, _) in running.items() if not process.is_alive()]
        for ready in wait(list(running), 0 if ended else 1) or ended:
            assert isinstance(ready, Connection)
            process, item = running.pop(ready)
            try:
                yield item, json.loads(ready.recv_bytes()) if ready.poll() else []
            except EOFError:
                yield item, []
            process.join()


# ------------------------------------------------------------------------------------------ what a teacher gets


def with_earlier(course: Path, table: pd.DataFrame) -> pd.DataFrame:
    """The table with what COURSE/grades.csv has of assignments that were not graded now."""
    if not (course / "grades.csv").exists():
        return table
    text = dict.fromkeys(["student", "assignment", "exercise", "reason"], str)
    earlier = pd.read_csv(course / "grades.csv", dtype=text, keep_default_na=False)
    return pd.concat([earlier[~earlier.assignment.isin(table.assignment)], table], ignore_index=True)


def with_marks(course: Path, table: pd.DataFrame) -> pd.DataFrame:
    """The table with what the teacher has entered in COURSE/marks.csv (HEADER)."""
    marks = course / "marks.csv"
    if not marks.exists():
        return table
    keys = ["student", "assignment", "exercise"]
    try:
        given = pd.read_csv(marks, dtype=str, keep_default_na=False).set_index(keys)
        numbers = given.points.astype(float)
    except (AttributeError, KeyError, ValueError) as error:
        sys.exit(f"{marks} cannot be read: {error}. Its first line is {HEADER}, and 2.5 has a point.")
    if unknown := sorted(set(given.index) - set(table.set_index(keys).index)):
        sys.exit(f"{marks} marks {', '.join(unknown[0])}, which is not in the course")
    for (key, mark), points in zip(given.iterrows(), numbers, strict=True):
        rows = (table[keys] == list(key)).all(axis=1)
        table.loc[rows, ["points", "by_hand", "reason"]] = [points, False, mark.get("comment", "")]
    return table


def write(course: Path, table: pd.DataFrame, guides: dict[str, dict[str, str]]) -> None:
    """Two CSV, the list for the teacher with the marking guide, and each student's feedback."""
    one_line = table.reason.str.split().str.join(" ")
    table.assign(reason=one_line).to_csv(course / "grades.csv", index=False)
    totals(table).to_csv(course / "totals.csv")
    lines = ["# To look at by hand", "", f"Enter marks in marks.csv ({HEADER})."]
    for (assignment, exercise), rows in table[table.by_hand].groupby(["assignment", "exercise"], sort=False):
        lines += ["", f"## {assignment}, {exercise} ({rows['of'].iloc[0]:g} points)"]
        if guide := guides.get(assignment, {}).get(exercise):
            lines += ["", *(f"> {line}" for line in guide.strip().splitlines())]
        lines.append("")
        for row in rows.itertuples():
            text = row.reason.replace("\n", "\n  ")
            lines.append(f"- {row.student} ({row.points:g}): {text}")
    (course / "by_hand.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for (student, assignment), rows in table.groupby(["student", "assignment"]):
        folder = course / "feedback" / str(student)
        folder.mkdir(parents=True, exist_ok=True)
        text = [f"# {assignment}: {rows.points.sum():g} of {rows.of.sum():g} points", ""]
        for row in rows.itertuples():
            seen = "your teacher looks at this answer" if row.by_hand else row.reason
            text.append(f"- {row.exercise}: {row.points:g} of {row.of:g}" + (f". {seen}" if seen else ""))
        (folder / f"{assignment}.md").write_text("\n".join(text) + "\n", encoding="utf-8")


def totals(table: pd.DataFrame) -> pd.DataFrame:
    """The points of each student in each assignment and in all."""
    points = table.pivot_table(index="student", columns="assignment", values="points", aggfunc="sum")
    return points.assign(total=points.sum(axis=1))


def summary(table: pd.DataFrame) -> str:
    """Who got how many points, below it every exercise that lost some or is to be looked at, with the reason."""
    to_mark = table.reason.str.startswith(TO_MARK)
    lost = table[((table.points < table.of) | table.by_hand) & ~to_mark]
    lines = [totals(table).to_string(float_format="{:g}".format), ""]
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
    submitted = course / "submitted"
    chosen = options.assignments or [
        name for name in there if any([*submitted.glob(f"*/{name}"), *submitted.glob(f"*/{name}.ipynb")])
    ]
    if unknown := sorted(set(chosen) - set(there)):
        sys.exit(f"no assignment {unknown[0]} in {course / 'source'}; run `make assignments` first")
    students = sorted(path.name for path in submitted.glob("[!._]*") if path.is_dir())
    if not students or not chosen:
        sys.exit(f"no submissions in {submitted}: put them in STUDENT/ASSIGNMENT/ASSIGNMENT.ipynb")
    if loose := sorted(path.name for path in submitted.glob("[!._]*") if path.is_file()):
        print(f"not graded, as they are in no student's folder: {', '.join(loose)}\n")
    rows, broken = [], 0
    for assignment in chosen:
        ours, theirs = FORK.Pipe()
        process = FORK.Process(target=grade_assignment, args=(theirs, course, assignment, there, students, options))
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
        table = with_earlier(course, pd.DataFrame(rows)).sort_values(["student", "assignment"], kind="stable")
        table = with_marks(course, table)
        sources = {
            name: nbformat.read(course / "source" / name / f"{name}.ipynb", as_version=4)
            for name in there if name in set(table.assignment)
        }  # fmt: skip
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
