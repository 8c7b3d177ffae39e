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

BUILD = _read(os.path.join(_FOLDER, "..", "..", "native", "compile.py"))
"""The module that compiles them."""


def _joined(*names: str) -> str:
    """Return modules that import no others of the project's but each other as the text of one."""
    ours = ("from __future__", "from tuner_plugins")
    texts = (_read(os.path.join(_FOLDER, name)).splitlines() for name in names)
    kept = (line for text in texts for line in text if not line.startswith(ours))
    return "\n".join(["from __future__ import annotations", *kept, ""])


PLAIN = _joined("plain_read.py", "plain_matrices.py", "plain_factorize.py", "plain.py")
"""The kernels in Python, for where there are no others."""
