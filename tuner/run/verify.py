"""Measure a frozen script again, here, and say whether what its head claims holds.

The script is run as a user runs it, in turns with the plug-in's reference script, and what it wrote
is read back and scored. Nothing is taken from its text but the claim. Times are of whole scripts,
or of what `Plugin.remeasure` says where trials are not timed so.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tuner.config.load import Config
from tuner.config.objective import score
from tuner.execution.folders import working_folder
from tuner.export.bundle import write_script
from tuner.measure.luck import LUCKY, compare
from tuner.measure.stopwatch import timed_process
from tuner.plugin import Case, InputError, Params, Plugin
from tuner.records import Null
from tuner.report.console import show_duration
from tuner.run.claim import Claim
from tuner.run.rows import show_metric

SAME = 1e-3
"""Share by which a metric may be off the claimed one: another processor rounds otherwise, and a
head has six digits."""

ROUNDING = 1e-9
"""What a metric of 0 may be off."""

SLOWER = 0.5
"""Share of the claimed speed-up that must be found: another machine has other disks and caches."""

ROUNDS, ENOUGH = 3, 20.0
"""How often script and reference are timed, and after how many seconds no more."""


@dataclass(frozen=True)
class CaseCheck:
    """A case as it was measured: metric and seconds of script and reference, and the null.

    Seconds are not a number where no time was tuned, or none can be told.
    """

    name: str
    metric: float
    baseline: float
    seconds: float
    baseline_seconds: float
    null: Null | None

    @property
    def speedup(self) -> float:
        """The reference's time over the script's."""
        return self.baseline_seconds / self.seconds


@dataclass(frozen=True)
class Verified:
    """What was found.

    Attributes
    ----------
    metric : str
        Name of the primary metric.
    cases : sequence of CaseCheck
    lines : sequence of (bool or None, str)
        Whether each part of the claim holds, in words; None for what is only told.
    """

    metric: str
    cases: Sequence[CaseCheck]
    lines: Sequence[tuple[bool | None, str]]

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        lines = [{"holds": held, "text": text} for held, text in self.lines]
        fields = [asdict(case).items() for case in self.cases]
        cases = [{k: v if v == v else None for k, v in case} for case in fields]  # no NaN in JSON
        return {"metric": self.metric, "cases": cases, "lines": lines, "holds": self.holds}

    @property
    def holds(self) -> bool:
        """Whether nothing of the claim fails."""
        return all(held is not False for held, _ in self.lines)


def verify(script: Path, claim: Claim, config: Config) -> Verified:
    """Measure a script on the tuned cases of a configuration, in turns with the reference.

    Raises
    ------
    InputError
        Where the plug-in offers no command to run scripts with, or cannot read what they write.
    """
    plugin = config.plugin
    verbs = (type(plugin).read_output, type(plugin).remeasure)
    if verbs == (Plugin.read_output, Plugin.remeasure) or plugin.baseline() is None:
        raise InputError(
            f"plug-in '{plugin.name}' does not read what its scripts write, or has no baseline: "
            f"{script} cannot be verified"
        )
    with working_folder() as folder:
        reference = folder / f"reference{script.suffix}"
        write_script(reference, plugin.freeze_baseline)
        scripts = ((script.resolve(), claim.params), (reference, plugin.baseline() or {}))
        draws = config.engine.timing.nulls
        try:
            tuned = plugin.load().tuned
            cases = [_check(plugin, case, scripts, folder / "output", draws) for case in tuned]
        except _Fails as error:
            return Verified(plugin.primary, (), [(False, str(error))])
    same = claim.fingerprint == config.fingerprint
    is_timed = not {"score", "time"}.isdisjoint(config.objectives)
    if not is_timed:
        cases = [replace(one, seconds=math.nan, baseline_seconds=math.nan) for one in cases]
    lines = list(_compared(claim, cases, plugin, same, is_timed))
    return Verified(plugin.primary, cases, lines)


def rows_of(found: Verified) -> tuple[list[str], list[list[str]]]:
    """Return headers and rows, a case each."""
    headers = ["case", f"{found.metric}\nreference", found.metric, "p"]
    has_times = not all(math.isnan(case.speedup) for case in found.cases)
    headers += ["time\nreference", "time", "speed-up"] if has_times else []
    rows = []
    for case in found.cases:
        p = "-" if case.null is None else f"{case.null.p_value:.3g}"
        row = [case.name, show_metric(case.baseline), show_metric(case.metric), p]
        times = ["-", "-", "-"] if has_times else []
        if not math.isnan(case.speedup):
            times = [show_duration(case.baseline_seconds), show_duration(case.seconds)]
            times.append(f"{case.speedup:.1f}x")
        rows.append([*row, *times])
    return headers, rows


class _Fails(Exception):
    """A script fails where it is asked to do what it claims; the message says how."""


def _check(
    plugin: Plugin[Any],
    case: Case,
    scripts: Sequence[tuple[Path, Params]],
    output: Path,
    draws: int,
) -> CaseCheck:
    """Time and score a script and the reference on a case."""
    seconds: tuple[list[float], list[float]] = ([], [])
    metrics: list[Mapping[str, float]] = []
    null, began, name = None, time.monotonic(), plugin.primary
    for number in range(ROUNDS):
        for which, (script, params) in enumerate(scripts):
            took, found = _measured(plugin, case, script, params, output.with_name(f"out{which}"))
            seconds[which].append(took)
            if number == 0:
                metrics.append(plugin.score(case, found()))
                values = plugin.null_metrics(case, found(), 0, draws) if not which and draws else ()
                if len(values):
                    way = plugin.metrics[name]
                    null = compare(case.name, metrics[0][name], values, way, False)
        if time.monotonic() > began + ENOUGH:
            break
    own, other = (statistics.median(times) for times in seconds)
    return CaseCheck(case.name, metrics[0][name], metrics[1][name], own, other, null)


def _measured(
    plugin: Plugin[Any], case: Case, script: Path, params: Params, output: Path
) -> tuple[float, Callable[[], Any]]:
    """Run a script on a case; return its seconds, and what gives what `run` would have."""
    output.unlink(missing_ok=True)
    try:
        clocked = plugin.remeasure(case, script, params, output)
        if clocked is not None:
            return clocked.seconds, lambda: clocked.output
        command = plugin.command(case, script, output)
        if command is None:
            raise InputError(f"plug-in '{plugin.name}' gives no command that runs its scripts")
        return timed_process(command).own_seconds, lambda: plugin.read_output(case, output)
    except RuntimeError as error:
        raise _Fails(f"{script} fails on case '{case.name}': {error}") from None


def _compared(
    claim: Claim, cases: Sequence[CaseCheck], plugin: Plugin[Any], same: bool, is_timed: bool
) -> Iterator[tuple[bool | None, str]]:
    """Yield what of the claim holds; on other data only that it beats the reference, and luck."""
    name, mean = plugin.primary, statistics.fmean
    metric, speedup = mean(c.metric for c in cases), mean(c.speedup for c in cases)
    is_told = is_timed and not math.isnan(speedup)
    claimed = claim.metrics.get(name)
    if not same:
        yield None, "other data than the script was tuned on: its numbers are not compared"
    elif claimed is not None:
        is_same = math.isclose(metric, claimed, rel_tol=SAME, abs_tol=ROUNDING)
        yield is_same, f"{name} is {metric:.6g}, claimed {claimed:.6g}"
    if same and is_timed:
        yield from _faster(claim, speedup)
    if not same or claim.metrics.get("score", 1.0) > 0:
        sign = 1.0 if plugin.metrics[name] == "maximize" else -1.0
        gains = [sign * (c.metric - c.baseline) for c in cases]
        speedups = [c.speedup if is_told else 1.0 for c in cases]
        found = mean(map(score, gains, speedups))
        what = "score is" if is_told else f"gain in {name} is"
        than = "better" if found > 0 else "no better"
        yield found > 0, f"{what} {found:.4g}: {than} than the reference"
    nulls = [case.null for case in cases if case.null is not None]
    if nulls:
        worst = max(null.p_value for null in nulls)
        apart = "told" if worst < LUCKY else "not to be told"
        text = f"p is {worst:.3g} at most over {nulls[0].draws} draws: {apart} from luck"
        # no head claims it: of data that were tuned on it says too much
        yield (None if same else worst < LUCKY), text


def _faster(claim: Claim, speedup: float) -> Iterator[tuple[bool | None, str]]:
    """Yield whether the speed-up is half of what is claimed, as far as it can be told."""
    claimed = claim.metrics.get("speedup")
    if claimed is not None and math.isnan(speedup):
        yield (
            None,
            f"speed-up is not told: the program takes less than its launcher ({claimed:.3g}x)",
        )
    elif claimed is not None:
        text = f"speed-up is {speedup:.3g}x, claimed {claimed:.3g}x (half of it is asked for)"
        yield speedup >= SLOWER * claimed, text
