"""Fixtures that several files of tests share."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One torch thread, as every recorded run has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def quick_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that the library starts are forked off a small one, in a moment: spawned ones import torch anew."""
    from tests import tiny

    context, real = tiny.processes(), multiprocessing.get_context
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: context if method == "spawn" else real(method))


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[Path]:
    """An empty folder of records, which evidence is read from."""
    from paperlib.evidence import store  # here: most tests need none of this

    with store.using(tmp_path / "recorded") as mine:
        yield mine.folder


@pytest.fixture
def folder(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty ``data/recorded`` and one made-up experiment."""
    from tests.made_up import MADE_UP, declare

    declare(monkeypatch, MADE_UP)
    return recorded
