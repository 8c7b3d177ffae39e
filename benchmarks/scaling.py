"""Trials on 1, 2, 4 workers against the ideal, the coordinator's own CPU, and 1,000 workers.

    python -m benchmarks.scaling [--only WORDS] [--trials N] [--quick N] [--jobs N]

speed-up    16 trials that sleep for a second, on 1, 2 and 4 workers. ``of ideal``: the seconds that
            they take at the least, through those from the first trial's end to the last one's.
            ``start``: seconds until the search begins. Dask workers have locks of their own, as if
            each were alone on its host: on one host as many trials run at a time as it has cores.
CPU         Of the coordinator's process alone (its threads, no child), for trials that take no
            time: milliseconds per trial over the second half of the trials. ``dask, own``: it has
            started scheduler and workers itself, and the scheduler's CPU stands beside its own;
            ``dask, apart``: they were there. Trials are drawn at random, kept in SQLite in memory
            where there is /dev/shm, not tracked.
messages    The executor alone, at 1 and at 1,000 workers: a client in place of Dask's does each
            task at once, a job on every worker is under way. CPU per job, and their ratio.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import psutil

from benchmarks.overhead import MEMORY, ROOT, Moments
from benchmarks.overhead_plugin import install
from benchmarks.scaling_messages import messages
from tuner.measure.cores import LOCKS

SECONDS = 1.0
WORKERS = (1, 2, 4)
DASK = [sys.executable, "-m"]


class Follow(Moments):
    """Notes the CPU seconds that this process has used by half of the trials and by all of them.

    And when all began. To ask for them takes a millisecond where threads are many.
    """

    def __init__(self, trials: int) -> None:
        super().__init__()
        self.marks = trials // 2, trials
        self.begun = time.perf_counter()
        self.searching = 0.0
        self.cpu: list[float] = []
        self.beside: list[float] = []

    def trial(self, record: object, best: object) -> None:
        """Note the moment and, twice, the CPU time."""
        super().trial(record, best)
        if len(self.trials) in self.marks:
            self.cpu.append(time.process_time())
            self.beside.append(scheduler_time())

    def phase(self, name: str, detail: str = "") -> None:
        """Note when the search begins."""
        if name == "searching" and not self.searching:
            self.searching = time.perf_counter()


def scheduler_time() -> float:
    """Return the CPU seconds of the Dask scheduler below this process; 0 where there is none."""
    below = psutil.Process().children(recursive=True)
    schedulers = [each for each in below if "distributed.cli.dask_scheduler" in each.cmdline()]
    return sum(sum(each.cpu_times()[:2]) for each in schedulers)


def run_here(trials: int, seconds: float, workers: int, executor: Mapping[str, Any]) -> Any:
    """Run a study in this process and folder; return what was noted."""
    from tuner.config.load import load_config
    from tuner.run import session

    install(Path.cwd())
    config = {
        "plugin": "nothing",
        "study": {"trials": trials, "storage": "sqlite:///study.db", "sampler": "random"},
        "data": {"seconds": seconds},
        "search_space": {"x": {"low": -5.0, "high": 5.0}},
        "objective": "value",
        "workers": workers,
        "executor": executor,
        "timing": {"finalists": 0, "nulls": 0, "repeats": 1},
        "tracking": {"enabled": False},
    }
    Path("study.yaml").write_text(json.dumps(config))
    follow = Follow(trials)
    session.run(load_config(Path("study.yaml")), follow, lambda: False)
    cpu, beside = (1000 * (b - a) / (trials - trials // 2) for a, b in (follow.cpu, follow.beside))
    return {
        "start": follow.searching - follow.begun,
        "wall": follow.trials[-1] - follow.trials[0],
        "ideal": SECONDS * (math.ceil(trials / workers) - 1),
        "cpu": cpu,
        "beside": beside,
    }


def one(trials: int, seconds: float, workers: int, executor: Mapping[str, Any]) -> Any:
    """Run a study in a process and a folder of its own; no other study has its locks."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        given = json.dumps([trials, seconds, workers, executor])
        done = subprocess.run(
            [*DASK, "benchmarks.scaling", "--here", given],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": paths, LOCKS: folder},
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
    return json.loads(done.stdout.splitlines()[-1])


def speed_up(trials: int) -> None:
    """Print how the time of trials falls with workers."""
    for kind in ("local", "dask"):
        for workers in WORKERS:
            if kind == "local" and workers > (os.cpu_count() or 1):
                continue
            with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
                executor = {"kind": kind}
                if kind == "dask":
                    executor["address"] = stack.enter_context(hosts(Path(folder), workers))
                row = one(trials, SECONDS, workers, executor)
            share = 100 * row["ideal"] / row["wall"]
            print(
                f"{kind:12} {workers} workers: {trials} trials of {SECONDS:g} s in "
                f"{row['wall']:5.2f} s, {share:5.1f} % of ideal; start {row['start']:.1f} s",
                flush=True,
            )


def coordinator(quick: int) -> None:
    """Print the coordinator's own CPU time for trials that take none."""
    print(f"{'local':12} {one(quick, 0.0, 2, {'kind': 'local'})['cpu']:5.2f} ms of CPU a trial")
    row = one(quick, 0.0, 2, {"kind": "dask", "workers": 2})
    beside = f"beside it the scheduler: {row['beside']:.2f} ms"
    print(f"{'dask, own':12} {row['cpu']:5.2f} ms of CPU a trial; {beside}", flush=True)
    with tempfile.TemporaryDirectory() as folder, hosts(Path(folder), 2) as address:
        row = one(quick, 0.0, 2, {"kind": "dask", "address": address})
    print(f"{'dask, apart':12} {row['cpu']:5.2f} ms of CPU a trial", flush=True)


@contextlib.contextmanager
def hosts(folder: Path, count: int) -> Iterator[str]:
    """Start a scheduler and workers as on hosts of their own; yield its address when all are up."""
    from distributed import Client

    before = dict(os.environ), list(sys.path)
    install(folder)
    paths = os.pathsep.join([os.environ["PYTHONPATH"], str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": paths}
    os.environ.clear()
    os.environ.update(before[0])
    sys.path[:] = before[1]
    scheduler = ["distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--no-dashboard"]
    scheduler += ["--port", "0", "--scheduler-file", str(folder / "scheduler.json")]
    worker = ["distributed.cli.dask_worker", "--nthreads", "1", "--memory-limit", "0"]
    worker += ["--no-dashboard", "--scheduler-file", str(folder / "scheduler.json")]
    with (folder / "log").open("wb") as log:
        started = []
        try:
            for number, command in enumerate([scheduler, *[worker] * count]):
                own = folder / f"host {number}"
                own.mkdir()
                settings: dict[str, Any] = {"env": {**environment, LOCKS: str(own)}, "cwd": own}
                process = subprocess.Popen([*DASK, *command], stdout=log, stderr=log, **settings)
                started.append(process)
                while not (folder / "scheduler.json").exists():
                    assert process.poll() is None, (folder / "log").read_text()
                    time.sleep(0.1)
            address = str(json.loads((folder / "scheduler.json").read_text())["address"])
            with Client(address, set_as_default=False) as client:
                client.wait_for_workers(count, timeout=120)
            yield address
        finally:
            for process in reversed(started):
                process.terminate()
                process.wait(60)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="parts whose name contains this")
    parser.add_argument("--trials", type=int, default=16, help="of a second each")
    parser.add_argument("--quick", type=int, default=400, help="trials that take no time")
    parser.add_argument("--jobs", type=int, default=3000, help="whose messages are handled")
    parser.add_argument("--here", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if given.here:
        trials, seconds, workers, executor = json.loads(given.here)
        print(json.dumps(run_here(trials, seconds, workers, executor)))
    else:
        parts = {
            "speed-up": lambda: speed_up(given.trials),
            "CPU": lambda: coordinator(given.quick),
            "messages": lambda: messages(given.jobs),
        }
        for name, part in parts.items():
            if given.only in name:
                part()


if __name__ == "__main__":
    main()
