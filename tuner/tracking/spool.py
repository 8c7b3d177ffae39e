"""A file of trial records that the tracking store does not hold, a JSON line each."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from tuner.records import TrialRecord, plain, record_of


def write_spool(path: Path, records: Sequence[TrialRecord]) -> None:
    """Write `records` as JSON lines, under a temporary name first; no file where there is none."""
    part = path.with_name(f"{path.name}.part")
    if not records:
        path.unlink(missing_ok=True)
        part.unlink(missing_ok=True)  # of a process that was killed
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(plain(record)) for record in records)
    try:
        part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def read_spool(path: Path) -> tuple[list[TrialRecord], str | None]:
    """Read what `write_spool` wrote, if anything; a damaged file is set aside and told of."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return [], None
    except (OSError, UnicodeDecodeError) as error:
        return [], f"cannot read the unsent trials in {path}: {error}"
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(record_of(json.loads(line)))
        except (json.JSONDecodeError, ValidationError):
            return records, f"line {number} of {path} is no trial record; {_set_aside(path)}"
    return records, None


def _set_aside(path: Path) -> str:
    aside = path.with_name(f"{path.name}.damaged")
    try:
        os.replace(path, aside)
    except OSError as error:
        return f"it cannot be set aside: {error.strerror or error}"
    return f"set aside as {aside}"
