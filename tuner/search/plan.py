"""What a command will do with a study: make it, resume it, or refuse.

A study carries its signature, the deciding configuration and a lease that names the one
coordinator that writes. Nothing is written here, and where there is no study yet nothing is
imported that takes long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from tuner.config.load import Config
from tuner.plugin import InputError
from tuner.search.changes import SIGNATURE, changes_since
from tuner.search.series import SERIES, find_study, next_in_series

IDENTITY = "tuner:id"
"""Attribute of a study by which its folder and its script are known, wherever the storage lies."""


@dataclass(frozen=True)
class Plan:
    """What opening a study for writing will do.

    Attributes
    ----------
    name : str
        Name in the storage.
    number : int
        Which of the studies configured under one name.
    exists : bool
        Whether it is there already.
    restarts : bool
        Whether it is there, has no completed trial, and begins anew with the configuration of now.
    attributes : mapping
        Attributes of the study that is there.
    completed : int
        Its completed trials.
    """

    name: str
    number: int = 1
    exists: bool = False
    restarts: bool = False
    attributes: Mapping[str, Any] = field(default_factory=dict)
    completed: int = 0


def plan_study(storage: BaseStorage | None, config: Config, new: bool = False) -> Plan:
    """Return what `tuner.search.storage.open_study` will do; nothing is written.

    A study without a completed trial does not pin its configuration: it begins anew.

    Raises
    ------
    InputError
        Where the study there was made by another configuration (the differences are named), by
        another program, or is being run by another process.
    """
    if storage is None:
        return Plan(config.name)
    latest = find_study(storage, config.name)
    if new:
        return Plan(*next_in_series(storage, config.name))
    if latest is None:  # its own name, though another process may be about to take it
        return Plan(config.name)
    return plan_existing(storage, config, latest)


def plan_existing(storage: BaseStorage, config: Config, name: str) -> Plan:
    """Return what opening the study called `name` for writing will do; errors as `plan_study`."""
    from tuner.search.fenced_storage import LEASE  # and with it SQLAlchemy
    from tuner.search.lease import refuse_if_held
    from tuner.search.record_json import ROLE

    study_id = storage.get_study_id_from_name(name)
    held = storage.get_study_user_attrs(study_id)
    refuse_if_held(name, held.get(LEASE))
    trials = storage.get_all_trials(study_id, deepcopy=False)
    completed = sum(trial.state == TrialState.COMPLETE for trial in trials)
    number = held.get(SERIES, {}).get("number", 1)
    plan = Plan(name, number, True, attributes=held, completed=completed)
    directions = [direction.name.lower() for direction in storage.get_study_directions(study_id)]
    if SIGNATURE not in held and (trials or directions != list(config.objectives.values())):
        raise InputError(
            f"study.name: the storage has a study '{name}' of another program; give another name"
        )
    changes = changes_since(held, config)
    if not changes:
        return plan
    enqueued = any(t.state == TrialState.WAITING and ROLE not in t.user_attrs for t in trials)
    if not completed and not enqueued:
        return replace(plan, restarts=True)
    raise InputError(
        f"study '{name}' {'has enqueued trials and ' * enqueued}was made with another "
        f"configuration: {'; '.join(changes)}. "
        "Undo the change, give another study.name (from Python: name), or start a new study "
        "with --new"
    )


def plan_of(study: optuna.Study) -> Plan:
    """Return the plan that an open study is the outcome of."""
    completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    attributes = study.user_attrs
    number = attributes.get(SERIES, {}).get("number", 1)
    return Plan(study.study_name, number, True, attributes=attributes, completed=len(completed))
