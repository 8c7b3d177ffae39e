"""A real Slurm of two nodes: by dask-jobqueue, and as one job that holds the coordinator too."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import psutil
import pytest

pytest.importorskip(
    "dask_jobqueue", reason="the extra `dask` is not installed: no scheduler is asked for jobs"
)

from tests.faults.kills import losses  # noqa: E402
from tests.processes import command_of  # noqa: E402
from tests.slurm import Slurm, running_slurm  # noqa: E402
from tuner.execution.dask.jobqueue import QueueOptions, SlurmExecutor  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.usefixtures("toy", "undrawn")]

TRIALS = 16


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    with running_slurm() as slurm:
        yield slurm


@pytest.fixture
def config(write_config: Callable[..., Path]) -> str:
    sections = {
        "plugin": "toy",
        "study": {"trials": TRIALS, "sampler": "random"},
        "data": {"targets": [2.0, 4.0], "seconds": 0.3, "log": str(Path.cwd() / "ran.jsonl")},
        "search_space": {"x": {}, "size": {"low": 1, "high": 2}},
        "objective": "fit",
        "timing": {"repeats": 1, "finalists": 0, "nulls": 0},
        "tracking": {"enabled": False},
        "export": {"path": "best.py"},
        "executor": {
            "kind": "slurm",
            "queue": "main",
            "memory": "1GB",
            "walltime": "00:10:00",
            "jobs": 2,
            "interface": "lo",
        },
    }
    return write_config(**sections).name


TUNER = [sys.executable, "-m", "tuner"]


def started() -> int:
    log = Path("ran.jsonl")
    return len(log.read_text().splitlines()) if log.exists() else 0


def wait_for(lines: int, seconds: float = 120.0) -> None:
    until = time.monotonic() + seconds
    while started() < lines:
        assert time.monotonic() < until, said_by_jobs()
        time.sleep(0.1)


def said_by_jobs() -> str:
    """Return what jobs have written to their files."""
    return "\n".join(path.read_text() for path in Path().glob("slurm-*.out"))


def assert_whole(starts: int = 1) -> None:
    """No trial is lost, repeated, stuck or reported wrongly."""
    study = optuna.load_study(study_name="study", storage="sqlite:///tuner.db")
    trials = study.get_trials()
    assert Counter(trial.state.name for trial in trials) == {"COMPLETE": TRIALS}
    assert [trial.number for trial in trials] == list(range(TRIALS))
    assert len({tuple(trial.params.items()) for trial in trials}) == TRIALS
    best = study.best_trial.params["x"]
    assert json.loads(subprocess.check_output([sys.executable, "best.py"]))["x"] == best
    lines = map(json.loads, Path("ran.jsonl").read_text().splitlines())
    ran = Counter(x for x, _ in {(line["x"], line["pid"]) for line in lines})
    again = sum(
        ran[trial.params["x"]] - 1 for trial in trials if trial.params["x"] not in (0, best)
    )
    # What ran where a job ended, or when a start did, is run again.
    assert again <= sum(map(losses, trials)) + 2 * (starts - 1)


def run_while(config: str, act: Callable[[], object], *more: str) -> None:
    """Run a study by dask-jobqueue to its end; meanwhile something is done."""
    command = [*TUNER, "run", config, "--json", *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        act()
        out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err.decode()
    counts = {"complete": TRIALS, "failed": 0, "pruned": 0, "infeasible": 0}
    assert json.loads(out)["trials"] == counts
    assert_whole()


def restart_controller(slurm: Slurm, act: Callable[[], object] = lambda: None) -> None:
    """Kill the controller, and start it again after some seconds."""
    slurm.process.kill()
    slurm.process.wait()
    act()
    time.sleep(5)
    slurm.process = slurm.controller()


def kill_a_worker() -> None:
    """Kill what a job runs: the command of its Dask worker."""
    words = "distributed.cli.dask_worker"
    found = [each for each in psutil.process_iter() if words in " ".join(command_of(each))]
    chosen = next(each for each in found if "SLURM_JOB_ID" in each.environ())
    chosen.kill()


def test_trials_run_in_jobs_and_a_cancelled_job_loses_none(slurm: Slurm, config: str) -> None:
    def cancel() -> None:
        wait_for(8)
        jobs = slurm.jobs()
        assert len(jobs) == 2
        slurm.ask("scancel", jobs[0])

    run_while(config, cancel)
    slurm.wait_until("", 30, "squeue", "-h")


def test_jobs_that_reach_their_walltime_are_replaced(slurm: Slurm, config: str) -> None:
    def watch() -> None:
        until = time.monotonic() + 300
        while "TIMEOUT" not in slurm.ask("squeue", "-h", "-t", "all", "-o", "%T"):
            assert time.monotonic() < until
            time.sleep(1)

    longer = ["data.seconds=4", "data.has_baseline=false", "executor.walltime=00:01:00"]
    run_while(config, watch, *(word for each in longer for word in ("--set", each)))


def test_a_controller_that_restarts_costs_nothing(slurm: Slurm, config: str) -> None:
    def act() -> None:
        wait_for(8)
        restart_controller(slurm, kill_a_worker)

    run_while(config, act)


def test_a_job_that_is_refused_is_one_line(slurm: Slurm, config: str) -> None:
    command = [*TUNER, "run", config, "--set", "executor.queue=nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    *_, line = done.stderr.splitlines()
    assert "Traceback" not in done.stderr
    assert "none can be started: sbatch: error:" in line
    assert "Invalid partition" in line
    assert "Warning" not in done.stderr


@pytest.fixture
def script(config: str) -> str:
    """Return the file for sbatch."""
    Path("job.sh").write_text(subprocess.check_output([*TUNER, "slurm", config], text=True))
    return "job.sh"


def submit(slurm: Slurm, script: str) -> str:
    return slurm.ask("sbatch", "--parsable", script).strip()


def await_end(slurm: Slurm, job: str) -> None:
    slurm.wait_until("", 300, "squeue", "-h")
    assert "COMPLETED" in slurm.ask("scontrol", "show", "job", job), said_by_jobs()


def test_one_file_holds_coordinator_and_workers(slurm: Slurm, script: str) -> None:
    job = submit(slurm, script)
    wait_for(8)
    slurm.ask("scancel", job)
    slurm.wait_until("", 60, "squeue", "-h")
    assert started() < 2 * TRIALS
    await_end(slurm, submit(slurm, script))
    assert_whole(starts=2)


ENDS_AT_ONCE = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
open('begun', 'w').close()
signal.pause()
"""


