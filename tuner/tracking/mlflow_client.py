"""Open an MLflow store, find a study in it, log files, and say what is wrong with it.

MLflow takes 1.4 s to import and 2 s to make a new store, so it is imported where it is first used:
in the background thread of `tuner.tracking.outbox`.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from tuner.config.addresses import masked
from tuner.config.folder_lock import make_whole
from tuner.config.reach import why_unreachable
from tuner.config.text import cleaned
from tuner.records import StudyInfo
from tuner.tracking import mlflow_runs
from tuner.tracking.mlflow_uri import (
    ARTIFACT_FOLDER,
    base_url,
    sole_creator,
    sqlite_path,
)
from tuner.tracking.outbox import StoreTrouble

if TYPE_CHECKING:
    from mlflow import MlflowClient

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # trouble is told by TrackingReport instead
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # the outbox retries; MLflow's 7 take four minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
_REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")
COMPARED = 5
"""Best trials that are compared on one page."""

_MAX_LINE = 300


def log_files(
    client: MlflowClient,
    run_id: str,
    folder: Path | None,
    below: str = "",
    alive: Callable[[], None] = lambda: None,
) -> tuple[list[str], list[PurePosixPath]]:
    """Log every file in `folder` to a run; one that cannot be logged does not hold up the rest.

    Returns
    -------
    problems : list of str
        One line for each file that is not in the store.
    logged : list of PurePosixPath
        Names within `folder`; in the store they stand under `below`.
    """
    problems, logged = [], []
    for path in sorted(folder.rglob("*")) if folder is not None else ():
        if not path.is_file():
            continue
        name = PurePosixPath(path.relative_to(folder).as_posix())  # type: ignore[arg-type]
        place = PurePosixPath(below) / name.parent
        try:
            with store_trouble():
                client.log_artifact(run_id, str(path), None if place.name == "" else str(place))
        except StoreTrouble as trouble:
            problems.append(cleaned(f"artifact {name} is not in the store: {trouble}"))
        else:
            logged.append(name)
        alive()
    return problems, logged


def prepare() -> None:
    """Set MLflow's environment, where the user has not: quiet, no telemetry, short retries."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def open_client(uri: str, alive: Callable[[], None] = lambda: None) -> MlflowClient:
    """Import MLflow (1.4 s), open the store, create its tables where there are none (2 s)."""
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise StoreTrouble(f"MLflow cannot be imported: {error}; install it again") from error
    alive()
    path = sqlite_path(uri)
    if path is None and (trouble := why_unreachable(uri)):  # MLflow would try for minutes
        raise StoreTrouble(trouble)
    with store_trouble(), sole_creator(path) if path else contextlib.nullcontext() as is_new:
        if path and is_new:
            make_whole(path, _make_tables)
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)  # opens the store: the client itself is lazy
        return client


def _make_tables(url: str) -> None:
    """Let MLflow make its tables in a new SQLite file.

    It writes the working folder into a statement as Python quotes it, which SQL does not read where
    the folder's name has quotes: it is told of another folder then, and the right one put in.
    """
    from mlflow import MlflowClient

    folder = os.getcwd()
    is_plain = repr(folder) == f"'{folder}'"
    with contextlib.nullcontext() if is_plain else contextlib.chdir("/"):
        MlflowClient(url).search_experiments(max_results=1)
    if not is_plain:
        found = sqlite3.connect(url.removeprefix("sqlite:///"))
        with contextlib.closing(found) as database, database:
            place = os.path.join(folder, "mlruns", "0")
            change = "UPDATE experiments SET artifact_location = ? WHERE experiment_id = 0"
            database.execute(change, (place,))


def experiment_id(client: MlflowClient, uri: str, name: str) -> str:
    """Return the id of the experiment called `name`; make it where there is none."""
    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage == "active":
        return str(found.experiment_id)
    if found is not None:
        raise StoreTrouble(
            f"experiment '{name}' is deleted in {masked(uri)}: restore it "
            f"(mlflow experiments restore --experiment-id {found.experiment_id}) "
            "or set tracking.experiment to another name"
        )
    # A server knows where its artifacts go. For a database MLflow would take ./mlruns.
    local = (
        None
        if base_url(uri)
        else (Path(ARTIFACT_FOLDER).resolve() / mlflow_runs.key(name)).as_uri()
    )
    return str(client.create_experiment(name, artifact_location=local))


def find_parent(client: MlflowClient, experiment_id: str, study: StudyInfo) -> Any | None:
    """Return a study's own run; None where there is none."""
    key, role = mlflow_runs.study_key(study), mlflow_runs.STUDY_ROLE
    wanted = f"tags.study_key = '{key}' and tags.role = '{role}'"
    oldest = ["attributes.start_time ASC"]
    found = client.search_runs([experiment_id], wanted, order_by=oldest, max_results=1)
    return found[0] if found else None


@contextlib.contextmanager
def store_trouble(values_of: str | None = None) -> Iterator[None]:
    """Turn what a store may raise into `StoreTrouble`; a bug of ours passes as it is.

    An error code that means bad values is a refusal only where `values_of` names whose: MLflow
    gives the same code for a run or an experiment that somebody deleted.
    """
    from alembic.util import CommandError
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except MlflowException as error:
        refused = values_of is not None and error.error_code in _REFUSALS
        line = f"{values_of}: {_line(error)}" if refused else _line(error)
        raise StoreTrouble(line, refused=refused) from error
    except UnicodeError as error:
        raise StoreTrouble(_line(error), refused=values_of is not None) from error
    except (
        RequestException,
        SQLAlchemyError,
        CommandError,
        sqlite3.Error,
        OSError,
        ImportError,
    ) as error:
        raise StoreTrouble(_line(error)) from error


def _line(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"the package '{error.name}' is not installed: pip install {error.name}"
    lines = cleaned(masked(str(error).strip())).splitlines()
    return f"{type(error).__name__}: {lines[0][:_MAX_LINE]}" if lines else type(error).__name__
