"""The Optuna storage: opening a study, and who may write to it.

A study carries its signature, the deciding configuration and a lease that names the one
coordinator that writes.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
import psutil
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from tuner.addresses import masked
from tuner.config import Config
from tuner.mirror import Mirror
from tuner.plugin import InputError
from tuner.quiet import quiet
from tuner.samplers import make_pruner, make_sampler
from tuner.series import SERIES, find_study, next_in_series, next_name

__all__ = ["find_study", "next_name"]  # also by these names from here

SIGNATURE = "tuner:signature"
DECIDING = "tuner:deciding"
LEASE = "tuner:lease"
IDENTITY = "tuner:id"
"""Attribute of a study by which its folder and its script are known, wherever the storage lies."""

LEASE_SECONDS = 60.0


def open_storage(url: str, create: bool = True) -> BaseStorage:
    """Open the storage at `url`: any SQLAlchemy address, or ``journal:///FILE``.

    Raises
    ------
    InputError
        Where it cannot be opened, or `create` is False and the SQLite file is not there.
    """
    if match := re.fullmatch(r"(sqlite|journal):///([^?]+)(\?.*)?", url):
        path = Path(match[2])
        if not create and not path.exists():
            raise InputError(f"no study yet: {path} does not exist; first: tuner run")
        if not path.parent.is_dir():
            raise InputError(f"study.storage: no such folder: {path.parent}; make it first")
        if match[1] == "journal":
            return JournalStorage(JournalFileBackend(str(path)))
    options = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
    try:
        return _created(url, options)
    except (SQLAlchemyError, ImportError, ValueError, RuntimeError) as error:
        detail = masked(str(error).strip().splitlines()[0])
        raise InputError(
            f"study.storage: cannot open {masked(url)}: {detail}; "
            "expected an address such as sqlite:///tuner.db"
        ) from error


def _created(url: str, options: dict[str, Any]) -> BaseStorage:
    """Open a database; once more where another process makes its tables at this moment."""
    for pause in (0.1, 0.5, 2.0):
        try:
            return RDBStorage(url, engine_kwargs=options)
        except SQLAlchemyError as error:
            if "already exists" not in str(error):
                raise
            time.sleep(pause)
    return RDBStorage(url, engine_kwargs=options)


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


def plan_study(storage: BaseStorage, config: Config, new: bool = False) -> Plan:
    """Return what `open_study` will do; nothing is written.

    A study without a completed trial does not pin its configuration: it begins anew.

    Raises
    ------
    InputError
        Where the study there was made by another configuration (the differences are named), by
        another program, or is being run by another process.
    """
    latest = find_study(storage, config.name)
    if new or latest is None:
        return Plan(*next_in_series(storage, config.name))
    study_id = storage.get_study_id_from_name(latest)
    held = storage.get_study_user_attrs(study_id)
    refuse_if_held(latest, held.get(LEASE))
    trials = storage.get_all_trials(study_id, deepcopy=False)
    completed = sum(trial.state == TrialState.COMPLETE for trial in trials)
    number = held.get(SERIES, {}).get("number", 1)
    plan = Plan(latest, number, True, attributes=held, completed=completed)
    directions = [direction.name.lower() for direction in storage.get_study_directions(study_id)]
    if SIGNATURE not in held and (trials or directions != list(config.objectives.values())):
        raise InputError(
            f"study.name: the storage has a study '{latest}' of another program; give another name"
        )
    if held.get(SIGNATURE, config.signature()) == config.signature():
        return plan
    if not completed:
        return replace(plan, restarts=True)
    before = json.loads(held[DECIDING])
    changes = "; ".join(difference(before, config.deciding())) or "another version's format"
    raise InputError(
        f"study '{latest}' was made with another configuration: {changes}. "
        "Undo the change, give another study.name, or start a new study with --new"
    )


def open_study(config: Config, new: bool = False) -> tuple[optuna.Study, Mirror]:
    """Create or resume the study of `config`, with its sampler and pruner.

    The sampler's seed is the configured one plus the number of trials there are: resumed with the
    same seed, a sampler would repeat its first draws.

    Raises
    ------
    InputError
        As `plan_study`, and where the sampler or pruner refuses.
    """
    section = config.engine.study
    several = len(config.objectives) > 1
    make_sampler(section.sampler, config.space, section.seed, several)  # refuse before creating
    pruner = make_pruner(section.pruner)
    storage = open_storage(section.storage)
    plan = plan_study(storage, config, new)
    identity = plan.attributes.get(IDENTITY) or uuid.uuid4().hex
    if plan.restarts:
        storage.delete_study(storage.get_study_id_from_name(plan.name))
    with quiet():
        made = optuna.create_study(
            storage=storage,
            study_name=plan.name,
            directions=list(config.objectives.values()),
            load_if_exists=True,
        )
        mirror = Mirror(made._storage, made._study_id)
        study = optuna.load_study(study_name=made.study_name, storage=mirror, pruner=pruner)
    count = len(study.get_trials(deepcopy=False))
    study.sampler = make_sampler(section.sampler, config.space, section.seed + count, several)
    if SERIES not in study.user_attrs:
        study.set_user_attr(SERIES, {"name": config.name, "number": plan.number})
    if IDENTITY not in study.user_attrs:
        study.set_user_attr(IDENTITY, identity)
    if SIGNATURE not in study.user_attrs:
        study.set_user_attr(DECIDING, json.dumps(config.deciding()))
        study.set_user_attr(SIGNATURE, config.signature())
    return study, mirror


def read_study(config: Config) -> optuna.Study:
    """Load the study of `config` for reading; `InputError` where there is none."""
    storage = open_storage(config.engine.study.storage, create=False)
    name = find_study(storage, config.name)
    if name is None:
        raise InputError(
            f"no study '{config.name}' in {masked(config.engine.study.storage)}; first: tuner run"
        )
    with quiet():
        return optuna.load_study(study_name=name, storage=storage)


def difference(before: Any, after: Any, key: str = "") -> list[str]:
    """Name every value that differs: "search_space.alpha.low: 0.1, now 1"."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        changes = []
        for name in [*before, *(name for name in after if name not in before)]:
            dotted = f"{key}.{name}" if key else str(name)
            changes += difference(before.get(name), after.get(name), dotted)
        return changes
    return [] if before == after else [f"{key}: was {before!r}, now {after!r}"]


