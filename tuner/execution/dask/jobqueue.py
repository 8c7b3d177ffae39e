"""Workers as jobs of a batch system: Slurm, PBS, LSF or SGE, by dask-jobqueue."""

from __future__ import annotations

import logging
import math
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, ClassVar

import dask
from dask_jobqueue.lsf import LSFCluster
from dask_jobqueue.pbs import PBSCluster
from dask_jobqueue.sge import SGECluster
from dask_jobqueue.slurm import SLURMCluster
from pydantic import BaseModel, ConfigDict, Field

from tuner.execution.dask.cluster import AGAIN, ENVIRONMENT, NO_PAGES, OwnCluster, own_ip
from tuner.execution.dask.executor import ClusterExecutor
from tuner.execution.jobs import Setup
from tuner.plugin import InputError

CLOSE = 10.0

REPLACED = {"distributed.deploy.lost-worker-timeout": "1s"}
"""When a job that has ended is replaced: Dask waits longer, for workers that connect again."""

BATCH = """\
#!/bin/bash
{directives}
# The study, and Dask workers by srun. When the time is nearly up, or a node fails, the job goes
# back to the queue, and the study is resumed.
cd {folder} || exit 2
{prologue}
{command} &
study=$!
trap 'ending=1; kill -TERM $study' TERM
wait $study
code=$?
while kill -0 $study 2>/dev/null; do  # a signal ends a wait early
    wait $study
    code=$?
done
if [ -n "$ending" ] && [ $code -eq 130 ]; then  # scancel sends the same signal
    squeue --noheader --job "$SLURM_JOB_ID" --states RUNNING --format %A | grep -q . &&
        scontrol requeue "$SLURM_JOB_ID"
fi
exit $code
"""
"""Ends by itself `WARNED` seconds before the time is up."""

WARNED = 120


