"""What comes after the best setting: the biology of the coefficients, into a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from tuner.paths import InputPath

if TYPE_CHECKING:
    from tuner_plugins.elasticnet.settings import ElasticNetConfig
    from tuner_plugins.perturbseq.options import AnalysisOptions, Surface


class AnalysisSection(BaseModel):
    """How coefficients become biology; see `tuner_plugins.perturbseq.options.AnalysisOptions`.

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
        A GMT file; null for GO Biological Process where the package blitzgsea is installed.
    gprofiler : str, optional
        An organism such as ``hsapiens``: ask g:Profiler, over the internet.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, ge=0)
    false_discovery_rate: float = Field(default=0.05, gt=0, lt=1)
    permutations: int = Field(default=100, ge=1)
    pooled_null: bool = True
    discovery: float = Field(default=0.5, gt=0, le=1)
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

    def options(self, size_factor: str | None) -> AnalysisOptions:
        """Give what the library takes; `size_factor` is a column of obs or None."""
        from tuner_plugins.perturbseq.cell_cycle import G2M_GENES, S_GENES
        from tuner_plugins.perturbseq.options import AnalysisOptions
        from tuner_plugins.perturbseq.prepare import PrepareOptions
        from tuner_plugins.perturbseq.programs import ClusterOptions

        return AnalysisOptions(
            seed=self.seed,
            q_threshold=self.false_discovery_rate,
            n_permutations=self.permutations,
            pooled_null=self.pooled_null,
            discovery=self.discovery,
            n_bootstraps=self.bootstraps,
            n_selection_pairs=self.selection_pairs,
            calibration=self.calibration,
            efficacy=self.efficacy,
            clustering=ClusterOptions(
                n_neighbors=self.n_neighbors,
                resolution=self.resolution,
                n_pcs=self.n_pcs,
                scale=self.scale,
                seed=self.seed,
            ),
            gmt=self.gene_sets,
            enrich_online=self.gprofiler,
            view=PrepareOptions(
                size_factor=size_factor,
                seed=self.seed,
                cell_cycle={"S": S_GENES, "G2M": G2M_GENES},
            ),
        )


def analyse_screen(
    config: ElasticNetConfig,
    alpha: float,
    l1_ratio: float,
    folder: Path,
    *,
    surface: Surface | None = None,
    threads: int = 1,
) -> list[Path]:
    """Analyse the screen of a configuration with a chosen setting.

    Parameters
    ----------
    config : ElasticNetConfig
    alpha, l1_ratio : float
    folder : Path
        Gets ``analysis.h5ad``, ``tables/``, ``figures/`` and ``report.html``.
    surface : Surface, optional
        Of the sweep, to be drawn.
    threads : int

    Returns
    -------
    list of Path
        What was written.
    """
    from tuner_plugins.perturbseq.analysis import analyse
    from tuner_plugins.perturbseq.cells import column_of
    from tuner_plugins.perturbseq.loading import load
    from tuner_plugins.perturbseq.report import write
    from tuner_plugins.perturbseq.screen import open_screen

    data = config.data
    screen = open_screen(data.counts, data.recipe())
    adata, model = load(
        screen,
        alpha,
        l1_ratio,
        penalise_covariates=data.penalise_covariates,
        scale_genes=data.scale_genes,
        composition=config.analysis.composition,
        threads=threads,
    )
    panels = {"perturbation": data.perturbation}
    if data.batch is not None:
        panels = {"batch": data.batch} | panels
    guides = None
    if data.guide is not None:
        guides = column_of(screen.obs, data.guide, "guide").astype(str).to_numpy(dtype=object)
    size_factor = data.size_factor if data.size_factor in adata.obs else None
    found = analyse(
        adata,
        model,
        config.analysis.options(size_factor),
        obs_columns=panels,
        guides=guides,
        surface=surface,
    )
    found.notes[:0] = [*screen.design.notes, *screen.covariates.notes]
    return write(found, folder, title=f"{data.counts.stem}: perturbations to programs")
