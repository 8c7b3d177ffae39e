"""A command that misbehaves is answered as any method is: its trial fails alone, and nothing stays.

That a program is not installed is said by `validate`: `test_config`, as are other mistakes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tuner_plugins.command.plugin import CommandPlugin
from tuner_plugins.command.runs import Runs

from tuner.config.load import load_config
from tuner.execution.alone import run_alone
from tuner.execution.jobs import JobDone, Setup, TrialJob
from tuner.execution.local import LocalExecutor
from tuner.records import Trial
from tuner.report.console import LiveProgress
from tuner.report.terminal import make_console
from tuner.run import session

Run = Callable[..., JobDone]

LEAVE = "sleep 900 & setsid sleep 900 & echo $! >>$PIDS; echo $$ >>$PIDS; "


@pytest.fixture
def run(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Return a function that runs a trial of a shell's text in a worker."""
    monkeypatch.setenv("PIDS", str(workplace / "pids"))
    (workplace / "pids").write_text("")
    (workplace / "text").write_text("some text\n")
    made: list[LocalExecutor] = []

    def _run(text: str, limits: dict[str, float] | None = None, **data: Any) -> JobDone:
        sections = {
            "data": {
                "command": f"{text} # {{x}}",
                "shell": True,
                "cases": [{"name": "one"}],
                "baseline": {"x": 1},
                **data,
            },
            "search_space": {"x": {"low": 1, "high": 2}},
        }
        config = CommandPlugin.Config.model_validate(sections, context={"folder": workplace})
        options = {"case_seconds": 60.0, **(limits or {})}
        executor = LocalExecutor(Setup("command", config.model_dump(mode="json")), 1, **options)
        made.append(executor)
        trial = Trial(number=1, params={"x": 2}, searched={"x": 2})
        done = run_alone(executor, TrialJob(trial, 0), lambda: None)
        executor.close()
        return done

    yield _run
    for executor in made:
        executor.close()


def left() -> list[int]:
    pids = map(int, Path(os.environ["PIDS"]).read_text().split())
    return [pid for pid in pids if psutil.pid_exists(pid)]


def test_one_that_hangs_is_infeasible_and_ends_with_its_children(run: Run, workplace: Path) -> None:
    done = run(LEAVE + "sleep 900", {"case_seconds": 1.0})
    assert done.state == "infeasible"
    assert done.outcome == "over the time limit of 1 s in run (limits.case_time)"
    assert left() == []
    assert not list(workplace.glob(".tuner-*"))


def test_one_over_the_memory_limit_is_infeasible(run: Run) -> None:
    hog = "exec {python} -S -c 'import time; x = bytearray(900_000_000); time.sleep(900)'"
    done = run(hog, {"memory": 600_000_000})
    assert done.state == "infeasible"
    assert "over the memory limit" in done.outcome


def test_children_that_it_leaves_end_with_the_run(run: Run) -> None:
    done = run(LEAVE + "exit 0")
    assert (done.state, left()) == ("complete", [])
    assert set(done.cases[0].metrics) == {"memory"}
    assert done.cases[0].cpu_seconds > 0


def test_a_gigabyte_of_output_is_no_trouble(run: Run, workplace: Path) -> None:
    loud = "head -c 1000000000 /dev/zero"
    metrics = {"size": {"stdout": True, "regex": r"(\d+)$"}}
    done = run(f"{loud}; echo 12", {"case_seconds": 900.0}, metrics=metrics)
    assert (done.state, done.reason) == ("complete", None)
    assert done.cases[0].metrics["size"] == 12
    done = run("head -c 2000000 /dev/zero; echo 12", metrics={"size": {"stdout": True}})
    assert done.state == "failed"
    assert "2,000,003 bytes were written to standard output" in done.outcome
    assert sum(path.stat().st_size for path in workplace.rglob("*")) < 1e6


def test_one_that_is_killed_fails_with_its_last_lines(run: Run) -> None:
    done = run("echo last words >&2; kill -9 $$")
    assert done.state == "failed"
    assert done.outcome.startswith("echo ended with signal 9")
    assert "last words" in (done.reason or "")


def test_exit_codes_decide_what_is_a_failure(run: Run) -> None:
    assert "ended with exit code 4" in run("exit 4").outcome
    assert run("exit 4", ok_exit_codes=[0, 4]).state == "complete"


def test_an_output_that_is_not_there_is_a_failure(run: Run) -> None:
    done = run("echo no room >&2", success_file="{output}")
    assert done.outcome == "echo wrote no {output}: no room"
    assert run("touch {output}", success_file="{output}").state == "complete"


