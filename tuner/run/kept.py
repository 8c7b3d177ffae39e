"""What a run leaves in its study's folder for reports to come: what it was, and how it ended."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.records import StudyInfo, Summary, TrialRecord
from tuner.report.page import write_file

REPORT, SUMMARY = "report.html", "summary.json"


@dataclass(frozen=True)
class Kept:
    """A study, and how its last run ended."""

    info: StudyInfo
    summary: Summary


def keep(folder: Path, kept: Kept) -> None:
    """Write how a study ended into its folder."""
    text = json.dumps(_adapter().dump_python(kept, mode="json"))
    write_file(folder / SUMMARY, lambda part: part.write_text(text, encoding="utf-8"))


def read_kept(folder: Path) -> Kept | None:
    """Return what `keep` wrote; None where there is nothing, or it is damaged."""
    try:
        plain = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        kept: Kept = _adapter().validate_python(plain)
    except (OSError, ValueError):
        return None
    return kept


def kept_summary(folder: Path, records: Sequence[TrialRecord]) -> Summary | None:
    """Return the summary in a study's folder; None where it is not of these trials."""
    if (kept := read_kept(folder)) is None or (best := kept.summary.best) is None:
        return None
    known = any(r.number == best.number and r.params == best.params for r in records)
    return kept.summary if known and sum(kept.summary.counts.values()) == len(records) else None


@functools.cache
def _adapter() -> Any:
    from pydantic import TypeAdapter  # most commands read no summary

    return TypeAdapter(Kept)
