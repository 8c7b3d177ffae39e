"""A trial that was asked and is not told yet, and the job that runs it."""

from __future__ import annotations

from dataclasses import dataclass, field

import optuna

from tuner.config import Config
from tuner.executors.base import JobDone, TrialJob
from tuner.plugin import Params


@dataclass(frozen=True)
class Pending:
    """A trial under way.

    Attributes
    ----------
    number, trial_id : int
        Optuna's.
    searched : mapping
        What the sampler drew.
    live : Trial or None
        What intermediate values are reported to.
    looks : list of JobDone
        What has been measured of it, the first with its metrics; times corrected.
    """

    number: int
    trial_id: int
    searched: Params
    is_baseline: bool
    live: optuna.Trial | None
    looks: list[JobDone] = field(default_factory=list)

    def params(self, config: Config) -> Params:
        """Give every parameter: of the baseline those that the plug-in itself names."""
        if self.is_baseline:
            return dict(config.plugin.baseline() or {})
        return config.space.complete(self.searched)

    def job(self, config: Config) -> TrialJob:
        """Give the job that measures it, for the first time or once more."""
        engine = config.engine
        prunes = engine.study.pruner.name != "nop" and len(config.objectives) == 1
        first = not self.looks
        return TrialJob(
            self.number,
            self.params(config),
            engine.study.seed,
            # the baseline is slow: it tells of each case, for the user to see how far it is
            stepwise=first and (self.is_baseline or (prunes and self.live is not None)),
            limited=not self.is_baseline,
            process=engine.timing.mode == "process",
            baseline=self.is_baseline,
            scored=first,
        )
