"""What plug-ins and their programs say, made fit to be kept and to be shown."""

from __future__ import annotations

import re
import traceback

from tuner.config.text import cleaned
from tuner.plugin import RunError

KEPT = 64 << 10
"""Bytes of a text that are kept: its end."""

LINES = 12
LONGEST_LINE = 1000
"""Of a long output these last lines are shown, and of a line so many characters."""

_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours, cursor: ECMA-48, 5.4
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # titles, links
    r"|\x1b[ -/]*[0-~]"
)


def clean(text: str | bytes) -> str:
    """Return the last 64 KB of a text, from the beginning of a line, as harmless characters.

    Escape sequences of terminals and bytes that are no UTF-8 become U+FFFD; any other character
    that could act on a terminal, or that not every store takes, is shown as an escape.
    """
    end = text[-KEPT:]
    plain = end.decode("utf-8", "replace") if isinstance(end, bytes) else end
    plain = plain.replace("\r\n", "\n").replace("\r", "\n")
    plain = cleaned(_SEQUENCES.sub("\N{REPLACEMENT CHARACTER}", plain))
    data = plain.encode()
    if len(text) > KEPT or len(data) > KEPT:
        data = data[-KEPT:]
        data = data.partition(b"\n")[2] if b"\n" in data else data
    return data.decode("utf-8", "ignore")


def last_lines(text: str | bytes) -> str:
    """Return the end of an output, clean and short enough to be read."""
    lines = clean(text).rstrip().splitlines()[-LINES:]
    return "\n".join(map(_shortened, lines))


def described(error: BaseException) -> str:
    """Return what was raised in a line, and below it the end of its traceback.

    Of a `RunError` it is the message: its first line, with the last one where it ends with a colon,
    and below it the others.
    """
    kind = type(error).__name__
    lines = str(error).strip().splitlines()
    if isinstance(error, RunError) and lines:
        end = f" {lines[-1].strip()}" if lines[0].endswith(":") and len(lines) > 1 else ""
        first = clean(_shortened(lines[0] + end))
        return "\n".join([first, *filter(None, [last_lines("\n".join(lines[1:]))])])
    first = clean(_shortened(f"{kind}: {lines[0]}" if lines else kind))
    return f"{first}\n{last_lines(''.join(traceback.format_exception(error)[-4:]))}"


def _shortened(line: str) -> str:
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} ..."
