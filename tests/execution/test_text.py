"""What plug-ins say: its end, harmless, and short enough to be read."""

from __future__ import annotations

import pytest

from tuner.execution.jobs import JobDone, PhaseBegun, now
from tuner.execution.text import KEPT, LINES, LONGEST_LINE, clean, described, last_lines
from tuner.plugin import RunError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain\ttext\nof two lines: ä €", "plain\ttext\nof two lines: ä €"),
        ("\x1b[31mred\x1b[0m", "�red�"),
        ("\x1b[2J\x1b[1;1Hgone", "��gone"),
        ("\x1b]0;title\x07text", "�text"),
        ("\x1b]8;;http://a\x1b\\link\x1b]8;;\x1b\\", "�link�"),
        ("\x1b]0;without an end", "�0;without an end"),
        ("\x9b31mred\x9d0;title\x9ctext", "�red�text"),
        ("\x1bcreset\x1b(0", "�reset�"),
        ("a\x00b\x07c\x7fd\x85e", r"a\x00b\x07c\x7fd\x85e"),
        ("10 %\r20 %\r\ndone", "10 %\n20 %\ndone"),
        ("abc\u202ecba\u2066", r"abc\u202ecba\u2066"),
        ("file \udce9 \ud800", r"file \xe9 \ud800"),
        (b"\xff\xfe bytes \xc3\xa4", "�� bytes ä"),
        ("", ""),
    ],
)
def test_what_could_act_is_replaced(text: str | bytes, expected: str) -> None:
    assert clean(text) == expected
    assert clean(clean(text)) == expected


@pytest.mark.parametrize("line", ["x" * 99 + "\n", "ä" * 99 + "\n", b"x" * 99 + b"\n"])
def test_the_end_is_kept_from_the_beginning_of_a_line(line: str | bytes) -> None:
    kept = clean(line * 10_000)
    assert KEPT - 200 < len(kept.encode()) <= KEPT
    text = line if isinstance(line, str) else line.decode()
    assert set(kept.splitlines()) == {text.strip()}


def test_a_line_without_an_end_is_cut_all_the_same() -> None:
    assert clean("y" * 10**7) == "y" * KEPT
    assert last_lines("y" * 10**7) == "y" * LONGEST_LINE + " ..."


def test_the_last_lines_are_shown() -> None:
    shown = last_lines("\n".join(map(str, range(1000))) + "\n\n")
    assert shown.splitlines() == [str(n) for n in range(1000 - LINES, 1000)]


def test_an_error_begins_with_its_kind_however_long_it_is() -> None:
    assert described(RuntimeError()).splitlines()[0] == "RuntimeError"
    assert described(ValueError("\x1b[1mbad\nworse")).splitlines()[0] == "ValueError: �bad"
    described_long = described(ValueError("long " * 10**6))
    assert described_long.startswith("ValueError: long long ")
    assert len(described_long) < (LINES + 1) * (LONGEST_LINE + 5)


def test_all_that_a_job_says_is_clean() -> None:
    done = JobDone(0, "failed", now(), now(), (), "\x1b[2Jgone", findings=["a\x00"])
    assert (done.reason, done.findings) == ("�gone", (r"a\x00",))
    assert PhaseBegun(0, "\x1b[2Jgone").phase == "�gone"


def test_a_program_that_failed_is_told_without_the_plug_in_s_frames() -> None:
    with pytest.raises(RunError) as caught:
        raise RunError("sort ended with exit code 2:\nnoise\nsort: no such file")
    first, *rest = described(caught.value).splitlines()
    assert first == "sort ended with exit code 2: sort: no such file"
    assert rest == ["noise", "sort: no such file"]
    assert described(RunError("killed")) == "killed"
