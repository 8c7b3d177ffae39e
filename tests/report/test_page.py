"""A page in one file: nothing that it is given becomes markup, and it stays small."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest

from tuner.plugin import InputError
from tuner.report import page
from tuner.report.page import Page, Picture, Section, Table, render, write_page

HOSTILE = "</title></pre><script>alert(1)</script><img src=x onerror='alert(2)'>\x1b[31m&\""


class Seen(HTMLParser):
    """Counts elements, and keeps attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.said = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.said += data


def everywhere(text: str) -> Page:
    table = Table([text], [[text]], text, [text])
    pictures = [Picture(text, b"\x89PNG")]
    return Page(text, text, [Section(text, [text], [table], pictures, [(text, text)])])


def test_no_value_becomes_markup() -> None:
    plain, hostile = Seen(render(everywhere("plain"))), Seen(render(everywhere(HOSTILE)))
    assert hostile.tags == plain.tags
    assert "script" not in plain.tags
    assert [name for name, _ in hostile.attributes] == [name for name, _ in plain.attributes]
    shown = HOSTILE.replace("\x1b", r"\x1b")
    assert hostile.said.count(shown) == plain.said.count("plain") > 10
    assert "\x1b" not in hostile.said


def test_nothing_is_fetched() -> None:
    seen = Seen(render(everywhere("plain")))
    addresses = [value for name, value in seen.attributes if name in ("src", "href")]
    assert addresses
    assert all(value.startswith(("data:", "#")) for value in addresses)
    assert "url(" not in render(everywhere("plain"))


def test_pictures_and_rows_beyond_the_limit_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "MOST_BYTES", 3000)
    pictures = [Picture(f"picture {i}", bytes(1000)) for i in range(4)]
    table = Table(["n"], [[str(i)] for i in range(page.MOST_ROWS + 7)])
    text = render(Page("t", "", [Section("s", tables=[table], pictures=pictures)]))
    assert text.count("data:image/png") == 2
    assert "picture 2: a picture too large" in text
    assert "7 more rows are left out" in text
    assert len(text) < 3000 + 20_000


def test_a_section_without_content_is_left_out() -> None:
    text = render(
        Page("t", "", [Section("full", ["line"]), Section("empty", tables=[Table([], [])])])
    )
    assert "empty" not in Seen(text).said


def test_a_page_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot write .*no folder .*make it first"):
        write_page(tmp_path / "none" / "report.html", Page("t", "", []))
