"""The plug-in's sections of the configuration, and what they mean for a screen."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from tuner.config.schema import InputPath
from tuner.plugin import About, InputError, Params
from tuner.plugin.words import shown
from tuner_plugins.elasticnet.data_section import DataSection, Section
from tuner_plugins.perturbseq.data.positions import DISTANCE, bases
from tuner_plugins.perturbseq.model.reading import Plan

ABOUT = {
    "alpha": About("strength of the penalty, as in scikit-learn"),
    "l1_ratio": About("share of the penalty that is lasso's: 1 lasso, 0 ridge"),
}


class CvSection(Section):
    """How cells are held out.

    Attributes
    ----------
    folds : int
        How many.
    split : {"stratified", "leave_guide_out", "leave_batch_out"}
        By perturbation x batch (by unit x batch where there are units); whole guides; whole
        batches.
    seed : int
        Of the folds, and of the permutations.
    """

    folds: int = Field(default=5, ge=2)
    split: Literal["stratified", "leave_guide_out", "leave_batch_out"] = "stratified"
    seed: int = Field(default=0, ge=0)


class SurfaceSection(Section):
    """What is computed once, beside the trials, for figures and tables.

    Attributes
    ----------
    alphas : int
        Log-spaced, from the alpha at which nothing is left to a thousandth of it.
    l1_ratios : list of float
        Ratios of the grid.
    permutations : int
        Of the null of the best ``partial_r2``; 0 for none.
    """

    alphas: int = Field(default=30, ge=2)
    l1_ratios: list[Annotated[float, Field(ge=0, le=1)]] = Field(
        default=[0.1, 0.3, 0.5, 0.7, 0.9, 1.0], min_length=1
    )
    permutations: int = Field(default=100, ge=0)


def _distance(given: Any) -> int:
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        raise ValueError(f"expected a distance such as 1Mb or 20000, got {shown(given)}")
    return bases(given)


class CisSection(Section):
    """Pairs of elements and genes near them, in a screen of enhancers.

    Attributes
    ----------
    annotation : Path
        Genes: GTF, GFF3, or BED with names and strands, gzipped or not.
    elements : Path, optional
        A BED file named by perturbation; null reads positions from labels such as ``chr1:100-200``.
    distance : int or text
        Bases from the middle of an element to the start of a gene, such as ``1Mb``.
    """

    annotation: InputPath
    elements: InputPath | None = None
    distance: Annotated[
        int, BeforeValidator(_distance, json_schema_input_type=int | str), Field(ge=0)
    ] = DISTANCE


class ProgramsSection(Section):
    """How gene programs are found and named.

    Attributes
    ----------
    method : {"leiden", "consensus_nmf"}
        Cluster the genes that answer alike to perturbations, or factorise the counts of cells
        (Kotliar et al. 2019, doi:10.7554/eLife.43803).
    n_programs : int or list of int
        Of the factorisation; of several the largest that is about as stable as the best.
    replicates : int
        Factorisations of each number of programs.
    n_genes : int
        Variable genes that are factorised.
    density_threshold : float
        Spectra farther than this from those of other replicates are left out of the consensus.
    top_genes : int
        Genes of each factor program that are shown and looked up in gene sets.
    names : mapping of str, "best_term", optional
        New names by number or name (``{0: cell cycle, P3: interferon}``), or those of the most
        significant gene sets.
    """

    method: Literal["leiden", "consensus_nmf"] = "leiden"
    n_programs: (
        Annotated[int, Field(ge=1)]
        | Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)]
    ) = 10
    replicates: int = Field(default=20, ge=1)
    n_genes: int = Field(default=2000, ge=2)
    density_threshold: float = Field(default=0.5, gt=0, le=2)
    top_genes: int = Field(default=50, ge=1)
    names: dict[str, str] | Literal["best_term"] | None = None

    @field_validator("names", mode="before")
    @classmethod
    def _numbers_are_names(cls, names: Any) -> Any:
        if not isinstance(names, dict):
            if names not in (None, "best_term"):
                raise ValueError(f"expected names by number, or best_term; got {names!r}")
            return names
        return {str(key) if isinstance(key, int) else key: name for key, name in names.items()}

    @field_validator("n_programs", mode="before")
    @classmethod
    def _are_numbers(cls, given: Any) -> Any:
        each = given if isinstance(given, list) and given else [given]
        if any(isinstance(k, bool) or not isinstance(k, int) or k < 1 for k in each):
            raise ValueError(f"expected a whole number from 1, or a list of them; got {given!r}")
        return given

    @model_validator(mode="after")
    def _can_be_compared(self) -> ProgramsSection:
        if isinstance(self.n_programs, list) and len(self.n_programs) > 1 and self.replicates < 2:
            raise ValueError("several n_programs are compared by replicates; ask for 2 or more")
        if isinstance(self.names, dict) and len(set(self.names.values())) < len(self.names):
            raise ValueError("two programs would have the same name; give each its own")
        return self


class AnalysisSection(Section):
    """How coefficients become biology, once there is a best setting.

    See `tuner_plugins.perturbseq.report.options.AnalysisOptions`.

    Attributes
    ----------
    seed : int
        Of permutations, of bootstraps and of the split of cells.
    false_discovery_rate : float
        Of significant coefficients and program effects.
    permutations : int
        Full refits under permuted labels.
    pooled_null : bool
        Whether the genes of a perturbation share their null.
    tail_fit : bool
        Read p-values that permutations are too few for from a tail fitted to that null.
    discovery : float
        Share of the cells that programs are found in; the others test them.
    bootstraps, selection_pairs : int
        For the stability of programs and of coefficients; 0 for none.
    calibration : {"random", "guides", "none"}
        Mock perturbations of control cells.
    efficacy : bool
        Learn how far each perturbed cell was perturbed.
    responders : bool
        Tell cells that responded to their perturbation from those that escaped it.
    fold_changes : bool
        Estimate log2 fold changes with intervals from counts, and interactions of pairs.
    distance_permutations : int
        Of the test of energy distances to control; 0 leaves these out.
    cis : section, optional
        Test genes near each element of a screen of enhancers, corrected over these pairs alone.
    composition : bool, optional
        Make good for the shift of all genes where some moved; null does so where counts are
        divided by their own sum.
    n_neighbors, resolution, n_pcs, scale
        Of the clustering; null chooses neighbours and resolution by silhouette. Several
        resolutions are compared.
    programs : section
        Which programs are found, and their names.
    gene_sets : Path, optional
        A GMT file, such as a collection of MSigDB; without it enrichment is left out.
    gprofiler : str, optional
        An organism such as ``hsapiens``: ask g:Profiler, over the internet.
    """

    seed: int = Field(default=0, ge=0)
    false_discovery_rate: float = Field(default=0.05, gt=0, lt=1)
    permutations: int = Field(default=100, ge=1)
    pooled_null: bool = True
    tail_fit: bool = False
    discovery: float = Field(default=2 / 3, gt=0, le=1)
    bootstraps: int = Field(default=10, ge=0)
    selection_pairs: int = Field(default=0, ge=0)
    calibration: Literal["random", "guides", "none"] = "random"
    efficacy: bool = False
    responders: bool = True
    fold_changes: bool = True
    distance_permutations: int = Field(default=1000, ge=0)
    cis: CisSection | None = None
    composition: bool | None = None
    n_neighbors: int | None = Field(default=None, ge=1)
    resolution: (
        Annotated[float, Field(gt=0)]
        | Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)]
        | None
    ) = None
    n_pcs: int | None = Field(default=None, ge=1)
    scale: bool = False
    programs: ProgramsSection = ProgramsSection()
    gene_sets: InputPath | None = None
    gprofiler: str | None = None

    @model_validator(mode="after")
    def _pairs_have_fold_changes(self) -> AnalysisSection:
        if self.cis is not None and not self.fold_changes:
            raise ValueError("cis pairs are tested by fold changes: leave fold_changes: true")
        return self

    @field_validator("resolution", mode="before")
    @classmethod
    def _are_resolutions(cls, given: Any) -> Any:
        each = given if isinstance(given, list) and given else [given]
        known = all(isinstance(r, int | float) and not isinstance(r, bool) and r > 0 for r in each)
        if given is not None and not known:
            raise ValueError(f"expected a number above 0, or a list of them; got {given!r}")
        return given

    def plain(self) -> dict[str, Any]:
        """Return what `tuner_plugins.perturbseq.report.command` takes: numbers, text and None."""
        return self.model_dump(mode="json")


class ElasticNetConfig(Section):
    """The plug-in's sections of the configuration."""

    data: DataSection
    cv: CvSection = CvSection()
    surface: SurfaceSection = SurfaceSection()
    analysis: AnalysisSection = AnalysisSection()

    @model_validator(mode="after")
    def _split_has_its_column(self) -> ElasticNetConfig:
        needed = {"leave_guide_out": "guide", "leave_batch_out": "batch"}.get(self.cv.split)
        if needed is not None and getattr(self.data, needed) is None:
            raise ValueError(f"cv.split {self.cv.split} needs data.{needed}, a column of obs")
        return self

    def plan(self) -> Plan:
        """Return what reads the screen."""
        data = self.data
        return Plan(
            data.recipe(),
            data.guide,
            data.unit,
            data.well,
            data.penalise_covariates,
            data.scale_genes,
            **self.cv.model_dump(),
            permutations=self.surface.permutations,
        )


def setting_of(params: Params) -> tuple[float, float]:
    """Return alpha and l1_ratio as numbers."""
    alpha, ratio = params["alpha"], params["l1_ratio"]
    for name, value in (("alpha", alpha), ("l1_ratio", ratio)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(f"{name} is {value!r}; expected a number")
    return float(alpha), float(ratio)  # type: ignore[arg-type]
