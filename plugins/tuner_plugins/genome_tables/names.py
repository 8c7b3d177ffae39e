"""Chromosome names of one file asked of another: ``chr21`` and ``21``, ``chrM`` and ``MT``."""

from __future__ import annotations

import re
from collections.abc import Collection
from difflib import get_close_matches
from itertools import islice

_PREFIX = re.compile(r"^(chromosome|chrom|chr)[ _.-]?(?=.)")
_MITOCHONDRION = frozenset({"m", "mt", "mito", "mtdna", "mitochondrion"})
_ROMAN = re.compile(r"(x{0,3})(ix|iv|v?i{0,3})")
_DIGITS = re.compile(r"(\d{1,18})", re.ASCII)
_SHOWN = 5
_LONGEST = 64
_COMPARED = 10_000


def suggest_names(chrom: str, known: Collection[str]) -> str:
    """Return what to say of a chromosome that a file lacks: what it may be called there.

    Names are taken for the same where they differ by ``chr``, case, leading zeros, ``M`` and
    ``MT``, or, in a file that counts in the other numerals, Roman and Arabic ones.

    Examples
    --------
    >>> suggest_names("MT", ["chr1", "chrM"])
    "did you mean 'chrM'? it has chrM, chr1"
    >>> suggest_names("chrX", ["chr1", "chr10", "chr2"])
    'it has chr1, chr2, chr10'
    """
    if not known:
        return "it has no entries at all"
    same = same_names(chrom, known)
    short = (name for name in known if len(name) <= _LONGEST)
    near = same or get_close_matches(chrom, list(islice(short, _COMPARED)), n=3)
    first = sorted(islice(known, _COMPARED), key=_by_number)[:_SHOWN]
    chosen = list(dict.fromkeys([*near, *first]))[:_SHOWN]
    some = [*chosen[: len(same)], *sorted(chosen[len(same) :], key=_by_number)]
    more = ", ..." if len(known) > len(some) else ""
    question = f"did you mean {' or '.join(map(repr, same[:_SHOWN]))}? " if same else ""
    return f"{question}it has {', '.join(map(shown, some))}{more}"


def same_names(chrom: str, known: Collection[str]) -> list[str]:
    """Return what a chromosome may be called in a file: see `suggest_names`.

    Examples
    --------
    >>> same_names("chr10", ["1", "10"])
    ['10']
    """
    plain = {name: _plain_name(name) for name in known if len(name) <= _LONGEST}
    wanted = _plain_name(chrom)
    same = [name for name, key in plain.items() if key == wanted]
    if same:
        return same
    roman = "ii" in plain.values()  # X is a chromosome of its own, and 10 only beside II
    wanted = _arabic(wanted, roman)
    return [name for name, key in plain.items() if _arabic(key, roman) == wanted]


def shown(text: str) -> str:
    r"""Return what a file holds as one line can show it: cut, and escaped where unprintable.

    Examples
    --------
    >>> shown("chr1"), shown("a\nb")
    ('chr1', "'a\\nb'")
    """
    told = text if text.isprintable() else ascii(text[: _LONGEST + 1])
    return told if len(told) <= _LONGEST + 2 else f"{told[:_LONGEST]}..."


def _by_number(name: str) -> list[str | int]:
    """Return what names are sorted by: ``chr2`` before ``chr10``."""
    parts = _DIGITS.split(name)  # text and digits in turn, which compare
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


def _plain_name(name: str) -> str:
    key = _PREFIX.sub("", name.strip().lower())
    return "m" if key in _MITOCHONDRION else key.lstrip("0") or key[:1]


def _arabic(key: str, tens: bool) -> str:
    """Return a Roman numeral below 40 as an Arabic one; other names, X without `tens`, as is."""
    match = _ROMAN.fullmatch(key)
    if not key or match is None or (key == "x" and not tens):
        return key
    ones = {"ix": 9, "iv": 4}.get(match[2], 5 * match[2].count("v") + match[2].count("i"))
    return str(10 * len(match[1]) + ones)
