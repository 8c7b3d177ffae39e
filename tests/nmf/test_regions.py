from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tuner_plugins.nmf.regions import Region, RegionError, parse_region


@settings(deadline=None, derandomize=True)
@given(
    chrom=st.from_regex(r"[A-Za-z0-9_.]{1,12}", fullmatch=True),
    start=st.integers(0, 10**9),
    length=st.integers(1, 10**9),
)
def test_a_region_reads_back_as_written(chrom, start, length):
    region = Region(chrom, start, start + length)
    assert parse_region(str(region)) == region
    assert parse_region(f"{chrom}:{start:,}-{start + length:,}") == region
    assert parse_region(chrom) == Region(chrom, 0, None)
    for open_ended in Region(chrom), Region(chrom, start):
        assert parse_region(str(open_ended)) == open_ended


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":1-2",
        "chr1:",
        "chr1:5",
        "chr1:-5-9",
        "chr1:a-b",
        "chr1:9-9",
        "chr1:9-3",
        "chr1:,-3",
        "chr1 :1-3",
        "chr1:1-3 chr2:1-3",
        "chr1:1.5-3",
        "chr1:\u0661-\u0663",
        "chr1:1-99999999999999999999",
    ],
)
def test_another_form_is_refused_in_one_line(text):
    with pytest.raises(RegionError) as caught:
        parse_region(text)
    assert "\n" not in str(caught.value)
    assert repr(text) in str(caught.value)
