"""The one error that this package raises for bad input."""

from __future__ import annotations


class DataError(ValueError):
    """Input that cannot be fitted: one line that says what was expected, what came, what to do."""
