from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tuner_plugins.nmf.io.regions import Region, RegionError, parse_region


@settings(deadline=None, derandomize=True)
@given(
    chrom=st.from_regex(r"[A-Za-z0-9_.]{1,12}", fullmatch=True),
    start=st.integers(0, 10**9),
    length=st.integers(1, 10**9),
)
def test_a_region_reads_back_as_written(chrom, start, length):
    region = Region(chrom, start, start + length)
    assert parse_region(str(region)) == region
    for form in ("{}", "{:,}"):
        first, last = form.format(start + 1), form.format(start + length)
        assert parse_region(f"{chrom}:{first}-{last}", "1-based") == region
    assert parse_region(chrom) == Region(chrom, 0, None)
    for open_ended in Region(chrom), Region(chrom, start):
        assert parse_region(str(open_ended)) == open_ended


def test_one_based_coordinates_are_those_of_samtools():
    assert parse_region("chr1:1,001-2,000", "1-based") == Region("chr1", 1000, 2000)
    assert parse_region("chr1:7-7", "1-based") == Region("chr1", 6, 7)
    assert parse_region("chr1:1-", "1-based") == Region("chr1", 0, None)
    assert parse_region("chr1", "1-based") == Region("chr1", 0, None)
    for text, said in [("chr1:0-5", "the first base is 1"), ("chr1:8-7", "at its start or beyond")]:
        with pytest.raises(RegionError, match=said):
            parse_region(text, "1-based")


@pytest.mark.parametrize("text", ["chr1:1,001-2,000", "chr1:5-1,000", "chr1:1,000-"])
def test_commas_are_only_taken_where_coordinates_are_one_based(text):
    with pytest.raises(RegionError, match="set 'coordinates: 1-based' in 'data'"):
        parse_region(text)
    assert parse_region(text, "1-based").chrom == "chr1"


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
