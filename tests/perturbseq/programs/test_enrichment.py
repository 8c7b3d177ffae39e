from __future__ import annotations

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import gseapy
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import fisher_exact
from statsmodels.stats.multitest import multipletests
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.programs.enrichment import (
    direction_sets,
    enrich,
    read_gmt,
)
from tuner_plugins.perturbseq.programs.gprofiler import gprofiler

GENES = [f"G{i}" for i in range(200)]


def terms(rng, n=40):
    return {f"term {i}": list(rng.choice(GENES, rng.integers(5, 40), False)) for i in range(n)}


def test_p_and_odds_are_fishers():
    rng = np.random.default_rng(0)
    library = terms(rng)
    chosen = list(rng.choice(GENES, 30, False))
    table = enrich({"P0": chosen}, GENES, library).set_index("term")
    for term, genes in library.items():
        a = len(set(chosen) & set(genes))
        box = [[a, 30 - a], [len(genes) - a, 200 - 30 - len(genes) + a]]
        odds, p = fisher_exact(box, alternative="greater")
        assert table.loc[term, "p"] == pytest.approx(p, rel=1e-9)
        assert table.loc[term, "odds_ratio"] == pytest.approx(odds)
        assert set(filter(None, table.loc[term, "genes"].split(";"))) == set(chosen) & set(genes)


def test_p_agrees_with_gseapy_where_that_has_a_hit(tmp_path):
    rng = np.random.default_rng(1)
    library = terms(rng)
    chosen = list(rng.choice(GENES, 25, False))
    theirs = gseapy.enrich(chosen, library, background=GENES, outdir=None, no_plot=True).results
    ours = enrich({"P0": chosen}, GENES, library).set_index("term")
    hits = theirs.set_index("Term")["P-value"]
    assert len(hits) > 20
    np.testing.assert_allclose(ours.loc[hits.index, "p"], hits, rtol=1e-9)


def test_adjusted_over_every_term_that_was_tested():
    rng = np.random.default_rng(2)
    library = terms(rng)
    sets = {"P0": GENES[:3], "P1": GENES[50:90], "empty": []}
    table = enrich(sets, GENES, library)
    assert len(table) == 3 * len(library)
    assert (table["overlap"] == 0).any()
    np.testing.assert_allclose(table["q"], multipletests(table["p"], method="fdr_bh")[1])
    only_hits = table[table["overlap"] > 0]
    too_small = multipletests(only_hits["p"], method="fdr_bh")[1]
    assert (only_hits["q"] >= too_small - 1e-12).all()
    assert (only_hits["q"] > too_small + 1e-6).any()


def test_the_background_is_the_tested_genes():
    library = {"all tested": GENES[:50], "half": GENES[:25]}
    chosen = GENES[:20]
    inside = enrich({"P0": chosen}, GENES[:50], library).set_index("term")
    assert inside.loc["all tested", "p"] == 1.0  # nothing to find: every tested gene is in it
    assert inside.loc["half", "background"] == 50
    wide = enrich({"P0": chosen}, GENES, library).set_index("term")
    assert wide.loc["all tested", "p"] < 1e-10


def test_no_hit_is_a_table_too():
    table = enrich({"P0": GENES[:5]}, GENES, {"far": GENES[100:110]})
    assert table["overlap"].tolist() == [0]
    assert table["p"].tolist() == [1.0]
    assert table["genes"].tolist() == [""]
    assert enrich({}, GENES, {"far": GENES[100:110]}).empty


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 200), st.integers(5, 200), st.integers(0, 2**16))
def test_p_is_a_p_for_sets_of_any_size(size, term_size, seed):
    rng = np.random.default_rng(seed)
    table = enrich(
        {"s": list(rng.choice(GENES, size, False))},
        GENES,
        {"t": list(rng.choice(GENES, term_size, False))},
        max_size=200,
    )
    assert table["p"].between(0, 1, inclusive="right").all()
    assert not table["odds_ratio"].isna().all() or size in (0, 200) or term_size == 200


def test_null_p_values_are_not_too_small():
    rng = np.random.default_rng(3)
    library = terms(rng, 30)
    false = 0
    mid = []
    for _ in range(60):
        table = enrich({"s": list(rng.choice(GENES, 40, False))}, GENES, library)
        false += bool((table["q"] < 0.1).any())
        row = table[table["term"] == "term 3"]
        mid.append(row["p"].item())
    assert false <= 13  # 60 runs at <= 10 %: more than 13 has probability 0.003
    assert np.mean(np.array(mid) < 0.1) <= 0.2


def test_a_planted_set_comes_first(tmp_path):
    rng = np.random.default_rng(4)
    universe = [f"GENE{i}" for i in range(6000)]
    name = "Type II Interferon-Mediated Signaling Pathway (GO:0060333)"
    planted = universe[:23]
    library = {f"term {i}": rng.choice(universe, rng.integers(5, 80), False) for i in range(800)}
    lines = ["\t".join([term, "", *genes]) for term, genes in {**library, name: planted}.items()]
    (tmp_path / "library.gmt").write_text("\n".join(lines) + "\n")
    library = read_gmt(tmp_path / "library.gmt")
    others = list(rng.choice([g for g in universe if g not in planted], 1500, False))
    noise = list(rng.choice(others, 5, False))
    table = enrich({"P0": planted[:12] + noise, "P1": others[:20]}, others + planted, library)
    first = table[table["set"] == "P0"].iloc[0]
    assert first["term"] == name
    assert first["q"] < 1e-6


