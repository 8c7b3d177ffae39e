"""What an analysis is asked for, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import anndata as ad
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.inference.cis import CisOptions
from tuner_plugins.perturbseq.programs.communities import ClusterOptions
from tuner_plugins.perturbseq.programs.consensus import NmfOptions
from tuner_plugins.perturbseq.report.embedding import PrepareOptions


@dataclass(frozen=True)
class AnalysisOptions:
    """What the analysis does; the defaults take minutes on 50,000 cells.

    Attributes
    ----------
    seed : int
        Of everything that is drawn.
    q_threshold : float
        False discovery rate of significant coefficients and program effects.
    n_permutations : int
        Full refits under permuted labels.
    pooled_null : bool
        Genes of a perturbation share their null; without it no p-value is below
        1 / (n_permutations + 1), which few coefficients survive once adjusted.
    tail_fit : bool
        Read p-values below that from a tail that is fitted to the null (Knijnenburg et al. 2009,
        doi:10.1093/bioinformatics/btp211).
    n_score_permutations : int
        Of the tests of program scores.
    discovery : float
        Share of the cells that programs are found in; the others test them. Finding a gene takes
        more cells than testing a score that averages many. 1 uses all cells for both, and the
        choice of the genes then flatters the tests.
    n_bootstraps : int
        Refits that measure the stability of programs; 0 for none.
    n_selection_pairs : int
        Complementary halves of stability selection; 0 for none.
    calibration : {"random", "guides", "none"}
        Mock perturbations of control cells, drawn at random or by non-targeting guide.
    efficacy : bool
        Learn how far each perturbed cell was perturbed.
    responders : bool
        Tell cells that responded to their perturbation from those that escaped it.
    gmt : Path, mapping or None
        Gene sets, as a GMT file or by term; without them enrichment is left out.
    enrich_online : str or None
        Organism in g:Profiler's names: ask that service instead.
    fold_changes : bool
        Regress counts for log2 fold changes that no penalty shrinks, with intervals.
    n_distance_permutations : int
        Of the test of energy distances to control; 0 leaves these out.
    cis : CisOptions, optional
        Pairs of elements and genes near them, which are corrected alone.
    term_sizes : (int, int)
        Smallest and largest term that is tested.
    max_volcanoes : int
        Perturbations with the most significant coefficients have a volcano plot.
    factors : NmfOptions or None
        Find programs by consensus NMF of cells, with the seed of the analysis; None by clustering
        coefficients.
    names : mapping, "best_term" or None
        Names of programs, or those of their most significant gene sets.
    """

    seed: int = 0
    q_threshold: float = 0.05
    n_permutations: int = 100
    pooled_null: bool = True
    tail_fit: bool = False
    n_score_permutations: int = 1000
    discovery: float = 2 / 3
    n_bootstraps: int = 10
    n_selection_pairs: int = 0
    calibration: Literal["random", "guides", "none"] = "random"
    efficacy: bool = False
    responders: bool = True
    clustering: ClusterOptions = field(default_factory=ClusterOptions)
    gmt: Path | Mapping[str, Sequence[str]] | None = None
    enrich_online: str | None = None
    fold_changes: bool = True
    n_distance_permutations: int = 1000
    cis: CisOptions | None = None
    term_sizes: tuple[int, int] = (5, 500)
    view: PrepareOptions = field(default_factory=PrepareOptions)
    max_volcanoes: int = 12
    factors: NmfOptions | None = None
    names: Mapping[str, str] | Literal["best_term"] | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        if not 0 < self.discovery <= 1:
            raise AnalysisError(f"discovery is a share of the cells, 0 to 1; got {self.discovery}")
        if not 0 < self.q_threshold < 1:
            raise AnalysisError(f"q_threshold must be between 0 and 1; got {self.q_threshold}")
        if self.tail_fit and not self.pooled_null:
            raise AnalysisError("tail_fit needs pooled_null: one gene has too few null values")
        if self.cis is not None and not self.fold_changes:
            raise AnalysisError("cis pairs are tested by fold changes; switch these on")
        if self.n_permutations < 1 or self.n_score_permutations < 1:
            raise AnalysisError("n_permutations and n_score_permutations must be at least 1")


@dataclass(frozen=True)
class Drawn:
    """Figures that share a caption, by file stem, and the section of the report they stand in."""

    figures: Mapping[str, Figure]
    caption: str
    section: str


@dataclass
class Analysis:
    """What the analysis found.

    Attributes
    ----------
    adata : AnnData
        Cells by genes with everything under documented keys, see `analyse`.
    tables : dict
        By file stem.
    drawn : list of Drawn
        Figures with their captions, in the order of the report.
    notes : list of str
        What was left out and why, in sentences.
    limits : list of str
        Those of them that say what permutations are too few for.
    """

    adata: ad.AnnData
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    drawn: list[Drawn] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)

    def note_limits(self, notes: Sequence[str]) -> None:
        """Note what permutations are too few for."""
        self.limits += notes
        self.notes += notes

    @property
    def figures(self) -> dict[str, Figure]:
        """All figures by file stem."""
        return {name: figure for one in self.drawn for name, figure in one.figures.items()}


@dataclass(frozen=True)
class Surface:
    """Held-out R2 of the sweep: ``r2`` (alphas, l1_ratios) and its axes."""

    r2: NDArray[np.float64]
    alphas: Sequence[float]
    l1_ratios: Sequence[float]
