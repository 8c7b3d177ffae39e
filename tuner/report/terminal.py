"""Where all that the program says is written to."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Collection
from typing import Any

from rich.console import Console

NO_TERMINAL_WIDTH = 120

_GONE = (errno.EPIPE, errno.EIO)
"""Nobody reads: the pipe is closed, the terminal is."""


def make_console(stderr: bool = False) -> Console:
    """Return a console; where there is no terminal, one wide enough for any table of ours."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=NO_TERMINAL_WIDTH)


def outlast_readers() -> None:
    """Let no study end, and no exit code change, because nobody hears what is said.

    What is written to standard error may get lost for any reason; what is written to standard
    output only where who read it has gone: elsewhere it is a result that has no room.
    """
    for name, spared in (("stdout", _GONE), ("stderr", None)):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):  # a file's name may hold what has no encoding
            stream.reconfigure(errors="backslashreplace")
        if stream is not None:
            setattr(sys, name, _Stream(stream, spared))


class _Stream:
    """A text stream that passes over some errors, or all, of writing."""

    def __init__(self, stream: Any, spared: Collection[int] | None) -> None:
        self._stream, self._spared = stream, spared

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _pass_over(self, error: OSError) -> None:
        spared = self._spared is None or error.errno in self._spared
        if not spared or error.errno in _GONE:  # nor is anything tried again when the process ends
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        if not spared:
            raise error

    def write(self, text: str) -> int:
        """Write; return how many characters were taken."""
        try:
            self._stream.write(text)
        except OSError as error:
            self._pass_over(error)
        return len(text)

    def flush(self) -> None:
        """Write what is held back."""
        try:
            self._stream.flush()
        except OSError as error:
            self._pass_over(error)
