"""Commands that run a study, and tell and freeze what it found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tuner.cli.app import AsJson, ConfigPath, Overrides, app, err, load, out, plain, say_changes
from tuner.config.addresses import masked
from tuner.plugin import InputError
from tuner.run.interrupt import StopOnInterrupt


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
    join: Annotated[
        bool,
        typer.Option("--join", help="Where another host runs it, lend it this one's workers."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a study, or resume it, and freeze its best setting."""
    from tuner.report.console import LiveProgress
    from tuner.run import session
    from tuner.run.join import Help
    from tuner.run.join import join as run_or_help

    settings = list(overrides or [])
    settings += [f"study.trials={trials}"] if trials is not None else []
    settings += [f"workers={workers}"] if workers is not None else []
    if join and new:
        raise InputError("--join: expected a study that all hosts share, got --new; leave one out")
    loaded = load(config, settings)
    if dry_run:
        from tuner.run.batch import dry_run as describe

        print(describe(loaded, new=new))
        return
    stop = StopOnInterrupt()
    progress = LiveProgress(err, loaded.objective)
    if join:
        result = run_or_help(loaded, progress, stop)
    else:
        result = session.run(loaded, progress, stop, new=new)
    if as_json:
        print(json.dumps(result.plain()))
    if isinstance(result, Help):
        err.print(str(result), highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(result.code)
    if not as_json:
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

    loaded = load(config, list(overrides or []))
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
        plain(note)
    plain(f"{config} is valid; objective: {loaded.objective.goal}")


@app.command()
def best(config: ConfigPath, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Show the best setting of a study, beside the baseline, held out, and what luck gives."""
    from tuner.run import session
    from tuner.run.found import found, plain_summary
    from tuner.run.printout import print_found

    loaded = say_changes(load(config, list(overrides or [])))
    name, summary = found(loaded)
    if as_json:
        print(json.dumps({"study": name, **plain_summary(summary)}))
        return
    print_found(out, summary, loaded, session.searched(loaded))
    record = summary.best
    assert record is not None
    metrics = ", ".join(f"{key} {value:.4g}" for key, value in record.metrics.items())
    plain(f"study '{name}', best of {sum(summary.counts.values())} trials: {metrics}")
    if record.estimate:
        estimates = ", ".join(f"{key} {value:.4g}" for key, value in record.estimate.items())
        plain(f"times are those of the final timing; the search estimated {estimates}")


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

    loaded = load(config, list(overrides or []))
    record, path = session.export(loaded, output)
    say_changes(loaded)
    plain(f"{path}: trial {record.number} frozen")


@app.command()
def analyse(
    config: ConfigPath,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder.")] = None,
    overrides: Overrides = None,
) -> None:
    """Do what comes after the best setting, as the plug-in has it."""
    from tuner.run import session

    loaded = say_changes(load(config, list(overrides or [])))
    record, folder, problems = session.analyse(loaded, output)
    plain(f"analysis of trial {record.number}: {folder}")
    for problem in problems:
        err.print(f"tracking: {masked(problem)}", highlight=False, markup=False, soft_wrap=True)
