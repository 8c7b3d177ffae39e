"""Files that come after a study, such as an analysis: into the store, beside the study's own."""

from __future__ import annotations

from pathlib import Path

from tuner.mlflow_store import find_parent, log_files, open_client, prepare, store_trouble
from tuner.outbox import StoreTrouble
from tuner.records import StudyInfo
from tuner.stores import absolute_uri, sqlite_path


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
    prepare()
    try:
        client = open_client(absolute_uri(uri))
        with store_trouble():
            found = client.get_experiment_by_name(experiment)
            run = find_parent(client, found.experiment_id, study) if found is not None else None
        if run is None:
            return None, [f"study '{study.name}' is not in the store: {below} is not logged"]
        run_id = str(run.info.run_id)
        return run_id, log_files(client, run_id, folder, below)[0]
    except StoreTrouble as trouble:
        return None, [f"{below} is not logged: {trouble}"]
