"""What a grouping of genes and perturbations says: its tables, its place in the AnnData, notes."""

from __future__ import annotations

from collections.abc import Sequence

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tuner_plugins.perturbseq.colours import palette
from tuner_plugins.perturbseq.data.stored import comparable, has_dots
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.programs.clustering import FEWEST_FOR_MODULES, Clustering
from tuner_plugins.perturbseq.programs.communities import LOUVAIN, has_leiden


def own_gene(genes: Sequence[str], targets: Sequence[str]) -> NDArray[np.bool_]:
    """Return where a perturbation meets the gene that it is named after, (genes, perturbations)."""
    dots = has_dots(genes)
    rows, columns = (
        np.array(comparable(names, dots=dots), dtype=object) for names in (genes, targets)
    )
    return np.asarray(rows[:, None] == columns)


def members(clustering: Clustering, row: str, cluster_name: str) -> pd.DataFrame:
    """Return the table of clustered rows and their clusters."""
    labels = clustering.labels[clustering.order].astype(str)
    return pd.DataFrame({row: clustering.order, cluster_name: labels.to_numpy(dtype=str)})


def describe(adata: ad.AnnData, programs: Clustering, modules: Clustering) -> None:
    """Write both to `adata`, as an .h5ad can hold them."""
    adata.var["program"] = programs.labels.reindex(adata.var_names.astype(str)).array
    adata.uns["program_colors"] = np.array(list(programs.colours.values()), dtype=str)
    for key, clustering in (("programs", programs), ("modules", modules)):
        adata.uns[key] = {
            "order": np.array(clustering.order, dtype=str),
            "labels": clustering.labels[clustering.order].astype(str).to_numpy(dtype=str),
            "tree": clustering.tree,
            "names": np.array(list(clustering.labels.cat.categories), dtype=str),
        }


def clustering_of(adata: ad.AnnData, key: str) -> Clustering:
    """Read back what `describe` wrote.

    Parameters
    ----------
    adata : AnnData
        Analysed.
    key : {"programs", "modules"}
        Of ``uns``.

    Raises
    ------
    AnalysisError
        There is none.
    """
    if key not in adata.uns:
        raise AnalysisError(f"no {key} in uns: run tl.programs, or read analysis.h5ad")
    stored = adata.uns[key]
    order, labels = list(map(str, stored["order"])), list(map(str, stored["labels"]))
    names = [str(name) for name in stored.get("names", dict.fromkeys(labels))]
    colours = adata.uns["program_colors"] if key == "programs" else palette(len(names))
    return Clustering(
        pd.Series(pd.Categorical(labels, names), index=order),
        order,
        np.asarray(stored["tree"], dtype=np.float64).reshape(-1, 4),
        dict(zip(names, map(str, colours), strict=True)),
    )


def notes_on(programs: Clustering, perturbations: int, acting: int) -> list[str]:
    """Return how clusters were found, and why there are no programs or no modules.

    Of the perturbations, so many are `acting`: they move genes significantly.
    """
    notes = [] if has_leiden() or not programs.order else [LOUVAIN]
    if perturbations == 1:
        notes.append(
            "There is one perturbation: genes differ along one axis, so that programs are what it "
            "moves up and what it moves down, and there are no modules."
        )
    elif acting < FEWEST_FOR_MODULES:
        notes.append(
            f"{acting} of {perturbations} perturbations move genes significantly; modules take "
            f"{FEWEST_FOR_MODULES} at least: there are none."
        )
    if not programs.order:
        notes.append(
            "No gene has a significant coefficient in the cells that programs are found in: "
            "there are no programs, and nothing is tested or enriched for them."
        )
    return notes
