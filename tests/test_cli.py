"""The command line: what it calls, what it prints, and how it fails. The modules behind it have tests of their own."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

import pytest

from paperlib import campaign, check, cli, promote
from paperlib.data import known, sets
from paperlib.errors import PaperlibError
from paperlib.evidence import agreement, claims
from paperlib.experiments import declared, scales
from paperlib.figures import draw

ROOT = Path(__file__).resolve().parent.parent


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``python -m paperlib`` as a user calls it, from another folder."""
    return subprocess.run(
        [sys.executable, "-m", "paperlib", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT / "tests",
        env={**os.environ, **environment},
    )


def fails(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run in this process; assert exit code 2, silence on stdout and at most three lines on stderr; return these."""
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert 1 <= len(err.splitlines()) <= 3 and "Traceback" not in err
    return err


def recorder(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, result: Any) -> list[tuple[Any, ...]]:
    """Replace a function by one that notes its arguments and returns ``result``."""
    called: list[tuple[Any, ...]] = []

    def call(*args: Any, **kwargs: Any) -> Any:
        called.append((*args, kwargs) if kwargs else args)
        return result

    monkeypatch.setattr(module, name, call)
    return called


# ------------------------------------------------------------------------------------------ usage errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bogus"], "No such command 'bogus'"),
        (["--bogus"], "--bogus"),
        (["check", "--bogus"], "--bogus"),
        (["data"], "Missing command"),
        (["data", "fetch"], "NAME"),
        (["run", "relu"], "--scale"),
        (["run", "--scale", "sample"], "name one experiment, or give --all"),
        (["run", "relu", "--all", "--scale", "sample"], "name one experiment, or give --all"),
        (["run", "--all", "--scale", "sample", "--arms", "a"], "not with --all"),
        (["run", "relu", "--scale", "sample", "--arms", "a,,b"], "comma"),
        (["run", "relu", "--scale", "sample", "--arms", ""], "comma"),
        (["run", "relu", "--scale", "sample", "--seeds", "-1"], "--seeds"),
        (["run", "relu", "--scale", "sample", "--seeds", "0"], "--seeds"),
        (["run", "relu", "--scale", "sample", "--seeds", "two"], "--seeds"),
        (["run", "relu", "--scale", "sample", "--jobs", "0"], "--jobs"),
        (["run", "relu", "--scale", "sample", "more"], "more"),
        (["run", "relu", "--scale", "galaxy"], "galaxy"),
        (["agree", "--scale", "galaxy"], "galaxy"),
        (["train", "relu", "2012/relu", "--scale", "sample", "--device", "tpu"], "tpu"),
        (["record", "--scale", "sample"], "EXPERIMENT"),
        (["claims", "--sections", "3.1"], "--sections"),
        (["figures", "fig3", "--of", "runs/x"], "without names of figures"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_sentence_and_a_hint(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first, hint = fails(arguments, capsys).splitlines()
    assert first.startswith("paperlib: ") and words in first
    assert hint.startswith("Try `paperlib") and hint.endswith(" --help`.")


def test_the_hint_names_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Try `paperlib data fetch --help`." in fails(["data", "fetch"], capsys)


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (["run", "nonsense", "--scale", "sample"], "nonsense"),
        (["run", "--all", "--scale", "ilsvrc2012"], "ilsvrc2012"),
        (["run", "relu", "--scale", "sample", "--arms", "purple"], "purple"),
        (["record", "nonsense", "--scale", "sample"], "nonsense"),
        (["list", "nonsense"], "nonsense"),
        (["list", "long", "--scale", "sample"], "cifar10"),
        (["claims", "--section", "9.9"], "9.9"),
        (["figures", "fig99"], "fig99"),
        (["data", "fetch", "mnist"], "mnist"),
        (["data", "fetch", "sample"], "nothing to fetch"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_unknown_names_are_named(arguments: list[str], wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert wrong in fails(arguments, capsys)


def test_the_same_in_a_process_of_its_own() -> None:
    done = command("run", "relu", "--scale", "sample", "--seeds", "-1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--seeds" in done.stderr and len(done.stderr.splitlines()) <= 3
    done = command("run", "relu", "--scale", "galaxy")
    assert (done.returncode, done.stdout) == (2, "")
    assert "galaxy" in done.stderr and len(done.stderr.splitlines()) <= 3


def test_missing_data_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setenv("PAPERLIB_DATA", str(tmp_path))
    monkeypatch.setenv("PAPERLIB_RUNS", str(tmp_path / "runs"))
    message = fails(["run", "relu", "--scale", "cifar10"], capsys)
    assert "CIFAR-10" in message and str(tmp_path) in message and "paperlib data fetch cifar10" in message
    assert not (tmp_path / "runs").exists()


# ------------------------------------------------------------------------------------------ failures on the way


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (PaperlibError("the data\nare  gone: fetch them"), "paperlib: the data are gone: fetch them", 2),
        (OSError(errno.ENOSPC, "No space left on device", "runs/x"), "paperlib: runs/x: No space left on device.", 2),
        (OSError(errno.EROFS, "Read-only file system"), "paperlib: Read-only file system.", 2),
        (OSError("the disk is odd"), "paperlib: the disk is odd.", 2),
        (
            KeyboardInterrupt(),
            "paperlib: Interrupted. Run the same command to resume.",
            130,
        ),
    ],
    ids=["ours", "full", "read-only", "odd", "interrupt"],
)
def test_what_a_user_can_mend_is_one_line(
    error: BaseException, line: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*args: object, **kwargs: object) -> list[str]:
        raise error

    monkeypatch.setattr(campaign, "run", broken)
    assert cli.main(["run", "relu", "--scale", "sample"]) == code
    assert capsys.readouterr().err.splitlines() == [line]


@pytest.mark.parametrize("line", [["list"], ["data", "show"]])
def test_a_second_interrupt_while_python_ends_changes_nothing(line: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It would print a traceback. A caller of ``main`` in the same process keeps its own handler."""

    def interrupted(*args: object, **kwargs: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", interrupted)
    monkeypatch.setattr(sys, "argv", ["paperlib", *line])
    before = signal.getsignal(signal.SIGINT)
    try:
        assert cli.main(line) == 130 and signal.getsignal(signal.SIGINT) == before
        assert cli.main() == 130
        os.kill(os.getpid(), signal.SIGINT)  # raises here where it is not ignored
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_mistake_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **kwargs: object) -> list[str]:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(campaign, "run", broken)
    with pytest.raises(ZeroDivisionError):
        cli.main(["run", "relu", "--scale", "sample"])


def test_a_reader_that_leaves_early_hears_nothing() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "paperlib", "--help"], stdout=closed, stderr=subprocess.PIPE, text=True
        )
    assert done.stderr == "" and done.returncode != 0


