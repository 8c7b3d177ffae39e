"""What is asked of a study from outside of the process that runs it, by way of its storage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tuner.config.given import drawn_params
from tuner.config.load import Config, read_engine_sections
from tuner.config.yaml import read_value
from tuner.plugin import InputError
from tuner.search.changes import changes_since
from tuner.search.fenced_storage import LEASE, STOP
from tuner.search.lease import SEARCHED, is_held
from tuner.search.peek import peek_storage
from tuner.search.series import find_study
from tuner.search.storage import open_study, read_study, study_in
from tuner.search.trials import AskTell

TAKEN_UP = "the process that runs it takes it up next"


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
    study = study_in(engine.study.storage, engine.study.name or path.stem, path)
    lease = study.user_attrs.get(LEASE) or {}
    if not is_held(lease):
        return f"study '{study.study_name}' is not running"
    study.set_user_attr(STOP, lease["token"])
    return (
        f"asked process {lease['pid']} on {lease['host']} to stop: it lets the running trials of "
        f"study '{study.study_name}' end; tuner status says when"
    )


def enqueue(config: Config, texts: Sequence[str]) -> str:
    """Enqueue params as a trial: a running study takes it up next, another one when it is run.

    Where there is no study yet it is made, with its baseline as trial 0.

    Parameters
    ----------
    config : Config
        Of the study.
    texts : sequence of str
        ``NAME=VALUE``, one for each searched parameter; values are YAML.

    Returns
    -------
    str
        A line that says what was enqueued and when it is run.

    Raises
    ------
    InputError
        Where the params are not of the search space, or the configuration has changed.
    """
    given: dict[str, object] = {}
    for name, value in map(_named_value, texts):
        if name in given:
            raise InputError(f"{name} is given twice; expected one value of each parameter")
        given[name] = value
    drawn = drawn_params(config.space, given)
    config.plugin.check(config.space.complete(drawn))
    storage = peek_storage(config.engine.study.storage)
    if storage is None or find_study(storage, config.name) is None:
        study, mirror = open_study(config)
        if config.task.baseline is not None:
            AskTell(config.task, study).enqueue_baseline()
        study.enqueue_trial(drawn)
        assert mirror.lease is not None
        mirror.lease.release()
    else:
        study = read_study(config)
        if changes := changes_since(study.user_attrs, config):
            raise InputError(
                f"study '{study.study_name}' was made with another configuration: "
                f"{'; '.join(changes)}. Undo the change, then enqueue again"
            )
        study.enqueue_trial(drawn)
    when, lease = "tuner run begins with it", study.user_attrs.get(LEASE) or {}
    if is_held(lease):
        is_over = SEARCHED in lease or study.user_attrs.get(STOP) == lease["token"]
        when = "the search is over: run the same command again" if is_over else TAKEN_UP
    shown = ", ".join(f"{name} {value}" for name, value in drawn.items())
    return f"enqueued in study '{study.study_name}': {shown}; {when}"


def _named_value(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise InputError(f"'{text}': expected NAME=VALUE, as in alpha=0.1")
    return name, read_value(value, text)
