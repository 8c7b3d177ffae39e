"""What the machine or a server refuses, told in one line."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import InterfaceError, OperationalError

from tuner.config.addresses import masked

_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES)
RESUME = "mend that, and the same command goes on; no trial that was told is lost"


def outage(error: BaseException) -> str | None:
    """Return what a full disk, a folder without rights or a lost database did; None if no such.

    A path that is too long for the system is told as well, wherever it is first looked at.
    """
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno == errno.ENAMETOOLONG:
            begins = str(cause.filename or "")[:60]
            return f"expected paths with names of at most 255 bytes, got '{begins}...'; shorten it"
        if isinstance(cause, OSError) and cause.errno in _ERRORS:
            where = f" {cause.filename}" if cause.filename else ""
            return f"cannot write{where}: {cause.strerror}; {RESUME}"
        if isinstance(cause, sqlite3.OperationalError | OperationalError | InterfaceError):
            detail = str(cause).strip().splitlines()[0]
            return f"study.storage: the database does not take it: {masked(detail)}; {RESUME}"
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Walk from an error to what it came from, of Optuna's storage errors and of any `OSError`."""
    at: BaseException | None = error
    while at is not None:
        yield at
        at = at.__cause__ if isinstance(at, StorageInternalError) else None