# ------------------------------------------------------------------------------------------ what is called and shown


def test_without_a_command_it_shows_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("check", "data", "run", "record", "claims", "figures", "agree"))


def every_command() -> list[str]:
    return ["", *(f"{c.name or c.callback.__name__}" for c in cli.app.registered_commands if c.callback), "data",
            *(f"data {c.name}" for c in cli.data_app.registered_commands)]  # fmt: skip


@pytest.mark.parametrize("name", every_command())
def test_help_fits_a_narrow_terminal_uncut(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main([*name.split(), "-h"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"Usage: paperlib {name}".rstrip()) and "...\n" not in shown.partition("\n\n")[2]
    assert max(map(len, shown.splitlines())) <= 80


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"paperlib {metadata.version('alexnet-executable-edition')}\n"


def test_the_scales_are_all_there() -> None:
    assert tuple(scales.SCALES) == get_args(cli.ScaleName)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "offered"), [("paperlib da", {"data"}), ("paperlib run lrn", {"lrn", "lrn-factor", "lrn-vgg"})]
)
def test_a_shell_completes_commands_and_experiments(words: str, offered: set[str]) -> None:
    asked = {"_PAPERLIB_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    done = command(**asked)
    assert (done.returncode, set(done.stdout.split())) == (0, offered)


def test_list_counts_arms_and_records(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "--scale", "sample"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(declared.names("sample"))
    (relu,) = [line.split(maxsplit=6) for line in lines if line.startswith("relu ")]
    recorded = len(list((ROOT / "data" / "recorded" / "relu" / "sample").glob("*.jsonl")))
    assert relu[:5] == ["relu", "sample", "6", "30", str(recorded)] and relu[6] == declared.get("relu", "sample").title
    assert cli.main(["list", "relu", "--scale", "sample"]) == 0
    arms = [line.split()[1] for line in capsys.readouterr().out.splitlines()[1:]]
    assert arms == list(declared.get("relu", "sample").arms)


def test_help_does_not_wait_for_torch() -> None:
    script = "import sys; from paperlib.cli import main; main(['--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], stdout=subprocess.DEVNULL).returncode == 0


def test_run_passes_everything_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    called = recorder(monkeypatch, campaign, "run", ["id1", "id2"])
    options = ["--arms", "2012/relu, 2012/tanh", "--seeds", "3", "--jobs", "2", "--missing"]
    assert cli.main(["run", "relu", "--scale", "cifar10", *options]) == 0
    ((name, scale, given),) = called
    assert (name, scale) == ("relu", "cifar10")
    assert given["arms"] == ["2012/relu", "2012/tanh"]
    assert (given["seeds"], given["jobs"], given["missing"]) == (3, 2, True)
    assert capsys.readouterr().out == "relu, cifar10: 2 runs finished\n"


def test_run_without_options_leaves_them_to_the_experiment(monkeypatch: pytest.MonkeyPatch) -> None:
    called = recorder(monkeypatch, campaign, "run", [])
    assert cli.main(["run", "relu", "--scale", "sample"]) == 0
    ((_, _, given),) = called
    assert (given["arms"], given["seeds"], given["jobs"], given["missing"]) == (None, None, 1, False)


def test_run_all_runs_every_experiment_of_the_scale_but_sweeps(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    called = recorder(monkeypatch, campaign, "run", ["id"])
    assert cli.main(["run", "--all", "--scale", "sample", "--jobs", "2"]) == 0
    sweeps = {e.name for e in declared.DECLARED if e.name.endswith("-rates")} - {"own-rates"}
    wanted = [e.name for e in declared.DECLARED if e.scale == "sample" and e.name not in sweeps]
    assert len(wanted) >= 3 and [(name, scale) for name, scale, _ in called] == [(name, "sample") for name in wanted]
    assert capsys.readouterr().out.splitlines() == [f"{name}, sample: 1 run finished" for name in wanted]


@pytest.mark.parametrize(
    ("arguments", "module", "function", "passed_on"),
    [
        (["record", "relu", "--scale", "sample"], promote, "record", ("relu", "sample")),
        (["figures"], draw, "draw", (None,)),
        (["figures", "fig1", "fig2"], draw, "draw", (["fig1", "fig2"],)),
    ],
    ids=["record", "figures", "some figures"],
)
def test_commands_that_write_show_the_paths(
    arguments: list[str],
    module: Any,
    function: str,
    passed_on: tuple[Any, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    called = recorder(monkeypatch, module, function, [Path.cwd() / "a" / "b.png", Path.cwd() / "c.csv"])
    assert cli.main(arguments) == 0
    assert called == [passed_on]
    assert capsys.readouterr().out.splitlines() == [os.path.join("a", "b.png"), "c.csv"]


def test_data_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PAPERLIB_DATA", str(tmp_path))
    (tmp_path / "cifar-10-batches-bin").mkdir()
    assert cli.main(["data", "show"]) == 0
    shown = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert list(shown) == [*known.KNOWN, "ilsvrc2012"] and "not found" in shown["ilsvrc2012"]
    assert shown["cifar10"].split(maxsplit=2) == ["cifar10", "found", str(tmp_path / "cifar-10-batches-bin")]
    assert "not found" in shown["tinyimagenet"] and str(tmp_path) in shown["tinyimagenet"]
    called = recorder(monkeypatch, sets, "fetch", Path.cwd() / "cifar.tar.gz")
    assert cli.main(["data", "fetch", "cifar10"]) == 0
    assert called == [("cifar10",)] and capsys.readouterr().out == "cifar10: cifar.tar.gz\n"


@pytest.mark.parametrize("option", [[], ["--scale", "cifar10"]], ids=["default", "scale"])
def test_agree(option: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    called = recorder(monkeypatch, agreement, "agreement", "all within 0.1 points")
    assert cli.main(["agree", *option]) == 0
    assert called == [(option[-1] if option else "sample",)]
    assert capsys.readouterr().out == "all within 0.1 points\n"


@pytest.mark.parametrize(
    ("found", "code"), [([True, True], 0), ([True, None], 0), ([True, False], 1)], ids=["all", "optional", "failed"]
)
def test_check_fails_only_where_something_needed_is_missing(
    found: list[bool | None], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "run_all", lambda: [check.Check(ok, "thing", "detail") for ok in found])
    assert cli.main(["check"]) == code
    out, err = capsys.readouterr()
    assert err == "" and len(out.splitlines()) == len(found)


# ------------------------------------------------------------------------------------------ the table of claims


def shown(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert cli.main(["claims", *options]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_claims_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(shown(capsys, "--json"))
    assert len(rows) >= 87
    assert [row["id"] for row in rows] == [row.id for row in claims.rows()]
    assert rows == json.loads(json.dumps([dataclasses.asdict(row) for row in claims.rows()]))


def test_claims_are_shown_without_torch(capsys: pytest.CaptureFixture[str]) -> None:
    """As long as nothing has changed since they were computed."""
    computed = shown(capsys)
    code = "import sys; from paperlib import cli; cli.main(['claims']); assert not {'torch', 'scipy'} & {*sys.modules}"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"COLUMNS": "80"}
    )
    assert told.returncode == 0 and told.stderr == ""
    assert [line.split()[0] for line in told.stdout.splitlines() if line] == [
        line.split()[0] for line in computed.splitlines() if line
    ]


def test_claims_of_one_section(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(shown(capsys, "--section", "3.1", "--json"))
    everything = json.loads(shown(capsys, "--json"))
    assert rows and rows == [row for row in everything if row["section"] == "3.1"]


@pytest.mark.parametrize("columns", ["80", "200"])
def test_claims_as_a_table(columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    table = shown(capsys)
    assert all(row.id in table and row.status in " ".join(table.split()) for row in claims.rows("3.1"))


def callbacks() -> list[Callable[..., Any]]:
    return [c.callback for c in (*cli.app.registered_commands, *cli.data_app.registered_commands) if c.callback]


def test_every_command_is_explained() -> None:
    assert len(callbacks()) == 14 and all((callback.__doc__ or "").strip().endswith(".") for callback in callbacks())
