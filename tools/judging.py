"""The points of one submission, for tools/grade.py: each exercise in a forked process of its own, limited and watched.

The setup cells run once. The process has the student's cells in order, then the test of COURSE/source in a namespace
that has nothing of the student's but the answers. So tests, points and metadata of a submission do not matter, and a
cell that ends Python or never ends costs only its own points. Patched functions of the libraries are put back before
the test. An answer that calls functions of `paperlib` which the solution does not call scores nothing and is listed for
the teacher.
"""

from __future__ import annotations

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
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from math import ceil
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from submissions import ABSENT, Exercise, about, defined, exercises_of, read, setup_of, words_of

LIBRARY = "paperlib"
HIDDEN = "### BEGIN HIDDEN TESTS"
TEST = "<test>"
STUDENT = "<ipython-input"  # how IPython names the code of a cell
SUSPICIOUS = r"\b(?:_getframe|f_back|f_globals|f_locals|setprofile|settrace|ctypes|gc|inspect|__eq__|__code__)\b"
SUSPICIOUS += r"|(?<![.\w])(?:open|exec)(?=\()|\bread_text\b"
IDLE = 5  # times the limit of computing time, an exercise may take by the clock: a busy machine costs nobody points
TO_MARK = "to be marked: "
MEMORY = 6 << 30  # bytes that a submission may allocate
FORK = multiprocessing.get_context("fork")


@dataclass
class Row:
    student: str
    assignment: str
    exercise: str
    points: float
    of: float
    by_hand: bool = False
    reason: str = ""


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
