"""Kill partners of a study on PostgreSQL, or its leader, and see what becomes of the study."""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from tests.faults.kills import LIMIT, Kill, Killed
from tests.faults.toll import Toll
from tests.fork import fork_command, is_running, wait_for
from tests.services import running_postgres
from tuner.search.fenced_storage import LEASE, fence_of
from tuner.search.lease import is_held
from tuner.search.record_json import KEPT
from tuner.search.storage import open_storage

COMMAND = ("run", "study.yaml", "--join", "--json")
SIZES: Mapping[str, Any] = {"workers": 1, "wanted": 40, "seconds": 0.1}
PROCESSES = 3
STRIKES = 4
"""How often a study is hit, at most."""


OF_LEADERS = (
    *(f"tuner.search.shared_executor:SharedExecutor.{name}" for name in ("_look", "_take")),
    *(f"tuner.search.shared_executor:SharedExecutor.{name}" for name in ("_order", "_poll")),
    "tuner.search.trials:AskTell.tell",
    "tuner.search.loop:write_record",
    "tuner.search.trial_rows:write",
    "tuner.run.session:Finish.present",
    "tuner.search.lease:Lease.release",
)
OF_PARTNERS = (
    *(f"tuner.search.partner:Partner.{name}" for name in ("_obey", "_report", "_look_after")),
    *(f"tuner.search.channel:Channel.{name}" for name in ("register", "beat")),
)
"""Points at which a process kills itself that leads, or that is a partner."""


@dataclass
class Joined:
    """A study that several processes share; each process that is killed is replaced.

    Attributes
    ----------
    children : dict of int to str
        Processes that were started, and the stem of their outputs.
    """

    study: Killed
    children: dict[int, str] = field(default_factory=dict)
    started: int = 0

    def start(self, kill: Kill | None = None) -> None:
        """Start one more process, with a kill armed in it or without."""
        stem, place = f"tmp/{self.started}", self.study.place
        child = fork_command(
            *COMMAND,
            folder=self.study.folder,
            output=(f"{stem}.out", f"{stem}.err"),
            environment={**os.environ, **place.environment},
            prepare=kill.arm if kill is not None else lambda: None,
        )
        self.children[child] = stem
        self.started += 1

    def strike(self, leads: bool, cases: float = math.inf) -> bool:
        """Wait until an armed process has killed itself, or kill one after so many more cases.

        False where all have ended.
        """
        until, enough = time.monotonic() + LIMIT, self._ran() + cases
        victim = None
        while victim is None and time.monotonic() < until:
            if not any(map(is_running, self.children)):
                return False
            victim = next((child for child in self.children if self._killed_itself(child)), None)
            if victim is None and self._ran() >= enough:
                victim = self._victim(leads)
                enough += 3  # where there is none now
            time.sleep(0.005)
        if victim is None:
            return False
        os.waitpid(victim, 0)
        if leads:  # what was under way is run again by who leads next, and is excused for it
            for trial in self.study.trials():
                if trial.state == TrialState.RUNNING and KEPT not in trial.user_attrs:
                    self.study._excused[trial.params.get("x", 0.0)] += 1
        self.study.toll.injected += 1
        self.forget(victim)
        return True

    def _killed_itself(self, child: int) -> bool:
        ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return ended is not None and ended.si_status == signal.SIGKILL

    def _victim(self, leads: bool) -> int | None:
        """Kill the leader, or a partner; return it, or None where there is none now."""
        lease = self._attributes().get(LEASE) or {}
        if not isinstance(lease, dict) or not is_held(lease):
            return None
        leader = lease["pid"]
        others = [each for each in self.children if each != leader and is_running(each)]
        victim = leader if leads else next(iter(others), None)
        if victim is not None:
            os.kill(victim, signal.SIGKILL)
        return victim

    def finish(self) -> Toll:
        """Wait for all to end, and hold every account of the study against the others."""
        study, told = self.study, 0
        folder = study.folder
        for child in list(self.children):
            code, stem = wait_for(child, LIMIT), self.children[child]
            errors = (folder / f"{stem}.err").read_text()
            if code is None:
                study.toll.harm("hung", f"{folder}: no end within {LIMIT:g} s: {errors[-400:]}")
                continue
            if code != 0 or "Traceback" in errors:
                study.toll.harm("misreported", f"{folder}: exit {code}: {errors[-400:]}")
                continue
            result = json.loads((folder / f"{stem}.out").read_text())
            if "jobs" not in result and result["trials"]["complete"] == study.wanted:
                (folder / f"{stem}.out").rename(folder / "out.txt")
                told += 1
            self.forget(child)
        study.toll.harm("misreported", f"{folder}: nobody led it to its end", told == 0)
        left = self.rows()
        study.toll.harm("leftovers", f"{folder}: rows of partners", left)
        (folder / "err.txt").write_text("")
        study.look("all have ended")
        trials = study.trials()
        study.check(0, trials)
        study._check_repeats(trials)
        study._check_leftovers()
        return study.toll

    def rows(self) -> int:
        """Return how many rows of partners and messages there are."""
        import psycopg

        address = self.study.storage.replace("+psycopg", "")
        with psycopg.connect(address) as connection:
            query = "SELECT (SELECT count(*) FROM tuner_partners) + count(*) FROM tuner_messages"
            row = connection.execute(query).fetchone()
        return int(row[0]) if row else 0

    def forget(self, child: int) -> None:
        stem = self.children.pop(child)
        for path in self.study.folder.glob(f"{stem}.*"):
            if path.suffix == ".err":
                with (self.study.folder / "out" / "said.txt").open("a") as said:
                    said.write(f"--- {child}\n{path.read_text()}")
            path.unlink()

    def _attributes(self) -> dict[str, object]:
        storage = open_storage(self.study.storage)
        try:
            return storage.get_study_user_attrs(storage.get_study_id_from_name(self.study.name))
        except KeyError:
            return {}
        finally:
            fence_of(storage).engine.dispose()

    def await_cases(self, count: int) -> None:
        """Wait until some cases have begun, or all have ended."""
        while self._ran() < count and any(map(is_running, self.children)):
            time.sleep(0.01)

    def _ran(self) -> int:
        path = self.study.folder / "ran.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0


