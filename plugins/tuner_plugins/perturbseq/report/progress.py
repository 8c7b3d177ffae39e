"""Which step of an analysis is under way, for who waits for it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_log = logging.getLogger(__name__)


def step(what: str) -> None:
    """Log a step as it begins."""
    _log.info("analysis: %s", what)


@contextmanager
def spoken() -> Iterator[None]:
    """Print steps on standard error, with the time of day, a line each; once if nested."""
    if _log.handlers:
        yield
        return
    handler, level = logging.StreamHandler(), _log.level
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    try:
        yield
    finally:
        _log.removeHandler(handler)
        _log.setLevel(level)
