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
import pytest

pytest.importorskip(
    "dask_jobqueue", reason="the extra `dask` is not installed: no scheduler is asked for jobs"
)

from tests.slurm import Slurm, running_slurm  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("toy", "undrawn")]

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
        assert time.monotonic() < until
        time.sleep(0.1)


def assert_whole() -> None:
    """No trial is lost, repeated or stuck."""
    study = optuna.load_study(study_name="study", storage="sqlite:///tuner.db")
    trials = study.get_trials()
    assert Counter(trial.state.name for trial in trials) == {"COMPLETE": TRIALS}
    assert [trial.number for trial in trials] == list(range(TRIALS))


def test_trials_run_in_jobs_and_a_cancelled_job_loses_none(slurm: Slurm, config: str) -> None:
    command = [*TUNER, "run", config, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        wait_for(8)
        jobs = slurm.jobs()
        assert len(jobs) == 2
        slurm.ask("scancel", jobs[0])
        out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err.decode()
    assert json.loads(out)["trials"] == {
        "complete": TRIALS,
        "failed": 0,
        "pruned": 0,
        "infeasible": 0,
    }
    assert_whole()
    slurm.wait_until("", 30, "squeue", "-h")


def test_a_job_that_is_refused_is_one_line(slurm: Slurm, config: str) -> None:
    command = [*TUNER, "run", config, "--set", "executor.queue=nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    *_, line = done.stderr.splitlines()
    assert "Traceback" not in done.stderr
    assert "none can be started: sbatch: error:" in line
    assert "Invalid partition" in line
    assert "Warning" not in done.stderr


def test_one_file_holds_coordinator_and_workers(slurm: Slurm, config: str) -> None:
    script = Path("job.sh")
    script.write_text(subprocess.check_output([*TUNER, "slurm", config], text=True))
    job = slurm.ask("sbatch", "--parsable", str(script)).strip()
    wait_for(8)
    slurm.ask("scancel", job)
    slurm.wait_until("", 60, "squeue", "-h")
    assert started() < 2 * TRIALS
    job = slurm.ask("sbatch", "--parsable", str(script)).strip()
    slurm.wait_until("", 200, "squeue", "-h")
    said = Path(f"slurm-{job}.out").read_text()
    assert "COMPLETED" in slurm.ask("scontrol", "show", "job", job), said
    assert_whole()


def test_a_job_whose_time_is_nearly_up_goes_back_to_the_queue(slurm: Slurm, config: str) -> None:
    script = Path("job.sh")
    text = subprocess.check_output([*TUNER, "slurm", config], text=True)
    script.write_text(text)
    job = slurm.ask("sbatch", "--parsable", str(script)).strip()
    wait_for(8)
    slurm.ask("scancel", "--batch", "--signal=TERM", job)  # as Slurm does 120 s before
    until = time.monotonic() + 60
    while "Restarts=1" not in slurm.ask("scontrol", "show", "job", job):
        assert time.monotonic() < until, Path(f"slurm-{job}.out").read_text()
        time.sleep(0.2)
    while "RUNNING" not in slurm.ask("squeue", "-h", "-o", "%T"):  # Slurm waits for two minutes
        assert time.monotonic() < until + 30
        slurm.ask("scontrol", "update", f"jobid={job}", "starttime=now")
        time.sleep(0.5)
    slurm.wait_until("", 240, "squeue", "-h")
    assert_whole()
