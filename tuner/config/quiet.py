"""Keep Optuna's log and warnings from the user's terminal."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import optuna


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Optuna's log and warnings.

    Of experimental features, of values out of range, of limits, of a value that a trial which runs
    again reports again: the first one stands.
    """
    verbosity = optuna.logging.get_verbosity()
    is_loud = verbosity < optuna.logging.ERROR
    if is_loud:  # to set it empties a cache of every logger that there is
        optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            warnings.filterwarnings("ignore", "Fixed parameter .* is out of range", UserWarning)
            warnings.filterwarnings("ignore", "Constraints have been set, but Cma", UserWarning)
            warnings.filterwarnings("ignore", "The reported value is ignored", UserWarning)
            yield
    finally:
        if is_loud:
            optuna.logging.set_verbosity(verbosity)
