from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest
import tuner_plugins.perturbseq as ps
from scipy import sparse
from tuner_plugins.perturbseq.annotated import ScreenWarning
from tuner_plugins.perturbseq.data.positions import (
    bases,
    places_of,
    read_elements,
    read_genes,
    starts_of,
)
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.inference.cis import CisOptions, find_pairs, near, tabulate_pairs
from tuner_plugins.perturbseq.inference.coefficients import tabulate
from tuner_plugins.perturbseq.inference.fold_changes import fold_changes
from tuner_plugins.perturbseq.inference.program_tests import adjust

from benchmarks.perturbseq_cis import CONTROL, enhancer_screen

OPTIONS = {"control": CONTROL, "n_permutations": 0, "alphas": [0.01], "l1_ratios": [0.5]}


def brute_force(genes, elements, distance):
    found = set()
    for element, place in elements.iterrows():
        for gene, row in genes.iterrows():
            tss = row.start if row.strand == "+" else row.end - 1
            away = (place.start + place.end) // 2 - tss
            if place.chrom == row.chrom and abs(away) <= distance:
                found.add((element, gene, int(away if row.strand == "+" else -away)))
    return found


@pytest.mark.parametrize("distance", [0, 40_000, 1_000_000, 10**9])
def test_pairs_are_those_of_brute_force(tmp_path, distance):
    screen = enhancer_screen(distance % 7, cells=4)
    gtf, bed = screen.write(tmp_path)
    options = CisOptions(gtf, bed, distance)
    if distance == 0:
        with pytest.raises(AnalysisError, match="no cis pair within 0 bases: 24 of 24 .* raise"):
            find_pairs(options, screen.elements.index, screen.genes.index)
        return
    found = find_pairs(options, screen.elements.index, screen.genes.index)
    expected = brute_force(screen.genes, read_elements(bed), distance)
    assert {tuple(row) for row in found.table.to_numpy().tolist()} == expected
    assert len(found.table) == len(expected) > 0
    assert found.complete


def test_a_pair_at_the_very_distance_counts_and_one_base_more_does_not():
    places = pd.DataFrame({"chrom": ["1"], "start": [1000], "end": [1000]}, index=["E"])
    starts = pd.DataFrame({"chrom": ["chr1"] * 3, "tss": [900, 899, 1100], "strand": [1, 1, -1]})
    starts.index = ["A", "B", "C"]
    assert near(places, starts, 100).to_numpy().tolist() == [["E", "A", 100], ["E", "C", 100]]


def gtf_line(kind, first, last, strand, about, chrom="chr1"):
    return f"{chrom}\tx\t{kind}\t{first}\t{last}\t.\t{strand}\t.\t{about}\n"


FORMS = {
    "genes.gtf": gtf_line("gene", 101, 200, "+", 'gene_id "ENSG1.4"; gene_name "MYC";')
    + gtf_line("transcript", 120, 500, "+", 'gene_id "ENSG1.4"; gene_name "MYC";')
    + gtf_line("gene", 301, 400, "-", 'gene_id "ENSG2.1"; gene_name "tp53";'),
    "transcripts.gtf": gtf_line("transcript", 101, 150, "+", 'gene_id "ENSG1"; gene_name "MYC";')
    + gtf_line("transcript", 111, 200, "+", 'gene_id "ENSG1"; gene_name "MYC";')
    + gtf_line("transcript", 301, 380, "-", 'gene_id "ENSG2"; gene_name "tp53";')
    + gtf_line("transcript", 311, 400, "-", 'gene_id "ENSG2"; gene_name "tp53";')
    + gtf_line("exon", 1, 900, "-", 'gene_id "ENSG2"; gene_name "tp53";'),
    "exons.gtf.gz": gtf_line("exon", 101, 120, "+", 'gene_id "ENSG1"; gene_name "MYC";')
    + gtf_line("exon", 150, 200, "+", 'gene_id "ENSG1"; gene_name "MYC";')
    + gtf_line("exon", 301, 400, "-", 'gene_id "ENSG2"; gene_name "tp53";'),
    "genes.gff3": gtf_line("gene", 101, 200, "+", "ID=gene:ENSG1;Name=MYC;biotype=x")
    + gtf_line("gene", 301, 400, "-", "ID=gene:ENSG2;Name=tp53"),
    "transcripts.gff3": gtf_line(
        "mRNA", 101, 150, "+", "ID=transcript:T1;Parent=gene:ENSG1;Name=MYC"
    )
    + gtf_line("mRNA", 120, 200, "+", "ID=transcript:T2;Parent=gene:ENSG1;Name=MYC")
    + gtf_line("mRNA", 301, 400, "-", "ID=transcript:T3;Parent=gene:ENSG2;Name=tp53"),
    "genes.bed": "chr1\t100\t200\tMYC\t0\t+\nchr1\t300\t400\ttp53\t0\t-\n",
}


