"""Processes below another one, some of which end while they are looked at."""

from __future__ import annotations

import psutil


def command_of(process: psutil.Process) -> list[str]:
    """Return the words of a process's command line; none where it has ended meanwhile."""
    try:
        return list(process.cmdline())
    except psutil.Error:  # gone, or a zombie that nobody has waited for yet
        return []


def running_below(pid: int, word: str) -> list[psutil.Process]:
    """Return the processes below `pid` that have `word` in their command line."""
    family = psutil.Process(pid).children(recursive=True)
    return [each for each in family if word in " ".join(command_of(each))]
