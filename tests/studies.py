"""Seeded studies as the coordinator would describe them, made without running one."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import numpy as np

from tuner.records import CaseRecord, StudyInfo, Summary, TrialRecord

START = datetime(2026, 11, 20, 12, 0, tzinfo=timezone.utc)
CASES = ("chr21:33746350-35442400", "chr19:54331750-55332675")


def make_study(name: str = "chr21", **changes: object) -> StudyInfo:
    study = StudyInfo(
        name=name,
        plugin="nmf",
        config={
            "study": {"name": name, "trials": 60, "seed": 0, "sampler": "tpe"},
            "plugin": "nmf",
            "data": {"cases": [{"region": case, "k": 10} for case in CASES]},
            "objective": "score",
        },
        signature="5e1f" * 16,
        seed=0,
        storage="sqlite:///tuner.db",
        metrics={"r": "maximize", "abs_r": "maximize"},
        primary="r",
        objectives={"score": "maximize"},
        search_space={
            "fl_lambda": {"type": "float", "low": 0.1, "high": 1000.0, "log": True},
            "num_iter": {"type": "int", "low": 1, "high": 50},
            "init": {"type": "categorical", "choices": ["random", "randomized_svd"]},
        },
        versions={"tuner": "0.1.0", "optuna": "5.0.0", "numpy": "2.4.6"},
        fingerprint="ab" * 32,
        git_commit="0123456789abcdef0123456789abcdef01234567",
    )
    return replace(study, **changes)  # type: ignore[arg-type]


def make_trials(count: int, seed: int = 0) -> list[TrialRecord]:
    """Trial 0 is the baseline; later ones are failed, pruned or infeasible now and then."""
    rng = np.random.default_rng(seed)
    trials, moment = [], START
    for number in range(count):
        baseline = number == 0
        fl_lambda = 1.0 if baseline else float(10 ** rng.uniform(-1, 3))
        num_iter = 50 if baseline else int(rng.integers(1, 51))
        seconds = 0.4 + 0.05 * num_iter * float(rng.uniform(0.9, 1.1))
        r = 0.44 + 0.1 * float(np.exp(-((np.log10(fl_lambda) - 1.7) ** 2))) * (1 - 1 / num_iter)
        r += float(rng.normal(0, 0.003))
        started, moment = moment, moment + timedelta(seconds=2 * seconds + 0.2)
        speedup = 2.9 / seconds
        score = (r - 0.45) * speedup**0.5
        values = {"r": r, "abs_r": abs(r), "speedup": speedup, "score": score}
        common = {
            "number": number,
            "params": {
                "fl_lambda": fl_lambda,
                "num_iter": num_iter,
                "init": "randomized_svd" if baseline else str(rng.choice(["random", "random_svd"])),
                "l2penalty": 1.0,
            },
            "started": started,
            "finished": moment,
            "is_baseline": baseline,
        }
        common["searched"] = {k: common["params"][k] for k in ("fl_lambda", "num_iter", "init")}
        if number % 11 == 5:
            reason = "worker died with signal 9\nTraceback ...\nMemoryError: 3 GB"
            trials.append(_ended(common, "failed", reason))
        elif number % 13 == 7:
            trials.append(_ended(common, "infeasible", "over the time limit of 600 s"))
        elif number % 7 == 6:
            trials.append(_ended(common, "pruned", "worse than the median after the first case"))
        else:
            cases = tuple(CaseRecord(name, values, seconds, 1.8 * seconds) for name in CASES)
            metrics = {**values, "time": seconds}
            trials.append(
                TrialRecord(
                    **common, state="complete", cases=cases, metrics=metrics, values=(score,)
                )
            )
    return trials


def _ended(common: dict, state: str, reason: str) -> TrialRecord:
    return TrialRecord(**common, state=state, cases=(), metrics={}, values=(), reason=reason)


def make_summary(trials: list[TrialRecord], **changes: object) -> Summary:
    complete = [trial for trial in trials if trial.state == "complete"]
    best = max(complete, key=lambda trial: trial.metrics["score"], default=None)
    states = [trial.state for trial in trials]
    summary = Summary(
        best=best,
        baseline=trials[0] if trials else None,
        counts={s: states.count(s) for s in ("complete", "pruned", "infeasible", "failed")},
        finished=True,
        held_out=[CaseRecord("held", {"r": 0.5, "speedup": 3.5, "score": 0.11}, 0.8, 1.2)],
        held_out_baseline=[CaseRecord("held", {"r": 0.44}, 2.8, 3.9)],
        notes=["R is the largest Pearson correlation of a loading with the annotation."],
    )
    return replace(summary, **changes)  # type: ignore[arg-type]
