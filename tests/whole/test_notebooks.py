"""What every committed notebook must keep to; nbval, which compares the outputs, sees little of it.

A rule is a function from a notebook to a list of complaints. Each is tried here on a notebook that keeps to it and
on one that does not, and then on those in ``notebooks/``.
"""

from __future__ import annotations

import ast
import copy
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import kernels  # tools/kernels.py
import nbformat
import pandas as pd
import pytest
from matplotlib.figure import Figure
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from nbgrader.nbgraderformat import MetadataValidator, ValidationError
from nbgrader.preprocessors import ClearHiddenTests, ClearSolutions

import notebooks as tool  # tools/notebooks.py
from paperlib import notebook
from paperlib.data import sets
from paperlib.errors import PaperlibError
from paperlib.evidence import claims, decide, metrics, store
from paperlib.experiments import declared as experiments_declared
from paperlib.figures import style
from paperlib.training import loop
from tests import tiny

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
OUTLINE = (
    "The claim and a question", "The idea", "From the formula", "The experiment", "The evidence", "Verdict card",
    "What the 2012 code did", "What became of it since", "Exercises", "Notes",
)  # fmt: skip
SERIES = [path for path in NOTEBOOKS if path.stem[:2] != "00"]
SCALES = ("sample", "photos", "cifar10", "tinyimagenet", "ilsvrc2012")


# ------------------------------------------------------------------------------------------ looking at cells


def code_cells(nb: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def first_line(cell: NotebookNode) -> str:
    return cell.source.strip().partition("\n")[0][:60]


def outputs(nb: NotebookNode) -> Iterator[tuple[NotebookNode, NotebookNode]]:
    for cell in code_cells(nb):
        for output in cell.outputs:
            yield cell, output


def python(cell: NotebookNode) -> str:
    """A cell's source with magics and shell lines replaced, so that it parses."""
    return re.sub(r"^(\s*)[%!].*$", r"\1pass", cell.source, flags=re.MULTILINE)


def calls(cell: NotebookNode, name: str) -> list[ast.Call]:
    """Calls of a function or method of this name."""
    found = [node for node in ast.walk(ast.parse(python(cell))) if isinstance(node, ast.Call)]
    return [call for call in found if getattr(call.func, "id", getattr(call.func, "attr", "")) == name]


def headings(nb: NotebookNode, level: int) -> list[str]:
    """Headings of one level in the markdown cells, outside code fences."""
    found = []
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            text = re.sub(r"^```.*?^```", "", cell.source, flags=re.MULTILINE | re.DOTALL)
            found += re.findall(rf"^#{{{level}}} +(.+?) *$", text, flags=re.MULTILINE)
    return found


# ------------------------------------------------------------------------------------------ rules for all notebooks


def valid(nb: NotebookNode) -> list[str]:
    """The format is nbformat's, and every cell has an id of its own."""
    ids = [cell.get("id") for cell in nb.cells]
    if len(set(ids)) < len(ids) or None in ids:
        return ["cell ids are missing or repeated"]
    try:
        nbformat.validate(nb)
    except nbformat.ValidationError as error:
        return [str(error).partition("\n")[0]]
    return []


def executed_in_order(nb: NotebookNode) -> list[str]:
    """Counts are 1 to n; a cell without a count is never compared by nbval."""
    counts = [cell.execution_count for cell in code_cells(nb)]
    return [] if counts == list(range(1, len(counts) + 1)) else [f"execution counts are {counts}"]


def quiet(nb: NotebookNode) -> list[str]:
    """No errors, nothing on stderr (nbval compares it, and a warning names a process id)."""
    wrong = [
        (cell, output.get("name", output.output_type))
        for cell, output in outputs(nb)
        if output.output_type == "error" or output.get("name") == "stderr"
    ]
    return [f"{what} output in {first_line(cell)!r}" for cell, what in wrong]


def repeatable_outputs(nb: NotebookNode) -> list[str]:
    """No SVG (random ids), no progress bars, no addresses of objects, no paths of this machine."""
    wrong = []
    for cell, output in outputs(nb):
        if "image/svg+xml" in output.get("data", {}):
            wrong.append(f"SVG output in {first_line(cell)!r}")
        texts = [output.get("text", "")]
        texts += [text for kind, text in output.get("data", {}).items() if kind.startswith("text/")]
        for text in texts:
            for kind, pattern in {
                "progress bar": r"\d+%\|",
                "address": r"0x[0-9a-fA-F]{6,}",
                "machine path": r"(?<![\w.])/(?:home|root|tmp|work|Users|usr|opt|var)/",
            }.items():
                if re.search(pattern, text):
                    wrong.append(f"{kind} in the output of {first_line(cell)!r}")
    return wrong


def no_trailing_semicolon(nb: NotebookNode) -> list[str]:
    """A final ``;`` hides a value in Jupyter and not in nbval."""
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER, tokenize.DEDENT}
    wrong = []
    for cell in code_cells(nb):
        tokens = tokenize.generate_tokens(io.StringIO(python(cell)).readline)
        last = [token.string for token in tokens if token.type not in skipped][-1:]
        if last == [";"]:
            wrong.append(f"trailing semicolon in {first_line(cell)!r}")
    return wrong


def no_traps(nb: NotebookNode) -> list[str]:
    """Nothing that nbval misjudges: redrawn output, bars, SVG, unknown magics, cells excluded from comparison."""
    wrong = []
    for cell in code_cells(nb):
        found = re.findall(r"clear_output|tqdm|display_id|update_display|figure_formats?\b.*svg", cell.source)
        found += re.findall(r"^\s*(?:%%.*|!.*|%(?!matplotlib inline$).*)$", cell.source, flags=re.MULTILINE)
        found += re.findall(r"#\s*(?:NBVAL_\w+|PYTEST_VALIDATE_IGNORE_OUTPUT)", cell.source)
        found += [tag for tag in tags(cell) if tag.startswith("nbval-") or tag == "raises-exception"]
        wrong += [f"{what.strip()!r} in {first_line(cell)!r}" for what in found]
        if not cell.source.strip():
            wrong.append("an empty code cell")
    return wrong


