"""Dask workers that are lost, that differ, that share a host; and what is left behind."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

distributed = pytest.importorskip(
    "distributed", reason="the extra `dask` is not installed: trials run in local processes alone"
)

from tests.conftest import working_cluster  # noqa: E402
from tests.execution.jobs import job, outcome  # noqa: E402
from tests.processes import command_of, running_below  # noqa: E402
from tuner.execution.dask import cluster as cluster_module  # noqa: E402
from tuner.execution.dask import roster as roster_module  # noqa: E402
from tuner.execution.dask import slot  # noqa: E402
from tuner.execution.dask.cluster import SCHEDULER, WORKER, OwnCluster  # noqa: E402
from tuner.execution.dask.executor import DaskExecutor, DaskOptions  # noqa: E402
from tuner.execution.dask.roster import DaskWorker, Roster  # noqa: E402
from tuner.execution.dask.slot import Facts  # noqa: E402
from tuner.execution.jobs import CaseDone, FixedCostJob, Setup, TimeJob  # noqa: E402
from tuner.export.provenance import DISTRIBUTION  # noqa: E402
from tuner.measure.stopwatch import machine  # noqa: E402
from tuner.plugin import InputError  # noqa: E402
from tuner.records import MOST_LOSSES  # noqa: E402

pytestmark = pytest.mark.usefixtures("toy")

Make = Callable[..., DaskExecutor]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with working_cluster(tmp_path_factory) as cluster:
        yield cluster


@pytest.fixture
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return a cluster of one test, whose workers may be killed: a busy nanny is slow to act."""
    with working_cluster(tmp_path_factory, workers=MOST_LOSSES) as cluster:
        yield cluster


@pytest.fixture
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    made: list[DaskExecutor] = []
    own = "mortal" if "mortal" in request.fixturenames else "cluster"
    address = request.getfixturevalue(own).scheduler_address

    def _make(data: dict | None = None, machine: str | None = None) -> DaskExecutor:
        setup = Setup("toy", {"data": data or {}}, machine=machine)
        made.append(DaskExecutor(setup, 1, 60.0, options=DaskOptions(address=address)))
        return made[-1]

    yield _make
    for executor in made:
        executor.close()


def kill_worker_of(executor: DaskExecutor, cluster: Any, ticket: int = 0) -> None:
    """Kill the Dask worker that has a job, once it has begun."""
    worker = None
    until = time.monotonic() + 60
    while worker is None or not keepers(worker):
        assert executor.wait(0.1) is None
        assert time.monotonic() < until
        flight = executor._flights[ticket]
        nannies = cluster.workers.values()
        at = flight.worker.address if flight.worker else None
        worker = next((each.pid for each in nannies if each.worker_address == at), None)
    os.kill(worker, signal.SIGKILL)


def keepers(pid: int) -> list[psutil.Process]:
    """Return the processes of trials below a Dask worker, or below this process."""
    return running_below(pid, "tuner.execution.keeper")


def test_a_lost_worker_loses_no_job_and_is_told(
    make: Make, mortal: Any, caplog: pytest.LogCaptureFixture
) -> None:
    executor = make({"seconds": 1.0})
    executor.submit(job())
    kill_worker_of(executor, mortal)
    done = outcome(executor)
    assert (done.state, done.losses) == ("complete", 1)
    assert done.host == socket.gethostname()
    (line,) = caplog.messages
    lost = rf"Dask worker tcp://\S+ on {done.host} is lost.*: trial 0 begins again"
    assert re.fullmatch(lost, line)


def test_a_job_under_which_every_worker_is_lost_fails_by_the_machine(
    make: Make, mortal: Any
) -> None:
    executor = make()
    executor.submit(job(mode="hang"))
    for _ in range(MOST_LOSSES):
        kill_worker_of(executor, mortal)
    done = outcome(executor)
    assert (done.state, done.losses, done.died) == ("failed", MOST_LOSSES, False)
    assert done.outcome.startswith("3 workers were lost under it, the last one tcp://")


def test_workers_of_our_own_are_started_again_and_open_to_this_host_alone() -> None:
    options = DaskOptions(workers=1)
    executor = DaskExecutor(Setup("toy", {"data": {"seconds": 1.0}}), 1, 60.0, options=options)
    executor.submit(job())
    until = time.monotonic() + 120
    while not keepers(os.getpid()):
        assert executor.wait(0.1) is None
        assert time.monotonic() < until
    below = psutil.Process().children(recursive=True)
    (nanny,) = [each for each in below if command_of(each)[1:3] == list(WORKER[1:])]
    nanny.kill()
    done = outcome(executor, 120.0)
    ours = {each.pid for each in psutil.Process().children(recursive=True)}
    sockets = [each for each in psutil.net_connections("inet") if each.pid in ours]
    executor.close()
    assert {s.laddr.ip for s in sockets if s.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
    assert (done.state, done.losses) == ("complete", 1)


def test_a_command_that_starts_no_worker_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "ONE_SLOT", ("--no-such-option",))
    options = DaskOptions(workers=1)
    executor = DaskExecutor(Setup("toy", {"data": {}}), 1, 60.0, options=options)
    executor.submit(job())
    with pytest.raises(InputError, match="none can be started: .*no-such-option"):
        executor.wait(120.0)
    executor.close()


