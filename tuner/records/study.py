"""A study as plain data: what it is, its final timing, and how it stands at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuner.plugin import Direction
from tuner.records.trial import CaseRecord, State, TrialRecord


@dataclass(frozen=True)
class StudyInfo:
    """What identifies and describes a study.

    Attributes
    ----------
    name, plugin : str
        Study name; entry-point name of the plug-in.
    config : mapping
        The validated configuration as plain data (JSON-ready).
    signature : str
        Hash of what decides a trial's outcome; a study is resumed only where it is equal.
    metrics : mapping
        The plug-in's metrics and their directions.
    primary : str
        The metric that the score is made from.
    objectives : mapping
        Tuned quantities (``score``, ``r``, ``time``, ...) and their directions; often one.
    search_space : mapping
        Name to a JSON-ready description: ``{"type": "float", "low": .., "high": .., "log": true}``.
    """

    name: str
    plugin: str
    config: Mapping[str, Any]
    signature: str
    seed: int
    storage: str
    metrics: Mapping[str, Direction]
    primary: str
    objectives: Mapping[str, Direction]
    search_space: Mapping[str, Mapping[str, Any]]
    versions: Mapping[str, str]
    fingerprint: str
    git_commit: str | None = None


@dataclass(frozen=True)
class Finalist:
    """One of the best settings, timed again beside the others.

    Attributes
    ----------
    number : int
        Trial number.
    repeats : int
        How often it was timed.
    seconds, metrics : mapping
        By case: its time, and the primary metric as the search measured it.
    speedup : mapping
        By case: the baseline's time over it; empty where there is no baseline.
    score, low, high : float
        What decides (the time-weighted score; without one, minus the mean time), and its 95 %
        interval.
    probability_best : float
        Probability that no other finalist is better.
    errors : mapping
        By case: standard error of the logarithm of its time.
    estimate : float or None
        What decides, as the search measured it.
    """

    number: int
    repeats: int
    seconds: Mapping[str, float]
    metrics: Mapping[str, float]
    speedup: Mapping[str, float]
    score: float
    low: float
    high: float
    probability_best: float
    errors: Mapping[str, float] = field(default_factory=dict)
    estimate: float | None = None


@dataclass(frozen=True)
class Final:
    """The last word on which setting is best.

    Attributes
    ----------
    finalists : sequence of Finalist
        Best first; the first is frozen.
    what : str
        ``process`` (whole frozen scripts) or ``run``.
    baseline, baseline_errors : mapping
        The baseline's seconds by case, timed among the finalists, and the standard errors of their
        logarithms.
    stopped : bool
        Whether the user ended the timing before it was sure or its time was up.
    probability_best, probability_order : float
        That the first is within `indifference` of the best; that the whole ranking is right.
    trials : int
        Completed trials that it was chosen from.
    """

    finalists: Sequence[Finalist]
    what: str
    baseline: Mapping[str, float]
    probability_best: float
    probability_order: float
    indifference: float
    trials: int
    baseline_errors: Mapping[str, float] = field(default_factory=dict)
    stopped: bool = False

    def first_of(self, records: Sequence[TrialRecord]) -> TrialRecord:
        """Return the trial that came out first, of the records of its study."""
        return next(r for r in records if r.number == self.finalists[0].number)


@dataclass(frozen=True)
class Null:
    """A case's primary metric beside what luck alone gives.

    Attributes
    ----------
    case : str
        Name of the case.
    held_out : bool
        Whether tuning never saw it. For a tuned case the p-value is optimistic: the setting was
        chosen, among all trials, by this very metric, and the null does not repeat that.
    metric, mean, point : float
        As measured; the null's mean, and the point that luck passes in one draw of twenty.
    p_value : float
        Share of the `draws` as good or better, the observed one counted among them (B. Phipson and
        G. K. Smyth, 2010, doi:10.2202/1544-6115.1585).
    """

    case: str
    held_out: bool
    metric: float
    mean: float
    point: float
    p_value: float
    draws: int


@dataclass(frozen=True)
class HostClock:
    """A host, or hosts of one kind that are taken to be equally fast, by its baseline.

    Attributes
    ----------
    host, machine : str
        Its name, or their names; CPU model and number of cores.
    trials : int
        How many trials ended there.
    baseline : mapping
        Seconds of the baseline there, by case.
    """

    host: str
    machine: str
    trials: int
    baseline: Mapping[str, float]


@dataclass(frozen=True)
class Summary:
    """How a study stands when the command ends.

    Attributes
    ----------
    best, baseline : TrialRecord or None
        The best complete trial and trial 0.
    held_out : sequence of CaseRecord
        The frozen setting on cases that tuning never saw; ``held_out_baseline`` beside it.
    counts : mapping
        Number of trials by state.
    finished : bool
        Whether the study reached its number of trials or its timeout; False after an interrupt.
    artifacts : Path or None
        A folder of figures, tables, the frozen script and the configuration.
    verdict : sequence of str
        What came out, in words, a line each; see `tuner.selection.findings`.
    final : Final or None
        The best settings timed again, which `best` was chosen by; None where time is not tuned.
    nulls : sequence of Null
        The best setting's metric beside its null, for each case; empty where there is no null.
    findings : sequence of str
        What the plug-in finds in the best setting's results; part of the verdict.
    unpresented : str
        Why the best setting was not run once more on all cases, held-out ones too; or "".
    hosts : sequence of HostClock
        Those whose baseline was measured; the first one's seconds are those of the study.
    """

    best: TrialRecord | None
    baseline: TrialRecord | None
    counts: Mapping[State, int]
    finished: bool
    held_out: Sequence[CaseRecord] = ()
    held_out_baseline: Sequence[CaseRecord] = ()
    artifacts: Path | None = None
    notes: Sequence[str] = field(default_factory=tuple)
    final: Final | None = None
    nulls: Sequence[Null] = ()
    findings: Sequence[str] = ()
    verdict: Sequence[str] = ()
    unpresented: str = ""
    hosts: Sequence[HostClock] = ()
