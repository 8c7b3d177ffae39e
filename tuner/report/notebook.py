"""What a notebook shows while a study runs: one output, drawn again and again."""

from __future__ import annotations

import html
import sys
import time
from typing import Any

from rich.console import Console

from tuner.config.objective import Objective
from tuner.report.console import LiveProgress

REDRAW_SECONDS = 0.2
KEPT_LINES = 5
"""How often it is drawn at most: every drawing is a message. How many lines stay below the bar."""


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    python = sys.modules.get("IPython")
    return python is not None and hasattr(python.get_ipython(), "kernel")


class NotebookProgress(LiveProgress):
    """A bar, what goes on now, and the last lines of what was said, in one output of a cell.

    Parameters
    ----------
    objective : Objective
        Names the quantities to show.
    """

    def __init__(self, objective: Objective) -> None:
        super().__init__(Console(stderr=True), objective)
        self._note, self._lines = "", list[str]()
        self._output: Any = None
        self._drawn, self._is_new = 0.0, False

    def beat(self) -> None:
        """Draw what came too soon after what was drawn before."""
        if self._is_new and time.monotonic() > self._drawn + REDRAW_SECONDS:
            self._draw()

    def end(self) -> None:
        """Leave how many trials there are, and the last lines."""
        self._note = ""
        self._draw()

    def _open(self) -> None:
        self._draw()

    def _show(self, note: str) -> bool:
        self._note, self._is_new = note, True
        self.beat()
        return True

    def _say(self, text: str) -> None:
        self._lines = [*self._lines, text][-KEPT_LINES:]
        self._is_new = True

    def _draw(self) -> None:
        from IPython.display import display

        self._drawn, self._is_new = time.monotonic(), False
        count = f"{self._done}/{self._total} trials"
        lines = "<br>".join(map(html.escape, self._lines))
        shown = {
            "text/html": f'<progress value="{self._done}" max="{self._total}"></progress> {count} '
            f"<small>{html.escape(self._note)}<br>{lines}</small>",
            "text/plain": "; ".join(filter(None, (count, self._note))),
        }
        if self._output is None:
            self._output = display(shown, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._output.update(shown, raw=True)
