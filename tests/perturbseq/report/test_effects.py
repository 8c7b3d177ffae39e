"""What an analysis says beside the coefficients."""

from __future__ import annotations

from dataclasses import asdict, replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from tuner_plugins.elasticnet.config import AnalysisSection
from tuner_plugins.perturbseq.data.guide_calls import GuideCalling
from tuner_plugins.perturbseq.data.labels import Labels
from tuner_plugins.perturbseq.data.screen import Recipe
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.inference.coefficients import tabulate
from tuner_plugins.perturbseq.model.resampling import Model
from tuner_plugins.perturbseq.report.command import analyse_file
from tuner_plugins.perturbseq.report.effects import add_fold_changes, own_effects
from tuner_plugins.perturbseq.report.embedding import PrepareOptions
from tuner_plugins.perturbseq.report.options import Analysis, AnalysisOptions

from benchmarks.perturbseq_cis import CONTROL, enhancer_screen

SETTING = {"alpha": 1e-3, "l1_ratio": 0.5, "penalise_covariates": False, "scale_genes": False}
QUICK = {"permutations": 5, "bootstraps": 0, "distance_permutations": 49, "calibration": "none"}
PAIR = {"A": ("G0", -2.0), "B": ("G1", -2.0)}
"""Own genes of the perturbations, and what they lose."""


def _screen(seed: int = 0, cells: int = 400) -> ad.AnnData:
    """Guides of A, of B, of both and of none; both together lower G2 much more than each."""
    rng = np.random.default_rng(seed)
    labels = np.array(["NT", "A", "B", "A+B"])[np.arange(cells) % 4]
    has = {name: np.array([name in label.split("+") for label in labels]) for name in PAIR}
    change = np.zeros((cells, 60))
    for number, (name, (_, size)) in enumerate(PAIR.items()):
        change[:, number] += size * has[name]
    change[:, 2] = 1.5 * (has["A"] & has["B"])
    counts = rng.poisson(6.0 * np.exp2(change)).astype(np.float32)
    adata = ad.AnnData(sparse.csr_matrix(counts))
    adata.var_names = ["A", "B", *(f"G{i}" for i in range(2, 60))]
    adata.obs_names = [f"cell{i}" for i in range(cells)]
    adata.obs["depth"] = 1_000.0
    guides = {f"{name}_1": has[name] * 30 + rng.poisson(0.2, cells) for name in PAIR}
    guides["NT_1"] = (labels == "NT") * 30 + rng.poisson(0.2, cells)
    adata.obsm["guides"] = pd.DataFrame(guides, index=adata.obs_names)
    return adata


def test_the_report_has_fold_changes_own_genes_pairs_distances_and_guides(tmp_path):
    labels = Labels(
        "perturbation", ("NT",), "drop", separator="+", multiple="additive", combinations=True
    )
    recipe = Recipe(labels, size_factor="depth", calling=GuideCalling())
    options = {**AnalysisSection(**QUICK).plain(), "guide": None}
    analyse_file(_screen(), asdict(recipe), SETTING, options, tmp_path)
    tables = {path.stem: pd.read_csv(path) for path in (tmp_path / "tables").glob("*.csv")}
    coefficients = tables["coefficients"]
    truth = coefficients.merge(
        pd.DataFrame([("A", "A", -2.0), ("B", "B", -2.0), ("G2", "A,B", 1.5)]).set_axis(
            ["gene", "perturbation", "truth"], axis=1
        )
    )
    assert len(truth) == 3
    assert (truth["log2fc_low"] < truth["truth"]).all()
    assert (truth["truth"] < truth["log2fc_high"]).all()
    assert (truth["log2fc_q"] < 0.05).all()
    own = tables["knockdown"]
    assert own["perturbation"].tolist() == own["gene"].tolist()
    assert set(own["gene"]) == {"A", "B"}
    assert own["remaining"].to_numpy() == pytest.approx(0.25, abs=0.06)
    assert own["seen"].all()
    pairs = tables["epistasis"]
    assert pairs.loc[pairs["class"] != "additive", ["gene", "class"]].to_numpy().tolist() == [
        ["G2", "synergistic"]
    ]
    distances = tables["edistance"].set_index("perturbation")
    assert distances.index.tolist() == ["A", "B", "A,B"]
    assert (distances["p"] == 0.02).all()
    guides = tables["guide_calls"].set_index("guide")
    assert guides.loc[["A_1", "B_1", "NT_1"], "n_cells"].tolist() == [200, 200, 100]
    page = (tmp_path / "report.html").read_text()
    for said in (
        "Positive controls: 2 of 2 perturbations change their own gene",
        "Pairs of perturbations against the sum of both: 59 additive, 1 synergistic.",
        "Cells of 3 of 3 perturbations lie apart from control",
        "What perturbations leave of their own gene",
        "Guides that were called",
        'alt="knockdown"',
    ):
        assert said in page, said
    stored = ad.read_h5ad(tmp_path / "analysis.h5ad")
    assert {"log2fc", "log2fc_low", "log2fc_high", "log2fc_p"} <= set(stored.varm)
    assert {"edistance", "epistasis"} <= set(stored.uns)


