"""The section of the configuration on what comes after the best setting."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tuner.config.schema import InputPath


class AnalysisSection(BaseModel):
    """How coefficients become biology.

    See `tuner_plugins.perturbseq.report.options.AnalysisOptions`.

    Attributes
    ----------
    seed : int
    false_discovery_rate : float
        Of significant coefficients and program effects.
    permutations : int
        Full refits under permuted labels.
    pooled_null : bool
        Whether the genes of a perturbation share their null.
    discovery : float
        Share of the cells that programs are found in; the others test them.
    bootstraps, selection_pairs : int
        For the stability of programs and of coefficients; 0 for none.
    calibration : {"random", "guides", "none"}
        Mock perturbations of control cells.
    efficacy : bool
        Learn how far each perturbed cell was perturbed.
    composition : bool, optional
        Make good for the shift of all genes where some moved; null does so where counts are
        divided by their own sum.
    n_neighbors, resolution, n_pcs, scale
        Of the clustering; null chooses neighbours and resolution by silhouette.
    gene_sets : Path, optional
        A GMT file, such as a collection of MSigDB; without it enrichment is left out.
    gprofiler : str, optional
        An organism such as ``hsapiens``: ask g:Profiler, over the internet.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, ge=0)
    false_discovery_rate: float = Field(default=0.05, gt=0, lt=1)
    permutations: int = Field(default=100, ge=1)
    pooled_null: bool = True
    discovery: float = Field(default=2 / 3, gt=0, le=1)
    bootstraps: int = Field(default=10, ge=0)
    selection_pairs: int = Field(default=0, ge=0)
    calibration: Literal["random", "guides", "none"] = "random"
    efficacy: bool = False
    composition: bool | None = None
    n_neighbors: int | None = Field(default=None, ge=1)
    resolution: float | None = Field(default=None, gt=0)
    n_pcs: int | None = Field(default=None, ge=1)
    scale: bool = False
    gene_sets: InputPath | None = None
    gprofiler: str | None = None

    def plain(self) -> dict[str, Any]:
        """Return what `tuner_plugins.perturbseq.report.command` takes: numbers, text and None."""
        return self.model_dump(mode="json")
