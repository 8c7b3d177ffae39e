"""What a study's leader and its partners tell each other, in two tables beside Optuna's.

A partner is a process that lends its slots to the coordinator that leads the study. Its row says
who it is, and that it lives. Messages go through rows of their own, in each direction numbered by
who sends them and deleted by who has read them. With a partner's row its messages go, and none can
be added: what was given up delivers nothing any more.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from optuna.storages import BaseStorage
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Engine,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    delete,
    exists,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.dialects.mysql import MEDIUMTEXT
from sqlalchemy.exc import DBAPIError, IntegrityError

from tuner.search.fenced_storage import TRIES, FencedDatabase, fence_of, is_cut_off
from tuner.search.lease import this_process

T = TypeVar("T")

TABLES = MetaData()
_PARTNERS = Table(
    "tuner_partners",
    TABLES,
    Column("id", String(32), primary_key=True),
    Column("study_id", Integer, nullable=False, index=True),
    Column("leader", String(32), nullable=False),
    Column("process", Text, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("beats", Integer, nullable=False),
    Column("running", Text, nullable=False),
)
_MESSAGES = Table(
    "tuner_messages",
    TABLES,
    Column("partner", ForeignKey(_PARTNERS.c.id, ondelete="CASCADE"), primary_key=True),
    Column("to_leader", Boolean, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("text", Text().with_variant(MEDIUMTEXT(), "mysql"), nullable=False),
)


class Gone(Exception):
    """The partner's row is not there any more: it was given up, or has left."""


@dataclass(frozen=True)
class PartnerRow:
    """A partner as its row has it.

    Attributes
    ----------
    process : mapping
        As of `tuner.search.lease.this_process`.
    slots : int
        Jobs that it takes at a time; 0 where it takes none any more.
    beats : int
        Grows while it lives.
    running : sequence of int
        Tickets of what it runs.
    """

    id: str
    process: Mapping[str, Any]
    slots: int
    beats: int
    running: Sequence[int]

    def __str__(self) -> str:  # noqa: D105 - as messages name it
        return f"process {self.process['pid']} on {self.process['host']}"


@dataclass(eq=False)
class Line:
    """One end of what goes between the leader and a partner.

    Attributes
    ----------
    partner : str
        Id of the partner.
    to_leader : bool
        Whether this is the partner's end.
    sent, read : int
        Numbers of the last message that was sent, and of the last one that was read.
    """

    partner: str
    to_leader: bool
    sent: int = 0
    read: int = 0


