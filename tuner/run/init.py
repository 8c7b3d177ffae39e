"""Write a configuration for the files that a user has: plug-ins say which are theirs."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tuner.config.load import load_config
from tuner.config.schema import wrong_name
from tuner.plugin import Draft, InputError
from tuner.plugin.registry import installed, plugin_class
from tuner.run.tools import write_text

HEAD = """\
# Written by `tuner init` from what it found; look it over before a run.
{notes}
# An editor completes and checks this after `tuner schema {plugin} -o {plugin}.json`, by the line
# yaml-language-server: $schema={plugin}.json
"""

ADDRESS = re.compile(r"[A-Za-z][\w+.-]+:/")
"""A scheme of two letters at least; a path keeps one of two slashes."""


def write_config(folder: Path, output: Path | None = None) -> tuple[Path, Sequence[str]]:
    """Write the configuration of the plug-in that fits best; return its path and what was found.

    Raises
    ------
    InputError
        Where no plug-in has a use for the files, or the configuration is there already.
    """
    if ADDRESS.match(str(folder)):
        address = str(folder).replace(":/", "://", 1)
        raise InputError(
            f"{address} is an address; `tuner init` looks at files on this machine: download it, "
            "and name the copy"
        )
    if not folder.exists():
        raise InputError(f"no such file or folder: {folder}")
    name = re.sub(r"[^\w.-]+", "_", folder.resolve().stem).strip(".") or "study"
    name = "study" if wrong_name(name) else name
    path = output or Path(f"{name}.yaml")
    if path.exists():
        raise InputError(f"{path} is there already; give another -o, or move it away")
    plugin, draft, lacking = _fitting(folder)
    study = {"name": name, "trials": 50, "timeout": "30m", "seed": 0}
    whole = {"study": study, "plugin": plugin, **draft.sections, "export": {"path": f"{name}.py"}}
    text = yaml.safe_dump(
        _plain(whole, path.resolve().parent),
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=None,
        width=100,
    )
    head = HEAD.format(notes="\n".join(f"# - {note}" for note in draft.notes), plugin=plugin)
    write_text(path, head + text)
    load_config(path)
    return path, [f"plug-in {plugin}", *draft.notes, *lacking]


def _fitting(folder: Path) -> tuple[str, Draft, list[str]]:
    """Return the plug-in that the files are for, its draft, and plug-ins that were not asked."""
    drafts: list[tuple[float, str, Draft]] = []
    lacking = []
    for entry in installed():
        if entry.missing:
            lacking.append(f"plug-in {entry.name} was not asked: {entry.remedy}")
            continue
        try:
            cls = plugin_class(entry.name)
        except InputError as error:
            lacking.append(f"not asked: {error}")
            continue
        if (draft := cls.draft(folder)) is not None:
            drafts.append((draft.fit, entry.name, draft))
    if not drafts:
        raise InputError(
            f"{folder} holds nothing that a plug-in knows: bigWig tracks, an .h5ad screen, or any "
            f"files for a program ({'; '.join(lacking) or 'it is empty'})"
        )
    _, name, draft = max(drafts, key=lambda found: found[0])
    return name, draft, lacking


def _plain(value: Any, home: Path) -> Any:
    """Return plain data with paths relative to the configuration, where that is below or beside."""
    if isinstance(value, dict):
        return {key: _plain(inner, home) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, home) for inner in value]
    return os.path.relpath(value.resolve(), home) if isinstance(value, Path) else value
