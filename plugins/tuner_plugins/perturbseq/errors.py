"""The one error that bad input to the analysis raises, and what its message looks like."""

from __future__ import annotations

LONGEST = 4000
"""Characters of a message: a damaged file may have a name of a megabyte."""


def one_line(text: str) -> str:
    r"""Return text on one line: what cannot be printed is escaped, the middle of a long one cut.

    Examples
    --------
    >>> one_line("gene 'a\n\x1b[2J' is damaged")
    "gene 'a\\n\\x1b[2J' is damaged"
    """
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} ... {text[-LONGEST // 8 :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class AnalysisError(ValueError):
    """Bad input to an analysis step: one line with what was expected, what came, what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))