class Channel:
    """The partners of one study, and what is told to and by them.

    Parameters
    ----------
    engine : Engine
        Of the database, which has the tables and enforces foreign keys.
    study_id : int
        The study there.
    """

    def __init__(self, engine: Engine, study_id: int) -> None:
        self._engine, self._study_id = engine, study_id

    def register(self, leader: str, slots: int) -> Line:
        """Make this process a partner of the holder of a lease; return the partner's end."""
        line = Line(uuid.uuid4().hex, to_leader=True)
        row = {"id": line.partner, "study_id": self._study_id, "leader": leader, "slots": slots}
        row |= {"process": json.dumps(this_process()), "beats": 0, "running": "[]"}
        self._add(_PARTNERS, row)
        return line

    def beat(self, line: Line, slots: int, running: Sequence[int]) -> None:
        """Report that a partner lives, and what it does; `Gone` where it was given up."""
        told = {"beats": _PARTNERS.c.beats + 1, "slots": slots, "running": json.dumps(running)}
        row = update(_PARTNERS).where(_PARTNERS.c.id == line.partner).values(told)
        if self._try(lambda connection: connection.execute(row).rowcount) != 1:
            raise Gone

    def partners(self, leader: str) -> list[PartnerRow]:
        """Return the partners of the holder of a lease."""
        columns = (_PARTNERS.c[name] for name in ("id", "process", "slots", "beats", "running"))
        mine = _PARTNERS.c.study_id == self._study_id, _PARTNERS.c.leader == leader
        query = select(*columns).where(*mine).order_by(_PARTNERS.c.id)
        rows = self._try(lambda connection: connection.execute(query).all())
        return [
            PartnerRow(
                id=row.id,
                process=json.loads(row.process),
                slots=row.slots,
                beats=row.beats,
                running=json.loads(row.running),
            )
            for row in rows
        ]

    def remove(self, partner: str) -> None:
        """Strike a partner off, with all that was not read of it and by it."""
        self._change(delete(_PARTNERS).where(_PARTNERS.c.id == partner))

    def remove_others(self, leader: str) -> None:
        """Strike off the partners of those who led the study before."""
        others = _PARTNERS.c.study_id == self._study_id, _PARTNERS.c.leader != leader
        self._change(delete(_PARTNERS).where(*others))

    def send(self, line: Line, text: str) -> None:
        """Send a message to the other end; `Gone` where the partner is not there."""
        line.sent += 1
        row = {"partner": line.partner, "to_leader": line.to_leader, "number": line.sent}
        self._add(_MESSAGES, {**row, "text": text})

    def receive(self, lines: Sequence[Line]) -> list[tuple[Line, str]]:
        """Return what came at one's own ends, in the order in which each partner's was sent."""
        by_id = {line.partner: line for line in lines}
        if not by_id:
            return []
        there = _MESSAGES.c.partner.in_(by_id), _MESSAGES.c.to_leader != lines[0].to_leader
        query = select(_MESSAGES).where(*there).order_by(_MESSAGES.c.partner, _MESSAGES.c.number)
        found = []
        for row in self._try(lambda connection: connection.execute(query).all()):
            line = by_id[row.partner]
            if row.number > line.read:  # else read before, and not deleted yet
                line.read = row.number
                found.append((line, str(row.text)))
        for line in {id(line): line for line, _ in found}.values():
            read = _MESSAGES.c.partner == line.partner, _MESSAGES.c.number <= line.read
            self._change(delete(_MESSAGES).where(*read, there[1]))
        return found

    def is_unread(self, line: Line) -> bool:
        """Return whether a message that was sent at this end waits to be read."""
        sent = _MESSAGES.c.partner == line.partner, _MESSAGES.c.to_leader == line.to_leader
        query = select(exists().where(*sent))
        return bool(self._try(lambda connection: connection.execute(query).scalar()))

    def _add(self, table: Table, row: Mapping[str, Any]) -> None:
        """Insert a row that has its own key; it may be there if a server's end cut that off."""
        try:
            self._change(insert(table).values(row))
        except IntegrityError as error:
            there = select(exists().where(_PARTNERS.c.id == row.get("partner", row.get("id"))))
            if not self._try(lambda connection: connection.execute(there).scalar()):
                raise Gone from error

    def _change(self, statement: Any) -> None:
        self._try(lambda connection: connection.execute(statement))

    def _try(self, work: Callable[[Connection], T]) -> T:
        """Do something in a transaction; again where a server's end has cut it off."""
        left = TRIES
        while True:
            left -= 1
            try:
                with self._engine.begin() as connection:
                    return work(connection)
            except DBAPIError as error:
                if not left or not is_cut_off(error):
                    raise


def channel_of(storage: BaseStorage, study_id: int, create: bool = False) -> Channel | None:
    """Return the channel of a study.

    None where its storage is no database server, or has no such tables and they are not to be
    made, or may not be.
    """
    fence = fence_of(storage)
    if not isinstance(fence, FencedDatabase) or fence.engine.dialect.name == "sqlite":
        return None
    for pause in (0.1, 0.5, 0.0) if create else ():
        try:
            TABLES.create_all(fence.engine)
            break
        except DBAPIError:  # another process makes them now, or this user may make none
            time.sleep(pause)
    has_tables = inspect(fence.engine).has_table(_MESSAGES.name)
    return Channel(fence.engine, study_id) if has_tables else None
