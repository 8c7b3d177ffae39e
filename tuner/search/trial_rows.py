"""Trials as rows of Optuna's tables: all that changed of them, in one transaction.

Optuna's own storage takes a transaction for each attribute, value and state, and builds an object
for every row that it looks at: several times what the statements themselves cost.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from optuna.distributions import distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import (
    Connection,
    Select,
    and_,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

STUDIES: Any = models.StudyModel.__table__
TRIALS: Any = models.TrialModel.__table__
VALUES: Any = models.TrialValueModel.__table__
TABLES: Mapping[str, tuple[Any, str]] = {
    "params": (models.TrialParamModel.__table__, "param_name"),
    "user_attrs": (models.TrialUserAttributeModel.__table__, "key"),
    "system_attrs": (models.TrialSystemAttributeModel.__table__, "key"),
    "intermediate_values": (models.TrialIntermediateValueModel.__table__, "step"),
}
"""Where the parts of a trial are kept, and the column that names one."""

_UNFINISHED = (TrialState.RUNNING, TrialState.WAITING)

# Made once: SQLAlchemy takes longer to build a statement than SQLite to run it.
_LOCK = select(STUDIES.c.study_id).where(STUDIES.c.study_id == bindparam("study")).with_for_update()
_NEWEST = select(func.max(TRIALS.c.trial_id)).where(TRIALS.c.study_id == bindparam("study"))
_INSERT = {table: insert(table) for table in (TRIALS, VALUES, *(t for t, _ in TABLES.values()))}
_UPDATE = update(TRIALS).where(
    TRIALS.c.trial_id == bindparam("there"), TRIALS.c.state.in_(_UNFINISHED)
)


class NotOurs(Exception):
    """The study lacks a trial that this process wrote, or another program has ended it."""


class Overtaken(NotOurs):
    """The study has trials that this process did not write, under the numbers of its new ones."""


@dataclass
class Change:
    """What a storage does not hold yet of a trial.

    Attributes
    ----------
    there : int or None
        The trial's id in the storage; None where it is not there at all.
    parts : dict of (attribute of `FrozenTrial`, name or step) to bool
        What was set, and whether the storage holds it with another value.
    state : bool
        Whether state and values changed.
    """

    there: int | None
    parts: dict[tuple[str, Any], bool] = field(default_factory=dict)
    state: bool = False


def write(
    connection: Connection,
    study_id: int,
    changes: Sequence[tuple[FrozenTrial, Change]],
    last: int | None,
) -> dict[int, int]:
    """Write trials as they are, in the transaction of `connection`; return the new ones' ids.

    Parameters
    ----------
    changes : sequence of (FrozenTrial, Change)
        By number: what is new has the numbers after those that are there.
    last : int or None
        The id of the study's last trial, as far as this process knows.

    Raises
    ------
    Overtaken
        Where another program has added trials to the study; nothing is written then.
    NotOurs
        Where it has ended a trial of ours.
    """
    made: dict[int, int] = {}
    if any(change.there is None for _, change in changes):
        connection.execute(_LOCK, {"study": study_id})
        if connection.execute(_NEWEST, {"study": study_id}).scalar() != last:
            raise Overtaken
    rows: dict[Any, list[dict[str, Any]]] = {}
    for trial, change in changes:
        if change.there is None:
            new = {"study_id": study_id, "number": trial.number, **_state(trial)}
            key = connection.execute(_INSERT[TRIALS], new).inserted_primary_key
            assert key is not None
            made[trial.number] = there = int(key[0])
            parts = {(part, name): False for part in TABLES for name in getattr(trial, part)}
            change = Change(None, parts, state=True)
        else:
            there = change.there
            if change.state:
                _update_state(connection, there, trial)
            _forget(connection, there, change)
        for table, row in _rows(trial, change):
            rows.setdefault(table, []).append({"trial_id": there, **row})
    for table, found in rows.items():
        connection.execute(_INSERT[table], found)
    return made


def newest(study_id: int) -> Select[Any]:
    """Return the query for the id of a study's last trial."""
    return _NEWEST.params(study=study_id)


def ids_of(
    connection: Connection, study_id: int, changes: Sequence[tuple[FrozenTrial, Change]]
) -> dict[int, int]:
    """Return the ids of the new ones among trials that were written."""
    numbers = [trial.number for trial, change in changes if change.there is None]
    query = select(TRIALS.c.number, TRIALS.c.trial_id)
    ours = TRIALS.c.study_id == study_id, TRIALS.c.number.in_(numbers)
    found = connection.execute(query.where(*ours))
    return {number: there for number, there in found}


def _update_state(connection: Connection, there: int, trial: FrozenTrial) -> None:
    if connection.execute(_UPDATE, {"there": there, **_state(trial)}).rowcount != 1:
        raise NotOurs


def _forget(connection: Connection, there: int, change: Change) -> None:
    """Delete what is written anew."""
    for (part, name), is_old in change.parts.items():
        if is_old:
            table, column = TABLES[part]
            row = and_(table.c.trial_id == there, table.c[column] == name)
            connection.execute(delete(table).where(row))


def _rows(trial: FrozenTrial, change: Change) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """Return what goes into which table."""
    for part, name in change.parts:
        table, column = TABLES[part]
        yield table, {column: name, **_cells(trial, part, name)}
    for objective, value in enumerate((trial.values or ()) if change.state else ()):
        number, kind = models.TrialValueModel.value_to_stored_repr(value)
        yield VALUES, {"objective": objective, "value": number, "value_type": kind}


def _cells(trial: FrozenTrial, part: str, name: Any) -> Mapping[str, Any]:
    value = getattr(trial, part)[name]
    if part == "params":
        dist = trial.distributions[name]
        number = dist.to_internal_repr(value)
        return {"param_value": number, "distribution_json": distribution_to_json(dist)}
    if part == "intermediate_values":
        steps = models.TrialIntermediateValueModel
        stored, kind = steps.intermediate_value_to_stored_repr(value)
        return {"intermediate_value": stored, "intermediate_value_type": kind}
    return {"value_json": json.dumps(value)}


def _state(trial: FrozenTrial) -> dict[str, Any]:
    return {
        "state": trial.state,
        "datetime_start": _utc(trial.datetime_start),
        "datetime_complete": _utc(trial.datetime_complete),
    }


def _utc(moment: datetime | None) -> datetime | None:
    """Return a moment as Optuna stores it: in UTC, without saying so."""
    return None if moment is None else moment.astimezone(timezone.utc).replace(tzinfo=None)
