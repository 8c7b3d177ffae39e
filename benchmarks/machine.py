"""The same study twice on this machine: alone, and beside processes that load every core.

    python -m benchmarks.timing --machine [--json FILE] [--trials N]

The study is one of simulated tracks with random search, so that both runs see the same settings.
Shown are what each froze and the interval that it states, and whether the one frozen beside the
load is, in the quiet study, within the quiet winner's interval. Then the scatter of the score of
that setting, timed over and over: made from one wall time each (what peers do), and as the engine
takes it (own time, corrected for drift).
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuner.config.load import Config, load_config
from tuner.config.objective import score
from tuner.execution.jobs import now
from tuner.measure.drift import Drift
from tuner.measure.stopwatch import anchor, timed
from tuner.plugin.registry import simulate
from tuner.records import CaseRecord, TrialRecord
from tuner.run import session
from tuner.selection.results import RunResult

LENGTH = 400_000
Load = Callable[[], contextlib.AbstractContextManager[None]]


class _Silent:
    """Shows nothing."""

    def begin(self, *_: object) -> None:
        """Show nothing."""

    trial = phase = note = begin

    def beat(self) -> None:
        """Show nothing."""

    end = beat


def configured(folder: Path, name: str, trials: int = 1) -> Config:
    """Return the study's configuration; the same seed draws the same settings."""
    tracks, genes = folder / "nmf" / "tracks", folder / "nmf" / "Annotation.Gene.bw"
    sections = {
        "plugin": "nmf",
        "study": {"name": name, "trials": trials, "sampler": "random"},
        "data": {
            "bigwigs": str(tracks),
            "annotation": str(genes),
            "cases": [{"region": f"chr1:0-{LENGTH}", "k": 5}],
        },
        "tracking": {"enabled": False},
        "timing": {"final_time": 30, "nulls": 0, "fixed_cost_repeats": 3},
        "export": {"path": str(folder / f"{name}.py")},
    }
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(sections))  # JSON is YAML too
    return load_config(path)


def study(name: str, folder: Path, trials: int) -> RunResult:
    """Run the study in the current folder."""
    return session.run(configured(folder, name, trials), _Silent(), lambda: False)


def stated(result: RunResult) -> dict[str, Any]:
    """Return what a study froze, with the score and interval that it states."""
    assert result.summary.final is not None
    first = result.summary.final.finalists[0]
    return {"trial": first.number, "score": first.score, "low": first.low, "high": first.high}


def agree(quiet: RunResult, loaded: RunResult) -> dict[str, Any]:
    """Compare: the loaded study's choice by the quiet study's times."""
    final = quiet.summary.final
    assert final is not None
    here, there = stated(quiet), stated(loaded)
    seen = {row.number: row for row in final.finalists}.get(there["trial"])
    same = here["trial"] == there["trial"]
    within = same or (seen is not None and seen.high >= here["low"])
    return {"same_setting": same, "within_interval": within, "quiet": here, "loaded": there}


def scatter(
    record: TrialRecord, baseline: TrialRecord, repeats: int, load: Load, folder: Path
) -> dict[str, Any]:
    """Return the coefficient of variation of a setting's score on the first case."""
    config = configured(folder, "repeated")
    case = config.plugin.load().tuned[0]
    base = baseline.cases[0].seconds
    gain = record.cases[0].metrics["r"] - baseline.cases[0].metrics["r"]
    found: dict[str, Any] = {}
    for name, beside in (("alone", contextlib.nullcontext), ("beside a load", load)):
        run = lambda: config.plugin.run(case, record.params, 0)  # noqa: E731
        run()
        beats = statistics.median(anchor() for _ in range(9))
        quiet = CaseRecord(case.name, {}, base, base, anchor=beats)
        drift = Drift([quiet])
        wall, own = [], []
        with beside():
            for _ in range(repeats):
                before = anchor()
                watch = timed(run)
                beat = (before + anchor()) / 2
                seconds = watch.own_seconds
                look = CaseRecord(case.name, {}, seconds, watch.cpu_seconds, seconds, beat)
                corrected = drift.correct([look], now())[0].seconds
                own.append(score(gain, base / corrected))
                wall.append(score(gain, base / watch.seconds))
        found[name] = {"cv_wall": _cv(wall), "cv_ours": _cv(own)}
        found[name] |= {"wall": statistics.median(wall), "ours": statistics.median(own)}
    return found


def _cv(values: list[float]) -> float:
    return statistics.stdev(values) / abs(statistics.mean(values))


def compare(trials: int, repeats: int, load: Load) -> dict[str, Any]:
    """Run all and print."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        try:
            options = {"region_length": LENGTH, "tracks": 8}
            simulate("nmf", Path(name) / "nmf", 1, options)
            quiet = study("quiet", Path(name), trials)
            with load():
                loaded = study("loaded", Path(name), trials)
            found = agree(quiet, loaded)
            best, baseline = quiet.summary.best, quiet.summary.baseline
            assert best is not None
            assert baseline is not None
            found["repeated"] = scatter(best, baseline, repeats, load, Path(name))
        finally:
            os.chdir(before)
    for which in ("quiet", "loaded"):
        row = found[which]
        ends = f"{row['low']:.4g} to {row['high']:.4g}"
        print(f"{which:8} froze trial {row['trial']}, score {row['score']:.4g}, 95 %: {ends}")
    print(f"same setting: {found['same_setting']}; within the interval: {found['within_interval']}")
    print(
        f"{'one setting, repeated':22} {'CV wall':>8} {'CV ours':>8} {'score wall':>11} {'ours':>7}"
    )
    for name, row in found["repeated"].items():
        figures = (
            f"{row['cv_wall']:8.3f} {row['cv_ours']:8.3f} {row['wall']:11.3f} {row['ours']:7.3f}"
        )
        print(f"{name:22} {figures}")
    return found
