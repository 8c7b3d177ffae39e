"""Files and folders that a configuration names: relative to it, and there."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ValidationInfo

NO_FILE = "no such file or folder"


def _anchor(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder")
    return path if folder is None or path.is_absolute() else Path(folder) / path


def may_lack(info: ValidationInfo) -> bool:
    """Whether files may be absent: to see what else is wrong (context key ``absent``)."""
    return bool((info.context or {}).get("absent"))


def _resolve(path: Path, info: ValidationInfo) -> Path:
    anchored = _anchor(path.expanduser(), info)
    if not anchored.exists() and not may_lack(info):
        raise ValueError(f"{NO_FILE}: {anchored}")
    return anchored


def _listed(value: object) -> object:
    return value if isinstance(value, list | tuple) else [value]


def expand_paths(patterns: list[Path], info: ValidationInfo) -> list[Path]:
    """Return the files and folders that match; raise `ValueError` where none does for one."""
    found: list[Path] = []
    for pattern in patterns:
        anchored = _anchor(pattern.expanduser(), info)
        matches = [anchored] if anchored.exists() else sorted(map(Path, glob.glob(str(anchored))))
        if not matches and not may_lack(info):
            raise ValueError(f"{NO_FILE}, and no file matches: {anchored}")
        found.extend(matches)
    return found


InputPath = Annotated[Path, AfterValidator(_resolve)]
"""An existing file or folder, relative to the configuration file (context key ``folder``)."""

InputPaths = Annotated[
    list[Path],
    BeforeValidator(_listed, json_schema_input_type=str | list[str]),
    AfterValidator(expand_paths),
]
"""A folder, a file, a glob, or a list of these; at least one match for each."""
