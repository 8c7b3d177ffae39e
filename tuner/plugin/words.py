"""What pydantic finds wrong with a value, in the words of all other messages."""

from __future__ import annotations

WORDS = {
    "Input should be": "expected",
    "a valid integer": "a whole number",
    "valid ": "",
    "dictionary": "mapping",
    "Input is not a path for <class 'pathlib.Path'>": "expected a path",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "greater than": "more than",
    ", unable to parse string as an integer": "",
    ", unable to parse string as a number": "",
    ", unable to interpret input": "",
    ", got a number with a fractional part": "",
}
"""Pydantic's words, and ours."""


def in_words(message: str) -> str:
    """Return what was expected.

    >>> in_words("Input should be greater than or equal to 1")
    'expected at least 1'
    """
    for theirs, ours in WORDS.items():
        message = message.replace(theirs, ours)
    return message.partition(" or instance of ")[0]
