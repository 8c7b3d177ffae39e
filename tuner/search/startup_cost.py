"""What a whole process costs beside ``run``: start-up, reading arguments, writing the output.

A search that saw ``run`` alone would overrate what a faster ``run`` is worth to the user of the
frozen script. So these seconds are measured once for each case and host, and are part of every time
that enters the score; on held-out cases only where no script is timed as a whole at the end. Where
a plug-in says that scripts of some settings cost more than those of others (`Plugin.cost_params`),
each kind is measured when it first turns up. The baseline is charged as a setting of the search is:
its own script pays more than that (it imports more), so speed-ups are understated rather than
overstated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from tuner.config.task import Task
from tuner.execution.jobs import FixedCostJob, JobDone, Ticket
from tuner.plugin import Params
from tuner.records import CaseRecord
from tuner.search.stopped import StudyStopped


class FixedCosts:
    """Seconds by kind of setting and case, on one host.

    Parameters
    ----------
    task : Task
        Its plug-in tells kinds of settings apart.
    seconds : mapping
        What has been measured before.
    """

    def __init__(self, task: Task, seconds: Mapping[str, Mapping[str, float]]) -> None:
        self._task = task
        timing = task.timing
        self._timed = task.has_script and timing.mode == "run" and timing.fixed_cost_repeats > 0
        self.seconds = dict(seconds)

    def knows(self, params: Params, held_out: bool = False) -> bool:
        """Return whether `params` can be charged without measuring."""
        return not self._timed or self._kind(params, held_out) in self.seconds

    def charge(self, case: CaseRecord, params: Params, held_out: bool = False) -> CaseRecord:
        """Add the fixed cost of `params` to what `run` took; a whole process has paid it."""
        if case.run_seconds is None:
            return case
        seconds = self.seconds[self._kind(params, held_out)] if self._timed else {}
        return replace(case, seconds=case.run_seconds + seconds.get(case.name, 0.0))

    def job(
        self,
        params: Params,
        held_out: bool = False,
        ticket: int = Ticket.START_UP,
        host: str = "",
    ) -> FixedCostJob:
        """Return the job that measures the kind of `params`."""
        task = self._task
        kind = {**task.plugin.defaults(), **task.space.fixed, **task.plugin.cost_params(params)}
        repeats = task.timing.fixed_cost_repeats
        name = self._kind(params, held_out)
        return FixedCostJob(kind, task.seed, repeats, held_out, ticket, host, name)

    def take(self, job: FixedCostJob, done: JobDone) -> None:
        """Take in how a job has ended; `StudyStopped` where the script fails."""
        if done.state != "complete":
            raise StudyStopped(
                f"the frozen script could not be timed: {done.reason} "
                "(timing.fixed_cost_repeats: 0 leaves it out)"
            )
        self.seconds[job.kind] = done.fixed_costs

    def _kind(self, params: Params, held_out: bool) -> str:
        kind = json.dumps(self._task.plugin.cost_params(params), sort_keys=True)
        return f"held out: {kind}" if held_out else kind
