"""Where an MLflow store is: its address, the file behind it, and what it must not share."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from tuner.config.addresses import masked, with_driver, without_user
from tuner.config.folder_lock import locked
from tuner.plugin import InputError

ARTIFACT_FOLDER = "mlartifacts"
"""Where a database store's artifacts go, below the current folder. Not ``mlruns``: a folder of
that name can make MLflow choose its file store, which it then refuses."""

DEFAULT_PORT = 5000
"""Where `tuner.tracking.mlflow_ui` serves a database store, unless the port is taken."""

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_SERVERS = ("http", "https")

_PLAIN_FILE = re.compile(r"sqlite:///([\w./-]+)")
"""An address that needs no SQLAlchemy to be read: that takes longer to import than all else."""


def check_uri(uri: str, storage_url: str | None = None, source: str = "tracking.uri") -> None:
    """Raise `InputError` where `uri` is no store that can be used.

    Parameters
    ----------
    uri : str
        Address of the MLflow store.
    storage_url : str, optional
        Address of Optuna's storage: one SQLite file cannot hold both.
    source : str
        Where the address comes from: a key, or an environment variable.
    """
    named = f"{source}: '{masked(uri)}'"
    scheme = uri.partition(":")[0].partition("+")[0].lower() if "://" in uri else ""
    if scheme not in _DATABASES + _SERVERS:
        folder = uri.removeprefix("file://") or "."
        keep = f"mlflow migrate-filestore --source {folder} --target sqlite:///mlflow.db"
        is_folder = scheme in ("", "file") and not uri.startswith("databricks")
        raise InputError(
            f"{named} is no MLflow store that can be used: expected sqlite:///mlflow.db, another "
            "database URL or http(s)://host:port"
            + (f"; to keep the runs of that folder: {keep}" if is_folder else "")
        )
    path = sqlite_path(uri)
    if scheme == "sqlite" and path is None:
        raise InputError(f"{named} names no file: use sqlite:///mlflow.db")
    if path is not None and storage_url is not None and path == sqlite_path(storage_url):
        raise InputError(
            f"study.storage and {source} are the same file, {path}: Optuna and MLflow cannot "
            "share one; name another file in either"
        )
    if scheme in _DATABASES and storage_url is not None and path is None:
        if _server_database(uri) == _server_database(storage_url):
            raise InputError(
                f"study.storage and {source} are the same database: Optuna and MLflow cannot share "
                f"one; make another on that server and name it in either ({masked(uri)})"
            )


def _server_database(url: str) -> tuple[object, ...]:
    """Return kind, host, port and name of a database; nothing but the address itself for none."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(with_driver(url))
    except (ArgumentError, ValueError):
        return (url,)
    return parsed.get_backend_name(), parsed.host, parsed.port, parsed.database


def sqlite_path(url: str) -> Path | None:
    """Return the absolute path of the file behind a ``sqlite://`` URL; None where there is none."""
    if url.partition("://")[0].partition("+")[0].lower() != "sqlite":
        return None
    if plain := _PLAIN_FILE.fullmatch(url):
        return Path(os.path.realpath(plain[1]))
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:  # asked, since releases differ in what a percent sign means
        name = make_url(url).database
    except (ArgumentError, ValueError):
        return None
    return Path(os.path.realpath(name)) if name and name != ":memory:" else None


def absolute_uri(uri: str) -> str:
    """Return `uri` such that it means the same file after a change of folder."""
    path = sqlite_path(uri)
    if path is None:
        return uri
    if _PLAIN_FILE.fullmatch(uri) and _PLAIN_FILE.fullmatch(found := f"sqlite:///{path}"):
        return found
    from sqlalchemy.engine import make_url

    return make_url(uri).set(database=str(path)).render_as_string(hide_password=False)


def base_url(uri: str) -> str | None:
    """Return the address of the pages where `uri` is a server, with a slash at the end."""
    is_server = uri.partition("://")[0].lower() in _SERVERS
    return f"{without_user(uri).rstrip('/')}/" if is_server else None


@contextlib.contextmanager
def sole_creator(path: Path) -> Iterator[bool]:
    """Hold other processes off `path` while MLflow makes its tables; raise where it is no database.

    Gives whether the tables are still to be made. Several processes that create one store at once
    leave it broken. And MLflow tries for minutes to open what is no database; asking SQLite first
    gives the reason at once.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.parent):
        with contextlib.closing(sqlite3.connect(path)) as database:
            found = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            tables = sorted(name for (name,) in found)
        if tables and "experiments" not in tables:
            raise sqlite3.DatabaseError(
                f"{path} is no MLflow store, it holds tables of another program "
                f"({', '.join(tables[:3])}, ...): name another file in tracking.uri"
            )
        yield not tables
