"""The command line from outside: whole commands, exit codes, one line for bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from tests.driver import Driver
from tuner.search.clocks import FIXED_COSTS

pytestmark = pytest.mark.usefixtures("toy", "undrawn")

LONG = "x" * 300
TOO_LONG = "expected paths with names of at most 255 bytes, got 'xxx"

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def tuner(driver: Driver, workplace: Path) -> Command:
    def _tuner(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = driver.run(*arguments)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return _tuner


@pytest.fixture
def config(write_config: Callable[..., Path]) -> str:
    sections = {
        "plugin": "toy",
        "study": {"trials": 6, "sampler": "random"},
        "data": {"targets": [2.0, 4.0], "held_out": [3.0], "seconds": 0.005},
        "search_space": {"x": {}, "size": {}},
        "timing": {"final_time": 1},  # such short times cannot be told apart
        "export": {"path": "frozen.py"},
        "tracking": {"enabled": False},
    }
    return write_config(**sections).name


def test_the_plug_in_may_choose_what_is_frozen(
    tuner: Command, config: str, workplace: Path
) -> None:
    plain = ("--set", "objective=fit")
    best = json.loads(tuner("run", config, "--json", *plain).stdout)["best"]
    assert best["params"]["x"] != 0.0
    # the study is complete, and the choice no reason to start another
    chosen = (*plain, "--set", "export.select=one_standard_error")
    shown = tuner("run", config, *chosen).stdout
    assert f"trial 0 is frozen, not {best['number']}: the smallest x" in shown
    assert json.loads(tuner("best", config, "--json", *chosen).stdout)["best"]["number"] == 0
    tuner("export", config, "-o", "chosen.py", *chosen)
    assert '"x": 0.0' in (workplace / "chosen.py").read_text()
    tuner("export", config, "-o", "best.py", *plain)
    assert '"x": 0.0' not in (workplace / "best.py").read_text()


def test_a_complete_study_without_fixed_costs_is_presented(
    tuner: Command, config: str, workplace: Path
) -> None:
    """As an earlier version left it, which kept them under another name."""
    timed = ("--set", "data.start_up=0.05", "--set", "timing.fixed_cost_repeats=1")
    timed += ("--set", "timing.finalists=0")  # held-out cases are charged where none is timed whole
    first = json.loads(tuner("run", config, "--json", *timed).stdout)
    study = optuna.load_study(study_name="study", storage="sqlite:///tuner.db")
    kept = json.loads(study.user_attrs[FIXED_COSTS])
    study.set_user_attr(FIXED_COSTS, json.dumps({**kept, "seconds": {}}))
    again = json.loads(tuner("run", config, "--json", *timed).stdout)
    assert again["best"] == first["best"]
    (case,) = again["held_out"]
    assert case["seconds"] > 0.05
    assert set(kept["seconds"]) == {"{}", "held out: {}"}
    assert set(json.loads(study.user_attrs[FIXED_COSTS])["seconds"]) == {"held out: {}"}


def test_the_smoothed_best_may_be_frozen(tuner: Command, config: str, workplace: Path) -> None:
    plain = ("--set", "objective=fit", "--trials", "24")
    plain += ("--set", "timing.finalists=0", "--set", "data.luck=40")
    best = json.loads(tuner("run", config, "--json", *plain).stdout)["best"]
    chosen = (*plain[:2], *plain[4:], "--set", "export.select=smoothed")
    shown = tuner("run", config, "--trials", "24", *chosen).stdout
    found = json.loads(tuner("best", config, "--json", *chosen).stdout)["best"]
    assert found["number"] != best["number"]
    assert found["metrics"]["fit"] < best["metrics"]["fit"]
    reason = f"trial {found['number']} is frozen, not {best['number']}: smoothed fit"
    assert reason in " ".join(shown.split())
    tuner("export", config, "-o", "chosen.py", *chosen)
    assert f'"x": {found["params"]["x"]}' in (workplace / "chosen.py").read_text()


@pytest.mark.usefixtures("store")
def test_run_best_export_and_resume(
    tuner: Command, config: str, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOY_UNDRAWN")
    track = ("--set", "tracking.enabled=true")
    done = tuner("run", config, "--json", *track)
    result = json.loads(done.stdout)
    assert result["trials"]["complete"] == 6
    assert result["baseline"]["number"] == 0
    ends = {f"{name}_{end}" for name in ("score", "speedup") for end in ("low", "high")}
    assert set(result["best"]["metrics"]) == {"fit", "error", "score", "speedup", "time"} | ends
    assert [case["name"] for case in result["held_out"]] == ["held3"]
    finalists = result["final"]["finalists"]
    assert finalists[0]["number"] == result["best"]["number"]
    assert finalists[0]["score"] == max(row["score"] for row in finalists)
    assert result["nulls"] == []
    assert result["tracking"]["problems"] == []
    assert result["tracking"]["run_id"]
    assert "study 'study' starts: 6 trials" in done.stderr
    frozen = subprocess.run(
        [sys.executable, workplace / "frozen.py"], capture_output=True, text=True, check=True
    )
    assert json.loads(frozen.stdout) == result["best"]["params"]
    names = {path.name for path in (workplace / "out" / "study").rglob("*") if path.is_file()}
    assert names >= {"history.png", "trade_off.png", "fits.png", "fits.csv", "frozen.py"}

    again = json.loads(tuner("run", config, "--trials", "8", "--json", *track).stdout)
    assert again["trials"]["complete"] == 8
    assert again["tracking"]["run_id"] == result["tracking"]["run_id"]
    assert json.loads(tuner("best", config, "--json").stdout)["best"] == again["best"]
    tuner("export", config, "-o", "other.py")
    assert (workplace / "other.py").exists()
    tuner("export", config, "-o", "other.py")  # its own script
    refused = tuner("export", config, "-o", config, code=2)
    assert "no study here wrote it; move it away, or give another -o" in refused.stderr
    refused = tuner("analyse", config, "-o", config, code=2)
    assert f"the analysis goes to {config}: {config} is a file" in refused.stderr
    changed = ("--set", "limits.case_time=50s")  # the study is found again all the same
    (note,) = tuner("analyse", config, "-o", "after", *changed, *track).stderr.splitlines()
    assert note.startswith("note: since study 'study' was run, its configuration has changed: ")
    assert "limits.case_time: was 600.0, now 50.0; the trials are those of the study" in note
    analysis = json.loads((workplace / "after" / "analysis.json").read_text())
    assert analysis == again["best"]["params"]
    logged = list((workplace / "mlartifacts").rglob("analysis/analysis.json"))
    assert [json.loads(path.read_text()) for path in logged] == [analysis]
    assert result["tracking"]["run_id"] in logged[0].parts

    fresh = json.loads(tuner("run", config, "--new", "--trials", "2", "--json").stdout)
    assert (fresh["study"], fresh["trials"]["complete"]) == ("study-2", 2)


def test_the_table_shows_best_against_baseline(tuner: Command, config: str) -> None:
    done = tuner("run", config, "--workers", "2")
    for expected in ("target2", "held3 (held out)", "speed-up", "script: frozen.py", "searched"):
        assert expected in done.stdout
    shown = tuner("best", config).stdout
    assert "best of 6 trials" in shown
    changed = tuner("run", config, "--set", "study.seed=9", code=2)
    assert changed.stderr.count("\n") == 1
    assert "seed: was 0, now 9" in changed.stderr
    assert not tuner("best", config).stderr
    for end in ((), ("--json",)):
        narrow = tuner("best", config, "--set", "search_space.x.high=9", *end)
        (note,) = narrow.stderr.splitlines()
        assert "note: since study 'study' was run" in note
        assert "search_space.x.high: was 10.0, now 9.0;" in note
        assert bool(end) != ("searched: -10 to 10" in narrow.stdout)
    refused = tuner("export", config, "-o", "other.py", "--set", "data.width=2", code=2)
    (line,) = refused.stderr.splitlines()
    assert "study 'study' was run with data.width: was 1, now 2; a script made now" in line
    (note,) = tuner("export", config, "-o", "new.py", "--set", "study.seed=9").stderr.splitlines()
    assert "seed: was 0, now 9" in note


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "absent.yaml"], "no such configuration: absent.yaml"),
        (["run", "study.yaml", "--set", "study.trials=x"], "--set study.trials=x: study.trials"),
        (["validate", "study.yaml", "--set", "search_space={}"], "the search space is empty"),
        (["best", "study.yaml"], "not exist; first: tuner run study.yaml"),
        (["export", "study.yaml", "-o", "x.py"], "not exist; first: tuner run study.yaml"),
        (["ui", "study.yaml"], "not exist; first: tuner run study.yaml"),
        (["status", "study.yaml"], "not exist; first: tuner run study.yaml"),
        (["stop", "study.yaml"], "not exist; first: tuner run study.yaml"),
        (["run", "study.yaml", "--set", "data.width=13"], "data.width: 13 is unlucky"),
        (["run", "study.yaml", "--set", "data.targets=[]"], "found no case to tune on"),
        (["run", "study.yaml", "--set", "study.storage=sqlite:///no/dir/x.db"], "no such folder"),
        (["run", "study.yaml", "--set", "study.storage=nosql://x"], "cannot open nosql://x"),
        (["run", "study.yaml", "--set", "export.path=no/dir/x.py"], "no folder no/dir"),
        (["run", "study.yaml", "--set", "tracking={uri: 'sqlite:///tuner.db'}"], "same file"),
        (["run", "study.yaml", "--set", f"export.path={LONG}.py"], TOO_LONG),
        (["validate", "study.yaml", "--set", f"study.storage=sqlite:///{LONG}.db"], TOO_LONG),
        (["validate", "study.yaml", "--set", f"study.storage=journal:///{LONG}.log"], TOO_LONG),
        (["validate", "study.yaml", "--set", f"study.sampler={30 * LONG}"], "study.sampler"),
        (["simulate", "rain", "-o", "x"], "no simulator called 'rain'; installed:"),
        (["simulate", "toy", "-o", "x", "--colour", "red"], "has no option 'colour'"),
        (["simulate", "toy", "-o", "x", "--points", "many"], "option 'points'"),
        (["simulate", "toy", "-o", "x", "--points"], "needs a value"),
        (["simulate", "toy", "-o", "."], "exists"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    tuner: Command, config: str, arguments: list[str], expected: str
) -> None:
    done = tuner(*arguments, code=2)
    lines = [line for line in done.stderr.splitlines() if line.startswith("tuner: ")]
    assert len(lines) == 1
    assert len(lines[0]) < 5000
    assert expected in lines[0]
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_failing_baseline_is_told_with_exit_code_1(tuner: Command, config: str) -> None:
    done = tuner("run", config, "--set", "data.baseline_mode=raise", code=1)
    assert "the baseline did not complete" in done.stderr


def test_plugins_are_listed(tuner: Command) -> None:
    listed = {entry["name"]: entry for entry in json.loads(tuner("plugins", "--json").stdout)}
    assert listed["toy"]["package"] == "tuner-toy"
    assert {"nmf", "toy"} <= set(listed)
    assert "tuner_toy:Toy" in tuner("plugins").stdout


def test_the_parameters_of_a_plug_in_are_listed(tuner: Command) -> None:
    rows = {row["parameter"]: row for row in json.loads(tuner("params", "nmf", "--json").stdout)}
    assert rows["resolution"]["unit"] == "bases"
    assert rows["fl_lambda"]["range"] == "0.1 to 3000, log"
    assert rows["fl_lambda"]["default"] != rows["fl_lambda"]["baseline"]
    assert all(row["meaning"] for row in rows.values())
    assert "fl_lambda" in tuner("params", "nmf").stdout
    assert "are what search_space and data.baseline list" in tuner("params", "command").stdout


def test_a_schema_is_printed_or_written(tuner: Command, workplace: Path) -> None:
    printed = tuner("schema", "toy").stdout
    assert json.loads(printed)["properties"]["plugin"]["const"] == "toy"
    tuner("schema", "toy", "-o", "new/toy.json")
    assert (workplace / "new" / "toy.json").read_text() == printed
    assert "cannot write new: it is a folder" in tuner("schema", "toy", "-o", "new", code=2).stderr


def test_the_doctor_says_what_is_missing_and_how_to_get_it(
    tuner: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {row["topic"]: row for row in json.loads(tuner("doctor", "--json").stdout)}
    assert {"tuner", "python", "extra nmf", "threads", "compiler", "tracking"} <= set(found)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9/")
    shown = tuner("doctor").stdout
    assert "compiler: none" in shown
    assert "to mend it: install one: apt install gcc" in shown
    assert "to mend it: until it answers trials are kept in out/unsent" in shown


def test_results_go_where_the_configuration_says(
    tuner: Command, config: str, workplace: Path
) -> None:
    there = ("--set", "out=results/here", "--set", "study.trials=2")
    tuner("run", config, *there)
    assert (workplace / "results" / "here" / "study" / "config.yaml").is_file()
    assert not (workplace / "out").exists()
    tuner("run", config, *there, "--set", "timing.final_time=2")  # its own folder and script
    tuner("export", config, *there)
    taken = tuner("run", config, *there, "--set", "study.name=other", code=2)
    assert "frozen.py is the script of another study 'study'" in taken.stderr


def test_quiet_says_errors_alone_and_verbose_where_they_come_from(
    tuner: Command, config: str
) -> None:
    assert tuner("-q", "run", config, "--set", "study.trials=2").stderr == ""
    (line,) = tuner("-q", "run", "absent.yaml", code=2).stderr.splitlines()
    assert line.startswith("tuner: no such configuration")
    told = tuner("-v", "run", "absent.yaml", code=2).stderr
    assert "Traceback" in told
    assert told.endswith(f"{line}\n")


def test_validate_shows_the_space(tuner: Command, config: str) -> None:
    command = [sys.executable, "-m", "tuner", "validate", config]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "study.yaml is valid; objective: maximize score" in shown
    assert tuner("validate", config).stdout == shown
    shown = json.loads(tuner("validate", config, "--json").stdout)
    assert set(shown["search_space"]) == {"x", "size"}


def test_what_the_plug_in_says_of_its_input_is_shown_before_the_trials(
    tuner: Command, config: str
) -> None:
    told = ("--set", "data.told=true")
    assert "2 targets\n" in tuner("validate", config, *told).stdout
    assert json.loads(tuner("validate", config, *told, "--json").stdout)["notes"] == ["2 targets"]
    done = tuner("run", config, *told, "--json", "--set", "study.trials=2")
    assert done.stderr.index("2 targets\n") < done.stderr.index("loading the data")
    assert json.loads(done.stdout)["notes"][0] == "2 targets"
    for command in ("validate", "run"):
        failed = tuner(command, config, "--set", "data.width=12", code=2)
        assert "12 cannot be looked at" in failed.stderr
        assert failed.stderr.count("\n") == 1


def test_simulate_makes_a_whole_folder_or_none(tuner: Command, workplace: Path) -> None:
    tuner("simulate", "toy", "-o", "made/here", "--seed", "5", "--points", "2")
    assert json.loads((workplace / "made" / "here" / "points.json").read_text()) == [5, 6]
    broken = tuner("simulate", "toy", "-o", "made/there", "--kind", "broken", code=1)
    assert "this simulator breaks half-way" in broken.stderr
    assert [path.name for path in (workplace / "made").iterdir()] == ["here"]


def test_best_shows_what_the_run_ended_with(tuner: Command, config: str) -> None:
    ran = json.loads(tuner("run", config, "--json", "--set", "data.null=0.5").stdout)
    kept = json.loads(tuner("best", config, "--json", "--set", "data.null=0.5").stdout)
    for name in ("best", "baseline", "held_out", "held_out_baseline", "nulls", "final"):
        assert kept[name] == ran[name], name
    assert [null["case"] for null in kept["nulls"]] == ["target2", "target4", "held3"]
    shown = tuner("best", config, "--set", "data.null=0.5").stdout
    for expected in ("held3 (held out)", "null", "finalists: ", "chance of", "searched: -10 to 10"):
        assert expected in shown
