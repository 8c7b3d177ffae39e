"""Commands that are not about one study: what is installed, what a file may hold, data, scripts."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from tuner.cli.app import AsJson, Overrides, app, err, out

PluginName = Annotated[str, typer.Argument(help="A plug-in: nmf, elasticnet, ...")]


@app.command()
def plugins(as_json: AsJson = False) -> None:
    """List the installed plug-ins."""
    from rich.table import Table

    from tuner.plugin.registry import installed
    from tuner.run.printout import say

    entries = installed()
    if as_json:
        print(json.dumps([vars(entry) for entry in entries]))
        return
    table = Table()
    for column in ("plug-in", "package", "version", "class"):
        table.add_column(column)
    for entry in entries:
        table.add_row(entry.name, entry.package, entry.version, entry.target)
    out.print(table)
    for entry in entries:
        if missing := ", ".join(entry.missing):
            say(out, f"{entry.name} needs {missing}, not installed: {entry.remedy}")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def simulate(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A simulator: nmf, perturbseq, ...")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to make.")],
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Make data with a known truth; further options are the simulator's (--region-length N)."""
    from tuner.plugin.registry import simulate as make
    from tuner.run.prepare import extra_options
    from tuner.run.printout import say

    make(name, output, seed, extra_options(context.args))
    say(out, f"{output} made by simulator '{name}', seed {seed}")


@app.command()
def params(name: PluginName, as_json: AsJson = False) -> None:
    """List the parameters of a plug-in: meaning, unit, range, default."""
    from rich.table import Table

    from tuner.plugin.registry import plugin_class
    from tuner.run.printout import say
    from tuner.run.tools import describe_params

    rows = describe_params(plugin_class(name))
    if as_json:
        print(json.dumps(rows))
        return
    if not rows:
        say(out, f"the params of plug-in '{name}' are what search_space and data.baseline list")
        return
    table = Table()
    for column in ("parameter", "meaning", "unit", "range", "default", "baseline"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    out.print(table, highlight=False, markup=False)


@app.command()
def schema(
    name: PluginName,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File to write.")] = None,
) -> None:
    """Write the JSON Schema of a plug-in's files, by which editors complete and check them."""
    from tuner.config.json_schema import schema_of
    from tuner.plugin.registry import plugin_class
    from tuner.run.tools import write_text

    text = json.dumps(schema_of(plugin_class(name))) + "\n"
    if output is None:
        print(text, end="")
    else:
        write_text(output, text)


@app.command()
def studies(
    storage: Annotated[str, typer.Option(help="As study.storage.")] = "sqlite:///tuner.db",
    as_json: AsJson = False,
) -> None:
    """List the studies of a storage: how far each is, and what leads."""
    from rich.table import Table

    from tuner.config.addresses import masked
    from tuner.run.printout import say
    from tuner.run.studies import studies_in

    rows = studies_in(storage)
    if as_json:
        print(
            json.dumps([{**vars(row), "last": row.last and row.last.isoformat()} for row in rows])
        )
        return
    if not rows:
        say(out, f"no studies in {masked(storage)}; first: tuner run CONFIG")
        return
    table = Table()
    for column in ("study", "plug-in", "trials", "best", "its objective", "last trial (UTC)"):
        table.add_column(column)
    for row in rows:
        trials = ", ".join(f"{count} {state}" for state, count in row.trials.items())
        best = "" if row.best is None else f"trial {row.best}"
        values = ", ".join(f"{k} {v:.4g}" for k, v in row.objectives.items() if v is not None)
        last = "" if row.last is None else f"{row.last:%Y-%m-%d %H:%M}"
        table.add_row(row.name, row.plugin, trials, best, values, last)
    out.print(table, highlight=False, markup=False)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Report what this machine has, what is missing, and how to get it."""
    from tuner.run.doctor import look
    from tuner.run.printout import say

    found = list(look())
    if as_json:
        print(json.dumps([vars(finding) for finding in found]))
        return
    for finding in found:
        say(out, f"{finding.topic}: {finding.text}")
        if finding.remedy:
            say(out, f"  to mend it: {finding.remedy}")


@app.command()
def verify(
    script: Annotated[Path, typer.Argument(help="A script that a study froze.")],
    config: Annotated[Path | None, typer.Argument(help="Data to measure it on.")] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Measure a frozen script again; exit code 0: its claim holds, 1: not, 2: cannot be told."""
    from tuner.run import verify as verifying
    from tuner.run.claim import claim_of, config_for
    from tuner.run.prepare import load_prepared
    from tuner.run.printout import print_table, say

    claim = claim_of(script)
    path = config or config_for(script, claim)
    loaded = load_prepared(path, list(overrides or []), lambda text: err.print(text))
    found = verifying.verify(script, claim, loaded)
    if as_json:
        print(json.dumps(found.plain()))
    else:
        if found.cases:
            print_table(out, f"{script} on the cases of {path}", *verifying.rows_of(found))
        for held, line in found.lines:
            say(out, f"{ {True: 'holds', False: 'DOES NOT HOLD', None: 'note'}[held] }: {line}")
    if not found.holds:
        raise typer.Exit(1)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where your files are.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Default: FOLDER's name, here.")
    ] = None,
) -> None:
    """Look at your files (bigWig, .h5ad, a program's input) and write a configuration."""
    from tuner.run.init import write_config
    from tuner.run.next_steps import tuner_command
    from tuner.run.printout import say

    path, lines = write_config(folder, output)
    for line in lines:
        say(out, line)
    tuner, quoted = tuner_command(), shlex.quote(str(path))
    say(out, f"{path} written; next: {tuner} validate {quoted}, then {tuner} run {quoted}")


@app.command("new-plugin")
def new_plugin(
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits and '_'.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to make it in.")] = Path(),
) -> None:
    """Write a package with a plug-in that runs, and its contract test."""
    from tuner.run.new_plugin import write_package
    from tuner.run.printout import say

    for line in write_package(name, output):
        say(out, line)
