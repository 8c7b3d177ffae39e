"""Which files of a folder of plots a run made, so that the next one removes those alone."""

from __future__ import annotations

import json
from pathlib import Path

MADE = ".made.json"
"""The list of them, in that folder."""


def made(plots: Path) -> list[Path]:
    """Return what the last run drew into a folder of plots, as far as it is there, by its list."""
    try:
        names = json.loads((plots / MADE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        names = []
    inside = [name for name in map(Path, names) if ".." not in name.parts]
    return [plots / name for name in inside if (plots / name).is_file()]


def remove_made(plots: Path) -> set[Path]:
    """Remove what an earlier run drew; return what is left: it is the user's."""
    for path in made(plots):
        path.unlink()
    return {path for path in plots.rglob("*") if path.is_file()}


def remember_made(plots: Path, others: set[Path]) -> None:
    """List what lies in a folder of plots beside `others`, as made by this run."""
    files = {path for path in plots.rglob("*") if path.is_file()} - others
    made = sorted(str(path.relative_to(plots)) for path in files)
    (plots / MADE).write_text(json.dumps(made), encoding="utf-8")
