"""How long a phase of a job may take."""

from __future__ import annotations

from dataclasses import dataclass

PHASES = (
    "start",
    "load",
    "wait",
    "run",
    "score",
    "freeze",
    "figures",
    "tables",
    "null",
    "findings",
)
"""What a worker may be at: starting up, loading the data, waiting for a free core, and what a
plug-in does by its verbs."""

LEAST_PHASE = 20.0
LEAST_LOAD = 60.0
"""Seconds that a phase has by default, however short a case is, and loading the data: plug-ins
import a lot, and machines are busy."""

START = 300.0
"""Seconds in which a process must have started, or have taken a job: of no use to a user to set."""

SLOWER = 10
"""So many times as long as a trial's may take the baseline, which is what is to be improved on."""


@dataclass(frozen=True)
class Limits:
    """Seconds that one case's ``run`` of a trial may take, and what else a worker does.

    Attributes
    ----------
    case : float
        ``limits.case_time``.
    phase : float or None
        ``limits.phase_time``; None for `case`, and at least `LEAST_PHASE` or `LEAST_LOAD`.
    """

    case: float
    phase: float | None = None

    def seconds(self, phase: str, limited: bool) -> float | None:
        """Return what `phase` may take; None without end.

        Parameters
        ----------
        limited : bool
            Whether it is that of a trial. Other jobs run the baseline, whole scripts, or draw a
            null.
        """
        if phase == "wait":  # for studies whose own phases end
            return None
        if phase == "start":
            return START
        if phase == "run" and limited:
            return self.case
        least = LEAST_LOAD if phase == "load" else LEAST_PHASE
        every = self.phase or max(self.case, least)
        return max(every, SLOWER * self.case) if phase in ("run", "null") else every

    @staticmethod
    def key(phase: str, limited: bool) -> str:
        """Return the key of the configuration that says so."""
        return "limits.case_time" if phase == "run" and limited else "limits.phase_time"
