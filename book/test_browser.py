"""The built web edition in a browser, at the width of a desk and of a telephone: `make test-browser`.

It needs Playwright and a Chromium: Debian's, or the one that CHROMIUM names. Nothing is fetched from outside.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from paperlib.evidence import claims

BOOK = Path(__file__).resolve().parent.parent / "build" / "book"
PAGES = sorted(
    path.relative_to(BOOK).as_posix() for path in BOOK.rglob("*.html") if path.relative_to(BOOK).parts[0][0] != "_"
)
WIDTHS = {"desk": 1280, "telephone": 390}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The address at which the book is served, on this machine alone."""
    assert PAGES, "there is no book yet: run `make book`"
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(BOOK))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    assert program, "there is no Chromium: `apt-get install chromium`, or name one in CHROMIUM"
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=program, args=FLAGS)


@pytest.fixture(params=WIDTHS)
def page(request: pytest.FixtureRequest, browser: Browser, site: str) -> Iterator[Page]:
    """A page at one width. In the end nothing may have failed, complained or gone outside."""
    made = browser.new_page(viewport={"width": WIDTHS[request.param], "height": 900}, base_url=site)
    wrong: list[str] = []
    made.on("request", lambda asked: None if asked.url.startswith((site, "data:")) else wrong.append(asked.url))
    made.on("response", lambda answer: wrong.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None)
    made.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    made.on("pageerror", lambda error: wrong.append(str(error)))
    yield made
    made.close()
    assert wrong == []


def open_page(page: Page, name: str) -> None:
    """Load a page and wait until its formulas are drawn."""
    page.goto(f"/{name}")
    page.wait_for_function("!document.querySelector('.math') || document.querySelector('mjx-container')")
    page.evaluate("window.MathJax?.startup?.promise")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole(name: str, page: Page) -> None:
    """Formulas drawn, pictures with words, nothing wider than the window."""
    open_page(page, name)
    assert page.locator("h1").count() >= 1
    assert page.locator(".math").count() <= page.locator("mjx-container").count()
    assert page.locator("mjx-merror").count() == 0
    wordless = (
        "[...document.querySelectorAll('.bd-article img')].filter(i => !i.alt.trim() || /^\\.\\.|png$/.test(i.alt))"
    )
    assert page.evaluate(f"{wordless}.map(i => i.src)") == []
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0


@pytest.mark.parametrize("name", ["index.html", "book/claims.html", "book/results.html", "notebooks/02_relu.html"])
def test_everybody_can_use_it(name: str, page: Page) -> None:
    open_page(page, name)
    found = Axe().run(page).response["violations"]
    serious = [v for v in found if v["impact"] in ("serious", "critical")]
    assert [(v["id"], v["nodes"][0]["html"][:120]) for v in serious] == []


def test_the_filters_of_the_claims(page: Page) -> None:
    open_page(page, "book/claims.html")
    rows, table = page.locator("table.claims tbody tr:visible"), claims.rows()
    assert rows.count() == len(table)
    page.select_option("select[name=section]", "3.1")
    assert rows.count() == len(claims.rows("3.1"))
    page.select_option("select[name=status]", "cited")
    assert rows.count() == len([r for r in claims.rows("3.1") if r.status == "cited"]) > 0
    page.select_option("select[name=section]", "all")
    page.select_option("select[name=status]", "all")
    page.fill("input[name=word]", "dropout")
    assert 0 < rows.count() < len(table)


def test_a_claim_leads_to_its_cell_and_its_experiment(page: Page) -> None:
    for link, target in (("02_relu", "#claim-s3-1-a"), ("relu, sample", "#relu-sample")):
        open_page(page, "book/claims.html")
        page.locator("[id='S3.1-a']").get_by_role("link", name=link, exact=True).click()
        page.wait_for_load_state()
        assert urlsplit(page.url).fragment == target[1:]
        assert page.locator(target).count() == 1


def test_the_search_finds_a_section_of_the_paper(page: Page) -> None:
    page.goto("/search.html?q=local+response+normalization")
    page.wait_for_selector("ul.search li a")
    assert any("normal" in text.lower() for text in page.locator("ul.search li a").all_inner_texts())


class Links(HTMLParser):
    """The targets and ids of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: set[str] = set()
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids |= {value for key in ("id", "name") if (value := found.get(key))}
        self.targets |= {value for key in ("href", "src") if (value := found.get(key))}


def test_no_internal_link_is_broken() -> None:
    known = {path: Links(path.read_text(encoding="utf-8")) for path in (BOOK / name for name in PAGES)}
    broken = []
    for path, links in known.items():
        for target in links.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc or target.startswith(("#pst", "data:")):
                continue
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            fragment = unquote(parts.fragment)
            if not there.exists() or (fragment and there in known and fragment not in known[there].ids):
                broken.append(f"{path.relative_to(BOOK)}: {target}")
    assert broken == []
