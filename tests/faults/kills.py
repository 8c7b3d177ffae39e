"""Kill a study at random moments and at each of its commit points, and count the harm.

Every start is a fork of this process, which has imported all that a coordinator needs; only its
workers and its tracking process are started as they always are.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.trial import TrialState

from tests.faults.oracle import Place
from tests.faults.toll import Toll
from tests.fork import fork_command, wait_for
from tuner.records import MOST_LOSSES
from tuner.search.record_json import kept_record

TRIALS = 10
TARGETS = ["target2", "target4"]
PATIENCE = 15.0
LIMIT = 180.0
"""Seconds after which a process without a coordinator is an orphan, and a start hangs."""

ONCE = (
    "tuner.run.session:open_study",
    "tuner.search.lease:Lease.take",
    "tuner.search.lease:Lease.release",
    "tuner.run.session:claim",
    "tuner.search.trials:AskTell.ask_baseline",
    "tuner.run.session:Finish.choose",
    "tuner.run.session:Finish.present",
    "tuner.run.session:Finish.export",
    "tuner.selection.finish:claim_script",
    "tuner.execution.local:LocalExecutor.close",
    "tuner.tracking.tracker:MlflowTracker.start",
    "tuner.tracking.tracker:MlflowTracker.finish",
    "tuner.tracking.mlflow_process:RemoteSession.known",
    "tuner.tracking.mlflow_process:RemoteSession.close",
)
"""Commit points that a start passes once; it passes the others once a trial or more often."""

COMMIT_POINTS = (
    *ONCE[:10],
    "tuner.search.clocks:Clocks.lacks",
    "tuner.search.trials:AskTell.ask",
    "tuner.execution.local:LocalExecutor.submit",
    "tuner.search.loop:write_record",
    "tuner.search.trials:AskTell.tell",
    "tuner.run.session:Watch.trial",
    "os:replace",
)
STORAGE_POINTS = {
    "sqlite:///tuner.db": (
        "tuner.search.trial_rows:write",
        "tuner.search.fenced_storage:FencedDatabase.write",
        "tuner.search.cached_storage:Mirror.settle",
        "optuna.storages:RDBStorage.set_study_user_attr",
    ),
    "journal:///tuner.log": ("optuna.storages.journal:JournalFileBackend.append_logs",),
}
TRACKING_POINTS = (
    *ONCE[10:],
    "tuner.tracking.tracker:MlflowTracker.log_trial",
    "tuner.tracking.mlflow_process:RemoteSession.send_all",
    "tuner.tracking.mlflow_process:RemoteSession.send",
    "tuner.tracking.mlflow_process:RemoteSession.update",
)
DATABASE = ("sqlite:///mlflow.db", "toy")
SIGNALS = {
    signal.SIGKILL: -signal.SIGKILL,
    signal.SIGINT: 130,
    signal.SIGTERM: 130,
    signal.SIGHUP: 130,
}
"""Signals to the coordinator, and the exit code that each should end in."""


@dataclass(frozen=True)
class Kill:
    """A signal to the coordinator before or after the `nth` call of a commit point."""

    point: str
    nth: int
    after: bool
    number: signal.Signals

    def arm(self) -> None:
        """Wrap the commit point in this process."""
        module, _, path = self.point.partition(":")
        holder: Any = importlib.import_module(module)
        *parents, name = path.split(".")
        for parent in parents:
            holder = getattr(holder, parent)
        wrapped, calls = getattr(holder, name), 0

        def trapped(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == self.nth and not self.after:
                os.kill(os.getpid(), self.number)
            answer = wrapped(*arguments, **options)
            if calls == self.nth and self.after:
                os.kill(os.getpid(), self.number)
            return answer

        setattr(holder, name, trapped)

    def __str__(self) -> str:
        when = "after" if self.after else "before"
        return f"{self.number.name} {when} call {self.nth} of {self.point}"


@dataclass
class Killed:
    """One study in a folder of its own, started as often as it takes.

    Attributes
    ----------
    toll : Toll
        What has been seen so far.
    """

    folder: Path
    storage: str = "sqlite:///tuner.db"
    tracking: tuple[str, str] | None = None
    workers: int = 2
    seed: int = 0
    name: str = "study"
    script: str = "best.py"
    executor: Mapping[str, object] = field(default_factory=lambda: {"kind": "local"})
    wanted: int = TRIALS
    seconds: float = 0.02
    toll: Toll = field(default_factory=Toll)

    def __post_init__(self) -> None:
        self.place = Place(self.folder)
        self._kept: dict[int, tuple[Any, ...]] = {}
        self._excused: Counter[float] = Counter()
        self.folder.mkdir(parents=True)
        log = self.folder / "ran.jsonl"
        data = {"targets": [2.0, 4.0], "seconds": self.seconds, "log": str(log.resolve())}
        sections = {
            "plugin": "toy",
            "study": {
                "name": self.name,
                "trials": self.wanted,
                "storage": self.storage,
                "seed": self.seed,
                "sampler": "random",
            },
            "data": data,
            "search_space": {"x": {}, "size": {"low": 1, "high": 2}},
            "objective": "fit",
            "workers": self.workers,
            "executor": dict(self.executor),
            "timing": {"repeats": 1, "finalists": 0},
            "tracking": {"enabled": False},
            "export": {"path": self.script},
        }
        if self.tracking is not None:
            uri, experiment = self.tracking
            sections["tracking"] = {"uri": uri, "experiment": experiment}
        (self.folder / "study.yaml").write_text(yaml.safe_dump(sections))

    # -- one start --------------------------------------------------------------------------------

    def start(
        self,
        arm: Callable[[], object] = lambda: None,
        command: Sequence[str] = ("run", "study.yaml", "--json"),
    ) -> int:
        """Start a command; `arm` is called in it before the command line is."""
        return fork_command(
            *command,
            folder=self.folder,
            output=("out.txt", "err.txt"),
            environment={**os.environ, **self.place.environment},
            prepare=arm,
        )

    def wait(self, child: int, limit: float = LIMIT) -> int | None:
        """Return the exit code, negative for a signal; None, and kill it, where it hangs."""
        code = wait_for(child, limit)
        if code is None:
            self.toll.harm("hung", f"{self.folder}: no end within {limit:g} s")
        return code

    def strike(self, kill: Kill) -> bool:
        """Start the study with a kill armed; return whether it came to that."""
        code = self.wait(self.start(kill.arm))
        return self._struck(code, kill.number, str(kill))

    def strike_at(self, seconds: float, number: signal.Signals) -> bool:
        """Start the study and send its coordinator a signal after `seconds`."""
        said = self.folder / "err.txt"
        said.unlink(missing_ok=True)  # what an earlier start said
        child = self.start()
        until = time.monotonic() + LIMIT
        while number != signal.SIGKILL and not (said.exists() and said.stat().st_size):
            assert time.monotonic() < until  # before it says anything it has no handler yet
            time.sleep(0.01)
        time.sleep(seconds)
        os.kill(child, number)
        return self._struck(self.wait(child), number, f"{number.name} after {seconds:.2f} s")

    def strike_process(self, words: str, seconds: float, number: signal.Signals) -> bool:
        """Send a process of the study whose command line has `words` a signal; it goes on."""
        child, struck = self.start(), False
        until = time.monotonic() + 10
        time.sleep(seconds)
        while not struck and time.monotonic() < until:
            found = [line for line in self.place.living() if words in line]
            if found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(found[-1].partition(":")[0]), number)
                    struck = True
            time.sleep(0.01)
        code = self.wait(child)
        what = f"{number.name} to {words}"
        self.look(what)
        self.toll.injected += struck
        if code is not None:
            trials = self.trials()
            self.check(code, trials, failed=1)  # what the killed worker ran
            self._check_leftovers()
            self._check_store(trials)
        return struck

    def _struck(self, code: int | None, number: signal.Signals, what: str) -> bool:
        self.look(what)
        if code in (0, None):  # it came to its end first, or hung
            return False
        self.toll.injected += 1
        if code != SIGNALS[number]:
            wrong = f"{self.folder}: {what}: exit code {code}, expected {SIGNALS[number]}"
            self.toll.harm("misreported", wrong + self.said())
        return True

    def said(self) -> str:
        """Return the end of what the last start wrote to standard error."""
        return f": {self.errors()[-400:]!r}"

    def errors(self) -> str:
        """Return what the last start has written to standard error."""
        return (self.folder / "err.txt").read_text(errors="replace")

    # -- looking ----------------------------------------------------------------------------------

    def trials(self) -> Sequence[optuna.trial.FrozenTrial]:
        """Return the trials in the storage; none where there is no study yet."""
        scheme, is_file, name = self.storage.partition(":///")
        if is_file and not (self.folder / name).exists():
            return []
        url = f"{scheme}:///{self.folder / name}" if is_file else self.storage
        from tuner.plugin import InputError
        from tuner.search.storage import open_storage

        try:
            study = optuna.load_study(study_name=self.name, storage=open_storage(url))
        except (KeyError, InputError):
            return []
        trials = study.get_trials(deepcopy=False)
        if isinstance(study._storage, optuna.storages._CachedStorage):
            study._storage._backend.engine.dispose()
        return trials

    def look(self, what: str) -> None:
        """Compare the storage with what it held after the last start; look for orphans."""
        until = time.monotonic() + PATIENCE
        while (living := self.place.living()) and time.monotonic() < until:
            time.sleep(0.05)
        self.toll.harm("orphans", f"{self.folder}: {what}: {living}", len(living))
        self.place.kill()
        kept = {}
        for trial in self.trials():
            if trial.state == TrialState.RUNNING and "tuner:record" not in trial.user_attrs:
                # and what this start has told of, but could not record any more
                lost = self.errors().count(f": trial {trial.number} begins again")
                self._excused[trial.params.get("x", 0.0)] += 1 + lost
            elif trial.state.is_finished():
                kept[trial.number] = (trial.state, tuple(trial.params.items()), trial.values)
        gone = [number for number, held in self._kept.items() if kept.get(number) != held]
        self.toll.harm("lost", f"{self.folder}: {what}: trials {gone}", len(gone))
        self._kept = kept

    def finish(self) -> Toll:
        """Run the study to its end, and hold every account of it against the others."""
        code = self.wait(self.start())
        if code is None:
            return self.toll
        self.look("the last start")
        trials = self.trials()
        self.check(code, trials)
        self._check_repeats(trials)
        self._check_leftovers()
        self._check_store(trials)
        return self.toll

    def check(self, code: int, trials: Sequence[optuna.trial.FrozenTrial], failed: int = 0) -> None:
        """Hold exit code, printout, storage and script against each other."""
        wrong = self.toll.harm
        stuck = [trial.number for trial in trials if not trial.state.is_finished()]
        wrong("stuck", f"{self.folder}: trials {stuck}", len(stuck))
        lost = [t.number for t in trials if t.state == TrialState.FAIL and losses(t) < MOST_LOSSES]
        wrong("misreported", f"{self.folder}: failed: {lost}", max(0, len(lost) - failed))
        trials = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        drawn = {tuple(trial.params.items()) for trial in trials}
        wrong("repeated", f"{self.folder}: params drawn twice", len(trials) - len(drawn))
        if code != 0 or len(trials) != self.wanted:
            wrong("misreported", f"{self.folder}: exit {code}, {len(trials)} trials{self.said()}")
            return
        result = json.loads((self.folder / "out.txt").read_text())
        best = max(trials, key=lambda trial: trial.values[0])
        told = (result["trials"]["complete"], result["best"]["number"])
        if told != (stored := (self.wanted, best.number)):
            wrong("misreported", f"{self.folder}: told {told}, stored {stored}")
        script = subprocess.run(
            [sys.executable, "-S", self.script], cwd=self.folder, capture_output=True, text=True
        )
        x = json.loads(script.stdout or "{}").get("x")
        if x != best.params["x"]:
            wrong("misreported", f"{self.folder}: script has {x}, best is {best.params['x']}")

    def _check_repeats(self, trials: Sequence[optuna.trial.FrozenTrial]) -> None:
        """Count the runs of each trial: one, and one more for each kill that hit it running.

        Or hit the Dask worker that had it: the record tells of that.

        A case that a process ran again at once was disturbed, and is measured again.
        """
        if not trials:
            return
        ran, before = Counter[float](), dict[int, object]()
        for line in map(json.loads, (self.folder / "ran.jsonl").read_text().splitlines()):
            ran[line["x"]] += line["case"] == TARGETS[0] and before.get(line["pid"]) != line
            before[line["pid"]] = line
        values = {trial.params["x"]: trial.value for trial in trials if trial.value is not None}
        best = max(values, key=values.__getitem__, default=None)
        for trial in trials:
            if (x := trial.params["x"]) not in (0.0, best):  # these are timed and drawn
                more = ran[x] - 1 - self._excused[x] - losses(trial)
                told = f"trial {trial.number}, x {x}: {ran[x]} runs, {losses(trial)} losses"
                self.toll.harm("repeated", f"{self.folder}: {told}", max(0, more))

    def _check_leftovers(self) -> None:
        known = {"study.yaml", "out", "out.txt", "err.txt", "tmp", "ran.jsonl", "best.py"}
        known |= {"tuner.db", "tuner.log", "mlflow.db", "mlartifacts", "mlruns", "plots", "disk"}
        found = [path.name for path in self.folder.iterdir() if path.name not in known]
        locks = f"tuner-{os.getuid()}"
        shared = {locks, "dask-scratch-space"}  # whose folders Dask removes with the next worker
        found += [path.name for path in self.place.temporary.iterdir() if path.name not in shared]
        found += [line for line in self.place.leftovers() if line.startswith("lock")]
        found += [str(path) for path in self.folder.glob("out/unsent/*")]
        self.toll.harm("leftovers", f"{self.folder}: {found}", len(found))

    def _check_store(self, trials: Sequence[optuna.trial.FrozenTrial]) -> None:
        uri, _ = self.tracking or ("", "")
        if not uri.startswith("sqlite"):
            return
        from mlflow import MlflowClient

        client = MlflowClient(f"sqlite:///{self.folder}/{uri.removeprefix('sqlite:///')}")
        experiment = client.get_experiment_by_name("toy")
        runs = client.search_runs([experiment.experiment_id]) if experiment else []
        children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
        states = {run.info.status for run in runs}
        if (len(children), len(runs), states) != (len(trials), len(trials) + 1, {"FINISHED"}):
            self.toll.harm(
                "misreported", f"{self.folder}: {len(runs)} runs {states}, {len(trials)} trials"
            )


def losses(trial: optuna.trial.FrozenTrial) -> int:
    """Return how many Dask workers were lost under a trial."""
    record = kept_record(trial)
    return record.losses if record else 0


def kills_of_coordinators(folder: Path, seed: int, studies: int, tracked: bool = False) -> Toll:
    """Kill the coordinators of some studies, again and again; most of it at commit points."""
    chance, toll = random.Random(seed), Toll()
    for number in range(studies):
        storage = "sqlite:///tuner.db" if number % 3 or tracked else "journal:///tuner.log"
        where = DATABASE if tracked else None
        study = Killed(folder / f"kills-{seed}-{number}", storage, where, seed=seed + number)
        points = TRACKING_POINTS if tracked else COMMIT_POINTS + 3 * STORAGE_POINTS[storage]
        kill_coordinator(study, points, chance)
        toll.add(study.finish())
    return toll


def kill_coordinator(
    study: Killed, points: Sequence[str], chance: random.Random, times: int = 6
) -> None:
    """Kill or interrupt a study's coordinator that often, unless it is complete before."""
    for _ in range(times):
        which = chance.choices(list(SIGNALS), [5, 1, 1, 1])[0]
        if chance.random() < 0.7:
            point = chance.choice(points)
            nth = 1 if point in ONCE else chance.randint(1, 3)
            struck = study.strike(Kill(point, nth, chance.random() < 0.5, which))
        else:
            struck = study.strike_at(chance.uniform(0.0, 2.0), which)
        if not struck:
            break


def kills_of_parts(folder: Path, seed: int, studies: int, tracked: bool = False) -> Toll:
    """Kill workers, or the tracking process; the study goes on and misses nothing."""
    chance, toll = random.Random(seed), Toll()
    words = "tuner.tracking.mlflow_process" if tracked else "tuner.execution.worker"
    for number in range(studies):
        where = DATABASE if tracked else None
        study = Killed(folder / f"parts-{seed}-{number}", tracking=where, seed=seed + number)
        study.strike_process(words, chance.uniform(0.0, 1.0), signal.SIGKILL)
        toll.add(study.toll)
    return toll
