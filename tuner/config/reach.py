"""Whether what an address names can be reached from here, asked before any work is spent."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

PATIENCE = 5.0
"""Seconds for a server to answer; a database driver may wait for minutes."""

_PORTS = {
    "http": 80,
    "https": 443,
    "postgresql": 5432,
    "mysql": 3306,
    "mariadb": 3306,
    "mssql": 1433,
    "oracle": 1521,
}


def why_unreachable(url: str) -> str | None:
    """Return why a database or a server cannot be used, in a few words; None where it can.

    A database needs its driver and, where its address names a host, an open port.
    """
    if url.lower().startswith("sqlite://"):  # a file, and Python's own driver
        return None
    try:
        if url.lower().startswith(("http://", "https://")):
            parts = urlsplit(url)
            scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
            if not host:
                return "the address names no host"
            if getproxies():  # what a proxy reaches cannot be asked from here
                return None
        else:
            scheme, host, port = _database(url)
    except ModuleNotFoundError as error:
        return f"the package '{error.name}' is not installed: pip install {error.name}"
    except (ImportError, ValueError) as error:
        return str(error).splitlines()[0]
    port = port or _PORTS.get(scheme)
    if not host or not port:
        return None
    try:
        socket.create_connection((host, port), PATIENCE).close()
    except OSError as error:
        return f"{host}, port {port}, does not answer: {error.strerror or error}"
    return None


def _database(url: str) -> tuple[str, str | None, int | None]:
    """Return a database's kind, host and port; ImportError without a driver, else ValueError."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    try:
        parsed = make_url(url)
        parsed.get_dialect().import_dbapi()
    except SQLAlchemyError as error:
        raise ValueError(str(error)) from error
    return parsed.get_backend_name(), parsed.host, parsed.port


def why_unwritable(folder: Path) -> str | None:
    """Return why no file can be made in `folder`, or where it is to be made; None where one can."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        return f"{folder} is a file, not a folder; move it away"
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        return f"cannot write in {folder.resolve()}: {error.strerror}"
    return None
