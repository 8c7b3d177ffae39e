"""The Optuna storage: opening it, and a study in it, for reading or as its only writer."""

from __future__ import annotations

import contextlib
import shlex
import time
import uuid
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.trial import TrialState
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError

from tuner.config.addresses import STORAGE_FILE, masked, with_driver
from tuner.config.folder_lock import locked, make_whole
from tuner.config.load import Config
from tuner.config.quiet import quiet
from tuner.config.reach import why_missing
from tuner.config.samplers import EXHAUSTIVE, make_pruner, make_sampler
from tuner.execution.versions import packages_of, versions
from tuner.plugin import InputError
from tuner.search.cached_storage import Mirror
from tuner.search.changes import SIGNATURE, describe_study
from tuner.search.channel import channel_of
from tuner.search.fenced_storage import FencedDatabase, FencedJournal
from tuner.search.lease import PARTNERS, Lease
from tuner.search.plan import IDENTITY, Plan, plan_existing, plan_study
from tuner.search.record_json import ROLE
from tuner.search.series import SERIES, find_study

OUTAGE_SECONDS = 40.0
"""Seconds to wait for a database server that does not answer any more, within one lease."""


def open_storage(url: str, first: str | None = None) -> BaseStorage:
    """Open the storage at `url`: any SQLAlchemy address, or ``journal:///FILE``.

    Raises
    ------
    InputError
        Where it cannot be opened, or its file is not there and `first` says what makes it.
    """
    if match := STORAGE_FILE.fullmatch(url):
        path = Path(match[2])
        if first is not None and not path.exists():
            raise InputError(f"no study yet: {path} does not exist; first: {first}")
        if not path.parent.is_dir():
            raise InputError(f"study.storage: no such folder: {path.parent}; make it first")
        if match[1] == "journal":
            return _journal(path)
    url = with_driver(url)
    is_sqlite = url.startswith("sqlite")
    options = {"connect_args": {"timeout": 60}} if is_sqlite else {"pool_pre_ping": True}
    try:
        with locked(Path(match[2]).parent) if match else contextlib.nullcontext():
            if match and not _has_content(path := Path(match[2])):
                make_whole(path, lambda new: FencedDatabase(new).engine.dispose())
            return _created(url, options)
    except (SQLAlchemyError, ImportError, ValueError, RuntimeError, TimeoutError) as error:
        detail = masked(str(error).strip().splitlines()[0])
        is_away = isinstance(error, OperationalError)  # there is nothing wrong with the address
        hint = "" if is_away else "; expected an address such as sqlite:///tuner.db"
        if isinstance(cause := error.__cause__, ModuleNotFoundError):  # the driver's
            detail, hint = why_missing(cause), ""
        raise InputError(f"study.storage: cannot open {masked(url)}: {detail}{hint}") from error


def _journal(path: Path) -> BaseStorage:
    try:
        if path.is_file():
            with path.open("rb") as stream:
                if stream.read(1) not in (b"", b"{"):
                    raise ValueError  # Optuna would append to it
        return JournalStorage(FencedJournal(str(path)))
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        reason = getattr(error, "strerror", None) or "it is no journal of Optuna"
        raise InputError(f"study.storage: cannot open {path}: {reason}") from error


def _has_content(path: Path) -> bool:
    return path.exists() and (not path.is_file() or path.stat().st_size > 0)


def _created(url: str, options: dict[str, Any]) -> BaseStorage:
    """Open a database; once more where another process makes its tables at this moment."""
    for pause in (0.1, 0.5, 2.0, None):
        try:
            storage = FencedDatabase(url, engine_kwargs=options)
            break
        except SQLAlchemyError as error:
            is_race = "already exists" in str(error) or isinstance(error, IntegrityError)
            if not is_race or pause is None:
                raise
            time.sleep(pause)
    if not url.startswith("sqlite"):
        event.listen(storage.engine, "do_connect", _connect)
    return storage


def _connect(dialect: Any, _record: object, arguments: Any, options: Any) -> Any:
    """Connect to a server that was there before; wait for it where it restarts."""
    until = time.monotonic() + OUTAGE_SECONDS
    while True:
        try:
            return dialect.connect(*arguments, **options)
        except dialect.loaded_dbapi.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def open_study(config: Config, new: bool = False) -> tuple[optuna.Study, Mirror]:
    """Create or resume the study of `config`, with its sampler and pruner, as its only writer.

    The sampler's seed is the configured one plus the number of trials there are: resumed with the
    same seed, a sampler would repeat its first draws. One that goes through all settings knows them
    by their places in an order that its seed makes: that one stays.

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
    count = 0 if section.sampler.name in EXHAUSTIVE else len(study.get_trials(deepcopy=False))
    study.sampler = make_sampler(section.sampler, config.space, section.seed + count, several)
    if SERIES not in study.user_attrs:
        study.set_user_attr(SERIES, {"name": config.name, "number": plan.number})
    if IDENTITY not in study.user_attrs:
        study.set_user_attr(IDENTITY, identity)
    if study.metric_names is None:
        with quiet():  # it is experimental since Optuna 3.2
            study.set_metric_names(list(config.objectives))
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
        section = config.engine.study
        about: dict[str, Any] = {"trials": section.trials, "timeout": section.timeout}
        if channel_of(storage, study._study_id, create=True) is not None:
            own = versions(packages_of(config.engine.plugin))
            about[PARTNERS] = {"versions": own, "config": config.leading()}
        lease = Lease(study, about)
        lease.take()
        try:
            if storage.get_study_id_from_name(plan.name) != study._study_id:
                raise KeyError
            if not plan_existing(storage, config, plan.name).restarts:
                return study, lease, plan, identity
            storage.delete_study(study._study_id)  # and the lease with it
        except BaseException as error:
            lease.release()
            if not isinstance(error, KeyError):
                raise
            raise InputError(f"study '{plan.name}' was deleted just now; run again") from None
        lease.release()


def enqueued_in(study: optuna.Study) -> int:
    """Return how many trials of a study were enqueued by users and wait."""
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    return sum(ROLE not in trial.user_attrs for trial in waiting)


def read_study(config: Config) -> optuna.Study:
    """Load the study of `config` for reading; `InputError` where there is none."""
    return study_in(config.engine.study.storage, config.name, config.document.path)


def study_in(url: str, name: str, path: Path) -> optuna.Study:
    """Load the latest study configured as `name`, in the file `path`; `InputError` without one."""
    first = f"tuner run {shlex.quote(str(path))}"
    storage = open_storage(url, first)
    found = find_study(storage, name)
    if found is None:
        raise InputError(f"no study '{name}' in {masked(url)}; first: {first}")
    with quiet():
        return optuna.load_study(study_name=found, storage=storage)
