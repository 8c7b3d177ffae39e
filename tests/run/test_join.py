"""Several processes on one study in a real PostgreSQL: one leads it, the others lend it slots."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.driver import Command, Driver
from tests.services import running_postgres
from tests.slow_host import why_impossible
from tuner.config.load import load_config
from tuner.execution.versions import packages_of, versions
from tuner.plugin import InputError
from tuner.records import TrialRecord
from tuner.run import requests
from tuner.run.join import require_same
from tuner.run.status import lines_of, status_of
from tuner.search.channel import PartnerRow, channel_of
from tuner.search.fenced_storage import LEASE, FencedDatabase, fence_of
from tuner.search.record_json import records_of
from tuner.search.storage import open_study, read_study

pytestmark = pytest.mark.usefixtures("toy", "undrawn")

JOIN = "run", "study.yaml", "--join", "--json"
PATIENCE = 60.0
ON_TWO_HOSTS = pytest.mark.skipif((WHY := why_impossible()) is not None, reason=str(WHY))


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with running_postgres() as (url, _):
        yield url


@pytest.fixture
def write(postgres: str, write_config: Callable[..., Path]) -> Callable[..., Path]:
    """Return what writes the configuration of a study of some trials."""

    def made(name: str, trials: int = 30, seconds: float = 0.1, **more: Any) -> Path:
        return write_config(
            **{
                "plugin": "toy",
                "study": {"name": name, "trials": trials, "sampler": "random", "storage": postgres},
                "data": {"targets": [2.0, 4.0], "seconds": seconds, "log": "log.txt"},
                "search_space": {"x": {}, "size": {"low": 1, "high": 2}},
                "objective": "fit",
                "timing": {"finalists": 0, "nulls": 0, "repeats": 1},
                "tracking": {"enabled": False},
                **more,
            }
        )

    return made


@dataclass
class Seen:
    """A study as its storage has it: who leads it, and who helps."""

    leader: int
    partners: Sequence[PartnerRow]

    @property
    def pids(self) -> set[int]:
        return {each.process["pid"] for each in self.partners}


def until(
    path: Path, wanted: Callable[[Seen], bool], *commands: Command, late: float = PATIENCE
) -> None:
    """Wait until a study is as wanted; some commands are to run meanwhile."""
    study, end = read_study(load_config(path)), time.monotonic() + late
    channel = channel_of(study._storage, study._study_id)
    assert channel is not None
    while True:
        for command in commands:
            assert command.poll() is None, command.said(command.stderr)
        lease = study.user_attrs[LEASE]
        seen = Seen(lease["pid"], channel.partners(lease["token"]))
        if wanted(seen):
            break
        assert time.monotonic() < end, seen
        time.sleep(0.05)
    fence = fence_of(study._storage)
    assert isinstance(fence, FencedDatabase)  # as PostgreSQL is
    fence.engine.dispose()


def works(seen: Seen) -> bool:
    return any(each.running for each in seen.partners)


def records(path: Path) -> list[TrialRecord]:
    return records_of(read_study(load_config(path)))


def measured(case: str = "target2") -> Counter[float]:
    """Return how often each x was run on a case."""
    lines = map(json.loads, Path("log.txt").read_text().splitlines())
    return Counter(line["x"] for line in lines if line["case"] == case)


def rows(url: str) -> tuple[int, int]:
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        one, other = (
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()
            for table in ("tuner_partners", "tuner_messages")
        )
    assert one is not None
    assert other is not None
    return one[0], other[0]


def begun(driver: Driver) -> Command:
    """Start a leader; its study has begun."""
    leader = driver.start(*JOIN)
    while not Path("log.txt").exists():
        assert leader.poll() is None, leader.said(leader.stderr)
        time.sleep(0.02)
    return leader


def elsewhere() -> subprocess.Popen[str]:
    """Start one more process, on a host called `other`."""
    inside = 'hostname other && exec "$@"'
    command = ["unshare", "--uts", "sh", "-c", inside, "sh", sys.executable, "-m", "tuner", *JOIN]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def both(path: Path, driver: Driver) -> tuple[Command, Command]:
    """Start a leader, then a partner; both at work."""
    leader = begun(driver)
    partner = driver.start(*JOIN)
    until(path, works, leader, partner)
    return leader, partner


@ON_TWO_HOSTS
def test_two_hosts_run_one_study_each_with_a_baseline_of_its_own(
    write: Callable[..., Path], driver: Driver, postgres: str, toy: Path
) -> None:
    path = write(
        "hosts",
        trials=16,
        seconds=0.05,
        objective="score",
        study={
            **{"name": "hosts", "trials": 16, "sampler": "random", "storage": postgres},
            "pruner": {"name": "median", "n_startup_trials": 2, "n_warmup_steps": 0},
        },
    )
    leader = driver.start(*JOIN)
    other = elsewhere()
    helped, said = other.communicate()
    out, err = leader.communicate()
    assert (other.returncode, leader.returncode) == (0, 0), said + err
    result, helped = json.loads(out), json.loads(helped)
    assert (helped["study"], helped["ending"]) == ("hosts", "complete")
    told = records(path)
    by_host = Counter(record.host for record in told)
    here = os.uname().nodename
    assert by_host.keys() == {here, "other"}
    assert helped["jobs"] == by_host["other"] + 2  # the baseline, and what a script costs there
    assert [host["host"] for host in result["hosts"]] == [here, "other"]
    assert all(len(host["baseline"]) == 2 for host in result["hosts"])
    assert [record.number for record in told] == list(range(len(told)))
    assert {record.state for record in told} <= {"complete", "pruned"}
    drawn = {record.params["x"] for record in told if not record.is_baseline}
    best = result["best"]["params"]["x"]
    assert {x for x, count in measured().items() if count > 1} <= {0.0, best}
    assert drawn <= measured().keys()
    assert rows(postgres) == (0, 0)


def test_a_partner_is_named_and_may_die_leave_or_be_stopped_with_the_leader(
    write: Callable[..., Path], driver: Driver, postgres: str
) -> None:
    path = write("parting", trials=200)
    leader, killed = both(path, driver)
    third = driver.start(*JOIN)
    until(path, lambda seen: seen.pids == {killed.pid, third.pid}, leader, killed, third)
    config = load_config(path)
    status = status_of(config)
    assert {each["pid"] for each in status.partners} == {killed.pid, third.pid}
    shown = "\n".join(lines_of(status, config))
    assert f"partner: process {killed.pid} on {os.uname().nodename}, 1 at a time" in shown
    refused = driver.run("run", "study.yaml")
    assert refused.returncode == 2
    assert "help it with --join" in refused.stderr
    killed.kill()
    begun = time.monotonic()
    until(path, lambda seen: seen.pids == {third.pid})
    third.send_signal(signal.SIGINT)
    assert third.wait() == 130
    assert "left study 'parting'" in third.said(third.stderr)
    fourth = driver.start(*JOIN)
    until(path, works, leader, fourth)
    again = leader.said(leader.stderr)
    assert f"process {killed.pid} on {os.uname().nodename} is lost" in again
    assert time.monotonic() < begun + PATIENCE
    requests.stop(path)
    assert (leader.wait(), fourth.wait()) == (130, 130)
    assert "study 'parting' was stopped" in fourth.said(fourth.stderr)
    found = records(path)
    lost = [record for record in found if record.losses]
    assert len(lost) <= 1
    assert {record.state for record in found} == {"complete"}
    ran = Counter(measured())
    assert sum(count - 1 for x, count in ran.items() if x != 0.0) <= len(lost)
    assert rows(postgres) == (0, 0)


def test_a_partner_leads_once_the_leader_is_dead(
    write: Callable[..., Path], driver: Driver, postgres: str
) -> None:
    path = write("heir", trials=24)
    leader, heir = both(path, driver)
    third = driver.start(*JOIN)
    until(path, lambda seen: seen.pids == {heir.pid, third.pid}, leader, heir, third)
    leader.kill()
    codes = heir.wait(), third.wait()
    told = [heir.said(heir.stderr), third.said(third.stderr)]
    assert codes == (0, 0), told
    results = [json.loads(each.said(each.stdout)) for each in (heir, third)]
    (result,) = (each for each in results if "best" in each)
    assert result["trials"]["complete"] == 24
    assert all(f"process {leader.pid} on" in each and "any more" in each for each in told)
    found = records(path)
    assert [record.number for record in found] == list(range(24))
    again = {x: count - 1 for x, count in measured().items() if count > 1}
    best = result["best"]["params"]["x"]
    assert sum(count for x, count in again.items() if x not in (0.0, best)) <= 3  # slots
    assert rows(postgres) == (0, 0)


@ON_TWO_HOSTS
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_other_hosts_are_given_up_after_a_while_and_sleepers_come_back(
    write: Callable[..., Path], driver: Driver, postgres: str
) -> None:
    """What nobody can look at is known by its silence alone."""
    path = write("silent", trials=2000)
    leader = elsewhere()
    while not Path("log.txt").exists():
        assert leader.poll() is None
        time.sleep(0.02)
    sleeper, heir = driver.start(*JOIN), driver.start(*JOIN)
    two = {sleeper.pid, heir.pid}
    until(path, lambda seen: seen.pids == two)
    sleeper.send_signal(signal.SIGSTOP)
    until(path, lambda seen: seen.pids == {heir.pid})
    sleeper.send_signal(signal.SIGCONT)
    until(path, lambda seen: seen.pids == two)
    assert "or has given this up" in sleeper.said(sleeper.stderr)
    leader.send_signal(signal.SIGSTOP)
    until(path, lambda seen: seen.leader in two, heir, late=3 * PATIENCE)
    leader.send_signal(signal.SIGCONT)
    until(path, lambda seen: leader.pid in seen.pids)
    third = elsewhere()
    until(path, lambda seen: len(seen.partners) == 3)
    third.kill()
    third.communicate()
    until(path, lambda seen: len(seen.partners) == 2 and works(seen))
    requests.stop(path)
    _, told = leader.communicate()
    assert "is helped by this one now" in told
    assert (leader.returncode, sleeper.wait(), heir.wait()) == (130, 130, 130)
    found = records(path)
    assert {record.state for record in found} == {"complete"}
    ran, losses = measured(), sum(record.losses for record in found)
    again = sum(count - 1 for x, count in ran.items() if x != 0.0)
    assert losses <= again <= losses + 3, (losses, again)  # and three at the leader's end
    assert rows(postgres) == (0, 0)


def test_what_is_another_study_is_refused_in_one_line(
    write: Callable[..., Path], driver: Driver, postgres: str
) -> None:
    write("same", trials=500)
    leader = begun(driver)

    def refused(*options: str) -> str:
        done = driver.run(*JOIN, *options)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1
        return done.stderr

    cannot = f"cannot help process {leader.pid} on {os.uname().nodename} with study 'same'"
    for option, words in (
        ("search_space.size.high=3", "search_space.size.high: was 2, now 3"),
        ("data.seconds=0.2", "seconds: was 0.1, now 0.2"),
        ("study.trials=7", "study.trials: was 500, now 7"),
        # what it would go by once it leads
        ("study.max_failures=3", "study.max_failures: was 10, now 3"),
        ("timing.finalists=2", "timing.finalists: was 0, now 2"),
        ("tracking.uri=sqlite:///other.db", "now 'sqlite:///other.db'"),
        ("out=elsewhere", "out: was 'out', now 'elsewhere'"),
        ("export.path=other.py", "export.path: was None, now 'other.py'"),
    ):
        text = refused("--set", option)
        assert cannot in text
        assert words in text
    assert "--join" in refused("--new")
    for storage in ("sqlite:///tuner.db", "journal:///tuner.log"):
        text = refused("--set", f"study.storage={storage}")
        assert "--join: expected study.storage on a database server" in text
    assert not list(Path().glob("tuner.*"))
    leader.send_signal(signal.SIGINT)
    assert leader.wait() == 130
    assert rows(postgres) == (0, 0)


def test_a_leader_of_another_version_is_refused(write_config: Callable[..., Path]) -> None:
    path = write_config(plugin="toy", study={"name": "s"}, search_space={"x": {}})
    config = load_config(path)
    study, _ = open_study(config)
    lease = {"pid": 1, "host": "h"}
    own = versions(packages_of("toy"))
    assert own.keys() == {"Python", "tunefreeze", "tuner-toy"}
    settings = config.leading()
    require_same(study, {**lease, "partners": {"versions": own, "config": settings}}, config)
    for other, words in (
        ({**own, "Python": "3.9"}, r"it has Python 3\.9, and this process 3\.\d+; all hosts need"),
        ({**own, "tuner-toy": "0.9"}, r"it has tuner-toy 0\.9, and this process 1\.0; all"),
        (None, "it takes no partners"),
    ):
        partners = {"versions": other, "config": settings}
        told = {**lease, "partners": partners} if other else lease
        with pytest.raises(InputError, match=f"cannot help process 1 on h with study 's': {words}"):
            require_same(study, told, config)
