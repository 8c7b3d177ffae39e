"""What the coordinator knows of a study, as plain data: trackers and reports read these."""

from tuner.records.study import Final, Finalist, HostClock, Null, StudyInfo, Summary
from tuner.records.trial import (
    MOST_LOSSES,
    CaseRecord,
    State,
    Trial,
    TrialRecord,
    baseline_of,
    plain,
    record_of,
)

__all__ = [
    "MOST_LOSSES",
    "CaseRecord",
    "Final",
    "Finalist",
    "HostClock",
    "Null",
    "State",
    "StudyInfo",
    "Summary",
    "Trial",
    "TrialRecord",
    "baseline_of",
    "plain",
    "record_of",
]
