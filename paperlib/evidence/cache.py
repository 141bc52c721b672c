"""The table of claims as it was last computed, so that showing it again waits for no torch.

It is used only where nothing that it follows from has changed: records, code with its declarations, claims.toml, and
the versions of Python and of the libraries that compute.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
from collections.abc import Iterable
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from paperlib import files
from paperlib.errors import PaperlibError
from paperlib.evidence.rows import Row, known_section

PLACE = files.ROOT / "build" / "claims.json"
CODE = Path(__file__).resolve().parent.parent


def key(folders: Iterable[Path]) -> str:
    """sha256 over the names and bytes of all files in ``folders``, and over the versions of what computes."""
    digest = hashlib.sha256(platform.python_version().encode())
    for library in ("torch", "numpy", "scipy"):
        digest.update(metadata.version(library).encode())
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"):
            content = path.read_bytes()
            digest.update(f"{path.relative_to(folder)}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()


def rows(section: str | None = None) -> list[Row]:
    """What :func:`paperlib.evidence.claims.rows` gives for the records of the edition, computed only where it must."""
    known_section(section)
    now = key((files.ROOT / "data" / "recorded", CODE))
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # none yet, or damaged
        kept = json.loads(PLACE.read_text(encoding="utf-8"))
        if kept["key"] == now:
            return only([Row.of(each) for each in kept["rows"]], section)
    from paperlib.evidence import claims  # torch

    table = claims.rows()
    with contextlib.suppress(OSError, PaperlibError):  # a folder that nobody may write to
        PLACE.parent.mkdir(parents=True, exist_ok=True)
        content = {"key": now, "rows": [asdict(each) for each in table]}
        files.write_whole(PLACE, json.dumps(content, ensure_ascii=False).encode())
    return only(table, section)


def only(table: list[Row], section: str | None) -> list[Row]:
    """The rows of one section, or all."""
    return [r for r in table if section in (None, r.section, *(place.section for place in r.also))]
