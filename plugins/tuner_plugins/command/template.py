"""Command lines with placeholders. Standard library only: a launcher carries it.

``{name}`` stands for a value, ``{{`` and ``}}`` for braces. A word whose value is None is left
away. A word that is a flag's placeholder alone stands for the words of the flag, or for none.
"""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Callable, Mapping, Sequence

_PIECE = re.compile(r"(\{\{|\}\})|\{([A-Za-z_]\w*)\}|([{}])")


class TemplateError(ValueError):
    """A template that cannot be read; the message is one line that says what to do."""


@functools.cache
def pieces(template: str) -> tuple[tuple[str, str], ...]:
    """Return what a template is made of: ``("", text)``, or ``(name, "")`` for a placeholder.

    >>> pieces("-k{k}")
    (('', '-k'), ('k', ''))

    Raises
    ------
    TemplateError
        For a brace that stands alone.
    """
    found, at = [], 0
    for match in _PIECE.finditer(template):
        if match.start() > at:
            found.append(("", template[at : match.start()]))
        at = match.end()
        brace, name, alone = match.groups()
        if alone:
            raise TemplateError(
                f"expected a placeholder such as {{name}}, got '{template[match.start() :]:.20}'; "
                f"write '{alone * 2}' for the character '{alone}'"
            )
        found.append((name, "") if name else ("", brace[0]))
    if at < len(template):
        found.append(("", template[at:]))
    return tuple(found)


def names(template: str) -> list[str]:
    """Return the names of the placeholders of a template; errors as in `pieces`."""
    return [name for name, _ in pieces(template) if name]


def only_name(template: str) -> str | None:
    """Return the name of the placeholder that a template is; None where it is more, or none."""
    found = pieces(template)
    return found[0][0] or None if len(found) == 1 else None


def as_text(value: object) -> str:
    """Return a value as it stands in a command line."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def fill(template: str, values: Mapping[str, object]) -> str | None:
    """Return a template with its values; None where one of them is None."""
    found = pieces(template)
    if any(name and values[name] is None for name, _ in found):
        return None
    return "".join(as_text(values[name]) if name else text for name, text in found)


def is_given(value: object) -> bool:
    """Return whether a flag with this value stands in a command line."""
    return value is not None and value is not False


def words(
    command: Sequence[str], flags: Mapping[str, Sequence[str]], values: Mapping[str, object]
) -> list[str]:
    """Return the words of a command line.

    >>> words(["sort", "{fast}", "-k{k}"], {"fast": ["--fast"]}, {"fast": True, "k": None})
    ['sort', '--fast']
    """
    found = []
    for template in command:
        name = only_name(template)
        if name is not None and name in flags:
            found += [fill(word, values) for word in flags[name] if is_given(values[name])]
        else:
            found.append(fill(template, values))
    return [word for word in found if word is not None]


def shell_text(
    command: str,
    flags: Mapping[str, Sequence[str]],
    values: Mapping[str, object],
    quoted: Callable[[str], str | None] = lambda name: None,
) -> str:
    """Return a line for a shell, every value quoted; `quoted` may give that of a name itself."""

    def one(name: str) -> str:
        if name in flags:
            return shlex.join(words([f"{{{name}}}"], flags, values))
        value = values[name]
        return quoted(name) or ("" if value is None else shlex.quote(as_text(value)))

    return "".join(one(name) if name else text for name, text in pieces(command))
