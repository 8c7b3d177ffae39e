"""One timed measurement at a time on a core: workers that are more than the cores take turns."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

_PAUSE = 0.005


class Cores:
    """The cores that this process may use, and who times on which.

    A core is taken by locking a file in a folder that all workers of a study share; the lock goes
    with the process that holds it, however that ends.

    Parameters
    ----------
    folder : Path or None
        Where the lock files are; None where there is nobody to share with.
    count : int
        Cores that one measurement takes; never more than there are.
    """

    def __init__(self, folder: Path | None, count: int) -> None:
        can_pin = hasattr(os, "sched_getaffinity")
        self._cores = sorted(os.sched_getaffinity(0)) if can_pin else range(os.cpu_count() or 1)
        self._can_pin = can_pin
        self._folder = folder
        self._count = min(count, len(self._cores))

    @contextmanager
    def reserve(self) -> Iterator[None]:
        """Hold the cores for as long as the context lasts, and keep this thread on them."""
        if self._folder is None:
            yield
            return
        with ExitStack() as stack:
            while True:
                taken = self._try(self._folder, stack)
                if taken is not None:
                    break
                time.sleep(_PAUSE)
            if self._can_pin:
                os.sched_setaffinity(0, taken)
                stack.callback(os.sched_setaffinity, 0, self._cores)
            yield

    def _try(self, folder: Path, stack: ExitStack) -> list[int] | None:
        """Lock as many free cores as it takes; none where there are too few."""
        with ExitStack() as attempt:
            taken = []
            for core in self._cores:
                file = attempt.enter_context((folder / f"core-{core}.lock").open("a"))
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                taken.append(core)
                if len(taken) == self._count:
                    stack.push(attempt.pop_all())
                    return taken
        return None
