"""Run the command line in a fork of this process, which saves it the imports."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import optuna

NEEDED = (
    "matplotlib.pyplot",
    "optuna.importance",
    "optuna.visualization.matplotlib",
    "rich._emoji_codes",
    "tuner.cli",
    "tuner.execution.local",
    "tuner.report.figures",
    "tuner.run.check",
    "tuner.run.printout",
    "tuner.run.session",
    "tuner_plugins.elasticnet.plugin",
    "tuner_plugins.function.plugin",
    "tuner_plugins.nmf.plugin",
)
"""Modules that a coordinator imports, some of them late."""

UNDRAWN = "TOY_UNDRAWN"
"""Commands that have this in their environment draw no figures; see `tests.toy.tuner_toy` too."""


def no_figures(
    study: object, records: object, objective: object, folder: Path, best: object
) -> list[Path]:
    """Stand in for `tuner.report.figures.study_figures`."""
    folder.mkdir(parents=True, exist_ok=True)
    return []


@cache
def preload() -> None:
    """Import what coordinators need, once for all that are forked; open a storage, draw a study.

    What that leaves in caches (Alembic's scripts, fonts, mathematical text) took each a second.
    """
    for name in NEEDED:
        importlib.import_module(name)
    from tests.studies import make_trials
    from tuner.config.objective import Objective
    from tuner.config.quiet import quiet
    from tuner.report.figures import study_figures
    from tuner.search.storage import open_storage

    objective = Objective({"r": "maximize"}, {"score": "maximize"})
    with tempfile.TemporaryDirectory(prefix="preload-") as folder:
        open_storage(f"sqlite:///{folder}/preload.db").engine.dispose()
        with quiet():
            study = optuna.create_study()
            study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=6)
        study_figures(study, make_trials(20), objective, Path(folder))


def call_main() -> int:
    """Run the command line on `sys.argv`; return its exit code."""
    from tuner.cli import main

    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    return 0


def fork_command(
    *arguments: str,
    folder: Path,
    output: tuple[str, str],
    environment: Mapping[str, str],
    prepare: Callable[[], object] = lambda: None,
) -> int:
    """Start `tuner` in a session of its own, as a shell would; return the process's id.

    Parameters
    ----------
    arguments : str
        Of the command line.
    folder : Path
        The current folder of the command.
    output : tuple of str
        Files of its standard output and standard error, absolute or in `folder`.
    environment : mapping of str to str
        Its whole environment.
    prepare : callable
        Called in it before the command line is.
    """
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setsid()
        os.chdir(folder)
        given = dict(environment)
        os.environ.clear()
        os.environ.update(given)
        tempfile.tempdir = None
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for descriptor, name in enumerate(output, 1):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, default)
        sys.argv = ["tuner", *arguments]
        if UNDRAWN in given:
            importlib.import_module("tuner.report.figures").study_figures = no_figures
        prepare()
        code = call_main()
    except BaseException:  # noqa: BLE001 - who reads the output looks for it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def end_of(child: int) -> int | None:
    """Return a fork's exit code, negative for a signal; None while it runs."""
    ended, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def is_running(child: int) -> bool:
    """Whether a fork has not ended; its exit code is kept for who asks for that."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def wait_for(child: int, limit: float) -> int | None:
    """Return a fork's exit code; None, and kill it, where it hangs for `limit` seconds."""
    until = time.monotonic() + limit
    while time.monotonic() < until:
        if (code := end_of(child)) is not None:
            return code
        time.sleep(0.005)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None