def described_figures(nb: NotebookNode) -> list[str]:
    """A figure is displayed by ``paperlib.figures.style.show(fig, alt)``, which stores its words beside the picture."""
    wrong = []
    for cell in code_cells(nb):
        for call in calls(cell, "show"):
            if isinstance(call.func, ast.Attribute) and getattr(call.func.value, "id", "") != "plt":
                continue  # a drawing, which has its words with it
            alt = [keyword.value for keyword in call.keywords if keyword.arg == "alt"] + call.args[1:2]
            if not alt or (isinstance(alt[0], ast.Constant) and not str(alt[0].value or "").strip()):
                wrong.append(f"show() without alt text in {first_line(cell)!r}")
        for output in cell.outputs:
            for kind in output.get("data", {}):
                if kind.startswith("image/") and not output.metadata.get(kind, {}).get("alt", "").strip():
                    wrong.append(f"a picture without alt text in {first_line(cell)!r}")
    return wrong


def stripped(nb: NotebookNode) -> list[str]:
    """No metadata that changes from one execution to the next."""
    wrong = [f"execution times in {first_line(cell)!r}" for cell in nb.cells if "execution" in cell.metadata]
    if "version" in nb.metadata.get("language_info", {}):
        wrong.append("the Python version in the notebook's metadata")
    return wrong


def controls_are_extra(nb: NotebookNode) -> list[str]:
    """No control is stored, and none is in a cell that a grader executes."""
    wrong = [f"a control in the output of {first_line(cell)!r}" for cell, output in outputs(nb)
             if any("widget" in kind for kind in output.get("data", {}))]  # fmt: skip
    wrong += ["the state of controls in the notebook's metadata"] if "widgets" in nb.metadata else []
    for cell in code_cells(nb):
        if ("setup" in tags(cell) or "nbgrader" in cell.metadata) and calls(cell, "explore"):
            wrong.append(f"explore() in {first_line(cell)!r}, which graders execute")
    return wrong


RULES: tuple[Callable[[NotebookNode], list[str]], ...] = (
    valid, executed_in_order, quiet, repeatable_outputs, no_trailing_semicolon, no_traps, described_figures, stripped,
    controls_are_extra,
)  # fmt: skip


# ------------------------------------------------------------------------------------------ rules for 01 to 11


def opening(nb: NotebookNode) -> list[str]:
    """The first cell has the title and a line with section, time, memory and scale; then what is learnt and needed."""
    first = nb.cells[0]
    if first.cell_type != "markdown" or not first.source.startswith("# "):
        return ["the first cell does not begin with a title"]
    wrong = []
    wanted = {
        "the section of the paper": r"[Ss]ections? \d|[Aa]bstract",
        "minutes": r"\d\s*(?:min\b|minutes?\b|s\b|seconds\b)",
        "memory": r"\d\s*[GM]B\b",
        "a scale": "|".join(SCALES),
    }
    line = next((line for line in first.source.splitlines()[1:] if line.strip()), "")
    wrong += [
        f"the line below the title lacks {what}" for what, pattern in wanted.items() if not re.search(pattern, line)
    ]
    before = ""
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            before += cell.source.partition("\n## ")[0] + "\n"
        if re.search(r"^## ", cell.source, flags=re.MULTILINE):
            break
    wrong += [
        f"no {words!r} before the first room" for words in ("you will learn", "you need") if words not in before.lower()
    ]
    return wrong


def exercises(nb: NotebookNode) -> list[str]:
    """nbgrader's metadata are consistent, and every exercise has a solution, a test that teaches and a hidden one."""
    try:
        MetadataValidator().validate_nb(copy.deepcopy(nb))
    except ValidationError as error:
        return [str(error).partition("\n")[0]]
    wrong = []
    graded = [cell for cell in code_cells(nb) if "nbgrader" in cell.metadata]
    pending = None  # the solution that has no test yet
    for cell in graded:
        about = cell.metadata.nbgrader
        name = about.grade_id
        if about.solution and not about.grade:
            if pending:
                wrong.append(f"{pending} has no test")
            pending = name
            if not re.search(r"### BEGIN SOLUTION\n(?s:.+)### END SOLUTION", cell.source):
                wrong.append(f"{name} has no solution block")
        elif about.grade and not about.solution:
            if pending is None:
                wrong.append(f"{name} tests no solution")
            pending = None
            visible, mark, hidden = cell.source.partition("### BEGIN HIDDEN TESTS")
            if not mark or "### END HIDDEN TESTS" not in hidden or "assert" not in hidden:
                wrong.append(f"{name} has no hidden tests")
            asserts = [node for node in ast.walk(ast.parse(visible)) if isinstance(node, ast.Assert)]
            if not asserts or any(node.msg is None for node in asserts):
                wrong.append(f"{name} has no visible test with a message")
            if not about.points > 0 or not about.locked:
                wrong.append(f"{name} is not locked or gives no points")
    if pending:
        wrong.append(f"{pending} has no test")
    if not graded:
        wrong.append("there are no exercises")
    return wrong


def student_copy(nb: NotebookNode) -> list[str]:
    """nbgrader's student version has lost every line of every solution and hidden test."""
    student = copy.deepcopy(nb)
    try:
        for preprocessor in (ClearSolutions(), ClearHiddenTests()):
            student, _ = preprocessor.preprocess(student, {})
    except RuntimeError as error:  # a mark without its partner, or in a cell that is no exercise
        return [str(error)]
    left = "\n".join(cell.source for cell in student.cells)
    return [f"{mark} is left" for mark in ("### BEGIN", "### END") if mark in left]


def exercises_stand_alone(nb: NotebookNode) -> list[str]:
    """The exercises, solved, pass in a fresh process that has seen nothing but the cells tagged ``setup``."""
    cells = [cell for cell in code_cells(nb) if "setup" in tags(cell) or "nbgrader" in cell.metadata]
    with tiny.processes().Pool(1) as pool:
        complaint = pool.apply_async(tiny.run_cells, ([cell.source for cell in cells], ROOT / "notebooks")).get(120)
    return [complaint] if complaint else []


def answers_are_folded(nb: NotebookNode) -> list[str]:
    """Who reads an exercise or a prediction does not see its answer: `make notebooks` folds it."""
    folded = copy.deepcopy(nb)
    tool.fold_answers(folded)
    pairs = zip(nb.cells, folded.cells, strict=True)
    return [f"the answer in cell {cell.id} is not folded" for cell, other in pairs if cell != other]


SERIES_RULES: tuple[Callable[[NotebookNode], list[str]], ...] = (opening, exercises, student_copy, answers_are_folded)


# ------------------------------------------------------------------------------------------ rules that make it teach


def section(nb: NotebookNode, name: str) -> list[NotebookNode]:
    """The cells of the section with this heading."""
    cells, inside = [], False
    for cell in nb.cells:
        found = re.findall(r"^## +(.+?) *$", cell.source, flags=re.MULTILINE) if cell.cell_type == "markdown" else []
        if inside or name in found:
            cells.append(cell)
        inside = found[-1] == name if found else inside
    return cells


