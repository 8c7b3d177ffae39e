"""An executor in a package of its own: each slot is a thread of this process."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tuner.execution.jobs import CaseDone, Event, Job, Setup
from tuner.execution.runner import Bench


class Threads:
    """Runs jobs in threads, without limits; `log` names them."""

    def __init__(
        self, setup: Setup, slots: int, case_seconds: float, memory: int | None, *, log: Path
    ) -> None:
        self.slots = slots
        self._setup, self._log = setup, log
        self._pool = ThreadPoolExecutor(slots)
        self._own = threading.local()
        self._events: queue.Queue[Event] = queue.Queue()
        self._answers: dict[int, queue.Queue[bool]] = {}

    def submit(self, job: Job) -> None:
        with self._log.open("a") as file:
            file.write(f"{type(job).__name__}\n")
        self._answers[job.ticket] = queue.Queue()
        self._pool.submit(self._run, job)

    def wait(self, timeout: float) -> Event | None:
        try:
            return self._events.get(timeout=timeout)
        except queue.Empty:
            return None

    def proceed(self, ticket: int, onward: bool) -> None:
        self._answers[ticket].put(onward)

    def close(self) -> None:
        for answer in self._answers.values():
            answer.put(False)
        self._pool.shutdown()

    def _run(self, job: Job) -> None:
        if not hasattr(self._own, "bench"):
            self._own.bench = Bench(self._setup)
        bench = self._own.bench

        def ask(cases: object) -> bool:
            self._events.put(CaseDone(job.ticket, tuple(cases), len(bench.names)))
            return self._answers[job.ticket].get()

        self._events.put(bench.run(job, ask))
