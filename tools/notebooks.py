"""Execute notebooks from top to bottom, in place or into another folder, and say what each took.

    python tools/notebooks.py                          every notebook, in place: the outputs that are committed
    python tools/notebooks.py 02_relu --jobs 1         only some
    python tools/notebooks.py --to build/notebooks     leave the committed ones as they are

The kernels see what those of the tests see (tools/kernels.py): paperlib's folder, one thread, no progress bars, and
none of the user's settings. What differs from one execution to the next for no reason (times, the Python version)
is stripped from the result. Where a cell fails, its file stays as it was and the exit code is 1.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import resource
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import kernels
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
STRIP = [
    "--keep-output", "--keep-count", "--keep-id",
    "--extra-keys", "cell.metadata.execution metadata.language_info.version",
]  # fmt: skip
"""How nbstripout is called: outputs and counts stay, for nbval compares nothing without them."""
FOLD, FOLD_END = "<details><summary>Model answer</summary>\n\n", "\n\n</details>"


@dataclass(frozen=True)
class Outcome:
    """What executing one notebook took (the kernel's largest memory), and what went wrong if something did."""

    name: str
    seconds: float
    gigabytes: float
    error: str = ""

    def __str__(self) -> str:
        return f"{self.name:<28} {self.seconds:6.1f} s {self.gigabytes:5.2f} GB" + (
            f"  {self.error}" if self.error else ""
        )


def navigation(path: Path) -> str:
    """The line below the opening of a notebook: previous, contents and next, as links, by their titles."""
    there = find([])
    place = there.index(path)

    def link(other: Path, text: str) -> str:
        title = nbformat.read(other, as_version=4).cells[0].source.partition("\n")[0].lstrip("# ")
        return f"[{text.format(title.partition(':')[0].replace(' · ', ' '))}]({other.name})"

    links = [link(there[place - 1], "← {}")] if place else []
    links.append(f"[contents]({there[0].name})")
    links += [link(there[place + 1], "{} →")] if place + 1 < len(there) else []
    return " · ".join(links)


def write_navigation(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Bring that line up to date: the paragraph below the one that follows the title."""
    paragraphs = notebook.cells[0].source.split("\n\n")
    paragraphs = [each for each in paragraphs if "[contents](" not in each]
    notebook.cells[0].source = "\n\n".join([*paragraphs[:2], navigation(path), *paragraphs[2:]])


ANSWER = re.compile(r"^answer\(", re.MULTILINE)  # what a prediction is held against, as a call of paperlib.notebook


def fold_answers(notebook: nbformat.NotebookNode) -> None:
    """Fold answers to exercises and code that prints one: code in JupyterLab and in the book, words everywhere."""
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("solution") or ANSWER.search(cell.source):
            if cell.cell_type == "code":
                cell.metadata["jupyter"] = {"source_hidden": True}
                cell.metadata["tags"] = sorted({*cell.metadata.get("tags", []), "hide-input"})
            elif not cell.source.startswith(FOLD):
                cell.source = f"{FOLD}{cell.source}{FOLD_END}"


def execute(source: Path, target: Path, timeout: int) -> Outcome:
    """Execute ``source`` in its own folder and write it, stripped, to ``target``; its process does nothing else."""
    notebook = nbformat.read(source, as_version=4)
    if source.parent == NOTEBOOKS:
        write_navigation(notebook, source)
        fold_answers(notebook)
    client = NotebookClient(
        notebook,
        timeout=timeout,
        startup_timeout=180,
        kernel_name="python3",
        record_timing=False,
        extra_arguments=["--IPKernelApp.log_level=40"],
        resources={"metadata": {"path": str(source.parent)}},
    )
    start = time.monotonic()
    error = ""
    try:
        client.execute()
    except CellExecutionError as failure:
        error = f"{failure.ename}: {failure.evalue}"
    except (CellTimeoutError, DeadKernelError) as failure:
        error = str(failure)
    seconds = time.monotonic() - start
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if not error:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.stem}.part.ipynb")
        try:
            nbformat.write(notebook, part)
            subprocess.run([sys.executable, "-m", "nbstripout", *STRIP, str(part)], check=True)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    return Outcome(source.name, seconds, largest / 1e9, error)


def find(names: list[str]) -> list[Path]:
    """The notebooks named (``02_relu``, ``notebooks/02_relu.ipynb``), or all; SystemExit where there is none."""
    there = sorted(NOTEBOOKS.glob("[!.]*.ipynb"))  # a hidden one is being written
    if not there:
        sys.exit(f"there are no notebooks in {NOTEBOOKS}")
    if not names:
        return there
    paths = [NOTEBOOKS / f"{Path(name).stem}.ipynb" for name in names]
    for path in paths:
        if not path.is_file():
            sys.exit(f"there is no notebook {path.stem}; the notebooks are {', '.join(p.stem for p in there)}")
    return paths


def main(arguments: list[str] | None = None) -> int:
    """0 where all went through, 1 where one did not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="notebooks; all without it")
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="where the executed ones go; in place without it")
    parser.add_argument("--jobs", type=int, default=2, help="notebooks at a time, each with one thread (2)")
    parser.add_argument("--timeout", type=int, default=1200, metavar="SECONDS", help="of one cell (1200)")
    parser.add_argument("--costs", type=Path, metavar="FILE", help="write seconds and memory of each as CSV")
    options = parser.parse_args(arguments)
    kernels.clean()
    paths = find(options.names)
    # a process for each, so that the memory of its kernel can be read off when it has ended
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(max(1, options.jobs), mp_context=context, max_tasks_per_child=1)
    with pool:
        waiting = [
            pool.submit(execute, path, (options.to or path.parent) / path.name, options.timeout) for path in paths
        ]
        outcomes = []
        for future in waiting:
            outcomes.append(future.result())
            print(outcomes[-1], flush=True)
    if options.costs:
        rows = [f"{outcome.name},{outcome.seconds:.0f},{outcome.gigabytes:.1f}" for outcome in outcomes]
        options.costs.write_text("\n".join(["notebook,seconds,gigabytes", *rows, ""]))
    return int(any(outcome.error for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
