"""What the outbox asks of a connection to a store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tuner.records import Summary, TrialRecord


class Session(Protocol):
    """A connection to the store for one study.

    Every method raises `tuner.tracking.outbox.StoreTrouble`.
    """

    def known(self) -> set[int]:
        """Return the numbers of the trials that the store holds whole."""

    def send_all(self, records: Sequence[TrialRecord]) -> set[int]:
        """Log trials at once where the store can; return which it holds now, whole."""

    def send(self, record: TrialRecord) -> None:
        """Log one trial; safe to repeat."""

    def update(self, records: Sequence[TrialRecord]) -> None:
        """Bring the study's own curves and counts up to `records`; safe to repeat."""

    def close(self, summary: Summary, records: Sequence[TrialRecord]) -> list[str]:
        """Log the end of the study; safe to repeat. Give what could not be logged beside it."""