def test_a_cancelled_job_does_not_go_back_to_the_queue(slurm: Slurm, workplace: Path) -> None:
    """A study that ends at once asks for that while Slurm still ends its job."""
    options = QueueOptions(queue="main", memory="100MB")
    text = SlurmExecutor.batch_script(options, "ends", [sys.executable, "-c", ENDS_AT_ONCE])
    Path("job.sh").write_text(text)
    job = submit(slurm, "job.sh")
    while not Path("begun").exists():
        time.sleep(0.1)
    slurm.ask("scancel", job)
    slurm.wait_until("", 60, "squeue", "-h")
    shown = slurm.ask("scontrol", "show", "job", job)
    assert "JobState=CANCELLED" in shown
    assert "Restarts=0" in shown


def test_one_file_outlives_the_controller(slurm: Slurm, script: str) -> None:
    job = submit(slurm, script)
    wait_for(8)
    restart_controller(slurm)
    await_end(slurm, job)
    assert_whole()


def test_a_job_whose_time_is_nearly_up_goes_back_to_the_queue(slurm: Slurm, script: str) -> None:
    path = Path(script)  # told 75 s before two minutes are over, and not 120 s before ten
    text = path.read_text().replace("TERM@120", "TERM@75").replace("=00:10:00", "=00:02:00")
    longer = " run --set data.seconds=2 --set data.has_baseline=false "
    path.write_text(text.replace(" run ", longer))
    job = submit(slurm, script)
    while state := slurm.ask("squeue", "-h", "-o", "%T"):
        if "PENDING" in state:  # Slurm waits for two minutes
            slurm.ask("scontrol", "update", f"jobid={job}", "starttime=now")
        time.sleep(0.5)
    shown = slurm.ask("scontrol", "show", "job", job)
    assert "COMPLETED" in shown, said_by_jobs()
    assert "Restarts=0" not in shown
    assert_whole()  # what ran was let end
