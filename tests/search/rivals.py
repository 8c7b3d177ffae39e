"""Processes that want one study, started at one moment: prints what became of each, as JSON.

Arguments: the configuration, the number of processes, and what they do (see `main`).
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import optuna

from tuner.config.load import Config, load_config
from tuner.plugin import InputError
from tuner.search import lease
from tuner.search.storage import open_study

Outcome = list[str]


def forked(act: Callable[[], str]) -> tuple[int, int]:
    """Run `act` in a child; return its process and where it writes what came of it."""
    reader, writer = os.pipe()
    if pid := os.fork():
        os.close(writer)
        return pid, reader
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it goes with its parent
    try:
        answer = ["done", act()]
    except InputError as error:
        answer = [type(error).__name__, str(error)]
    except BaseException:  # noqa: BLE001 - the parent shows it
        answer = ["bug", traceback.format_exc()]
    os.write(writer, json.dumps(answer).encode())
    os.close(writer)
    signal.pause()  # a lease is its process's: it lives until the parent has heard all
    os._exit(0)


def outcomes(children: list[tuple[int, int]]) -> list[Outcome]:
    found = []
    for _, reader in children:
        with os.fdopen(reader, "rb") as stream:
            found.append(json.loads(stream.read()))
    for pid, _ in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return found


def at_once(config: Config, count: int) -> list[Outcome]:
    """Let `count` processes open the study at one moment."""
    gate, opener = os.pipe()

    def act() -> str:
        os.close(opener)
        os.read(gate, 1)  # all wake when the parent closes the other end
        study, _ = open_study(config)
        return study.study_name

    children = [forked(act) for _ in range(count)]
    os.close(opener)
    os.close(gate)
    return outcomes(children)


def asleep(config: Config) -> dict[str, object]:
    """Stop a holder before a write; another host takes over; the first is continued."""
    lease.LEASE_SECONDS = 0.2

    def sleeper() -> str:
        socket.gethostname = lambda: "first"
        study, storage = open_study(config)
        study.add_trial(optuna.trial.create_trial(value=1.0))
        storage.lease.renew(force=True)
        os.kill(os.getpid(), signal.SIGSTOP)
        study.add_trial(optuna.trial.create_trial(value=2.0))
        return "wrote"

    child = forked(sleeper)
    os.waitpid(child[0], os.WUNTRACED)
    socket.gethostname = lambda: "second"
    while True:  # until the lease has run out
        try:
            study, storage = open_study(config)
            break
        except InputError as error:
            if "is being run by process" not in str(error):
                raise
            time.sleep(0.05)
    study.add_trial(optuna.trial.create_trial(value=3.0))
    os.kill(child[0], signal.SIGCONT)
    (outcome,) = outcomes([child])
    study.add_trial(optuna.trial.create_trial(value=4.0))
    values = [trial.value for trial in storage._backend.get_all_trials(study._study_id)]
    number = study.user_attrs["tuner:lease"]["number"]
    return {"sleeper": outcome, "values": values, "number": number}


def main(path: str, rounds: int, count: int) -> None:
    """Print, for each round, what became of `count` processes; then what of one that slept."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found = []
    for number in range(rounds):
        config = load_config(Path(path), [f"study.name=round{number}"])
        if number % 2:  # is there, and free
            study, storage = open_study(config)
            storage.lease.release()
            storage._backend.remove_session()
            del study, storage
        found.append(at_once(config, count))
    slept = asleep(load_config(Path(path), ["study.name=asleep"]))
    print(json.dumps({"rounds": found, "slept": slept}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
