"""Which process writes to a study: the only one, as long as it lives."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Mapping
from typing import Any

import optuna
import psutil

from tuner.plugin import InputError

LEASE = "tuner:lease"
LEASE_SECONDS = 60.0


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
        held = self._study.user_attrs.get(LEASE)
        if not force and held and held["token"] != self._token:  # ours had run out, or a race
            raise InputError(
                f"study '{self._study.study_name}' was taken over by process {held['pid']} on "
                f"{held['host']}; this run ends, and the same command resumes once that one has"
            )
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
        """Return the lease back."""
        held = self._study.user_attrs.get(LEASE)
        if held and held["token"] == self._token:
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
