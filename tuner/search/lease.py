"""Which process writes to a study: the only one, as long as it lives.

A lease is taken by one conditional write, so that of several processes one has it. Each taking has
a number, one more than the one before, and no write of a process whose lease was taken by another
one is let through (`tuner.search.fenced_storage`): it may have slept beyond its lease.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import psutil
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from tuner.plugin import InputError
from tuner.search.fenced_storage import STOP, Held, fence_of

LEASE_SECONDS = 60.0
SEARCHED = "searched"
"""What a lease says once its holder begins no further trial."""

PARTNERS = "partners"
"""What a lease says where its holder takes partners: versions and settings that they must have."""

LOOK_SECONDS = 1.0
"""How often to look whether the holder of a lease is asked to stop."""


class LeaseLost(InputError):
    """Another process has taken the study over: this one writes nothing more."""


class StudyHeld(InputError):
    """A living coordinator leads the study."""


class Lease:
    """States in the storage which process writes to a study, so that a second one refuses.

    Parameters
    ----------
    study
        The study.
    about : mapping, optional
        What else its holder says of itself, as plain data.
    """

    def __init__(self, study: optuna.Study, about: Mapping[str, Any] | None = None) -> None:
        self._fence = fence_of(study._storage)
        self._study_id, self._name = study._study_id, study.study_name
        self._token = uuid.uuid4().hex
        self._number = 0
        self._held: Held | None = None
        self._due = self._look = 0.0
        self._asked = False
        self._about = {**(about or {}), "taken": time.time()}

    @property
    def token(self) -> str:
        """Return what tells this taking of the lease from any other."""
        return self._token

    @property
    def stop_asked(self) -> bool:
        """Whether another process has asked the holder of this lease to stop."""
        if not self._asked and time.monotonic() >= self._look:
            self._look = time.monotonic() + LOOK_SECONDS
            found = self._fence.read(self._study_id, STOP)
            self._asked = found is not None and json.loads(found) == self._token
        return self._asked

    def take(self) -> None:
        """Take the lease; `InputError` where a living coordinator holds it."""
        text = self._fence.read(self._study_id)
        held = _plain(text)
        refuse_if_held(self._name, held)
        self._number = held.get("number", 0) + 1
        if not self._swap(text):
            refuse_if_held(self._name, _plain(self._fence.read(self._study_id)))
            raise StudyHeld(
                f"study '{self._name}' was started by another process just now; "
                "run the same command again once that one has ended"
            )

    def renew(self, force: bool = False) -> None:
        """Renew the lease where a third of its time has gone; raise `LeaseLost` where it is not."""
        if (force or time.monotonic() >= self._due) and not self._swap(self._text()):
            raise self._lost()

    def end_search(self) -> None:
        """Report that no further trial begins; raise `LeaseLost` where it is held no more."""
        self._about[SEARCHED] = True
        self.renew(force=True)

    def release(self, ending: str = "") -> None:
        """Release the lease, and say how the run ended; a storage that is gone is passed by."""
        try:
            how = {"ending": ending} if ending else {}
            free = json.dumps({"number": self._number, **how})
            self._fence.swap_lease(self._study_id, self._text(), free)
        except (SQLAlchemyError, StorageInternalError, OSError, InputError):
            pass
        if self._fence.held is self._held:
            self._fence.held = None

    def _text(self) -> str:
        """Return the lease as it is stored: with every write it counts one more."""
        return self._held.text if self._held is not None else ""

    def _swap(self, old: str | None) -> bool:
        lease = {
            "number": self._number,
            "token": self._token,
            **this_process(),
            "renewed": time.time(),
            **self._about,
        }
        text = json.dumps(lease)
        if not self._fence.swap_lease(self._study_id, old, text):
            return False
        self._due = time.monotonic() + LEASE_SECONDS / 3
        self._fence.held = self._held = Held(self._study_id, text, self._lost)
        return True

    def _lost(self) -> LeaseLost:
        held = _plain(self._fence.read(self._study_id))
        by = f"process {held['pid']} on {held['host']}" if "token" in held else "another process"
        return LeaseLost(
            f"study '{self._name}' was taken over by {by}; this run ends, nothing that it measured "
            "since is kept, and the same command resumes once that one has ended"
        )


def refuse_if_held(name: str, lease: Mapping[str, Any] | None) -> None:
    """Raise `StudyHeld` where a living coordinator holds the lease of study `name`."""
    if lease and is_held(lease):
        help_it = "help it with --join, " if PARTNERS in lease else ""
        raise StudyHeld(
            f"study '{name}' is being run by process {lease['pid']} on {lease['host']}; "
            f"wait for it, {help_it}stop it, or start another study with --new"
        )


def is_held(lease: Mapping[str, Any]) -> bool:
    """Return whether a living coordinator holds the lease."""
    return "token" in lease and _alive(lease)


def this_process() -> dict[str, Any]:
    """Return what tells this process from any other, on whatever host."""
    return {**_here(), "pid": os.getpid(), "start": _start(os.getpid())}


def has_ended(process: Mapping[str, Any]) -> bool:
    """Return whether a process, as `this_process` has it, was on this very host and is gone."""
    start = _start(process["pid"])
    return _is_here(process) and start not in ("unknown", process["start"])


def _plain(text: str | None) -> dict[str, Any]:
    return (json.loads(text) if text else None) or {}


def _alive(lease: Mapping[str, Any]) -> bool:
    start = _start(lease["pid"])
    if not _is_here(lease) or start == "unknown":
        return bool(time.time() < lease["renewed"] + LEASE_SECONDS)
    return start == lease.get("start") and lease["pid"] != os.getpid()


def _is_here(process: Mapping[str, Any]) -> bool:
    return {name: process.get(name) for name in _here()} == _here()


def _here() -> dict[str, str]:
    """Return where a process's number means something: one boot of one machine or container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        place = f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        place = ""
    return {"host": socket.gethostname(), "place": place}


def _start(pid: int) -> str | None:
    """Return when a process started, by a clock that nobody sets; None where it has ended."""
    if not psutil.pid_exists(pid):
        return None
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZX" else fields[18]
    except OSError:  # no /proc, or it hides the processes of others
        pass
    try:
        process = psutil.Process(pid)
        gone = process.status() == psutil.STATUS_ZOMBIE
        return None if gone else f"{process.create_time():.0f}"
    except psutil.NoSuchProcess:
        return None
    except psutil.AccessDenied:
        return "unknown"
