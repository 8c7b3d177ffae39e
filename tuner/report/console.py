"""What the terminal shows while a study runs; `tuner.run.printout` has what it ends with."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column

from tuner.config.objective import Objective
from tuner.records import TrialRecord

WIDE = 90
SURE = 5
"""Trials before the time that is left is told."""

QUIET_SECONDS = 5.0
"""Where there is no terminal, how long to wait between lines that bring nothing new."""

PATIENT_SECONDS = 30.0
"""Where there is no terminal, how long a phase may last without a line on how far it is."""


class LiveProgress:
    """A progress bar on a terminal, plain lines elsewhere: one for each phase and each new best.

    Parameters
    ----------
    console : Console
        Where to write; standard error, so that standard output stays clean.
    objective : Objective
        Names the quantities to show.
    """

    def __init__(self, console: Console, objective: Objective) -> None:
        self._console = console
        self._objective = objective
        self._total = 0
        self._done = 0
        self._others = 0
        self._began = 0.0
        self._began_with = 0
        self._printed = -QUIET_SECONDS
        self._phase = ""
        self._best: TrialRecord | None = None
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def begin(self, name: str, total: int, records: Sequence[TrialRecord]) -> None:
        """Show that the study starts or resumes."""
        self._total = total
        self._done = self._began_with = sum(record.state == "complete" for record in records)
        self._others = len(records) - self._done
        verb = f"resumes after {self._done} of" if records else "starts:"
        self._say(f"study '{name}' {verb} {total} trials")
        self._open()

    def _open(self) -> None:
        """Put up the bar, where there is a terminal."""
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            note = TextColumn("{task.fields[note]}", table_column=Column(ratio=1, no_wrap=True))
            self._bar = Progress(
                SpinnerColumn(),
                BarColumn(bar_width=24 if self._console.width >= WIDE else 8),
                TextColumn("{task.completed}/{task.total} trials"),
                TimeElapsedColumn(),
                note,
                console=self._console,
                transient=True,
                expand=True,
            )
            self._task = self._bar.add_task("", total=self._total, completed=self._done, note="")
            self._bar.start()

    def _show(self, note: str) -> bool:
        """Bring the bar up to date; return whether there is one."""
        if self._bar is None or self._task is None:
            return False
        self._bar.update(self._task, completed=self._done, note=note)
        return True

    def trial(self, record: TrialRecord, best: TrialRecord | None) -> None:
        """Show a finished trial."""
        if record.state == "complete":
            self._done += 1
        else:
            self._others += 1
            reason = (record.reason or "").splitlines()
            self._say(f"trial {record.number} {record.state}: {reason[0] if reason else ''}")
        improved = best is not None and (self._best is None or best.number != self._best.number)
        self._best = best
        text = self._status()
        is_due = time.monotonic() > self._printed + QUIET_SECONDS
        if not self._show(text) and (improved or self._done == self._total or is_due):
            self._say(f"{self._done}/{self._total} trials; {text}")

    def beat(self) -> None:
        """Be called often; the bar draws itself."""

    def phase(self, name: str, detail: str = "") -> None:
        """Show what begins, and how far it is; without a terminal rarely more than once a name."""
        is_new, self._phase = name != self._phase, name
        text = f"{name}: {detail}" if detail else name
        if not self._show(text) and (is_new or time.monotonic() > self._printed + PATIENT_SECONDS):
            self._say(text)

    def note(self, text: str) -> None:
        """Show a line that stays."""
        self._say(text)

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _say(self, text: str) -> None:
        self._printed = time.monotonic()
        self._console.print(text, highlight=False, soft_wrap=True, markup=False)

    def _status(self) -> str:
        parts = []
        if self._best is not None:
            parts.append(
                f"trial {self._best.number} leads: {standing(self._best, self._objective)}"
            )
        if self._others:
            parts.append(f"{self._others} not completed")
        if self._began_with == self._done or not self._began:
            self._began, self._began_with = time.monotonic(), self._done  # the baseline is no pace
        elif self._began_with + SURE <= self._done < self._total:
            each = (time.monotonic() - self._began) / (self._done - self._began_with)
            parts.append(f"{show_duration(each * (self._total - self._done))} of search left")
        return "; ".join(parts)


def standing(record: TrialRecord, objective: Objective) -> str:
    """Return a trial's metric, speed-up and score; the search's are called estimates."""
    metrics, primary = record.metrics, objective.primary
    shown = "mean " * (len(record.cases) > 1) + f"{primary} {metrics[primary]:.4f}"
    if not record.is_baseline and {"score", "time"} & set(objective.objectives):
        estimates = [f"speed-up {metrics['speedup']:.3g}x"] if "speedup" in metrics else []
        estimates += [f"score {metrics['score']:.4g}"] if "score" in metrics else []
        estimates += [] if estimates else [f"time {show_duration(metrics['time'])}"]
        called = "" if record.estimate else "estimated: "  # else timed again
        shown += f" ({called}{', '.join(estimates)})"
    return shown + (" (the baseline)" if record.is_baseline else "")


def show_duration(seconds: float) -> str:
    """Return a time with its unit."""
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.1f} min"
