"""The one error that bad input to the analysis raises."""

from __future__ import annotations


class AnalysisError(ValueError):
    """Bad input to an analysis step: one line with what was expected, what came, what to do."""
