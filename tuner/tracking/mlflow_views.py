"""How a study looks in MLflow's pages: links and saved views.

Pure functions; nothing here talks to a store. A saved view is an experiment tag whose format is
internal to MLflow's web page: written for MLflow 3.17 and held by the browser test.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from tuner.records import StudyInfo
from tuner.tracking import mlflow_curve, mlflow_runs

VIEW_TAG = "mlflow.sharedViewState."
MAX_VIEW = 20_000
_WITHOUT_SLASH = "Model metrics"  # MLflow's name for the section of metrics without a slash
_MAX_PARAM_CHARTS = 6


def links(
    experiment_id: str,
    identity: str,
    parent: str | None = None,
    ranked: Sequence[str] = (),
) -> dict[str, str]:
    """Return the fragments (``#/...``) of the pages that show a study, by title.

    Parameters
    ----------
    experiment_id : str
        MLflow's.
    identity : str
        What `tuner.tracking.mlflow_runs.study_key` gives.
    parent : str, optional
        The study's own run.
    ranked : sequence of str
        Runs of the best trials, best first, to be compared.
    """
    pages = f"#/experiments/{experiment_id}/runs"
    machine_learning = "workflowType=machine_learning"  # without it the page is the GenAI one
    shared = f"{pages}?{machine_learning}&viewStateShareKey="
    found = {
        "trials": f"{shared}trials-{identity}",
        "charts": f"{shared}charts-{identity}&compareRunsMode=CHART",
        "studies": f"{shared}studies",
        "studies charts": f"{shared}studies&compareRunsMode=CHART",
    }
    if parent:
        found["study"] = f"{pages}/{parent}?{machine_learning}"
    if ranked:
        found["best trial"] = f"{pages}/{ranked[0]}?{machine_learning}"
    if len(ranked) > 1:
        ids = quote(json.dumps(list(ranked), separators=(",", ":")))
        where = quote(json.dumps([experiment_id]))
        found["compare"] = f"#/compare-runs?runs={ids}&experiments={where}&{machine_learning}"
    return found


def saved_views(study: StudyInfo, created: int) -> dict[str, str]:
    """Return the experiment tags of the views that `links` opens.

    Parameters
    ----------
    study : StudyInfo
        Columns and charts are made from its metrics, objectives and search space.
    created : int
        Unix time in ms that the view menu shows.
    """
    label, identity = mlflow_runs.study_label(study), mlflow_runs.study_key(study)
    views = {
        f"trials-{identity}": (f"{label}: trials, best first", _trials_view(study)),
        f"charts-{identity}": (f"{label}: charts", _charts_view(study)),
        "studies": ("Studies", _studies_view(study)),
    }
    tags = {}
    for name, (title, state) in views.items():
        value = json.dumps({"name": title, "createdAt": created, "state": json.dumps(state)})
        if len(value) <= MAX_VIEW:  # a search space of hundreds of params: MLflow would refuse it
            tags[f"{VIEW_TAG}{name}"] = value
    return tags


def metric_names(study: StudyInfo) -> list[str]:
    """Return a study's metrics, objectives first, then the plug-in's own and the engine's."""
    names = [*study.objectives, *study.metrics, "speedup", "time"]
    return [mlflow_runs.key(name) for name in dict.fromkeys(names)]


def _searched(study: StudyInfo) -> list[str]:
    """Return the search space's params, the logarithm in place of a log-scaled one."""
    return [
        mlflow_runs.log_name(name) if spec.get("log") else mlflow_runs.key(name)
        for name, spec in study.search_space.items()
    ]


def _column(kind: str, name: str) -> str:
    return f"{kind}.`{name}`"


def _state(study: StudyInfo, filter_: str, columns: Sequence[str]) -> dict[str, Any]:
    name, direction = mlflow_runs.primary(study)
    return {
        "searchFilter": filter_,
        "orderByKey": _column("metrics", mlflow_runs.key(name)),
        "orderByAsc": direction == "minimize",
        "selectedColumns": list(columns),
        "columnOrder": list(columns),
        "groupBy": None,
        "runsHiddenMode": "SHOW_ALL",
        "lifecycleFilter": "Active",
    }


def _trials_view(study: StudyInfo) -> dict[str, Any]:
    identity = mlflow_runs.study_key(study)
    first = list(dict.fromkeys(map(mlflow_runs.key, [*study.objectives, study.primary, "time"])))
    rest = [name for name in metric_names(study) if name not in first]
    columns = [
        *_columns(first),
        *(_column("params", mlflow_runs.key(name)) for name in study.search_space),
        *_columns(rest),
        _column("tags", "state"),
        _column("tags", "reason"),
    ]
    wanted = f"tags.study_key = '{identity}' and tags.role = '{mlflow_runs.TRIAL_ROLE}'"
    return _state(study, wanted, columns)


def _charts_view(study: StudyInfo) -> dict[str, Any]:
    """Show the complete trials, and the parent: it holds the curve of the best so far."""
    objective = mlflow_runs.key(mlflow_runs.primary(study)[0])
    metrics, params = metric_names(study), _searched(study)
    section, log_time = "study", mlflow_runs.log_name("time")
    cards = [
        _line("history", section, mlflow_curve.BEST_SO_FAR),
        *(
            _scatter(f"cost-{name}", section, ("METRIC", log_time), ("METRIC", name))
            for name in dict.fromkeys([mlflow_runs.key(study.primary), objective])
            if name != "time"
        ),
        _parallel("parallel", section, params, objective),
        *(
            _scatter(f"param-{name}", section, ("PARAM", name), ("METRIC", objective))
            for name in params[:_MAX_PARAM_CHARTS]
        ),
    ]
    wanted = (
        f"tags.study_key = '{mlflow_runs.study_key(study)}' and tags.{mlflow_runs.CHARTED} = 'true'"
    )
    state = _state(study, wanted, _columns(metrics))
    folded = [*metrics, "cpu_time"]  # each holds that metric's cases
    return {**state, **_charts(section, mlflow_runs.study_label(study), cards, folded)}


def _studies_view(study: StudyInfo) -> dict[str, Any]:
    metrics = metric_names(study)
    first = mlflow_runs.key(study.primary)
    columns = [
        *_columns([*metrics, f"baseline/{first}", "baseline/time", f"held_out/{first}"]),
        *(
            _column("tags", name)
            for name in ("complete", "failed", "infeasible", "pruned", "plugin")
        ),
        *(_column("params", name) for name in ("study.sampler", "seed")),
    ]
    section = "studies"
    cards = [
        _line("history", section, mlflow_curve.BEST_SO_FAR),
        *(_bar(f"bar-{name}", section, name) for name in metrics),
    ]
    state = _state(study, f"tags.role = '{mlflow_runs.STUDY_ROLE}'", columns)
    folded = ["baseline", "held_out", "held_out_baseline"]
    return {**state, **_charts(section, "Studies", cards, folded)}


def _columns(metrics: Sequence[str]) -> list[str]:
    return [_column("metrics", name) for name in metrics]


def _charts(
    section: str, title: str, cards: Sequence[Mapping[str, Any]], folded: Sequence[str]
) -> dict[str, Any]:
    """Return one open section of `cards`; folded ones for the bars that MLflow adds by itself.

    MLflow adds a bar chart for each metric that has no chart, in the section that is named as the
    part of the metric's name before the slash. Drawing them all takes seconds.
    """
    kept = {"isReordered": True, "deleted": False, "isGenerated": False}
    shut = [
        {"uuid": f"folded-{name}", "name": name, "display": False, **kept}
        for name in (*folded, _WITHOUT_SLASH)
    ]
    return {
        "compareRunCharts": list(cards),
        "compareRunSections": [{"uuid": section, "name": title, "display": True, **kept}, *shut],
        "isAccordionReordered": True,
    }


def _card(uuid: str, section: str, kind: str, **settings: object) -> dict[str, Any]:
    common = {"uuid": uuid, "type": kind, "metricSectionId": section}
    return {**common, "deleted": False, "isGenerated": False, **settings}


def _line(uuid: str, section: str, metric: str) -> dict[str, Any]:
    return _card(
        uuid,
        section,
        "LINE",
        metricKey=metric,
        selectedMetricKeys=[metric],
        lineSmoothness=0,
        xAxisKey="step",
        xAxisScaleType="linear",
        scaleType="linear",
        selectedXAxisMetricKey="",
        yAxisKey="metric",
        yAxisExpressions=[],
        range={},
        ignoreOutliers=False,
        displayPoints=False,
    )


def _bar(uuid: str, section: str, metric: str) -> dict[str, Any]:
    return _card(uuid, section, "BAR", metricKey=metric, runsCountToCompare=20)


def _scatter(uuid: str, section: str, x: tuple[str, str], y: tuple[str, str]) -> dict[str, Any]:
    axes = {
        "xaxis": {"type": x[0], "key": x[1]},
        "yaxis": {"type": y[0], "key": y[1]},
    }
    return _card(uuid, section, "SCATTER", runsCountToCompare=500, **axes)


def _parallel(uuid: str, section: str, params: Sequence[str], metric: str) -> dict[str, Any]:
    return _card(
        uuid,
        section,
        "PARALLEL",
        selectedParams=list(params),
        selectedMetrics=[metric],
        showAllRuns=True,
        runsCountToCompare=500,
    )
