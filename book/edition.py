"""What the web edition adds to Sphinx: pages of claims and experiments, anchors of claims, words for pictures."""

from __future__ import annotations

import shutil
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from docutils import nodes
from myst_nb.core.render import NbElementRenderer
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from paperlib.evidence import claims, decide, store
from paperlib.experiments import declared
from paperlib.experiments.form import Experiment

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    "Read": ["book/claims", "book/results", "book/limits"],
    "Notebooks": ["book/notebooks", *(f"notebooks/{path.stem}" for path in sorted(ROOT.glob("notebooks/*.ipynb")))],
    "Run": ["book/installing", "book/running", "book/experiments", "book/training", "book/faults", "data/README"],
    "Teach and contribute": [
        "book/teaching",
        "book/students",
        "CONTRIBUTING",
        "CODE_OF_CONDUCT",
        "book/api",
        "book/licences",
        "CHANGELOG",
    ],
}
"""Caption -> pages, as the side bar lists them."""


def add_contents(app: Sphinx, docname: str, source: list[str]) -> None:
    """The first page is README.md, which has no list of pages of its own."""
    if docname == app.config.root_doc:
        source[0] = source[0].replace("(CLAIMS.md)", "(book/claims.md)")
        for caption, pages in PAGES.items():
            source[0] += f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(pages) + "\n```\n"
    elif docname.startswith("figures/"):
        source[0] = f"---\norphan: true\n---\n{source[0]}"


