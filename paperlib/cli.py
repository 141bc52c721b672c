"""The command ``paperlib``: what the machine has, data, runs, records, claims and figures.

Every command imports what it needs when it is called, so that ``--help`` does not wait for torch. What a user can
mend ends in one sentence on stderr and exit code 2, never in a traceback.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from paperlib.errors import PaperlibError
from paperlib.files import needs_checkout, user_path
from paperlib.machine import lacks_memory, usable_streams

USAGE_ERROR: type[Exception] = typer.BadParameter.mro()[1]  # Typer exports no more of Click's errors than this child
PLAIN = {
    "rich_markup_mode": None, "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"], "max_content_width": 120},
}  # fmt: skip

app = typer.Typer(**PLAIN, help="The AlexNet paper, made executable.")  # type: ignore[arg-type]
data_app = typer.Typer(**PLAIN, help="Data sets: which are here, and fetching.")  # type: ignore[arg-type]
app.add_typer(data_app, name="data")


def path(metavar: str, help: str) -> Any:
    """An argument that is a path, in which ``~`` is the home folder."""
    return typer.Argument(metavar=metavar, parser=user_path, help=help)


ScaleName = Literal["sample", "photos", "cifar10", "tinyimagenet", "ilsvrc2012"]
Scale = Annotated[ScaleName, typer.Option(help="Which data, and how large a net.")]
FOLDER = typer.Option("--data", metavar="DIR", parser=user_path, help="Prepared images, or what is above another set.")
OF = typer.Option("--of", metavar="CHECKPOINT", parser=user_path, help="Figures 3 and 4 of one net.")
TIMEOUT = typer.Option(metavar="SECONDS", min=1, help="How long a process waits for another.")
DEVICE = typer.Option(help="cuda: a GPU for each process (not tried yet).")


def _experiment_names(incomplete: str) -> list[str]:
    from paperlib.experiments import declared

    return [name for name in declared.names() if name.startswith(incomplete)]


NAME = typer.Argument(metavar="EXPERIMENT", help="Name of an experiment.", autocompletion=_experiment_names)


@app.callback(invoke_without_command=True)
def _help(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        from importlib import metadata

        typer.echo(f"paperlib {metadata.version('alexnet-executable-edition')}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def check() -> None:
    """Show whether this machine has what a run needs.

    One line for each thing; the exit code is 1 if one fails.
    """
    from paperlib import check as checks

    found = checks.run_all()
    for line in checks.lines(found):
        typer.echo(line)
    if not checks.passed(found):
        raise typer.Exit(1)


@app.command("list")
def list_(
    experiment: Annotated[str | None, NAME] = None,
    scale: Annotated[ScaleName | None, typer.Option(help="Only this scale.")] = None,
) -> None:
    """List the experiments, or the arms of one, and what is recorded.

    Hours are those of the recorded runs, on one core.
    """
    needs_checkout()
    from paperlib.evidence import store
    from paperlib.experiments import declared
    from paperlib.training import records

    if experiment and (scale or experiment not in declared.names()):
        declared.get(experiment, scale or "sample")  # raises for an unknown one
    heads = ("scale", "arm") if experiment else ("experiment", "scale", "arms")
    table: list[tuple[str, ...]] = [(*heads, "runs", "recorded", "hours", "changes" if experiment else "what")]
    shown = [e for e in declared.DECLARED if scale in (None, e.scale) and experiment in (None, e.name)]
    for one in shown:
        runs = [(arm, lines) for arm, _, lines in store.records_of(one.name, one.scale)]
        for arms in [[arm] for arm in one.arms] if experiment else [list(one.arms)]:
            planned = sum(len(one.planned_seeds(arm)) for arm in arms)
            here = [records.of_kind(lines, "epoch") for arm, lines in runs if arm in arms]
            hours = sum(epochs[-1]["seconds"] for epochs in here if epochs) / 3600
            named = (one.scale, arms[0]) if experiment else (one.name, one.scale, str(len(arms)))
            last = ", ".join(f"{k} = {v}" for k, v in one.arms[arms[0]].items()) if experiment else one.title
            table.append((*named, str(planned), str(len(here)), f"{hours:.1f}", last))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        typer.echo("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())
    for one in shown if experiment else ():
        for line in records.in_parts(lines for _, _, lines in store.records_of(one.name, one.scale)):
            typer.echo(f"{one.scale}: {line}")


@data_app.command("show")
def data_show() -> None:
    """List the data sets: found or not, and where."""
    from paperlib import check
    from paperlib.data import sets

    for name in sets.KNOWN:
        found, where = check.found(name)
        typer.echo(f"{name:<14}{'found' if found else 'not found':<11}{where}")
    place = sets.data_root() / "ilsvrc2012"  # made by `paperlib data prepare`
    typer.echo(f"{place.name:<14}{'found' if (place / 'index.json').exists() else 'not found':<11}{place}")


@data_app.command("fetch")
def data_fetch(name: Annotated[str, typer.Argument(metavar="NAME", help="cifar10 or tinyimagenet")]) -> None:
    """Download a data set and check its checksum."""
    from paperlib.data import sets

    typer.echo(f"{name}: {os.path.relpath(sets.fetch(name))}")


@data_app.command("prepare")
def data_prepare(
    source: Annotated[Path, path("SRC", "ILSVRC-2012, or train/ and val/ by class")],
    destination: Annotated[Path, path("DST", "A new folder, or one to resume")],
    store: Annotated[Literal["jpeg", "raw"], typer.Option(help="How images are kept.")] = "jpeg",
    size: Annotated[int, typer.Option(min=1, metavar="PIXELS", help="Their side.")] = 256,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of the JPEGs.")] = 95,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; one a CPU unless given.")] = None,
    train_only: Annotated[bool, typer.Option("--train-only", help="There are no validation images.")] = False,
) -> None:
    """Scale and cut images as section 2 says, into few files.

    SRC is a folder or the archives. Run the same command to resume what was interrupted.
    """
    from paperlib.data import pack

    bar = sys.stderr.isatty()
    how = {"store": store, "size": size, "quality": quality, "jobs": jobs, "train_only": train_only}
    typer.echo(pack.prepare_folder(source, destination, **how, progress=bar))  # type: ignore[arg-type]


@data_app.command("check")
def data_check(folder: Annotated[Path, path("DIR", "Images made by `data prepare`")]) -> None:
    """Verify every checksum of prepared images."""
    from paperlib.data import packed

    typer.echo(packed.check_folder(folder))


@app.command()
def run(
    scale: Scale,
    experiment: Annotated[str | None, NAME] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every experiment of this scale, without sweeps.")] = False,
    arms: Annotated[str | None, typer.Option(metavar="A,B", help="Only these arms.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Only the first N seeds.", metavar="N")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time, each in one thread.", metavar="N")] = 1,
    missing: Annotated[bool, typer.Option("--missing", help="Skip what is recorded, too.")] = False,
) -> None:
    """Run an experiment; finished runs in runs/ are skipped.

    Run the same command to resume what was interrupted.
    """
    if everything == (experiment is not None):
        raise typer.BadParameter("name one experiment, or give --all", param_hint="EXPERIMENT")
    if everything and arms is not None:
        raise typer.BadParameter("goes with one experiment, not with --all", param_hint="--arms")
    chosen = None if arms is None else [arm.strip() for arm in arms.split(",")]
    if chosen is not None and not all(chosen):
        raise typer.BadParameter("a name is missing beside a comma", param_hint="--arms")
    from paperlib import campaign
    from paperlib.experiments import declared

    # a sweep chose settings that are in the code now: --all leaves it out
    there = [n for n in declared.names(scale) if not declared.get(n, scale).sweep]
    names = there if experiment is None else [experiment]
    for name in names:
        bar = sys.stderr.isatty()
        finished = campaign.run(name, scale, arms=chosen, seeds=seeds, jobs=jobs, missing=missing, progress=bar)
        typer.echo(f"{name}, {scale}: {len(finished)} run{'s' * (len(finished) != 1)} finished")


@app.command()
def train(
    experiment: Annotated[str, NAME],
    arm: Annotated[str, typer.Argument(metavar="ARM", help="One of its arms")],
    scale: Scale,
    seed: Annotated[int | None, typer.Option(help="One of its seeds; the first unless given.")] = None,
    towers: Annotated[int, typer.Option(help="2: each tower is a process of its own, started by torchrun.")] = 1,
    folder: Annotated[Path | None, FOLDER] = None,
    device: Annotated[Literal["cpu", "cuda"], DEVICE] = "cpu",
    precision: Annotated[Literal["fp32", "tf32", "bf16"], typer.Option(help="Only fp32 is evidence.")] = "fp32",
    smoke: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="Only measure the speed for so long; keep nothing.")
    ] = 0.0,
    timeout: Annotated[float, TIMEOUT] = 120.0,
) -> None:
    """Train one run, in this process or as one of torchrun's.

    Processes of one job of torchrun share out each batch.
    """
    from paperlib import campaign

    bar = sys.stderr.isatty()
    ended = campaign.train_declared(
        experiment, arm, scale, seed,
        towers=towers, timeout=timeout, progress=bar, folder=folder, device=device, precision=precision,
        smoke=smoke, say=typer.echo,
    )  # fmt: skip
    if ended is not None:
        typer.echo(f"{experiment}, {scale}, {arm}, {ended}")


@app.command()
def evaluate(
    checkpoint: Annotated[Path, path("CHECKPOINT", "A folder of runs/, or recorded weights")],
    folder: Annotated[Path | None, FOLDER] = None,
    device: Annotated[Literal["cpu", "cuda"], DEVICE] = "cpu",
    timeout: Annotated[float, TIMEOUT] = 120.0,
) -> None:
    """Test a net in one view and in ten: top-1 and top-5 error.

    Under torchrun the processes share out the images.
    """
    from paperlib import campaign

    for line in campaign.evaluate_checkpoint(checkpoint, folder, timeout=timeout, device=device):
        typer.echo(line)


@app.command()
def record(
    scale: Scale,
    experiment: Annotated[str, NAME],
) -> None:
    """Promote finished runs to data/recorded/ (for maintainers)."""
    needs_checkout()
    from paperlib import promote as promoting

    written = promoting.record(experiment, scale)
    for path in written:
        typer.echo(os.path.relpath(path))
    if not written:
        typer.echo(f"{experiment}, {scale}: no finished run that is not recorded already")


@app.command()
def promote(
    pending: Annotated[Path, path("DIR", "Finished records that are not evidence yet")],
) -> None:
    """Promote complete pending experiments (for maintainers).

    They move from DIR to data/recorded/.
    """
    needs_checkout()
    from paperlib import promote as promoting

    moved = promoting.promote(pending)
    typer.echo("\n".join(moved) if moved else f"{os.path.relpath(pending)}: no experiment is complete")


@app.command()
def claims(
    section: Annotated[str | None, typer.Option(metavar="N.N", help="Only this section of the paper.")] = None,
    json: Annotated[bool, typer.Option("--json", help="As a JSON list of objects.")] = False,
) -> None:
    """Show the claims of the paper, each with its computed status."""
    needs_checkout()
    from paperlib.evidence import cache
    from paperlib.evidence import rows as table

    rows = cache.rows(section)
    typer.echo(table.as_json(rows) if json else table.as_text(rows, shutil.get_terminal_size((160, 24)).columns))


@app.command()
def figures(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Only these figures.")] = None,
    of: Annotated[Path | None, OF] = None,
) -> None:
    """Draw the figures from the records, or those of one net.

    Figures and the numbers in them go into figures/, those of one net into build/figures/.
    """
    if names and of:
        raise typer.BadParameter("goes without names of figures", param_hint="--of")
    os.environ["MPLBACKEND"] = "Agg"  # matplotlib refuses to be imported with one that it does not know
    needs_checkout()
    from paperlib.figures import draw

    for path in draw.draw_of(of) if of else draw.draw(names or None):
        typer.echo(os.path.relpath(path))


@app.command()
def agree(scale: Scale = "sample") -> None:
    """Show how far the runs in runs/ agree with the recorded ones."""
    needs_checkout()
    from paperlib.evidence import agreement

    typer.echo(agreement.agreement(scale))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (``sys.argv`` without ``arguments``) and return its exit code.

    0 done · 1 ``check`` found something missing · 2 the user can mend it · 130 interrupted.
    """
    usable_streams()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        os.getcwd()
    except OSError:  # torch would end the process
        return _fail("The working folder is gone: change to another one.", 2)
    try:
        code = app(args=arguments, prog_name="paperlib", standalone_mode=False)
        sys.stdout.flush()
    except USAGE_ERROR as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "paperlib"
        return _fail(error.format_message(), 2, f"Try `{path} --help`.")  # type: ignore[attr-defined]
    except PaperlibError as error:
        return _fail(str(error), 2)
    except (BrokenPipeError, SystemExit) as error:  # `paperlib claims | head`, which Typer turns into an exit
        completed = isinstance(error, SystemExit) and not error.code  # the shell asked for words to complete
        return 0 if completed else _drop_output(141)
    except OSError as error:
        place = f"{error.filename}: " if error.filename is not None else ""
        return _drop_output(_fail(f"{place}{error.strerror or error}.", 2))
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        return _fail("Too little memory: free some, then run the same command to resume.", 2)
    except KeyboardInterrupt:
        code = 130
    if code == 130:
        if arguments is None:  # a second one would print a traceback while Python ends
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        return _fail("Interrupted. Run the same command to resume.", 130)
    return int(code or 0)


def _drop_output(code: int) -> int:
    """Let what cannot be written go, where standard output is full or closed: Python would try again at its exit."""
    try:
        (sys.__stdout__ or sys.stdout).flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return code


def _fail(message: str, code: int, *hints: str) -> int:
    for line in ("paperlib: " + " ".join(message.split()), *hints):
        typer.echo(line, err=True)
    return code
