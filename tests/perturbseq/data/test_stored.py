"""Files of other times and other names: compound tables, identifiers in place of symbols."""

from __future__ import annotations

from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from tuner_plugins.perturbseq.data.covariates import is_mitochondrial
from tuner_plugins.perturbseq.data.labels import Labels
from tuner_plugins.perturbseq.data.matrix import CellsError, open_cells
from tuner_plugins.perturbseq.data.response import GeneChoice
from tuner_plugins.perturbseq.data.screen import Recipe, count_blocks, open_screen
from tuner_plugins.perturbseq.data.transform import learn
from tuner_plugins.perturbseq.model.load import load
from tuner_plugins.perturbseq.programs.grouping import own_gene

from tests.perturbseq.screens import small_screen

RECIPE = Recipe(Labels(control=("ctrl",)), covariates=("pct_counts_mt",))


def write_legacy(adata: anndata.AnnData, path: Path) -> None:
    """Write as anndata did before 0.7: tables are compound, categories stand in uns."""
    counts = sparse.csr_matrix(adata.X)
    labels = sorted(set(adata.obs["perturbation"]))
    codes = [labels.index(label) for label in adata.obs["perturbation"]]
    with h5py.File(path, "w") as file:
        group = file.create_group("X")
        group.attrs["h5sparse_format"] = "csr"
        group.attrs["h5sparse_shape"] = np.array(counts.shape)
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(counts, name)
        obs = [(n.encode(), c) for n, c in zip(adata.obs_names, codes, strict=True)]
        file["obs"] = np.array(obs, dtype=[("index", "S10"), ("perturbation", "i1")])
        file["var"] = np.array([(n.encode(),) for n in adata.var_names], dtype=[("index", "S10")])
        file.create_group("uns")["perturbation_categories"] = np.array([x.encode() for x in labels])


def test_a_file_of_anndata_before_0_7_is_read_as_anndata_reads_it(tmp_path):
    adata = small_screen()
    write_legacy(adata, tmp_path / "old.h5ad")
    screen = open_screen(tmp_path / "old.h5ad", Recipe(Labels(control=("ctrl",))))
    new = open_screen(adata, Recipe(Labels(control=("ctrl",))))
    assert screen.design.names == new.design.names == ["A", "B", "C"]
    assert list(screen.design.groups) == list(new.design.groups)
    assert list(screen.counts.genes) == list(adata.var_names)
    read = sparse.vstack([block for _, block in count_blocks(screen, checked=True)])
    np.testing.assert_array_equal(read.toarray(), adata.X.toarray())


def test_a_file_that_not_even_anndata_reads_is_one_line(tmp_path):
    write_legacy(small_screen(), tmp_path / "old.h5ad")
    with h5py.File(tmp_path / "old.h5ad", "r+") as file:
        del file["X"]
        file.create_group("X")["data"] = np.ones(3)
    with pytest.raises(CellsError, match="written by anndata before 0.7.*write it again") as error:
        open_cells(tmp_path / "old.h5ad")
    assert "\n" not in str(error.value)


def identified() -> anndata.AnnData:
    """Make a screen whose genes have identifiers, and symbols in a column of var."""
    adata = small_screen()
    adata.var["feature_name"] = pd.Categorical(
        ["MT-CO1", "mt-Nd1", "A", "B", "B", *[f"S{i}" for i in range(6)], None]
    )
    adata.var_names = [f"ENSG{i:011d}" for i in range(adata.n_vars)]
    del adata.obs["pct_counts_mt"]
    return adata


@pytest.mark.parametrize("stored", [True, False])
def test_symbols_in_a_column_of_var_find_mitochondrial_genes(tmp_path, stored):
    adata = identified()
    source: Path | anndata.AnnData = adata
    if stored:
        source = tmp_path / "ids.h5ad"
        adata.write_h5ad(source)
    recipe = Recipe(RECIPE.labels, covariates=("pct_counts_mt",), symbols="feature_name")
    screen, _ = learn(open_screen(source, recipe), np.zeros(adata.n_obs, dtype=np.int64))
    counts = adata.X.toarray()
    expected = 100 * counts[:, :2].sum(axis=1) / counts.sum(axis=1)
    np.testing.assert_allclose(screen.covariates.values[:, 0], expected)
    assert list(screen.counts.symbols[-2:]) == ["S5", "ENSG00000000011"]  # without a symbol: itself


def test_without_the_column_the_remedy_is_named():
    with pytest.raises(CellsError, match="ENSG00000000000.*data.gene_symbols"):
        open_screen(identified(), RECIPE)
    with pytest.raises(CellsError, match="no var column 'feature' .*mean: feature_name"):
        open_cells(identified(), symbols="feature")


def test_the_analysis_names_genes_by_symbols_that_stay_unique():
    recipe = Recipe(RECIPE.labels, symbols="feature_name")
    adata, model = load(open_screen(identified(), recipe), 0.01, 0.5)
    assert list(adata.var_names[2:5]) == ["A", "B", "B (ENSG00000000004)"]
    assert list(adata.var["gene_id"]) == list(identified().var_names)
    assert model.genes == list(adata.var_names)
    own = pd.DataFrame(own_gene(model.genes, model.targets), model.genes, model.targets)
    assert own.loc["A", "A"]
    assert own.loc["B", "B"]
    assert own.to_numpy().sum() == 2


def test_genes_may_be_chosen_by_either_name():
    choice = GeneChoice(names=("B", "ENSG00000000006"))
    recipe = Recipe(RECIPE.labels, genes=choice, symbols="feature_name")
    _, transform = learn(open_screen(identified(), recipe), np.zeros(60, dtype=np.int64))
    assert transform.kept.tolist() == [3, 4, 6]


@pytest.mark.parametrize(
    ("name", "found"),
    [("MT-CO1", True), ("mt-Co1", True), ("MT.CO1", True), ("Mt-co1", True), ("mt:CoI", True)]
    + [("MTOR", False), ("MT1X", False), ("MT", False), ("DMT-1", False), ("", False)],
)
def test_spellings_of_mitochondrial_genes(name, found):
    assert is_mitochondrial(pd.Index([name])).tolist() == [found]
