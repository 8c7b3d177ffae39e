"""What a study would submit to a batch system, and the file that submits it as a whole."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tuner.config.errors import at_key, error_at
from tuner.config.load import Config
from tuner.plugin.registry import executor
from tuner.run.check import check


def dry_run(config: Config, *, new: bool = False) -> str:
    """Check a study as `run` does; return the script of each job that it would submit."""
    notes = check(config, new=new)
    made, kind = _executor(config), config.engine.executor.kind
    if not hasattr(made.func, "job_script"):
        return "\n".join([*notes, f"{config.name} would run; executor '{kind}' submits no job"])
    options = made.keywords["options"]
    script = made.func.job_script(options, config.engine.limits.threads)
    return "\n".join([*(f"# {note}" for note in notes), f"# {options.jobs} of these:", script])


def batch_script(config: Config, path: Path, settings: Sequence[str]) -> str:
    """Return a file for ``sbatch`` in which the study at `path` runs with all of its workers.

    Raises
    ------
    InputError
        Where the study could not run, or its executor is not Slurm.
    """
    check(config)
    made = _executor(config)
    if not hasattr(made.func, "batch_script"):
        kind = config.engine.executor.kind
        message = f"expected slurm, got '{kind}'; give executor: {{kind: slurm, queue: ..., ...}}"
        raise error_at(config.document, ("executor", "kind"), message)
    overrides = [word for each in (*settings, "executor.inside=true") for word in ("--set", each)]
    command = [sys.executable, "-m", "tuner", "run", str(path), *overrides]
    script: str = made.func.batch_script(made.keywords["options"], config.name, command)
    return script


def _executor(config: Config) -> partial[Any]:
    section = config.engine.executor
    made: partial[Any] = at_key(
        config.document, ("executor",), executor, section.kind, section.options
    )
    return made
