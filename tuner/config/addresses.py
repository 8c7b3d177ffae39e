"""Addresses with credentials: shown and stored without them, and read from the environment.

`masked` is the one way from an address, or a text that may hold some, to anything that is printed,
stored or passed on. ``${NAME}`` in a configuration stands for an environment variable: its value is
used and never stored.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

HIDDEN = "***"

STORAGE_FILE = re.compile(r"(sqlite|journal):///([^?]+)(\?.*)?")
"""The address of a study's storage that is a file: kind, path and options."""

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_ADDRESS = re.compile(r"[A-Za-z][\w+.-]*://\S")
# Greedy up to the last '@': a password may hold one that is not encoded, and a slash.
# What stands for an environment variable gives nothing away, and says where to look.
_PASSWORD = re.compile(r"(://[^\s:/@]*):(?!\$\{\w+\}@)(\S*)@")
_TOKEN = re.compile(r"(https?://)[^\s/@]+@")
_QUERY = re.compile(r"([?&][^\s=&]*(?:pass|pwd|secret|token|key)[^\s=&]*=)[^\s&'\"]+", re.I)


def masked(text: str) -> str:
    """Return `text` with the password of every address in it hidden.

    Examples
    --------
    >>> masked("cannot open postgresql://ann:secret@host/db")
    'cannot open postgresql://ann:***@host/db'
    >>> masked("https://token@host/?api_key=1")
    'https://***@host/?api_key=***'
    >>> masked("sqlite:///tuner.db")
    'sqlite:///tuner.db'
    """
    if _ADDRESS.match(text) and "\n" not in text:  # an address by itself may hold blanks
        text = re.sub(r"^([^:]+://[^\s:/@]*):(?!\$\{\w+\}@)(.*)@", rf"\1:{HIDDEN}@", text)
    text = _PASSWORD.sub(rf"\1:{HIDDEN}@", text)
    text = _TOKEN.sub(lambda found: _hidden_user(found[0], found[1]), text)
    return _QUERY.sub(rf"\1{HIDDEN}", text)


def _hidden_user(found: str, scheme: str) -> str:
    return found if re.search(r":(\*\*\*|\$\{\w+\})@$", found) else f"{scheme}{HIDDEN}@"


def with_driver(url: str) -> str:
    """Return the address of a PostgreSQL database with a driver that is here; others as they are.

    ``postgresql://`` means psycopg2 to SQLAlchemy 2.0 and psycopg 3 to 2.1; ``postgres://``, which
    libpq takes as well, means nothing to either.

    Examples
    --------
    >>> with_driver("postgresql+pg8000://ann@host/db"), with_driver("sqlite:///tuner.db")
    ('postgresql+pg8000://ann@host/db', 'sqlite:///tuner.db')
    """
    scheme, _, rest = url.partition("://")
    if scheme.lower() not in ("postgres", "postgresql"):
        return url
    is_old = find_spec("psycopg") is None and find_spec("psycopg2") is not None
    return f"postgresql+psycopg{'2' if is_old else ''}://{rest}"


def without_user(url: str) -> str:
    """Return an address of pages without user and password: what a browser is to open."""
    return re.sub(r"^(https?://)[^\s/]*@", r"\1", url)


def masked_data(value: Any) -> Any:
    """Return plain data with every text in it masked."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, Mapping):
        return {name: masked_data(inner) for name, inner in value.items()}
    return [masked_data(inner) for inner in value] if isinstance(value, list | tuple) else value


def expanded(value: Any, key: tuple[str | int, ...] = ()) -> Any:
    """Return plain data with ``${NAME}`` replaced by environment variables.

    Raises
    ------
    UnsetVariable
        Where there is no such variable; with the key.
    """
    if isinstance(value, Mapping):
        return {name: expanded(inner, (*key, name)) for name, inner in value.items()}
    if isinstance(value, list):
        return [expanded(inner, (*key, index)) for index, inner in enumerate(value)]
    if not isinstance(value, str):
        return value

    def value_of(found: re.Match[str]) -> str:
        if found[1] not in os.environ:
            raise UnsetVariable(key, found[1])
        return os.environ[found[1]]

    return _VARIABLE.sub(value_of, value)


def as_written(value: Any, raw: Any) -> Any:
    """Return plain data with ``${NAME}`` where the file has it."""
    if isinstance(raw, str) and _VARIABLE.search(raw):
        return raw
    if isinstance(value, Mapping) and isinstance(raw, Mapping):
        return {name: as_written(inner, raw.get(name)) for name, inner in value.items()}
    if isinstance(value, Sequence) and isinstance(raw, list) and len(value) == len(raw):
        return [as_written(*pair) for pair in zip(value, raw, strict=True)]
    return value


class UnsetVariable(ValueError):
    """An environment variable that a configuration names and that is not set."""

    def __init__(self, key: tuple[str | int, ...], name: str) -> None:
        super().__init__(f"the environment variable '{name}' is not set; set it, or give the value")
        self.key = key
