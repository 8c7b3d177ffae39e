"""Text from outside (what a plug-in raised, a file's name) made such that anything can store it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_UNUSABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)

LONGEST = 800
"""Characters of a message of one line."""


def cleaned(text: str) -> str:
    r"""Return `text` with each character that no store or terminal takes as an escape.

    These are control characters but for tabs and line ends, marks that turn the direction of
    writing, and halves of characters (surrogates), by which Python stands for the bytes of a file's
    name that is not UTF-8.

    Examples
    --------
    >>> cleaned("no file caf\udce9.bw\x1b[2J")
    'no file caf\\xe9.bw\\x1b[2J'
    """
    return _UNUSABLE.sub(_escaped, text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    r"""Return `text` as a line that shows each of its characters, but for the middle of a long one.

    Examples
    --------
    >>> one_line("no key 'a\nb'")
    "no key 'a\\nb'"
    """
    escape, text = "unicode_escape", shortened(text)
    return "".join(c if c.isprintable() else c.encode(escape).decode() for c in cleaned(text))


def shortened(text: str, most: int = LONGEST) -> str:
    """Return `text` without its middle where it has more than `most` characters.

    What is quoted from a file may be as long as the file.

    Examples
    --------
    >>> shortened("found undefined alias '0123456789'; define it", 40)
    "found undefined alias '012 ...  define it"
    """
    head, tail = 2 * most // 3, most // 4
    return text if len(text) <= most else f"{text[:head]} ... {text[-tail:]}"


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    byte = code - 0xDC00 if 0xDC80 <= code <= 0xDCFF else code  # as surrogateescape has it
    return f"\\x{byte:02x}" if byte < 256 else f"\\u{byte:04x}"


def cleaned_data(value: Any) -> Any:
    """Return plain data with every text in it cleaned, names of mappings as well."""
    if isinstance(value, str):
        return cleaned(value)
    if isinstance(value, Mapping):
        return {cleaned_data(name): cleaned_data(inner) for name, inner in value.items()}
    return [cleaned_data(inner) for inner in value] if isinstance(value, list | tuple) else value
