"""Write a package with a plug-in that runs as it is: an example that is not genomics."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from tuner.plugin import InputError
from tuner.plugin.registry import PLUGINS, names
from tuner.run.tools import write_text

ENDING = ".txt"
"""Of the files of a template, which are no modules of ours."""


def write_package(name: str, home: Path) -> Sequence[str]:
    """Write the package `name` below `home`; return what was made and what to do next.

    Raises
    ------
    InputError
        Where `name` is none of a module, is taken, or its folder is there already.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise InputError(
            f"expected lower-case letters, digits and '_', no word of Python's, got '{name}'"
        )
    if name in sys.stdlib_module_names:
        raise InputError(f"'{name}' is a module of Python's own library; give another name")
    if name in names(PLUGINS):
        raise InputError(f"a plug-in '{name}' is installed already; give another name")
    folder = home / name
    if folder.exists():
        raise InputError(f"{folder} is there already; give another name, or another -o")
    called = "".join(part.title() for part in name.split("_"))
    for source in files("tuner.run").joinpath("plugin_template").iterdir():
        if source.name.endswith(ENDING):
            path = folder / source.name.removesuffix(ENDING).replace("NAME", name)
            text = source.read_text(encoding="utf-8")
            write_text(path, re.sub(r"\bNAME", name, text).replace("CLASS", called))
    return [
        f"{folder} written: a plug-in that smooths series, to be replaced by your method",
        f"next: pip install -e {folder}; pytest {folder}; tuner run {folder / name}.yaml",
    ]
