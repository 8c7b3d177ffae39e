"""A metric from what a program wrote."""

from __future__ import annotations

import json
import re

from tuner_plugins.command.host import KEPT_BYTES
from tuner_plugins.command.programs import Finished
from tuner_plugins.command.sections import MetricSection

LARGEST = 64 << 20
"""Bytes of a file that a metric is read from."""


class MetricError(ValueError):
    """No metric is to be had from what a program wrote; the message says where and why."""


def read_metric(name: str, metric: MetricSection, text: str, source: str) -> float:
    """Return a metric from a text.

    Parameters
    ----------
    name, source : str
        Of the metric and of the text, for messages.

    Raises
    ------
    MetricError
        Where there is no number.
    """
    where = f"metric '{name}': {source}"
    value: object = text.strip()
    if metric.json_path is not None:
        value = _at(metric.json_path, text, where)
    elif metric.regex is not None:
        found = re.search(metric.regex, text, re.MULTILINE)
        if found is None:
            raise MetricError(f"{where}: nothing matches '{metric.regex}' in {_shown(text)}")
        value = found[1]
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise MetricError(f"{where}: expected a number, got {_shown(json.dumps(value))}")
    try:
        return float(value)
    except ValueError:
        raise MetricError(f"{where}: expected a number, got {_shown(str(value))}") from None


def stdout_of(name: str, metric: MetricSection, found: Finished) -> str:
    """Return what a program wrote to standard output; for a `regex` the end of it will do."""
    if metric.regex is None and found.stdout_bytes > KEPT_BYTES:
        raise MetricError(
            f"metric '{name}': {found.stdout_bytes:,} bytes were written to standard output, of "
            "which the last 1 MB are kept: use regex, or have the number written to a file"
        )
    return found.stdout


def _at(path: str, text: str, where: str) -> object:
    try:
        value = json.loads(text)
    except ValueError:
        raise MetricError(f"{where}: expected JSON, got {_shown(text)}") from None
    for key in path.split(".") if path else ():
        try:
            value = value[int(key)] if isinstance(value, list) else value[key]
        except (KeyError, IndexError, TypeError, ValueError):
            raise MetricError(f"{where}: there is no '{path}' in {_shown(text)}") from None
    return value


def _shown(text: str) -> str:
    plain = " ".join(text.split())
    return f"'{plain[:80]}{'...' * (len(plain) > 80)}'" if plain else "nothing"