def markdown_of(cell: NotebookNode) -> list[str]:
    """What a cell says in Markdown: its source, or its outputs."""
    if cell.cell_type == "markdown":
        return [cell.source]
    return [
        output.data["text/markdown"] for output in cell.get("outputs", []) if "text/markdown" in output.get("data", {})
    ]


def has_picture(cell: NotebookNode) -> bool:
    return any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))


def outline(nb: NotebookNode) -> list[str]:
    """The second-level headings are those of DESIGN.md, in their order."""
    found = headings(nb, 2)
    return [] if found == list(OUTLINE) else [f"the headings are {found}"]


MOST_LINES = 15


def short_cells(nb: NotebookNode) -> list[str]:
    """A cell shows one idea; plots and loops belong into the library. Exercises are as long as they must be."""
    long = [cell for cell in code_cells(nb) if "nbgrader" not in cell.metadata and "setup" not in tags(cell)]
    counts = [(cell, sum(bool(line.strip()) for line in cell.source.splitlines())) for cell in long]
    return [f"{n} lines in {first_line(cell)!r}" for cell, n in counts if n > MOST_LINES]


MOST_ROWS = 40


def few_rows(nb: NotebookNode) -> list[str]:
    """Rows of tables that a reader sees without opening anything."""
    rows = 0
    for cell in nb.cells:
        for text in markdown_of(cell):
            text = re.sub(r"<details>.*?</details>|^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
            lines = [line for line in text.splitlines() if line.startswith("|")]
            rows += len(lines) - 2 * sum(bool(re.fullmatch(r"[|\s:-]+", line)) for line in lines)
        for output in cell.get("outputs", []):
            rows += str(output.get("data", {}).get("text/html", "")).count("<tr")
    return [f"{rows} rows of tables are visible"] if rows > MOST_ROWS else []


def displayed_formula(nb: NotebookNode) -> list[str]:
    cells = section(nb, "The idea") + section(nb, "From the formula")
    return [] if any(re.search(r"\$\$.+?\$\$", cell.source, flags=re.DOTALL) for cell in cells) else ["no formula"]


def predict_first(nb: NotebookNode) -> list[str]:
    """A question, then the cell with the figure, then its answer, folded."""
    for place, cell in enumerate(nb.cells):
        if cell.cell_type == "markdown" and "**Predict:**" in cell.source:
            after = nb.cells[place + 1 : place + 5]
            pictures = [i for i, each in enumerate(after) if has_picture(each)]
            answered = [
                i for i, each in enumerate(after) if any("<summary>Answer" in text for text in markdown_of(each))
            ]
            if pictures and answered and answered[-1] >= pictures[0]:
                return []
    return ["no question before a figure with a folded answer after it"]


def live_figure(nb: NotebookNode) -> list[str]:
    return [] if any(map(has_picture, section(nb, "The experiment"))) else ["the experiment has no figure"]


def verdict_card(nb: NotebookNode) -> list[str]:
    """A card computed from the records (:func:`paperlib.notebook.verdict_card`)."""
    texts = [t for cell in section(nb, "Verdict card") if cell.cell_type == "code" for t in markdown_of(cell)]
    words = ("**The paper said:**", "**We found**", "**The number**", "**Take away**")
    return [] if any(all(word in text for word in words) for text in texts) else ["no verdict card"]


def captions(nb: NotebookNode) -> list[str]:
    """Below each picture its conclusion in bold, and its words for who cannot see it."""
    wrong = []
    for cell in filter(has_picture, code_cells(nb)):
        below = [t for t in markdown_of(cell) if re.match(r"\*\*.+?\*\*\n\n<details><summary>This figure in words", t)]
        if len(below) < sum("image/png" in output.get("data", {}) for output in cell.outputs):
            wrong.append(f"a picture without a caption in {first_line(cell)!r}")
    return wrong


def three_to_five(nb: NotebookNode) -> list[str]:
    """Exercises, of which one runs an experiment, and one asks why and is graded by a person."""
    numbers = [
        n for cell in section(nb, "Exercises") for n in re.findall(r"^\*\*(\d)\. ", cell.source, flags=re.MULTILINE)
    ]
    wrong = (
        []
        if numbers == [str(n + 1) for n in range(len(numbers))] and 3 <= len(numbers) <= 5
        else [f"exercises {numbers}"]
    )
    if not any("**Rubric" in cell.source for cell in section(nb, "Exercises")):
        wrong.append("no exercise with a rubric")
    about = [cell.metadata.get("nbgrader", {}) for cell in nb.cells if cell.cell_type == "markdown"]
    if not any(each.get("grade") and each.get("solution") for each in about):
        wrong.append("no question that a person grades")
    return wrong


def messages(nb: NotebookNode) -> list[str]:
    """Tests of exercises, hidden ones too, say what came out and what was expected."""
    wrong = []
    for cell in code_cells(nb):
        about = cell.metadata.get("nbgrader", {})
        if about.get("grade") and not about.get("solution"):
            asserts = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Assert)]
            said = ["" if node.msg is None else ast.unparse(node.msg) for node in asserts]
            if not all("got" in each and "expected" in each for each in said):
                wrong.append(f"{about.grade_id} has an assert that does not say 'got …, expected …'")
    return wrong


LONG_SENTENCE, LONGEST_SENTENCE, LONG_SHARE = 25, 40, 0.1
AVOID = (
    r"\berrs\b", r"rate of learning", r"\bactivit(?:y|ies)\b", r"first weights", r"turns? round", r"leaves? out",
    r"\bstands?\b(?! for|-)", r"tells? of\b", r"\brooms?\b", r"a line a seed", r"go(?:es)? on\b", r"\bso many\b",
    r"for all that\b", r"the arm named first", r"has errors? of guessing", r"\bby heart\b", r"authors[^.]*\bby hand\b",
    r"divided by 10 by hand",
)  # fmt: skip
"""Words of STYLE.md and of the review for which the field has its own; "by hand" is right for a small calculation."""


def sentences(text: str) -> list[str]:
    """The sentences of a text in Markdown; a formula or a piece of code is a word, tables and headings are left out."""
    text = re.sub(r"^```.*?^```|^\|.*?$|^#.*?$|\$\$.*?\$\$", "\n\n", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"`[^`]*`|\$[^$]*\$", "X", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)|<[^>]*>", r"\1", text)
    parts = re.split(r"(?<=[.!?:;])[*_\"”)]*\s+|\n\s*\n|\n\s*(?:[-*]|\d\.) ", text)
    return [part.strip() for part in parts if part.strip()]


