from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.cluster.hierarchy import is_valid_linkage, leaves_list
from sklearn.linear_model import Ridge
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits
from tuner_plugins.perturbseq.colours import palette
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.programs import communities
from tuner_plugins.perturbseq.programs.clustering import cluster, find_modules
from tuner_plugins.perturbseq.programs.communities import ClusterOptions, _graph, _leiden
from tuner_plugins.perturbseq.programs.grouping import describe, notes_on
from tuner_plugins.perturbseq.programs.stability import stability

from tests.perturbseq.planted import planted_screen


def noisy_blocks(n_clusters: int = 4, rows: int = 15, columns: int = 12, seed: int = 0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 1, (n_clusters, columns))
    truth = np.repeat(np.arange(n_clusters), rows)
    values = centres[truth] * rng.uniform(0.5, 2, (len(truth), 1))
    values += rng.normal(0, 0.15, values.shape)
    table = pd.DataFrame(values, index=[f"g{i}" for i in range(len(truth))])
    table.columns = [f"t{i}" for i in range(columns)]
    return table, truth


def ridge_coefficients(planted, rows=None) -> pd.DataFrame:
    rows = slice(None) if rows is None else rows
    x = np.hstack([planted.design.to_numpy(), planted.covariates.to_numpy()])[rows]
    y = planted.adata.layers["response"].toarray()[rows]
    fitted = Ridge(alpha=1.0).fit(x, y).coef_[:, : planted.design.shape[1]]
    return pd.DataFrame(fitted, index=planted.adata.var_names, columns=planted.design.columns)


@pytest.mark.parametrize("seed", range(3))
def test_planted_programs_and_modules_come_back(seed):
    planted = planted_screen(seed=seed)
    coef = ridge_coefficients(planted)
    moved = np.abs(coef.to_numpy()) > 0.5
    programs = cluster(coef, keep=moved.any(axis=1))
    modules = find_modules(coef, acting=moved.any(axis=0))
    found = programs.labels.cat.add_categories("none").fillna("none")
    assert adjusted_rand_score(planted.programs, found) >= 0.9
    active = planted.modules != "none"
    assert adjusted_rand_score(planted.modules[active], modules.labels[active].astype(str)) == 1.0
    assert modules.labels[~active].isna().all()


def test_labels_follow_the_dendrogram():
    table, truth = noisy_blocks(6)
    found = cluster(table)
    assert adjusted_rand_score(truth, found.labels) == 1.0
    assert is_valid_linkage(found.tree)
    assert leaves_list(found.tree).tolist() == list(range(6))
    assert list(found.labels.cat.categories) == [f"P{i}" for i in range(6)]
    first, last = (len(found.members()[p]) for p in ("P0", "P5"))
    assert first >= last
    unequal, _ = noisy_blocks(3)
    for drop in ([0, 15, 30, 31, 32], [0, 1, 2, 15, 30]):  # either end may be the larger one
        ends = cluster(unequal.drop(index=[f"g{i}" for i in drop])).labels.value_counts(sort=False)
        assert ends.iloc[0] >= ends.iloc[-1]
    codes = found.labels[found.order].cat.codes.to_numpy()
    assert (np.diff(codes) >= 0).all()


def test_row_order_does_not_change_the_clusters():
    table, _ = noisy_blocks(5)
    shuffled = table.sample(frac=1, random_state=1)
    one, two = cluster(table).labels, cluster(shuffled).labels[table.index]
    assert adjusted_rand_score(one, two) == 1.0


def test_more_than_eight_clusters_have_as_many_colours():
    table, truth = noisy_blocks(14, rows=8, columns=30)
    found = cluster(table)
    assert adjusted_rand_score(truth, found.labels) == 1.0
    assert len(set(found.colours.values())) == len(found.colours) == 14


def test_a_palette_never_repeats():
    for n in (1, 8, 9, 40, 300):
        assert len(set(palette(n))) == n
    assert palette(12)[:8] == palette(8)


