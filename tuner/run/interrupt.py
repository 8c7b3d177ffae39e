"""The signals by which a user or a machine asks a run to stop."""

from __future__ import annotations

import os
import signal
import stat
from contextlib import suppress
from types import FrameType


class StopOnInterrupt:
    """True after the first Ctrl-C, SIGTERM or SIGHUP; a second one ends the program at once.

    A terminal that is closed sends SIGHUP, more than once and to more than one: it never ends the
    program at once, and where it was ignored (``nohup``) it stays so.
    """

    def __init__(self) -> None:
        self._asked = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._note)

    def __call__(self) -> bool:
        """Return whether a signal has come."""
        return self._asked

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            _leave_terminal()
        elif self._asked:
            raise KeyboardInterrupt
        if not self._asked:
            _say("stopping after the running trials; press Ctrl-C again to stop at once")
        self._asked = True


def _say(text: str) -> None:
    """Write a line to standard error, in place of a progress bar there.

    By the system's call alone: the signal may have come in the midst of a write of Python's, which
    takes no second one, or of an import.
    """
    before = "\r\x1b[2K" if os.isatty(2) else ""
    with suppress(OSError):
        os.write(2, f"{before}{text}\n".encode())


def _leave_terminal() -> None:
    """Write to nowhere where the terminal is gone: to write to it would raise."""
    for descriptor in (1, 2):
        with suppress(OSError):
            is_device = stat.S_ISCHR(os.fstat(descriptor).st_mode)
            if is_device and not os.isatty(descriptor):  # it is no terminal any more
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