def readable(nb: NotebookNode) -> list[str]:
    """Sentences of 25 words at most, as a rule, and the field's words."""
    texts = [cell.source for cell in nb.cells if cell.cell_type == "markdown"]
    found = [sentence for text in texts for sentence in sentences(text)]
    words = [(sentence, len(sentence.split())) for sentence in found]
    wrong = [f"{n} words: {sentence[:70]!r}" for sentence, n in words if n > LONGEST_SENTENCE]
    long = [sentence for sentence, n in words if n > LONG_SENTENCE]
    if len(long) > LONG_SHARE * len(found):
        wrong.append(f"{len(long)} of {len(found)} sentences are long: {[each[:50] for each in long]}")
    shown = [text for cell in nb.cells for text in markdown_of(cell)]
    return wrong + [
        f"{m[0]!r} in {text[max(0, m.start() - 40) : m.end() + 20]!r}"
        for text in shown
        for word in AVOID
        for m in re.finditer(word, text, flags=re.IGNORECASE)
    ]


TEACHING_RULES: tuple[Callable[[NotebookNode], list[str]], ...] = (
    outline, short_cells, few_rows, displayed_formula, predict_first, live_figure, verdict_card, captions,
    three_to_five, messages, readable,
)  # fmt: skip


# ------------------------------------------------------------------------------------------ claims


def tagged_claims(nb: NotebookNode) -> set[str]:
    return {tag.removeprefix("claim:") for cell in nb.cells for tag in tags(cell) if tag.startswith("claim:")}


def answered_claims(stem: str, nb: NotebookNode, answered_in: dict[str, str]) -> list[str]:
    """Tags name rows of the table, and every row (id -> stem of its notebook) of this notebook has a tagged cell."""
    tagged = tagged_claims(nb)
    wrong = [f"claim:{name} is no row of the table" for name in sorted(tagged - answered_in.keys())]
    here = {name for name, notebook in answered_in.items() if notebook == stem}
    return wrong + [f"no cell has the tag claim:{name}" for name in sorted(here - tagged)]


def notebooks_of_claims() -> dict[str, str]:
    """Claim id -> stem of the notebook that answers it, "" where none does."""
    return {
        claim: Path(entry["notebook"]).stem for entry in claims.entries() for claim in claims.ids_of(entry)
    }  # fmt: skip


# ------------------------------------------------------------------------------------------ a notebook that is right


def graded_cell(source: str, name: str, *, solution: bool) -> NotebookNode:
    about = {"grade": not solution, "solution": solution, "locked": not solution, "task": False}
    about |= {"grade_id": name, "schema_version": 3, "cell_type": "code"}
    if not solution:
        about["points"] = 2
    return new_code_cell(source, metadata={"nbgrader": about})


SOLUTION = "def double(x):\n    ### BEGIN SOLUTION\n    return factor * x\n    ### END SOLUTION"
TEST = (
    'assert double(2) == 4, f"got {double(2)}, expected 4"\n### BEGIN HIDDEN TESTS\n'
    'assert double(-3) == -6, f"got {double(-3)}, expected -6"\n### END HIDDEN TESTS'
)


def said(text: str) -> NotebookNode:
    return new_output("display_data", {"text/markdown": text, "text/plain": "<Markdown>"})


def right() -> NotebookNode:
    """A small notebook that keeps to every rule; where a test needs a wrong one, it changes this one."""
    alt = "Two lines that cross at 3; the upper one ends first."
    picture = new_output(
        "display_data", {"image/png": "iVBORw0KGgo=", "text/plain": alt}, metadata={"image/png": {"alt": alt}}
    )
    card = "| S1-a | **The paper said:** two |\n|---|---|\n"
    card += "| **We found** | 2 |\n| **The number** | 2 |\n| **Take away** | 2 |"
    why = {"grade": True, "solution": True, "locked": False, "task": False, "grade_id": "why", "points": 1}
    why |= {"schema_version": 3, "cell_type": "markdown"}
    cells = [
        new_markdown_cell("# Doubling\n\nSection 3.1 · 2 minutes · 0.9 GB · scale: sample"),
        new_markdown_cell("**You will learn** to double. **You need** a number."),
        new_code_cell("%matplotlib inline\nfactor = 2", metadata={"tags": ["setup"]}),
        new_markdown_cell("## The claim and a question\n\n```\n## not a heading\n```"),
        new_markdown_cell("## The idea\n\n$$y = 2x$$"),
        new_markdown_cell("## From the formula"),
        new_code_cell("2 + 2", metadata={"tags": ["claim:S1-a"]}),
        new_markdown_cell("## The experiment\n\n**Predict:** where do the lines cross?"),
        new_code_cell(
            f'show(fig, "{alt}")',
            outputs=[picture, said(f"**They cross.**\n\n{style.folded('This figure in words', alt)}")],
        ),
        new_markdown_cell(style.folded("Answer", "At 3.")),
        new_markdown_cell("## The evidence"),
        new_code_cell("table()", outputs=[said("| a |\n|---|\n| 1 |")]),
        new_markdown_cell("## Verdict card"),
        new_code_cell("card()", outputs=[said(card)]),
        *(new_markdown_cell(f"## {name}") for name in OUTLINE[6:8]),
        new_markdown_cell(
            "## Exercises\n\n**1. Two.** Double.\n\n**2. Try.** Train. **Rubric:** two points.\n\n**3. Why?** Say why."
        ),
        graded_cell(SOLUTION, "double", solution=True),
        graded_cell(TEST, "double-test", solution=False),
        new_markdown_cell("Because.", metadata={"nbgrader": why}),
        new_markdown_cell("## Notes"),
    ]
    nb = new_notebook(cells=cells)
    for count, cell in enumerate(code_cells(nb), 1):
        cell.execution_count = count
    code_cells(nb)[1].outputs = [new_output("execute_result", {"text/plain": "4"}, execution_count=2)]
    tool.fold_answers(nb)
    return nb


@pytest.mark.parametrize(
    "rule", [*RULES, *SERIES_RULES, *TEACHING_RULES, exercises_stand_alone], ids=lambda rule: rule.__name__
)
def test_a_right_notebook_breaks_no_rule(rule: Callable[[NotebookNode], list[str]]) -> None:
    assert rule(right()) == []


