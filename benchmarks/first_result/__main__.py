"""From an empty environment to the first result on data of one's own: steps, lines, seconds.

    python -m benchmarks.first_result [--task TASK] [--way WAY] [--folder FOLDER]

Three tasks (bigWig tracks, an .h5ad screen, a program), each by tuner, by Optuna and MLflow, and by
Hydra's Optuna sweeper and MLflow, each in a fresh environment and in a folder for each task. The
table is Markdown. Files and lines are what a user writes, without blank lines, comments and
docstrings; not what all are given: data, a program and its measure. Both others need the method as
well, here by scikit-learn (``method``), which tuner's plug-ins bring. Steps are commands. Seconds
are those of a processor, which other work on the machine changes little: with pip's cache, and with
nothing compiled.

What the result holds is looked up in what was left, and by giving the main command once more.

trials     trials that are complete, and after the same command again: as many where it resumes
held out   a figure on data that were not tuned on is printed
noise      the best was timed again, or stands beside a null
script     a script with the best params was written
tracked    runs in MLflow

Needs a network; pyBigWig and anndata, for the data, here.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
TASKS = ("tracks", "screen", "program")
METHOD = "pyBigWig anndata scikit-learn"
PACKAGES = {
    "tuner": f"{PROJECT}[nmf,elasticnet]",
    "optuna_mlflow": f"optuna mlflow {METHOD}",
    # the sweeper takes Optuna 2 alone, which works with neither of the newest ones of these
    "hydra": f"hydra-core hydra-optuna-sweeper mlflow {METHOD} sqlalchemy<2 alembic<1.14",
}
STEPS = {
    "tuner": {
        "tracks": ["tuner init tracks -o tracks.yaml", "tuner run tracks.yaml"],
        "screen": ["tuner init screen.h5ad", "tuner run screen.yaml"],
        "program": ["tuner run program.yaml"],
    },
    "optuna_mlflow": {task: [f"python tune_{task}.py"] for task in TASKS},
    "hydra": {
        task: [
            f"python tune_{task}.py --multirun",
            f"python tune_{task}.py held_out=true {{best}}",
        ]
        for task in TASKS
    },
}
HEAD = (
    "| task | by | files | lines | steps | seconds | trials | held out | noise | script | tracked |"
)
NOISE = "p of the null|luck|permutation|timed again|times again"


def written(way: str, task: str) -> list[Path]:
    """Return the files that a user writes."""
    own = sorted(path for path in (HERE / way).iterdir() if path.stem in (task, f"tune_{task}"))
    return own if way == "tuner" else [*own, HERE / "method" / f"{task}.py"]


def lines(path: Path) -> int:
    """Return the number of lines of a file that say something."""
    found = (line.strip() for line in path.read_text().splitlines())
    return sum(bool(line) and not line.startswith(("#", '"""')) for line in found)


def trials(folder: Path) -> int:
    """Return the number of trials that Optuna's storage has as complete."""
    (path,) = (path for name in ("tuner.db", "optuna.db") for path in folder.glob(name))
    with sqlite3.connect(path) as storage:
        (count,) = storage.execute("select count(*) from trials where state = 'COMPLETE'")
    return int(count[0])


def runs(folder: Path) -> int:
    """Return the number of MLflow's runs."""
    with sqlite3.connect(folder / "mlflow.db") as store:
        (count,) = store.execute("select count(*) from runs where lifecycle_stage = 'active'")
    return int(count[0])


def best(folder: Path) -> str:
    """Return the best params as Hydra wants them on its command line."""
    (path,) = folder.glob("multirun/*/*/optimization_results.yaml")
    found = yaml.safe_load(path.read_text())["best_params"]
    return " ".join(f"{name}={value}" for name, value in found.items())


def processor_time() -> float:
    """Return the seconds that ended children have taken of processors."""
    taken = resource.getrusage(resource.RUSAGE_CHILDREN)
    return taken.ru_utime + taken.ru_stime


class Home:
    """A user's folder, and an environment for it."""

    def __init__(self, folder: Path, environment: Path) -> None:
        self.folder = folder
        cache = subprocess.check_output([sys.executable, "-m", "pip", "cache", "dir"], text=True)
        self._environment = {
            **os.environ,
            "PATH": f"{environment / 'bin'}:{os.environ['PATH']}",
            "PIP_CACHE_DIR": cache.strip(),
            "XDG_CACHE_HOME": str(folder / "cache"),  # nothing compiled is there yet
        }

    def do(self, step: str) -> tuple[float, str]:
        """Return the processor time and the words of a command; the environment is active."""
        begin = processor_time()
        done = subprocess.run(
            shlex.split(step),
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        seconds = processor_time() - begin
        with (self.folder / "log.txt").open("a") as log:
            log.write(f"$ {step}  # {seconds:.1f} s\n{done.stdout}\n")
        if done.returncode:
            sys.exit(f"{step}: exit code {done.returncode}; see {log.name}")
        return seconds, done.stdout


def installed(way: str, top: Path) -> tuple[Path, float]:
    """Make the environment of a way; return it, and its processor time."""
    environment = top / f"env-{way}"
    making = [f"{sys.executable} -m venv {environment}", f"pip install -q {PACKAGES[way]}"]
    home = Home(top, environment)
    return environment, sum(home.do(step)[0] for step in making)


def first_result(way: str, task: str, home: Home) -> list[str]:
    """Do a task; return the row of the table, but for the environment."""
    files = written(way, task)
    for path in files:
        shutil.copy(path, home.folder)
    given = {path.name for path in home.folder.glob("*.py")}
    seconds, said = 0.0, ""
    for step in STEPS[way][task]:
        took, more = home.do(step.format(best=best(home.folder)) if "{best}" in step else step)
        seconds, said = seconds + took, said + more
    before, tracked = trials(home.folder), runs(home.folder)
    scripts = {path.name for path in home.folder.glob("*.py")} - given
    home.do(next(step for step in STEPS[way][task] if "init" not in step))
    return [
        str(len(files)),
        str(sum(map(lines, files))),
        str(len(STEPS[way][task])),
        f"{seconds:.0f}",
        f"{before}, then {trials(home.folder)}",
        yes("held out" in said and "no case was held out" not in said),
        yes(re.search(NOISE, said)),
        yes(scripts),
        str(tracked),
    ]


def yes(found: object) -> str:
    """Return what the table says of something that is there or not."""
    return "yes" if found else "no"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=TASKS, action="append")
    parser.add_argument("--way", choices=list(STEPS), action="append")
    parser.add_argument("--folder", type=Path, help="kept; by default a temporary one")
    told = parser.parse_args()
    top = told.folder or Path(tempfile.mkdtemp(prefix="first-result-"))
    print(HEAD + "\n|" + "---|" * (HEAD.count("|") - 1))
    for way in told.way or STEPS:
        environment, seconds = installed(way, top)
        print(f"| the environment | {way} | | | 2 | {seconds:.0f} | | | | | |", flush=True)
        for task in told.task or TASKS:
            folder = top / f"{task}-{way}"
            shutil.copytree(HERE / "given", folder, ignore=shutil.ignore_patterns("data.py"))
            subprocess.run([sys.executable, HERE / "given" / "data.py", folder], check=True)
            row = [task, way, *first_result(way, task, Home(folder, environment))]
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
