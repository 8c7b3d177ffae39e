"""Placeholders stand for values; words and shells' texts keep every character of them."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuner_plugins.command.template import TemplateError, fill, names, shell_text, words

TEXTS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=12)


def test_values_fill_placeholders_and_double_braces_are_braces() -> None:
    assert names("{a}-{b}{{c}}") == ["a", "b"]
    assert fill("{a}-{b}{{c}}", {"a": 1, "b": True}) == "1-true{c}"
    assert fill("x{a}", {"a": 0.1}) == "x0.1"
    assert fill("x{a}", {"a": None}) is None


@pytest.mark.parametrize("text", ["{", "a}", "{a b}", "{1}", "awk '{print $1}'"])
def test_a_brace_alone_is_an_error(text: str) -> None:
    with pytest.raises(TemplateError, match=r"write '(\{\{|\}\})' for the character"):
        names(text)


@pytest.mark.parametrize(
    ("fast", "mode", "expected"),
    [
        (True, "sr", ["p", "--fast", "-x", "sr", "--mode=sr"]),
        (False, None, ["p"]),
        (None, 0, ["p", "-x", "0", "--mode=0"]),
    ],
)
def test_flags_are_there_or_not(fast: object, mode: object, expected: list[str]) -> None:
    flags = {"fast": ["--fast"], "option": ["-x", "{option}"]}
    values = {"fast": fast, "option": mode, "mode": mode}
    assert words(["p", "{fast}", "{option}", "--mode={mode}"], flags, values) == expected


@given(TEXTS, TEXTS)
def test_a_shell_splits_no_value(first: str, second: str) -> None:
    text = shell_text("run {a} -x{b}", {}, {"a": first, "b": second})
    assert shlex.split(text) == ["run", first, f"-x{second}"]


def test_a_shell_passes_on_what_it_is_given() -> None:
    odd = "a 'b' \"c\" $HOME `id` \\ *\n-x"
    text = shell_text("printf %s {odd}", {}, {"odd": odd})
    assert subprocess.run(["/bin/sh", "-c", text], capture_output=True, text=True).stdout == odd