def setup(nb: NotebookNode) -> NotebookNode:
    return code_cells(nb)[0]


def with_source(source: str, index: int = 1) -> Callable[[NotebookNode], None]:
    def change(nb: NotebookNode) -> None:
        code_cells(nb)[index].source = source

    return change


def with_output(kind: str, *args: object, **fields: object) -> Callable[[NotebookNode], None]:
    def change(nb: NotebookNode) -> None:
        code_cells(nb)[1].outputs = [new_output(kind, *args, **fields)]

    return change


def with_text(text: str, index: int) -> Callable[[NotebookNode], None]:
    def change(nb: NotebookNode) -> None:
        nb.cells[index].source = text

    return change


def with_tag(tag: str) -> Callable[[NotebookNode], None]:
    return lambda nb: code_cells(nb)[1].metadata.tags.append(tag)


def replacing(old: str, new: str) -> Callable[[NotebookNode], None]:
    def change(nb: NotebookNode) -> None:
        found = [cell for cell in nb.cells if old in cell.source]
        assert found, old
        for cell in found:
            cell.source = cell.source.replace(old, new)

    return change


def grading(index: int, **fields: object) -> Callable[[NotebookNode], None]:
    return lambda nb: code_cells(nb)[index].metadata.nbgrader.update(fields)


WRONG: list[tuple[Callable[[NotebookNode], list[str]], Callable[[NotebookNode], object], str]] = [
    (valid, lambda nb: nb.cells[0].update(cell_type="prose"), "prose"),
    (valid, lambda nb: nb.cells[1].update(id=nb.cells[0].id), "id"),
    (executed_in_order, lambda nb: code_cells(nb)[1].update(execution_count=None), "None"),
    (executed_in_order, lambda nb: code_cells(nb)[1].update(execution_count=7), "7"),
    (quiet, with_output("error", ename="ValueError", evalue="no", traceback=[]), "error"),
    (quiet, with_output("stream", name="stderr", text="a warning"), "stderr"),
    (repeatable_outputs, with_output("display_data", {"image/svg+xml": "<svg/>"}), "SVG"),
    (repeatable_outputs, with_output("stream", name="stdout", text=" 50%|█████     | 1/2"), "progress"),
    (repeatable_outputs, with_output("execute_result", {"text/plain": "<Line at 0x7f6b1c2d>"}), "address"),
    (repeatable_outputs, with_output("stream", name="stdout", text="read /" + "home/me/data"), "path"),
    (repeatable_outputs, with_output("display_data", {"text/html": "<p>/" + "work/x</p>"}), "path"),
    (no_trailing_semicolon, with_source("plot(x)\nplot(x);"), "plot"),
    (no_trailing_semicolon, with_source("plot(1);  # hidden\n# end\n"), "plot"),
    (no_trailing_semicolon, with_source("if True:\n    plot(1);\n"), "semicolon"),
    (no_traps, with_source("from IPython.display import clear_output"), "clear_output"),
    (no_traps, with_source("for x in tqdm(range(3)):\n    pass"), "tqdm"),
    (no_traps, with_source("display(x, display_id='a')"), "display_id"),
    (no_traps, with_source("%config InlineBackend.figure_formats = ['svg']"), "svg"),
    (no_traps, with_source("%timeit 1"), "timeit"),
    (no_traps, with_source("%%time\n1"), "time"),
    (no_traps, with_source("!ls"), "ls"),
    (no_traps, with_source("# NBVAL_IGNORE_OUTPUT\n1"), "NBVAL"),
    (no_traps, with_source("# PYTEST_VALIDATE_IGNORE_OUTPUT\n1"), "PYTEST"),
    (no_traps, with_tag("nbval-skip"), "nbval-skip"),
    (no_traps, with_tag("raises-exception"), "raises-exception"),
    (no_traps, with_source("  \n"), "empty"),
    (described_figures, with_source("show(fig)", 2), "without alt"),
    (described_figures, with_source('show(fig, "")', 2), "without alt"),
    (described_figures, with_source('show(fig, alt=" ")', 2), "without alt"),
    (described_figures, with_source('show(fig, "lines")\nplt.show()', 2), "without alt"),
    (described_figures, lambda nb: code_cells(nb)[2].outputs[0].metadata.clear(), "a picture without alt"),
    (
        described_figures,
        with_output("display_data", {"image/jpeg": "/9j/"}, metadata={"image/jpeg": {"alt": " "}}),
        "a picture",
    ),
    (stripped, lambda nb: nb.cells[2].metadata.update(execution={"iopub.status.busy": "now"}), "times"),
    (stripped, lambda nb: nb.metadata.update(language_info={"name": "python", "version": "3.11.7"}), "version"),
    (opening, with_text("Doubling", 0), "title"),
    (opening, with_text("# Doubling\n\n2 minutes · 0.9 GB · sample", 0), "section"),
    (opening, with_text("# Doubling\n\nSection 3.1 · 0.9 GB · sample", 0), "minutes"),
    (opening, with_text("# Doubling\n\nSection 3.1 · 2 minutes · sample", 0), "memory"),
    (opening, with_text("# Doubling\n\nSection 3.1 · 2 minutes · 0.9 GB", 0), "scale"),
    (opening, replacing("You will learn", "See"), "you will learn"),
    (opening, replacing("You need", "Have"), "you need"),
    (exercises, grading(-1, grade_id="double"), "Duplicate"),
    (exercises, lambda nb: code_cells(nb)[-1].metadata.nbgrader.pop("points"), "points"),
    (exercises, grading(-1, points=0), "points"),
    (exercises, grading(-1, locked=False), "locked"),
    (exercises, replacing("    ### BEGIN SOLUTION\n", ""), "solution block"),
    (exercises, replacing("### BEGIN HIDDEN TESTS\n", ""), "hidden"),
    (exercises, replacing("assert double(-3)", "double(-3)"), "hidden"),
    (exercises, replacing(', f"got {double(2)}, expected 4"', ""), "message"),
    (exercises, lambda nb: nb.cells.pop(-3), "has no test"),
    (exercises, lambda nb: nb.cells.pop(-4), "tests no solution"),
    (exercises, lambda nb: nb.cells.append(graded_cell(SOLUTION, "more", solution=True)), "more has no test"),
    (exercises, lambda nb: nb.cells.insert(-4, graded_cell(SOLUTION, "early", solution=True)), "early has no test"),
    (exercises, lambda nb: [nb.cells.pop(-3), nb.cells.pop(-3)], "no exercises"),
    (answers_are_folded, lambda nb: nb.cells[17].metadata.pop("jupyter"), "is not folded"),
    (answers_are_folded, replacing("<details><summary>Model answer</summary>", ""), "is not folded"),
    (student_copy, with_source("### BEGIN HIDDEN TESTS\nassert True\n### END HIDDEN TESTS"), "non-grade"),
    (student_copy, with_source("### BEGIN SOLUTION\n1\n### END SOLUTION"), "non-solution"),
    (student_copy, replacing("    ### END SOLUTION", ""), "no end"),
    (student_copy, replacing("HIDDEN TESTS", "HIDDEN TEST"), "### BEGIN is left"),
    (outline, replacing("## Verdict card", "## Verdict"), "Verdict"),
    (outline, lambda nb: nb.cells.insert(3, nb.cells.pop(4)), "headings"),
    (outline, lambda nb: nb.cells.append(new_markdown_cell("## Exercises")), "headings"),
    (short_cells, with_source("x = 1\n\n" * 16), "16 lines"),
    (few_rows, with_output("display_data", {"text/markdown": "| a |\n|---|\n" + "| 1 |\n" * 40}), "44 rows"),
    (few_rows, with_output("execute_result", {"text/html": "<tr><td>1</td></tr>" * 41}, execution_count=2), "rows"),
    (few_rows, replacing("## The idea", "| a |\n|---|\n" + "| 1 |\n" * 40 + "## The idea"), "rows"),
    (displayed_formula, replacing("$$y = 2x$$", "$y = 2x$"), "formula"),
    (predict_first, replacing("**Predict:**", "**Where?**"), "question"),
    (predict_first, replacing("<summary>Answer", "<summary>Reply"), "question"),
    (predict_first, lambda nb: nb.cells.insert(8, nb.cells.pop(9)), "question"),
    (live_figure, lambda nb: code_cells(nb)[2].outputs.clear(), "no figure"),
    (live_figure, lambda nb: nb.cells.insert(11, nb.cells.pop(8)), "no figure"),
    (verdict_card, lambda nb: code_cells(nb)[4].outputs.clear(), "card"),
    (verdict_card, lambda nb: nb.cells.insert(10, nb.cells.pop(13)), "card"),
    (captions, lambda nb: code_cells(nb)[2].outputs.pop(), "caption"),
    (captions, lambda nb: code_cells(nb)[2].outputs[1].data.update({"text/markdown": "**They cross.**"}), "caption"),
    (three_to_five, replacing("**3. Why?**", "**Why?**"), "exercises"),
    (three_to_five, replacing("**3. Why?**", "**4. Why?**"), "exercises"),
    (three_to_five, replacing("**Rubric", "**Points"), "rubric"),
    (three_to_five, lambda nb: nb.cells.pop(-2), "person"),
    (messages, replacing("expected 4", "wanted 4"), "double-test"),
    (messages, replacing(', f"got {double(-3)}, expected -6"', ""), "double-test"),
    (readable, replacing("Double.", f"Double {'very ' * 40}fast."), "42 words"),
    (readable, replacing("Double.", f"Double {'very ' * 25}fast. " * 4), "sentences are long"),
    (readable, replacing("Double.", "It errs more."), "errs"),
    (readable, with_output("display_data", {"text/markdown": "Training goes on."}), "goes on"),
    (controls_are_extra, with_output("display_data", {"application/vnd.jupyter.widget-view+json": {}}), "a control"),
    (controls_are_extra, lambda nb: nb.metadata.update(widgets={}), "state of controls"),
    (controls_are_extra, with_source("explore(draw)", 0), "explore()"),
    (exercises_stand_alone, lambda nb: setup(nb).metadata.tags.clear(), "factor"),
    (exercises_stand_alone, replacing("return factor * x", "return 4"), "AssertionError"),
]


