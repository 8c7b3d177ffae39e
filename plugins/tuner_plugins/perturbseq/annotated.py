"""What `ps` keeps in an AnnData: where results stand, and how a fitted screen is read again.

docs/perturbseq.md has the table of keys.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from tuner_plugins.perturbseq.data.matrix import open_cells
from tuner_plugins.perturbseq.data.screen import open_screen, recipe_of
from tuner_plugins.perturbseq.data.stored import stored_names
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.inference.coefficients import tabulate
from tuner_plugins.perturbseq.inference.program_tests import adjust
from tuner_plugins.perturbseq.model.load import gene_names, load
from tuner_plugins.perturbseq.model.reading import Plan
from tuner_plugins.perturbseq.model.resampling import Model
from tuner_plugins.perturbseq.report.effects import FOLD_CHANGES, own_effects
from tuner_plugins.perturbseq.report.options import AnalysisOptions

KEY = "elasticnet"
"""Of ``uns``: the setting, the sweep, and how the screen was read."""


class ScreenWarning(UserWarning):
    """What of a screen means little or nothing, in one line."""


def tell(notes: Iterable[str], stacklevel: int = 3) -> None:
    """Warn of what is to be known, a line each."""
    for note in notes:
        warnings.warn(note, ScreenWarning, stacklevel=stacklevel)


def adata_of(data: Any, modality: str | None = None, *, copy: bool = False) -> ad.AnnData:
    """Return the AnnData that is meant: itself, or a modality of a MuData.

    Parameters
    ----------
    data : AnnData or MuData
    modality : str, optional
        Name of the modality with the expression; not needed where there is one, or ``rna``.
    copy : bool
        Return a copy in memory.

    Raises
    ------
    AnalysisError
        It is neither, or there is no such modality.
    """
    if isinstance(data, ad.AnnData):
        found = data
    elif hasattr(data, "mod") and not callable(data.mod):
        names = list(data.mod)
        chosen = modality or (names[0] if len(names) == 1 else "rna")
        if chosen not in names:
            raise AnalysisError(f"no modality '{chosen}'; name one (modality): {', '.join(names)}")
        found = data.mod[chosen]
    else:
        raise AnalysisError(f"expected an AnnData or a MuData; got {type(data).__name__}")
    if not copy:
        return found
    return found.to_memory() if found.isbacked else found.copy()


@dataclass(frozen=True)
class Fitted:
    """A screen that was fitted, as the analysis works on it.

    Attributes
    ----------
    adata : AnnData
        The user's.
    plan : Plan
        How it was read.
    names : Index
        Names of the matrix's genes as the analysis shows them: symbols, where they were asked for.
    genes : Index
        The same genes as `adata` names them.
    """

    adata: ad.AnnData
    plan: Plan
    names: pd.Index
    genes: pd.Index

    def tell(self, notes: Iterable[str]) -> None:
        """Warn of what is to be known, a line each, and keep it with the notes of the screen."""
        kept, found = np.asarray(self.adata.uns[KEY]["notes"]).tolist(), list(notes)
        self.adata.uns[KEY]["notes"] = np.array(list(dict.fromkeys([*kept, *found])), dtype=str)
        tell(found, stacklevel=4)

    def keep_in_varm(self, key: str, table: pd.DataFrame) -> None:
        """Write a table of genes to ``varm``, NaN for genes that it lacks."""
        frame = table.set_axis(pd.Index(self.genes[self.names.get_indexer(table.index)]))
        frame.columns = stored_names(frame.columns)
        self.adata.varm[key] = frame.reindex(self.adata.var_names)

    def keep_in_var(self, key: str, values: pd.Series) -> None:
        """Write a value of each gene to ``var``, missing for genes that it lacks."""
        own = values.set_axis(self.genes[self.names.get_indexer(values.index)])
        self.adata.var[key] = own.reindex(self.adata.var_names)

    def table(self, key: str) -> pd.DataFrame:
        """Read a table of ``varm`` back: the genes that have a model, by perturbations.

        Raises
        ------
        AnalysisError
            There is none.
        """
        if key not in self.adata.varm:
            raise AnalysisError(
                f"no varm '{key}': "
                + ("tl.fold_changes" if key.startswith("log2fc") else "tl.elasticnet")
                + " writes it"
                + (", with n_permutations of 1 or more" if key in ("coef_p", "coef_q") else "")
            )
        frame = pd.DataFrame(self.adata.varm[key]).dropna(how="all")
        if "coef" in self.adata.varm:  # a gene that never varies has no p, but a model
            modelled = pd.DataFrame(self.adata.varm["coef"]).notna().any(axis=1).to_numpy()
            frame = pd.DataFrame(self.adata.varm[key])[modelled]
        frame = frame.set_axis(self.names[self.genes.get_indexer(frame.index)])
        return frame.set_axis(list(self.adata.uns[KEY]["perturbations"]), axis=1)

    def load(self, threads: int = 1) -> tuple[ad.AnnData, Model]:
        """Read the screen again: the cells that stay with raw counts, and the model of them."""
        setting = self.adata.uns[KEY]
        kept = json.loads(setting["plan"])
        view, model = load(
            open_screen(self.adata, self.plan.recipe),
            float(setting["alpha"]),
            float(setting["l1_ratio"]),
            penalise_covariates=self.plan.penalise_covariates,
            scale_genes=self.plan.scale_genes,
            composition=kept["composition"],
            threads=threads,
        )
        return view, model

    def options(self, **changes: Any) -> AnalysisOptions:
        """Return the options of the fit, with changes."""
        return AnalysisOptions(**{**json.loads(self.adata.uns[KEY]["plan"])["options"], **changes})


def fitted_with(adata: ad.AnnData, plan: Plan) -> Fitted:
    """Return an AnnData with a plan."""
    cells = open_cells(adata, plan.recipe.layer, plan.recipe.symbols)
    return Fitted(adata, plan, gene_names(cells), cells.genes.astype(str))


def remember(plan: Plan, composition: bool | None, options: dict[str, Any]) -> str:
    """Return how a screen was read as text, which any file can hold."""
    kept = {**asdict(plan), "composition": composition, "options": options}
    return json.dumps(kept)


def fitted(data: Any, modality: str | None = None) -> Fitted:
    """Return the screen that `tl.elasticnet` fitted.

    Raises
    ------
    AnalysisError
        None was.
    """
    adata = adata_of(data, modality)
    if "plan" not in adata.uns.get(KEY, {}):
        raise AnalysisError(f"uns['{KEY}'] says of no fit: run tl.elasticnet first")
    kept = json.loads(adata.uns[KEY]["plan"])
    del kept["composition"], kept["options"]
    return fitted_with(adata, Plan(**{**kept, "recipe": recipe_of(kept["recipe"])}))


def stored_table(adata: ad.AnnData, key: str) -> pd.DataFrame:
    """Return a table of ``varm``, of `tl.elasticnet` or of an analysis: genes by perturbations."""
    if "plan" in adata.uns.get(KEY, {}):
        return fitted(adata).table(key)
    if key not in adata.varm:
        raise AnalysisError(f"no varm '{key}': run tl.elasticnet, or read analysis.h5ad")
    modelled = pd.DataFrame(adata.varm["coef"]).notna().any(axis=1).to_numpy()
    return pd.DataFrame(adata.varm[key])[modelled]


def coefficient_table(data: Any, modality: str | None = None) -> pd.DataFrame:
    """Return the coefficients as a tidy table, one row a gene and perturbation.

    Returns
    -------
    pandas.DataFrame
        ``gene``, ``perturbation``, ``coef``, ``p``, ``q``, ``n_cells``, as in the table
        ``coefficients`` of an analysis; and ``log2fc`` with its interval, p and q after
        `tl.fold_changes`.
    """
    adata = adata_of(data, modality)
    coef, p = (stored_table(adata, key) for key in ("coef", "coef_p"))
    cells = adata.uns[KEY].get("n_cells")
    table = tabulate(coef, p.to_numpy(), None if cells is None else np.asarray(cells).tolist())
    for key in FOLD_CHANGES:
        if key in adata.varm:
            table[key] = stored_table(adata, key).to_numpy().ravel()
    if "log2fc_p" in table:
        table["log2fc_q"] = adjust(table["log2fc_p"])
    return table


def knockdown(data: Any, *, q_threshold: float = 0.05, modality: str | None = None) -> pd.DataFrame:
    """Tabulate what each perturbation leaves of its own gene, and the power to see that.

    Parameters
    ----------
    data : AnnData or MuData
        After `fold_changes`.

    Returns
    -------
    pandas.DataFrame
        One row a perturbation whose gene was fitted, see
        `tuner_plugins.perturbseq.report.effects.own_effects`. Intervals are taken for those of
        95 %.
    """
    table = coefficient_table(data, modality)
    if "log2fc" not in table:
        raise AnalysisError("no varm 'log2fc': run tl.fold_changes first")
    return own_effects(table, q_threshold)
