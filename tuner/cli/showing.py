"""Commands that show studies: in a page, side by side, in MLflow's and Optuna's own pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tuner.cli.app import AsJson, ConfigPath, Overrides, app, load, out, plain, say_changes

Port = Annotated[int | None, typer.Option(help="Default: a free one.")]
Browser = Annotated[bool, typer.Option(help="Open a browser.")]


@app.command()
def report(
    config: ConfigPath,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="HTML file.")] = None,
    overrides: Overrides = None,
) -> None:
    """Write what a study found into one HTML file, which opens offline."""
    from tuner.run import standing

    loaded = say_changes(load(config, list(overrides or [])))
    plain(f"report: {standing.report(loaded, output)}")


@app.command()
def compare(
    studies: Annotated[list[str], typer.Argument(help="YAML files, or studies below out/.")],
    page: Annotated[Path | None, typer.Option("--html", help="Write a page as well.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show studies side by side."""
    from tuner.run import compare, printout

    found = [compare.find(study, lambda path: say_changes(load(path, []))) for study in studies]
    if page is not None:
        compare.write(page, found)
    if as_json:
        print(json.dumps([compare.plain(study) for study in found]))
        return
    headers, rows = compare.compared_rows(found)
    printout.print_table(out, "studies side by side", headers, rows)
    for line in compare.cautions(found):
        plain(line)


@app.command()
def ui(
    config: ConfigPath,
    port: Port = None,
    browser: Browser = True,
    overrides: Overrides = None,
) -> None:
    """Open MLflow's UI on the study, on 127.0.0.1, until Ctrl-C."""
    from tuner.run import session

    loaded = say_changes(load(config, list(overrides or [])))
    session.show(loaded, port=port, open_browser=browser)


@app.command()
def dashboard(
    config: ConfigPath,
    port: Port = None,
    browser: Browser = True,
    overrides: Overrides = None,
) -> None:
    """Open optuna-dashboard on the study, on 127.0.0.1, until Ctrl-C."""
    from tuner.search import dashboard, storage

    loaded = say_changes(load(config, list(overrides or [])))
    dashboard.serve(storage.read_study(loaded), port, browser)
