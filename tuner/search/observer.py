"""Who follows a study while it is searched: progress shown, and trials tracked."""

from __future__ import annotations

from typing import Protocol

from tuner.records import TrialRecord


class Progress(Protocol):
    """Shows what goes on."""

    def beat(self) -> None:
        """Be called at least twice a second."""

    def phase(self, name: str, detail: str = "") -> None:
        """Show what begins, and how far it is."""


class Observer(Progress, Protocol):
    """Follows a study, for progress and for tracking."""

    def trial(self, record: TrialRecord) -> None:
        """Handle a finished trial."""
