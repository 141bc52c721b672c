"""`make reproduce`: what its core is, and how its pool works. Runs and notebooks have tests elsewhere."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import reproduce
from reproduce import Task

from paperlib.data.known import EMBEDDED
from paperlib.evidence import store
from paperlib.experiments import declared
from paperlib.training import records


def test_the_core_has_the_baseline_and_the_ideas_of_section_3() -> None:
    runs = reproduce.core_runs()
    changed = [declared.get(name, scale).arms[arm] for name, scale, arms in reproduce.CORE for arm in arms]
    assert {} in changed and {scale for _, scale, _ in reproduce.CORE} <= set(EMBEDDED)
    fields = {field for changes in changed for field in changes}
    assert {"model.activation", "model.net", "model.lrn", "model.pool"} <= fields
    assert len({run.name for run in runs}) == len(runs) == 6


def test_all_runs_are_the_first_seeds_of_every_embedded_experiment_once() -> None:
    runs = reproduce.all_runs()
    counted = Counter(run.name for run in runs)
    assert set(counted.values()) == {1} and {run.scale for run in runs} == set(EMBEDDED)
    assert {run.name for run in reproduce.core_runs()} - set(counted) <= {
        "towers, sample: baseline"  # the same run as the one of an experiment that is declared before
    }
    assert not any(declared.get(run.experiment, run.scale).sweep for run in runs)


def test_the_time_of_a_run_is_the_shortest_recorded_one() -> None:
    recorded = [lines for arm, _, lines in store.records_of("relu", "sample") if arm == "2012/relu"]
    shortest = min(records.of_kind(lines, "epoch")[-1]["seconds"] for lines in recorded)
    assert len(recorded) > 1 and reproduce.run_of("relu", "sample", "2012/relu").seconds == shortest


def test_the_pool_does_everything_says_how_long_and_names_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reproduce, "ROOT", tmp_path)
    tasks = [
        Task("short", ("-c", "open('short', 'w')"), 1.0), Task("broken", ("-c", "raise SystemExit('why')"), 9.0),
        Task("a/long", ("-c", "open('long', 'w')"), 20.0),
    ]  # fmt: skip
    assert reproduce.work(tasks, jobs=1) == ["broken"]
    assert (tmp_path / "short").exists() and (tmp_path / "long").exists()
    assert (tmp_path / "build" / "logs" / "broken.log").read_text() == "why\n"
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("[1/3] a/long: ") and "min left" in first
    assert second.startswith("[2/3] broken: FAILED") and third.endswith("about 0.0 min left")