@pytest.mark.parametrize(
    ("rule", "change", "complaint"), WRONG, ids=[f"{rule.__name__}-{word}" for rule, _, word in WRONG]
)
def test_each_rule_can_fail(
    rule: Callable[[NotebookNode], list[str]], change: Callable[[NotebookNode], object], complaint: str
) -> None:
    nb = right()
    change(nb)
    assert complaint in " ".join(rule(nb))


def test_every_rule_has_a_notebook_that_breaks_it() -> None:
    assert {rule for rule, _, _ in WRONG} == {*RULES, *SERIES_RULES, *TEACHING_RULES, exercises_stand_alone}


def test_claims_and_tags_must_match() -> None:
    nb = right()
    assert answered_claims("02_relu", nb, {"S1-a": "02_relu", "S1-b": "03_other", "S1-c": ""}) == []
    assert answered_claims("02_relu", nb, {"S1-b": ""}) == ["claim:S1-a is no row of the table"]
    assert answered_claims("02_relu", nb, {"S1-a": "", "S1-b": "02_relu"}) == ["no cell has the tag claim:S1-b"]


# ------------------------------------------------------------------------------------------ what notebooks share


def test_a_table_of_times_is_in_epochs_and_has_no_mean_where_a_run_never_converged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ends = [("dropout", 0, 780.0), ("dropout", 1, 1560.0), ("no dropout", 0, 390.0), ("no dropout", 1, float("nan"))]
    rows = [{"arm": arm, "seed": seed, "status": "done", "steps": 1872, "converged": step} for arm, seed, step in ends]
    epoch = [{"kind": "epoch", "epoch": 1, "step": 78}]
    said: list[str] = []
    monkeypatch.setattr(metrics, "results", lambda name, scale, *wanted: pd.DataFrame(rows)[["arm", "status", *wanted]])
    monkeypatch.setattr(store, "records_of", lambda name, scale: [(arm, seed, epoch) for arm, seed, _ in ends])
    monkeypatch.setattr(notebook, "say", said.append)
    notebook.result_table("converge", "sample", metric="converged")
    assert "mean time to convergence (epochs)" in said[0] and "2 arms</summary>" in said[0]
    assert " | 2 | 15.00 | 10.00, 20.00 |\n" in said[0] and " | 2 | – | 5.00, – |\n" in said[0]
    notebook.result_table("converge", "sample", metric="converged", named=True)
    assert "2 arms, time to convergence</summary>" in said[1]


