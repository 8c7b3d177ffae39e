"""Kill what a study on several hosts consists of, one part at a time, again and again.

`dask scheduler` and two `dask worker` run beside each other as on three hosts, or the coordinator
has started its own; PostgreSQL holds the trials and the runs of a real MLflow server. Whatever is
killed is started again, as its service manager would, and so is a study that ended in one line.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.faults.kills import COMMIT_POINTS, LIMIT, Killed, kill_coordinator
from tests.faults.oracle import Place
from tests.faults.services import check_store, free_port, mlflow_server
from tests.faults.toll import Toll
from tests.fork import is_running
from tests.processes import running_below
from tests.services import running_postgres

WORKER, NANNY, SCHEDULER = "worker", "nanny", "scheduler"
POSTGRES, MLFLOW = "PostgreSQL", "MLflow server"
MAY_END = {SCHEDULER, POSTGRES}
"""Parts without which a study may end in one line; the same command goes on."""

STRIKES = 10
STARTS = 16
PATIENCE = 15.0
OF_A_TRIAL = "tuner.execution"
"""In the command lines of a trial's process and its keeper."""

POINTS = (
    *(each for each in COMMIT_POINTS if not each.startswith("tuner.execution.local")),
    "tuner.execution.dask.executor:ClusterExecutor.submit",
    "tuner.execution.dask.executor:ClusterExecutor._land",
    "tuner.execution.dask.executor:ClusterExecutor.close",
    "tuner.execution.dask.roster:Roster.send",
    "tuner.execution.dask.roster:Roster.await_facts",
    "tuner.search.trial_rows:write",
)


