"""What a study works on, and within what bounds: made once from the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuner.config.objective import Objective
from tuner.config.schema import StudySection, TimingSection
from tuner.config.space import Space
from tuner.plugin import Params, Plugin


@dataclass(frozen=True)
class Task:
    """What search and selection need of a configuration.

    Attributes
    ----------
    plugin : Plugin
        The method. Its cases are not loaded: workers do that.
    space : Space
        What is searched.
    objective : Objective
        How metrics and times become what is tuned.
    baseline : mapping or None
        The reference params, trial 0; None where the plug-in has none.
    study, timing : StudySection, TimingSection
        Sampler, seed and bounds of the search; what is timed, and how often.
    case_time : float
        Seconds that one case may take, the baseline's excepted.
    select : str, int or mapping
        Which trial is exported: `tuner.config.schema.ExportSection.select`.
    alike : bool
        Whether hosts of one kind of machine are taken to be equally fast.
    """

    plugin: Plugin[Any]
    space: Space
    objective: Objective
    baseline: Params | None
    study: StudySection
    timing: TimingSection
    case_time: float
    select: str | int | Mapping[str, str]
    alike: bool = False

    @property
    def seed(self) -> int:
        """Return the seed of the sampler, of the method and of the final timing."""
        return self.study.seed

    @property
    def prunes(self) -> bool:
        """Whether trials may be given up between cases."""
        return self.study.pruner.name != "nop" and len(self.objective.objectives) == 1

    @property
    def compares_times(self) -> bool:
        """Whether times enter what is tuned, or by what the best trial is chosen."""
        names = self.objective.objectives
        is_tuned = not {"score", "time"}.isdisjoint(names)
        return is_tuned or (len(names) > 1 and self.baseline is not None)

    @property
    def has_script(self) -> bool:
        """Whether the frozen script can be timed as a whole process."""
        return type(self.plugin).command is not Plugin.command
