"""Track studies: what the coordinator asks of a tracker, and the one that logs to MLflow.

One parent run a study, one child run a trial. Trials go through `tuner.tracking.outbox` and
`tuner.tracking.mlflow_process` to `tuner.tracking.mlflow_session`, so that the coordinator never
waits and trouble with the store never ends a study.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Protocol

from tuner.records import StudyInfo, Summary, TrialRecord
from tuner.tracking import mlflow_runs
from tuner.tracking.mlflow_client import prepare
from tuner.tracking.mlflow_process import RemoteSession, TrackingProcess
from tuner.tracking.mlflow_uri import DEFAULT_PORT, absolute_uri, base_url
from tuner.tracking.outbox import Outbox


@dataclass(frozen=True)
class TrackingReport:
    """How tracking went.

    Attributes
    ----------
    run_id : str or None
        The parent run; None where the store was never reached.
    links : mapping
        Title to URL of the pages that show the study.
    problems : sequence of str
        What went wrong, a line each; empty where all went well.
    unsent : Path or None
        File that keeps the trials which the store does not hold.
    """

    run_id: str | None = None
    links: Mapping[str, str] = field(default_factory=dict)
    problems: Sequence[str] = ()
    unsent: Path | None = None


class Tracker(Protocol):
    """What the coordinator tells of a study. No method raises because of the store."""

    def start(self, study: StudyInfo, trials: Sequence[TrialRecord]) -> None:
        """Begin or go on; `trials` are those that the study has already."""

    def log_trial(self, record: TrialRecord) -> None:
        """Take a finished trial; returns at once."""

    def finish(self, summary: Summary) -> TrackingReport:
        """Wait until everything is logged, within reason, and say how it went."""

    def abandon(self) -> None:
        """Write nothing more: another process tracks the study now. `finish` does nothing then."""


class NullTracker:
    """Tracks nothing."""

    def start(self, study: StudyInfo, trials: Sequence[TrialRecord]) -> None:
        """Do nothing."""

    def log_trial(self, record: TrialRecord) -> None:
        """Do nothing."""

    def finish(self, summary: Summary) -> TrackingReport:
        """Return an empty report."""
        return TrackingReport()

    def abandon(self) -> None:
        """Do nothing."""


class MlflowTracker:
    """Tracks a study in an MLflow store.

    Parameters
    ----------
    uri : str
        ``sqlite:///mlflow.db`` (relative to the current folder), another database, or a server.
    experiment : str
        Name of the MLflow experiment; created where there is none.
    spool : Path
        Folder for the trials that the store did not take, a file of JSON lines a study.
    patience : float
        Seconds that `finish` waits for a store that does not get on.
    process : TrackingProcess, optional
        One to share among trackers, for importing MLflow takes seconds; default: one of its own.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        spool: Path,
        patience: float = 60.0,
        process: TrackingProcess | None = None,
    ) -> None:
        self._uri = absolute_uri(uri)
        self._experiment = experiment
        self._spool = spool
        self._patience = patience
        self._process = process or TrackingProcess()
        self._shares = process is not None
        self._session: RemoteSession | None = None
        self._abandoned = False

    def start(self, study: StudyInfo, trials: Sequence[TrialRecord]) -> None:
        """Open or adopt the study's parent run, and log what of `trials` the store lacks."""
        prepare()
        began = min((trial.started for trial in trials), default=datetime.now(timezone.utc))

        def connect(alive: Callable[[], None]) -> RemoteSession:
            self._session = RemoteSession(
                self._process, self._uri, self._experiment, study, began, alive
            )
            return self._session

        file = f"{mlflow_runs.key(study.name)}-{mlflow_runs.study_key(study)[:8]}.jsonl"
        self._outbox = Outbox(connect, self._spool / file, self._patience)
        self._outbox.start(trials)

    def log_trial(self, record: TrialRecord) -> None:
        """Take a finished trial; returns at once."""
        self._outbox.put(record)

    def finish(self, summary: Summary) -> TrackingReport:
        """Log the rest and how the study ended; tell what could not be logged."""
        if self._abandoned:
            return TrackingReport()
        try:
            problems, unsent = self._outbox.drain(summary)
        finally:
            if self._outbox.hangs:
                self._process.kill()
            if not self._shares:
                self._process.close()
        session = self._session
        if session is None:
            return TrackingReport(problems=problems, unsent=unsent)
        base = base_url(self._uri) or f"http://127.0.0.1:{DEFAULT_PORT}/"
        links = {title: base + fragment for title, fragment in session.links.items()}
        return TrackingReport(session.parent, links, problems, unsent)

    def abandon(self) -> None:
        """Write nothing more: another process tracks the study now."""
        self._abandoned = True
        self._outbox.abandon()
        self._process.kill()
        if not self._shares:
            self._process.close()