class QueueOptions(BaseModel):
    """What to ask a batch system for.

    Attributes
    ----------
    queue, account : str, optional
        Partition or queue; whose account pays.
    cores, memory, walltime : int, str, str
        Of each job. It has as many slots as trials of `limits.threads` threads find room in.
    jobs : int
        Jobs at a time; one that ends is replaced.
    extra : list of str
        Further directives, such as ``--constraint=avx512``.
    prologue : list of str
        Lines of shell before a worker starts, such as ``module load gcc``.
    interface : str, optional
        Network over which hosts reach each other, such as ``ib0``.
    inside : bool
        Start the workers with ``srun`` in the allocation that this process runs in; `tuner slurm`
        says so.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    queue: str | None = None
    account: str | None = None
    cores: Annotated[int, Field(ge=1)] = 1
    memory: str = "4GB"
    walltime: Annotated[str, Field(pattern=r"^\d[\d:-]*$")] = "01:00:00"
    jobs: Annotated[int, Field(ge=1)] = 1
    extra: tuple[str, ...] = ()
    prologue: tuple[str, ...] = ()
    interface: str | None = None
    inside: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of a job."""
        return int(dask.utils.parse_bytes(self.memory))

    def slots(self, threads: int) -> int:
        """Return the workers of a job: trials of so many threads."""
        return max(1, self.cores // threads)


class QueueCluster:
    """A scheduler in this process, whose workers are jobs.

    Parameters
    ----------
    kind : type
        A cluster of dask-jobqueue.
    arguments : mapping
        Its arguments.
    jobs : int
        Jobs at a time.
    """

    remedy = AGAIN

    def __init__(self, kind: Any, arguments: Mapping[str, Any], jobs: int) -> None:
        dask.config.set(REPLACED)
        self._has_started = False
        self._refusal: str | None = None
        heard = type(kind.__name__, (kind,), {"job_cls": self._heard(kind.job_cls)})
        self._cluster = heard(
            security=True,
            shared_temp_directory=str(Path.cwd()),  # for the certificate
            silence_logs=logging.CRITICAL,
            scheduler_options={"dashboard_address": "127.0.0.1:0"},
            **arguments,
        )
        self.address = str(self._cluster.scheduler_address)
        self.security = self._cluster.security
        self._adaptive = self._cluster.adapt(minimum_jobs=jobs, maximum_jobs=jobs)

    def _heard(self, job: Any) -> type[Any]:
        """Return a kind of jobs of which we hear whether they are taken: Dask tries again only."""

        async def start(each: Any) -> None:
            try:
                await job.start(each)
                self._has_started = True
            except RuntimeError as error:
                lines = [line for line in str(error).splitlines() if line.strip()]
                self._refusal = lines[-1] if lines else "it refuses the job"
                raise

        return type(job.__name__, (job,), {"start": start})

    def why_gone(self) -> str | None:
        """Return why the first job was refused; a later one that ends is replaced."""
        return None if self._has_started else self._refusal

    def close(self) -> None:
        """Cancel the jobs, end the scheduler."""
        with suppress(AssertionError):  # Dask's own, where a job was refused
            self._cluster.close(timeout=CLOSE)


class QueueExecutor(ClusterExecutor):
    """Runs trials in jobs of a batch system; a subclass says of which.

    Parameters
    ----------
    setup, slots, case_seconds, memory
        As of `tuner.execution.local.LocalExecutor`; `slots` is not used.
    options : QueueOptions
    """

    Options: ClassVar = QueueOptions
    cluster: ClassVar[Any]
    account: ClassVar[str] = "account"

    def __init__(
        self,
        setup: Setup,
        slots: int,
        case_seconds: float,
        memory: int | None = None,
        *,
        options: QueueOptions,
    ) -> None:
        if options.inside:
            raise InputError(f"'inside' is for kind: slurm, not {type(self).__name__}")
        arguments = self.arguments(options, setup.threads)
        cluster = QueueCluster(self.cluster, arguments, options.jobs)
        super().__init__(setup, case_seconds, memory, cluster)

    @classmethod
    def probe(cls, options: QueueOptions) -> None:
        """Raise `InputError` where no job can be submitted from here."""
        command = cls.cluster.job_cls.submit_command.split()[0]
        if shutil.which(command) is None:
            raise InputError(
                f"there is no {command} here; run this on a host that can submit jobs, or take "
                "kind: dask with the address of a scheduler"
            )

    @classmethod
    def arguments(cls, options: QueueOptions, threads: int) -> dict[str, Any]:
        """Return what dask-jobqueue is told."""
        workers = options.slots(threads)
        return {
            "queue": options.queue,
            cls.account: options.account,
            "cores": options.cores,
            "processes": workers,
            "memory": options.memory,
            "walltime": options.walltime,
            "interface": options.interface,
            "job_name": "tuner",
            "python": sys.executable,
            "job_extra_directives": list(options.extra),
            "job_script_prologue": [
                *(f"export {name}={value}" for name, value in ENVIRONMENT.items()),
                *options.prologue,
            ],
            "worker_extra_args": list(NO_PAGES),
        }

    @classmethod
    def job_script(cls, options: QueueOptions, threads: int) -> str:
        """Return the script that is submitted for each job, without the scheduler's address."""
        arguments = cls.arguments(options, threads)
        job = cls.cluster.job_cls(scheduler="tls://SCHEDULER", name="tuner-0", **arguments)
        return str(job.job_script())


class SlurmExecutor(QueueExecutor):
    """Runs trials in jobs of Slurm, or in the allocation that it runs in itself."""

    cluster = SLURMCluster

    def __init__(
        self,
        setup: Setup,
        slots: int,
        case_seconds: float,
        memory: int | None = None,
        *,
        options: QueueOptions,
    ) -> None:
        if not options.inside:
            super().__init__(setup, slots, case_seconds, memory, options=options)
            return
        tasks = ("--ntasks", str(options.jobs), "--cpus-per-task", str(options.cores))
        workers = options.slots(setup.threads)
        cluster = OwnCluster(
            workers,
            str(options.nbytes // workers),
            ("srun", "--kill-on-bad-exit=0", "--no-kill", *tasks),
            own_ip(options.interface),
        )
        ClusterExecutor.__init__(self, setup, case_seconds, memory, cluster)

    @classmethod
    def batch_script(cls, options: QueueOptions, name: str, command: Sequence[str]) -> str:
        """Return the file for ``sbatch`` in which `command` runs beside all of its workers."""
        mebibytes = math.ceil(options.nbytes / options.cores / 2**20)
        directives = [
            f"--job-name={name}",
            *([f"--partition={options.queue}"] if options.queue else []),
            *([f"--account={options.account}"] if options.account else []),
            f"--ntasks={options.jobs}",
            f"--cpus-per-task={options.cores}",
            f"--mem-per-cpu={mebibytes}M",
            f"--time={options.walltime}",
            f"--signal=B:TERM@{WARNED}",
            "--requeue",
            "--open-mode=append",
            *options.extra,
        ]
        return BATCH.format(
            directives="\n".join(f"#SBATCH {each}" for each in directives),
            folder=shlex.quote(str(Path.cwd())),
            prologue="\n".join(options.prologue),
            command=shlex.join(command),
        )


class PbsExecutor(QueueExecutor):
    """Runs trials in jobs of PBS."""

    cluster = PBSCluster


class LsfExecutor(QueueExecutor):
    """Runs trials in jobs of LSF."""

    cluster = LSFCluster
    account = "project"


class SgeExecutor(QueueExecutor):
    """Runs trials in jobs of SGE (Grid Engine)."""

    cluster = SGECluster
    account = "project"
