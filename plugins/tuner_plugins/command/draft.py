"""A configuration to start from, for files of any kind: gzip stands for the user's program."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tuner.plugin import Draft

RATIO = "import os, sys; a, b = map(os.path.getsize, sys.argv[1:]); print(a / b)"
MOST_CASES = 3


def draft_for(folder: Path) -> Draft | None:
    """Return sections with the files of a folder as cases; None where there is none, or no gzip."""
    files = sorted(folder.iterdir()) if folder.is_dir() else [folder]
    files = [path for path in files if path.is_file() and path.name[0] != "."][:MOST_CASES]
    if not files or shutil.which("gzip") is None:
        return None
    cases = [
        {"name": re.sub(r"[^\w.-]", "_", f"{number}-{path.stem}"), "file": path}
        for number, path in enumerate(files, 1)
    ]
    data = {
        "command": ["gzip", "-{level}", "-c", "{file}"],
        "stdout": "{output}",
        "cases": cases[: max(1, len(cases) - 1)],
        "metrics": {"ratio": {"command": ["{python}", "-c", RATIO, "{file}", "{output}"]}},
        "baseline": {"level": 6},
    }
    if len(cases) > 1:
        data["held_out"] = cases[-1:]
    notes = [
        f"{len(files)} files are cases; put your program, its flags and your metric in place of "
        "gzip, -{level} and the ratio: docs/command.md has all keys",
    ]
    space = {"level": {"low": 1, "high": 9}}
    return Draft({"data": data, "search_space": space, "objective": "score"}, notes, fit=0.1)
