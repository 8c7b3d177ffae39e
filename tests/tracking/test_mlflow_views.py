"""Links and saved views; that the pages take them is what tests/browser shows."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, unquote

from tests.studies import make_study, make_trials
from tuner.tracking import mlflow_runs, mlflow_views

STUDY = make_study()
TRIALS = make_trials(30)
LINKS = mlflow_views.links("7", mlflow_runs.study_key(STUDY), "parent", ["a", "b"])


def state_of(name: str, study=STUDY) -> dict:
    tags = mlflow_views.saved_views(study, 123)
    outer = json.loads(tags[mlflow_views.VIEW_TAG + name])
    assert outer["createdAt"] == 123
    return json.loads(outer["state"])


def test_every_link_opens_the_machine_learning_pages() -> None:
    assert list(LINKS) == [
        "trials",
        "charts",
        "studies",
        "studies charts",
        "study",
        "best trial",
        "compare",
    ]
    for link in LINKS.values():
        assert parse_qs(link.partition("?")[2])["workflowType"] == ["machine_learning"]
    assert '["a","b"]' in unquote(LINKS["compare"])


def test_links_leave_out_what_is_not_there() -> None:
    assert "study" not in mlflow_views.links("7", "k")
    assert "compare" not in mlflow_views.links("7", "k", "p", ["a"])
    assert "best trial" in mlflow_views.links("7", "k", "p", ["a"])


def test_links_name_views_that_are_saved() -> None:
    saved = {tag.removeprefix(mlflow_views.VIEW_TAG) for tag in mlflow_views.saved_views(STUDY, 0)}
    for link in LINKS.values():
        query = parse_qs(link.partition("?")[2])
        assert set(query.get("viewStateShareKey", [])) <= saved


def test_trials_view_sorts_best_first_with_metrics_as_columns() -> None:
    state = state_of(f"trials-{mlflow_runs.study_key(STUDY)}")
    assert state["orderByKey"] == "metrics.`score`"
    assert state["orderByAsc"] is False
    first = ["metrics.`score`", "metrics.`r`", "metrics.`time`", "params.`fl_lambda`"]
    assert state["selectedColumns"][:4] == first
    assert "metrics.`abs_r`" in state["selectedColumns"]
    quick = make_study(objectives={"time": "minimize"})
    assert state_of(f"trials-{mlflow_runs.study_key(quick)}", quick)["orderByAsc"] is True


def test_charts_use_the_logarithm_of_what_is_searched_on_a_log_scale() -> None:
    cards = state_of(f"charts-{mlflow_runs.study_key(STUDY)}")["compareRunCharts"]
    parallel = next(card for card in cards if card["type"] == "PARALLEL")
    assert parallel["selectedParams"] == ["log10_fl_lambda", "num_iter", "init"]
    assert len({card["uuid"] for card in cards}) == len(cards)


def test_a_view_too_long_for_mlflow_is_left_out() -> None:
    space = {f"parameter_{i:04d}": {"type": "float"} for i in range(500)}
    tags = mlflow_views.saved_views(make_study(search_space=space), 0)
    assert mlflow_views.VIEW_TAG + "studies" in tags
    assert all(len(value) <= 20_000 for value in tags.values())
    assert len(tags) == 2
