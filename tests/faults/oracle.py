"""What must hold once a study is over, whatever happened to it.

A study under test runs in a `Place`: a folder with a temporary folder and locks of its own, and a
mark in the environment by which everything that it starts is known. `Place.leftovers` and
`trouble` give what does not hold, a line each; a test asserts that there is none.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import optuna

from tuner.records import TrialRecord
from tuner.search.record_json import kept_record, records_of

MARK = "TUNER_FAULTS"
STORAGE = "tuner.db"
PATIENCE = 10.0
"""Seconds in which what was killed must be gone, on a busy machine."""


@dataclass
class Place:
    """Where a study runs.

    Attributes
    ----------
    folder : Path
        The study's current folder.
    mark : str
        Value of `MARK` in the environment of all its processes.
    """

    folder: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def temporary(self) -> Path:
        """The temporary folder of its processes."""
        return self.folder / "tmp"

    @property
    def environment(self) -> dict[str, str]:
        """What its processes have in their environment."""
        self.temporary.mkdir(exist_ok=True)
        temporary = str(self.temporary)
        return {MARK: self.mark, "TMPDIR": temporary, "TUNER_LOCKS": temporary}

    def living(self) -> list[str]:
        """Return the processes of the study that live, by id and command."""
        found = []
        for pid, environment in _environments():
            if f"{MARK}={self.mark}".encode() in environment:
                command = _read(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode()
                found.append(f"{pid}: {command}")
        return found

    def kill(self) -> None:
        """End what lives of the study: a test is to leave nothing behind."""
        for line in self.living():
            try:
                os.kill(int(line.partition(":")[0]), signal.SIGKILL)
            except ProcessLookupError:
                continue

    def leftovers(self, patience: float = PATIENCE) -> list[str]:
        """Return what the study left: processes, temporary folders, locks that are held."""
        until = time.monotonic() + patience
        while (living := self.living()) and time.monotonic() < until:
            time.sleep(0.05)
        found = [f"process {line}" for line in living]
        found += [f"folder {path}" for path in self.temporary.glob("tuner-workers-*")]
        found += [f"folder {path}" for path in self.folder.glob(".tuner-*")]
        locks = self.temporary.glob("tuner-*/*.lock")
        return found + [f"lock {path.name}" for path in locks if is_locked(path)]

    def records(self, name: str = "study") -> list[TrialRecord]:
        """Return the records of a study's finished trials."""
        return records_of(self._study(name))

    def trouble(self, name: str = "study", complete: int | None = None) -> list[str]:
        """Return which trials are lost, repeated or stuck.

        Parameters
        ----------
        complete : int, optional
            Trials that must have completed.
        """
        study = self._study(name)
        trials = study.get_trials(deepcopy=False)
        found = [f"lost: {n}" for n, t in enumerate(trials) if t.number != n]
        for trial in trials:
            if not trial.state.is_finished():
                found.append(f"stuck: trial {trial.number} is {trial.state.name}")
            elif kept_record(trial) is None and trial.state.name != "FAIL":  # bad input has none
                found.append(f"lost: trial {trial.number} has no record")
        found += _repeated(records_of(study))
        counted = sum(trial.state == optuna.trial.TrialState.COMPLETE for trial in trials)
        if complete is not None and counted != complete:
            found.append(f"{counted} trials are complete, not {complete}")
        with sqlite3.connect(self.folder / STORAGE) as database:
            (verdict,) = database.execute("PRAGMA integrity_check").fetchone()
        database.close()
        return found + ([] if verdict == "ok" else [f"{STORAGE}: {verdict}"])

    def _study(self, name: str) -> optuna.Study:
        return optuna.load_study(study_name=name, storage=f"sqlite:///{self.folder / STORAGE}")


def _repeated(records: Sequence[TrialRecord]) -> list[str]:
    """Return the settings that were tried twice; a baseline that failed is measured again."""
    drawn = Counter(str(record.searched) for record in records if not record.is_baseline)
    twice = [f"repeated: {setting}" for setting, count in drawn.items() if count > 1]
    baselines = sum(record.is_baseline and record.state == "complete" for record in records)
    return twice + (["repeated: the baseline"] if baselines > 1 else [])


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of a file."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def is_clean(text: str) -> bool:
    """Whether a text can do nothing to a terminal or a store."""
    return all(character in "\n\t" or character.isprintable() for character in text)


def _environments() -> Iterator[tuple[str, list[bytes]]]:
    """Yield every living process that can be read, with its environment; zombies have none."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        if environment := _read(f"/proc/{name}/environ"):
            yield name, environment.split(b"\0")


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""
