from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from tuner_plugins.perturbseq.data.matrix import (
    CellsError,
    layers_of,
    open_cells,
)
from tuner_plugins.perturbseq.data.values import require_counts, require_finite

from tests.perturbseq.screens import small_screen


def _read(source: Path | anndata.AnnData, layer: str | None, rows: np.ndarray, size: int):
    cells = open_cells(source, layer)
    out = np.full((len(rows), len(cells.genes)), np.nan)
    for where, block in cells.matrix.blocks(rows, size):
        out[where] = block.toarray() if sparse.issparse(block) else block
    return out


@pytest.mark.parametrize("stored", ["csr", "csc", "dense"])
@pytest.mark.parametrize("layer", [None, "X", "counts", "raw"])
def test_blocks_equal_the_matrix_wherever_it_is_stored(tmp_path, stored, layer):
    adata = small_screen()
    adata.layers["counts"] = adata.X + sparse.csr_matrix(np.ones(adata.shape, dtype=np.float32))
    adata.raw = anndata.AnnData(
        sparse.csr_matrix(2 * adata.X), obs=adata.obs, var=pd.DataFrame(index=adata.var_names)
    )
    change = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": lambda m: m.toarray()}
    adata.X = change[stored](adata.X)
    adata.layers["counts"] = change[stored](adata.layers["counts"])
    path = tmp_path / "screen.h5ad"
    adata.write_h5ad(path)
    base = sparse.csr_matrix(adata.X).toarray()
    expected = {None: base, "X": base, "counts": base + 1, "raw": 2 * base}[layer]
    rows = np.flatnonzero(np.random.default_rng(3).random(adata.n_obs) < 0.6)
    for source in (path, adata):
        for size in (7, 1000):
            np.testing.assert_array_equal(_read(source, layer, rows, size), expected[rows])


def test_sparse_stays_sparse_and_float64():
    adata = small_screen()
    for _, block in open_cells(adata).matrix.blocks(np.arange(adata.n_obs)):
        assert sparse.issparse(block)
        assert block.dtype == np.float64


def test_raw_is_asked_for_by_name_so_scaled_values_are_not_taken_for_counts():
    # `adata.raw = adata` holds whatever X held at that moment: it must be seen to be no counts
    adata = small_screen()
    adata.X = adata.X.log1p()
    adata.raw = adata
    cells = open_cells(adata, "raw")
    (_, block), *_ = cells.matrix.blocks(np.arange(adata.n_obs))
    with pytest.raises(CellsError, match="raw/X does not hold counts.*name the layer"):
        require_counts(block, adata.obs_names, adata.var_names, cells.matrix)


@pytest.mark.parametrize("value", [2.5, -1.0, np.nan, np.inf])
@pytest.mark.parametrize("dense", [False, True])
def test_what_is_no_count_is_named(value, dense):
    adata = small_screen()
    values = adata.X.toarray().astype(float)
    require_counts(values, adata.obs_names, adata.var_names, open_cells(adata).matrix)
    values[17, 5] = value
    block = values if dense else sparse.csr_matrix(values)
    what = open_cells(adata).matrix
    with pytest.raises(CellsError, match=r"cell 'cell17', gene 'g5' is") as error:
        require_counts(block, adata.obs_names, adata.var_names, what)
    assert "\n" not in str(error.value)
    if not np.isfinite(value):
        with pytest.raises(CellsError, match="cell 'cell17', gene 'g5'"):
            require_finite(block, adata.obs_names, adata.var_names, what)


def test_truncated_file_is_one_line(tmp_path):
    path = tmp_path / "screen.h5ad"
    small_screen(cells=2000).write_h5ad(path)
    whole = path.read_bytes()
    for keep in (0, 100, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:keep])
        with pytest.raises(CellsError, match="cannot be read as .h5ad, is it whole") as error:
            open_cells(path)
        assert "\n" not in str(error.value)


def test_damage_inside_the_matrix_is_one_line(tmp_path):
    import h5py

    path = tmp_path / "screen.h5ad"
    small_screen(cells=2000).write_h5ad(path, compression="gzip")
    with h5py.File(path) as file:
        chunk = file["X/data"].id.get_chunk_info(0)
    whole = bytearray(path.read_bytes())
    whole[chunk.byte_offset : chunk.byte_offset + 200] = bytes(200)
    path.write_bytes(whole)
    with pytest.raises(CellsError, match="cannot be read as .h5ad"):
        list(open_cells(path).matrix.blocks(np.arange(2000)))


def test_hdf5_that_is_no_h5ad(tmp_path):
    import h5py

    path = tmp_path / "other.h5ad"
    with h5py.File(path, "w") as file:
        file["x"] = 1
    with pytest.raises(CellsError, match="no .h5ad file: it has no 'obs'"):
        open_cells(path)


def test_x_among_the_layers_is_no_layer_with_a_name():
    adata = SimpleNamespace(layers={None: np.ones(3), "counts": np.ones(3)})  # as of anndata 0.13
    assert layers_of(adata) == ("counts",)


def test_missing_layer_lists_those_there_are():
    adata = small_screen()
    adata.layers["counts"] = adata.X
    with pytest.raises(CellsError, match="no layer 'count'; it has: X, counts"):
        open_cells(adata, "count")


def test_two_cells_or_genes_of_one_name(tmp_path):
    adata = small_screen()
    adata.obs_names = ["cell0", *adata.obs_names[:-1]]
    with pytest.raises(CellsError, match="two cells are called 'cell0'"):
        open_cells(adata)
    adata = small_screen()
    adata.var_names = ["g1", *adata.var_names[1:]]
    with pytest.raises(CellsError, match="two genes are called 'g1'"):
        open_cells(adata)
