"""What is asked of a study from outside of the process that runs it, by way of its storage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tuner.config.load import read_engine_sections
from tuner.search.fenced_storage import LEASE, STOP
from tuner.search.lease import is_held
from tuner.search.storage import study_in


def stop(path: Path, overrides: Sequence[str] = ()) -> str:
    """Ask the process that runs a study to stop once its running trials have ended.

    It may run on another host: the request goes through the storage. Neither the plug-in nor its
    data is needed here.

    Returns
    -------
    str
        A line that says who was asked, or that nobody was.

    Raises
    ------
    InputError
        Where there is no such study.
    """
    _, engine = read_engine_sections(path, overrides)
    study = study_in(engine.study.storage, engine.study.name or path.stem)
    lease = study.user_attrs.get(LEASE) or {}
    if not is_held(lease):
        return f"study '{study.study_name}' is not running"
    study.set_user_attr(STOP, lease["token"])
    return (
        f"asked process {lease['pid']} on {lease['host']} to stop: it lets the running trials of "
        f"study '{study.study_name}' end; tuner status says when"
    )
