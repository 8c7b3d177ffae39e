"""The storage as it is, if it is there: what a check before any work looks at."""

from __future__ import annotations

from pathlib import Path

from optuna.storages import BaseStorage

from tuner.config.addresses import STORAGE_FILE, masked, with_driver
from tuner.config.reach import why_unreachable, why_unwritable
from tuner.plugin import InputError


def peek_storage(url: str) -> BaseStorage | None:
    """Open the storage at `url` where it holds studies; None where it does not yet.

    Raises
    ------
    InputError
        Where it cannot be reached, or cannot be made. Nothing is made here.
    """
    is_file = STORAGE_FILE.fullmatch(url)
    if is_file and not (path := Path(is_file[2])).exists():
        if not path.parent.is_dir():
            raise InputError(f"study.storage: no such folder: {path.parent}; make it first")
        if trouble := why_unwritable(path.parent):
            raise InputError(f"study.storage: {trouble}")
        return None
    from sqlalchemy import NullPool, create_engine, inspect  # not needed by most first commands
    from sqlalchemy.exc import SQLAlchemyError

    from tuner.search.storage import open_storage

    if is_file and is_file[1] == "journal":
        return open_storage(url)
    url = with_driver(url)
    if trouble := why_unreachable(url):
        raise InputError(f"study.storage: cannot open {masked(url)}: {trouble}")
    try:
        tables = inspect(create_engine(url, poolclass=NullPool)).get_table_names()
    except SQLAlchemyError as error:
        detail = masked(str(error).strip().splitlines()[0])
        raise InputError(f"study.storage: cannot open {masked(url)}: {detail}") from error
    if "studies" in tables:
        return open_storage(url)
    if is_file and tables:
        raise InputError(
            f"study.storage: {is_file[2]} holds tables of another program "
            f"({', '.join(tables[:3])}, ...); name another file"
        )
    return None
