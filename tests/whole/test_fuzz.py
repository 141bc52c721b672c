"""The fuzzer: a short run over all readers, and that it would see what it looks for."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import fuzz
import pytest
from hypothesis import strategies as st

from paperlib.errors import PaperlibError


def test_no_reader_is_crashed_by_a_short_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Each reader refuses some of its files; `make fuzz` tries a million."""
    assert fuzz.main(["--inputs", "1500"]) == 0, capsys.readouterr().out
    table = {line[:24].strip(): line[24:].split() for line in capsys.readouterr().out.splitlines()[1:]}
    for target in fuzz.targets():
        tries, refused, read, crashed = map(int, table[target.name])
        assert tries == refused + read > 0 and crashed == 0
        assert refused or target.name in ("cache", "images", "meta.mat")  # a damaged cache counts as none, and so on
    assert sum(int(row[0].replace(",", "")) for name, row in table.items() if name == "all") >= 1500


def refuses(folder: Path) -> None:
    raise PaperlibError("it is damaged")


def talks(folder: Path) -> None:
    raise PaperlibError("two\nlines")


def raises(folder: Path) -> None:
    raise ValueError(1 / len((folder / "x").read_bytes()))


def dies(folder: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("call", "crash"),
    [(refuses, None), (len, "TypeError"), (talks, "has two lines"), (raises, "ValueError"), (dies, "code -9")],
)
def test_a_crash_is_seen_counted_and_kept(
    call: object, crash: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fuzz, "KEPT", tmp_path / "kept")
    damage = fuzz.edits(b"whole file").map(lambda data: {"x": data or b"1"})
    monkeypatch.setattr(fuzz, "targets", lambda: [fuzz.Target("a reader", {"x": b"whole file"}, damage, call)])
    assert fuzz.main(["--inputs", "20", "--first-round", "7"]) == (crash is not None)
    out = capsys.readouterr().out
    assert "Rounds 7 to " in out and (crash or "0\n") in out
    assert [path.name for path in (tmp_path / "kept").rglob("x")] == ["x"] * (crash is not None)


def test_the_same_round_tries_the_same_files_and_another_round_others(tmp_path: Path) -> None:
    def files(number: int) -> list[bytes]:
        seen: list[bytes] = []
        target = fuzz.Target("x", {"x": b"0123456789"}, fuzz.some_file({"x": b"0123456789"}),
                             lambda folder: seen.append((folder / "x").read_bytes()))  # fmt: skip
        fuzz.tried(target, 30, number, tmp_path / "files")
        return seen

    assert files(1) == files(1) != files(2)


@pytest.mark.parametrize("strategy", [fuzz.edits(b"abc" * 9), fuzz.json_edits({"a": [1, {"b": "c"}], "d": 2.5})])
def test_damage_is_damage(strategy: st.SearchStrategy[object]) -> None:
    found: set[str] = set()
    fuzz.settings(max_examples=60, database=None)(fuzz.given(strategy)(lambda each: found.add(repr(each))))()
    assert len(found) > 20
