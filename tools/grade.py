"""Grade a class: every notebook in COURSE/submitted against COURSE/source, one table of who got what and why.

    python tools/grade.py                           all assignments of course/
    python tools/grade.py 04_local_response_norm --course /path/to/course --jobs 4

Writes COURSE/grades.csv (one row per student and exercise), COURSE/totals.csv (one per student), COURSE/by_hand.md
(what a teacher must look at) and COURSE/feedback/STUDENT/ASSIGNMENT.md. Exit code 1 only where an assignment's own
solutions fail its tests.

tools/submissions.py reads what was handed in, tools/judging.py finds the points, each exercise in a forked process of
its own. Linux or macOS. This is fair grading, not a sandbox: run the work of people you do not trust under an account
without secrets, or in a container.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path

import kernels
import nbformat
import pandas as pd
from judging import FORK, TO_MARK, grade_assignment
from submissions import exercises_of

HEADER = "student,assignment,exercise,points,comment"


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
