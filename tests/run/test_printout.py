"""What a run ends with on paper: numbers that stand twice are equal, at any width."""

from __future__ import annotations

import io
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.driver import Driver
from tests.selection.test_measured import final_of, trials
from tuner.config.load import Config, load_config
from tuner.config.objective import Objective
from tuner.records import Null, Summary
from tuner.run.printout import print_result
from tuner.selection.measured import measured_baseline, measured_trial
from tuner.selection.results import RunResult
from tuner.tracking.tracker import TrackingReport

OBJECTIVE = Objective({"r": "maximize"}, {"score": "maximize"})


@pytest.fixture
def config(toy: None, write_config: Callable[..., Path]) -> Config:
    path = write_config(plugin="toy", search_space={"x": {}}, tracking={"enabled": False})
    return load_config(path)


def shown(result: RunResult, config: Config, width: int = 120) -> str:
    stream = io.StringIO()
    print_result(Console(file=stream, width=width), result, config)
    return stream.getvalue()


def finished() -> RunResult:
    baseline, record = trials()
    final = final_of(record, baseline)
    (row,) = final.finalists
    metrics = {case.name: case.metrics["r"] for case in record.cases}
    row = replace(row, metrics=metrics, estimate=record.metrics["score"])
    final = replace(final, finalists=[row])
    best = measured_trial(record, baseline, final, OBJECTIVE)
    nulls = [Null(case.name, False, case.metrics["r"], 0.3, 0.4, 0.02, 100) for case in best.cases]
    summary = Summary(
        best, measured_baseline(baseline, final, OBJECTIVE), {"complete": 2}, True, final=final,
        nulls=nulls, verdict=["no trial beats the baseline"], artifacts=Path("out/s"),
    )  # fmt: skip
    return RunResult("s", "complete", summary, TrackingReport(), Path("out/s"))


class OfR:
    """A configuration whose objective is the score of r."""

    objective = OBJECTIVE

    def __init__(self, config: Config) -> None:
        self._config = config

    def __getattr__(self, name: str) -> object:
        return getattr(self._config, name)


def test_the_score_of_a_trial_is_one_number(config: Config) -> None:
    result = finished()
    text = shown(result, OfR(config))
    best, final = result.summary.best, result.summary.final
    assert best is not None
    assert final is not None
    lines = [line.split() for line in text.splitlines()]
    mean = next(line for line in lines if line[:1] == ["mean"])
    finalist = next(line for line in lines if "times" in line)
    score = f"{best.metrics['score']:.4g}"
    assert mean[-1] == score
    assert finalist[finalist.index("times") + 4] == score  # after the time with its unit, 2.5x
    assert f"{best.metrics['speedup']:.1f}x" in mean
    assert f"{best.metrics['speedup']:.1f}x" in finalist
    # the other score is named for what it is
    assert finalist[-1] == f"{best.estimate['score']:.4g}" != score
    assert "estimated" in text
    assert "- no trial beats the baseline" in text


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_no_line_is_wider_than_the_console(config: Config, width: int) -> None:
    result = finished()
    text = shown(result, OfR(config), width)
    tables = text.split("what came out:")[0]
    captions = (
        "r:",
        "time:",
        "score:",
        "null mean:",
        "estimated by",
        "timed:",
        "95 % interval:",
        "finalists:",
        "value:",
    )
    for line in tables.splitlines():
        assert len(line) <= width or line.startswith(captions)
    for word in ("speed-up", " 0.02", "baseline", "4 times", "0.90"):  # nothing is cut off
        assert word in tables
    assert "…" not in text
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)


def test_a_run_without_a_trial_says_so(config: Config) -> None:
    summary = Summary(None, None, {"failed": 3}, True, verdict=["only 0 of 50 trials completed"])
    text = shown(RunResult("s", "timeout", summary, TrackingReport(), Path("out/s")), config)
    assert "no script was written: no trial completed" in text
    assert "figures and tables" not in text