class Hosts:
    """A scheduler and two nannies with a worker each, as on hosts of their own."""

    def __init__(self, folder: Path) -> None:
        from tuner.execution.dask.cluster import ENVIRONMENT, ONE_SLOT
        from tuner.execution.dask.cluster import WORKER as NANNIES

        folder.mkdir()
        self.place, self.port = Place(folder), free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"
        self._environment = {**os.environ, **ENVIRONMENT, **self.place.environment}
        serve = ["-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--no-dashboard"]
        work = [*NANNIES, self.address, *ONE_SLOT, "--memory-limit", "0"]
        self._commands = {
            SCHEDULER: [sys.executable, *serve, "--port", str(self.port)],
            "host 0": work,
            "host 1": work,
        }
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.mend()

    def mend(self) -> None:
        """Start what has ended."""
        for name, command in self._commands.items():
            if name in self._running and self._running[name].poll() is None:
                continue
            with (self.place.folder / f"{name}.log").open("ab") as log:
                self._running[name] = subprocess.Popen(
                    command,
                    cwd=self.place.folder,
                    env=self._environment,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            if name == SCHEDULER:
                self._await()

    def _await(self) -> None:
        until = time.monotonic() + LIMIT
        while self._running[SCHEDULER].poll() is None and time.monotonic() < until:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            time.sleep(0.05)
        raise AssertionError((self.place.folder / f"{SCHEDULER}.log").read_text())

    def kill(self, part: str, chance: random.Random) -> bool:
        """Kill a part; return whether it was there."""
        host = self._running[SCHEDULER if part == SCHEDULER else f"host {chance.randrange(2)}"]
        if part == WORKER:
            return kill_worker(host.pid, chance)
        host.kill()
        host.wait()
        return True

    def left(self) -> list[str]:
        """Return which trials' processes and folders outlive their studies."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            found = [line for line in self.place.living() if OF_A_TRIAL in line]
            found += map(str, self.place.temporary.glob("tuner-workers-*"))
            if not found:
                break
            time.sleep(0.1)
        return found

    def close(self) -> None:
        """End all."""
        for process in self._running.values():
            process.kill()
            process.wait()
        self.place.kill()


def kill_worker(nanny: int, chance: random.Random) -> bool:
    """Kill a worker of a nanny; return whether there was one."""
    with contextlib.suppress(psutil.NoSuchProcess):
        if found := running_below(nanny, "spawn_main"):
            chance.choice(found).kill()
            return True
    return False


@dataclass
class Rig:
    """All that a study needs, and what kills and restarts each part of it."""

    folder: Path
    hosts: Hosts
    storage: str
    tracking: str | None
    restart: dict[str, Callable[[], object]] = field(default_factory=dict)

    def study(self, number: int, seed: int, own: bool, wanted: int) -> Killed:
        """Make a study on these hosts, or with a scheduler and workers of its own."""
        where = {"workers": 2} if own else {"address": self.hosts.address}
        name = f"study-{seed}-{number}"
        return Killed(
            self.folder / name,
            self.storage,
            (self.tracking, name) if self.tracking else None,
            seed=seed + number,
            name=name,
            executor={"kind": "dask", **where},
            wanted=wanted,
            seconds=0.05,
        )

    def finish(self, study: Killed) -> Toll:
        """Run a study to its end; hold its accounts against each other, and see what it left."""
        study.finish()
        if study.tracking is not None:
            check_store(study, *study.tracking)
        left = self.hosts.left()
        study.toll.harm("orphans", f"{study.folder}: below Dask: {left}", len(left))
        return study.toll


@contextlib.contextmanager
def rig(folder: Path, servers: Collection[str]) -> Iterator[Rig]:
    """Start hosts and servers; without PostgreSQL trials are in SQLite files."""
    for name in ("tuner.execution.dask.executor", "psycopg"):  # once, for all that are forked
        importlib.import_module(name)
    with contextlib.ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("TOY_UNDRAWN", "1")
        storage, tracking, restart = "sqlite:///tuner.db", None, {}
        if POSTGRES in servers:
            storage, restart[POSTGRES] = stack.enter_context(running_postgres())
        if MLFLOW in servers:
            port, serving = free_port(), stack.enter_context(contextlib.ExitStack())
            store = _new_database(storage, "mlflow")  # it cannot share one with Optuna

            def serve() -> None:
                serving.close()  # which kills it
                serving.enter_context(mlflow_server(folder, port, store))

            serve()
            tracking, restart[MLFLOW] = f"http://127.0.0.1:{port}", serve
        hosts = Hosts(folder / "hosts")
        stack.callback(hosts.close)
        yield Rig(folder, hosts, storage, tracking, restart)


def _new_database(url: str, name: str) -> str:
    import psycopg

    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return url.rpartition("/")[0] + f"/{name}"


@dataclass
class Watched:
    """A study's command, started again where it ends before it has told all trials."""

    rig: Rig
    study: Killed
    chance: random.Random
    own: bool
    starts: int = 0
    struck: set[str] = field(default_factory=set)
    is_over: bool = False

    def __post_init__(self) -> None:
        self._start()

    def strike(self, part: str) -> bool:
        """Kill a part once the study has got on a little; return whether it came to that."""
        while not self.is_over and not self._gets_on(self.chance.randint(1, 10)):
            self.end()
        if self.is_over:
            return False
        time.sleep(self.chance.uniform(0.0, 0.2))
        if not is_running(self._child):
            return False
        self.struck.add(part)
        if part in self.rig.restart:
            self.rig.restart[part]()
            there = True
        elif self.own:
            there = self._kill_own(part)
        else:
            there = self.rig.hosts.kill(part, self.chance)
            self.rig.hosts.mend()
        self.study.toll.injected += there
        return there

    def end(self) -> None:
        """Wait for the command's end, and start it again where it lacked a part."""
        until = time.monotonic() + LIMIT
        while is_running(self._child) and time.monotonic() < until:
            self.rig.hosts.mend()
            time.sleep(0.05)
        code = self.study.wait(self._child, 0.1)
        struck, self.struck = self.struck, set()
        self.study.look(f"{sorted(struck)} killed")
        text = self.study.errors()
        lines = [line for line in text.splitlines() if line.startswith("tuner: ")]
        allowed = {0, 2, None} if struck & MAY_END else {0, None}
        if code not in allowed or "Traceback" in text or (code == 2 and len(lines) != 1):
            what = f"{self.study.folder}: {sorted(struck)} killed: exit code {code}"
            self.study.toll.harm("misreported", what + self.study.said())
        self.is_over = code != 2 or self.starts == STARTS
        if not self.is_over:
            self._start()

    def _start(self) -> None:
        self.starts += 1
        self._child = self.study.start()

    def _gets_on(self, lines: int) -> bool:
        """Wait until some more cases have begun; return False where the command ends before."""
        path, until = self.study.folder / "ran.jsonl", time.monotonic() + LIMIT
        enough = _count(path) + lines
        while is_running(self._child) and time.monotonic() < until:
            if _count(path) >= enough:
                return True
            self.rig.hosts.mend()  # workers end once they find the scheduler gone
            time.sleep(0.01)
        return False

    def _kill_own(self, part: str) -> bool:
        """Kill a worker, the nannies or the scheduler that the coordinator has started."""
        word = "dask_scheduler" if part == SCHEDULER else "dask_worker"
        found = running_below(self._child, f"distributed.cli.{word}")
        found = [each for each in found if not running_below(each.pid, word)]  # no guard of one
        if not found:
            return False
        if part == WORKER:
            return kill_worker(found[0].pid, self.chance)
        found[0].kill()
        return True


def _count(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def kills_on_dask(
    folder: Path,
    seed: int,
    count: int,
    parts: tuple[str, ...],
    servers: Collection[str],
    wanted: int = 60,
) -> Toll:
    """Kill parts of studies that use `servers` in mid-study, `count` times in all."""
    chance, toll = random.Random(f"{seed} {parts}"), Toll()
    with _skipping(), rig(folder, servers) as found:
        for number in range(count):
            own = number % 2 == 1 and set(parts) <= {WORKER, NANNY, SCHEDULER}
            study = found.study(number, seed, own, wanted)
            watched = Watched(found, study, chance, own)
            few = own and NANNY in parts  # they are started again a few times only
            for part in chance.choices(parts, k=2 if few else STRIKES):
                if toll.injected + study.toll.injected == count:
                    break
                watched.strike(part)
            while not watched.is_over:
                watched.end()
            toll.add(found.finish(study))
            if toll.injected >= count:
                break
    return toll


def coordinators_on_dask(folder: Path, seed: int, count: int) -> Toll:
    """Kill or interrupt coordinators, most of them at commit points, `count` times in all."""
    chance, toll = random.Random(f"{seed} coordinators"), Toll()
    with _skipping(), rig(folder, [POSTGRES]) as found:
        for number in range(count):
            study = found.study(number, seed, number % 2 == 1, 60)
            left = count - toll.injected
            kill_coordinator(study, POINTS, chance, min(10, left))
            toll.add(found.finish(study))
            if toll.injected >= count:
                break
    return toll


@contextlib.contextmanager
def _skipping() -> Iterator[None]:
    """Pass by what is not installed here."""
    with contextlib.suppress(pytest.skip.Exception):
        yield
