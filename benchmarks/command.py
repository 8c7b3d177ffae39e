"""What it costs to tune a program that does nothing, beside hyperfine: ``true``.

    python -m benchmarks.command [--runs N] [--rounds N] [--trials N]

Blocks of runs of both, in turns. Milliseconds, least and median over all runs; the ratio is ours
over hyperfine's.

clock   what the clock says of a run: hyperfine's own figures (``-N``, no shell), and ours.
own     the same without what others on the machine took, which is what a study goes by; hyperfine
        knows wall time alone.
run     wall time of a whole run: hyperfine's process over its runs, less that of a short one; our
        plug-in's ``run``, with a folder made and removed for each.
trial   wall time of a whole trial of ``tuner run``: drawn, run, scored, stored; untracked.
        hyperfine has nothing of the kind: its ratio is to a run of hyperfine's.

The least is what the machine can do; medians hold what else runs on it. hyperfine must be
installed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import optuna
from tuner_plugins.command.plugin import CommandPlugin
from tuner_plugins.command.runs import Runs

from tuner.measure.stopwatch import Timed

CONFIG: dict[str, Any] = {
    "study": {"name": "true", "sampler": "random"},
    "plugin": "command",
    "data": {"command": ["true", "{x}"], "cases": [{"name": "nothing"}]},
    "search_space": {"x": {"low": 0, "high": 10**9}},
    "objective": "time",
    "timing": {"finalists": 0, "repeats": 1},
    "tracking": {"enabled": False},
}
Times = list[float]


def hyperfine(runs: int) -> tuple[Times, float]:
    """Return the seconds of each run, and of the whole process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "times.json"
        line = [
            "hyperfine",
            "-N",
            "--style",
            "none",
            "--runs",
            str(runs),
            "--export-json",
            str(path),
        ]
        begin = time.perf_counter()
        subprocess.run([*line, "true 1"], check=True, stderr=subprocess.DEVNULL)
        whole = time.perf_counter() - begin
        return json.loads(path.read_text())["results"][0]["times"], whole


def ours(runner: Runs, runs: int) -> tuple[Times, Times, Times]:
    """Return the seconds of each run by our clock, its own among them, and of the whole of it."""
    clock, own, whole = [], [], []
    for _ in range(runs):
        begin = time.perf_counter()
        took = runner.run({"name": "nothing"}, {"x": 1}, 0).finished
        clock.append(took.seconds)
        own.append(Timed(None, took.seconds, took.cpu_seconds, took.waited).own_seconds)
        whole.append(time.perf_counter() - begin)
    return clock, own, whole


def trials(count: int) -> Times:
    """Return the seconds from each trial's end to the next one's, in the second half of a study."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "true.yaml"
        study = {**CONFIG["study"], "trials": count}
        config.write_text(json.dumps({**CONFIG, "study": study}))
        line = [sys.executable, "-m", "tuner", "run", str(config)]
        subprocess.run(line, check=True, cwd=folder, stdout=subprocess.DEVNULL, stderr=sys.stderr)
        found = optuna.load_study(study_name="true", storage=f"sqlite:///{folder}/tuner.db").trials
        ends = sorted(end.timestamp() for trial in found if (end := trial.datetime_complete))[
            count // 2 :
        ]
        return [after - before for before, after in zip(ends, ends[1:], strict=False)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=200)
    options = parser.parse_args()
    if shutil.which("hyperfine") is None:
        sys.exit("hyperfine is not installed: apt-get install hyperfine")
    if os.environ.get("TUNER_LOCKS") is None:
        os.environ["TUNER_LOCKS"] = tempfile.mkdtemp()
    sections = {key: CONFIG[key] for key in ("data", "search_space")}
    runner = Runs(CommandPlugin.Config.model_validate(sections))
    ours(runner, 10)
    theirs, clock, own, whole, shares = Times(), Times(), Times(), Times(), Times()
    for _ in range(options.rounds):
        times, long = hyperfine(options.runs)
        shares.append((long - hyperfine(2)[1]) / (options.runs - 2))
        theirs += times
        for every, block in zip((clock, own, whole), ours(runner, options.runs), strict=True):
            every += block
    by_trial = trials(options.trials)
    resolution = time.get_clock_info("perf_counter").resolution
    print(f"clock's resolution {resolution * 1e9:g} ns; {len(clock)} runs each")
    print(f"{'':6} {'hyperfine':>17} {'tuner':>17} {'ratio':>13}")
    for name, other, mine in (
        ("clock", theirs, clock),
        ("own", theirs, own),
        ("run", shares, whole),
        ("trial", shares, by_trial),
    ):
        figures = [(min(each) * 1e3, statistics.median(each) * 1e3) for each in (other, mine)]
        ratio = [b / a for a, b in zip(*figures, strict=True)]
        texts = [f"{least:8.3f} {middle:8.3f}" for least, middle in figures]
        print(f"{name:6} {texts[0]} {texts[1]} {ratio[0]:6.2f} {ratio[1]:6.2f}")


if __name__ == "__main__":
    main()
