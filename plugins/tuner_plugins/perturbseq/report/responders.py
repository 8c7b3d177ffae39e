"""Cells that responded to their perturbation, and those that escaped it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.inference.efficacy import MIN_CONTROLS
from tuner_plugins.perturbseq.inference.responders import (
    CONTROL,
    ESCAPED,
    RESPONDER,
    UNCLEAR,
    call,
)
from tuner_plugins.perturbseq.model.projection import project
from tuner_plugins.perturbseq.model.resampling import Model
from tuner_plugins.perturbseq.report.options import Analysis, AnalysisOptions
from tuner_plugins.perturbseq.report.progress import step

COLUMNS = ("responder", "responder_of", "responder_posterior", "responder_score")
"""Of obs."""


@dataclass(frozen=True)
class Responders:
    """What is known of the cells of a screen.

    Attributes
    ----------
    cells : DataFrame, (cells, 4)
        `COLUMNS`: class (missing for cells with several perturbations); perturbation (missing for
        them and for control cells); probability of having responded (missing for control cells and
        where nothing is told apart); and score along the effect, in standard deviations of control
        cells.
    table : DataFrame
        One row a perturbation that single cells have, the largest share first: ``perturbation``,
        ``n_cells``, ``n_compared`` (those without another perturbation), ``n_responders``,
        ``share`` with its 95 % interval ``share_low`` and ``share_high``, ``separation``, ``p`` and
        ``note``, see `tuner_plugins.perturbseq.inference.responders.Called`.
    n_several : int
        Cells with several perturbations.
    """

    cells: pd.DataFrame
    table: pd.DataFrame
    n_several: int


def responders_of(model: Model, seed: int = 0) -> Responders:
    """Judge every cell that has one perturbation.

    Raises
    ------
    AnalysisError
        Too few control cells, or no cell with one perturbation.
    """
    controls = int(model.control.sum())
    if controls < MIN_CONTROLS:
        raise AnalysisError(
            f"responders are told from {MIN_CONTROLS} control cells at least; got {controls}: name "
            "further labels of controls"
        )
    several = np.diff(model.design.indptr)
    if not (several == 1).any():
        raise AnalysisError("responders are told among cells with one perturbation; got none")
    found = project(model, seed)
    cells = len(several)
    label, of = np.full((2, cells), None, dtype=object)
    label[model.control] = CONTROL
    posterior, score = np.full((2, cells), np.nan)
    totals = np.diff(model.design.tocsc().indptr)
    rows = []
    for target in np.unique(found.targets):
        own = found.targets == target
        called = call(found.scores[own], found.controls[:, target])
        at = found.cells[own]
        of[at] = model.targets[target]
        score[at], posterior[at] = called.scores, called.posterior
        moved = called.posterior >= 0.5
        label[at] = UNCLEAR if called.note else np.where(moved, RESPONDER, ESCAPED)
        share = called.share, called.low, called.high, called.separation, called.p
        counts = int(totals[target]), len(at), int(moved.sum())
        rows.append((model.targets[target], *counts, *share, called.note))
    table = pd.DataFrame(
        rows,
        columns=[
            *("perturbation", "n_cells", "n_compared", "n_responders"),
            *("share", "share_low", "share_high", "separation", "p", "note"),
        ],
    ).sort_values(["share", "p"], ascending=[False, True], kind="stable", ignore_index=True)
    classes = pd.Categorical(label, [RESPONDER, ESCAPED, UNCLEAR, CONTROL])
    values = classes, pd.Categorical(of, model.targets), posterior, score
    columns = dict(zip(COLUMNS, values, strict=True))
    return Responders(pd.DataFrame(columns), table, int((several > 1).sum()))


def add_responders(found: Analysis, model: Model, options: AnalysisOptions) -> None:
    """Write classes of cells and shares of responders; note where they cannot be told."""
    if not options.responders:
        return
    step("telling cells that responded from those that escaped")
    try:
        called = responders_of(model, options.seed)
    except AnalysisError as error:
        found.notes.append(f"Responders were left out: {error}.")
        return
    for name in COLUMNS:
        found.adata.obs[name] = called.cells[name].array
    found.tables["responders"] = found.adata.uns["responders"] = called.table
    found.notes.append(note_of(called))


def note_of(called: Responders) -> str:
    """Return for how many perturbations responders are told, in a sentence."""
    told = called.table[called.table["note"] == ""]
    said = f"Responders are told from cells that escaped in {len(told)} of {len(called.table)} "
    said += "perturbations"
    if len(told):
        low, high = told["share"].min(), told["share"].max()
        said += f", in which {100 * low:.0f} to {100 * high:.0f} % of the cells responded"
    if called.n_several:
        said += f"; {called.n_several:,} cells with several perturbations are not judged"
    return f"{said}."
