"""Where a study's pages are in a store that `tuner ui` is to show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tuner.config.addresses import masked
from tuner.plugin import InputError
from tuner.records import StudyInfo
from tuner.tracking import mlflow_runs, mlflow_views
from tuner.tracking.mlflow_client import (
    COMPARED,
    find_parent,
    log_files,
    open_client,
    prepare,
    store_trouble,
)
from tuner.tracking.mlflow_uri import absolute_uri, sqlite_path
from tuner.tracking.outbox import StoreTrouble


def study_links(uri: str, experiment: str, study: StudyInfo) -> dict[str, str]:
    """Return the fragments (``#/...``) of the pages that show a study, for `mlflow_ui.serve`.

    Raises
    ------
    InputError
        Where the store cannot be read or has no such experiment.
    """
    path = sqlite_path(uri)
    if path is not None and not path.exists():
        raise InputError(f"no MLflow store at {path} yet: run a study first (tuner run CONFIG)")
    try:
        client, home, parent = _find(uri, experiment, study)
        if home is None:
            raise StoreTrouble(f"it has no experiment '{experiment}' yet; run the study first")
        objective, direction = mlflow_runs.primary(study)
        identity, order = mlflow_runs.study_key(study), "DESC" if direction == "maximize" else "ASC"
        wanted = f"tags.study_key = '{identity}' and tags.role = '{mlflow_runs.TRIAL_ROLE}'"
        with store_trouble():
            best = client.search_runs(
                [home],
                f"{wanted} and tags.{mlflow_runs.CHARTED} = 'true'",
                order_by=[f"metrics.`{mlflow_runs.key(objective)}` {order}"],
                max_results=COMPARED,
            )
    except StoreTrouble as trouble:
        raise InputError(f"cannot show the study from {masked(uri)}: {trouble}") from trouble
    return mlflow_views.links(home, identity, parent, [run.info.run_id for run in best])


def _find(uri: str, experiment: str, study: StudyInfo) -> tuple[Any, str | None, str | None]:
    """Open a store; return its client, the experiment's id and the study's run, or None."""
    prepare()
    client = open_client(absolute_uri(uri))
    with store_trouble():
        found = client.get_experiment_by_name(experiment)
        if found is None:
            return client, None, None
        run = find_parent(client, found.experiment_id, study)
        return client, found.experiment_id, str(run.info.run_id) if run is not None else None


def log_folder(
    uri: str, experiment: str, study: StudyInfo, folder: Path, below: str
) -> tuple[str | None, list[str]]:
    """Log every file in a folder as an artifact of the study's parent run.

    Trouble with the store is told, not raised: what was computed is in the folder anyway.

    Parameters
    ----------
    uri : str
        Of the MLflow store.
    experiment : str
        Its name.
    study : StudyInfo
    folder : Path
    below : str
        Folder within the run's artifacts.

    Returns
    -------
    run_id : str or None
        The parent run; None where there is none.
    problems : list of str
        A line each; empty where all went well.
    """
    path = sqlite_path(uri)
    if path is not None and not path.exists():  # opening it would make one
        return None, [f"no MLflow store at {path}: {below} is not logged"]
    try:
        client, _, run_id = _find(uri, experiment, study)
        if run_id is None:
            return None, [f"study '{study.name}' is not in the store: {below} is not logged"]
        return run_id, log_files(client, run_id, folder, below)[0]
    except StoreTrouble as trouble:
        return None, [f"{below} is not logged: {trouble}"]
