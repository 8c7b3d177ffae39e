"""The plug-in: tunes the flags of any program."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.plugin import (
    Case,
    Cases,
    Clocked,
    Draft,
    InputError,
    Params,
    Plugin,
    Provenance,
)
from tuner_plugins.command.config import CommandConfig
from tuner_plugins.command.freeze import example, relaunched, write_launcher
from tuner_plugins.command.runs import Output, Runs, find_program
from tuner_plugins.command.template import fill, names

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

State = Mapping[Path, tuple[int, int, int] | None]
"""Of input files: what changes where a file does; None for one that is gone."""


class CommandPlugin(Plugin[CommandConfig]):
    """A program, its flags, and metrics from what it writes.

    The clock runs on the program alone; its CPU time and memory are those of all its processes.
    """

    name = "command"
    Config = CommandConfig
    metrics = {"memory": "minimize"}
    noisy = ("memory",)
    meanings = {"memory": "peak of the command's processes, in MB"}

    def __init__(self, config: CommandConfig) -> None:
        super().__init__(config)
        own = {name: metric.direction for name, metric in config.data.metrics.items()}
        self.metrics = {**own, "memory": "minimize"}
        self._runs = Runs(config)
        self._known: State = {}

    @classmethod
    def draft(cls, folder: Path) -> Draft | None:
        """Return a configuration for a user's files: see `tuner_plugins.command.draft`."""
        from tuner_plugins.command.draft import draft_for

        return draft_for(folder)

    def search_space(self) -> Mapping[str, BaseDistribution]:
        """Return the ranges of the configuration."""
        return self.config.ranges

    def defaults(self) -> Params:
        """Return the baseline; without one the middle of every range."""
        return self.config.defaults

    def baseline(self) -> Params | None:
        """Return the baseline, with what the configuration fixes; None where there is none."""
        return None if self.config.data.baseline is None else self.config.defaults

    def inputs(self) -> Sequence[Path]:
        """Return the files that cases and command lines name."""
        data = self.config.data
        found = {
            value: Path(str(value))
            for _, case in self.config.cases
            for name, value in case.items()
            if data.is_file(name, value)
        }
        for _, word in [*self.config.launch, *self.config.scoring]:
            if os.path.isabs(word) and os.path.isfile(word):
                found[word] = Path(word)
        return list(found.values())

    def notes(self) -> Sequence[str]:
        """Return what is odd; every program must be there."""
        data = self.config.data
        lines: dict[tuple[str | int, ...], str] = {}
        if not data.shell:
            lines["data", "command", 0] = data.command[0]
        for name, metric in data.metrics.items():
            if metric.command:
                lines["data", "metrics", name, "command", 0] = metric.command[0]
        environment = {**os.environ, **{k: v for k, v in data.env.items() if not names(v)}}
        for key, template in lines.items():
            if not set(names(template)) - {"python"}:
                program = fill(template, {"python": sys.executable}) or ""
                try:
                    find_program(program, environment)
                except InputError as error:
                    raise InputError(str(error), key) from None
        if data.metrics:
            return ()
        return ["data.metrics: there is none; memory and time are all that is measured"]

    def load(self) -> Cases:
        """Return the cases; take note of the state of their files."""
        self._known = self._state()
        data = self.config.data
        tuned, held_out = (
            [Case(str(case["name"]), case) for case in cases]
            for cases in (data.cases, data.held_out)
        )
        return Cases(tuned, held_out)

    def warm_up(self, params: Params) -> None:
        """Start the process that runs programs."""
        self._runs.programs.start()

    def run(self, case: Case, params: Params, seed: int) -> Clocked:
        """Run the command; its own clock counts."""
        output = self._runs.run(case.data, params, seed)
        self._require_same_inputs(case)
        took = output.finished
        return Clocked(output, took.seconds, took.cpu_seconds, took.waited)

    def score(self, case: Case, output: Output) -> Mapping[str, float]:
        """Return the configured metrics, and the peak memory in MB."""
        return self._runs.score(output)

    def freeze(self, params: Params, path: Path, provenance: Provenance) -> None:
        """Write the launcher, and check it on a tuned case."""
        write_launcher(self._runs, params, path, provenance)

    def remeasure(self, case: Case, script: Path, params: Params, output: Path) -> Clocked:
        """Run a launcher; its seconds are without the launcher's own start."""
        return relaunched(self._runs, case.data, params, script)

    def usage(self, path: Path) -> tuple[Sequence[str], str]:
        """Return the launcher's command line for the first case, and what it needs."""
        data, options = self.config.data, example(self.config)
        program = "the programs of the command" if data.shell else data.program
        needs = ["Python 3.10 or newer", *([] if data.is_python else [program])]
        if path.suffix == ".sh":
            line = shlex.join(["sh", str(path), *options])
            return (), f"a POSIX shell and {program}; to use it: {line}"
        return [str(path), *options], " and ".join(needs)

    @classmethod
    def tiny(cls, folder: Path) -> Mapping[str, Any]:
        """Write a text; tune how many of its lines ``head`` takes."""
        text = folder / "lines.txt"
        text.write_text("".join(f"line {number}\n" for number in range(100)))
        return {
            "data": {
                "command": ["head", "-n", "{lines}", "{text}"],
                "stdout": "{output}",
                "cases": [{"name": "lines", "text": str(text)}],
                "metrics": {"last": {"file": "{output}", "regex": r"line (\d+)$"}},
                "baseline": {"lines": 10},
            },
            "search_space": {"lines": {"low": 1, "high": 90}},
        }

    def _state(self) -> State:
        files = [path for top in self.inputs() for path in ([top, *top.rglob("*")])]
        return {path: _stamp(path) for path in files}

    def _require_same_inputs(self, case: Case) -> None:
        """Raise where an input is not what it was: later trials would be run on something else."""
        for path, stamp in self._state().items():
            if stamp != self._known.get(path) and path.is_file():
                self._known = self._state()
                raise InputError(
                    f"{path} has changed while the command ran on case '{case.name}': other trials "
                    "were run on something else; let it work on a copy, and put the file back"
                )


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