def test_a_scheduler_of_our_own_that_is_gone_is_one_line() -> None:
    options = DaskOptions(workers=1)
    executor = DaskExecutor(Setup("toy", {"data": {}}), 1, 60.0, options=options)
    guard, scheduler = running_below(os.getpid(), SCHEDULER[2])
    assert guard.children() == [scheduler]
    scheduler.kill()
    with pytest.raises(InputError, match=r"scheduler at 'tls://\S+' is gone; run the same command"):
        executor.wait(60.0)
    executor.close()


def test_workers_of_our_own_leave_no_folder_of_a_trial_behind(workplace: Path) -> None:
    """The scheduler is killed: nobody can tell the workers to end their trials."""
    setup, options = Setup("toy", {"data": {"start_up": 60.0}}), DaskOptions(workers=1)
    executor = DaskExecutor(setup, 1, 60.0, options=options)
    _, scheduler = running_below(os.getpid(), SCHEDULER[2])
    executor.submit(FixedCostJob(job().trial.params, 0, repeats=1))
    until = time.monotonic() + 60
    while not list(workplace.glob(".tuner-*/script.py")):
        assert time.monotonic() < until
        executor.wait(0.1)
    scheduler.kill()
    executor.close()
    assert list(workplace.glob(".tuner-*")) == []


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("import no_such", "No module.*no_such"),
        ("import time; time.sleep(99)", "it took over 0.5 s"),
    ],
)
def test_a_scheduler_that_does_not_start_is_one_line_and_leaves_nothing(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, command: str, why: str
) -> None:
    monkeypatch.setattr(cluster_module, "SCHEDULER", (sys.executable, "-c", command, "a-scheduler"))
    monkeypatch.setattr(cluster_module, "PATIENCE", 0.5 if "sleep" in command else 60.0)
    with pytest.raises(InputError, match=f"on 127.0.0.1 does not start: .*{why}"):
        OwnCluster(1)
    assert running_below(os.getpid(), "a-scheduler") == []
    assert not list(workplace.iterdir())


def test_a_setting_that_dies_takes_no_worker_with_it(make: Make, cluster: Any) -> None:
    before = {nanny.pid for nanny in cluster.workers.values()}
    executor = make()
    executor.submit(job(mode="die"))
    done = outcome(executor)
    assert (done.state, done.died, done.losses) == ("failed", True, 0)
    assert {nanny.pid for nanny in cluster.workers.values()} == before


def test_a_worker_lost_between_two_cases_begins_again(make: Make, mortal: Any) -> None:
    executor = make({"targets": [1.0, 2.0]})
    executor.submit(job(stepwise=True))
    assert isinstance(executor.wait(60), CaseDone)
    kill_worker_of(executor, mortal)
    executor.proceed(0, True)
    event = executor.wait(60)
    assert isinstance(event, CaseDone)
    assert len(event.cases) == 1
    executor.proceed(0, True)
    done = outcome(executor)
    assert (done.state, len(done.cases), done.losses) == ("complete", 2, 1)


@pytest.mark.parametrize(
    ("here", "message"),
    [
        ({"Python": "3.9"}, r"it has Python 3\.\d+, and the coordinator 3\.9"),
        ({DISTRIBUTION: "9.9"}, r"it has tunefreeze [\d.]+, and the coordinator 9\.9"),
        ({"elsewhere": "1.0"}, r"it has no elsewhere, and the coordinator 1\.0"),
    ],
)
def test_another_version_is_one_line(
    make: Make, monkeypatch: pytest.MonkeyPatch, here: dict[str, str], message: str
) -> None:
    monkeypatch.setattr(roster_module, "versions", lambda packages: here)
    with pytest.raises(InputError, match=r"the Dask worker tcp://\S+ on \S+ cannot .*" + message):
        make()


