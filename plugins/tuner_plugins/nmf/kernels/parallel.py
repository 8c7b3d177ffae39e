"""A few threads over independent pieces of work that release the interpreter's lock.

The threads are those of `_thread`: `threading` takes a script longer to import than a track takes
to read.
"""

from __future__ import annotations

import _thread
import os

TYPE_CHECKING = False  # as in fast_path.py
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


def run_each(
    work: Callable[[int], bool | None], numbers: Sequence[int], threads: int
) -> list[bool | None]:
    """Return `work` of 0 to n - 1, taken up in the order of `numbers` by `threads`.

    After a False, what was not taken up yet is left, and False as well.
    """
    waiting = iter(numbers)
    results: list[bool | None] = [False] * len(numbers)

    def serve(done: Any = None) -> None:
        try:
            for number in waiting:
                results[number] = work(number)
                if results[number] is False:
                    list(waiting)  # nothing is left for the others
        finally:
            if done is not None:
                done.release()

    locks = [_thread.allocate_lock() for _ in range(min(threads, len(numbers)) - 1)]
    for lock in locks:
        lock.acquire()
        _thread.start_new_thread(serve, (lock,))
    serve()
    for lock in locks:
        lock.acquire()
    return results


def run_threads(work: Callable[[int], None], count: int, threads: int) -> None:
    """Call ``work(0)`` to ``work(count - 1)``, `threads` of them at a time.

    Raises
    ------
    Exception
        What the first piece that failed raised; pieces that had not begun are left out.
    """
    failures: dict[int, BaseException] = {}

    def attempt(number: int) -> bool:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - it is raised below
            failures[number] = error
        return number not in failures

    run_each(attempt, range(count), threads)
    if failures:
        raise failures[min(failures)]


def available_threads() -> int:
    """Return the threads this process may use: its cores, or fewer if OMP_NUM_THREADS says so."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return min(int(asked), cores) if asked.isdigit() and int(asked) else cores
