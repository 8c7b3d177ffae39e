"""What a run says and shows of the hosts that its trials ran on."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from rich.console import Console

from tests.run.test_printout import finished
from tests.search.test_series import Silent
from tuner.config.load import Config, load_config
from tuner.plugin import InputError
from tuner.records import HostClock
from tuner.run import session
from tuner.run.check import check
from tuner.run.printout import print_found
from tuner.run.rows import HOSTS, host_rows
from tuner.search.clocks import FIXED_COSTS
from tuner.selection.finish import HELD_OUT

pytestmark = pytest.mark.usefixtures("toy", "undrawn")

TWO = [
    HostClock("here", "model A, 8 cores", 30, {"a": 1.0, "b": 4.0}),
    HostClock("n1, n2", "model B, 64 cores", 12, {"a": 4.0, "b": 4.0}),
]


@pytest.fixture
def untold(write_config: Callable[..., Path]) -> Callable[..., Config]:
    """Return a function that makes a study of times without a baseline."""

    def make(**sections: object) -> Config:
        path = write_config(
            plugin="toy",
            study={"name": "s", "trials": 2, "sampler": "random", "storage": "sqlite:///s.db"},
            data={"has_baseline": False},
            search_space={"x": {}},
            objective="time",
            timing={"finalists": 0, "nulls": 0},
            tracking={"enabled": False},
            **sections,
        )
        return load_config(path)

    return make


def test_the_hosts_are_tabulated_where_there_are_several() -> None:
    headers, rows = host_rows(TWO)
    assert headers == ["host", "CPU", "trials", "time\nbaseline", "speed"]
    assert rows == [
        ["here", "model A, 8 cores", "30", "2.5 s", "1.00x"],
        ["n1, n2", "model B, 64 cores", "12", "4 s", "0.50x"],
    ]


@pytest.mark.parametrize("hosts", [TWO, TWO[:1]])
def test_the_end_of_a_run_shows_them(untold: Callable[..., Config], hosts: list[HostClock]) -> None:
    stream, config = io.StringIO(), untold()
    summary = replace(finished().summary, best=None, final=None, hosts=hosts)
    print_found(Console(file=stream, width=120), summary, config, {})
    assert (HOSTS in stream.getvalue()) == (len(hosts) > 1)


def test_every_record_and_the_table_of_trials_name_host_and_cpu(
    untold: Callable[..., Config],
) -> None:
    result = session.run(untold(), Silent(), lambda: False)
    head, *rows = (result.folder / "trials.csv").read_text().splitlines()
    assert {"host", "machine"} <= set(head.split(","))
    for record, row in zip(result.records, rows, strict=True):
        assert record.host
        assert record.host in row
        assert f'"{record.machine}"' in row


def test_without_a_baseline_times_of_another_machine_are_refused(
    untold: Callable[..., Config],
) -> None:
    session.run(untold(), Silent(), lambda: False)
    study = optuna.load_study(study_name="s", storage="sqlite:///s.db")
    kept = json.loads(study.user_attrs[FIXED_COSTS])
    study.set_user_attr(FIXED_COSTS, json.dumps({**kept, "machine": "Abacus, 10 cores"}))
    with pytest.raises(InputError, match=r"on another machine \(Abacus, 10 cores; this is .*--new"):
        session.run(untold(), Silent(), lambda: False)


def test_validate_says_where_hosts_cannot_be_told_apart(untold: Callable[..., Config]) -> None:
    pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    said = "has no baseline to measure on each host: hosts of one CPU and number of cores"
    assert said in "\n".join(check(untold(executor={"kind": "dask", "workers": 1})))
    assert said not in "\n".join(check(untold()))


def test_held_out_cases_have_a_baseline_of_the_host_that_presents(
    write_config: Callable[..., Path],
) -> None:
    config = load_config(
        write_config(
            plugin="toy",
            study={"name": "s", "trials": 2, "sampler": "random", "storage": "sqlite:///s.db"},
            data={"held_out": [5.0], "log": "ran.jsonl"},
            search_space={"x": {}},
            timing={"finalists": 0, "nulls": 0, "fixed_cost_repeats": 0},
            tracking={"enabled": False},
        )
    )

    def baselines() -> int:
        """Run, or resume, the study; return how often the baseline has seen the held-out case."""
        session.run(config, Silent(), lambda: False)
        ran = map(json.loads, Path("ran.jsonl").read_text().splitlines())
        return sum((each["case"], each["mode"]) == ("held5", "reference") for each in ran)

    first = baselines()  # more than one where it was disturbed
    assert baselines() == first > 0
    study = optuna.load_study(study_name="s", storage="sqlite:///s.db")
    kept = json.loads(study.user_attrs[HELD_OUT])
    study.set_user_attr(HELD_OUT, json.dumps({**kept, "clock": 7}))
    again = baselines()
    assert again > first
    assert baselines() == again
