"""What `tuner init` makes of screens as they come: labels, values, guides, and files of others."""

from __future__ import annotations

import gzip
import shlex
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest

from tests.driver import Driver
from tuner.config.load import load_config
from tuner.plugin import InputError
from tuner.run.init import write_config

COUNTS = np.random.default_rng(3).poisson(2.0, (240, 12)).astype(float) + np.eye(240, 12) * 30


def drafted(path: Path, labels: list[object], values: Any = COUNTS, **obs: object) -> Any:
    """Return the section `data` that is drafted for a screen with these labels, cells in turn."""
    save(path, {"target": labels} if labels else {}, values, **obs)
    config = load_config(write_config(path, path.with_suffix(".yaml"))[0])
    config.plugin.load()  # the screen is read by it
    return config.plugin.config.data


def save(
    path: Path, columns: dict[str, list[object]], values: Any = COUNTS, obsm: Any = None, **obs: Any
) -> None:
    filled = {name: (labels * 240)[:240] for name, labels in {**columns, **obs}.items()}
    genes = ["WT1", *(f"GENE{i}" for i in range(11))]
    table = pd.DataFrame(filled, index=[f"cell{i}" for i in range(240)])
    adata = ad.AnnData(np.asarray(values), obs=table, var=pd.DataFrame(index=genes))
    for key, value in (obsm or {}).items():
        adata.obsm[key] = value.set_index(table.index) if hasattr(value, "set_index") else value
    adata.write_h5ad(path)


def test_labels_are_told_by_the_rule_of_the_notes(tmp_path: Path) -> None:
    labels = ["Negative", "Doublet", "NT-1", "NT-2", "WT1", "GENE1", "WT1_NegCtrl0", "GENE1_ctrl"]
    data = drafted(tmp_path / "a.h5ad", list(labels))
    assert data.control == ["NT-1", "NT-2"]
    assert (data.unassigned, set(data.unassigned_labels)) == ("drop", {"Negative", "Doublet"})
    assert drafted(tmp_path / "b.h5ad", ["dmso", "GENE1"]).control == ["dmso"]


def test_guides_are_found_where_cells_have_no_label_or_two(tmp_path: Path) -> None:
    labels: list[object] = ["NT", "NT", "GENE1", "GENE1", None, None, "Negative", "NT+GENE1"]
    guides = ["NT_1", "NT_2", "GENE1_1", "GENE1_2", "GENE1_1", "NT_2", "GENE1_2", "NT_1"]
    data = drafted(tmp_path / "a.h5ad", labels, guide_id=guides)
    assert (data.guide, data.separator, data.unassigned) == ("guide_id", "+", "drop")
    crossed = ["NT_1", "GENE1_1", "NT_1", "GENE1_1"]
    assert drafted(tmp_path / "b.h5ad", labels[:4], guide_id=crossed).guide is None


def test_values_that_are_no_counts_are_named(tmp_path: Path) -> None:
    labels: list[object] = ["NT", "GENE1"]
    logged = np.log1p(COUNTS / COUNTS.sum(1, keepdims=True) * 1e4)
    data = drafted(tmp_path / "log.h5ad", labels, logged, nUMI=[700, 800, 900])
    assert (data.values, data.layer, data.size_factor) == ("log1p", None, "total_counts")
    assert "# - values: log1p, because those of X" in (tmp_path / "log.yaml").read_text()
    data = drafted(tmp_path / "soup.h5ad", labels, COUNTS * 0.9, nUMI=[700, 800, 900])
    assert (data.values, data.size_factor) == ("fractional", "nUMI")
    data = drafted(tmp_path / "scaled.h5ad", labels, logged - logged.mean(0), nUMI=[700, 800, 900])
    assert (data.response, data.values, data.size_factor) == ("X", "counts", "total_counts")
    assert (
        "# - response: X, because its values are below 0" in (tmp_path / "scaled.yaml").read_text()
    )
    with pytest.raises(InputError, match="neither X, nor a layer, nor raw holds counts"):
        drafted(tmp_path / "none.h5ad", labels, COUNTS * np.nan)


def test_counts_of_cell_ranger_need_a_table_of_labels(tmp_path: Path) -> None:
    folder = tmp_path / "filtered"
    folder.mkdir()
    for name in ("barcodes.tsv.gz", "features.tsv.gz", "matrix.mtx.gz"):
        (folder / name).write_bytes(gzip.compress(b"x"))
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file.create_group("matrix").update({"barcodes": [b"A"], "indptr": [0, 1]})
    for path in (folder, folder / "matrix.mtx.gz", tmp_path / "own.h5"):
        with pytest.raises(InputError, match=r"no labels of cells.*cells: labels.csv"):
            write_config(path, tmp_path / "x.yaml")


def test_guides_are_called_where_obs_has_no_labels(tmp_path: Path) -> None:
    names = ["NT_1", "NT_2", "GENE1_1", "GENE1_2"]
    means = np.tile(np.eye(4) * 40 + 0.2, (60, 1))
    guides = pd.DataFrame(np.random.default_rng(1).poisson(means), columns=names)
    data = drafted(tmp_path / "a.h5ad", [], obsm={"X_pca": COUNTS[:, :2], "sgrna": guides})
    assert (data.guide_counts.obsm, data.control) == ("sgrna", ["NT"])
    assert (data.unassigned, data.multiple) == ("drop", "drop")
    with pytest.raises(InputError, match="make obsm 'sgrna' a table"):
        drafted(tmp_path / "b.h5ad", [], obsm={"sgrna": guides.to_numpy()})


def test_what_is_not_one_screen_here_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match="^https://example.org/screen.h5ad is an address; `tuner init` looks at files on this",
    ):
        write_config(Path("https://example.org/screen.h5ad"))
    save(tmp_path / "a_best.h5ad", {"x": [1, 2]})  # as what a script leaves: no labels
    save(tmp_path / "screen.h5ad", {"target": ["NT", "GENE1"]})
    with pytest.raises(InputError, match=r"2 \.h5ad files; name one: '\S+/screen.h5ad', '\S+/a_b"):
        write_config(tmp_path)
    (tmp_path / "torn.h5ad").write_text("torn")
    with pytest.raises(InputError, match=r"torn.h5ad cannot be read as .h5ad"):
        write_config(tmp_path / "torn.h5ad")


def test_the_next_commands_can_be_pasted(driver: Driver, workplace: Path) -> None:
    (workplace / "a.txt").write_text("text")
    done = driver.run("init", "a.txt", "-o", "my own.yaml")
    words = shlex.split(done.stdout.splitlines()[-1].partition("next: ")[2])
    assert words[-2:] == ["run", "my own.yaml"], done.stderr
