"""What a whole process costs beside ``run``: start-up, reading arguments, writing the output.

A search that saw ``run`` alone would overrate what a faster ``run`` is worth to the user of the
frozen script. So these seconds are measured once for each case, study and kind of machine, and are
part of every time that enters the score; on held-out cases only where no script is timed as a whole
at the end. Where a plug-in says that scripts of some settings cost more than those of others
(`Plugin.cost_params`), each kind is measured when it first turns up. The baseline is charged as a
setting of the search is: its own script pays more than that (it imports more), so speed-ups are
understated rather than overstated.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace

import optuna

from tuner.config.task import Task
from tuner.execution.jobs import Executor, FixedCostJob, run_alone
from tuner.measure.stopwatch import machine
from tuner.plugin import InputError, Params
from tuner.records import CaseRecord

FIXED_COSTS = "tuner:process_costs"


class CostError(RuntimeError):
    """A frozen script could not be timed."""


class FixedCosts:
    """Seconds by kind of setting and case, on one kind of machine; kept with the study.

    Parameters
    ----------
    task : Task
        Its plug-in tells kinds of settings apart.
    study
        The Optuna study, opened for writing; what it has measured before is read back. The
        machine is kept even where nothing of it is charged.

    Raises
    ------
    InputError
        Where the study was timed on another kind of machine.
    """

    def __init__(self, task: Task, study: optuna.Study) -> None:
        self._task = task
        self._study = study
        timing = task.timing
        self._timed = task.has_script and timing.mode == "run" and timing.fixed_cost_repeats > 0
        self._seconds: dict[str, Mapping[str, float]] = {}
        text = study.user_attrs.get(FIXED_COSTS)
        if text is None:
            self._keep()
            return
        plain = json.loads(text)
        if plain["machine"] != machine():
            raise InputError(
                f"study '{study.study_name}' was timed on another machine ({plain['machine']}; "
                f"this is {machine()}): its times are not comparable; resume there, or start anew "
                "with --new"
            )
        self._seconds = plain["seconds"]

    def knows(self, params: Params, held_out: bool = False) -> bool:
        """Return whether `params` can be charged without measuring."""
        return not self._timed or self._kind(params, held_out) in self._seconds

    def charge(self, case: CaseRecord, params: Params, held_out: bool = False) -> CaseRecord:
        """Add the fixed cost of `params` to what `run` took; a whole process has paid it."""
        if case.run_seconds is None:
            return case
        seconds = self._seconds[self._kind(params, held_out)] if self._timed else {}
        return replace(case, seconds=case.run_seconds + seconds.get(case.name, 0.0))

    def ensure(
        self,
        params: Params,
        executor: Executor,
        beat: Callable[[], None],
        held_out: bool = False,
    ) -> None:
        """See that `params` can be charged: measure their kind, on an idle `executor`.

        Raises
        ------
        InputError
            Where the plug-in finds its input at fault.
        CostError
            Where the script fails.
        """
        if self.knows(params, held_out):
            return
        plugin, repeats = self._task.plugin, self._task.timing.fixed_cost_repeats
        kind = {**plugin.defaults(), **self._task.space.fixed, **plugin.cost_params(params)}
        done = run_alone(executor, FixedCostJob(kind, self._task.seed, repeats, held_out), beat)
        if done.bad_input:
            raise InputError(done.reason)
        if done.state != "complete":
            raise CostError(
                f"the frozen script could not be timed: {done.reason} "
                "(timing.fixed_cost_repeats: 0 leaves it out)"
            )
        self._seconds[self._kind(params, held_out)] = done.fixed_costs
        self._keep()

    def _keep(self) -> None:
        plain = {"machine": machine(), "seconds": self._seconds}
        self._study.set_user_attr(FIXED_COSTS, json.dumps(plain))

    def _kind(self, params: Params, held_out: bool) -> str:
        kind = json.dumps(self._task.plugin.cost_params(params), sort_keys=True)
        return f"held out: {kind}" if held_out else kind