def test_a_machine_of_another_kind_is_left_out_only_where_times_cannot_be_compared(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told = iter("AB" * 3)
    welcome = Roster._welcome

    def differ(self: Roster, worker: DaskWorker, facts: Facts) -> None:
        welcome(self, worker, replace(facts, machine=f"model {next(told)}, 8 cores"))

    monkeypatch.setattr(Roster, "_welcome", differ)
    assert make(machine="").slots == 1
    assert "it has model B, 8 cores, and the study is timed on model A, 8 cores:" in caplog.text
    assert make(machine="model A, 8 cores").slots == 1
    assert make().slots == 2


def test_all_but_trials_stay_on_one_host(make: Make) -> None:
    executor = make()
    here, there = executor._known.ready
    for host, worker in (("a", here), ("b", there)):
        assert worker.facts is not None
        worker.facts = replace(worker.facts, host=host)
    assert executor._choose(job(is_baseline=True), [there, here]) is there
    assert executor._choose(TimeJob({}, 0), [here, there]) is there
    assert executor._choose(job(1), [here, there]) is here
    assert executor._choose(TimeJob({}, 0), [here]) is here
    assert executor._choose(TimeJob({}, 0), [there, here]) is here
    assert executor._choose(replace(job(1), host="b"), [here, there]) is there
    assert executor._choose(replace(job(1), host="b"), [here]) is None


def test_a_job_for_a_host_that_is_gone_fails_by_the_machine(make: Make) -> None:
    executor = make()
    executor.submit(replace(job(1), host="gone"))
    done = outcome(executor)
    assert (done.state, done.losses, done.host) == ("failed", MOST_LOSSES, "gone")
    executor.submit(replace(job(1), host=socket.gethostname()))
    done = outcome(executor)
    assert (done.state, done.host, done.machine) == ("complete", socket.gethostname(), machine())


def test_an_input_that_a_worker_does_not_see_is_one_line(make: Make, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no \S+/gone.bw there"):
        make({"file": tmp_path / "gone.bw"})


def test_workers_of_one_host_share_its_memory_and_time_on_cores_of_their_own(
    make: Make, cluster: Any
) -> None:
    executor = make()
    total = slot.MEMORY_LIMIT
    assert [executor._known.share(each) for each in executor._known.ready] == [
        int(0.9 * total / 2)
    ] * 2
    executor.submit(job(0, mode="hang"))
    executor.submit(job(1, mode="hang"))
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core: which one a worker times on is no question")
    until, pinned = time.monotonic() + 60, []
    while len(pinned) < 2:
        assert time.monotonic() < until
        assert executor.wait(0.1) is None
        timed = [each.children() for each in keepers(os.getpid())]
        pinned = [p.cpu_affinity() for family in timed for p in family]
        pinned = [cores for cores in pinned if len(cores) == 1]
    assert pinned[0] != pinned[1]


def test_nothing_is_left_in_the_workers(make: Make, cluster: Any) -> None:
    executor = make()
    executor.submit(job(0))
    assert outcome(executor).state == "complete"
    executor.submit(job(1, mode="hang"))
    assert executor.wait(1.0) is None
    executor.close()
    assert keepers(os.getpid()) == []
    assert len(cluster.scheduler_info["workers"]) == 2


PROGRAM = """
import sys
from tests.execution.jobs import job
from tuner.execution.dask.executor import DaskExecutor, DaskOptions
from tuner.execution.jobs import Setup
executor = DaskExecutor(Setup('toy', {}), 1, 60.0, options=DaskOptions(**eval(sys.argv[1])))
executor.submit(job(mode='hang'))
print('waiting', flush=True)
executor.wait(600.0)
"""


@pytest.mark.parametrize("own", [False, True])
def test_workers_end_the_trials_of_a_coordinator_that_is_killed(
    cluster: Any, workplace: Path, own: bool
) -> None:
    options = {"workers": 1} if own else {"address": cluster.scheduler_address}
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ["PYTHONPATH"]])
    command = [sys.executable, "-c", PROGRAM, repr(options)]
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as coordinator:
        assert coordinator.stdout is not None
        assert coordinator.stdout.readline() == b"waiting\n"
        until, trials = time.monotonic() + 60, []
        try:
            while not trials and time.monotonic() < until:
                trials = keepers(coordinator.pid if own else os.getpid())
            own_processes = psutil.Process(coordinator.pid).children(recursive=True)
        finally:
            coordinator.kill()
    assert trials
    _, alive = psutil.wait_procs([*own_processes, *trials], timeout=20)
    assert alive == []


def test_a_scheduler_without_workers_is_told_once_and_one_that_is_gone_is_one_line(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(roster_module, "SILENT", 0.1)
    with working_cluster(tmp_path_factory, workers=1) as cluster:
        options = DaskOptions(address=cluster.scheduler_address)
        executor = DaskExecutor(Setup("toy", {"data": {}}), 1, 60.0, options=options)
        cluster.scale(0)
        until = time.monotonic() + 60
        while not (told := [each.message for each in caplog.records if each.name == "tuner"]):
            assert time.monotonic() < until
            assert executor.wait(1.0) is None
        assert executor.wait(1.5) is None
        assert told == ["no Dask worker is there; the study waits for one"]
        assert caplog.messages.count(*told) == 1
        # It tries to connect again, and would write a traceback before our line.
        assert not logging.getLogger("distributed.client").isEnabledFor(logging.ERROR)
    with pytest.raises(InputError, match=r"the Dask scheduler at 'tcp://\S+' is gone; start it"):
        executor.wait(30.0)
    executor.close()