class Lease:
    """Says in the storage which process writes to a study, so that a second one refuses."""

    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        self._token = uuid.uuid4().hex
        self._renewed = 0.0

    def take(self) -> None:
        """Take the lease; `InputError` where a living coordinator holds it."""
        refuse_if_held(self._study.study_name, self._study.user_attrs.get(LEASE))
        self.renew(force=True)
        time.sleep(0.05)
        if self._study.user_attrs.get(LEASE, {}).get("token") != self._token:
            raise InputError(
                f"study '{self._study.study_name}' was started by another process just now"
            )

    def renew(self, force: bool = False) -> None:
        """Renew the lease where a third of its time has gone."""
        if not force and time.time() < self._renewed + LEASE_SECONDS / 3:
            return
        self._renewed = time.time()
        lease = {
            "token": self._token,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "born": psutil.Process().create_time(),
            "renewed": self._renewed,
        }
        self._study.set_user_attr(LEASE, lease)

    def release(self) -> None:
        """Give the lease back."""
        self._study.set_user_attr(LEASE, None)


def refuse_if_held(name: str, lease: Mapping[str, Any] | None) -> None:
    """Raise `InputError` where a living coordinator holds the lease of study `name`."""
    if lease and _alive(lease):
        raise InputError(
            f"study '{name}' is being run by process {lease['pid']} on {lease['host']}; "
            "wait for it, stop it, or start another study with --new"
        )


def _alive(lease: Mapping[str, Any]) -> bool:
    if lease["host"] != socket.gethostname():
        return bool(time.time() < lease["renewed"] + LEASE_SECONDS)
    try:
        born = psutil.Process(lease["pid"]).create_time()
    except psutil.NoSuchProcess:
        return False
    return bool(abs(born - lease["born"]) < 1.0) and lease["pid"] != os.getpid()