@pytest.mark.parametrize(
    ("written", "how", "said"),
    [
        ("good", {}, "expected a number, got 'good'"),
        ("", {}, "expected a number, got nothing"),
        ("{{", {"json": "a"}, "expected JSON, got '{'"),
        ('{{"a": [1]}}', {"json": "a.1"}, "there is no 'a.1' in"),
        ('{{"a": true}}', {"json": "a"}, "expected a number, got 'true'"),
        ("value: 3", {"regex": r"score: (\d+)"}, r"nothing matches 'score: (\d+)' in 'value: 3'"),
    ],
)
def test_nonsense_for_a_metric_is_a_failure(
    run: Run, written: str, how: dict[str, str], said: str
) -> None:
    done = run(f"echo '{written}'", metrics={"m": {"stdout": True, **how}})
    assert done.state == "failed"
    assert done.outcome.startswith("MetricError: metric 'm': standard output: ")
    assert said in done.outcome


def test_a_scoring_command_that_fails_is_named(run: Run) -> None:
    metric = {"command": ["sh", "-c", "echo no >&2; exit 3"]}
    done = run("true", metrics={"m": metric})
    assert done.outcome.startswith("metric 'm': sh ended with exit code 3")


def test_an_input_that_it_changes_ends_the_study(run: Run, workplace: Path) -> None:
    cases = [{"name": "one", "file": "text"}]
    done = run("cat {file}; echo more >>{file}", cases=cases)
    assert done.bad_input
    assert f"{workplace / 'text'} has changed while the command ran on case 'one'" in done.outcome


def test_a_runs_folder_is_gone_with_its_output(workplace: Path) -> None:
    plugin = CommandPlugin(CommandPlugin.Config.model_validate(CommandPlugin.tiny(workplace)))
    case = plugin.load().tuned[0]
    outputs = [plugin.run(case, {"lines": lines}, 0).output for lines in (3, 5)]
    assert [plugin.score(case, output)["last"] for output in outputs] == [0, 0]
    places = [output.place.path for output in outputs]
    assert all((place / "output").exists() for place in places)
    del outputs[0]
    assert [place.exists() for place in places] == [False, True]
    del plugin, outputs
    assert not list(workplace.glob(".tuner-*"))


@pytest.mark.parametrize(
    ("line", "again"),
    [
        ("true", True),
        ("touch here", False),
        ("touch ../beside", False),
        ("mkdir empty", False),
        ("chmod 500 .", False),
        ("rmdir ../here", False),
        ("mv ../here ../there", False),
    ],
)
def test_a_folder_that_a_run_left_untouched_is_used_again(
    workplace: Path, line: str, again: bool
) -> None:
    data = {"command": f": {{x}}; {line}", "shell": True, "cases": [{"name": "one"}]}
    sections = {"data": data, "search_space": {"x": {"low": 0, "high": 1}}}
    runs = Runs(CommandPlugin.Config.model_validate(sections))
    first = runs.run({"name": "one"}, {"x": 0}, 0).place.path
    _, second = runs.fresh({"name": "one"}, {"x": 0}, 0)
    assert (second.path == first) == again
    assert os.listdir(second.path) == ["here"]
    assert os.listdir(second.folder) == []


def test_a_setting_that_fails_on_held_out_cases_is_said_to(
    workplace: Path, write_config: Callable[..., Path]
) -> None:
    program = workplace / "a folder" / "double.sh"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\n[ "$1" = 1 ] || [ "$2" != far ] || exit 7\necho $1\n')
    program.chmod(0o755)
    path = write_config(
        plugin="command",
        study={"name": "s", "trials": 3, "sampler": "random"},
        data={
            "command": [str(program), "{n}", "{place}"],
            "texts": ["place"],
            "cases": [{"name": "one", "place": "near"}],
            "held_out": [{"name": "two", "place": "far"}],
            "metrics": {"size": {"stdout": True, "direction": "maximize"}},
            "baseline": {"n": 1},
        },
        search_space={"n": {"low": 2, "high": 9}},
        objective="size",
        tracking={"enabled": False},
    )
    config = load_config(path)
    result = session.run(config, LiveProgress(make_console(stderr=True), config.objective), bool)
    first, *others = result.summary.verdict
    assert first.startswith(
        "the best setting could not be presented (running the chosen setting on held-out case "
        "'two'): double.sh ended with exit code 7"
    )
    assert any(
        line.endswith("over the baseline; held-out cases are not known of") for line in others
    )
