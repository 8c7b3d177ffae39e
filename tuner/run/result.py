"""What a study gives in Python: the best trial, all trials as a table, figures, a script."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.config.load import Config
from tuner.plugin import InputError, Params, Value
from tuner.run import session
from tuner.run.rows import captions, result_rows
from tuner.search.storage import read_study
from tuner.selection.results import RunResult

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SHOWN = 12
"""Characters of a number in a table."""


@dataclass(frozen=True)
class Best:
    """The best trial.

    Attributes
    ----------
    number : int
        The trial's number.
    params : mapping
        Every parameter.
    metrics : mapping
        Means over the cases, and ``time`` in seconds.
    """

    number: int
    params: Params
    metrics: Mapping[str, float]


class Result:
    """A study as it stood when the run ended.

    Attributes
    ----------
    study : str
        Its name in the storage.
    ending : str
        ``complete``, ``timeout``, ``exhausted`` (no setting is left) or ``interrupted``: the same
        call goes on then.
    folder : Path
        Figures, tables, configuration and script.
    script : Path or None
        The exported script; None where the study did not end.
    verdict : sequence of str
        What came out, in words.
    """

    def __init__(self, run: RunResult, config: Config) -> None:
        self._run, self._config = run, config
        self.study, self.ending = run.study, run.ending
        self.folder, self.script = run.folder.resolve(), run.export
        self.verdict: Sequence[str] = run.summary.verdict

    @property
    def best(self) -> Best:
        """The best trial; `InputError` where none has completed."""
        record = self._run.summary.best
        if record is None:
            raise InputError(f"study '{self.study}' has no completed trial yet")
        return Best(record.number, dict(record.params), dict(record.metrics))

    @cached_property
    def trials(self) -> pd.DataFrame:
        """Every trial that has ended, by number: state, params, metrics, times, reason.

        A metric with the name of a parameter stands as ``metrics.NAME``.
        """
        from tuner.report.trials import trials_table

        return trials_table(self._run.records)

    @cached_property
    def figures(self) -> Mapping[str, Figure]:
        """Figures of the study by name: ``history``, ``trade_off``, ``importances``, ``slices``.

        And ``front``, of several objectives; those that there is data for. What the plug-in itself
        draws is in `folder`.
        """
        from tuner.report.figures import draw_study

        study, run = read_study(self._config), self._run
        return draw_study(study, run.records, self._config.objective, run.summary.best)

    def export(self, path: str | Path) -> Path:
        """Write the best params into a stand-alone script at `path`; return it.

        Raises
        ------
        InputError
            Where no trial has completed, or the configuration is not that of the study any more.
        """
        session.export(self._config, Path(path))
        return Path(path)

    def __repr__(self) -> str:
        """Return name, ending and the best trial in a few lines."""
        counts = ", ".join(f"{n} {state}" for state, n in self._run.summary.counts.items())
        lines = [f"Result of study '{self.study}': {self.ending}; trials: {counts or 'none'}"]
        if self._run.summary.best is not None:
            best = self.best
            lines.append(f"  best: trial {best.number}, {_pairs(best.metrics)}")
            lines.append(f"  params: {_pairs(best.params)}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Return the same as HTML, each case beside the baseline, and the verdict."""
        summary, objective = self._run.summary, self._config.objective
        title, *_ = repr(self).splitlines()
        parts = [f"<p><b>{html.escape(title)}</b></p>"]
        if summary.best is not None:
            params = [[name, _text(value)] for name, value in summary.best.params.items()]
            parts.append(_table(["parameter", f"trial {summary.best.number}"], params))
            parts.append(_table(*result_rows(summary, objective)))
            meaning = self._config.plugin.meanings.get(objective.primary, "")
            parts.append(_list(captions(summary, objective, meaning)))
        parts.append(_list([*summary.verdict, *summary.notes]))
        return "".join(parts)


def _text(value: Value) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_text(value)}" for name, value in values.items())


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        shown = (html.escape(cell).replace("\n", "<br>") for cell in cells)
        return f"<tr>{''.join(f'<{tag}>{cell}</{tag}>' for cell in shown)}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f"<table><thead>{line(headers, 'th')}</thead><tbody>{body}</tbody></table>"


def _list(lines: Iterator[str] | Sequence[str]) -> str:
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""
