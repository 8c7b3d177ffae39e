"""Cleaned text can be stored anywhere, and what was fine stays as it was."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from tuner.config.text import cleaned, cleaned_data


@given(st.text(st.characters(exclude_categories=())))
def test_anything_takes_it(text: str) -> None:
    clean = cleaned(text)
    clean.encode()
    assert not any(ord(c) < 32 and c not in "\t\n" for c in clean)
    assert cleaned(clean) == clean


TURNS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@given(st.text(st.characters(exclude_categories=("Cc", "Cs", "Cn"), exclude_characters=TURNS)))
def test_what_is_fine_stays(text: str) -> None:
    assert cleaned(text) == text


def test_the_bytes_of_a_name_are_shown() -> None:
    assert cleaned(os.fsdecode(b"caf\xe9.bw")) == "caf\\xe9.bw"
    assert cleaned("a\r\nb\ud800\x9b") == "a\nb\\ud800\\x9b"
    assert cleaned_data({"\udce9": ["\x00", 1, None]}) == {"\\xe9": ["\\x00", 1, None]}
