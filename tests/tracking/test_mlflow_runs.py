"""What MLflow is told: limits of the store, honest numbers, stable names."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.studies import CASES, make_study, make_summary, make_trials
from tuner.records import MOST_LOSSES, CaseRecord
from tuner.tracking import mlflow_runs

STUDY = make_study()
TRIALS = make_trials(30)
COMPLETE = next(trial for trial in TRIALS if trial.state == "complete" and trial.number)


def test_study_key_tells_studies_apart_by_name_and_signature() -> None:
    keys = {
        mlflow_runs.study_key(STUDY),
        mlflow_runs.study_key(make_study("other")),
        mlflow_runs.study_key(make_study(signature="0" * 64)),
    }
    assert len(keys) == 3
    assert mlflow_runs.study_key(make_study(seed=7, versions={})) == mlflow_runs.study_key(STUDY)
    assert re.fullmatch("[0-9a-f]{16}", mlflow_runs.study_key(STUDY))


def test_names() -> None:
    assert mlflow_runs.study_label(STUDY) == "nmf-chr21"
    assert mlflow_runs.study_label(make_study("NMF small")) == "NMF small"
    assert mlflow_runs.trial_label(STUDY, TRIALS[7]) == "007 nmf-chr21"
    assert mlflow_runs.trial_label(STUDY, TRIALS[0]) == "000 nmf-chr21 baseline"


def test_colours_tell_roles_and_states_apart() -> None:
    by_state = {trial.state: mlflow_runs.colour(STUDY, trial) for trial in TRIALS[1:]}
    strong = mlflow_runs.colour(STUDY)
    assert mlflow_runs.colour(STUDY, COMPLETE, best=True) == strong
    everything = [*by_state.values(), strong, mlflow_runs.colour(STUDY, TRIALS[0])]
    assert len(set(everything)) == len(by_state) + 2
    assert all(re.fullmatch("#[0-9a-f]{6}", shade) for shade in everything)
    hues = [shade for pair in mlflow_runs._HUES for shade in pair]
    assert min(map(contrast_with_white, [*everything, *hues])) >= 3


def contrast_with_white(shade: str) -> float:
    """Return what WCAG 2.1 calls the contrast ratio."""
    parts = (int(shade[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    return 1.05 / (sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True)) + 0.05)


def test_charts_have_the_logarithm_of_the_time() -> None:
    found = mlflow_runs.trial_metrics(COMPLETE)
    assert found["log10_time"] == pytest.approx(math.log10(COMPLETE.metrics["time"]), rel=1e-5)
    assert mlflow_runs.summary_metrics(STUDY, make_summary(TRIALS))["log10_time"] < 1
    instant = replace(COMPLETE, metrics={**COMPLETE.metrics, "time": 0.0})
    assert "log10_time" not in mlflow_runs.trial_metrics(instant)


def test_trial_metrics_are_means_and_each_case() -> None:
    found = mlflow_runs.trial_metrics(COMPLETE)
    assert found["r"] == pytest.approx(COMPLETE.metrics["r"], rel=1e-5)
    for case, record in zip(CASES, COMPLETE.cases, strict=True):
        assert found[f"r/{case}"] == pytest.approx(record.metrics["r"], rel=1e-5)
        assert found[f"time/{case}"] == pytest.approx(record.seconds, rel=1e-5)
    assert found["r"] == float(f"{found['r']:.6g}")


@given(st.dictionaries(st.sampled_from("abcd"), st.floats()))
def test_rounding_keeps_six_digits_and_nothing_that_is_not_finite(values: dict) -> None:
    found = mlflow_runs.rounded(values)
    assert set(found) == {name for name, value in values.items() if math.isfinite(value)}
    for name, value in found.items():
        assert value == pytest.approx(values[name], rel=5.1e-6, abs=1e-307)


def test_what_is_not_finite_is_named_in_a_tag() -> None:
    odd = replace(
        COMPLETE,
        metrics={"r": math.nan, "time": 1.0},
        cases=[CaseRecord("c", {"r": -math.inf}, 1.0)],
    )
    assert "r" not in mlflow_runs.trial_metrics(odd)
    assert mlflow_runs.trial_tags(STUDY, odd, "p")["not_finite"] == "r, r/c"
    assert "not_finite" not in mlflow_runs.trial_tags(STUDY, COMPLETE, "p")


@given(st.text(max_size=400))
def test_any_name_becomes_one_that_mlflow_takes(text: str) -> None:
    name = mlflow_runs.key(text)
    assert re.fullmatch(r"[\w.\-: ]+", name)
    assert len(name) <= mlflow_runs.MAX_KEY // 3
    assert not name.startswith(".")
    assert mlflow_runs.key(name) == name


def test_params_are_exact_and_log_scaled_ones_get_their_logarithm() -> None:
    trial = replace(
        COMPLETE, params={"fl_lambda": 0.1 + 0.2, "num_iter": 3, "init": None, "on": True}
    )
    found = mlflow_runs.trial_params(trial, STUDY.search_space)
    assert found == {
        "fl_lambda": "0.30000000000000004",
        "log10_fl_lambda": "-0.5229",
        "num_iter": "3",
        "init": "None",
        "on": "True",
    }
    zero = replace(COMPLETE, params={"fl_lambda": 0.0})
    assert mlflow_runs.trial_params(zero, STUDY.search_space) == {"fl_lambda": "0.0"}
    long = replace(COMPLETE, params={"text": "x" * 7000})
    assert len(mlflow_runs.trial_params(long, {})["text"]) == 6000


def test_a_trial_that_failed_says_why() -> None:
    failed = next(trial for trial in TRIALS if trial.state == "failed")
    tags = mlflow_runs.trial_tags(STUDY, failed, "parent")
    assert tags["reason"] == "worker died with signal 9"
    assert "MemoryError: 3 GB" in tags[mlflow_runs.NOTE_TAG]
    assert tags["state"] == "failed"
    assert mlflow_runs.CHARTED not in tags
    assert tags["fault"] == "setting"
    assert "losses" not in tags
    lost = mlflow_runs.trial_tags(STUDY, replace(failed, losses=MOST_LOSSES), "p")
    assert (lost["fault"], lost["losses"]) == ("machine", "3")
    again = mlflow_runs.trial_tags(STUDY, replace(COMPLETE, losses=1), "p")
    assert again["losses"] == "1"
    assert "fault" not in again
    long = mlflow_runs.trial_tags(STUDY, replace(failed, reason="x" * 9000), "p")
    assert max(map(len, long.values())) <= 8000


def test_study_tags_hold_no_password() -> None:
    study = make_study(storage="postgresql://me:secret@host/db")
    assert not any("secret" in value for value in mlflow_runs.study_tags(study).values())
    assert mlflow_runs.study_tags(study)["storage"] == "postgresql://host/db"


def test_configuration_becomes_dotted_params() -> None:
    found = mlflow_runs.study_params(STUDY)
    assert found["study.trials"] == "60"
    assert found["plugin"] == "nmf"
    assert found["data.cases"].startswith('[{"region": "chr21:33746350')
    assert mlflow_runs.study_params(make_study(config={"a": {}, "b": ""})).items() >= {
        ("a", "{}"),
        ("b", '""'),
    }


def test_parent_shows_best_baseline_and_held_out() -> None:
    summary = make_summary(TRIALS)
    found = mlflow_runs.summary_metrics(STUDY, summary)
    assert found["score"] == pytest.approx(summary.best.metrics["score"], rel=1e-5)
    assert found["baseline/r"] == pytest.approx(TRIALS[0].metrics["r"], rel=1e-5)
    assert found["held_out/r"] == 0.5
    assert found["held_out/time"] == 0.8
    assert found["held_out_baseline/r"] == 0.44
    assert "held_out_baseline/score" not in found
    empty = make_summary([], best=None, held_out=(), held_out_baseline=())
    assert mlflow_runs.summary_metrics(STUDY, empty) == {}


def test_means_only_over_what_every_case_has() -> None:
    cases = [CaseRecord("a", {"r": 1.0, "x": 2.0}, 1.0), CaseRecord("b", {"r": 0.0}, 3.0)]
    assert mlflow_runs.mean_metrics(cases, "") == {"r": 0.5, "time": 2.0}


def test_a_run_says_where_the_trial_ran() -> None:
    study, record = make_study(), make_trials(2)[1]
    assert not {"host", "machine"} & set(mlflow_runs.trial_tags(study, record, "parent"))
    there = replace(record, host="n1", machine="model A, 8 cores")
    tags = mlflow_runs.trial_tags(study, there, "parent")
    assert (tags["host"], tags["machine"]) == ("n1", "model A, 8 cores")