@pytest.mark.usefixtures("toy", "undrawn")
def test_the_printed_commands_work_when_pasted(
    driver: Driver, write_config: Callable[..., Path], workplace: Path
) -> None:
    config = write_config(
        plugin="toy",
        study={"trials": 3, "sampler": "random", "name": "pasted"},
        data={"targets": [2.0]},
        search_space={"x": {"low": 1, "high": 3}},
        objective="fit",
        export={"path": "frozen.py"},
        tracking={"enabled": False},
    ).name
    done = driver.run("run", config)
    assert done.returncode == 0, done.stderr
    text = done.stdout
    assert "script: frozen.py, with the setting of trial" in text
    assert "it needs: Python alone" in text
    command = re.search(r"to use it: (.*)", text)[1]
    used = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=workplace)
    assert (used.returncode, used.stderr) == (0, "")
    assert '"x": ' in used.stdout
    # time is not tuned here: no score is shown, and no estimate is called final
    assert "score" not in text
    assert "time: of run, once; it is not tuned" in text


@pytest.mark.usefixtures("toy", "undrawn")
@pytest.mark.parametrize(
    ("sections", "code", "expected"),
    [
        (
            {"data": {"baseline_mode": "raise"}},
            1,
            ["the baseline did not complete", "ValueError: this setting is broken"],
        ),
        (
            {"search_space": {"mode": ["raise"]}, "study": {"max_failures": 3}},
            1,
            ["3 trials in a row did not complete", "the last one", "this setting is broken"],
        ),
        (
            {"data": {"seconds": 0.02}, "study": {"trials": 5000, "timeout": "2s"}},
            0,
            ["of 5000 trials completed: study.timeout (2 s) was reached", "script: "],
        ),
        (
            {"search_space": {"x": {"low": -10, "high": -5}}},
            0,
            ["no trial beats the baseline (trial 0) in fit", "trial 0 (the baseline's params"],
        ),
    ],
)
def test_each_way_to_end_reads_right(
    driver: Driver,
    write_config: Callable[..., Path],
    sections: dict[str, dict[str, object]],
    code: int,
    expected: list[str],
) -> None:
    given: dict[str, dict[str, object]] = {
        "study": {"trials": 4, "sampler": "random", "storage": "journal:///journal.log"},
        "search_space": {"x": {"low": 1, "high": 3}},
    }
    for name, section in sections.items():
        given[name] = section if name == "search_space" else {**given.get(name, {}), **section}
    config = write_config(plugin="toy", objective="fit", tracking={"enabled": False}, **given).name
    done = driver.run("run", config)
    assert done.returncode == code, done.stdout + done.stderr
    for text in expected:
        assert text in done.stdout + done.stderr
    if code:
        assert done.stderr.count("tuner: ") == 1
        assert done.stdout == ""


@pytest.mark.usefixtures("toy", "undrawn")
def test_ctrl_c_shows_what_there_is_and_how_to_go_on(
    write_config: Callable[..., Path], workplace: Path
) -> None:
    config = write_config(
        plugin="toy",
        study={"trials": 500, "sampler": "random"},
        data={"seconds": 0.05},
        search_space={"x": {"low": 1, "high": 3}},
        export={"path": "frozen.py"},
        tracking={"enabled": False},
        timing={"fixed_cost_repeats": 0},
    ).name
    run = [sys.executable, "-m", "tuner", "run", config]
    process = subprocess.Popen(
        run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=workplace
    )
    assert process.stderr is not None
    while "2/500 trials" not in (line := process.stderr.readline()):
        assert line, "it ended before its second trial"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the best so far: trial" in out
    assert "time: the search's estimate" in out
    assert "final timing, of whole scripts, may give another speed-up" in out.replace("\n", " ")
    assert re.search(r"- only \d+ of 500 trials completed: the run was stopped", out)
    assert "finalists" not in out
    command = re.search(r"to write one with the best setting so far: (.*) -o SCRIPT.py", out)[1]
    assert f"stopped; to resume: tuner run {config}" in err
    assert not (workplace / "frozen.py").exists()
    subprocess.run(f"{command} -o some.py", shell=True, check=True, cwd=workplace)
    assert (workplace / "some.py").exists()


def test_a_server_is_named_without_its_password(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ann:secret@mlflow.example/")
    text = shown(finished(), OfR(config))
    assert "the study in MLflow: https://" in text
    assert "mlflow.example" in text
    assert "secret" not in text
