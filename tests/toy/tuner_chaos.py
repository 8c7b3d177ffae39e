"""A parabola with a switch for trouble: what may go wrong in a plug-in, and where.

``chaos: {phase: run, kind: segv}`` brings the trouble about once in a study, in the phase named
and not for the baseline (which is the phase ``baseline``); ``always: true`` each time.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from optuna.distributions import FloatDistribution
from pydantic import BaseModel, ConfigDict

from tuner.plugin import Case, Cases, InputError, Plugin

LONG = 900
"""Seconds that what hangs would hang: longer than any test waits."""

BYTES = 100 << 20
"""What a plug-in that cannot be quiet writes."""

NOISE = b"\x00\xff\xfe\x1b[2J\x1b]0;owned\x07\x1b[31mred \xc2\x9b31m\n"


def nothing() -> Any:
    return None


def hang() -> None:
    time.sleep(LONG)


def fail(error: BaseException) -> None:
    raise error


def recurse() -> None:
    recurse()


def allocate() -> None:
    held = []
    while True:
        held.append(b"x" * (32 << 20))
        time.sleep(0.01)


def spin() -> None:
    while True:
        pass


def ignore_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    hang()


def fork(then: Callable[[], object] = nothing, child: Callable[[], object] = nothing) -> Any:
    """Leave a child behind that lives; do `then` in the parent."""
    if os.fork() == 0:
        child()
        time.sleep(LONG)
        os._exit(0)
    time.sleep(0.2)
    return then()


def daemon() -> None:
    """Leave a grandchild in a session of its own, with nothing of ours in its environment."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execve(sys.executable, [sys.executable, "-S", "-c", SLEEPER], {})
        os._exit(0)
    os.wait()


SLEEPER = f"import time; time.sleep({LONG})"


def program() -> None:
    subprocess.Popen([sys.executable, "-S", "-c", SLEEPER], start_new_session=True).pid  # noqa: B018