def test_mouse_symbols_match_and_duplicates_count_once():
    table = enrich(
        {"P0": ["Stat1", "Irf1", "STAT1"]},
        ["Stat1", "Irf1", "Jak2", "Actb", "Gapdh", "Tubb"],
        {"ifn": ["STAT1", "IRF1", "JAK2"]},
        min_size=1,
    )
    assert table["set_size"].item() == 2
    assert table["overlap"].item() == 2


def test_symbols_that_r_has_written_match_gene_sets():
    background = ["HLA.A", "HLA.B", "MT.ND1", "ACTB", "GAPDH", "TUBB"]
    table = enrich({"P0": ["HLA.A", "HLA.B"]}, background, {"mhc": ["HLA-A", "HLA-B"]}, min_size=1)
    assert table["overlap"].item() == 2
    assert table["genes"].item() == "HLA.A;HLA.B"
    # where hyphens are, dots are other genes
    table = enrich(
        {"P0": ["HLA-A"]}, ["HLA-A", "X.1", "ACTB"], {"odd": ["X-1", "ACTB"]}, min_size=1
    )
    assert table["term_size"].item() == 1


def test_up_and_down_are_apart():
    coef = pd.DataFrame({"A,B": [1.0, -1, 2, 0], "T": [0.0, 0, -1, 0]}, index=list("wxyz"))
    sets = direction_sets(coef, coef.abs() > 0.5)
    assert sets == {"A,B up": ["w", "y"], "A,B down": ["x"], "T down": ["y"]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no gene sets"),
        ("a\tdescription\n", "line 1: no genes"),
        ("a\t\tG1\n\na\t\tG2\n", "line 3: term 'a' comes twice"),
    ],
)
def test_bad_gmt_files_are_refused_in_one_line(tmp_path, text, words):
    path = tmp_path / "sets.gmt"
    path.write_text(text)
    with pytest.raises(AnalysisError, match=words) as caught:
        read_gmt(path)
    assert "\n" not in str(caught.value)


def test_a_gmt_file_is_read_as_it_is(tmp_path):
    path = tmp_path / "sets.gmt"
    path.write_text("a, b (GO:1)\tabout\tG1\tG2\tG1\t\nc\t\tG3,1.0\tG4\n")
    assert read_gmt(path) == {"a, b (GO:1)": ["G1", "G2"], "c": ["G3", "G4"]}
    packed = tmp_path / "sets.gmt.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_gmt(packed) == read_gmt(path)
    packed.write_bytes(packed.read_bytes()[:-12])
    with pytest.raises(AnalysisError, match="cannot read gene sets from .*sets.gmt.gz"):
        read_gmt(packed)


def test_absent_binary_and_unfitting_input_are_refused(tmp_path):
    with pytest.raises(AnalysisError, match="cannot read gene sets"):
        read_gmt(tmp_path / "absent.gmt")
    (tmp_path / "binary.gmt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(AnalysisError, match="cannot read gene sets"):
        read_gmt(tmp_path / "binary.gmt")
    with pytest.raises(AnalysisError, match="'X' that is not in the background"):
        enrich({"s": ["x"]}, GENES, {"t": GENES[:9]})
    with pytest.raises(AnalysisError, match="are gene names symbols"):
        enrich({"s": []}, GENES, {"t": ["ENSG1", "ENSG2"]})


@pytest.fixture
def service():
    """Serve one canned answer on this machine, and keep what was asked."""
    asked = []
    answers = [b"{}"]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answers[0])

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", asked, answers
    server.shutdown()
    server.server_close()


def answer_row(query, name, p):
    return {
        **{"query": query, "name": name, "native": f"GO:{name}", "p_value": p},
        **{"intersection_size": 2, "query_size": 3, "term_size": 9, "effective_domain_size": 200},
    }


def test_gprofiler_p_values_are_not_adjusted_twice(service):
    url, asked, answers = service
    rows = [answer_row("P1", "c", 0.2), answer_row("P0", "b", 0.04), answer_row("P0", "a", 0.01)]
    answers[0] = json.dumps({"result": rows}).encode()
    table = gprofiler({"P0": GENES[:3], "P1": GENES[3:6], "none": []}, GENES, url=url)
    assert table["q"].tolist() == [0.01, 0.04, 0.2]
    assert table["p"].isna().all()
    assert table["term"].tolist() == ["a (GO:a)", "b (GO:b)", "c (GO:c)"]
    assert asked[0]["background"] == GENES
    assert asked[0]["domain_scope"] == "custom"
    assert set(asked[0]["query"]) == {"P0", "P1"}


def test_gprofiler_that_does_not_answer_is_one_line(service):
    url, _, answers = service
    for broken in (b"not json", b"{}", b'{"result": [{"query": "P0"}]}'):
        answers[0] = broken
        with pytest.raises(AnalysisError, match="use a GMT file") as caught:
            gprofiler({"P0": GENES[:3]}, GENES, url=url)
        assert "\n" not in str(caught.value)
    with pytest.raises(AnalysisError, match="use a GMT file"):
        gprofiler({"P0": GENES[:3]}, GENES, url="http://127.0.0.1:9/", timeout=1)
    assert gprofiler({"P0": []}, GENES, url="http://127.0.0.1:9/").empty