@pytest.mark.parametrize("name", FORMS)
def test_genes_begin_where_their_strand_says(tmp_path, name):
    path = tmp_path / name
    text = FORMS[name].encode()
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    table = read_genes(path)
    assert table[["chrom", "tss", "strand"]].to_numpy().tolist() == [
        ["chr1", 100, 1],
        ["chr1", 399, -1],
    ]
    # names in any case, identifiers with a version of their own, and symbols beside identifiers
    for names, ids in (
        (["TP53", "MYC"], None),
        (["ENSG2.7", "ENSG1"], None),
        (["other", "P53"], ["ENSG2", "ENSG1"]),
    ):
        if name == "genes.bed" and names[0] != "TP53":
            continue
        starts, ambiguous = starts_of(table, names, ids)
        assert starts["tss"].tolist() == [399, 100]
        assert starts.index.tolist() == names
        assert ambiguous == []


def test_a_name_of_several_places_is_left_out_but_not_its_identifiers():
    genes = pd.DataFrame(
        [("E1", "Y_RNA", "chr1", 5, 1), ("E2", "Y_RNA", "chr2", 9, -1), ("E3", "X", "chr2", 7, 1)],
        columns=["id", "name", "chrom", "tss", "strand"],
    )
    starts, ambiguous = starts_of(genes, ["Y_RNA", "X", "none"])
    assert starts.index.tolist() == ["X"]
    assert ambiguous == ["Y_RNA"]
    assert starts_of(genes, ["E1", "E2"])[0]["tss"].tolist() == [5, 9]


def test_labels_are_positions_or_none():
    labels = [
        "chr1:100-200",
        "chrX_5_7",
        "chr2-10-20",
        "3:1,000-2,000",
        "MYC",
        "NT_1_2",
        "chr1:9-3",
    ]
    places = places_of(labels, None)
    assert places.index.tolist() == labels[:4]
    assert places.loc["3:1,000-2,000"].tolist() == ["3", 1000, 2000]


def test_guides_of_an_element_are_one_place(tmp_path):
    path = tmp_path / "guides.bed"
    path.write_text("track name=x\nchr1\t10\t30\tE\nchr1\t100\t120\tE\nchr2\t5\t9\n")
    table = read_elements(path)
    assert table.loc["E"].tolist() == ["chr1", 10, 120]
    assert table.loc["chr2:5-9"].tolist() == ["chr2", 5, 9]
    path.write_text("chr1\t10\t30\tE\nchr2\t100\t120\tE\n")
    with pytest.raises(AnalysisError, match="line 2: element 'E' lies on chr1 and on chr2; give"):
        read_elements(path)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.gtf", "chr1\tx\tgene\t5\t4\t.\t+\t.\tgene_id x\n", "line 1: 5 to 4 is no interval"),
        ("a.gtf", "chr1\t5\t9\tG\n", "line 1: a GTF or GFF3 line has 9 columns"),
        ("a.gtf", "", "holds no gene with a strand"),
        ("a.bed", "chr1\t5\t9\tG\n", "holds no gene with a strand"),
        ("a.txt", "chr1\t5\t9\tG\n", r"expected genes as .gtf, .gff3 or .bed"),
        ("a.gtf.gz", "\x1f\x8b\x08\x00", "is not a whole text file"),
    ],
)
def test_a_file_without_genes_is_one_line(tmp_path, name, text, said):
    path = tmp_path / name
    path.write_bytes(text.encode("latin1"))
    with pytest.raises(AnalysisError, match=said):
        read_genes(path)
    with pytest.raises(AnalysisError, match="no such file|No such file"):
        read_genes(tmp_path / "none.gtf")


def test_what_does_not_meet_is_one_line(tmp_path):
    screen = enhancer_screen(0, cells=4)
    gtf, bed = screen.write(tmp_path)
    genes, names = list(screen.genes.index), list(screen.elements.index)
    with pytest.raises(AnalysisError, match="none of 90 genes is in genes.gtf, which names 'GENE0"):
        find_pairs(CisOptions(gtf, bed), names, [f"other{i}" for i in range(90)])
    with pytest.raises(AnalysisError, match="none of 1 perturbations has a position by names"):
        find_pairs(CisOptions(gtf, bed), ["STAT1"], genes)
    with pytest.raises(AnalysisError, match="by labels, such as chr1:100-200 .* give elements"):
        find_pairs(CisOptions(gtf), ["STAT1"], genes)
    for wrong in (screen.elements.drop(columns="end"), screen.elements.iloc[[0, 0]]):
        with pytest.raises(AnalysisError, match="no end|a name comes twice"):
            find_pairs(CisOptions(gtf, wrong), names, genes)
    for wrong in ("far", "1 parsec", True, "-3"):
        with pytest.raises(AnalysisError, match="expected a distance such as 1Mb"):
            bases(wrong)