def loud(then: Callable[[], object] = nothing, line: bytes = b"x" * 999 + b"\n") -> Any:
    for _ in range(BYTES // len(line)):
        os.write(2, line)
    return then()


def rude(then: Callable[[], object] = nothing) -> Any:
    os.write(1, NOISE * 100)
    os.write(2, NOISE * 5)
    return then()


def close_all(then: Callable[[], object] = nothing) -> Any:
    os.closerange(3, 4096)
    return then()


def babble() -> None:
    """Write to every socket that is open, the worker's connection among them."""
    for descriptor in range(3, 64):
        try:
            with socket.socket(fileno=os.dup(descriptor)) as found:
                found.send(b"\x00\x00\x00\x07garbage")
        except OSError:
            continue


def half_a_message() -> None:
    """Begin a message on every socket, and leave it at that."""
    for descriptor in range(3, 64):
        try:
            with socket.socket(fileno=os.dup(descriptor)) as found:
                found.send(b"\x00\x01\x00\x00beginning")
        except OSError:
            continue
    hang()


def thread() -> None:
    threading.Thread(target=hang).start()


def close_standard() -> None:
    os.close(1)
    os.close(2)


def die(number: int) -> None:
    os.kill(os.getpid(), number)
    hang()


def kill_coordinator() -> None:
    """Kill the process that started the worker's keeper, and leave children behind."""
    fork(child=os.setsid)
    with open(f"/proc/{os.getppid()}/stat") as file:
        os.kill(int(file.read().rpartition(")")[2].split()[1]), signal.SIGKILL)
    hang()


def native(call: str, *arguments: Any) -> None:
    """Call C with the interpreter's lock held: no other thread of the worker runs."""
    getattr(ctypes.PyDLL(None), call)(*arguments)


class Unpicklable:
    def __init__(self) -> None:
        self.call = lambda: 1

    def __float__(self) -> float:
        return 0.5


KINDS: Mapping[str, Callable[[], Any]] = {
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "-inf": lambda: float("-inf"),
    "raise": lambda: fail(RuntimeError("boom")),
    "raise_empty": lambda: fail(RuntimeError()),
    "raise_rude": lambda: fail(ValueError("\x1b[2Jcleared\x00 [bold]b[/bold] [/no]\ud800\u202e")),
    "raise_long": lambda: fail(ValueError("long " * (BYTES // 50))),
    "raise_unpicklable": lambda: fail(RuntimeError(Unpicklable())),
    "raise_input": lambda: fail(InputError("data: cannot be used; give other")),
    "interrupt": lambda: fail(KeyboardInterrupt()),
    "exit": lambda: sys.exit(0),
    "generator_exit": lambda: fail(GeneratorExit()),
    "stop_iteration": lambda: fail(StopIteration()),
    "memory_error": lambda: bytearray(1 << 60),
    "recursion": recurse,
    "exit0": lambda: os._exit(0),
    "exit3": lambda: os._exit(3),
    "segv": lambda: ctypes.string_at(0),
    "abort": os.abort,
    "kill": lambda: die(signal.SIGKILL),
    "term": lambda: die(signal.SIGTERM),
    "real_time": lambda: die(signal.SIGRTMIN + 3),
    "alarm": lambda: (signal.alarm(1), hang()),
    "allocate": allocate,
    "spin": spin,
    "sleep": hang,
    "sleep_native": lambda: native("sleep", LONG),
    "ignore_signals": ignore_signals,
    "stop": lambda: die(signal.SIGSTOP),
    "fork": fork,
    "fork_session": lambda: fork(child=os.setsid),
    "fork_sleep": lambda: fork(then=hang),
    "fork_kill": lambda: fork(then=lambda: die(signal.SIGKILL)),
    "fork_session_kill": lambda: fork(lambda: die(signal.SIGKILL), os.setsid),
    "fork_segv": lambda: fork(then=lambda: ctypes.string_at(0)),
    "fork_exit3": lambda: fork(then=lambda: os._exit(3)),
    "fork_through": lambda: os.fork() and None,  # the child goes on with the worker's own work
    "daemon": daemon,
    "daemon_kill": lambda: (daemon(), die(signal.SIGKILL)),
    "program": program,
    "loud": loud,
    "loud_exit": lambda: loud(lambda: os._exit(7), b"y" * (1 << 20)),
    "rude": rude,
    "rude_exit": lambda: rude(lambda: os._exit(9)),
    "close_all": close_all,
    "close_all_sleep": lambda: close_all(hang),
    "close_all_spin": lambda: close_all(spin),
    "close_standard": close_standard,
    "babble": babble,
    "half_a_message": half_a_message,
    "change_folder": lambda: os.chdir("/"),
    "thread": thread,
    "kill_parent": lambda: (os.kill(os.getppid(), signal.SIGKILL), hang()),
    "fork_kill_parent": lambda: fork(lambda: os.kill(os.getppid(), signal.SIGKILL), os.setsid),
    "kill_coordinator": kill_coordinator,
    "kill_group": lambda: (os.killpg(0, signal.SIGKILL), hang()),
    "none": lambda: {"height": None},
    "text": lambda: {"height": "high"},
    "missing": lambda: {"other": 1.0},
    "list": lambda: [1.0],
    "complex": lambda: {"height": 1j},
    "object": lambda: {"height": Unpicklable()},
    "unpicklable": lambda: [Unpicklable()],
}
"""What goes wrong, by name. What is returned takes the place of what the plug-in would return."""


class Chaos(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    phase: str = ""
    kind: str = ""
    always: bool = False
    command: bool = False


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    data: dict[str, float] = {"left": 1.0, "right": 2.0}
    chaos: Chaos = Chaos()


class ChaosPlugin(Plugin[Config]):
    """``1 - (x - target)**2``, until trouble comes."""

    name, Config, metrics = "chaos", Config, {"height": "maximize"}

    def _trouble(self, phase: str) -> Any:
        """Bring the trouble about where this is its phase, and its time."""
        chaos = self.config.chaos
        if chaos.phase != phase:
            return None
        if not chaos.always:
            try:
                os.close(os.open("fired", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return None
        return KINDS[chaos.kind]()

    def search_space(self) -> Mapping[str, Any]:
        return {"x": FloatDistribution(-5.0, 5.0)}

    def defaults(self) -> Mapping[str, Any]:
        return {"x": 0.5}

    def baseline(self) -> Mapping[str, Any]:
        return {"x": 0.0}

    def load(self) -> Cases:
        self._trouble("load")
        return Cases([Case(name, top) for name, top in self.config.data.items()])

    def run(self, case: Case, params: Mapping[str, Any], seed: int) -> Any:
        found = self._trouble("run" if params["x"] else "baseline")
        return (params["x"], 1 - (params["x"] - case.data) ** 2 if found is None else found)

    def score(self, case: Case, output: Any) -> Any:
        x, height = output
        found = self._trouble("score") if x else None
        return {"height": height} if found is None else found

    def figures(self, results: Any) -> Mapping[str, Any]:
        self._trouble("figures")
        return {}

    def tables(self, results: Any) -> Mapping[str, Any]:
        self._trouble("tables")
        return {}

    def findings(self, results: Any) -> Any:
        return self._trouble("findings") or []

    def freeze(self, params: Mapping[str, Any], path: Path, provenance: Any) -> None:
        self._trouble("freeze")
        path.write_text(SCRIPT.format(params=dict(params), chaos=self.config.chaos.model_dump()))

    def command(self, case: Case, script: Path, output: Path) -> list[str] | None:
        return [sys.executable, str(script)] if self.config.chaos.command else None

    @classmethod
    def tiny(cls, folder: Path) -> Mapping[str, Any]:
        return {"data": {"only": 1.0}}


SCRIPT = """# params: {params}
chaos = {chaos}
if chaos["phase"] == "script":
    import tuner_chaos

    tuner_chaos.KINDS[chaos["kind"]]()
"""
