"""Studies from Python: `tuner.optimize`, `tuner.run`, and what they return."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tuner
from tuner.plugin import InputError
from tuner.run.result import Result
from tuner.run.study import _config_of

UNTRACKED = {"tracking": {"enabled": False}}
HEAVY = {"numpy", "pandas", "optuna", "mlflow", "matplotlib", "pydantic", "rich", "yaml"}
THREADS = {"executor": {"kind": "threads", "log": "jobs.log"}, **UNTRACKED}


def test_to_import_tuner_is_light_and_its_face_is_there() -> None:
    source = (
        "import sys, tuner, json\n"
        "before = sorted(sys.modules)\n"
        "face = {name: callable(getattr(tuner, name)) for name in tuner.__all__}\n"
        "from tuner.run import session\n"
        "assert tuner.run is sys.modules['tuner.run'] and callable(tuner.run)\n"
        "assert set(face) <= set(dir(tuner))\n"
        "print(json.dumps([before, face]))"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, check=True)
    modules, face = json.loads(done.stdout)
    assert {name.partition(".")[0] for name in modules}.isdisjoint(HEAVY)
    assert set(face) == {"Plugin", "Case", "Cases", "load_config", "run", "optimize", "__version__"}
    assert {name for name, can_be_called in face.items() if not can_be_called} == {"__version__"}


def test_a_face_has_no_other_name() -> None:
    with pytest.raises(AttributeError, match="module 'tuner' has no attribute 'optimise'"):
        _ = tuner.optimise


def closure(log: Path, offset: float) -> Callable[..., float]:
    """Return a function that no other process can import, and that keeps count of its calls.

    Each takes long enough for others to get in the way of its timing: that is no reason to call it
    again where time is not tuned.
    """

    def loss(x: float, kind: str) -> float:
        with log.open("a") as calls:
            calls.write(f"{os.getpid()}\n")
        return (x - offset) ** 2 + (kind == "b")

    return loss


def test_a_closure_is_tuned_in_a_worker_resumed_and_exported(workplace: Path) -> None:
    log, space = workplace / "calls.txt", {"x": (-5.0, 5.0), "kind": ["a", "b"]}

    def tune(trials: int, offset: float = 2.0, **more: Any) -> Result:
        function = closure(log, offset)
        return tuner.optimize(function, space, trials=trials, config=UNTRACKED, **more)

    result = tune(5)
    assert len(log.read_text().splitlines()) == 5  # none is run again to be shown
    assert set(log.read_text().split()).isdisjoint({str(os.getpid())})
    assert result.ending == "complete"
    assert list(result.trials.index) == list(range(5))
    assert list(result.trials.columns[:6]) == ["state", "baseline", "x", "kind", "value", "time"]
    assert set(result.trials["state"]) == {"complete"}
    best = result.trials["value"].idxmin()
    assert result.best.number == best
    assert result.best.params == {
        "x": result.trials["x"][best],
        "kind": result.trials["kind"][best],
    }
    assert result.best.metrics["value"] == result.trials["value"][best]
    assert set(result.figures) == {"history", "trade_off", "importances", "slices"}
    assert result.figures["history"]._repr_png_().startswith(b"\x89PNG")
    assert f"best: trial {best}, value" in repr(result)
    shown = result._repr_html_()
    assert f"<th>trial {best}</th>" in shown
    assert "<td>kind</td>" in shown

    script = result.export("best.py")
    said = subprocess.run([sys.executable, "-I", script], capture_output=True, check=True).stdout
    assert json.loads(said) == result.best.params

    more = tune(7)
    assert len(log.read_text().splitlines()) == 7
    assert list(more.trials["x"][:5]) == list(result.trials["x"])
    assert len(result.trials) == 5  # as it stood

    with pytest.raises(
        InputError, match="study 'loss' was made with another configuration: data.f"
    ) as caught:
        tune(9, offset=3.0)
    assert "\n" not in str(caught.value)
    frames = {Path(frame.filename).name for frame in traceback.extract_tb(caught.tb)}
    assert frames == {"test_study.py", "study.py", "contextlib.py"}  # none of what is called there


def test_a_study_is_tracked_and_measured_beside_a_baseline(
    workplace: Path, store: None, recwarn: pytest.WarningsRecorder
) -> None:
    result = tuner.optimize(
        lambda x, n: {"gain": -abs(x - 1), "n": n, "x": x},
        {"x": {"low": 0.01, "high": 10.0, "log": True}, "n": (np.int64(1), 3)},
        trials=4,
        direction={"gain": "maximize"},
        name="tracked",
        workers=2,
        baseline={"x": 3.0, "n": 2},
        seed=3,
    )
    told = [each for each in recwarn if not issubclass(each.category, DeprecationWarning)]
    assert [str(each.message) for each in told] == []  # what others deprecate is not ours
    with sqlite3.connect("mlflow.db") as store:
        names = store.execute("select name from runs where name like '%tracked%'").fetchall()
    store.close()
    assert len(names) == 5
    trials = result.trials
    assert list(trials["baseline"]) == [True, False, False, False]
    assert trials["x"][0] == 3.0
    assert trials["gain"][0] == -2.0
    assert list(trials["metrics.x"]) == list(trials["x"])
    assert result.best.metrics["gain"] == trials["gain"].max()
    assert result.folder == workplace / "out" / "tracked"


def test_a_study_runs_in_any_thread_and_once_at_a_time(
    toy: Path, undrawn: None, write_config: Callable[..., Path]
) -> None:
    path = write_config(
        plugin="toy",
        study={"trials": 4, "sampler": "random"},
        data={"targets": [1.0]},
        search_space={"x": {"low": -5, "high": 5}},
        objective="fit",
        **THREADS,
    )
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(tuner.run(path)))
    thread.start()
    thread.join()
    (result,) = found
    assert isinstance(result, Result)
    assert result.best.metrics["fit"] == result.trials["fit"].max()
    config = tuner.load_config(str(path), ["study.trials=5"])
    assert len(tuner.run(config).trials) == 5
    assert tuner.run(path, new=True).study == "study-2"
    with pytest.raises(InputError, match="overrides: expected a file to set keys of"):
        tuner.run(config, overrides=["study.trials=6"])

    def within(x: float) -> float:
        with pytest.raises(InputError, match="study 'within' is being run by another thread"):
            tuner.optimize(within, {"x": (0.0, 1.0)}, trials=1, config=THREADS)
        return x

    assert len(tuner.optimize(within, {"x": (0.0, 1.0)}, trials=2, config=THREADS).trials) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space": {"x": (1.0,)}}, r"search_space: expected \(low, high\), got \(1.0,\)"),
        ({"space": {"x": (1.0, 0.0)}}, "search_space.x: expected low < high, got 1.0 and 0.0"),
        ({"space": {}}, "tuner.optimize: search_space: the search space is empty"),
        ({"space": {"y": (0.0, 1.0)}}, "search_space: the function does not take the params y"),
        ({"trials": 0}, "tuner.optimize: study.trials: expected at least 1, got 0"),
        (
            {"direction": "down"},
            "data.metrics.value: expected 'maximize' or 'minimize', got 'down'",
        ),
        ({"direction": {}}, "data.metrics: expected at least one metric, got none"),
        ({"name": "a/b"}, "study.name: expected letters"),
        ({"storage": "${NO_SUCH}"}, "study.storage: the environment variable 'NO_SUCH' is not set"),
        ({"function": 3}, "data.function: expected a function, or module:name of one, got 3"),
        ({"config": {"limit": {}}}, "tuner.optimize: limit: unknown key 'limit'; .* 'limits'"),
        ({"config": {"study": {"trails": 3}}}, "study.trails: unknown key 'trails'"),
        ({"baseline": {"y": 1}}, "data.baseline: expected all params of the search space, got no"),
    ],
)
def test_what_is_wrong_is_one_line(workplace: Path, change: dict[str, Any], message: str) -> None:
    given = {"function": lambda x: x, "space": {"x": (0.0, 1.0)}, "trials": 3, **change}
    with pytest.raises(InputError, match=message) as caught:
        tuner.optimize(**given)
    assert "\n" not in str(caught.value)
    assert not Path("tuner.db").exists()


def test_what_is_kept_of_it_is_read_again(workplace: Path) -> None:
    function = closure(workplace, 1.0)
    sections = {
        "plugin": "function",
        "study": {"name": "kept"},
        "data": {"function": function},
        "search_space": {"x": {"low": 0, "high": 1.0}, "kind": ["a", "b"]},
        "objective": "value",
    }
    made = _config_of(sections)
    Path("kept.yaml").write_text(made.text)
    again = tuner.load_config("kept.yaml")
    assert again.signature() == made.signature()
    assert again.space == made.space


def test_a_disk_that_refuses_is_one_line(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device", "tuner.db")

    monkeypatch.setattr("tuner.run.session.open_study", refuse)
    with pytest.raises(InputError, match="cannot write tuner.db: No space left on device; mend"):
        tuner.optimize(lambda x: x, {"x": (0.0, 1.0)}, trials=1, config=UNTRACKED)


@pytest.mark.usefixtures("toy", "workplace")
def test_each_lambda_has_a_study_of_its_own_and_goes_on_with_it() -> None:
    def named(shift: int) -> str:
        ones = [lambda x: (x - 1) ** 2, lambda x: (x - 2) ** 2]
        result = tuner.optimize(ones[shift], {"x": (0.0, 1.0)}, trials=1, config=THREADS)
        assert len(result.trials) == 1
        return result.study

    names = [named(0), named(1), named(0)]
    assert names[0] == names[2] != names[1]
    assert re.fullmatch("lambda-[0-9a-f]{6}", names[0])
    code = "from tuner.run.study import _name_of as n;print(n(lambda x: x in {'a', 'b', 'c'}))"
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in range(3)
    }
    assert len(told) == 1
