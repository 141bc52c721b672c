"""``paperlib check``: every line can be [OK] and can fail, each for its own reason."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from paperlib import check
from paperlib.check import Check
from paperlib.data import sets
from paperlib.data.images import DataMissingError


def test_a_line_for_each_and_three_marks() -> None:
    checks = [Check(True, "a", "here"), Check(False, "b", "two\n lines"), Check(None, "c", "gone")]
    assert check.lines(checks) == [
        "[OK]   a             here",
        "[FAIL] b             two lines",
        "[--]   c             gone",
    ]
    assert not check.passed(checks)
    assert check.passed(checks[::2]) and check.passed([])


@pytest.mark.parametrize(
    ("version", "ok"),
    [
        ("3.10.14", False), ("2.7.18", False), ("3.11.0", True), ("3.14.1", True), ("4.0.0", True),
        ("3.15.0rc1", True), ("3.15.0a2+", True), ("3.11.0rc1", True), ("3.10.0rc2+", False),
    ],
)  # fmt: skip
def test_python(version: str, ok: bool) -> None:
    """Also one that is not released yet, which was a crash."""
    found = check.python_version(version)
    assert found.ok is ok and found.detail.startswith(version.rstrip("+"))


def test_the_python_that_runs_this() -> None:
    found = check.python_version()
    assert found.ok and found.detail.startswith(".".join(map(str, sys.version_info[:3])))


def test_packages_of_this_environment() -> None:
    found = check.package_versions()
    assert found.ok, found.detail


def test_packages_missing_old_and_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [
        "numpy>=1",
        "numpy<0.1",
        "not-a-package-of-anybody>=2",
        'also-not; extra == "dev"',
        "pandas; python_version < '3'",
    ]
    monkeypatch.setattr(check.metadata, "requires", lambda name: wanted)
    found = check.package_versions()
    assert found.ok is False
    assert "numpy<0.1 is wanted" in found.detail and "not-a-package-of-anybody>=2 is missing" in found.detail
    assert "numpy>=1 " not in found.detail and "also-not" not in found.detail and "pandas" not in found.detail


def test_packages_where_paperlib_is_not_installed() -> None:
    found = check.package_versions("not-a-package-of-anybody")
    assert found.ok is False and "make env" in found.detail


def test_torch_and_torchvision() -> None:
    import torch
    import torchvision

    assert check.torch_device().ok and torch.__version__ in check.torch_device().detail
    assert check.torchvision_fits().ok and torchvision.__version__ in check.torchvision_fits().detail


def test_a_torchvision_that_does_not_fit_is_a_failed_check(monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.ops  # noqa: F401

    monkeypatch.setitem(sys.modules, "torchvision.ops", None)
    monkeypatch.delattr("torchvision.ops")
    found = {c.name: c for c in check.run_all()}["torchvision"]
    assert found.ok is False and "ops" in found.detail


def test_cores() -> None:
    found = check.cores()
    assert found.ok and 1 <= int(found.detail.split(",")[0]) <= (os.cpu_count() or 1)


def test_memory(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    assert check.memory(3e9, limit).ok and not check.memory(1.9e9, limit).ok
    limit.write_text("max\n")
    assert check.memory(3e9, limit).ok
    limit.write_text("1500000000\n")
    found = check.memory(3e9, limit)
    assert found.ok is False and found.detail.startswith("1.5 GB")
    assert float(check.memory(limit_file=tmp_path / "none").detail.split()[0]) > 0


def test_disk(tmp_path: Path) -> None:
    assert check.disk(tmp_path, 2e9).ok and not check.disk(tmp_path, 0.9e9).ok
    assert float(check.disk(tmp_path / "not" / "yet").detail.split()[0]) >= 0


def test_write_access_leaves_nothing_behind(tmp_path: Path) -> None:
    assert check.writable(tmp_path / "a" / "runs").ok
    assert check.writable(tmp_path).ok
    assert list(tmp_path.iterdir()) == []


def test_no_write_access(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    found = check.writable(tmp_path / "file" / "runs")
    assert found.ok is False and "PAPERLIB_RUNS" in found.detail and str(tmp_path) in found.detail

    def read_only(**kwargs: Any) -> None:  # not by permissions, which do not bind root
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(check.tempfile, "NamedTemporaryFile", read_only)
    found = check.writable(tmp_path)
    assert found.ok is False and "Read-only file system" in found.detail


def test_embedded_data_are_needed_and_others_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAPERLIB_DATA", str(tmp_path))
    place = sets.where("cifar10")[-1]
    place.mkdir()
    found = {c.name: c for c in check.data_sets()}
    assert list(found) == ["sample", "photos", "cifar10", "tinyimagenet"]
    assert found["sample"].ok and found["sample"].detail == "10,000 + 2,000 images, embedded"
    assert found["photos"].ok
    assert (found["cifar10"].ok, found["cifar10"].detail) == (True, str(place))
    assert found["tinyimagenet"].ok is None
    assert all(str(place) in found["tinyimagenet"].detail for place in sets.where("tinyimagenet"))
    assert check.passed(found.values())


def test_damaged_embedded_data_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(name: str) -> None:
        raise DataMissingError(f"{name} is damaged: restore it")

    monkeypatch.setattr(sets, "load", damaged)
    found = [c for c in check.data_sets() if c.name in check.EMBEDDED]
    assert [c.ok for c in found] == [False, False] and "sample is damaged: restore it" in found[0].detail


def test_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAPERLIB_DATA", str(tmp_path / "data"))
    found = check.run_all(tmp_path / "runs")
    names = [
        "Python",
        "packages",
        "torch",
        "torchvision",
        "cores",
        "memory",
        "disk",
        "write access",
        "sample",
        "photos",
    ]
    assert [c.name for c in found][: len(names)] == names
    assert {c.name: c.ok for c in found[len(names) :]} == {"cifar10": None, "tinyimagenet": None, "records": True}
    assert list(tmp_path.iterdir()) == []


def test_records_that_are_missing_fail_the_check(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded.mkdir()
    (recorded / "SHA256SUMS").write_text(f"{'0' * 64}  relu/sample/2012-relu-seed0.jsonl\n")
    monkeypatch.setattr(check, "data_sets", lambda: [])
    last = check.run_all(recorded)[-1]
    assert (last.name, last.ok) == ("records", False) and "2012-relu-seed0.jsonl of the 1 files" in last.detail


def test_a_check_that_breaks_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ImportError("libgomp.so.1: cannot open shared object file")

    monkeypatch.setattr(check, "torch_device", broken)
    found = {c.name: c for c in check.run_all(tmp_path)}
    assert found["torch"].ok is False and "libgomp" in found["torch"].detail
    assert found["Python"].ok and found["sample"].ok
