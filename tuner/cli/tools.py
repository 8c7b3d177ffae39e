"""Commands that are not about one study: what is installed, what a file may hold, data, scripts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tuner.cli import AsJson, app, out
from tuner.plugin import InputError


@app.command()
def plugins(as_json: AsJson = False) -> None:
    """List the installed plug-ins."""
    from rich.table import Table

    from tuner.registry import installed
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
    from tuner.registry import simulate as make
    from tuner.run.printout import say

    make(name, output, seed, _extra_options(context.args))
    say(out, f"{output} made by simulator '{name}', seed {seed}")


def _extra_options(arguments: list[str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        flag = rest.pop(0)
        if not flag.startswith("--"):
            raise InputError(f"unexpected argument '{flag}'; expected --NAME VALUE")
        name, equals, value = flag[2:].partition("=")
        if not equals:
            if not rest:
                raise InputError(f"option '{flag}' needs a value")
            value = rest.pop(0)
        options[name.replace("-", "_")] = value
    return options
