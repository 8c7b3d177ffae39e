"""What a whole process costs beside ``run``: start-up, reading arguments, writing the output.

A search that saw ``run`` alone would overrate what a faster ``run`` is worth to the user of the
frozen script. So these seconds are measured once for each case, study and kind of machine, and are
part of every time that enters the score. The baseline is charged the same as a trial is: its own
script pays more than that (it imports more), so speed-ups are understated rather than overstated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import optuna

from tuner.config import Config
from tuner.executors.base import FixedCostJob
from tuner.plugin import InputError, Plugin
from tuner.records import CaseRecord

FIXED_COSTS = "tuner:fixed_costs"


@dataclass(frozen=True)
class FixedCosts:
    """Seconds by case, on one kind of machine; empty where only ``run`` is timed."""

    machine: str
    seconds: Mapping[str, float] = field(default_factory=dict)

    def charge(self, case: CaseRecord) -> CaseRecord:
        """Add the fixed cost to what `run` took; a whole process has paid it already."""
        if case.run_seconds is None:
            return case
        return replace(case, seconds=case.run_seconds + self.seconds.get(case.name, 0.0))

    def keep(self, study: optuna.Study) -> None:
        """Store with the study."""
        study.set_user_attr(FIXED_COSTS, json.dumps(vars(self)))


def kept_costs(study: optuna.Study, machine: str) -> FixedCosts | None:
    """Read what was stored; None where nothing was.

    Raises
    ------
    InputError
        Where the study was timed on another kind of machine.
    """
    text = study.user_attrs.get(FIXED_COSTS)
    if text is None:
        return None
    costs = FixedCosts(**json.loads(text))
    if costs.machine != machine:
        raise InputError(
            f"study '{study.study_name}' was timed on another machine ({costs.machine}; this is "
            f"{machine}): its times are not comparable; resume there, or start anew with --new"
        )
    return costs


def wanted(config: Config) -> bool:
    """Say whether the configuration and the plug-in call for fixed costs."""
    has_command = type(config.plugin).command is not Plugin.command
    timing = config.engine.timing
    return has_command and timing.mode == "run" and timing.fixed_cost_repeats > 0


def cost_job(config: Config, ticket: int, folder: Path) -> FixedCostJob:
    """Give the job that measures them, in `folder`."""
    params = {**config.plugin.defaults(), **config.space.fixed}
    repeats = config.engine.timing.fixed_cost_repeats
    return FixedCostJob(ticket, params, config.engine.study.seed, folder, repeats)
