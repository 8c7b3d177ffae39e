"""What a study has found, read from its storage alone: what `tuner best` shows."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import Any

from tuner.config.load import Config
from tuner.records import CaseRecord, Null, Summary, baseline_of
from tuner.run import session
from tuner.search.clocks import host_clocks
from tuner.search.record_json import records_of
from tuner.search.storage import read_study
from tuner.selection.finalists import kept_final
from tuner.selection.finish import HELD_OUT
from tuner.selection.measured import measured_baseline
from tuner.selection.results import plain_case, plain_record


def found(config: Config) -> tuple[str, Summary]:
    """Return the study's name and how it stands: best trial, baseline, finalists, held-out, null.

    Held-out cases and the null are those that the run ended with, where that trial is still the
    best; else there are none.

    Raises
    ------
    InputError
        Where there is no study, or no completed trial.
    """
    name, best, _ = session.best(config)
    study = read_study(config)
    records = records_of(study)
    final = kept_final(study, records)
    baseline = baseline_of(records)
    if final is not None and best.estimate:
        baseline = measured_baseline(baseline, final, config.objective)
    kept: dict[str, Any] = json.loads(study.user_attrs.get(HELD_OUT, "{}"))
    if kept.get("trial") != best.number:
        kept = {}
    return name, Summary(
        best=best,
        baseline=baseline,
        counts=Counter(record.state for record in records),
        finished=final is not None or "nulls" in kept,
        final=final,
        held_out=[CaseRecord(**case) for case in kept.get("held_out", ())],
        held_out_baseline=[CaseRecord(**case) for case in kept.get("baseline", ())],
        nulls=[Null(**null) for null in kept.get("nulls", ())],
        hosts=host_clocks(study, records, config.task.alike),
    )


def plain_summary(summary: Summary) -> dict[str, Any]:
    """Return the same as plain data, for ``--json``."""
    return {
        "best": plain_record(summary.best),
        "baseline": plain_record(summary.baseline),
        "held_out": [plain_case(case) for case in summary.held_out],
        "held_out_baseline": [plain_case(case) for case in summary.held_out_baseline],
        "nulls": [asdict(null) for null in summary.nulls],
        "final": asdict(summary.final) if summary.final else None,
        "hosts": [asdict(host) for host in summary.hosts],
    }
