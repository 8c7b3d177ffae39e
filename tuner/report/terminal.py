"""Where all that the program says is written to."""

from __future__ import annotations

from rich.console import Console

NO_TERMINAL_WIDTH = 120


def make_console(stderr: bool = False) -> Console:
    """Return a console; where there is no terminal, one wide enough for any table of ours."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=NO_TERMINAL_WIDTH)
