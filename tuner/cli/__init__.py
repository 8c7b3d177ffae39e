"""The command line: parses, calls, prints."""

from __future__ import annotations

import gc
import json
import os
import sys
from importlib import import_module
from pathlib import Path
from traceback import format_exc
from typing import Annotated, Any

import typer

from tuner import POSIX_ONLY
from tuner.config.addresses import masked
from tuner.config.text import shortened
from tuner.execution.text import clean
from tuner.plugin import InputError
from tuner.report.terminal import make_console, outlast_readers
from tuner.run.interrupt import StopOnInterrupt

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Tune a method by its score and its clock; freeze the best setting into a script.",
)

ConfigPath = Annotated[Path, typer.Argument(help="The YAML file.", metavar="CONFIG")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="a.b=c", help="Set one key of the file.")
]
AsJson = Annotated[bool, typer.Option("--json", help="End with one JSON object on stdout.")]

out = make_console()
err = make_console(stderr=True)
_verbose = False


def _show_version(wanted: bool) -> None:
    if wanted:
        from tuner import __version__
        from tuner.export.provenance import DISTRIBUTION

        print(f"tuner {__version__} (package {DISTRIBUTION})")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", help="Show the version.", callback=_show_version, is_eager=True
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing on standard error but errors.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="With an error, say where it was raised.")
    ] = False,
) -> None:
    global _verbose
    err.quiet, _verbose = quiet, verbose


