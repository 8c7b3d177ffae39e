"""What a study found, in words: a few plain rules over its numbers, a line each.

- No trial beats the baseline: the best score is not positive, or no objective is better.
- Luck: the metric beside its null, `LUCKY` is the p-value from which it is called luck. For tuned
  cases the p-value is optimistic, since the trial was chosen by that metric.
- What the plug-in finds (`tuner.plugin.Plugin.findings`), such as a test of its own.
- The baseline beside the null: a gain over what luck gives too says little.
- Held-out cases: the gain over the baseline beside that of the tuned cases; "disagree" where the
  tuned cases gain and the held-out cases do not, or the other way round.
- Edge: a searched number within `EDGE` of an end of its range, on the range's own scale (logarithm
  or not), where the plug-in accepts a value beyond that end. Choices have no ends, and a parameter
  that the configuration fixes is not searched.
- Trials: how many of those that were asked for completed, and why the others did not.
"""

from __future__ import annotations

import collections
import math
import re
from collections.abc import Iterator, Mapping, Sequence

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from tuner.config.objective import Objective
from tuner.config.task import Task
from tuner.measure.luck import LUCKY
from tuner.plugin import InputError, Params
from tuner.records import CaseRecord, Null, State, Summary, TrialRecord

EDGE = 0.01
CARRIED = 0.5
"""Share of the tuned gain below which a held-out gain is said to be a small part of it."""


def verdict(task: Task, summary: Summary, records: Sequence[TrialRecord], ending: str) -> list[str]:
    """Return what came out, a line for each finding, the most important first.

    Parameters
    ----------
    summary : Summary
        With the chosen trial stated by its final times, where it has some.
    records : sequence of TrialRecord
        All finished trials.
    ending : str
        Why the trials ended; see `tuner.selection.results.RunResult`.
    """
    objective = task.objective
    found = [*unfinished(task, summary.counts, ending)]
    found += [*uncompleted(records)]
    best = summary.best
    if best is None or not summary.finished:
        return found
    result = [summary.unpresented] if summary.unpresented else []
    result += [*no_gain(summary, objective)]
    result += [*luck([n for n in summary.nulls if not n.held_out], objective.primary, "tuned")]
    result += [*luck([n for n in summary.nulls if n.held_out], objective.primary, "held-out")]
    result += [*weak_baseline(summary, objective), *summary.findings]
    result += [*held_out(summary, objective)]
    if not best.is_baseline:
        result += [*edges(best.searched, best.params, task)]
    return [*result, *certainty(summary), *found]


def no_gain(summary: Summary, objective: Objective) -> Iterator[str]:
    """Yield a line where no trial beats the baseline, or the best gains in some cases only."""
    best, baseline = summary.best, summary.baseline
    if best is None or baseline is None:
        return
    name, sign = objective.ranked_by([best, baseline])
    if best.is_baseline or sign * (best.metrics[name] - baseline.metrics[name]) <= 0:
        yield f"no trial beats the baseline (trial {baseline.number}) in {name}"
        return
    flat = [case.name for case in baseline.cases if case.metrics[objective.primary] == 0.0]
    if flat:
        yield (
            f"the baseline's {objective.primary} is exactly 0 in {', '.join(flat)}: it found "
            "nothing there, so that every gain looks large; the metric itself says more"
        )
    gains = gains_of(best.cases, baseline.cases, objective)
    if 0 < (better := sum(gain > 0 for gain in gains)) < len(gains):
        worse = [case.name for case, gain in zip(best.cases, gains, strict=True) if gain <= 0]
        yield (
            f"the tuned cases disagree: {objective.primary} is better than the baseline's in "
            f"{better} of {len(gains)}, not in {', '.join(worse)}"
        )


def gains_of(
    cases: Sequence[CaseRecord], baseline: Sequence[CaseRecord], objective: Objective
) -> list[float]:
    """Return how much better than the baseline the primary metric is, by case."""
    name = objective.primary
    beside = {case.name: case.metrics[name] for case in baseline}
    return [objective.sign * (case.metrics[name] - beside[case.name]) for case in cases]


def luck(nulls: Sequence[Null], metric: str, which: str) -> Iterator[str]:
    """Yield a line that compares a metric with what luck alone gives."""
    if not nulls:
        return
    count = len(nulls)
    real = sum(null.p_value < LUCKY for null in nulls)
    value, mean = (sum(v) / count for v in ([n.metric for n in nulls], [n.mean for n in nulls]))
    of = f" (mean of {count})" if count > 1 else ""
    p_values = ", ".join(f"{null.p_value:.3g}" for null in nulls)
    if real == count:
        judged = "better than luck" if count == 1 else "better than luck in each"
    elif real == 0:
        judged = "not distinguishable from luck"
    else:
        judged = f"distinguishable from luck in {real} of {count} only"
    chosen = which == "tuned" and real
    caveat = "; optimistic: the trial was chosen by its results there" if chosen else ""
    yield (
        f"{which} {_cases(count)}: {metric} {value:.4f}{of} is {judged}: "
        f"p {p_values}, null mean {mean:.4f}{caveat}"
    )


def weak_baseline(summary: Summary, objective: Objective) -> Iterator[str]:
    """Yield a line where the baseline is no better than luck is on the average."""
    cases = (*(summary.baseline.cases if summary.baseline else ()), *summary.held_out_baseline)
    means = {null.case: null.mean for null in summary.nulls}
    name = objective.primary
    weak = [
        f"{case.metrics[name]:.4f} in {case.name}"
        for case in cases
        if case.name in means and objective.sign * (case.metrics[name] - means[case.name]) <= 0
    ]
    if weak:
        yield (
            f"the baseline's {name} is below the null mean ({', '.join(weak)}): a gain over it "
            "says little there"
        )


