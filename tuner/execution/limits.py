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
"""Seconds that a phase has by default, however short a case is: plug-ins import a lot."""

LEAST_START = 60.0
"""Seconds that a process has to start and to take a job, on the busiest machine."""

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
        ``limits.phase_time``; None for `case`, and at least `LEAST_PHASE`.
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
        every = self.phase or max(self.case, LEAST_PHASE)
        if phase == "wait":  # for studies whose own phases end
            return None
        if phase == "start":
            return max(every, LEAST_START)
        if phase == "run" and limited:
            return self.case
        if phase in ("run", "null"):
            return max(every, SLOWER * self.case)
        return every

    @staticmethod
    def key(phase: str, limited: bool) -> str:
        """Return the key of the configuration that says so."""
        return "limits.case_time" if phase == "run" and limited else "limits.phase_time"
