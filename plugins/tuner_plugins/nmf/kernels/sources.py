"""What is compiled at first use, as text: a script has these constants written into it instead."""

from __future__ import annotations

import os

_FOLDER = os.path.dirname(os.path.abspath(__file__))


def _read(*names: str) -> str:
    with open(os.path.join(_FOLDER, *names), encoding="utf-8") as file:
        return file.read()


KERNEL_FILES = {name: _read(name) for name in sorted(os.listdir(_FOLDER)) if name.endswith(".c")}
"""The C sources by name."""

BUILD = _read("compile.py")
"""The module that compiles them."""
