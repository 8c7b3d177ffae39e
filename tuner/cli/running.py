"""Commands to a study that runs, or is to run elsewhere."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from tuner.cli.app import AsJson, ConfigPath, Overrides, app, load, plain


@app.command()
def status(config: ConfigPath, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Show how far a study is: from any shell, while it runs and after."""
    from tuner.run.status import lines_of, status_of

    loaded = load(config, list(overrides or []))
    found = status_of(loaded)
    if as_json:
        print(json.dumps(found.plain()))
        return
    for line in lines_of(found, loaded):
        plain(line)


@app.command()
def stop(config: ConfigPath, overrides: Overrides = None) -> None:
    """Ask the process that runs a study, on whatever host, to stop as Ctrl-C does."""
    from tuner.run import requests

    plain(requests.stop(config, list(overrides or [])))


@app.command()
def enqueue(
    config: ConfigPath,
    params: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...")],
    overrides: Overrides = None,
) -> None:
    """Enqueue a trial with these params: a study that runs takes it up, another begins with it."""
    from tuner.run import requests

    plain(requests.enqueue(load(config, list(overrides or [])), params))


@app.command()
def slurm(config: ConfigPath, overrides: Overrides = None) -> None:
    """Write a file for sbatch in which a study runs with all of its workers."""
    from tuner.run.batch import batch_script

    settings = list(overrides or [])
    print(batch_script(load(config, settings), config, settings), end="")
