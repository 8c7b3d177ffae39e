"""The short form of `make faults`, and that the harness sees the harm it looks for."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from tests.faults import clusters, files, kills, resources
from tests.fork import preload


@pytest.fixture
def place(toy: Path, tmp_path: Path) -> Path:
    preload()
    return tmp_path


def test_kills_at_commit_points_do_no_harm(place: Path) -> None:
    counts = kills.kills_of_coordinators(place, seed=1, studies=2)
    assert counts.harmless, counts.details
    assert counts.injected >= 4


@pytest.mark.usefixtures("undrawn")
def test_a_script_is_its_studys_own_whenever_the_study_dies(place: Path) -> None:
    study = kills.Killed(place / "study")
    for after in (False, True):
        study.strike(kills.Kill("tuner.selection.finish:claim_script", 1, after, signal.SIGKILL))
    assert study.finish().harmless, study.toll.details
    assert study.toll.injected >= 2


@pytest.mark.usefixtures("undrawn")
def test_a_killed_worker_does_no_harm(place: Path) -> None:
    counts = kills.kills_of_parts(place, seed=1, studies=1)
    assert counts.harmless, counts.details


def test_a_killed_worker_and_scheduler_of_dask_do_no_harm(place: Path) -> None:
    pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    parts = (clusters.WORKER, clusters.SCHEDULER)  # each once, by this seed
    counts = clusters.kills_on_dask(place, seed=3, count=2, parts=parts, servers=(), wanted=14)
    assert counts.harmless, counts.details
    assert counts.injected == 2


def test_a_full_disk_does_no_harm(place: Path) -> None:
    counts = resources.full_disk(place, seed=1, studies=2)
    assert counts.harmless, counts.details
    assert counts.injected == 2


@pytest.mark.usefixtures("undrawn")
def test_a_clock_that_jumps_does_no_harm(place: Path) -> None:
    counts = resources.jumping_clock(place, seed=1, studies=1)
    assert counts.harmless, counts.details


@pytest.mark.usefixtures("undrawn")
def test_three_starts_at_once_have_one_winner(place: Path) -> None:
    counts = resources.several_coordinators(place, seed=1, studies=2)
    assert counts.harmless, counts.details


@pytest.mark.parametrize("kind", ["bigWig track", "BED", "GTF", "YAML"])
def test_damaged_files_get_one_line(place: Path, kind: str) -> None:
    counts = files.damaged_files(kind, place, seed=1, count=12)
    assert counts.harmless, counts.details


@pytest.mark.usefixtures("undrawn")
def test_a_trial_that_is_gone_is_seen(place: Path) -> None:
    study = kills.Killed(place / "study")
    study.wait(study.start())
    study.look("a start")
    with sqlite3.connect(place / "study" / "tuner.db") as store:
        store.execute("delete from trial_params where trial_id = 2")
        store.execute("update trials set state = 'RUNNING' where number = 3")
    store.close()
    study.look("the damage")
    assert study.toll.lost == 2
    study.check(0, study.trials())
    assert study.toll.stuck == 1


def test_a_process_that_outlives_its_study_is_seen_and_ended(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kills, "PATIENCE", 0.5)
    study = kills.Killed(place / "study")
    orphan = subprocess.Popen(["sleep", "60"], env={**os.environ, **study.place.environment})
    while not study.place.living():  # until it is the program, it has another environment
        time.sleep(0.01)
    study.look("nothing")
    assert study.toll.orphans == 1
    assert orphan.wait(10) == -signal.SIGKILL
