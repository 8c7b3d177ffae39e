"""The plug-in: an elastic net for each gene of a Perturb-seq screen, tuned on held-out cells."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tuner.export.bundle import bundle
from tuner.export.provenance import provenance_head
from tuner.plugin import (
    Case,
    Cases,
    Clocked,
    Direction,
    Draft,
    InputError,
    Params,
    Plugin,
    Provenance,
    Result,
    Tried,
)
from tuner_plugins.elasticnet.config import ABOUT, ElasticNetConfig
from tuner_plugins.elasticnet.config import setting_of as _setting
from tuner_plugins.elasticnet.reading import (
    available_threads,
    probe_files,
    require_cis_pairs,
    require_gene_sets,
    require_programs,
)
from tuner_plugins.elasticnet.script_modules import SCRIPT_DEPENDENCIES, SCRIPT_MODULES
from tuner_plugins.elasticnet.selection import fold_metrics, one_standard_error
from tuner_plugins.elasticnet.summary import Summary, findings_of, summary_of, tables_of
from tuner_plugins.enet.cross_validation import cross_validate
from tuner_plugins.enet.cv_results import Sweep
from tuner_plugins.enet.validation import DataError
from tuner_plugins.perturbseq.data.stored import CellsError
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.model.reading import Loaded, read
from tuner_plugins.perturbseq.model.surface import grid_alphas
from tuner_plugins.perturbseq.simulate import CONTROL, simulate

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from optuna.distributions import BaseDistribution

REFERENCE: Params = {"alpha": 5e-4, "l1_ratio": 0.5}
"""The setting of the published script (Dixit et al., 2016, 10.1016/j.cell.2016.11.038)."""


@contextmanager
def _as_input_error(where: str = "") -> Iterator[None]:
    """Raise bad input as the engine reports it: one line, exit code 2."""
    try:
        yield
    except (CellsError, DataError, AnalysisError) as error:
        raise InputError(f"{where}{error}") from error


class ElasticNetPlugin(Plugin[ElasticNetConfig]):
    """Elastic net of each gene on perturbations and covariates.

    A trial is the cross-validation of one alpha and l1_ratio: exact fits from statistics that are
    summed once, when the screen is loaded.
    """

    name = "elasticnet"
    Config = ElasticNetConfig
    metrics: Mapping[str, Direction] = {
        "r2": "maximize",
        "delta_r2": "maximize",
        "partial_r2": "maximize",
        "r2_mean": "maximize",
        "r2_se": "minimize",
        "nonzeros": "minimize",
        "kkt": "minimize",
    }
    meanings: ClassVar[Mapping[str, str]] = {
        "r2": "share of variance explained in cells that were held out, over all genes",
        "delta_r2": "held-out r2 beyond that of the covariates alone",
        "partial_r2": "held-out share of what covariates leave unexplained, genes weighing alike",
        "r2_mean": "mean of the genes' own held-out r2",
        "r2_se": "standard error of r2 over the folds",
        "nonzeros": "mean number of penalised coefficients of a gene that are not zero",
        "kkt": "largest optimality residual of the fits, a correlation",
    }
    about = ABOUT
    afterwards: ClassVar[Collection[str]] = ("surface", "analysis", "data.well")

    def __init__(self, config: ElasticNetConfig) -> None:
        super().__init__(config)
        self._summaries: dict[tuple[str, float, float], Summary] = {}
        self._noted: Loaded | None = None

    def search_space(self) -> Mapping[str, BaseDistribution]:
        """Return alpha (log) and l1_ratio."""
        from optuna.distributions import FloatDistribution

        return {
            "alpha": FloatDistribution(1e-5, 0.1, log=True),
            "l1_ratio": FloatDistribution(0.05, 1.0),
        }

    def baseline(self) -> Params:
        """Return the setting that the published script uses."""
        return dict(REFERENCE)

    def check(self, params: Params) -> None:
        """Raise where alpha is negative or l1_ratio is not from 0 to 1."""
        alpha, ratio = _setting(params)
        if not 0 <= alpha < np.inf:
            raise InputError(f"alpha is {alpha:g}; expected a finite number >= 0")
        if not 0 <= ratio <= 1:
            raise InputError(f"l1_ratio is {ratio:g}; expected a number from 0 to 1")

    def inputs(self) -> Sequence[Path]:
        """Return the screen's files."""
        return (*self.config.data.counts, *self.config.data.cells)

    def load(self) -> Cases:
        """Read the screen once, in blocks of cells, into statistics by fold."""
        with _as_input_error():
            loaded, self._noted = self._noted or self._read(), None
            # compiles the kernels and remembers what all trials share, off the clock
            cross_validate(loaded.problem, *([value] for value in _setting(REFERENCE)))
        return Cases([Case(self.config.data.counts[0].stem, loaded)])

    def notes(self) -> Sequence[str]:
        """Return what there is to know of the screen: reads it as `load` does."""
        with _as_input_error():
            probe_files(self.config.data)
            loaded = self._read()
        with _as_input_error("analysis.gene_sets: "):
            require_gene_sets(self.config, loaded)
        with _as_input_error("analysis.cis: "):
            require_cis_pairs(self.config, loaded)
        with _as_input_error("analysis.programs: "):
            require_programs(self.config, loaded)
        self._noted = loaded if loaded.is_small else None  # for `load`, in the same process
        return loaded.notes

    def run(self, case: Case, params: Params, seed: int) -> Sweep:
        """Cross-validate one setting."""
        alpha, ratio = _setting(params)
        problem = case.data.problem
        return cross_validate(problem, [alpha], [ratio], threads=available_threads())

    def score(self, case: Case, output: Sweep) -> Mapping[str, float]:
        """Return held-out R2, what the perturbations add to it, and the KKT residual."""
        return {
            "r2": float(output.r2[0, 0]),
            "r2_covariates": float(output.r2_covariates[0, 0]),
            "delta_r2": float(output.delta_r2[0, 0]),
            "partial_r2": float(output.partial_r2[0, 0]),
            "r2_mean": float(output.r2_mean[0, 0]),
            "r2_se": float(output.r2_se[0, 0]),
            "nonzeros": float(output.nonzeros[0, 0]),
            "kkt": output.kkt,
            **fold_metrics(output),
        }

    def one_standard_error(self, best: Tried, tried: Sequence[Tried]) -> tuple[Tried, str]:
        """Return the sparsest trial within one standard error of the best, and why."""
        return one_standard_error(best, tried)

    def figures(self, results: Sequence[Result]) -> Mapping[str, Figure]:
        """Draw the whole surface, the path, the sizes, the perturbations and the null."""
        from tuner_plugins.elasticnet.figures import figures_of

        result = results[0]
        return figures_of(self._summary(result), *_setting(result.params))

    def tables(self, results: Sequence[Result]) -> Mapping[str, pd.DataFrame]:
        """Tabulate the surface, the choice, genes, perturbations and the null."""
        result = results[0]
        return tables_of(result.case.data, self._summary(result), *_setting(result.params))

    def findings(self, results: Sequence[Result]) -> Sequence[str]:
        """Return what perturbations add to covariates, beside the permutation null."""
        return findings_of(self._summary(results[0]))

    def freeze(self, params: Params, path: Path, provenance: Provenance) -> None:
        """Write a script that fits a screen with this setting: ``-i data.h5ad -o coef.h5ad``."""
        recipe, setting, analysis = self._plain(params)
        summary = (
            "Fit an elastic net of each gene on perturbations and covariates: "
            "-i DATA.h5ad -o COEF.h5ad"
        )
        text = bundle(
            SCRIPT_MODULES,
            {"SETTING": setting, "RECIPE": recipe, "ANALYSIS": analysis},
            provenance_head(summary, params, provenance),
            SCRIPT_DEPENDENCIES,
        )
        path.write_text(text, encoding="utf-8")

    def remeasure(self, case: Case, script: Path, params: Params, output: Path) -> Clocked:
        """Run a script, and cross-validate with the penalties that it used."""
        from tuner_plugins.elasticnet.remeasure import remeasure

        *command, _ = self.usage(script)[0]
        return remeasure(command, case.data.problem, params, output.with_suffix(".h5ad"))

    def usage(self, path: Path) -> tuple[Sequence[str], str]:
        """Return the script's command line for the screen, and what it needs."""
        packages = ", ".join(one.partition(">")[0] for one in SCRIPT_DEPENDENCIES)
        counts, tables = (list(map(str, paths)) for paths in self.config.data.source)
        cells = ["--cells", *tables] if tables else []
        return [str(path), "-i", *counts, *cells, "-o", "coef.h5ad"], packages

    def analyse(self, params: Params, folder: Path) -> None:
        """Write programs, modules, tests, enrichment, figures and a report into `folder`."""
        from tuner_plugins.perturbseq.report import options
        from tuner_plugins.perturbseq.report.command import analyse_file
        from tuner_plugins.perturbseq.report.progress import spoken, step

        self.check(params)
        recipe, setting, chosen = self._plain(params)
        with _as_input_error(), spoken():
            step("reading the screen")
            problem, threads = self.load().tuned[0].data.problem, available_threads()
            step("cross-validating the surface")
            ratios = self.config.surface.l1_ratios
            alphas = grid_alphas(problem, self.config.surface.alphas, ratios)
            r2 = cross_validate(problem, alphas, ratios, threads=threads).r2
            analyse_file(
                self.config.data.source,
                recipe,
                setting,
                chosen,
                folder,
                surface=options.Surface(r2, list(alphas), ratios),
                threads=threads,
            )

    @classmethod
    def draft(cls, folder: Path) -> Draft | None:
        """Return a configuration for a user's files: see `tuner_plugins.elasticnet.draft`."""
        from tuner_plugins.elasticnet.draft import draft_for

        with _as_input_error():
            return draft_for(folder)

    @classmethod
    def tiny(cls, folder: Path) -> Mapping[str, Any]:
        """Simulate a small screen."""
        sizes = {"cells": 240, "genes": 130, "perturbations": 4, "programs": 2, "modules": 2}
        paths = simulate(folder / "screen", seed=1, **sizes)
        return {
            "data": {
                "counts": str(paths["screen"]),
                "control": [CONTROL],
                "batch": "batch",
                "covariates": ["total_counts", "pct_counts_mt"],
            },
            "cv": {"folds": 3},
            "surface": {"alphas": 5, "l1_ratios": [0.5, 1.0], "permutations": 5},
        }

    def _read(self) -> Loaded:
        return read(self.config.data.source, self.config.plan(), threads=available_threads())

    def _plain(self, params: Params) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Return recipe, setting and options of the analysis as plain data."""
        alpha, ratio = _setting(params)
        data = self.config.data
        setting = {
            "alpha": alpha,
            "l1_ratio": ratio,
            "penalise_covariates": data.penalise_covariates,
            "scale_genes": data.scale_genes,
        }
        options = {**self.config.analysis.plain(), "guide": data.guide}
        return asdict(data.recipe()), setting, options

    def _summary(self, result: Result) -> Summary:
        alpha, ratio = _setting(result.params)
        key = (result.case.name, alpha, ratio)
        if key not in self._summaries:
            with _as_input_error():
                self._summaries[key] = summary_of(
                    result.case.data,
                    alpha,
                    ratio,
                    self.config.surface,
                    self.config.cv.seed,
                    available_threads(),
                )
        return self._summaries[key]
