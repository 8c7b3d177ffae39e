from __future__ import annotations

import pytest
from tuner_plugins.genome_tables.names import shown, suggest_names

UCSC = [f"chr{i}" for i in (*range(1, 23), "X", "Y", "M")]
ENSEMBL = [name[3:].replace("M", "MT") for name in UCSC]
YEAST = ["chrI", "chrII", "chrIII", "chrIV", "chrIX", "chrX", "chrXVI", "chrM"]


@pytest.mark.parametrize(
    ("asked", "known", "meant"),
    [
        ("21", UCSC, "chr21"),
        ("chr21", ENSEMBL, "21"),
        ("chrM", ENSEMBL, "MT"),
        ("MT", UCSC, "chrM"),
        ("chrMT", UCSC, "chrM"),
        ("CHR21", UCSC, "chr21"),
        ("Chr_21", UCSC, "chr21"),
        ("chrx", UCSC, "chrX"),
        ("x", ENSEMBL, "X"),
        ("chr01", UCSC, "chr1"),
        ("chr1", ["chr01", "chr02", "chr10"], "chr01"),
        ("chromosome 3", UCSC, "chr3"),
        ("4", YEAST, "chrIV"),
        ("chr9", YEAST, "chrIX"),
        ("10", YEAST, "chrX"),
        ("chr16", YEAST, "chrXVI"),
        ("Mito", YEAST, "chrM"),
        ("chrIV", ["1", "2", "3", "4"], "4"),
        ("II", UCSC, "chr2"),
    ],
)
def test_a_name_that_differs_by_spelling_is_suggested(asked, known, meant):
    said = suggest_names(asked, known)
    assert said.startswith(f"did you mean {meant!r}? it has {meant}")
    assert said.endswith(", ...") == (len(known) > 5)


@pytest.mark.parametrize(
    ("asked", "known", "said"),
    [
        ("chr23", ["chr1", "chr22", "chrX"], "it has chr1, chr22, chrX"),
        ("10", ["1", "2", "X"], "it has 1, 2, X"),
        ("chrX", ["chr10", "chr2", "chr1"], "it has chr1, chr2, chr10"),
        ("chrX", UCSC[:22][::-1], "it has chr1, chr2, chr7, chr8, chr9, ..."),
        ("21", ["b10", "chr21", "b9"], "did you mean 'chr21'? it has chr21, b9, b10"),
        ("21", ["8" * 5000, "b"], f"it has {'8' * 64}..., b"),
        ("chrX", ["1", "2", "10"], "it has 1, 2, 10"),
        ("scaffold_1", ["a", "b", "c", "d", "e", "f"], "it has a, b, c, d, e, ..."),
        ("chr", ["chr1"], "it has chr1"),
        ("", ["chr1"], "it has chr1"),
        ("0", ["00"], "did you mean '00'? it has 00"),
        ("chr1", [], "it has no entries at all"),
    ],
)
def test_other_names_are_listed(asked, known, said):
    assert suggest_names(asked, known) == said


@pytest.mark.parametrize("name", ["x" * 1000, "\0" * 64, "\0" * 1000, "\N{SNOWMAN}\n" * 40])
def test_a_long_name_is_cut_as_it_is_shown(name):
    assert len(shown(name)) <= 70
    assert shown(name).isprintable()
    assert len(suggest_names("chr1", [f"{number}{name}" for number in range(9)])) < 400