def escape_bars(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """In docstrings |x| is an absolute value and no substitution."""
    for number, line in enumerate(lines):
        parts = line.split("``")
        lines[number] = "``".join(part if k % 2 else part.replace("|", r"\|") for k, part in enumerate(parts))


def anchor(claim_id: str) -> str:
    """The id in HTML of the notebook cell that answers a claim."""
    return f"claim-{claim_id.lower().replace('.', '-')}"


def place(experiment: Experiment) -> str:
    """The id in HTML of an experiment at its scale."""
    return f"{experiment.name}-{experiment.scale}"


def add_anchors(app: Sphinx, doctree: nodes.document) -> None:
    """A cell with the tag claim:S3.1-a can be linked to."""
    for node in doctree.findall(nodes.container):
        for name in node.get("classes", []):
            if name.startswith("tag_claim:"):
                node["ids"].append(anchor(name.removeprefix("tag_claim:")))


def with_words(render_image: Any) -> Any:
    """Pictures keep the words that `show(figure, alt)` stored with them; MyST-NB drops them."""

    def render(self: Any, data: Any) -> list[nodes.Element]:
        rendered = render_image(self, data)
        words = data.output_metadata.get(data.mime_type, {}).get("alt")
        for image in (found for node in rendered for found in node.findall(nodes.image)):
            if words:
                image["alt"] = words
        return list(rendered)

    return render


def declared_for(entry: dict[str, Any]) -> list[Experiment]:
    """The experiments with a comparison that bears on a claim."""
    ids = claims.ids_of(entry)
    return [e for e in declared.DECLARED if any(c.claim in ids for c in e.comparisons)]


def code(text: str) -> str:
    """Text in HTML, with `code` as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))


def link(target: str, text: str) -> str:
    return f'<a href="{escape(target)}">{escape(text)}</a>'


class Claims(SphinxDirective):
    """All claims as a table with filters."""

    def run(self) -> list[nodes.Node]:
        rows = "".join(self.row(entry) for entry in claims.entries())
        heads = "".join(f"<th>{head}</th>" for head in ("id", "claim", "status", "result, or reason", "evidence"))
        table = f'<table class="table claims"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
        below = f"<p>{escape(claims.under_the_table())}</p>"
        return [nodes.raw("", f'<div class="claims-filters"></div>{table}{below}', format="html")]

    def row(self, entry: dict[str, Any]) -> str:
        r = claims.row_of(entry)
        told = code(r.result or r.reason) + (f" But: {code(r.caveat)}." if r.caveat else "")
        told += f" {code(claims.command_of(r))}" if r.command else ""
        links = [link(f"../notebooks/{r.notebook}.html#{anchor(r.id)}", r.notebook)]
        links += [link(f"experiments.html#{place(e)}", f"{e.name}, {e.scale}") for e in declared_for(entry)]
        since = " ".join(
            [f"declared {r.declared};" * bool(r.declared), f"first run {r.first_run}" * bool(r.first_run)]
        ).strip()
        cells = {
            "id": "<br>".join(map(escape, claims.ids_of(entry))),
            "claim": escape(r.claim),
            "status": f'<span class="status">{escape(r.said)}</span> {escape(claims.evidence_of(r))}',
            "result": told,
            "evidence": "<br>".join([*links, *([f"<small>{escape(since)}</small>"] if since else [])]),
        }
        sections = "|".join(claims.sections_of(entry))
        inside = "".join(f'<td data-head="{name}">{cell}</td>' for name, cell in cells.items())
        return f'<tr id="{r.id}" data-status="{escape(r.status)}" data-sections="{sections}">{inside}</tr>'


class Experiments(SphinxDirective):
    """All experiments as they are declared, with their records."""

    def run(self) -> list[nodes.Node]:
        return [
            self.section(title, scale, [self.one(e) for e in group])
            for scale, group in groupby(sorted(declared.DECLARED, key=lambda e: e.scale), lambda e: e.scale)
            for title in [f"Scale {scale}"]
        ]

    def section(self, title: str, name: str, content: list[nodes.Node]) -> nodes.section:
        made = nodes.section("", nodes.title("", title), *content, ids=[name])
        return made

    def one(self, e: Experiment) -> nodes.Node:
        files: dict[str, list[str]] = {}
        for arm, seed, lines in store.records_of(e.name, e.scale):
            path = store.place_of(lines[0]).relative_to(store.RECORDED).as_posix()
            files.setdefault(arm, []).append(link(f"../records/{path}", str(seed)))
        arms = "".join(
            f"<tr><td>{escape(arm)}</td><td>{self.changes(changes)}</td>"
            f"<td>{', '.join(map(str, e.planned_seeds(arm)))}</td>"
            f"<td>{' '.join(files.get(arm, [])) or 'none yet'}</td></tr>"
            for arm, changes in e.arms.items()
        )
        heads = "".join(f"<th>{h}</th>" for h in ("arm", "changes", "seeds declared", "records (seed)"))
        compared = "".join(f"<li>{self.comparison(e, c)}</li>" for c in e.comparisons)
        commit = decide.declarations().get(f"{e.name}/{e.scale}", "")
        since = f"<p>Declared in commit {commit}.</p>" if commit else ""
        table = (
            '<div class="pst-scrollable-table-container" tabindex="0">'
            f'<table class="table"><thead><tr>{heads}</tr></thead><tbody>{arms}</tbody></table></div>'
        )
        html = f"<p>{escape(e.title)}.</p>{since}{table}<ul>{compared}</ul>"
        return self.section(e.name, place(e), [nodes.raw("", html, format="html")])

    @staticmethod
    def changes(changes: dict[str, Any]) -> str:
        return "<br>".join(f"<code>{escape(f'{key} = {value}')}</code>" for key, value in changes.items()) or "nothing"

    @staticmethod
    def comparison(e: Experiment, c: Any) -> str:
        verdicts = [v for v in decide.verdicts_of(e.name, e.scale) if v.comparison == c]
        said = f": {claims.result_in_words(verdicts[0])}, {verdicts[0].status}" if verdicts else ": not run yet"
        claim = f"{link(f'claims.html#{c.claim}', c.claim)}, " if c.claim else ""
        return f"{claim}{escape(c.arms + ', ' + c.metric.replace('_', ' ') + said)}"


class Api(SphinxDirective):
    """Every module of the library, from its docstrings."""

    def run(self) -> list[nodes.Node]:
        modules = sorted(
            path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
            for path in (ROOT / "paperlib").rglob("*.py") if path.stem != "__main__"
        )  # fmt: skip
        lines = []
        for name in modules:
            lines += [name, "-" * len(name), "", f".. automodule:: {name}"]
            # what commands take is in `paperlib -h`
            bare = (ROOT / name.replace(".", "/")).is_dir() or name == "paperlib.cli"
            lines += ["", ""] if bare else ["   :members:", ""]
        return list(
            self.parse_text_to_nodes("```{eval-rst}\n" + "\n".join(lines) + "\n```\n", allow_section_headings=True)
        )


def finish(app: Sphinx, failure: Exception | None) -> None:
    """The first page under its usual name, and the records that the page of experiments links to."""
    if failure is None:
        out = Path(app.outdir)
        shutil.copy(out / "README.html", out / "index.html")
        wanted = shutil.ignore_patterns("*.safetensors")
        shutil.copytree(store.RECORDED, out / "records", ignore=wanted, dirs_exist_ok=True)


def setup(app: Sphinx) -> dict[str, Any]:
    NbElementRenderer.render_image = with_words(NbElementRenderer.render_image)  # type: ignore[method-assign]
    for name, directive in (("claims", Claims), ("experiments", Experiments), ("api", Api)):
        app.add_directive(name, directive)
    app.connect("source-read", add_contents)
    app.connect("autodoc-process-docstring", escape_bars)
    app.connect("doctree-read", add_anchors)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