@app.command()
def run(  # noqa: PLR0913 - each is an option
    config: ConfigPath,
    trials: Annotated[int | None, typer.Option(min=1, help="Completed trials in all.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Trials at a time.")] = None,
    overrides: Overrides = None,
    new: Annotated[bool, typer.Option("--new", help="Start a new study.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, and show what would be submitted.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a study, or resume it, and freeze its best setting."""
    from tuner.report.console import LiveProgress
    from tuner.run import session

    settings = list(overrides or [])
    settings += [f"study.trials={trials}"] if trials is not None else []
    settings += [f"workers={workers}"] if workers is not None else []
    loaded = _load(config, settings)
    if dry_run:
        from tuner.run.batch import dry_run as describe

        print(describe(loaded, new=new))
        return
    stop = StopOnInterrupt()
    result = session.run(loaded, LiveProgress(err, loaded.objective), stop, new=new)
    if as_json:
        print(json.dumps(result.plain()))
    else:
        from tuner.run.printout import print_result

        print_result(out, result, loaded)
    for problem in result.tracking.problems:
        err.print(f"tracking: {masked(problem)}", highlight=False, markup=False, soft_wrap=True)
    if result.ending == "interrupted":
        err.print(f"stopped; to resume: tuner run {config}", highlight=False, soft_wrap=True)
        raise typer.Exit(130)


@app.command()
def validate(config: ConfigPath, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Check a configuration and show the search space."""
    from rich.table import Table

    from tuner.run.check import check

    loaded = _load(config, list(overrides or []))
    notes = check(loaded, load=True)
    if as_json:
        shown = {"config": loaded.plain(), "search_space": loaded.space.describe()}
        print(json.dumps({**shown, "notes": notes}))
        return
    table = Table(title=f"{loaded.name}: plug-in {loaded.engine.plugin}", title_justify="left")
    for column in ("parameter", "searched over", "fixed at"):
        table.add_column(column)
    for name, entry in loaded.space.describe().items():
        scale = ", log" if entry.get("log") else ""
        across = entry.get("choices") or f"{entry['low']} to {entry['high']}{scale}"
        table.add_row(name, str(across), "")
    for name, value in loaded.space.fixed.items():
        table.add_row(name, "", str(value))
    out.print(table)
    for note in notes:
        _plain(note)
    _plain(f"{config} is valid; objective: {', '.join(loaded.objectives)}")


@app.command()
def best(config: ConfigPath, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Show the best setting of a study, beside the baseline, held out, and what luck gives."""
    from tuner.run import session
    from tuner.run.found import found, plain_summary
    from tuner.run.printout import print_found

    loaded = _say_changes(_load(config, list(overrides or [])))
    name, summary = found(loaded)
    if as_json:
        print(json.dumps({"study": name, **plain_summary(summary)}))
        return
    print_found(out, summary, loaded, session.searched(loaded))
    record = summary.best
    assert record is not None
    metrics = ", ".join(f"{key} {value:.4g}" for key, value in record.metrics.items())
    _plain(f"study '{name}', best of {sum(summary.counts.values())} trials: {metrics}")
    if record.estimate:
        estimates = ", ".join(f"{key} {value:.4g}" for key, value in record.estimate.items())
        _plain(f"times are those of the final timing; the search estimated {estimates}")


@app.command()
def status(config: ConfigPath, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Show how far a study is: from any shell, while it runs and after."""
    from tuner.run.status import lines_of, status_of

    loaded = _load(config, list(overrides or []))
    found = status_of(loaded)
    if as_json:
        print(json.dumps(found.plain()))
        return
    for line in lines_of(found, loaded):
        _plain(line)


@app.command()
def stop(config: ConfigPath, overrides: Overrides = None) -> None:
    """Ask the process that runs a study, on whatever host, to stop as Ctrl-C does."""
    from tuner.run import requests

    _plain(requests.stop(config, list(overrides or [])))


@app.command()
def enqueue(
    config: ConfigPath,
    params: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...")],
    overrides: Overrides = None,
) -> None:
    """Enqueue a trial with these params: a study that runs takes it up, another begins with it."""
    from tuner.run import requests

    _plain(requests.enqueue(_load(config, list(overrides or [])), params))


@app.command()
def export(
    config: ConfigPath,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Default: where the file says.")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Freeze the best setting of a study into a stand-alone script."""
    from tuner.run import session

    loaded = _load(config, list(overrides or []))
    record, path = session.export(loaded, output)
    _say_changes(loaded)
    _plain(f"{path}: trial {record.number} frozen")


@app.command()
def analyse(
    config: ConfigPath,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder.")] = None,
    overrides: Overrides = None,
) -> None:
    """Do what comes after the best setting, as the plug-in has it."""
    from tuner.run import session

    loaded = _say_changes(_load(config, list(overrides or [])))
    record, folder, problems = session.analyse(loaded, output)
    _plain(f"analysis of trial {record.number}: {folder}")
    for problem in problems:
        err.print(f"tracking: {masked(problem)}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def report(
    config: ConfigPath,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="HTML file.")] = None,
    overrides: Overrides = None,
) -> None:
    """Write what a study found into one HTML file, which opens offline."""
    from tuner.run import standing

    loaded = _say_changes(_load(config, list(overrides or [])))
    _plain(f"report: {standing.report(loaded, output)}")


@app.command()
def compare(
    studies: Annotated[list[str], typer.Argument(help="YAML files, or studies below out/.")],
    page: Annotated[Path | None, typer.Option("--html", help="Write a page as well.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show studies side by side."""
    from tuner.run import compare, printout

    found = [compare.find(study, lambda path: _say_changes(_load(path, []))) for study in studies]
    if page is not None:
        compare.write(page, found)
    headers, rows = compare.compared_rows(found)
    if as_json:
        print(json.dumps([dict(row) for row in compare.plain(headers, rows)]))
        return
    printout.print_table(out, "studies side by side", headers, rows)
    for line in compare.cautions(found):
        _plain(line)


@app.command()
def ui(
    config: ConfigPath,
    port: Annotated[int | None, typer.Option(help="Default: a free one.")] = None,
    browser: Annotated[bool, typer.Option(help="Open a browser.")] = True,
    overrides: Overrides = None,
) -> None:
    """Open MLflow's UI on the study, on 127.0.0.1, until Ctrl-C."""
    from tuner.run import session

    loaded = _say_changes(_load(config, list(overrides or [])))
    session.show(loaded, port=port, open_browser=browser)


@app.command()
def slurm(config: ConfigPath, overrides: Overrides = None) -> None:
    """Write a file for sbatch in which a study runs with all of its workers."""
    from tuner.run.batch import batch_script

    settings = list(overrides or [])
    print(batch_script(_load(config, settings), config, settings), end="")


@app.command()
def dashboard(
    config: ConfigPath,
    port: Annotated[int | None, typer.Option(help="Default: a free one.")] = None,
    browser: Annotated[bool, typer.Option(help="Open a browser.")] = True,
    overrides: Overrides = None,
) -> None:
    """Open optuna-dashboard on the study, on 127.0.0.1, until Ctrl-C."""
    from tuner.search import dashboard, storage

    loaded = _say_changes(_load(config, list(overrides or [])))
    dashboard.serve(storage.read_study(loaded), port, browser)


def _load(path: Path, overrides: list[str]) -> Any:
    from tuner.run.prepare import load_prepared

    return load_prepared(path, overrides, lambda text: err.print(text, highlight=False))


def _say_changes(config: Any) -> Any:
    """Print on standard error what has changed since the study of `config` ran; return `config`."""
    from tuner.run import session

    for note in session.changed(config):
        err.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    return config


def _plain(text: str) -> None:
    out.print(clean(text), highlight=False, markup=False, soft_wrap=True)


def main() -> None:
    """Run the command line; bad input is one line on standard error and exit code 2."""
    outlast_readers()
    # Imports make objects by the hundred thousand and hardly any garbage: looking for it every 700
    # objects takes a sixth of their time.
    gc.set_threshold(50_000)
    # What is multiplied here is small: BLAS's threads would cost ten times what they save.
    # Workers set their own number; parallel kernels do not ask BLAS.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        _run_app()
    except InputError as error:
        _fail(str(error), 2)
    except ModuleNotFoundError as error:
        from tuner.registry import remedy_for

        if (remedy := remedy_for(error.name or "")) is None:
            raise
        _fail(f"this needs the package '{error.name}', which is not installed: {remedy}", 2)
    except KeyboardInterrupt:
        _fail("stopped at once; the same command resumes", 130)
    except Exception as error:
        from tuner.config.outage import outage
        from tuner.search.loop import StudyStopped

        if isinstance(error, StudyStopped):
            _fail(str(error), 1)
        if (line := outage(error)) is None:
            raise
        _fail(line, 2)


def _run_app() -> None:
    if sys.platform == "win32":
        raise InputError(POSIX_ONLY)
    import_module("tuner.cli.tools")  # whose commands stand behind those of a study
    try:
        app()
    finally:  # what has no room is told, not left to the interpreter's end
        if sys.stdout is not None:
            sys.stdout.flush()


def _fail(message: str, code: int) -> None:
    err.quiet = False
    if _verbose and sys.exc_info()[0] is not None:
        err.print(clean(masked(format_exc())), highlight=False, markup=False, soft_wrap=True)
    lines = "\n".join(shortened(line, 4000) for line in clean(masked(message)).split("\n"))
    err.print(f"tuner: {lines}", highlight=False, markup=False, soft_wrap=True)
    sys.exit(code)
