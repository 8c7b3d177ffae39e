"""Plug-ins that misbehave: the trouble (`tests/toy/tuner_chaos.py`), its phase, what is to come."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass

import yaml

from tests.driver import Driver
from tests.faults.oracle import STORAGE, Place, is_clean
from tuner.execution.limits import SLOWER

TRIALS = 3
BYTES = 1_000_000
"""What the storage of so small a study may take, whatever a worker has written."""

ROOM = 100
CASE, PHASE = 2, 8
"""Seconds: of all limits, and of the one that a scenario is to run into. The machine may be busy,
and then whatever is well takes longer too."""


@dataclass(frozen=True)
class Scenario:
    """Trouble, and what is to come of it.

    Attributes
    ----------
    state, reason : str
        Of the one trial that the trouble befalls: its state, and a pattern of its reason's first
        line. Without a state all trials complete.
    said : str
        Pattern of what the command must say on standard error.
    code : int
        The command's exit code; a study that does not end well (1, 2) is only begun.
    """

    phase: str
    kind: str
    state: str = ""
    reason: str = ""
    said: str = ""
    code: int = 0
    always: bool = False
    command: bool = False
    memory: str | None = None
    quick: bool = False

    @property
    def limits(self) -> dict[str, float]:
        """The limits of the study: narrow where they are what it runs into."""
        if "time limit" not in self.reason + self.said and "limit of" not in self.said:
            return {"case_time": ROOM, "phase_time": ROOM}
        if self.phase == "run":
            return {"case_time": CASE, "phase_time": ROOM}
        if self.phase in ("baseline", "script"):
            return {"case_time": CASE, "phase_time": SLOWER * CASE}
        return {"case_time": ROOM, "phase_time": PHASE}

    @property
    def name(self) -> str:
        """What pytest calls it."""
        return f"{self.phase}-{self.kind}{'-always' * self.always}"


def failed(phase: str, kind: str, reason: str, quick: bool = False) -> Scenario:
    return Scenario(phase, kind, "failed", reason, quick=quick)


def too_long(phase: str, kind: str, quick: bool = False) -> Scenario:
    limit, key = (CASE, "case_time") if phase == "run" else (PHASE, "phase_time")
    reason = rf"over the time limit of {limit} s in {phase} \(limits.{key}\)$"
    return Scenario(phase, kind, "infeasible", reason, quick=quick)


def overcome(phase: str, kind: str, said: str = "", quick: bool = False) -> Scenario:
    return Scenario(phase, kind, said=said, quick=quick)


def ends(phase: str, kind: str, said: str, code: int = 1, quick: bool = False) -> Scenario:
    return Scenario(phase, kind, said=said, code=code, always=True, quick=quick)


def not_presented(phase: str, kind: str, why: str, quick: bool = False) -> Scenario:
    said = rf"could not be presented( \([^)]+\))?: {why}"
    return Scenario(phase, kind, said=said, always=True, quick=quick)


def died(number: int, name: str = "") -> str:
    named = rf" \({name}\)" if name else ""
    return f"the worker died: killed by signal {number}{named}$"


LOST = "the worker is lost: "
SECOND = "once more: the worker died: "

RUDE = r"ValueError: �cleared\\x00 \[bold\]b\[/bold\] \[/no\]\\ud800\\u202e$"

SCENARIOS = [
    failed("run", "nan", "metric 'height' of case 'left' is not a finite number"),
    failed("run", "inf", "metric 'height' of case 'left' is not a finite number"),
    failed("run", "-inf", "metric 'height' of case 'left' is not a finite number"),
    failed("run", "raise", "RuntimeError: boom$"),
    failed("run", "raise_empty", "RuntimeError$"),
    failed("run", "raise_rude", RUDE, quick=True),
    failed("run", "raise_long", r"ValueError: long long .{900}"),
    failed("run", "raise_unpicklable", "RuntimeError: "),
    Scenario("run", "raise_input", code=2, said="tuner: data: cannot be used; give other"),
    failed("run", "interrupt", "KeyboardInterrupt$"),
    failed("run", "exit", "SystemExit: 0$", quick=True),
    failed("run", "generator_exit", "GeneratorExit$"),
    failed("run", "stop_iteration", "StopIteration$"),
    failed("run", "recursion", "RecursionError: maximum recursion"),
    Scenario("run", "memory_error", "infeasible", "out of memory$"),
    failed("run", "exit0", "the worker died: exited with code 0$"),
    failed("run", "exit3", "the worker died: exited with code 3$"),
    failed("run", "segv", died(11, "SIGSEGV"), quick=True),
    failed("run", "abort", died(6, "SIGABRT")),
    failed("run", "kill", died(9, "SIGKILL")),
    failed("run", "term", died(15, "SIGTERM")),
    failed("run", "alarm", died(14, "SIGALRM")),
    failed("run", "real_time", died(37)),
    Scenario("run", "allocate", "infeasible", "over the memory limit: ", memory="500MB"),
    too_long("run", "spin"),
    too_long("run", "sleep"),
    too_long("run", "sleep_native", quick=True),
    too_long("run", "ignore_signals"),
    too_long("run", "stop"),
    overcome("run", "fork"),
    overcome("run", "fork_session"),
    too_long("run", "fork_sleep"),
    failed("run", "fork_kill", died(9, "SIGKILL")),
    failed("run", "fork_session_kill", died(9, "SIGKILL"), quick=True),
    failed("run", "fork_segv", died(11, "SIGSEGV")),
    failed("run", "fork_exit3", "the worker died: exited with code 3$"),
    overcome("run", "fork_through"),
    overcome("run", "daemon", quick=True),
    failed("run", "daemon_kill", died(9, "SIGKILL")),
    overcome("run", "program"),
    overcome("run", "loud"),
    failed("run", "loud_exit", "the worker died: exited with code 7$", quick=True),
    overcome("run", "rude"),
    failed("run", "rude_exit", "the worker died: exited with code 9$"),
    failed("run", "close_all", "the worker died: exited with code 1\nthe connection to the coord"),
    failed("run", "close_all_sleep", LOST + "it lives and has closed its connection", quick=True),
    failed("run", "close_all_spin", LOST + "it lives and has closed its connection"),
    overcome("run", "close_standard"),
    failed("run", "babble", LOST + r"what it sent is no message \(UnpicklingError\)"),
    failed("run", "half_a_message", LOST + r"what it sent is no message \(BlockingIOError\)"),
    overcome("run", "thread"),
    failed("run", "kill_parent", died(9, "SIGKILL")),
    failed("run", "fork_kill_parent", died(9, "SIGKILL")),
    failed("run", "kill_group", died(9, "SIGKILL")),
    too_long("score", "sleep", quick=True),
    too_long("score", "spin"),
    too_long("score", "sleep_native"),
    failed("score", "raise", "RuntimeError: boom$"),
    failed("score", "exit3", "the worker died: exited with code 3$"),
    failed("score", "segv", died(11, "SIGSEGV")),
    failed("score", "fork_kill", died(9, "SIGKILL")),
    failed("score", "close_all_sleep", LOST + "it lives and has closed its connection"),
    failed("score", "none", "TypeError: "),
    failed("score", "text", "ValueError: could not convert string to float: 'high'"),
    failed("score", "missing", r"ValueError: plug-in 'chaos' gave no metric \['height'\]"),
    failed("score", "list", "AttributeError: "),
    failed("score", "complex", "TypeError: "),
    overcome("score", "object"),
    ends("load", "sleep", r"did not complete.*over the time limit of 8 s in load \(limits.phase_"),
    ends("load", "raise", "did not complete.*: RuntimeError: boom"),
    ends("load", "raise_input", "tuner: data: cannot be used; give other", code=2),
    ends("load", "exit3", "the worker died: exited with code 3"),
    overcome("load", "exit3", SECOND + "exited with code 3"),
    overcome("load", "fork_kill", SECOND + "killed by signal 9"),
    overcome("load", "close_all_sleep", "once more: " + LOST),
    overcome("load", "daemon"),
    overcome("baseline", "kill", SECOND + r"killed by signal 9 \(SIGKILL\)", quick=True),
    ends("baseline", "kill", r"the same command tries again: the worker died: killed by signal 9"),
    ends("baseline", "raise", "the same command tries again: RuntimeError: boom"),
    ends("baseline", "sleep", r"over the time limit of 20 s in run \(limits.phase_time\)"),
    ends("freeze", "sleep", r"trial \d could not be frozen.*limit of 8 s in freeze", quick=True),
    ends("freeze", "raise", r"trial \d could not be frozen.*: RuntimeError: boom"),
    ends("freeze", "segv", r"trial \d could not be frozen.*killed by signal 11 \(SIGSEGV\)"),
    overcome("freeze", "kill"),
    not_presented("figures", "sleep", "over the time limit of 8 s in figures"),
    not_presented("figures", "segv", r"the worker died: killed by signal 11"),
    not_presented("tables", "close_all_sleep", LOST),
    not_presented("findings", "unpicklable", "TypeError: "),
    overcome("figures", "kill"),
    Scenario(
        *("script", "sleep"),
        said=r"could not be timed: over the time limit of 20 s in run",
        code=1,
        command=True,
    ),
    Scenario(
        *("script", "rude_exit"),
        said=r"could not be timed: .* ended with exit code 9",
        code=1,
        command=True,
    ),
]


def configure(place: Place, scenario: Scenario) -> None:
    """Write the configuration of a study that meets the trouble."""
    chaos = {name: getattr(scenario, name) for name in ("phase", "kind", "always", "command")}
    sections = {
        "plugin": "chaos",
        "study": {"trials": TRIALS, "sampler": "random", "max_failures": 3},
        "chaos": chaos,
        "limits": {**scenario.limits, "memory": scenario.memory},
        "timing": {
            "finalists": 0,
            "repeats": 1,
            "nulls": 0,
            "fixed_cost_repeats": int(scenario.command),
        },
        "tracking": {"enabled": False},
    }
    (place.folder / "study.yaml").write_text(yaml.safe_dump(sections))


def run(driver: Driver, place: Place) -> subprocess.CompletedProcess[str]:
    """Run the study as the command does."""
    environment = {**os.environ, **place.environment, "PYTHONPATH": str(driver.site)}
    arguments = ("run", "study.yaml", "--json")
    return driver.run(*arguments, folder=place.folder, environment=environment)


def wrongs(driver: Driver, place: Place, scenario: Scenario) -> list[str]:
    """Run a scenario; return all that came otherwise, each line as `Place` names its kind."""
    configure(place, scenario)
    try:
        ended = run(driver, place)
    except subprocess.TimeoutExpired:
        return ["hung: the study", *place.leftovers()]
    code, out, err = ended.returncode, ended.stdout, ended.stderr
    trouble = place.trouble(complete=None if code else TRIALS)
    found = place.leftovers()
    found += [line for line in trouble if not (code and line.startswith("stuck"))]  # resumable
    if code != scenario.code:
        found.append(f"exit code {code}, not {scenario.code}: {err[-500:]}")
    if (place.folder / STORAGE).stat().st_size >= BYTES:
        found.append(f"the storage has grown to {BYTES} bytes or more")
    if not is_clean(out + err):
        found.append(f"not fit for a terminal: {err[-500:]!r}")
    if not re.search(scenario.said, out + err, re.DOTALL):
        found.append(f"did not say {scenario.said!r}: {err[-500:]}")
    if code:
        expected = "Traceback" not in err.partition("tuner: ")[0]
        return found + ([] if expected else [f"a traceback: {err[-500:]}"])
    others = [record for record in place.records() if record.state != "complete"]
    if len(others) != bool(scenario.state):
        found.append(f"{len(others)} trials did not complete")
    for record in others:
        reason = record.reason or ""
        is_right = record.state == scenario.state and re.match(scenario.reason, reason, re.M)
        if not is_right or not is_clean(reason):
            found.append(f"trial {record.number} is {record.state}: {reason[:300]!r}")
    if json.loads(out)["export"] != "out/study/script/study.py":
        found.append("no script")
    return found
