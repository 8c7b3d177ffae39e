"""What a run ends with, and how it is told to a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tuner.records import CaseRecord, Summary, TrialRecord
from tuner.tracking.tracker import TrackingReport


@dataclass(frozen=True)
class RunResult:
    """What `tuner run` ends with.

    Attributes
    ----------
    ending : str
        ``complete``, ``timeout``, ``exhausted`` or ``interrupted``.
    export : Path or None
        The frozen script.
    folder : Path
        Figures, tables, configuration and script of the study.
    records : sequence of TrialRecord
        Every trial that has ended.
    """

    study: str
    ending: str
    summary: Summary
    tracking: TrackingReport
    folder: Path
    export: Path | None = None
    records: Sequence[TrialRecord] = ()

    def plain(self) -> dict[str, Any]:
        """Return the result as plain data, for ``--json``."""
        summary = self.summary
        return {
            "study": self.study,
            "ending": self.ending,
            "trials": {
                "complete": 0,
                "failed": 0,
                "pruned": 0,
                "infeasible": 0,
                **summary.counts,
            },
            "best": plain_record(summary.best),
            "baseline": plain_record(summary.baseline),
            "held_out": [plain_case(case) for case in summary.held_out],
            "held_out_baseline": [plain_case(case) for case in summary.held_out_baseline],
            "final": asdict(summary.final) if summary.final else None,
            "notes": list(summary.notes),
            "verdict": list(summary.verdict),
            "nulls": [asdict(null) for null in summary.nulls],
            "hosts": [asdict(host) for host in summary.hosts],
            "export": str(self.export) if self.export else None,
            "tracking": {
                "run_id": self.tracking.run_id,
                "links": dict(self.tracking.links),
                "problems": list(self.tracking.problems),
            },
            "folder": str(self.folder),
        }


def plain_record(record: TrialRecord | None) -> Mapping[str, Any] | None:
    """Return a trial as plain data; ``estimate`` is the search's where `metrics` are final."""
    if record is None:
        return None
    return {
        "number": record.number,
        "params": dict(record.params),
        "metrics": dict(record.metrics),
        "estimate": dict(record.estimate),
        "cases": [plain_case(case) for case in record.cases],
    }


def plain_case(case: CaseRecord) -> dict[str, Any]:
    """Return a case as plain data."""
    return {**vars(case), "metrics": dict(case.metrics)}
