"""What is submitted to a batch system, without one: scripts, and what cannot be."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tuner.config.load import load_config
from tuner.plugin import InputError
from tuner.run.batch import batch_script, dry_run
from tuner.run.check import check

pytest.importorskip(
    "dask_jobqueue", reason="the extra `dask` is not installed: no scheduler is asked for jobs"
)
pytestmark = pytest.mark.usefixtures("toy")

QUEUE = {"queue": "main", "account": "lab", "cores": 4, "memory": "8GB", "jobs": 3}


@pytest.fixture
def submit(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be the commands that submit jobs."""
    programs = workplace / "bin"
    programs.mkdir()
    for name in ("sbatch", "qsub", "bsub"):
        (programs / name).write_text("#!/bin/sh\nexit 1\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")


@pytest.fixture
def configured(write_config: Callable[..., Path]) -> Callable[..., Path]:
    return lambda **executor: write_config(
        plugin="toy", tracking={"enabled": False}, limits={"threads": 2}, executor=executor
    )


@pytest.mark.usefixtures("submit")
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("slurm", ["#SBATCH -p main", "#SBATCH -A lab", "#SBATCH --cpus-per-task=4"]),
        ("pbs", ["#PBS -q main", "#PBS -A lab", "ncpus=4"]),
        ("lsf", ["#BSUB -q main", '#BSUB -P "lab"', "#BSUB -n 4"]),
        ("sge", ["#$ -q main", "#$ -P lab"]),
    ],
)
def test_a_dry_run_shows_the_script_of_a_job(
    configured: Callable[..., Path], kind: str, expected: list[str]
) -> None:
    script = dry_run(load_config(configured(kind=kind, **QUEUE, extra=["--more"])))
    assert "# 3 of these:" in script
    for line in [*expected, "--more", "distributed.cli.dask_worker tls://", "--nworkers 2"]:
        assert line in script, line
    assert "WORKER__MEMORY__TERMINATE=False" in script


@pytest.mark.usefixtures("submit")
def test_one_file_is_whole(configured: Callable[..., Path], workplace: Path) -> None:
    path = configured(kind="slurm", **QUEUE, extra=["--exclusive"], prologue=["module load x"])
    text = batch_script(load_config(path), path, ["study.trials=7"])
    for line in ("ntasks=3", "cpus-per-task=4", "mem-per-cpu=1908M", "exclusive", "requeue"):
        assert f"#SBATCH --{line}\n" in text
    assert f"cd {workplace} || exit 2\nmodule load x\n" in text
    assert "--set study.trials=7 --set executor.inside=true &" in text
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    (study,) = [line for line in text.splitlines() if line.endswith(" &")]
    subprocess.run([*shlex.split(study)[:3], "--help"], stdout=subprocess.DEVNULL, check=True)


@pytest.mark.usefixtures("submit")
def test_another_executor_is_told(configured: Callable[..., Path]) -> None:
    path = configured(kind="pbs")
    with pytest.raises(InputError, match="executor.kind: expected slurm, got 'pbs'"):
        batch_script(load_config(path), path, [])
    local = load_config(configured(kind="local"))
    assert dry_run(local).endswith("study would run; executor 'local' submits no job")


def test_a_host_that_cannot_submit_is_one_line(
    configured: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InputError, match=r"line \d+: executor: there is no qsub here; run this"):
        check(load_config(configured(kind="pbs")))
