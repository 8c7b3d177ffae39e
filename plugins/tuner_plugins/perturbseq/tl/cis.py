"""Elements of a screen and the genes near them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from tuner_plugins.perturbseq.annotated import KEY, fitted
from tuner_plugins.perturbseq.data.positions import DISTANCE, bases
from tuner_plugins.perturbseq.inference.cis import CisOptions, tabulate_pairs
from tuner_plugins.perturbseq.report.cis import negative_controls, pairs_of, tabulate_effects
from tuner_plugins.perturbseq.report.effects import FOLD_CHANGES


def cis_pairs(  # noqa: PLR0913  keywords of a call in a notebook
    data: Any,
    annotation: Path | str,
    elements: Path | str | pd.DataFrame | None = None,
    *,
    distance: int | str = DISTANCE,
    calibrate: bool = True,
    seed: int = 0,
    modality: str | None = None,
) -> None:
    """Test the genes near each element of a screen, corrected over these pairs alone.

    Parameters
    ----------
    data : AnnData or MuData
        After `fold_changes`.
    annotation : Path or str
        Genes: GTF, GFF3, or BED with names and strands, gzipped or not.
    elements : Path, str or DataFrame, optional
        A BED file named by perturbation, or a table with ``chrom``, ``start`` and ``end`` by name.
        None: labels such as ``chr1:100-200`` are positions.
    distance : int or str
        From the middle of an element to the start of a gene, in bases or such as ``500kb``.
    calibrate : bool
        Test negative controls as well.
    seed : int
        Of these.

    Returns
    -------
    None
        Writes ``uns["cis_pairs"]``, see `tuner_plugins.perturbseq.inference.cis.tabulate_pairs`,
        and ``uns["cis_controls"]``, see `tuner_plugins.perturbseq.report.cis.negative_controls`.

    Raises
    ------
    AnalysisError
        There are no fold changes, no pair within the distance, or a file cannot be read.
    """
    own = fitted(data, modality)
    tables = {key: own.table(key) for key in FOLD_CHANGES}
    effects = tabulate_effects(tables, list(own.adata.uns[KEY]["n_cells"]))
    places = Path(elements) if isinstance(elements, str) else elements
    options = CisOptions(Path(annotation), places, bases(distance))
    view, model = own.load()
    pairs = pairs_of(view, model, options)
    own.adata.uns["cis_pairs"] = tabulate_pairs(pairs.table, effects)
    own.adata.uns.pop("cis_controls", None)
    notes = [] if pairs.complete else [f"cis pairs: {pairs.note}"]
    if calibrate:
        controls, about = negative_controls(view, model, pairs, effects, seed=seed)
        if len(controls):
            own.adata.uns["cis_controls"] = controls
        else:
            notes.append(f"cis pairs have no negative controls: {about}")
    own.tell(notes)
