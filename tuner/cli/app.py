"""The application that commands are added to, and what they share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tuner.execution.text import clean
from tuner.report.terminal import make_console

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


class Told:
    """What was asked for before the command."""

    verbose = False


out = make_console()
err = make_console(stderr=True)


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
    err.quiet, Told.verbose = quiet, verbose


def load(path: Path, overrides: list[str]) -> Any:
    """Return the configuration of a file, with some keys set; its data are made where absent."""
    from tuner.run.prepare import load_prepared

    return load_prepared(path, overrides, lambda text: err.print(text, highlight=False))


def say_changes(config: Any) -> Any:
    """Print on standard error what has changed since the study of `config` ran; return `config`."""
    from tuner.run import session

    for note in session.changed(config):
        err.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    return config


def plain(text: str) -> None:
    """Print a line as it is on standard output: no markup, wrapped by the terminal alone."""
    out.print(clean(text), highlight=False, markup=False, soft_wrap=True)
