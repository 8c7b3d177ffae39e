"""The command line: parses, calls, prints."""

from __future__ import annotations

import gc
import os
import sys
from importlib import import_module
from traceback import format_exc

from tuner import POSIX_ONLY
from tuner.cli.app import Told, app, err
from tuner.config.addresses import masked
from tuner.config.text import shortened
from tuner.execution.text import clean
from tuner.plugin import InputError
from tuner.report.terminal import outlast_readers

COMMANDS = ("studies", "running", "showing", "tools")
"""Modules whose commands `app` has, in the order of its help."""


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
        from tuner.plugin.registry import remedy_for

        if (remedy := remedy_for(error.name or "")) is None:
            raise
        _fail(f"this needs the package '{error.name}', which is not installed: {remedy}", 2)
    except KeyboardInterrupt:
        _fail("stopped at once; the same command resumes", 130)
    except Exception as error:
        from tuner.config.outage import outage
        from tuner.search.stopped import StudyStopped

        if isinstance(error, StudyStopped):
            _fail(str(error), 1)
        if (line := outage(error)) is None:
            raise
        _fail(line, 2)


def _run_app() -> None:
    if sys.platform == "win32":
        raise InputError(POSIX_ONLY)
    for name in COMMANDS:
        import_module(f"tuner.cli.{name}")
    try:
        app()
    finally:  # what has no room is told, not left to the interpreter's end
        if sys.stdout is not None:
            sys.stdout.flush()


def _fail(message: str, code: int) -> None:
    err.quiet = False
    if Told.verbose and sys.exc_info()[0] is not None:
        err.print(clean(masked(format_exc())), highlight=False, markup=False, soft_wrap=True)
    lines = "\n".join(shortened(line, 4000) for line in clean(masked(message)).split("\n"))
    err.print(f"tuner: {lines}", highlight=False, markup=False, soft_wrap=True)
    sys.exit(code)
