"""Words that messages share."""

from __future__ import annotations

import difflib
import re
import signal
from collections.abc import Iterable
from typing import Any

WORDS = {
    "Input should be": "expected",
    "a valid integer": "a whole number",
    "a valid string": "a text",
    "valid ": "",
    "dictionary": "mapping",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "greater than": "more than",
    ", unable to parse string as an integer": "",
    ", unable to parse string as a number": "",
    ", unable to interpret input": "",
    ", got a number with a fractional part": "",
}
"""Pydantic's words, and ours."""

_NO_PATH = re.compile(r"Input is not a valid path for <class '[\w.]+'>")
"""The class is `pathlib.Path`, and in Python 3.13 `pathlib._local.Path`."""


def in_words(message: str) -> str:
    """Return what pydantic had expected, in the words of all other messages.

    >>> in_words("Input should be greater than or equal to 1")
    'expected at least 1'
    """
    message = _NO_PATH.sub("expected a path", message)
    for theirs, ours in WORDS.items():
        message = message.replace(theirs, ours)
    return message.partition(" or instance of ")[0]


def shown(value: Any) -> str:
    """Return a value as a file has it: a switch as YAML writes it, all else as Python does.

    >>> shown(True), shown("4 GB")
    ('true', "'4 GB'")
    """
    return str(value).lower() if isinstance(value, bool) else repr(value)


PASSED_ON = ("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGKILL", "SIGSEGV", "SIGTERM", "SIGXCPU")
"""Signals that an exit code may stand for; others are rarer than codes that mean something else."""


def how_ended(code: int) -> str:
    """Return how a program ended, by its exit code, negative for a signal.

    A shell ends with 128 + 9 where signal 9 ended its command, and ``sys.exit(-9)`` with 256 - 9:
    that is said of the signals of `PASSED_ON`.

    >>> how_ended(-9), how_ended(3)
    ('signal 9 (SIGKILL)', 'exit code 3')
    >>> how_ended(137)
    'exit code 137 (128 + 9, perhaps for signal 9, SIGKILL)'
    """
    names = {number.value: number.name for number in signal.Signals}
    if code < 0:
        return f"signal {-code}" + (f" ({names[-code]})" if -code in names else "")
    for start, number in (("128 +", code - 128), ("256 -", 256 - code)):
        if names.get(number) in PASSED_ON:
            name = names[number]
            return f"exit code {code} ({start} {number}, perhaps for signal {number}, {name})"
    return f"exit code {code}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of a message that proposes the nearest of some names; empty where none is.

    >>> did_you_mean("trails", ["name", "trials"])
    "; did you mean 'trials'?"
    """
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""