def test_rows_without_an_effect_have_no_cluster():
    table, _ = noisy_blocks(3)
    table.iloc[5] = 0.0
    labels = cluster(table).labels
    assert labels.isna().tolist() == [i == 5 for i in range(len(table))]


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_few_rows_and_one_cluster_do_not_crash(n):
    table, _ = noisy_blocks(1, rows=n)
    found = cluster(table)
    assert found.labels.notna().all()
    assert len(found.order) == n
    assert found.tree.shape == (len(found.labels.cat.categories) - 1, 4)


def test_no_effect_at_all_gives_no_cluster():
    table, _ = noisy_blocks(2)
    found = cluster(table * 0)
    assert found.labels.isna().all()
    assert found.order == []
    assert found.colours == {}


def test_scale_and_components_change_the_features():
    table, truth = noisy_blocks(4)
    skewed = table * np.linspace(1, 1000, table.shape[1])
    assert adjusted_rand_score(truth, cluster(skewed, ClusterOptions(scale=True)).labels) == 1.0
    assert adjusted_rand_score(truth, cluster(table, ClusterOptions(n_pcs=3)).labels) == 1.0


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda t: t.rename(index={"g1": "g0"}), "'g0' comes twice"),
        (lambda t: t.replace(t.iloc[0, 0], np.nan), "must be finite"),
    ],
)
def test_bad_tables_are_refused_in_one_line(spoil, words):
    table, _ = noisy_blocks(2)
    with pytest.raises(AnalysisError, match=words) as caught:
        cluster(spoil(table))
    assert "\n" not in str(caught.value)


def test_bad_options_are_refused():
    with pytest.raises(AnalysisError, match="resolution=0"):
        ClusterOptions(resolution=0)


def test_var_is_really_written_under_copy_on_write():
    table, _ = noisy_blocks(3)
    adata = AnnData(np.ones((2, len(table)), dtype=np.float32))
    adata.var_names = table.index
    programs = cluster(table)
    always = int(pd.__version__.partition(".")[0]) >= 3
    with nullcontext() if always else pd.option_context("mode.copy_on_write", True):
        describe(adata, programs, find_modules(table))
    assert adata.var["program"].notna().all()
    assert (adata.var["program"].astype(str) == programs.labels.astype(str)).all()


def test_commas_in_names_survive():
    table, _ = noisy_blocks(2)
    table.columns = [f"A,B{i}" for i in range(table.shape[1])]
    assert cluster(table.T).labels.index[3] == "A,B3"


def test_stability_tells_a_real_cluster_from_noise():
    planted = planted_screen(seed=4)
    coef = ridge_coefficients(planted)
    rng = np.random.default_rng(0)

    def keep(table: pd.DataFrame) -> np.ndarray:
        return (table.abs() > 0.5).to_numpy().any(axis=1)

    samples = [ridge_coefficients(planted, rng.integers(0, 2400, 2400)) for _ in range(5)]
    real = cluster(coef, keep=keep(coef))
    table = stability(real, samples, lambda t: cluster(t, keep=keep(t)))
    assert (table["jaccard_mean"] > 0.75).all()
    assert (table["resamples"] == 5).all()
    noise = pd.DataFrame(rng.normal(size=coef.shape), index=coef.index, columns=coef.columns)
    resamples = [noise.sample(frac=1, random_state=i).set_axis(noise.index) for i in range(5)]
    assert stability(cluster(noise), resamples, cluster)["jaccard_mean"].mean() < 0.5


def test_options_that_were_chosen_give_the_same_clusters_again():
    table = ridge_coefficients(planted_screen(seed=4))
    found = cluster(table)
    assert found.options.n_neighbors is not None
    assert found.options.resolution is not None
    again = cluster(table, found.options)
    assert again.labels.tolist() == found.labels.tolist()
    assert again.options == found.options


def test_stability_without_resamples_says_so():
    table, _ = noisy_blocks(3)
    report = stability(cluster(table), [], cluster)
    assert (report["resamples"] == 0).all()
    assert report["jaccard_mean"].isna().all()


