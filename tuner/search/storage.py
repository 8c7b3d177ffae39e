"""The Optuna storage: opening a study, and who may write to it.

A study carries its signature, the deciding configuration and a lease that names the one
coordinator that writes.
"""

from __future__ import annotations

import contextlib
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.trial import TrialState
from sqlalchemy import NullPool, create_engine, inspect
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from tuner.config.addresses import masked
from tuner.config.folder_lock import locked, make_whole
from tuner.config.load import Config
from tuner.config.quiet import quiet
from tuner.config.reach import why_unreachable, why_unwritable
from tuner.config.samplers import make_pruner, make_sampler
from tuner.plugin import InputError
from tuner.search.cached_storage import Mirror
from tuner.search.changes import SIGNATURE, changes_since, describe_study
from tuner.search.fenced_storage import LEASE, FencedDatabase, FencedJournal
from tuner.search.lease import Lease, refuse_if_held
from tuner.search.series import SERIES, find_study, next_in_series

IDENTITY = "tuner:id"
"""Attribute of a study by which its folder and its script are known, wherever the storage lies."""

_FILE = re.compile(r"(sqlite|journal):///([^?]+)(\?.*)?")


def peek_storage(url: str) -> BaseStorage | None:
    """Open the storage at `url` where it holds studies; None where it does not yet.

    Raises
    ------
    InputError
        Where it cannot be reached, or cannot be made. Nothing is made here.
    """
    is_file = _FILE.fullmatch(url)
    if is_file and not (path := Path(is_file[2])).exists():
        if not path.parent.is_dir():
            raise InputError(f"study.storage: no such folder: {path.parent}; make it first")
        if trouble := why_unwritable(path.parent):
            raise InputError(f"study.storage: {trouble}")
        return None
    if is_file and is_file[1] == "journal":
        return open_storage(url)
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


def open_storage(url: str, create: bool = True) -> BaseStorage:
    """Open the storage at `url`: any SQLAlchemy address, or ``journal:///FILE``.

    Raises
    ------
    InputError
        Where it cannot be opened, or `create` is False and the SQLite file is not there.
    """
    if match := _FILE.fullmatch(url):
        path = Path(match[2])
        if not create and not path.exists():
            raise InputError(f"no study yet: {path} does not exist; first: tuner run")
        if not path.parent.is_dir():
            raise InputError(f"study.storage: no such folder: {path.parent}; make it first")
        if match[1] == "journal":
            try:
                if path.is_file():
                    with path.open("rb") as stream:
                        if stream.read(1) not in (b"", b"{"):
                            raise ValueError  # Optuna would append to it
                return JournalStorage(FencedJournal(str(path)))
            except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
                reason = getattr(error, "strerror", None) or "it is no journal of Optuna"
                raise InputError(f"study.storage: cannot open {path}: {reason}") from error
    options = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
    try:
        with locked(Path(match[2]).parent) if match else contextlib.nullcontext():
            if match and not _has_content(path := Path(match[2])):
                make_whole(path, lambda new: FencedDatabase(new).engine.dispose())
            return _created(url, options)
    except (SQLAlchemyError, ImportError, ValueError, RuntimeError, TimeoutError) as error:
        detail = masked(str(error).strip().splitlines()[0])
        raise InputError(
            f"study.storage: cannot open {masked(url)}: {detail}; "
            "expected an address such as sqlite:///tuner.db"
        ) from error


def _has_content(path: Path) -> bool:
    return path.exists() and (not path.is_file() or path.stat().st_size > 0)


def _created(url: str, options: dict[str, Any]) -> BaseStorage:
    """Open a database; once more where another process makes its tables at this moment."""
    for pause in (0.1, 0.5, 2.0):
        try:
            return FencedDatabase(url, engine_kwargs=options)
        except SQLAlchemyError as error:
            if "already exists" not in str(error) and not isinstance(error, IntegrityError):
                raise
            time.sleep(pause)
    return FencedDatabase(url, engine_kwargs=options)


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
    """Return what `open_study` will do; nothing is written.

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
    return _plan_existing(storage, config, latest)


def _plan_existing(storage: BaseStorage, config: Config, name: str) -> Plan:
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
    if not completed:
        return replace(plan, restarts=True)
    raise InputError(
        f"study '{name}' was made with another configuration: {'; '.join(changes)}. "
        "Undo the change, give another study.name, or start a new study with --new"
    )


def plan_of(study: optuna.Study) -> Plan:
    """Return the plan that an open study is the outcome of."""
    completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    attributes = study.user_attrs
    number = attributes.get(SERIES, {}).get("number", 1)
    return Plan(study.study_name, number, True, attributes=attributes, completed=len(completed))


def open_study(config: Config, new: bool = False) -> tuple[optuna.Study, Mirror]:
    """Create or resume the study of `config`, with its sampler and pruner, as its only writer.

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
    made, lease, plan, identity = _taken(open_storage(section.storage), config, new)
    with quiet():
        mirror = Mirror(made._storage, made._study_id, lease)
        study = optuna.load_study(study_name=made.study_name, storage=mirror, pruner=pruner)
    count = len(study.get_trials(deepcopy=False))
    study.sampler = make_sampler(section.sampler, config.space, section.seed + count, several)
    if SERIES not in study.user_attrs:
        study.set_user_attr(SERIES, {"name": config.name, "number": plan.number})
    if IDENTITY not in study.user_attrs:
        study.set_user_attr(IDENTITY, identity)
    if SIGNATURE not in study.user_attrs:
        for name, value in describe_study(config).items():
            study.set_user_attr(name, value)
    return study, mirror


def _taken(
    storage: BaseStorage, config: Config, new: bool
) -> tuple[optuna.Study, Lease, Plan, str]:
    """Create or load the study and take its lease; return its identity as well.

    What was planned is planned again under the lease: another process may have come between.
    """
    plan = plan_study(storage, config, new)
    identity = plan.attributes.get(IDENTITY) or uuid.uuid4().hex
    while True:
        with quiet():
            study = optuna.create_study(
                storage=storage,
                study_name=plan.name,
                directions=list(config.objectives.values()),
                load_if_exists=True,
            )
        lease = Lease(study)
        lease.take()
        try:
            if storage.get_study_id_from_name(plan.name) != study._study_id:
                raise KeyError
            if not _plan_existing(storage, config, plan.name).restarts:
                return study, lease, plan, identity
            storage.delete_study(study._study_id)  # and the lease with it
        except BaseException as error:
            lease.release()
            if not isinstance(error, KeyError):
                raise
            raise InputError(f"study '{plan.name}' was deleted just now; run again") from None
        lease.release()


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
