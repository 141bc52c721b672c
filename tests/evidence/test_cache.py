"""The table of claims is shown as it was last computed, and computed again whenever anything changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from paperlib import files
from paperlib.errors import PaperlibError
from paperlib.evidence import cache, claims
from paperlib.evidence.rows import Row


@pytest.fixture
def computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    """A small edition around the real table, which counts in this list what is computed."""
    table = claims.rows()
    for path in ("data/recorded/relu/sample/a.jsonl", "data/recorded/SHA256SUMS", "paperlib/experiments/declared.py",
                 "paperlib/evidence/claims.toml", "paperlib/evidence/decide.py"):  # fmt: skip
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    monkeypatch.setattr(files, "ROOT", tmp_path)
    monkeypatch.setattr(cache, "CODE", tmp_path / "paperlib")
    monkeypatch.setattr(cache, "PLACE", tmp_path / "build" / "claims.json")
    made = list[Row]()
    monkeypatch.setattr(claims, "rows", lambda: (made.append(table[0]), table)[1])
    return made


def test_what_was_computed_is_read_again(computed: list[Row]) -> None:
    first, again, section = cache.rows(), cache.rows(), cache.rows("7")
    assert len(computed) == 1 and first == again
    assert section == [row for row in first if row.section == "7" or row.id == "S1-d.2"]
    with pytest.raises(PaperlibError, match="no section '9.9'"):
        cache.rows("9.9")


CHANGES: dict[str, Callable[[Path], object]] = {
    "a record": lambda root: (root / "data/recorded/relu/sample/a.jsonl").write_text("other"),
    "a new record": lambda root: (root / "data/recorded/relu/sample/b.jsonl").write_text(""),
    "a lost record": lambda root: (root / "data/recorded/relu/sample/a.jsonl").unlink(),
    "the lists beside the records": lambda root: (root / "data/recorded/SHA256SUMS").write_text("other"),
    "a declaration": lambda root: (root / "paperlib/experiments/declared.py").write_text("other"),
    "claims.toml": lambda root: (root / "paperlib/evidence/claims.toml").write_text("other"),
    "the code": lambda root: (root / "paperlib/evidence/decide.py").write_text("other"),
    "a new module": lambda root: (root / "paperlib/evidence/other.py").write_text(""),
    "a name": lambda root: (root / "paperlib/evidence/decide.py").rename(root / "paperlib/evidence/decided.py"),
    "the cache, damaged": lambda root: cache.PLACE.write_text("{"),
    "the cache, of another form": lambda root: cache.PLACE.write_text(
        json.dumps(json.loads(cache.PLACE.read_text()) | {"rows": [{"id": "S0-a"}]})
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_any_change_renews_it(what: str, computed: list[Row], tmp_path: Path) -> None:
    before = cache.rows()
    CHANGES[what](tmp_path)
    assert cache.rows() == before and len(computed) == 2
    assert cache.rows() == before and len(computed) == 2


@pytest.mark.parametrize("library", ["torch", "numpy", "scipy"])
def test_so_does_another_version_of_what_computes(
    library: str, computed: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.rows()
    version = cache.metadata.version
    monkeypatch.setattr(cache.metadata, "version", lambda name: "0" if name == library else version(name))
    cache.rows()
    assert len(computed) == 2


def test_where_nothing_can_be_written_it_is_computed_each_time(computed: list[Row], tmp_path: Path) -> None:
    (tmp_path / "build").write_text("a file in the place of the folder")
    assert cache.rows() == cache.rows() and len(computed) == 2