def _armed(chance: random.Random, leads: bool) -> Kill | None:
    """Return a kill at a point that a process passes in its part; for every other one none."""
    point = chance.choice(OF_LEADERS if leads else OF_PARTNERS)
    kill = Kill(point, chance.randint(1, 8), chance.random() < 0.5, signal.SIGKILL)
    return kill if chance.random() < 0.5 else None


def _kills(folder: Path, seed: int, count: int, leads: bool) -> Toll:
    chance, toll = random.Random(f"{seed} {leads}"), Toll()
    with _skipping(), running_postgres() as (url, _):
        number = 0
        while toll.injected < count and number < 2 * count:
            where = f"joined-{seed}-{number}"
            study = Killed(folder / where, url, seed=seed + number, name=where, **SIZES)
            joined = Joined(study)
            for _ in range(PROCESSES):
                joined.start(_armed(chance, leads))
            for _ in range(min(STRIKES, count - toll.injected)):
                if not joined.strike(leads, chance.randint(6, 30)):
                    break
                joined.start(_armed(chance, leads))
            joined.start()  # one at least is not to kill itself
            while joined.strike(leads):
                joined.start()  # who comes next removes the folders of one that was killed
            toll.add(joined.finish())
            number += 1
    return toll


def partners_killed(folder: Path, seed: int, count: int) -> Toll:
    """Kill partners in mid-study, `count` times in all."""
    return _kills(folder, seed, count, leads=False)


def leaders_killed(folder: Path, seed: int, count: int) -> Toll:
    """Kill leaders that have partners in mid-study, `count` times in all."""
    return _kills(folder, seed, count, leads=True)


def restarted_postgres(folder: Path, seed: int, studies: int) -> Toll:
    """Restart PostgreSQL under a leader and its partners: they go on, or end in a line each."""
    chance, toll = random.Random(f"{seed} restarts"), Toll()
    with _skipping(), running_postgres() as (url, restart):
        for number in range(studies):
            where = f"restarted-{seed}-{number}"
            study = Killed(folder / where, url, seed=seed + number, name=where, **SIZES)
            joined = Joined(study)
            for _ in range(PROCESSES):
                joined.start()
            joined.await_cases(chance.randint(20, 50))
            restart()
            study.toll.injected += 1
            for child, stem in list(joined.children.items()):
                code = wait_for(child, LIMIT)
                errors = (study.folder / f"{stem}.err").read_text()
                last = errors.splitlines()[-1]
                if (
                    code not in (0, 1, 2)
                    or "Traceback" in errors
                    or (code == 2) != (last.startswith("tuner: "))
                ):
                    study.toll.harm("misreported", f"{study.folder}: exit {code}: {errors[-600:]}")
                joined.forget(child)
            (study.folder / "err.txt").write_text("")
            study.look("PostgreSQL restarted")
            toll.add(study.finish())
    return toll


@contextlib.contextmanager
def _skipping() -> Iterator[None]:
    with contextlib.suppress(pytest.skip.Exception):
        yield
