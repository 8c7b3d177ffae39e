"""Optuna's storages with a lease that is changed by one conditional write, and checked on each.

A lease (`tuner.search.lease`) is an attribute of its study. It is replaced where it still is what
was read before, in one step that no other process can come between. While it is held, everything
that this process writes is written in one step with a look at it: a process that slept until
another one took the study over writes nothing more.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._rdb.models import StudyModel, StudyUserAttributeModel
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import get_lock_file
from optuna.storages.journal._storage import JournalOperation
from optuna.trial import FrozenTrial
from sqlalchemy import Select, and_, bindparam, event, exists, insert, literal, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import ORMExecuteState, Session

from tuner.search import trial_rows
from tuner.search.journal_lock import FileLock, end_of_lines
from tuner.search.trial_rows import Change, Overtaken

LEASE = "tuner:lease"
STOP = "tuner:stop"
"""Attribute of a study: the token of the lease whose holder is asked to stop."""

HALF_LINE_SECONDS = 0.05
"""Seconds after which a program that has written half a line is taken for dead."""

TRIES = 3
"""How often what a server's end has cut off is done, at most."""


@dataclass
class Held:
    """The lease without which nothing may be written.

    Attributes
    ----------
    study_id : int
        Its study.
    text : str
        The lease as it is stored.
    lost : callable
        Returns what to raise where another one is stored.
    """

    study_id: int
    text: str
    lost: Callable[[], Exception]

    def counted(self) -> str:
        """Return the lease after one more write."""
        lease = json.loads(self.text)
        return json.dumps({**lease, "writes": lease.get("writes", 0) + 1})


class Fence(Protocol):
    """Keeps the lease of a study, and lets writes pass only while it is the one that is held.

    Attributes
    ----------
    held : Held or None
        What lets writes pass; None where none is asked for.
    """

    held: Held | None

    def read(self, study_id: int, key: str = LEASE) -> str | None:
        """Return the lease, or what else is under `key`, as JSON; None where it never was."""

    def swap_lease(self, study_id: int, old: str | None, new: str) -> bool:
        """Replace the lease where it still is `old`; return whether it was."""


class FencedDatabase(RDBStorage):
    """Optuna's storage in a database; see `Fence`."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self.held: Held | None = None
        event.listen(self.scoped_session, "before_flush", self._check)
        event.listen(self.scoped_session, "do_orm_execute", self._check_statement)

    def read(self, study_id: int, key: str = LEASE) -> str | None:
        """Return the lease, or what else is under `key`, as JSON; None where it never was."""
        found: str | None = self._scalar(select(_VALUE).where(_row(study_id, key)))
        return found

    def newest(self, study_id: int) -> int | None:
        """Return the id of a study's last trial; None where there is none."""
        found: int | None = self._scalar(trial_rows.newest(study_id))
        return found

    def _scalar(self, query: Select[Any]) -> Any:
        """Return what a query gives, asked again where a server's end has cut it off."""
        for left in reversed(range(TRIES)):
            try:
                with self.engine.connect() as connection:
                    found = connection.execute(query).scalar()
                break
            except DBAPIError as error:
                if not left or not is_cut_off(error):
                    raise
        return found

    def swap_lease(self, study_id: int, old: str | None, new: str) -> bool:
        """Replace the lease where it still is `old`; return whether it was."""
        if old is not None:
            change: Any = update(_TABLE).where(_row(study_id), _VALUE == old).values(value_json=new)
        else:  # two rows of one key the table refuses
            there = exists().where(StudyModel.study_id == study_id)
            row = select(literal(study_id), literal(LEASE), literal(new)).where(there)
            change = insert(_TABLE).from_select(["study_id", "key", "value_json"], row)
        try:
            with self.engine.begin() as connection:
                changed = connection.execute(change).rowcount
                if old is not None:
                    return bool(changed == 1)
                return bool(
                    connection.execute(select(_VALUE).where(_row(study_id))).scalar() == new
                )
        except IntegrityError:
            return False
        except DBAPIError as error:
            if not is_cut_off(error):
                raise
            found = self.read(study_id)
            return found == new or (found == old and self.swap_lease(study_id, old, new))

    def write(
        self, study_id: int, changes: Sequence[tuple[FrozenTrial, Change]], last: int | None
    ) -> dict[int, int]:
        """Write what changed of trials in one transaction; see `tuner.search.trial_rows.write`.

        The lease counts these transactions: of one that a server's end has cut off it says whether
        it was the last thing that the server did.
        """
        counted = self.held.counted() if self.held is not None else None
        for left in reversed(range(TRIES)):
            try:
                with _create_scoped_session(self.scoped_session) as session:
                    self._check(session, counted=counted)
                    made = trial_rows.write(session.connection(), study_id, changes, last)
            except (StorageInternalError, DBAPIError) as error:
                if counted is None or not left or not is_cut_off(error):
                    raise
                if self.read(study_id) != counted:
                    continue
                with self.engine.connect() as connection:
                    made = trial_rows.ids_of(connection, study_id, changes)
            break
        if self.held is not None and counted is not None:
            self.held.text = counted
        return made

    def _check(self, session: Session, *_: object, counted: str | None = None) -> None:
        """Write the lease in place, as the first change of a transaction: none else can then."""
        if self.held is None:
            return
        told = {"study": self.held.study_id, "old": self.held.text}
        told["new"] = counted or self.held.text
        if session.connection().execute(_KEEP, told).rowcount != 1:
            raise self.held.lost()

    def _check_statement(self, state: ORMExecuteState) -> None:
        if not state.is_select:
            self._check(state.session)