def test_a_table_of_comparisons_says_how_to_read_what_it_has() -> None:
    """Only the sentences that apply, and the sign as the estimates have it: the first arm is better above 0."""
    times, points, alone = (
        notebook.how_to_read(decide.verdicts_of(name, "sample")) for name in ("relu", "lrn-vgg", "ensemble")
    )
    assert "divided by the first (above 1" in times[0] and "minus" not in times[0]
    assert any("never a size" in line for line in times) and not any("never a size" in line for line in points)
    assert "second arm minus the first (above 0" in points[0] and "divided" not in points[0]
    assert "of the one arm" in alone[0] and "second arm" not in alone[0]
    verdict = decide.verdicts_of("lrn-vgg", "sample")[0]
    frame = metrics.results("lrn-vgg", "sample", "test_error").groupby("arm")["test_error"].mean()
    assert verdict.estimate == pytest.approx(frame["A"] - frame["A-LRN"])
    assert any("weakest" in line for line in times)  # the sigmoid of the sample does not arrive


def test_a_table_of_comparisons_has_both_numbers_of_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    found = decide.verdicts_of("lrn", "sample")[0]
    monkeypatch.setattr(decide, "verdicts_of", lambda name, scale: [replace(found, n_of=(15, 4), df=0)])
    monkeypatch.setattr(notebook, "say", told.append)
    notebook.ratio_table("lrn", "sample")
    assert f"| {found.text} | 15 and 4 | **undecided** (± " in told[0] and "hold together" in told[0]


def test_a_small_net_on_cifar10_is_called_a_proxy() -> None:
    assert style.scale_name("cifar10") == "CIFAR-10 (proxy)"
    assert style.scale_name("cifar10", proxy=False) == "CIFAR-10"
    assert style.scale_name("ilsvrc2012") == "ILSVRC-2012 (proxy)"
    with pytest.raises(PaperlibError, match="stops at no threshold"):
        notebook.result_table("lrn-vgg", "sample", metric="updates")
    assert style.scale_name("sample") == style.scale_name("sample", proxy=False) == "Fashion-MNIST sample (proxy)"


def test_a_short_run_differs_from_the_declared_one_in_what_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "fit", lambda run, data: run)
    images, experiment = sets.load("sample"), experiments_declared.get("size", "sample")
    declared = experiment.run("mlp 640", 0, images.fingerprint)
    short: object = notebook.short_run(experiment, "mlp 640", images, {"augment.crop": False}, epochs=1, window=3)
    recipe, stop = declared.recipe.but(**{"augment.crop": False}), replace(declared.stop, epochs=1, window=3)
    assert short == replace(declared, recipe=recipe, stop=stop) and stop.train_images == 640


def pressed(frequency: float = 1.0, wave: str = "sine") -> style.Drawing:
    """A drawing with two constants to choose, which it says in its words."""
    return style.Drawing(Figure(), pd.DataFrame(), f"{wave} {frequency:g}", "A caption.")


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What explore() displays, drawings by their words."""
    found: list[object] = []
    monkeypatch.setattr(notebook, "display", found.append)
    monkeypatch.setattr(style.Drawing, "show", lambda drawing, caption="": found.append(drawing.alt + caption))
    return found


def test_a_figure_that_can_be_explored_is_drawn_with_its_defaults_and_anew_by_its_controls(
    shown: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PAPERLIB_CONTROLS")
    notebook.explore(pressed, " said", frequency=(0.5, 1.0, 2.0), wave=("sine", "saw"))
    assert shown[0] == "sine 1 said" and len(shown) == 2
    frequency, wave, _ = shown[1].children
    assert frequency.options == (0.5, 1.0, 2.0) and frequency.value == 1.0 and frequency.description == "frequency"
    wave.value = "saw"
    frequency.value = 2.0
    assert shown[2:] == ["saw 1", "saw 2"]


def test_no_control_is_stored_and_without_the_package_a_sentence_says_so(
    shown: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    monkeypatch.delenv("PAPERLIB_CONTROLS")
    notebook.explore(pressed, frequency=(1.0, 2.0))
    assert shown[0] == "sine 1" and "need ipywidgets" in shown[1].data and len(shown) == 2
    monkeypatch.setenv("PAPERLIB_CONTROLS", kernels.FIXED["PAPERLIB_CONTROLS"])
    notebook.explore(pressed, frequency=(1.0, 2.0))
    assert shown[2:] == ["sine 1"]


def shown_by(monkeypatch: pytest.MonkeyPatch, *args: object, **fields: object) -> str:
    """What a verdict card says."""
    told: list[str] = []
    monkeypatch.setattr(notebook, "say", told.append)
    notebook.verdict_card(*args, **fields)
    return told[0]


def test_a_verdict_card_has_the_number_of_the_records_and_what_follows_from_the_outcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    v, row = decide.verdicts("S3.2-c.1")[0], claims.row("S3.2-c.1")
    takes = {v.outcome: "this one", "otherwise": "another"}
    card = shown_by(monkeypatch, "S3.2-c.1", takes)
    assert (
        f"| **We found** | **{row.said}**. {notebook.IN_WORDS[row.outcome]} But: {row.caveat}. |" in card
        and row.claim in card
    )
    assert f"**{v.value}** ({style.scale_name(v.scale, v.proxy)}, n = {v.seeds})" in card and "this one |" in card
    assert "| another |" in shown_by(monkeypatch, "S3.2-a", {"holds": "no", "otherwise": "another"})
    assert "exact" in shown_by(monkeypatch, "S1-c", "x") and "1,093" in shown_by(monkeypatch, "S1-c", "x")


def test_a_verdict_card_has_every_part_of_a_claim_with_its_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the sample's 20 % ReLU is ahead, to the 25 % that the claim names it is open: so the claim is."""
    parts = decide.verdicts("S3.1-b.1")
    assert [v.outcome for v in parts] == ["holds", "undecided"] and claims.row("S3.1-b.1").outcome == "undecided"
    card = shown_by(monkeypatch, "S3.1-b.1", {"undecided": "both", "otherwise": "no"})
    assert all(f"**{v.value}**, {v.word}" in card for v in parts) and "updates to 25 %: " in card and "| both |" in card


def test_a_verdict_card_can_show_a_comparison_beside_its_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    v = decide.verdicts_beside("size", "conv 640 v. mlp 640")[0]
    card = shown_by(monkeypatch, "S1-a", {v.outcome: "so"}, beside="size: conv 640 v. mlp 640")
    assert f"**{v.word}**" in card and v.value in card and "| so |" in card and "beside it" in card


@pytest.mark.usefixtures("recorded")
def test_a_verdict_card_without_records_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for beside in ("", "size: conv 640 v. mlp 640"):
        card = shown_by(monkeypatch, "S3.1-b.1", {"holds": "no", "otherwise": "wait"}, beside=beside)
        assert "planned, not run yet" in card and "wait" not in card


