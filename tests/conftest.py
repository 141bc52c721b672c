"""Fixtures that several files of tests share."""

from __future__ import annotations

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
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty ``data/recorded`` and one made-up experiment."""
    from paperlib.evidence import store
    from tests.made_up import MADE_UP, declare  # here: most tests need none of this

    monkeypatch.setattr(store, "RECORDED", tmp_path / "recorded")
    declare(monkeypatch, MADE_UP)
    yield tmp_path / "recorded"
    store.forget()
