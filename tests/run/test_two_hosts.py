"""Two real hosts, one at half the speed: Dask workers with host names of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.search.test_series import Silent
from tests.slow_host import slow_host, why_impossible
from tuner.config.load import load_config
from tuner.records import TrialRecord
from tuner.run import requests, session
from tuner.search.clocks import Clocks

distributed = pytest.importorskip(
    "distributed", reason="the extra `dask` is not installed: trials run on this host alone"
)
WHY = why_impossible()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(WHY is not None, reason=str(WHY)),
]

WORK = """
FIT = {1: 0.2, 2: 0.5, 3: 0.9, 4: 0.95, 5: 0.97, 6: 0.98}

def work(size, plain=False):
    total = 0
    for number in range(1_000_000 * size * (2 if plain else 1)):
        total += number * number
    return {"fit": 0.0 if plain else FIT[size]}
"""
"""By the score 3 is best, by 9 % before 4, which is as much before 5."""

BEST = {"size": 3, "plain": False}
SLOW = "snail"

Run = Callable[..., session.RunResult]


@contextmanager
def workers(address: str, hosts: Sequence[str]) -> Iterator[None]:
    """Run a Dask worker on each host for as long as the context lasts."""
    command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1"]
    command += ["--no-dashboard", "--no-nanny", "--memory-limit", "0"]
    quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with ExitStack() as stack:
        for host in hosts:
            if host == SLOW:
                stack.enter_context(slow_host(host, command))
            else:
                process = stack.enter_context(subprocess.Popen(command, **quiet))
                stack.callback(process.kill)
        client = stack.enter_context(distributed.Client(address, set_as_default=False))
        client.wait_for_workers(len(hosts), timeout=120)
        yield


@pytest.fixture
def run(write_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Return a function that runs a study in stages: on some hosts, to a number of trials."""
    folder = write_config().parent
    (folder / "work.py").write_text(WORK)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    quiet: Any = {"n_workers": 0, "dashboard_address": ":0", "silence_logs": 50}
    with distributed.LocalCluster(**quiet) as cluster:

        def _run(name: str, *stages: tuple[Sequence[str], int]) -> session.RunResult:
            path = write_config(
                plugin="function",
                study={"name": name, "sampler": "brute-force"},
                data={
                    "function": "work:work",
                    "metrics": {"fit": "maximize"},
                    "baseline": {"size": 6, "plain": True},
                },
                search_space={"size": {"low": 1, "high": 6}, "plain": False},
                objective="score",
                timing={"finalists": 1},
                tracking={"enabled": False},
                executor={"kind": "dask", "address": cluster.scheduler_address},
            )
            requests.enqueue(load_config(path), ["size=3"])
            for hosts, trials in stages:
                config = load_config(path, [f"study.trials={trials}"])
                with workers(cluster.scheduler_address, hosts):
                    result = session.run(config, Silent(), lambda: False)
            print(name, best(result).params, best(result).metrics["score"], interval(result))
            for record in result.records:
                print("  ", record.number, record.host, record.params, record.metrics["speedup"])
            print("  ", *result.summary.hosts, sep="\n   ")
            return result

        yield _run


def best(result: session.RunResult) -> TrialRecord:
    assert result.summary.best is not None
    return result.summary.best


def interval(result: session.RunResult) -> tuple[float, float]:
    metrics = best(result).metrics
    return metrics["score_low"], metrics["score_high"]


def test_two_hosts_freeze_what_either_freezes_alone(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = os.uname().nodename
    alone = [run("here", ([here], 20)), run("there", ([SLOW], 20))]
    at_once = run("at-once", ([here, SLOW], 20))
    in_turn = run("in-turn", ([SLOW], 2), ([here], 20))
    for both in (at_once, in_turn):
        assert {record.host for record in both.records} == {here, SLOW}
        assert {host.host for host in both.summary.hosts} == {here, SLOW}
        took = {host.host: sum(host.baseline.values()) for host in both.summary.hosts}
        assert took[SLOW] / took[here] > 1.5
        assert best(both).params == BEST
        low, high = interval(both)
        for one in alone:
            assert best(one).params == BEST
            least, most = interval(one)
            assert low <= most
            assert least <= high
    of = Clocks.of

    def one_clock(self: Clocks, place: Any) -> Any:
        self._apart = False
        return of(self, place)

    monkeypatch.setattr(Clocks, "of", one_clock)
    wrong = run("wrong", ([SLOW], 2), ([here], 20))
    assert best(wrong).params != BEST
