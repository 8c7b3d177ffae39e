"""A few threads over independent pieces of work that release the interpreter's lock."""

from __future__ import annotations

import threading
from collections.abc import Callable


def run_threads(work: Callable[[int], None], count: int, threads: int) -> None:
    """Call ``work(0)`` to ``work(count - 1)``, `threads` of them at a time.

    Raises
    ------
    Exception
        What the first piece that failed raised; pieces that had not begun are left out.
    """
    waiting = iter(range(count))
    failures: dict[int, BaseException] = {}

    def serve() -> None:
        for number in waiting:
            if failures:
                return
            try:
                work(number)
            except BaseException as error:  # noqa: BLE001 - it is raised below
                failures[number] = error

    helpers = [threading.Thread(target=serve) for _ in range(min(threads, count) - 1)]
    for helper in helpers:
        helper.start()
    serve()
    for helper in helpers:
        helper.join()
    if failures:
        raise failures[min(failures)]