def held_out(summary: Summary, objective: Objective) -> Iterator[str]:
    """Yield a line on whether what was gained on the tuned cases is gained on held-out ones."""
    best, baseline = summary.best, summary.baseline
    if best is None or baseline is None or best.is_baseline:
        return
    tuned = _mean(gains_of(best.cases, baseline.cases, objective))
    if not summary.held_out or not summary.held_out_baseline:
        why = "held-out cases are not known of" if summary.unpresented else "no case was held out"
        yield f"{objective.primary} gains {tuned:+.4f} over the baseline; {why}"
        return
    gain = _mean(gains_of(summary.held_out, summary.held_out_baseline, objective))
    numbers = (
        f"held out: {objective.primary} gains {gain:+.4f} over the baseline (tuned {tuned:+.4f})"
    )
    if (gain > 0) != (tuned > 0):
        better = "trial" if gain > 0 else "baseline"
        yield (
            f"{numbers}: the tuned and the held-out cases disagree about the best; "
            f"the {better} is better on the held-out ones"
        )
        if gain <= 0:
            yield "what to do: tune on more cases"
    elif 0 < gain < CARRIED * tuned:
        yield f"{numbers}: less than half of it carries over to other data"
    else:
        yield numbers


def edges(searched: Params, params: Params, task: Task) -> Iterator[str]:
    """Yield a line for each searched number at an end of its range that could be widened."""
    for name, value in searched.items():
        dist = task.space.searched.get(name)
        end = edge_of(value, dist) if dist is not None else None
        if end is None or not isinstance(dist, FloatDistribution | IntDistribution):
            continue
        try:
            task.plugin.check({**params, name: beyond(dist, end)})
        except InputError:
            continue  # a wider range would hold no setting that can be run
        scale = ", log" if dist.log else ""
        yield (
            f"the best lies at the {end} end of {name}'s range "
            f"({value:.6g} of {dist.low:g} to {dist.high:g}{scale}): widen it in search_space"
        )


def edge_of(value: object, dist: BaseDistribution) -> str | None:
    """Return ``"lower"`` or ``"upper"`` where `value` lies at an end of `dist`; else None."""
    if not isinstance(dist, FloatDistribution | IntDistribution) or dist.low >= dist.high:
        return None
    if not isinstance(value, int | float):
        return None
    low, high, at = float(dist.low), float(dist.high), float(value)
    if dist.log:
        low, high, at = math.log(low), math.log(high), math.log(at)
    place = (at - low) / (high - low)
    if place <= EDGE:
        return "lower"
    return "upper" if place >= 1 - EDGE else None


def beyond(dist: FloatDistribution | IntDistribution, end: str) -> float:
    """Return a value a little outside of a range, on its own scale."""
    outward = -1 if end == "lower" else 1
    limit = dist.low if end == "lower" else dist.high
    if isinstance(dist, IntDistribution):
        return limit + outward * max(1, dist.step)
    if dist.log:
        return float(limit * (dist.high / dist.low) ** (outward * EDGE))
    return float(limit + outward * EDGE * (dist.high - dist.low))


def certainty(summary: Summary) -> Iterator[str]:
    """Yield how sure the final timing is of the choice, and where it overruled the search."""
    final = summary.final
    if final is None:
        return
    if final.stopped:
        yield "the timing of the finalists was stopped early: the choice among them is less sure"
    first = final.finalists[0]
    if len(final.finalists) > 1:
        yield (
            f"of {len(final.finalists)} finalists trial {first.number} is within "
            f"{final.indifference:.0%} of the best with probability {final.probability_best:.2f}"
        )
    leader = max(
        final.finalists, key=lambda row: -math.inf if row.estimate is None else row.estimate
    )
    if leader.number != first.number:
        yield (
            f"the search had trial {leader.number} in front, by estimated times; timed again, "
            f"trial {first.number} is ahead of it"
        )


def unfinished(task: Task, counts: Mapping[State, int], ending: str) -> Iterator[str]:
    """Yield a line where fewer trials completed than were asked for, with the reason."""
    wanted, done = task.study.trials, counts.get("complete", 0)
    if done >= wanted:
        return
    timeout = task.study.timeout
    why = {
        "timeout": f"study.timeout ({timeout:g} s) was reached" if timeout else "time was up",
        "exhausted": "no setting is left that is worth trying",
        "interrupted": "the run was stopped",
    }.get(ending, ending)
    yield f"only {done} of {wanted} trials completed: {why}"


def uncompleted(records: Sequence[TrialRecord]) -> Iterator[str]:
    """Yield, for each way not to complete, how many trials ended so and the commonest reason."""
    for state in ("failed", "infeasible", "pruned"):
        ended = [record for record in records if record.state == state]
        reasons = [next(iter((r.reason or "no reason known").splitlines()), "") for r in ended]
        kinds = collections.Counter(map(_kind, reasons))
        if not kinds:
            continue
        ((kind, count),) = kinds.most_common(1)
        example = next(reason for reason in reasons if _kind(reason) == kind)
        because = "because" if len(kinds) == 1 else f"{count} of them because"
        trials = "trial" if len(ended) == 1 else "trials"
        yield f"{len(ended)} {trials} {state}, {because}: {example}"


def _kind(reason: str) -> str:
    """Return a reason without its numbers: those that differ in them alone are one kind."""
    return re.sub(r"\d+(\.\d+)?", "#", reason)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _cases(count: int) -> str:
    return "case" if count == 1 else "cases"
