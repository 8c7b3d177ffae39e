"""Where the results of a run are, and the commands that go on from there, ready to be pasted."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from tuner.config.addresses import masked
from tuner.config.load import Config
from tuner.run.kept import REPORT
from tuner.selection.results import RunResult
from tuner.tracking.mlflow_uri import base_url


def next_steps(result: RunResult, config: Config) -> Iterator[str]:
    """Yield where the results are and the commands that go on from here."""
    path, tuner = shlex.quote(str(config.document.path)), tuner_command()
    best = result.summary.best
    if result.export is not None and best is not None:
        yield f"script: {result.export}, with the setting of trial {best.number}"
        arguments, needs = config.plugin.usage(result.export)
        if arguments:
            yield f"  to use it: {python_command()} {shlex.join(map(_near, arguments))}"
        if needs:
            yield f"  it needs: {needs}"
    elif best is None:
        yield "no script was written: no trial completed"
    else:
        yield "no script was written: the study did not end"
        yield f"  to write one with the best setting so far: {tuner} export {path} -o SCRIPT.py"
    if result.summary.artifacts is not None:
        yield f"report: {result.folder / REPORT}; figures and tables: {result.folder}"
    if server := base_url(
        config.engine.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or ""
    ):
        yield f"the study in MLflow: {masked(result.tracking.links.get('trials', server))}"
    elif result.tracking.links:
        yield f"to see the study in MLflow: {tuner} ui {path}"


def tuner_command() -> str:
    """Return how this program is called from here."""
    given = Path(sys.argv[0])
    if given.name != "tuner":
        return f"{python_command()} -m tuner"
    found = shutil.which("tuner")
    same = found is not None and os.path.abspath(found) == os.path.abspath(given)
    return "tuner" if same else shlex.quote(_near(str(given.absolute())))


def python_command() -> str:
    """Return how this interpreter is called from here."""
    for name in ("python", "python3"):
        found = shutil.which(name)
        if found is not None and os.path.abspath(found) == os.path.abspath(sys.executable):
            return name
    return shlex.quote(_near(sys.executable))


def _near(argument: str) -> str:
    """Return an absolute path below the current folder relative to it; others as they are."""
    plain = os.path.normpath(argument)
    if os.path.isabs(argument) and Path(plain).is_relative_to(Path.cwd()):
        return os.path.relpath(plain)
    return argument
