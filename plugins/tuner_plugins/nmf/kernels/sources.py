"""What only some runs need, as text: a script has these constants written into it instead."""

from __future__ import annotations

import os

_FOLDER = os.path.dirname(os.path.abspath(__file__))


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def _kernel_files() -> dict[str, str]:
    texts = {}
    for folder, _, names in os.walk(_FOLDER):
        for path in (os.path.join(folder, name) for name in names if name.endswith((".c", ".h"))):
            texts[os.path.relpath(path, _FOLDER).replace(os.sep, "/")] = _read(path)
    return dict(sorted(texts.items()))


KERNEL_FILES = _kernel_files()
"""The C files, by name below this folder."""


def _joined(*names: str) -> str:
    """Return modules that import no others of the project's but each other as the text of one."""
    lines, ours = ["from __future__ import annotations"], False
    for name in names:
        for line in _read(os.path.join(_FOLDER, name)).splitlines():
            begins = line.lstrip().startswith(("from __future__", "from tuner_plugins"))
            if not (begins or ours):
                lines.append(line)
            ours = line.endswith("(") if begins else ours and line != ")"
    return "\n".join([*lines, ""])


_NATIVE = ("machine.py", "compile.py", "build.py")
BUILD = _joined("../../kernel_folder.py", *(f"../../native/{name}" for name in _NATIVE))
"""The modules that compile them, by `tuner_plugins.native.build.open_library`."""

PLAIN = _joined("plain_read.py", "plain_matrices.py", "plain_factorize.py", "plain.py")
"""The kernels in Python, for where there are no others."""
