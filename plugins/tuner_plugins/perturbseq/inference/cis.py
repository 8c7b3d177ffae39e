"""Pairs of elements and genes that lie near each other on a chromosome, for enhancer screens.

As in Gasperini et al. 2019 (doi:10.1016/j.cell.2018.11.029) and in ``construct_cis_pairs`` of
sceptre (Barry et al. 2021, doi:10.1186/s13059-021-02545-2), a screen of regulatory elements is
tested where an effect can be expected, and corrected for these tests alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tuner_plugins.genome_tables.names import same_names
from tuner_plugins.perturbseq.data.positions import (
    DISTANCE,
    places_of,
    read_elements,
    read_genes,
    starts_of,
)
from tuner_plugins.perturbseq.data.stored import listed
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.inference.program_tests import adjust


@dataclass(frozen=True)
class CisOptions:
    """Which pairs are tested.

    Attributes
    ----------
    annotation : Path
        Genes: GTF, GFF3, or BED with names and strands.
    elements : Path or DataFrame, optional
        A BED file named by perturbation, or a table with ``chrom``, ``start`` and ``end`` by name.
        Without it positions are read from labels such as ``chr1:100-200``.
    distance : int
        In bases, from the middle of an element to the start of a gene.
    """

    annotation: Path
    elements: Path | pd.DataFrame | None = None
    distance: int = DISTANCE


@dataclass(frozen=True)
class CisPairs:
    """Pairs that lie near each other.

    Attributes
    ----------
    table : DataFrame
        ``element``, ``gene``, ``distance``: see `near`.
    placed : frozenset of str
        Perturbations that have a place.
    note : str
        How many perturbations and genes have one.
    complete : bool
        Whether all have.
    """

    table: pd.DataFrame
    placed: frozenset[str]
    note: str
    complete: bool


def near(places: pd.DataFrame, starts: pd.DataFrame, distance: int) -> pd.DataFrame:
    """Return all pairs of a place and a gene on one chromosome within a distance.

    Parameters
    ----------
    places : DataFrame
        ``chrom``, ``start``, ``end`` by element.
    starts : DataFrame
        ``chrom``, ``tss``, ``strand`` by gene; chromosomes may be called ``1`` or ``chr1``.
    distance : int
        From the middle of an element to the start of the gene, in bases.

    Returns
    -------
    DataFrame
        ``element``, ``gene``, and ``distance`` along the strand of the gene: negative upstream of
        its start. In the order of the elements, then along the chromosome.

    Examples
    --------
    >>> places = pd.DataFrame({"chrom": ["chr1"], "start": [90], "end": [110]}, index=["E1"])
    >>> starts = pd.DataFrame(
    ...     {"chrom": ["1", "1", "2"], "tss": [150, 60, 100], "strand": [1, -1, 1]},
    ...     index=["A", "B", "C"],
    ... )
    >>> near(places, starts, 50)
      element gene  distance
    0      E1    B       -40
    1      E1    A       -50
    """
    known = list(dict.fromkeys(starts["chrom"]))
    middle = (places["start"].to_numpy() + places["end"].to_numpy()) // 2
    parts = []
    for chrom in dict.fromkeys(places["chrom"]):
        called = [chrom] if chrom in known else same_names(chrom, known)
        here = starts[starts["chrom"].isin(called)].sort_values("tss", kind="stable")
        tss = here["tss"].to_numpy()
        rows = np.flatnonzero(places["chrom"] == chrom)
        low = np.searchsorted(tss, middle[rows] - distance, "left")
        counts = np.searchsorted(tss, middle[rows] + distance, "right") - low
        element = np.repeat(rows, counts)
        gene = np.arange(counts.sum()) + np.repeat(low - np.cumsum(counts) + counts, counts)
        parts.append(
            pd.DataFrame(
                {
                    "at": element,
                    "element": places.index.to_numpy()[element],
                    "gene": here.index.to_numpy()[gene],
                    "distance": (middle[element] - tss[gene]) * here["strand"].to_numpy()[gene],
                }
            )
        )
    if not parts:
        return pd.DataFrame({"element": [], "gene": [], "distance": []})
    pairs = pd.concat(parts).sort_values("at", kind="stable", ignore_index=True)
    return pairs.drop(columns="at")


def find_pairs(
    options: CisOptions,
    perturbations: Sequence[str],
    genes: Sequence[str],
    ids: Sequence[str] | None = None,
) -> CisPairs:
    """Return the pairs of a screen that are tested.

    Parameters
    ----------
    options : CisOptions
    perturbations, genes : sequence of str
        As the screen names them.
    ids : sequence of str, optional
        Identifiers of the genes, where `genes` are symbols.

    Raises
    ------
    AnalysisError
        Files that cannot be read, or there is no pair: one line says what is missing.
    """
    elements = options.elements
    if elements is not None and not isinstance(elements, pd.DataFrame):
        elements = read_elements(elements)
    places = places_of(perturbations, elements)
    if places.empty:
        source = "labels, such as chr1:100-200" if elements is None else "names of elements"
        names = "" if elements is None else f"; elements are called {listed(elements.index)}"
        raise AnalysisError(
            f"no cis pair: none of {len(perturbations)} perturbations has a position by {source} "
            f"(the first is '{next(iter(perturbations), '')}'{names}); give elements, a BED file "
            "named by perturbation"
        )
    table = read_genes(options.annotation)
    starts, ambiguous = starts_of(table, genes, ids)
    where = Path(options.annotation).name
    if starts.empty:
        raise AnalysisError(
            f"no cis pair: none of {len(genes)} genes is in {where}, which names "
            f"'{table['name'].iloc[0]}' ({table['id'].iloc[0]}), the screen '{genes[0]}'; name the "
            "column with symbols (gene_symbols), or give another annotation"
        )
    pairs = near(places, starts, options.distance)
    said = (
        f"{len(places):,} of {len(perturbations):,} perturbations have a position and "
        f"{len(starts):,} of {len(genes):,} genes a start in {where}"
    )
    if pairs.empty:
        chroms = [listed(dict.fromkeys(part["chrom"]), "") for part in (places, starts)]
        raise AnalysisError(
            f"no cis pair within {options.distance:,} bases: {said}; elements lie on {chroms[0]}, "
            f"genes on {chroms[1]}; raise the distance, or give files of one assembly"
        )
    if ambiguous:
        said += f" ({len(ambiguous):,} more begin in several places: {listed(ambiguous)})"
    complete = (len(places), len(starts)) == (len(perturbations), len(genes))
    return CisPairs(pairs, frozenset(places.index), said, complete)


def tabulate_pairs(pairs: pd.DataFrame, effects: pd.DataFrame) -> pd.DataFrame:
    """Return the tests of pairs, corrected over them alone.

    Parameters
    ----------
    pairs : DataFrame
        ``element``, ``gene``, ``distance``.
    effects : DataFrame
        Fold changes of every gene by every perturbation: ``perturbation``, ``gene``, ``n_cells``,
        ``log2fc``, ``log2fc_low``, ``log2fc_high``, ``log2fc_p`` and ``log2fc_q``.

    Returns
    -------
    DataFrame
        ``element``, ``gene``, ``distance``, ``n_cells``, ``log2fc`` and its interval, ``p``, ``q``
        (Benjamini-Hochberg over the pairs) and ``q_all`` (over all genes and perturbations).
    """
    kept = ["n_cells", "log2fc", "log2fc_low", "log2fc_high", "log2fc_p", "log2fc_q"]
    genes, targets = (pd.Index(effects[key].unique()) for key in ("gene", "perturbation"))
    at = genes.get_indexer(pairs["gene"]) * len(targets) + targets.get_indexer(pairs["element"])
    found = effects[kept].iloc[at].reset_index(drop=True)
    table = pd.concat([pairs.reset_index(drop=True), found], axis=1)
    table = table.rename(columns={"log2fc_p": "p", "log2fc_q": "q_all"})
    table.insert(table.columns.get_loc("q_all"), "q", adjust(table["p"]))
    return table