def test_labels_do_not_depend_on_threads():
    table, _ = noisy_blocks(7, rows=60, columns=40)
    results = []
    for threads in (1, 2, 1):
        with threadpool_limits(threads):
            found = cluster(table, ClusterOptions(n_pcs=10))
        results.append((found.labels.astype(str).tolist(), found.order, found.tree.tolist()))
    assert results[0] == results[1] == results[2]


def test_among_few_rows_those_that_are_like_no_other_join_no_cluster_of_others():
    mixed = {"both": 0, "graph": 0}
    for seed in range(20):
        rng = np.random.default_rng(seed)
        together = rng.normal(size=60) + 0.3 * rng.normal(size=(4, 60))
        rows = np.vstack([together, rng.normal(size=(3, 60))])
        table = pd.DataFrame(rows, index=[*"abcd", *"xyz"])
        for name, options in (("both", None), ("graph", ClusterOptions(n_neighbors=2))):
            labels = cluster(table, options).labels
            one = labels[list("abcd")].nunique() == 1 and not set(labels[list("xyz")]) & {
                labels["a"]
            }
            mixed[name] += not one
    assert mixed["both"] == 0
    assert mixed["graph"] > 0  # every row of the graph has neighbours


@pytest.mark.timeout(300, method="thread")
@pytest.mark.parametrize("kinds", [1, 2, 3, 4])
def test_clustering_of_rows_that_are_alike_ends(kinds):
    """Leiden never settles on a graph whose moves gain nothing."""
    rng = np.random.default_rng(0)
    directions = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])[:kinds]
    truth = rng.integers(0, kinds, 300)
    values = directions[truth] * rng.uniform(0.5, 2.0, (300, 1))
    found = cluster(pd.DataFrame(values, index=[f"g{i}" for i in range(300)]))
    assert adjusted_rand_score(truth, found.labels) == 1.0


def test_without_leiden_louvain_finds_the_same_and_says_so(monkeypatch):
    table, truth = noisy_blocks(6)
    with_leiden = cluster(table)
    assert communities.LOUVAIN not in notes_on(with_leiden, 9, 9)
    monkeypatch.setattr(communities, "find_spec", lambda name: None)
    monkeypatch.setattr(communities, "_leiden", None)
    found = cluster(table)
    assert adjusted_rand_score(truth, found.labels) == 1.0
    assert found.labels.equals(cluster(table).labels)
    assert notes_on(found, 9, 9) == [communities.LOUVAIN]


@pytest.mark.timeout(300, method="thread")
def test_leiden_ends_where_every_move_gains_nothing():
    graph = _graph(np.ones((300, 1)), 3)  # all rows have the same three neighbours
    assert len(_leiden(graph, 1.4, 0)) == 300


@pytest.mark.timeout(300, method="thread")
def test_a_palette_of_thousands_ends():
    """A walk along the hue at three lightnesses has 2,000 colours and no more."""
    found = palette(5000)
    assert len(set(found)) == len(found) == 5000
    assert found[:300] == palette(300)


@pytest.mark.parametrize("n", [1, 2, 3, 40])
def test_one_perturbation_has_what_it_moves_up_and_what_it_moves_down(n):
    values = np.random.default_rng(1).uniform(0.1, 2.0, n) * np.where(np.arange(n) % 2, -1, 1)
    coef = pd.DataFrame({"T": values}, index=[f"g{i}" for i in range(n)])
    found = cluster(coef)
    assert len(found.colours) == min(n, 2)
    assert adjusted_rand_score(values > 0, found.labels) == 1.0
    assert find_modules(coef).order == []


@pytest.mark.parametrize(("acting", "modules"), [(0, 0), (1, 0), (2, 0), (3, 3), (6, 6)])
def test_modules_take_three_perturbations_that_act(acting, modules):
    table, _ = noisy_blocks(2, rows=20, columns=6)
    found = find_modules(table, acting=np.arange(6) < acting)
    assert len(found.order) == modules
