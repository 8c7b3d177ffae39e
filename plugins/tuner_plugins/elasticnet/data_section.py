"""The section ``data`` of the configuration: which screen, and how it is read."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from tuner.config.schema import InputPaths
from tuner_plugins.perturbseq.data.files import Files
from tuner_plugins.perturbseq.data.guide_calls import GuideCalling
from tuner_plugins.perturbseq.data.labels import UNASSIGNED, Labels
from tuner_plugins.perturbseq.data.response import GeneChoice
from tuner_plugins.perturbseq.data.screen import Recipe
from tuner_plugins.perturbseq.inference.exchangeable_units import AUTO


def _texts(value: object) -> object:
    """Return a list of text: labels may be written as numbers, or as one label without a list."""
    values = value if isinstance(value, list | tuple) else [value]
    return [str(v) if isinstance(v, int | float) and not isinstance(v, bool) else v for v in values]


Label = str | int | float
Texts = Annotated[list[str], BeforeValidator(_texts, json_schema_input_type=Label | list[Label])]


class Section(BaseModel):
    """Base of the sections: frozen; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class GenesSection(Section):
    """Which genes are fitted; what is learnt from cells is learnt from training cells.

    Attributes
    ----------
    names : list of str, optional
        These only.
    min_cells : int
        Least number of training cells in which a gene is seen.
    highly_variable : int or [min_mean, max_mean, min_dispersion], optional
        So many genes, or those within these limits ([0.0125, 3, 0.5] are the usual ones).
    """

    names: list[str] | None = None
    min_cells: int = Field(default=0, ge=0)
    highly_variable: Annotated[int, Field(ge=1)] | tuple[float, float, float] | None = None


class DataSection(Section):
    """The screen.

    Attributes
    ----------
    counts : Path, glob, or list of these
        What holds the counts: .h5ad, .zarr, .h5mu, .loom, .h5 of 10x Genomics, or .mtx with its
        names beside it (or the folder of these). Cells of several files follow each other;
        ``file`` is then a column of obs.
    cells : Path or list of Path
        Tables with further columns of obs: .csv, .tsv or .parquet, names of cells in the first
        column; one, or one for each file of counts.
    join : {"same", "inner"}
        Several files must have the same genes, or those are read that all have.
    modality : str, optional
        Of an .h5mu, ``rna`` unless given; elsewhere a feature type of 10x Genomics,
        ``Gene Expression`` unless given.
    layer : str, optional
        Where its raw counts are: null for X, ``raw``, or a layer.
    values : {"counts", "fractional", "log1p"}
        What they are: whole numbers; counts that were corrected (CellBender, SoupX, alevin); or
        log1p of normalised counts, which are fitted as they are.
    perturbation : str
        Column of obs.
    control : list of str
        Labels of control cells; [] if there are none.
    unassigned, unassigned_labels
        What becomes of cells without a perturbation, and labels that mean so beside missing ones.
    separator, multiple, combinations
        What stands between the perturbations of one cell; what becomes of such cells; whether
        combinations get columns of their own. Without a separator a label is taken as it is.
    min_cells : int
        Rarer perturbations are left out, with their cells.
    perturbations : list of str, optional
        Only these are modelled; cells with others are left out.
    guide_counts : GuideCalling, optional
        Labels are called from counts of guides and joined by its separator; the columns
        `perturbation`, ``guide`` and ``n_guides`` are new.
    guide, batch : str, optional
        Columns of obs. The batch is a covariate.
    unit : str
        What got its perturbation as one, and exchanges labels as one in the permutation test: a
        column of obs such as a well or a clone; ``cells``; or ``auto``, the guide (`guide`, or the
        column ``guide`` of obs) where some perturbation has two, else cells.
    well : str, optional
        Column of obs with names of wells (``A01``, ``P1_A01``), each with one unit. Where units of
        a perturbation stand side by side, the permutation test moves labels along the plate and
        does not shuffle them. ``auto``: ``well``, if it is such a column; null: places do not
        matter.
    covariates : list of str
        Columns of obs; total_counts, pct_counts_mt, S_score and G2M_score are computed if absent.
    penalise_covariates : bool
        Penalise them as perturbations are, once divided by their standard deviation.
    response : str
        ``log1p_cp10k``, ``counts``, or a layer.
    gene_symbols : str, optional
        Column of var with gene symbols, where genes are named by identifiers: mitochondrial and
        cell-cycle genes, a perturbation's own gene and gene sets are found by them, and the
        analysis names genes by them.
    size_factor : str
        Column of obs that counts are divided by; ``total_counts`` is summed if absent.
    genes : GenesSection
        Which are fitted.
    scale_genes : bool
        Divide each response by its standard deviation before it is fitted.
    y_obs : list of str
        Columns of obs to fit beside the genes.
    """

    counts: Annotated[InputPaths, Field(min_length=1)]
    cells: InputPaths = []
    join: Literal["same", "inner"] = "same"
    modality: str | None = None
    layer: str | None = None
    values: Literal["counts", "fractional", "log1p"] = "counts"
    perturbation: str = "perturbation"
    control: Texts
    unassigned: Literal["error", "drop", "control"] = "error"
    unassigned_labels: Texts = list(UNASSIGNED)
    separator: str | None = Field(default=None, min_length=1)
    multiple: Literal["error", "drop", "control", "additive"] = "error"
    combinations: bool = False
    min_cells: int = Field(default=1, ge=1)
    perturbations: Texts | None = Field(default=None, min_length=1)
    guide_counts: GuideCalling | None = None
    guide: str | None = None
    unit: str = AUTO
    well: str | None = AUTO
    batch: str | None = None
    covariates: list[str] = []
    penalise_covariates: bool = False
    response: str = "log1p_cp10k"
    # `symbols` is what it was called before
    gene_symbols: str | None = Field(
        default=None, validation_alias=AliasChoices("gene_symbols", "symbols")
    )
    size_factor: str = "total_counts"
    genes: GenesSection = GenesSection()
    scale_genes: bool = False
    y_obs: list[str] = []

    @model_validator(mode="after")
    def _policies_fit_together(self) -> DataSection:
        joined = self.separator is not None or self.guide_counts is not None
        if self.multiple != "error" and not joined:
            raise ValueError(f"data.multiple {self.multiple} needs data.separator, such as ','")
        if self.combinations and self.multiple != "additive":
            raise ValueError("data.combinations needs data.multiple: additive")
        return self

    @property
    def source(self) -> Files:
        """The files, as the reader of screens takes them."""
        return Files(tuple(self.counts), tuple(self.cells))

    def recipe(self) -> Recipe:
        """Return what the reader of screens needs."""
        chosen, calling = self.genes.highly_variable, self.guide_counts
        return Recipe(
            Labels(
                self.perturbation,
                tuple(self.control),
                self.unassigned,
                tuple(self.unassigned_labels),
                self.separator if calling is None else calling.separator,
                self.multiple,
                self.combinations,
                self.min_cells,
                None if self.perturbations is None else tuple(self.perturbations),
            ),
            self.layer,
            self.batch,
            tuple(self.covariates),
            self.response,
            self.size_factor,
            GeneChoice(
                None if self.genes.names is None else tuple(self.genes.names),
                self.genes.min_cells,
                chosen if isinstance(chosen, int) else None,
                None if isinstance(chosen, int) else chosen,
            ),
            tuple(self.y_obs),
            self.gene_symbols,
            self.modality,
            self.join,
            self.values,
            calling,
        )
