"""The descriptions in MLflow's pages."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from tests.studies import make_study, make_summary, make_trials
from tuner.tracking import mlflow_notes, mlflow_runs, mlflow_views

STUDY, TRIALS = make_study(), make_trials(30)
LINKS = mlflow_views.links("7", mlflow_runs.study_key(STUDY), "parent", ["a", "b"])


def test_study_note_begins_with_the_result_then_the_links() -> None:
    summary = make_summary(TRIALS)
    images = [PurePosixPath("plots/r and time.png")]
    note = mlflow_notes.study_note(STUDY, LINKS, summary, "run1", images).split("\n\n")
    assert note[0].startswith(f"Best: trial {summary.best.number}, **score = ")
    assert f"[trials]({LINKS['trials']})" in note[1]
    assert note[-1] == ("![r and time](get-artifact?path=plots/r%20and%20time.png&run_uuid=run1)")
    assert any("best on held-out" in block for block in note)
    assert any(line.startswith("- R is the largest") for line in note)


def test_study_note_of_a_study_that_is_not_done() -> None:
    unfinished = make_summary(TRIALS, finished=False)
    interrupted = mlflow_notes.study_note(STUDY, LINKS, unfinished, "run1", [])
    assert "Interrupted: run the same command again" in interrupted
    nothing = mlflow_notes.study_note(STUDY, LINKS, make_summary([], best=None), "run1", [])
    assert nothing.startswith("No complete trial (no trials).")


@pytest.mark.parametrize("count", [0, 300])
def test_notes_fit_into_a_tag(count: int) -> None:
    images = [PurePosixPath(f"{'x' * 200}{i}.png") for i in range(count)]
    note = mlflow_notes.study_note(
        STUDY, LINKS, make_summary(TRIALS, notes=["y" * 100] * count), "r", images
    )
    assert len(note) <= mlflow_runs.MAX_TAG


def test_figures_are_pictures() -> None:
    paths = [PurePosixPath(name) for name in ("a.png", "b.csv", "c/d.JPG", "e.html")]
    assert mlflow_notes.figures(paths) == [paths[0], paths[2]]