def _model(adata: ad.AnnData) -> Model:
    labels = adata.obsm["guides"].to_numpy()[:, :2] > 10
    return Model(
        sparse.csr_matrix(labels.astype(float)),
        np.empty((adata.n_obs, 0)),
        adata.X,
        list(PAIR),
        list(adata.var_names),
        np.zeros(adata.n_obs, dtype=np.int64),
        1e-3,
        0.5,
        sizes=adata.obs["depth"].to_numpy(),
    )


def _added(options: AnalysisOptions) -> Analysis:
    adata = _screen()
    model, found = _model(adata), Analysis(adata)
    coef = model.coefficients()
    found.tables["coefficients"] = tabulate(coef, np.full(coef.shape, 0.5))
    add_fold_changes(found, model, options)
    return found


def test_they_are_left_out_where_nobody_asked_and_where_there_are_no_counts():
    options = AnalysisOptions(fold_changes=False)
    assert "log2fc" not in _added(options).tables["coefficients"]
    normalised = replace(options, fold_changes=True, view=PrepareOptions(size_factor=1e4))
    found = _added(normalised)
    assert "log2fc" not in found.tables["coefficients"]
    assert "intervals follow from counts" in " ".join(found.notes)


def test_power_is_how_often_a_fall_to_one_half_is_seen():
    rng, names = np.random.default_rng(0), [f"G{i}" for i in range(60)]
    group = np.repeat(np.arange(-5, 60), 50)  # the first five groups are controls
    design = sparse.csr_matrix((group[:, None] == np.arange(60)).astype(float))
    rate = np.exp(rng.normal(0.0, 0.8, 60))
    counts = sparse.csr_matrix(rng.poisson(rate * np.exp2(-design.toarray())).astype(np.float32))
    cells = len(group)
    adata = ad.AnnData(counts, var=pd.DataFrame(index=names))
    rest = np.empty((cells, 0)), counts, names, names, np.zeros(cells, dtype=np.int64)
    model = Model(design, *rest, 0.01, 0.5, sizes=np.full(cells, 100.0))
    found = Analysis(adata)
    coef = pd.DataFrame(0.0, index=names, columns=names)
    found.tables["coefficients"] = tabulate(coef, np.full(coef.shape, 0.5))
    add_fold_changes(found, model, AnalysisOptions())
    own = own_effects(found.tables["coefficients"])
    assert len(own) == 60
    unsure = own[own["power"].between(0.1, 0.9)]
    assert len(unsure) > 15
    assert unsure["power"].mean() == pytest.approx(unsure["seen"].mean(), abs=0.2)
    assert own.loc[own["power"] > 0.95, "seen"].mean() > 0.9


def test_the_report_has_pairs_of_elements_and_genes(tmp_path):
    screen = enhancer_screen(2, cells=1200, genes=60, elements=10)
    gtf, bed = screen.write(tmp_path)
    cis = {"annotation": gtf, "elements": bed, "distance": "1Mb"}
    quick = QUICK | {"calibration": "random"}
    options = {**AnalysisSection(**quick, cis=cis).plain(), "guide": None}
    recipe = asdict(Recipe(Labels("perturbation", (CONTROL,))))
    analyse_file(screen.adata, recipe, SETTING, options, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out/tables/cis_pairs.csv")
    columns = ["element", "gene", "distance", "n_cells", "log2fc", "log2fc_low", "log2fc_high"]
    assert list(table) == [*columns, "p", "q", "q_all"]
    assert (table["distance"].abs() <= 1_000_000).all()
    called = {tuple(row) for row in table.loc[table["q"] < 0.05, ["element", "gene"]].to_numpy()}
    assert len(called & screen.truth) > 2
    page = (tmp_path / "out/report.html").read_text()
    for said in (
        "10 of 10 perturbations have a position and 60 of 60 genes a start in genes.gtf",
        "Negative controls of the cis pairs, 3 mock perturbations of control cells: p &lt; .05 in",
        "Elements and genes near them",
        'alt="cis_pairs"',
        'alt="cis_qq"',
    ):
        assert said in page, said
    assert {"cis_pairs", "cis_controls"} <= set(ad.read_h5ad(tmp_path / "out/analysis.h5ad").uns)
    far = options | {"cis": {**options["cis"], "distance": 1}}
    with pytest.raises(AnalysisError, match="no cis pair within 1 bases: 10 of 10 "):
        analyse_file(screen.adata, recipe, SETTING, far, tmp_path / "none")
