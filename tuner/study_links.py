"""Where a study's pages are in a store that `tuner ui` is to show."""

from __future__ import annotations

from typing import Any

from tuner import runs, views
from tuner.addresses import masked
from tuner.mlflow_store import find_parent, open_client, prepare, store_trouble
from tuner.outbox import StoreTrouble
from tuner.plugin import InputError
from tuner.records import StudyInfo
from tuner.stores import absolute_uri, sqlite_path

COMPARED = 5


def study_links(uri: str, experiment: str, study: StudyInfo) -> dict[str, str]:
    """Give the fragments (``#/...``) of the pages that show a study, for `tuner.ui.serve`.

    Raises
    ------
    InputError
        Where the store cannot be read or has no such experiment.
    """
    path = sqlite_path(uri)
    if path is not None and not path.exists():
        raise InputError(f"no MLflow store at {path} yet: run a study first (tuner run CONFIG)")
    prepare()
    try:
        client = open_client(absolute_uri(uri))
        with store_trouble():
            return _links_of(client, experiment, study)
    except StoreTrouble as trouble:
        raise InputError(f"cannot show the study from {masked(uri)}: {trouble}") from trouble


def _links_of(client: Any, experiment: str, study: StudyInfo) -> dict[str, str]:
    found = client.get_experiment_by_name(experiment)
    if found is None:
        raise StoreTrouble(f"it has no experiment '{experiment}' yet; run the study first")
    home, identity = found.experiment_id, runs.study_key(study)
    parent = find_parent(client, home, study)
    objective, direction = runs.primary(study)
    order = "DESC" if direction == "maximize" else "ASC"
    wanted = f"tags.study_key = '{identity}' and tags.role = '{runs.TRIAL_ROLE}'"
    best = client.search_runs(
        [home],
        f"{wanted} and tags.{runs.CHARTED} = 'true'",
        order_by=[f"metrics.`{runs.key(objective)}` {order}"],
        max_results=COMPARED,
    )
    return views.links(
        home, identity, parent.info.run_id if parent else None, [r.info.run_id for r in best]
    )
