"""Every form of file that a screen may come in is read to the same sums, or refused in one line."""

from __future__ import annotations

import gzip
import shutil
import warnings
from pathlib import Path
from types import ModuleType

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy
import zarr
from scipy import sparse
from scipy.io import mmwrite
from tuner_plugins.perturbseq.data import probing
from tuner_plugins.perturbseq.data.dataset import build
from tuner_plugins.perturbseq.data.files import Files, Reading, open_source
from tuner_plugins.perturbseq.data.labels import Labels
from tuner_plugins.perturbseq.data.matrix import open_cells
from tuner_plugins.perturbseq.data.screen import Recipe, open_screen
from tuner_plugins.perturbseq.data.stored import CellsError
from tuner_plugins.perturbseq.data.texts import with_table

from tests.perturbseq.screens import small_screen

RECIPE = Recipe(Labels(control=("ctrl",)), batch="batch", covariates=("total_counts",))


def write_10x(path: Path, adata: anndata.AnnData, *, old: bool = False) -> None:
    """Write counts as Cell Ranger does: with guides beside genes, or as it did before version 3."""
    guides = 0 if old else 2
    extra = sparse.csr_matrix(np.full((adata.n_obs, guides), 7.0))
    stored = sparse.csr_matrix(sparse.hstack([adata.X, extra], format="csr"))
    symbols = [*adata.var_names, "sgA", "sgB"][: adata.n_vars + guides]
    ids = [f"ENSG{number:011d}" for number in range(len(symbols))]
    names = {
        "barcodes": list(adata.obs_names),
        **({"genes": ids, "gene_names": symbols} if old else {}),
    }
    with h5py.File(path, "w") as file:
        group = file.create_group("hg19" if old else "matrix")
        group["data"] = stored.data.astype(np.int32)
        group["indices"], group["indptr"] = stored.indices.astype(np.int64), stored.indptr
        group["shape"] = np.array(stored.shape[::-1], dtype=np.int32)
        for name, values in names.items():
            group[name] = np.array(values, dtype="S")
        if not old:
            features = group.create_group("features")
            kinds = ["Gene Expression"] * adata.n_vars + ["CRISPR Guide Capture"] * guides
            columns = {
                "id": ids,
                "name": symbols,
                "feature_type": kinds,
                "genome": ["x"] * len(ids),
            }
            for name, values in columns.items():
                features[name] = np.array(values, dtype="S")


def write_mtx(folder: Path, adata: anndata.AnnData, *, prefix: str = "", old: bool = False) -> Path:
    """Write a folder as Cell Ranger does, gzipped, or as it did before version 3."""
    folder.mkdir(exist_ok=True)
    matrix = folder / f"{prefix}matrix.mtx"
    mmwrite(matrix, sparse.coo_matrix(adata.X.T).astype(np.int64))
    features = pd.DataFrame({"id": [f"E{i}" for i in range(adata.n_vars)], "name": adata.var_names})
    if not old:
        features["kind"] = "Gene Expression"
    names = {"genes" if old else "features": features, "barcodes": pd.DataFrame(adata.obs_names)}
    for name, table in names.items():
        table.to_csv(folder / f"{prefix}{name}.tsv", sep="\t", header=False, index=False)
    if old:
        return matrix
    for name in ("matrix.mtx", "features.tsv", "barcodes.tsv"):
        path = folder / f"{prefix}{name}"
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    return folder / f"{prefix}matrix.mtx.gz"


