"""What `tuner run` prints when it ends: one table of results, the verdict, and what to do next."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from tuner.config.load import Config
from tuner.execution.text import clean
from tuner.records import Final, Summary, TrialRecord
from tuner.run.next_steps import next_steps
from tuner.run.rows import (
    HOSTS,
    HOSTS_NOTE,
    captions,
    final_captions,
    final_rows,
    host_rows,
    params_rows,
    result_rows,
)
from tuner.selection.results import RunResult

Row = Sequence[str]
UNBOUNDED = 10_000


def print_result(out: Console, result: RunResult, config: Config) -> None:
    """Print how a run ended.

    Parameters
    ----------
    out : Console
        Standard output.
    result : RunResult
        What the run gave.
    config : Config
        Of the study: objective, search space, and the path that commands name.
    """
    summary = result.summary
    print_found(out, summary, config, config.space.describe())
    for title, lines in (("what came out:", summary.verdict), ("noted:", summary.notes)):
        if lines:
            out.print()
            say(out, title)
            _lines(out, [f"- {line}" for line in lines])
    out.print()
    _lines(out, next_steps(result, config))


def print_found(
    out: Console, summary: Summary, config: Config, searched: Mapping[str, Mapping[str, object]]
) -> None:
    """Print the best trial beside the baseline, the finalists, the hosts, and its params."""
    objective = config.objective
    if summary.best is not None:
        print_table(out, _title(summary), *result_rows(summary, objective))
        meaning = config.plugin.meanings.get(objective.primary, "")
        _lines(out, captions(summary, objective, meaning))
    if summary.final is not None:
        print_table(out, _final_title(summary.final), *final_rows(summary, objective))
        _lines(out, final_captions(summary, objective))
    if len(summary.hosts) > 1:
        print_table(out, HOSTS, *host_rows(summary.hosts))
        say(out, HOSTS_NOTE)
    if summary.best is not None:
        print_params(out, summary.best, searched)


def print_table(out: Console, title: str, headers: Row, rows: Sequence[Row]) -> None:
    """Print a table; where the console is too narrow for it, a paragraph for each row."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, header in enumerate(headers):
        table.add_column(header, justify="right" if index else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    say(out, title)
    if out.measure(table, options=out.options.update(width=UNBOUNDED)).maximum <= out.width:
        out.print(table)
        return
    for row in rows:
        names = (header.replace("\n", " ") for header in headers[1:])
        cells = [f"{name} {cell}" for name, cell in zip(names, row[1:], strict=True)]
        say(out, row[0])
        wrapped = textwrap.wrap("; ".join(cells), out.width - 2)
        say(out, textwrap.indent("\n".join(wrapped), "  "))


def say(out: Console, text: str) -> None:
    """Print a line as it is: no markup, no colours, wrapped by the terminal alone."""
    out.print(clean(text), highlight=False, markup=False, soft_wrap=True)


def _lines(out: Console, lines: Sequence[str] | Iterator[str]) -> None:
    for line in lines:
        say(out, line)


def _title(summary: Summary) -> str:
    assert summary.best is not None
    number = summary.best.number
    what = f"trial {number}"
    if summary.best.is_baseline:
        what += " (the baseline's params, in the script that is exported)"
    return f"{what} against the baseline" if summary.finished else f"the best so far: {what}"


def _final_title(final: Final) -> str:
    what = "as whole scripts" if final.what == "process" else "(run)"
    count = len(final.finalists)
    named = f"the {count} best trials of the search" if count > 1 else "the best trial"
    return f"finalists: {named}, timed again {what}, in turns with the baseline"


def print_params(
    out: Console, record: TrialRecord, searched: Mapping[str, Mapping[str, object]]
) -> None:
    """Print a trial's parameters, those that were searched with their range."""
    say(out, f"setting of trial {record.number}")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in ("parameter", "value", ""):
        table.add_column(header, justify="right" if header == "value" else "left")
    for row in params_rows(record, searched):
        table.add_row(*row)
    out.print(table)