def is_cut_off(error: BaseException) -> bool:
    """Return whether a connection was lost in the midst of what it did."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    return isinstance(cause, DBAPIError) and cause.connection_invalidated


_TABLE: Any = StudyUserAttributeModel.__table__
_VALUE = _TABLE.c.value_json

_GONE = '{"deleted": true}'
"""In place of the lease of a study that is deleted: its number is never used again."""


def _row(study_id: Any, key: str = LEASE) -> Any:
    return and_(_TABLE.c.study_id == study_id, _TABLE.c.key == key)


_KEEP = (
    update(_TABLE)
    .where(_row(bindparam("study")), bindparam("old") == _VALUE)
    .values(value_json=bindparam("new"))
)


class FencedJournal(JournalFileBackend):
    """Optuna's journal in a file; see `Fence`. A line that a crash left half written is cut off.

    Attributes
    ----------
    expected : (study's id, int) or None
        A study, and the number of trials that it must have for anything to be written.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path, FileLock(path))
        self.held: Held | None = None
        self.expected: tuple[int, int] | None = None
        self._found: dict[tuple[int, str], str] = {}
        self._trials: Counter[int] = Counter()
        self._scanned = 0

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write operations, all or none; `Overtaken` where the study has other trials."""
        held = self.held
        with get_lock_file(self._lock):
            ours = held is None or self._current(held.study_id) == held.text
            if ours and self.expected is not None:
                study_id, trials = self.expected
                self._current(study_id)
                if self._trials[study_id] != trials:
                    raise Overtaken
            if ours:
                self._append(logs)
        if held is not None and not ours:
            raise held.lost()

    def read(self, study_id: int, key: str = LEASE) -> str | None:
        """Return the lease, or what else is under `key`, as JSON; None where it never was."""
        with get_lock_file(self._lock):
            return self._current(study_id, key)

    def swap_lease(self, study_id: int, old: str | None, new: str) -> bool:
        """Replace the lease where it still is `old`; return whether it was."""
        change = {
            "op_code": JournalOperation.SET_STUDY_USER_ATTR,
            "worker_id": "tuner-lease",
            "study_id": study_id,
            "user_attr": {LEASE: json.loads(new)},
        }
        with get_lock_file(self._lock):
            if self._current(study_id) != old or old == _GONE:
                return False
            self._append([change])
            return True

    def _current(self, study_id: int, key: str = LEASE) -> str | None:
        """Return what `read` does after what was written last; call under the lock."""
        for log in self.read_logs(self._scanned):
            self._scanned += 1
            if log["op_code"] == JournalOperation.CREATE_TRIAL:
                self._trials[log["study_id"]] += 1
            elif log["op_code"] == JournalOperation.DELETE_STUDY:
                self._found[log["study_id"], LEASE] = _GONE
            elif log["op_code"] == JournalOperation.SET_STUDY_USER_ATTR:
                changed = log["study_id"]
                for name in log["user_attr"].keys() & {LEASE, STOP}:
                    if self._found.get((changed, LEASE)) != _GONE:
                        self._found[changed, name] = json.dumps(log["user_attr"][name])
        return self._found.get((study_id, key))

    def _append(self, logs: Sequence[Mapping[str, Any]]) -> None:
        lines = "".join(f"{json.dumps(log, separators=(',', ':'))}\n" for log in logs).encode()
        # Optuna's own programs, which may enqueue trials, have another lock: what they append at
        # this moment must stay, so that the system itself finds the end, and only half a line that
        # is nobody's any more is cut off.
        with open(self._file_path, "a+b", buffering=0) as stream:
            end = end_of_lines(stream)
            if end != stream.seek(0, os.SEEK_END):
                time.sleep(HALF_LINE_SECONDS)
                end = end_of_lines(stream)
                stream.truncate(end)
            try:
                while lines:
                    lines = lines[stream.write(lines) :]
                os.fsync(stream.fileno())
            except OSError:
                stream.truncate(end)  # a full disk takes a part
                raise


def fence_of(storage: BaseStorage) -> FencedDatabase | FencedJournal:
    """Return what keeps the leases of `storage`, whatever wraps it."""
    inner: Any = storage
    while not isinstance(inner, FencedDatabase | FencedJournal):
        if not isinstance(inner, BaseStorage) or not hasattr(inner, "_backend"):
            raise TypeError(f"expected a storage of open_storage, got {type(storage).__name__}")
        inner = inner._backend
    return inner