def imported(name: str) -> ModuleType:
    """Import a library that only writes what is read here; a newer Python may warn of its code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"{name}, which writes this form, is not installed")


def write_h5mu(path: Path, adata: anndata.AnnData, modality: str = "rna") -> None:
    """Write a MuData whose labels are in its own obs, as assigned from guides."""
    mudata = imported("mudata")
    rna = adata.copy()
    labels = rna.obs.pop("perturbation")
    guides = anndata.AnnData(np.ones((adata.n_obs, 2)), obs=pd.DataFrame(index=adata.obs_names))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        both = mudata.MuData({modality: rna, "guides": guides})
        both.obs["perturbation"] = labels
        both.write_h5mu(path)


def write_loom(path: Path, adata: anndata.AnnData) -> None:
    """Write as version 3 of the format has it: genes in rows, attributes of both sides."""
    text = h5py.string_dtype()
    with h5py.File(path, "w") as file:
        file["attrs/LOOM_SPEC_VERSION"] = "3.0.0"
        file["matrix"] = adata.X.T.toarray()
        file["layers/twice"] = 2 * adata.X.T.toarray()
        for name, values in {"CellID": adata.obs_names, **adata.obs}.items():
            kept = np.asarray(values)
            is_number = np.issubdtype(kept.dtype, np.number)
            file[f"col_attrs/{name}"] = kept if is_number else kept.astype(str).astype(text)
        file["row_attrs/Gene"] = adata.var_names.to_numpy(dtype=str).astype(text)


def write_zarr(path: Path, adata: anndata.AnnData, change=sparse.csr_matrix) -> None:
    stored = adata.copy()
    stored.layers["twice"] = change(2 * stored.X)
    stored.X = change(stored.X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stored.write_zarr(path)


WITH_LABELS = {
    "zarr": write_zarr,
    "zarr csc": lambda path, adata: write_zarr(path, adata, sparse.csc_matrix),
    "zarr dense": lambda path, adata: write_zarr(path, adata, lambda X: X.toarray()),
    "h5mu": write_h5mu,
    "loom": write_loom,
}
WITHOUT_LABELS = {
    "10x": write_10x,
    "10x before version 3": lambda path, adata: write_10x(path, adata, old=True),
    "mtx": lambda path, adata: write_mtx(path, adata),
    "mtx before version 3": lambda path, adata: write_mtx(path, adata, old=True),
}


@pytest.fixture(scope="module")
def adata() -> anndata.AnnData:
    return small_screen()


def sums(source, recipe=RECIPE):
    dataset = build(open_screen(source, recipe), np.arange(60) % 3)
    summed = dataset.statistics
    summed = summed.shifted(np.zeros(summed.n_columns), np.zeros(summed.n_genes))
    return summed.cross, dataset.transform.responses.tolist()


def assert_same_sums(one, other):
    np.testing.assert_allclose(one[0], other[0], rtol=1e-12, atol=1e-9)
    assert one[1] == other[1]


@pytest.fixture
def unprobed(monkeypatch):
    """Spare the process that tries a file out: these files are whole."""
    monkeypatch.setattr(probing, "_read_in_child", lambda *arguments: None)


@pytest.mark.usefixtures("unprobed")
@pytest.mark.parametrize("form", WITH_LABELS)
def test_a_form_with_labels_gives_the_same_sums(tmp_path, adata, form):
    path = tmp_path / f"screen.{form.split()[0]}"
    WITH_LABELS[form](path, adata)
    assert_same_sums(sums(path), sums(adata))


@pytest.mark.parametrize("form", WITHOUT_LABELS)
def test_a_form_without_labels_takes_a_table_of_cells(tmp_path, adata, form):
    path = tmp_path / ("screen" if form.startswith("mtx") else "screen.h5")
    WITHOUT_LABELS[form](path, adata)
    adata.obs.sample(frac=1, random_state=0).to_csv(tmp_path / "cells.csv")
    assert_same_sums(sums(Files([path], [tmp_path / "cells.csv"])), sums(adata))


def test_scanpy_reads_the_same_of_10x(tmp_path, adata):
    write_10x(tmp_path / "new.h5", adata)
    write_mtx(tmp_path / "mtx", adata)
    for path, read in (
        (tmp_path / "new.h5", scanpy.read_10x_h5),
        (tmp_path / "mtx", scanpy.read_10x_mtx),
    ):
        expected, cells = read(path), open_cells(path)
        [(_, block)] = cells.matrix.blocks(np.arange(60))
        np.testing.assert_array_equal(block.toarray(), expected.X.toarray())
        assert cells.genes.tolist() == expected.var_names.tolist()
        assert cells.obs.index.tolist() == expected.obs_names.tolist()


@pytest.mark.usefixtures("unprobed")
def test_guides_beside_genes_are_left_out_and_told(tmp_path, adata):
    write_10x(tmp_path / "new.h5", adata)
    cells = open_cells(tmp_path / "new.h5")
    assert cells.notes == (
        "12 features of type Gene Expression are read, not 2 of CRISPR Guide Capture "
        "(data.modality)",
    )
    guides = open_cells(tmp_path / "new.h5", modality="CRISPR Guide Capture")
    assert guides.genes.tolist() == ["sgA", "sgB"]
    [(_, block)] = guides.matrix.blocks(np.arange(3, 9))
    assert block.toarray().tolist() == [[7.0, 7.0]] * 6
    with pytest.raises(CellsError, match="no feature type 'CRISPR'; there are: Gene"):
        open_cells(tmp_path / "new.h5", modality="CRISPR")


def test_a_file_of_two_genomes_needs_the_name_of_one(tmp_path, adata):
    path = tmp_path / "barnyard.h5"
    write_10x(path, adata, old=True)
    with h5py.File(path, "r+") as file:
        file.copy("hg19", "mm10")
    with pytest.raises(CellsError, match="has these modalities: hg19, mm10; name the one"):
        open_cells(path)
    assert open_cells(path, modality="mm10").matrix.shape == (60, 12)


@pytest.mark.usefixtures("unprobed")
@pytest.mark.parametrize("form", ["csr", "dense"])
def test_an_anndata_that_is_backed_or_lazy_is_read_in_blocks(tmp_path, adata, form):
    stored = adata.copy()
    stored.X = stored.X if form == "csr" else stored.X.toarray()
    stored.write_h5ad(tmp_path / "a.h5ad")
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    assert_same_sums(sums(backed), sums(adata))
    backed.file.close()
    lazy = pytest.importorskip("dask.array", reason="dask is not installed")
    stored.X = lazy.from_array(stored.X, chunks=(17, 12), asarray=False)
    assert_same_sums(sums(stored), sums(adata))


@pytest.mark.usefixtures("unprobed")
@pytest.mark.parametrize("form", ["zarr", "loom"])
def test_layers_of_other_forms(tmp_path, adata, form):
    path = tmp_path / f"screen.{form}"
    WITH_LABELS[form](path, adata)
    cells = open_cells(path, "twice")
    assert cells.layers == ("X", "twice")
    rows = np.flatnonzero(np.arange(60) % 3)
    read = [block for _, block in cells.matrix.blocks(rows, 7)]
    read = np.vstack([block.toarray() if sparse.issparse(block) else block for block in read])
    np.testing.assert_array_equal(read, 2 * adata.X.toarray()[rows])


def test_modality_of_a_mudata(tmp_path, adata):
    write_h5mu(tmp_path / "a.h5mu", adata, "gex")
    with pytest.raises(CellsError, match=r"has these modalities: gex, guides; name the one"):
        open_cells(tmp_path / "a.h5mu")
    with pytest.raises(CellsError, match="no modality 'gx'; did you mean: gex"):
        open_cells(tmp_path / "a.h5mu", modality="gx")
    recipe = Recipe(RECIPE.labels, None, "batch", ("total_counts",), modality="gex")
    assert_same_sums(sums(tmp_path / "a.h5mu", recipe), sums(adata))


def broken_10x(path, adata):
    write_10x(path, adata)
    with h5py.File(path, "r+") as file:
        del file["matrix/indptr"]
        file["matrix/indptr"] = np.arange(5)


def cut(write, name=None):
    def apply(path, adata):
        write(path, adata)
        at = path if name is None else path / name
        at.write_bytes(at.read_bytes()[: at.stat().st_size // 2])

    return apply


def lost(write, name):
    def apply(path, adata):
        write(path, adata)
        at = path / name
        shutil.rmtree(at) if at.is_dir() else at.unlink()

    return apply


def lost_chunk(path, adata):
    write_zarr(path, adata)
    chunks = [p for p in (path / "X" / "data").rglob("*") if p.is_file() and p.name[-1].isdigit()]
    chunks[0].unlink()


def other_zarr(path, adata):
    zarr.open_group(path, mode="w")


def nameless_loom(path, adata):
    write_loom(path, adata)
    with h5py.File(path, "r+") as file:
        del file["col_attrs/CellID"]


def other_sizes(path, adata):
    write_mtx(path, adata)
    write_mtx(path.with_name("less"), adata[:, :7].copy())
    shutil.copy(path.with_name("less") / "features.tsv.gz", path)


def two_matrices(path, adata):
    write_mtx(path, adata)
    write_mtx(path, adata, prefix="more_")


BROKEN = {
    "10x": (broken_10x, "matrix is damaged, its pointers do not lead from 0"),
    "10x cut": (cut(write_10x), "cannot be read as .h5, is it whole"),
    "h5mu cut": (cut(write_h5mu), "cannot be read as .h5mu, is it whole"),
    "loom cut": (cut(write_loom), "cannot be read as .loom, is it whole"),
    "loom without names": (nameless_loom, "/col_attrs has no names; expected one of CellID"),
    "mtx cut": (cut(write_mtx, "matrix.mtx.gz"), "matrix.mtx.gz cannot be read, is it whole"),
    "mtx alone": (lost(write_mtx, "barcodes.tsv.gz"), "has no barcodes.tsv or barcodes.tsv.gz"),
    "mtx of other sizes": (other_sizes, "is 12 x 60, but there are 7 features and 60 barcodes"),
    "two mtx": (two_matrices, "has 2 matrices; name one"),
    "zarr without obs": (other_zarr, "a Zarr store but no AnnData: it has no 'obs'"),
    "zarr without a chunk": (lost_chunk, "X is damaged, its data lacks a part of its values"),
    "an empty folder": (lambda path, adata: path.mkdir(), "is a folder; expected an .h5ad file, a"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_form_is_one_line(tmp_path, adata, kind):
    change, message = BROKEN[kind]
    path = tmp_path / f"screen.{'h5' if kind.startswith('10x') else kind.split()[0]}"
    change(path, adata)
    with pytest.raises(CellsError) as error:
        open_cells(path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("unprobed")
def test_a_prefix_tells_matrices_of_one_folder_apart(tmp_path, adata):
    write_mtx(tmp_path / "both", adata)
    path = write_mtx(tmp_path / "both", adata[:9].copy(), prefix="GSM1_")
    assert open_cells(path).matrix.shape == (9, 12)


def test_a_table_of_cells_keeps_labels_whole_and_says_what_does_not_fit(tmp_path, adata):
    path = tmp_path / "cells.tsv"
    bare = adata.obs[["batch"]]
    table = pd.DataFrame({"batch": "b9", "label": [1.0] * 50, "share": 0.5}, adata.obs_names[10:])
    table.to_csv(path, sep="\t")
    joined = with_table(bare, path)
    assert joined["label"].astype(str).tolist() == ["<NA>"] * 10 + ["1"] * 50
    assert joined["batch"].tolist()[10:] == ["b9"] * 50
    assert joined["share"].dtype == float
    for change, message in {
        "other": (
            lambda t: t.set_axis([f"{n}-1" for n in t.index]),
            "none of the cells: its first",
        ),
        "twice": (lambda t: pd.concat([t, t]), "names cell 'cell10' twice"),
        "empty": (lambda t: t.iloc[:0], "names none of the cells"),
    }.values():
        change(table).to_csv(path, sep="\t")
        with pytest.raises(CellsError, match=message):
            with_table(bare, path)
    with pytest.raises(CellsError, match="is no table of cells; expected .csv"):
        with_table(bare, tmp_path / "cells.xlsx")


def split_files(tmp_path, adata, names=("one", "two"), change=lambda part: part):
    paths = []
    for name, rows in zip(names, (slice(0, 25), slice(25, 60)), strict=True):
        path = tmp_path / f"{name}.h5ad"
        path.parent.mkdir(exist_ok=True)
        part = adata[rows].copy()
        (part if rows.start == 0 else change(part)).write_h5ad(path)
        paths.append(path)
    return paths


@pytest.mark.usefixtures("unprobed")
def test_two_files_are_one_screen_whatever_the_order_of_their_genes(tmp_path, adata):
    files = Files(split_files(tmp_path, adata, change=lambda part: part[:, ::-1].copy()))
    assert_same_sums(sums(files), sums(adata))
    cells = open_source(files, Reading())
    assert cells.obs["file"].tolist() == ["one"] * 25 + ["two"] * 35
    recipe = Recipe(RECIPE.labels, batch="file")
    adata = adata.copy()
    adata.obs["file"] = cells.obs["file"].to_numpy()
    assert_same_sums(sums(files, recipe), sums(adata, recipe))


@pytest.mark.usefixtures("unprobed")
def test_cells_of_two_files_have_names_of_their_own(tmp_path, adata):
    def renamed(part):
        part.obs_names = [f"cell{i}" for i in range(part.n_obs)]
        return part

    paths = split_files(tmp_path, adata, ("a/counts", "b/counts"), renamed)
    cells = open_source(Files(paths), Reading())
    assert cells.obs.index[[0, 25]].tolist() == ["cell0-a/counts", "cell0-b/counts"]
    # a table for each file is matched before that, one for all after it
    for path in paths:
        anndata.read_h5ad(path).obs[["batch"]].assign(lane=path.parent.name).to_csv(
            path.with_suffix(".csv")
        )
    own = open_source(Files(paths, [path.with_suffix(".csv") for path in paths]), Reading())
    assert own.obs["lane"].tolist() == ["a"] * 25 + ["b"] * 35
    own.obs[["lane"]].to_csv(tmp_path / "all.csv")
    both = open_source(Files(paths, [tmp_path / "all.csv"]), Reading())
    assert both.obs["lane"].tolist() == own.obs["lane"].tolist()
    with pytest.raises(CellsError, match="3 tables of cells for 2 files"):
        open_source(Files(paths, [tmp_path / "all.csv"] * 3), Reading())
    shutil.copy(paths[0], paths[0].with_suffix(".h5"))
    both = open_source(Files([paths[0], paths[0].with_suffix(".h5")]), Reading())
    assert both.obs["file"].unique().tolist() == ["counts.h5ad", "counts.h5"]
    with pytest.raises(CellsError, match="names a file twice"):
        open_source(Files(paths[:1] * 2), Reading())


@pytest.mark.usefixtures("unprobed")
def test_files_with_different_genes_are_refused_or_share_what_they_have(tmp_path, adata):
    paths = split_files(tmp_path, adata, change=lambda part: part[:, 2:].copy())
    with pytest.raises(CellsError, match=r"2 only in one \('g0', 'g1'\) and 0 only in two"):
        open_source(Files(paths), Reading())
    shared = sums(Files(paths), Recipe(RECIPE.labels, batch="batch", join="inner"))
    assert_same_sums(shared, sums(adata[:, 2:].copy(), Recipe(RECIPE.labels, batch="batch")))
    other = split_files(tmp_path, adata, change=lambda part: part[:, :0].copy())
    with pytest.raises(CellsError, match="share no genes"):
        open_source(Files(other), Reading(join="inner"))
