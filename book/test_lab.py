"""The notebooks in JupyterLab, as a reader opens them: `make test-browser`, after the tests of the web edition.

The server of `make lab` runs on this machine alone, over a copy of the notebooks. One notebook: `-k 04_local`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from posixpath import normpath
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

import pytest
from playwright.sync_api import Page

from book.test_browser import browser  # noqa: F401  a fixture

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted(path.stem for path in ROOT.glob("notebooks/*.ipynb"))
LINE = re.search(r"/jupyter lab (.*)", (ROOT / "Makefile").read_text(encoding="utf-8"))[1].split()
WITH_CONTROLS = [n for n in NOTEBOOKS if "explore(" in (ROOT / f"notebooks/{n}.ipynb").read_text(encoding="utf-8")]
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)  # parts[name](x) is no link
EXPLORE = re.compile(r"^explore\(", re.MULTILINE)


class Lab:
    """A server of JupyterLab for a folder, which the checkout lies in or is."""

    def __init__(self, folder: Path, checkout: str, settings: Path) -> None:
        self.checkout = checkout
        places = {f"JUPYTER_{kind}_DIR": str(settings / kind.lower()) for kind in ("RUNTIME", "CONFIG", "DATA")}
        quiet = [
            "--no-browser",
            "--allow-root",
            "--port=0",
            "--LabApp.expose_app_in_browser=True",
            "--LabApp.news_url=",
        ]
        quiet += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *LINE, *quiet],
            cwd=folder, env=os.environ | places | {"PYTHONPATH": str(ROOT)}, stderr=(settings / "log").open("wb"),
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while not (found := list((settings / "runtime").glob("jpserver-*.json"))):
            assert self.process.poll() is None and time.monotonic() < deadline, (settings / "log").read_text()
            time.sleep(0.2)
        server = json.loads(found[0].read_text(encoding="utf-8"))
        self.url, self.token = server["url"].rstrip("/"), server["token"]

    def has(self, path: str) -> bool:
        """Whether the server shows this file or folder; a path is relative to the checkout."""
        try:
            with urlopen(f"{self.url}/api/contents/{self.checkout}{path}?content=0&token={self.token}"):
                return True
        except HTTPError:
            return False


@pytest.fixture(scope="module", params=["the checkout", "the folder around it"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    checkout = folder / "edition"
    (checkout / "notebooks").mkdir(parents=True)
    for path in ROOT.iterdir():
        if path.name == "notebooks":  # JupyterLab saves what it runs
            for notebook in path.glob("*.ipynb"):
                (checkout / "notebooks" / notebook.name).write_bytes(notebook.read_bytes())
        elif not path.name.startswith("."):
            (checkout / path.name).symlink_to(path)
    inside = request.param == "the checkout"
    made = Lab(checkout if inside else folder, "" if inside else "edition/", tmp_path_factory.mktemp("settings"))
    yield made
    made.process.terminate()
    made.process.wait(60)


@pytest.fixture
def page(browser: Any, lab: Lab) -> Iterator[Page]:  # noqa: F811
    """A page of JupyterLab. In the end nothing may have been asked of another server."""
    made = browser.new_page(viewport={"width": 1280, "height": 900})
    outside: list[str] = []
    made.on("request", lambda r: None if r.url.startswith((lab.url, "data:", "blob:")) else outside.append(r.url))
    made.set_default_timeout(120_000)
    yield made
    made.close()
    assert outside == []


def open_notebook(page: Page, lab: Lab, name: str) -> None:
    page.goto(f"{lab.url}/lab/tree/{lab.checkout}notebooks/{name}.ipynb?reset&token={lab.token}")
    wait_for(page, name)


def wait_for(page: Page, name: str) -> None:
    """Wait until this notebook is the current tab and its kernel is idle."""
    page.wait_for_function(
        "name => { const it = window.jupyterapp?.shell.currentWidget;"
        " return it?.context?.path.endsWith(name + '.ipynb') && it.context.isReady"
        " && it.sessionContext.session?.kernel?.status == 'idle'; }",
        arg=name,
    )


def cells(page: Page) -> list[dict[str, Any]]:
    """The cells of the current notebook, as JupyterLab holds them."""
    return page.evaluate("jupyterapp.shell.currentWidget.content.model.toJSON().cells")


def errors(page: Page) -> list[str]:
    outputs = [out for cell in cells(page) for out in cell.get("outputs", [])]
    return [out["evalue"] for out in outputs if out["output_type"] == "error"]


def run_all(page: Page) -> None:
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")


def test_the_line_of_the_readme_opens_the_first_notebook(page: Page, lab: Lab) -> None:
    if lab.checkout:
        open_notebook(page, lab, NOTEBOOKS[0])
    else:
        page.goto(f"{lab.url}/?token={lab.token}")
        wait_for(page, NOTEBOOKS[0])
    assert page.locator(".jp-Notebook h1").first.inner_text().startswith("00")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_link_of_a_notebook_leads_to_a_file(name: str, lab: Lab) -> None:
    held = json.loads((ROOT / f"notebooks/{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    texts = [CODE.sub("", "".join(cell["source"])) for cell in held if cell["cell_type"] == "markdown"]
    targets = {urlsplit(target) for text in texts for target in LINK.findall(text)}
    inside = {normpath(f"notebooks/{unquote(t.path)}") for t in targets if t.path and not t.scheme}
    assert inside
    assert [path for path in inside if not lab.has(path)] == []


def test_a_link_opens_the_next_notebook(page: Page, lab: Lab) -> None:
    open_notebook(page, lab, "04_local_response_norm")
    page.locator(".jp-Notebook a", has_text="05").first.click()
    wait_for(page, "05_overlapping_pooling")


@pytest.mark.parametrize("lab", ["the checkout"], indirect=True)
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_run_all(name: str, page: Page, lab: Lab) -> None:
    open_notebook(page, lab, name)
    run_all(page)
    assert errors(page) == []
    assert all(cell["execution_count"] for cell in cells(page) if cell["cell_type"] == "code")


@pytest.mark.parametrize("lab", ["the checkout"], indirect=True)
@pytest.mark.parametrize("name", WITH_CONTROLS)
def test_a_slider_draws_the_figure_anew(name: str, page: Page, lab: Lab) -> None:
    open_notebook(page, lab, name)
    run_all(page)
    number = next(n for n, cell in enumerate(cells(page)) if EXPLORE.search(cell["source"]))
    focus(page, number, ".widget-vbox .noUi-handle")
    assert page.locator(".widget-vbox img").count() == 0  # the figure with the default values is above
    page.keyboard.press("ArrowRight")
    focus(page, number, ".widget-vbox img")
    assert errors(page) == []


def focus(page: Page, number: int, selector: str) -> None:
    """Scroll to a cell until it holds what ``selector`` names, and give that the focus.

    Again and again: cells above it get their heights only when they are drawn, and what is out of sight is taken out.
    """
    page.wait_for_function(
        "async ([n, selector]) => { const content = jupyterapp.shell.currentWidget.content;"
        " content.activeCellIndex = n; await content.scrollToItem(n, 'start');"
        " const found = content.widgets[n].node.querySelector(selector); found?.focus(); return found; }",
        arg=[number, selector],
        polling=1000,
    )
