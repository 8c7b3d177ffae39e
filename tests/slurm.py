"""A Slurm with two nodes on this machine, from Debian's packages, without systemd."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")

CONFIGURATION = """\
ClusterName=test
SlurmctldHost=localhost
SlurmctldPort={port}
SlurmUser=root
AuthInfo=socket={folder}/munge/s
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0
ReturnToService=2
KillWait=5
MinJobAge=60
NodeName=n0 NodeHostname=localhost Port={port0} CPUs=2 RealMemory=4000
NodeName=n1 NodeHostname=localhost Port={port1} CPUs=2 RealMemory=4000
PartitionName=main Nodes=n0,n1 Default=YES
"""


class Slurm:
    """A running cluster; its commands find it by SLURM_CONF."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def controller(self) -> subprocess.Popen[bytes]:
        """Start the controller."""
        with (self.folder / "ctld.log").open("ab") as log:
            return subprocess.Popen(["slurmctld", "-D"], stdout=log, stderr=log)

    def ask(self, *command: str) -> str:
        """Return what a command of Slurm's says; a dead controller blocks it."""
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return done.stdout

    def jobs(self) -> list[str]:
        """Return the ids of the jobs that wait or run."""
        return self.ask("squeue", "-h", "-o", "%A").split()

    def wait_until(self, what: str, seconds: float, *command: str) -> None:
        """Wait until a command says something in particular."""
        until = time.monotonic() + seconds
        while self.ask(*command).split() != what.split():
            assert time.monotonic() < until, (command, self.ask(*command))
            time.sleep(0.1)


@contextmanager
def running_slurm() -> Iterator[Slurm]:
    """Start a cluster for as long as the context lasts; skip where there are no packages."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent or os.getuid():
        pytest.skip(f"needs root, and Debian's slurmctld slurmd slurm-client munge: {absent}")
    with tempfile.TemporaryDirectory(prefix="slurm-") as name:
        Path(name).chmod(0o755)  # munge's socket must be within reach of all
        with _slurm_in(Path(name)) as slurm:
            yield slurm


@contextmanager
def _slurm_in(folder: Path) -> Iterator[Slurm]:
    for name in ("munge", "state", "spool/n0", "spool/n1"):
        (folder / name).mkdir(parents=True)
    ports = {name: free_port() for name in ("port", "port0", "port1")}
    (folder / "slurm.conf").write_text(CONFIGURATION.format(folder=folder, **ports))
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    slurm = Slurm(folder)
    files = [f"--{name}={folder / path}" for name, path in MUNGE.items()]
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        commands = [["munged", "-F", f"-S{folder}/munge/s", *files]]
        commands += [["slurmd", "-D", "-N", node] for node in ("n0", "n1")]
        started = [subprocess.Popen(commands[0], stderr=subprocess.DEVNULL)]
        stack.callback(_end, started)
        until = time.monotonic() + 20
        while not (folder / "munge" / "s").exists():
            assert time.monotonic() < until, "munged does not start"
            time.sleep(0.02)
        slurm.process = slurm.controller()
        log = stack.enter_context((folder / "slurmd.log").open("ab"))
        started += [subprocess.Popen(c, stdout=log, stderr=log) for c in commands[1:]]
        try:
            slurm.wait_until("idle idle", 60, "sinfo", "-hN", "-t", "idle", "-o", "%T")
            yield slurm
            slurm.ask("scancel", "-u", "root")
            slurm.wait_until("", 60, "squeue", "-h")
        finally:
            _end([slurm.process])


MUNGE = {
    "key-file": "munge.key",
    "pid-file": "munge/pid",
    "seed-file": "munge/seed",
    "log-file": "munge/log",
}


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in reversed(processes):
        process.terminate()
        process.wait(30)
