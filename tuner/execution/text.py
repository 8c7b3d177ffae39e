"""What plug-ins and their programs say, made fit to be kept and to be shown."""

from __future__ import annotations

import re
import traceback

KEPT = 64 << 10
"""Bytes of a text that are kept: its end."""

LINES = 12
LONGEST_LINE = 1000
"""Of a long output these last lines are shown, and of a line so many characters."""

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours, cursor: ECMA-48, 5.4
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # titles, links
    r"|\x1b[ -/]*[0-~]"
)
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def clean(text: str | bytes) -> str:
    """Return the last 64 KB of a text, from the beginning of a line, as harmless characters.

    Escape sequences, control characters but tabs and ends of lines, marks that turn the direction
    of writing, lone surrogates and bytes that are no UTF-8 each become U+FFFD: they could act on a
    terminal, and not every store takes them.
    """
    is_cut = len(text) > KEPT
    end = text[-KEPT:]
    data = end if isinstance(end, bytes) else end.encode("utf-8", "surrogatepass")
    is_cut, data = is_cut or len(data) > KEPT, data[-KEPT:]
    if is_cut and b"\n" in data:
        data = data.partition(b"\n")[2]
    text = data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROLS.sub(REPLACEMENT, _SEQUENCES.sub(REPLACEMENT, text))


def last_lines(text: str | bytes) -> str:
    """Return the end of an output, clean and short enough to be read."""
    lines = clean(text).rstrip().splitlines()[-LINES:]
    return "\n".join(map(_shortened, lines))


def described(error: BaseException) -> str:
    """Return what was raised in a line, and below it the end of its traceback."""
    kind = type(error).__name__
    lines = str(error).strip().splitlines()
    first = clean(_shortened(f"{kind}: {lines[0]}" if lines else kind))
    return f"{first}\n{last_lines(''.join(traceback.format_exception(error)[-4:]))}"


def _shortened(line: str) -> str:
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} ..."
