"""The signals by which a user or a machine asks a run to stop."""

from __future__ import annotations

import os
import signal
import stat
import threading
from contextlib import suppress
from types import FrameType
from typing import Any


class StopOnInterrupt:
    """True after the first Ctrl-C, SIGTERM or SIGHUP; a second one ends the program at once.

    A terminal that is closed sends SIGHUP, more than once and to more than one: it never ends the
    program at once, and where it was ignored (``nohup``) it stays so.

    In a thread that is not the main one nothing is noted: Python lets the main thread alone have
    signals. As a context it puts back what was there; a program that was asked to end by SIGTERM
    or SIGHUP gets the signal again then, for it has more to end than a study.
    """

    def __init__(self) -> None:
        self._asked = False
        self._last: int | None = None
        self._before: dict[int, Any] = {}
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)

    def __enter__(self) -> StopOnInterrupt:
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Put back the handlers that were there; None stands for one that is not Python's."""
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if self._last in (signal.SIGTERM, signal.SIGHUP):
            signal.raise_signal(self._last)

    def __call__(self) -> bool:
        """Return whether a signal has come."""
        return self._asked

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._last = number
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
