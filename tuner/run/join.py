"""`tuner run --join`: lead the study where nobody does, else help whoever leads it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import optuna

from tuner.config.addresses import STORAGE_FILE, masked
from tuner.config.load import Config
from tuner.execution.versions import difference as difference_of_versions
from tuner.execution.versions import packages_of, versions
from tuner.plugin import InputError
from tuner.run import session
from tuner.run.status import MEANINGS
from tuner.run.watch import Display
from tuner.search.changes import SIGNATURE, changes_since, difference
from tuner.search.channel import channel_of
from tuner.search.clocks import kept_machine
from tuner.search.fenced_storage import LEASE, FencedDatabase, fence_of
from tuner.search.lease import PARTNERS, LeaseLost, StudyHeld, is_held
from tuner.search.partner import LEFT, Partner
from tuner.search.shared_executor import at_a_time
from tuner.search.storage import read_study
from tuner.selection.results import RunResult

PAUSE = 0.3
"""Seconds after which to look again for a leader that is about to begin."""


@dataclass(frozen=True)
class Help:
    """What a partner ends with.

    Attributes
    ----------
    study : str
    ending : str
        How the study's run ended, as of `RunResult` or ``failed``; ``left`` where this process did.
    jobs : int
        Trials, and measurements of this host, that were run here.
    """

    study: str
    ending: str
    jobs: int

    def plain(self) -> dict[str, Any]:
        """Return it as plain data, for ``--json``."""
        return asdict(self)

    @property
    def code(self) -> int:
        """Return the exit code: that of the study's run."""
        return {LEFT: 130, "interrupted": 130, "failed": 1}.get(self.ending, 0)

    def __str__(self) -> str:  # noqa: D105 - as the user is told
        jobs = "1 job" if self.jobs == 1 else f"{self.jobs} jobs"
        if self.ending == LEFT:
            return f"left study '{self.study}', {jobs} done here; the same command joins again"
        return f"study '{self.study}' {MEANINGS[self.ending]}; {jobs} done here"


def join(config: Config, progress: Display, should_stop: Callable[[], bool]) -> RunResult | Help:
    """Run or resume the study of `config`, or help the process that runs it.

    Raises
    ------
    InputError
        As `tuner.run.session.run`, and where this process cannot help: its storage is a file, its
        configuration, data or versions are not those of the leader.
    tuner.search.stopped.StudyStopped
        As `tuner.run.session.run`.
    """
    storage = config.engine.study.storage
    if STORAGE_FILE.fullmatch(storage) or storage.startswith("sqlite"):
        raise InputError(
            f"--join: expected study.storage on a database server (PostgreSQL, MySQL), which all "
            f"hosts reach, got {masked(storage)}; set it, or run without --join"
        )
    while True:
        try:
            return session.run(config, progress, should_stop)
        except StudyHeld:
            pass
        except LeaseLost as error:  # it slept, and leads no more
            progress.note(f"{str(error).partition(';')[0]}, and is helped by this one now")
        if (found := _help(config, progress, should_stop)) is not None:
            return found
        if should_stop():
            return Help(config.name, LEFT, 0)
        time.sleep(PAUSE)


def _help(config: Config, progress: Display, should_stop: Callable[[], bool]) -> Help | None:
    """Help the leader until one of the two ends; None where nobody leads any more."""
    study = read_study(config)
    fence = fence_of(study._storage)
    assert isinstance(fence, FencedDatabase)
    try:
        if (lease := _await_leader(study, config, should_stop)) is None:
            return None
        require_same(study, lease, config)
        name, leader = study.study_name, f"process {lease['pid']} on {lease['host']}"
        channel = channel_of(study._storage, study._study_id)
        assert channel is not None  # its leader has made the tables
        executor = session.make_executor(config, study)
        try:
            progress.note(f"helps {leader} with study '{name}'{at_a_time(executor.slots)}")
            read = partial(fence.read, study._study_id)
            partner = Partner(executor, channel, lease["token"], read, should_stop)
            ending = partner.run()
        finally:
            executor.close()
        if ending is None:
            progress.note(f"{leader} does not lead study '{name}' any more, or has given this up")
            return None
        return Help(name, ending, partner.done)
    finally:
        fence.engine.dispose()


def _await_leader(
    study: optuna.Study, config: Config, should_stop: Callable[[], bool]
) -> Mapping[str, Any] | None:
    """Return the lease once all is known that a partner needs; None where nobody holds it."""
    task = config.task
    bound = task.compares_times and task.baseline is None
    while True:
        try:
            attributes = study.user_attrs
        except KeyError:  # deleted just now, to begin anew
            return None
        lease: Mapping[str, Any] = attributes.get(LEASE) or {}
        if not is_held(lease) or should_stop():
            return None
        if SIGNATURE in attributes and not (bound and not kept_machine(study)):
            return lease
        time.sleep(PAUSE)


def require_same(study: optuna.Study, lease: Mapping[str, Any], config: Config) -> None:
    """Raise `InputError` where trials that run here would not be those of the leader."""
    leader = f"process {lease['pid']} on {lease['host']}"
    cannot = f"cannot help {leader} with study '{study.study_name}'"
    if PARTNERS not in lease:
        raise InputError(
            f"{cannot}: it takes no partners (an earlier version, or its user may make no tables)"
        )
    own = versions(packages_of(config.engine.plugin))
    if why := difference_of_versions(own, lease[PARTNERS]["versions"], "this process"):
        raise InputError(f"{cannot}: {why}; all hosts need the same environment")
    changes = changes_since(study.user_attrs, config)
    changes += map(str, difference(lease[PARTNERS]["config"], config.leading()))
    if changes:
        raise InputError(
            f"{cannot}: it runs another configuration: {'; '.join(changes)}; all hosts need the "
            "same file, options and data"
        )
