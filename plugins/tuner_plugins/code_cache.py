"""The compiled code of a script's text, kept for later runs: Python compiles a script each time.

It lies beside compiled kernels, under the same rules (`kernel_folder`). Standard library only, and
nothing that is slow to import: a stand-alone script carries this module.
"""

from __future__ import annotations

import marshal
import os
import sys

from tuner_plugins.kernel_folder import digest_of, is_ours, keep_file, kernel_folders

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType


def load_code(text: str, name: str) -> CodeType:
    """Return the code of `text`, of a file called `name`: as this Python has compiled it before.

    A kept file is used if it is this user's and whole: it begins with a digest of what it is for,
    and of the rest.
    """
    key = digest_of("\0".join((sys.version, str(sys.flags.optimize), name, text)).encode())
    path = ""
    for folder in kernel_folders():
        path = os.path.join(folder, f"code-{key}")
        content = _read_ours(path)
        if content[:32] == digest_of(key.encode() + content[32:]).encode():
            code: CodeType = marshal.loads(content[32:])
            return code
    code = compile(text, name, "exec", dont_inherit=True)
    content = marshal.dumps(code)
    try:
        if path:
            keep_file(path, digest_of(key.encode() + content).encode() + content)
    except OSError:  # read-only or full
        pass
    return code


def _read_ours(path: str) -> bytes:
    """Return the content of a file of this user's; nothing where there is none."""
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            return file.read() if is_ours(os.fstat(file.fileno())) else b""
    except OSError:
        return b""


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe would wait