def effects_of(screen):
    """Return the fold changes of all genes by all elements."""
    labels = screen.adata.obs["perturbation"].to_numpy()
    names = np.array(screen.elements.index)
    design = sparse.csr_matrix((labels[:, None] == names).astype(float))
    counts = sparse.csr_matrix(screen.adata.X)
    depth = np.asarray(counts.sum(axis=1)).ravel()
    found = fold_changes(counts, depth, design, np.empty((len(labels), 0)))
    frame = pd.DataFrame(found["log2fc"], screen.genes.index, names)
    table = tabulate(frame, found["p"], np.asarray(design.sum(axis=0), dtype=int).ravel())
    columns = {"log2fc": "log2fc", "log2fc_low": "low", "log2fc_high": "high", "log2fc_p": "p"}
    table = table.assign(**{key: found[name].ravel() for key, name in columns.items()})
    return table.assign(log2fc_q=adjust(table["log2fc_p"]))


def test_planted_enhancers_are_found_and_false_ones_are_nominal(tmp_path):
    hits = false = found = planted = everywhere = 0
    for seed in range(4):
        screen = enhancer_screen(seed)
        gtf, bed = screen.write(tmp_path)
        pairs = find_pairs(CisOptions(gtf, bed), screen.elements.index, screen.genes.index)
        table = tabulate_pairs(pairs.table, effects_of(screen))
        np.testing.assert_allclose(table["q"], adjust(table["p"]))
        called = {
            (row.element, row.gene) for row in table[table["q"] <= 0.1].itertuples(index=False)
        }
        everywhere += int((table["q_all"] <= 0.1).sum())
        hits, planted = hits + len(called), planted + len(screen.truth)
        false, found = false + len(called - screen.truth), found + len(called & screen.truth)
        inside = [(row.element, row.gene) in screen.truth for row in table.itertuples(index=False)]
        assert ((table["log2fc_low"] < -1.2) & (table["log2fc_high"] > -1.2))[inside].mean() > 0.7
    assert planted > 30
    assert found / planted > 0.9
    assert false / hits < 0.2  # of some 45; 0.1 is nominal
    assert everywhere < hits  # fewer tests to correct for


def test_the_notebook_has_pairs_controls_and_their_calibration(tmp_path):
    screen = enhancer_screen(1)
    gtf, bed = screen.write(tmp_path)
    adata = screen.adata
    few = np.flatnonzero(adata.obs["perturbation"] == CONTROL)[:60]
    adata.obs.iloc[few, 0] = "NT-7"  # a negative control that was fitted
    with pytest.warns(ScreenWarning, match="look like controls"):
        ps.tl.elasticnet(adata, **OPTIONS)
    with pytest.raises(AnalysisError, match="no varm 'log2fc': tl.fold_changes writes it"):
        ps.tl.cis_pairs(adata, gtf, bed)
    ps.tl.fold_changes(adata)
    with pytest.warns(ScreenWarning, match="24 of 25 perturbations have a position and 90 of 90"):
        ps.tl.cis_pairs(adata, gtf, str(bed), distance="1Mb")
    table, controls = adata.uns["cis_pairs"], adata.uns["cis_controls"]
    p = pd.DataFrame(adata.varm["log2fc_p"])
    q = pd.DataFrame(adjust(p), p.index, p.columns)
    for key, values in (("p", p), ("q_all", q)):
        same = [values.at[gene, one] for one, gene in table[["element", "gene"]].to_numpy()]
        np.testing.assert_array_equal(table[key], same)
    mocks = set(controls["perturbation"])
    assert {"NT-7", "mock 0"} <= mocks
    assert 0.02 < (controls["p"] < 0.05).mean() < 0.09
    assert set(controls["gene"]) == set(table["gene"])
    places = screen.elements.drop("enh00")
    with pytest.warns(ScreenWarning, match="23 of 25"):
        ps.tl.cis_pairs(adata, gtf, places, calibrate=False)
    assert "cis_controls" not in adata.uns
    assert "enh00" not in set(adata.uns["cis_pairs"]["element"])
    assert ps.pl.cis_pairs(adata)[0].get_ylabel() == "-log10 p"