def test_every_status_and_outcome_of_a_card_has_its_sentence() -> None:
    assert {row.outcome or row.status for row in claims.rows()} <= notebook.IN_WORDS.keys()


def test_provenance_counts_the_records_of_all_scales(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(notebook, "say", told.append)
    notebook.provenance("size", "long")
    runs = store.records_of("size", "sample")
    assert f"| size | sample | {decide.declarations()['size/sample']} | {len(runs)} | " in told[0]
    assert runs[0][2][0]["env"]["torch"] in told[0] and "| long | cifar10 | " in told[0]


# ------------------------------------------------------------------------------------------ the tool that executes


@pytest.mark.slow
def test_the_tool_writes_an_executed_and_stripped_copy(tmp_path: Path) -> None:
    source = tmp_path / "doubling.ipynb"
    cells = [new_code_cell("import os\nos.environ['OMP_NUM_THREADS'], os.getcwd()"), new_code_cell("import paperlib")]
    nb = new_notebook(cells=cells, metadata={"language_info": {"name": "python", "version": "2.7"}})
    nbformat.write(nb, source)
    before = source.read_bytes()
    outcome = tool.execute(source, tmp_path / "to" / "doubling.ipynb", timeout=60)
    done = nbformat.read(tmp_path / "to" / "doubling.ipynb", as_version=4)
    assert outcome.error == "" and outcome.seconds > 0 and outcome.gigabytes > 0.01
    # IPython breaks a tuple over lines where the path is long
    assert ast.literal_eval(done.cells[0].outputs[0].data["text/plain"]) == ("1", str(tmp_path))
    assert [cell.id for cell in done.cells] == [cell.id for cell in nb.cells]
    assert valid(done) == executed_in_order(done) == quiet(done) == stripped(done) == []
    assert source.read_bytes() == before
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["doubling.ipynb"]


def test_the_tool_leaves_a_notebook_that_fails_as_it_was(tmp_path: Path) -> None:
    source = tmp_path / "broken.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("1 / 0")]), source)
    before = source.read_bytes()
    outcome = tool.execute(source, source, timeout=60)
    assert "ZeroDivisionError" in outcome.error
    assert source.read_bytes() == before and list(tmp_path.iterdir()) == [source]


def test_the_tool_names_the_notebooks_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "NOTEBOOKS", tmp_path)
    with pytest.raises(SystemExit, match="there are no notebooks"):
        tool.find([])
    (tmp_path / "02_relu.ipynb").touch()
    (tmp_path / "00_claims.ipynb").touch()
    (tmp_path / ".01_dataset.part.ipynb").touch()  # being written
    assert [path.stem for path in tool.find([])] == ["00_claims", "02_relu"]
    assert tool.find(["02_relu", "notebooks/00_claims.ipynb"]) == [
        tmp_path / "02_relu.ipynb",
        tmp_path / "00_claims.ipynb",
    ]
    with pytest.raises(SystemExit, match="no notebook 99_x; the notebooks are 00_claims, 02_relu"):
        tool.find(["99_x"])


def test_the_tool_writes_previous_contents_and_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "NOTEBOOKS", tmp_path)
    for name, title in {"00_claims": "00 · The claims", "01_a": "01 · One: more", "02_b": "02 · Two"}.items():
        first = new_markdown_cell(f"# {title}\n\nSection 1\n\n**You need** nothing.")
        nbformat.write(new_notebook(cells=[first]), tmp_path / f"{name}.ipynb")
    first, middle, last = (tool.navigation(path) for path in sorted(tmp_path.iterdir()))
    assert middle == "[← 00 The claims](00_claims.ipynb) · [contents](00_claims.ipynb) · [02 Two →](02_b.ipynb)"
    assert first == "[contents](00_claims.ipynb) · [01 One →](01_a.ipynb)"
    assert last == "[← 01 One](01_a.ipynb) · [contents](00_claims.ipynb)"
    nb = nbformat.read(tmp_path / "01_a.ipynb", as_version=4)
    for _ in range(2):  # it replaces its own line
        tool.write_navigation(nb, tmp_path / "01_a.ipynb")
        assert nb.cells[0].source == f"# 01 · One: more\n\nSection 1\n\n{middle}\n\n**You need** nothing."


@pytest.mark.slow
@pytest.mark.usefixtures("quick_processes")
def test_the_tool_exits_with_1_where_one_of_several_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, source in {"a": "1 / 0", "b": "1"}.items():
        nbformat.write(new_notebook(cells=[new_code_cell(source)]), tmp_path / f"{name}.ipynb")
    monkeypatch.setattr(tool, "NOTEBOOKS", tmp_path)
    assert tool.main(["--to", str(tmp_path / "to")]) == 1
    assert tool.main(["b", "--to", str(tmp_path / "to"), "--jobs", "1"]) == 0
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["b.ipynb"]


# ------------------------------------------------------------------------------------------ the committed notebooks


def test_there_are_notebooks() -> None:
    assert [path.stem[:2] for path in NOTEBOOKS] == sorted({path.stem[:2] for path in NOTEBOOKS})
    assert all(re.fullmatch(r"\d\d_[a-z0-9_]+", path.stem) for path in NOTEBOOKS)
    assert NOTEBOOKS and NOTEBOOKS[0].stem.startswith("00")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_notebook(path: Path) -> None:
    nb = nbformat.v4.reads(path.read_text(encoding="utf-8"))  # nbformat.read mends what is wrong
    rules = [*RULES, *((*SERIES_RULES, *TEACHING_RULES) if path in SERIES else ())]
    complaints = [f"{rule.__name__}: {complaint}" for rule in rules for complaint in rule(nb)]
    complaints += answered_claims(path.stem, nb, notebooks_of_claims())
    if path in SERIES and tool.navigation(path) not in nb.cells[0].source.split("\n\n"):
        complaints.append("the line of previous, contents and next is missing or stale; execute it again")
    assert complaints == []


@pytest.mark.slow
@pytest.mark.parametrize("path", SERIES, ids=lambda path: path.stem)
def test_committed_exercises_stand_alone(path: Path) -> None:
    nb = nbformat.read(path, as_version=4)
    assert exercises_stand_alone(nb) == []


def test_committed_notebooks_are_stripped_as_the_tool_strips() -> None:
    command = [sys.executable, "-m", "nbstripout", *tool.STRIP, "--verify", *map(str, NOTEBOOKS)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
