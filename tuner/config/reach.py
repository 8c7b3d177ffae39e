"""Whether what an address names can be reached from here, asked before any work is spent."""

from __future__ import annotations

import http.client
import socket
import ssl
import tempfile
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from tuner.plugin.registry import remedy_for

PATIENCE = 5.0
"""Seconds for a server to answer; a database driver may wait for minutes."""

ANSWER = 10.0
"""Seconds for a web server to say something, once it is reached."""

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
        return why_missing(error)
    except (ImportError, ValueError) as error:
        return str(error).splitlines()[0]
    port = port or _PORTS.get(scheme)
    if not host or not port:
        return None
    try:
        socket.create_connection((host, port), PATIENCE).close()
    except OSError as error:
        return f"{host}, port {port}, does not answer: {error.strerror or error}"
    return _why_silent(scheme, host, port) if scheme in ("http", "https") else None


def why_missing(error: ModuleNotFoundError) -> str:
    """Return which package is not installed, and what installs it."""
    remedy = remedy_for(error.name or "") or f"pip install {error.name}"
    return f"the package '{error.name}' is not installed: {remedy}"


def _why_silent(scheme: str, host: str, port: int) -> str | None:
    """Return that a web server takes requests and answers none; whatever it says will do."""
    asked = http.client.HTTPConnection(host, port, timeout=ANSWER)
    if scheme == "https":
        context = ssl._create_unverified_context()  # noqa: S323 - nothing is sent or believed
        asked = http.client.HTTPSConnection(host, port, timeout=ANSWER, context=context)
    try:
        asked.request("HEAD", "/")
        asked.getresponse()
    except TimeoutError:
        return f"{host}, port {port}, takes requests and answers none within {ANSWER:g} s"
    except (OSError, http.client.HTTPException):  # who talks to it will hear
        pass
    finally:
        asked.close()
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
