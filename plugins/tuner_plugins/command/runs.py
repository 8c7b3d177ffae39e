"""One run of the command: its command line, where its output goes, and what it scores."""

from __future__ import annotations

import functools
import itertools
import os
import shutil
import sys
import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.execution.folders import working_folder
from tuner.plugin import InputError, Params, Value
from tuner_plugins.command.config import CommandConfig
from tuner_plugins.command.metrics import LARGEST, MetricError, read_metric, stdout_of
from tuner_plugins.command.programs import Call, Finished, ProgramError, Programs, require_success
from tuner_plugins.command.sections import DataSection, MetricSection
from tuner_plugins.command.template import fill, shell_text, words

MEGABYTE = 1e6

_NUMBERS = itertools.count()


class _Room:
    """A folder, an empty working folder in it, and what their modes are."""

    def __init__(self, path: Path) -> None:
        self.path, self.inner, self.output = path, path / "here", path / "output"
        os.mkdir(path)
        os.mkdir(self.inner)
        self.modes = self._modes()

    def give_back(self, free: list[_Room]) -> None:
        """Keep it for the next run where this one has not touched it; else remove it.

        To make one takes as long as the shortest of programs.
        """
        with suppress(OSError):
            is_empty = os.listdir(self.path) == [self.inner.name] and not os.listdir(self.inner)
            if is_empty and self._modes() == self.modes:
                free.append(self)
                return
        shutil.rmtree(self.path, ignore_errors=True)

    def _modes(self) -> list[int]:
        return [os.stat(folder).st_mode for folder in (self.path, self.inner)]


class Place:
    """A folder for one run, there for as long as this object is.

    Parameters
    ----------
    home : Path
        Where it is made.
    free : list
        Rooms that are there already: one of them is taken, and given back.

    Attributes
    ----------
    path, folder, output : Path
        The folder; an empty working folder; what ``{output}`` stands for.
    """

    def __init__(self, home: Path, free: list[_Room]) -> None:
        room = free.pop() if free else _Room(home / f"run{next(_NUMBERS)}")
        self.path, self.folder, self.output = room.path, room.inner, room.output
        weakref.finalize(self, room.give_back, free)


@dataclass(frozen=True)
class Output:
    """What one run gave.

    Attributes
    ----------
    values : mapping
        What the placeholders stood for.
    place : Place
        Where its output lies.
    finished : Finished
    """

    values: Mapping[str, Any]
    place: Place
    finished: Finished


class Runs:
    """Runs the command of a configuration, each time in a folder of its own."""

    def __init__(self, config: CommandConfig) -> None:
        self.config = config
        self.programs = Programs()
        self._stack = ExitStack()
        self._home: Path | None = None
        self._free: list[_Room] = []
        self._environment = dict(os.environ)
        self._captures = any(metric.stdout for metric in config.data.metrics.values())
        weakref.finalize(self, _close, self._stack, self.programs)

    def fresh(
        self, case: Mapping[str, Value], params: Params, seed: int
    ) -> tuple[dict[str, Any], Place]:
        """Return what placeholders stand for, and the place of a new run."""
        if self._home is None:
            self._home = self._stack.enter_context(working_folder())
        place = Place(self._home, self._free)
        threads = int(os.environ.get("OMP_NUM_THREADS") or 1)
        built_in = {"seed": seed, "threads": threads, "python": sys.executable}
        return {**params, **case, **built_in, "output": str(place.output)}, place

    def run(self, case: Mapping[str, Value], params: Params, seed: int) -> Output:
        """Run the command on a case.

        Raises
        ------
        ProgramError
            Where it fails.
        """
        values, place = self.fresh(case, params, seed)
        data = self.config.data
        if data.shell:
            line = ["/bin/sh", "-c", shell_text(data.command[0], data.flags, values)]
        else:
            line = words(data.command, data.flags, values)
        target = fill(data.stdout, values) if data.stdout else None
        if target is None and not self._captures:
            target = os.devnull
        folder = data.workdir or place.folder
        output = Output(values, place, self.call(line, folder, target, values))
        require_output(data, output, data.program, data.ok_exit_codes)
        return output

    def call(
        self,
        line: Sequence[str],
        folder: Path,
        stdout: str | None,
        values: Mapping[str, Any] | None = None,
    ) -> Finished:
        """Run a command line; with the configured environment where there are `values` for it."""
        env = self.config.data.env
        added = {name: fill(text, values) for name, text in env.items()} if values else {}
        environment = {
            **self._environment,
            **{k: text for k, text in added.items() if text is not None},
        }
        program = find_program(line[0], environment)
        return self.programs.run(Call(program, line, folder, environment, stdout))

    def score(self, output: Output) -> dict[str, float]:
        """Return the metrics of a run; a scoring command that several share runs once."""
        said: dict[tuple[str, ...], Finished] = {}
        found = {}
        for name, metric in self.config.data.metrics.items():
            text, source = self._text(name, metric, output, said)
            found[name] = read_metric(name, metric, text, source)
        return {**found, "memory": output.finished.memory / MEGABYTE}

    def _text(
        self,
        name: str,
        metric: MetricSection,
        output: Output,
        said: dict[tuple[str, ...], Finished],
    ) -> tuple[str, str]:
        """Return the text that a metric is read from, and what it is."""
        if metric.stdout:
            return stdout_of(name, metric, output.finished), "standard output"
        if metric.stderr:
            return output.finished.stderr, "standard error"
        if metric.file:
            path = Path(fill(metric.file, output.values) or "")
            try:
                with path.open("rb") as file:
                    return file.read(LARGEST).decode("utf-8", "replace"), metric.file
            except OSError as error:
                message = f"metric '{name}': {metric.file} cannot be read: {error.strerror}"
                raise MetricError(message) from None
        line = tuple(words(metric.command or (), {}, output.values))
        if line not in said:
            folder = self.config.data.workdir or output.place.folder
            said[line] = self.call(line, folder, None, output.values)
            require_success(f"metric '{name}': {Path(line[0]).name}", said[line])
        return stdout_of(name, metric, said[line]), f"what {Path(line[0]).name} wrote"


def require_output(data: DataSection, output: Output, name: str, codes: Sequence[int]) -> None:
    """Raise `ProgramError` where a run failed, or did not write what it should have."""
    require_success(name, output.finished, codes)
    made = fill(data.success_file, output.values) if data.success_file else None
    if made and not os.path.exists(made):
        told = output.finished.stderr.strip().splitlines()[-1:]
        raise ProgramError(f"{name} wrote no {data.success_file}" + "".join(f": {t}" for t in told))


def find_program(name: str, environment: Mapping[str, str]) -> str:
    """Return where a program lies; `InputError` where it is not installed."""
    return _find_program(name, environment.get("PATH"), os.getcwd())


@functools.cache
def _find_program(name: str, path: str | None, here: str) -> str:
    """Return where a program lies, looked up once: it takes half as long as to run ``true``."""
    found = shutil.which(name, path=path)
    if found is None:
        raise InputError(
            f"no program '{name}': it is not installed, not on the PATH, or not executable; "
            "install it, or give its path"
        )
    return os.path.join(here, found)


def _close(stack: ExitStack, programs: Programs) -> None:
    programs.close()
    stack.close()
