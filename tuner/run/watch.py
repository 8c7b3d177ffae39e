"""Who follows a run while it goes: the display, the tracking store and the lease."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tuner.config.objective import Objective
from tuner.records import TrialRecord
from tuner.search.lease import Lease
from tuner.search.observer import Progress
from tuner.tracking.tracker import Tracker


class Display(Progress, Protocol):
    """Shows how a run goes."""

    def begin(self, name: str, total: int, records: Sequence[TrialRecord]) -> None:
        """Show that the study starts or resumes."""

    def trial(self, record: TrialRecord, best: TrialRecord | None) -> None:
        """Handle a finished trial."""

    def note(self, text: str) -> None:
        """Show a line that stays."""

    def end(self) -> None:
        """Show that the run is over."""


@dataclass
class Watch:
    """Passes what the coordinator tells to progress, tracking and the lease."""

    objective: Objective
    records: list[TrialRecord]
    progress: Display
    tracker: Tracker
    lease: Lease
    interrupted: Callable[[], bool]
    best: TrialRecord | None = None
    stopping: bool = False

    def __post_init__(self) -> None:
        """Find the best of the trials that an earlier command left."""
        self.best = self.objective.best(self.records)

    def trial(self, record: TrialRecord) -> None:
        """Keep a finished trial, track and show it."""
        self.records.append(record)
        self.tracker.log_trial(record)
        self.best = self.objective.best([self.best, record] if self.best else [record])
        self.progress.trial(record, self.best)

    def should_stop(self) -> bool:
        """Return whether the user, or another process, has asked the study to end."""
        if not self.stopping and self.lease.stop_asked:
            self.stopping = True
            self.progress.note("asked to stop by tuner stop: ends after the running trials")
        return self.stopping or self.interrupted()

    def beat(self) -> None:
        """Renew the lease."""
        self.lease.renew()
        self.progress.beat()

    def phase(self, name: str, detail: str = "") -> None:
        """Show what begins, and how far it is."""
        self.progress.phase(name, detail)
