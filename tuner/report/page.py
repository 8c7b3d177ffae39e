"""A page of HTML in one file: offline, light and dark, without scripts, every value escaped."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from tuner.config.text import cleaned_data
from tuner.export.outputs import OutputError, write_output
from tuner.plugin import InputError

MOST_BYTES = 4_000_000
"""Of all pictures of a page as they are embedded, so that it stays below 5 MB."""

MOST_ROWS = 200
WIDTH = 560
"""Pixels of a picture's width before it is enlarged, by a click or a press of the space bar."""


@dataclass(frozen=True)
class Table:
    """A table; `words` sets its columns to the left, notes stand below it."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    notes: Sequence[str] = ()
    words: bool = False


@dataclass(frozen=True)
class Picture:
    """A PNG file, or the bytes of one."""

    title: str
    png: Path | bytes
    source: str = ""


@dataclass(frozen=True)
class Section:
    """A heading, and below it lines, tables, pictures, and texts that unfold: (title, text)."""

    title: str
    lines: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    texts: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Page:
    """What is written into the file."""

    title: str
    subtitle: str
    sections: Sequence[Section]


def render(page: Page) -> str:
    """Return the page as HTML; pictures that would make it too large are named instead."""
    import jinja2  # not needed by most commands

    left, sections = MOST_BYTES, []
    for section in page.sections:
        tables = [_shown(table) for table in section.tables if table.rows]
        if not (section.lines or tables or section.pictures or section.texts):
            continue
        shown, unshown = [], []
        for picture in section.pictures:
            png = picture.png if isinstance(picture.png, bytes) else picture.png.read_bytes()
            source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
            if len(source) <= left:
                left -= len(source)
                shown.append(replace(picture, title=_clean(picture.title), source=source))
            else:
                unshown.append(
                    f"{picture.title}: a picture too large for this page; see its folder"
                )
        sections.append(
            Section(
                _clean(section.title),
                cleaned_data([*section.lines, *unshown]),
                tables,
                shown,
                cleaned_data(section.texts),
            )
        )
    template = resources.files("tuner.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    whole = Page(_clean(page.title), _clean(page.subtitle), sections)
    return environment.from_string(template).render(page=whole, width=WIDTH)


def write_page(path: Path, page: Page) -> None:
    """Write a page as HTML; errors as of `write_file`."""
    text = render(page)
    write_file(path, lambda part: part.write_text(text, encoding="utf-8"))


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file, whole or not at all; `InputError` where it cannot be written."""
    try:
        write_output(path, write)
    except OutputError as error:
        raise InputError(str(error)) from None


def table_of(headers: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> Table:
    """Return a table of words."""
    return Table(headers, list(rows), title, words=True)


def _shown(table: Table) -> Table:
    more = len(table.rows) - MOST_ROWS
    notes = [*table.notes, *([f"{more} more rows are left out"] if more > 0 else [])]
    return Table(
        cleaned_data(table.headers),
        cleaned_data(table.rows[:MOST_ROWS]),
        _clean(table.title),
        cleaned_data(notes),
        table.words,
    )


def _clean(text: str) -> str:
    found: str = cleaned_data(text)
    return found
