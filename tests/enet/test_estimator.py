from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from tuner_plugins.elasticnet import DataError, PerturbationElasticNet, fit, summarise

from tests.enet.designs import simulate


@pytest.mark.filterwarnings("ignore:Skipping check check_array_api_input")
def test_scikit_learn_conventions():
    reports = check_estimator(PerturbationElasticNet(), on_fail=None)
    failed = {r["check_name"]: r["exception"] for r in reports if r["status"] == "failed"}
    assert not failed
    # Needs SCIPY_ARRAY_API in the environment before SciPy is imported; nothing else is skipped.
    skipped = {r["check_name"] for r in reports if r["status"] == "skipped"}
    assert skipped <= {"check_array_api_input"}
    assert len(reports) > 40


def test_equals_the_function():
    p = simulate(1)
    factor = np.r_[np.ones(p.design), 0, 0, 0]
    model = PerturbationElasticNet(0.02, 0.3, penalty_factor=factor, threads=2).fit(p.X, p.Y)
    want = fit(summarise(p.X, p.Y), 0.02, 0.3, factor)
    np.testing.assert_array_equal(model.coef_, want.coef)
    np.testing.assert_allclose(model.predict(p.X), p.X @ want.coef.T + want.intercept)
    assert model.coef_.shape == (11, 12)
    assert model.kkt_ <= 1e-9
    one = clone(model).fit(p.X, p.Y[:, 4])
    assert one.coef_.shape == (12,)
    assert isinstance(one.intercept_, float)
    np.testing.assert_allclose(one.coef_, want.coef[4], atol=1e-12)


def test_sparse_in_a_pipeline_and_a_grid_search():
    p = simulate(2)
    X = sp.csr_array(p.X)
    pipe = make_pipeline(StandardScaler(with_mean=False), PerturbationElasticNet())
    grid = {"perturbationelasticnet__alpha": [1e-3, 10.0]}
    search = GridSearchCV(pipe, grid, cv=3, error_score="raise").fit(X, p.Y)
    assert search.best_params_ == {"perturbationelasticnet__alpha": 1e-3}
    dense = pipe.set_params(perturbationelasticnet__alpha=1e-3).fit(p.X, p.Y)
    np.testing.assert_allclose(search.predict(X), dense.predict(p.X), atol=1e-10)


def test_bad_parameters_are_named():
    p = simulate(3)
    with pytest.raises(DataError, match="l1_ratios must be"):
        PerturbationElasticNet(l1_ratio=2.0).fit(p.X, p.Y)
    with pytest.raises(NotFittedError):
        PerturbationElasticNet().predict(p.X)


@pytest.mark.parametrize("sparse", [False, True])
def test_weights_count_cells(sparse):
    p = simulate(4)
    weights = np.random.default_rng(0).integers(0, 4, len(p.X))
    X = sp.csr_array(p.X) if sparse else p.X
    again = np.repeat(np.arange(len(p.X)), weights)
    want = PerturbationElasticNet(0.02, 0.3).fit(p.X[again], p.Y[again])
    found = PerturbationElasticNet(0.02, 0.3).fit(X, p.Y, sample_weight=weights)
    np.testing.assert_allclose(found.coef_, want.coef_, atol=1e-9)
    np.testing.assert_allclose(found.intercept_, want.intercept_, atol=1e-9)
    half = PerturbationElasticNet(0.02, 0.3).fit(X, p.Y, sample_weight=weights / 2)
    np.testing.assert_allclose(half.coef_, want.coef_, atol=1e-9)  # the scale does not matter
    with pytest.raises(ValueError, match="(?i)sample.weights? must"):
        PerturbationElasticNet().fit(X, p.Y, sample_weight=np.zeros(len(p.X)))


def test_fractional_weights_as_scikit_learn_has_them():
    from sklearn.linear_model import ElasticNet

    p = simulate(5)
    weights = np.random.default_rng(1).gamma(2.0, size=len(p.X))
    found = PerturbationElasticNet(0.02, 0.3).fit(p.X, p.Y[:, 0], sample_weight=weights)
    peer = ElasticNet(alpha=0.02, l1_ratio=0.3, tol=1e-12, max_iter=100_000)
    peer.fit(p.X, p.Y[:, 0], sample_weight=weights)
    np.testing.assert_allclose(found.coef_, peer.coef_, atol=1e-7)
    assert found.n_iter_ >= 1


def test_iterations_are_counted_for_either_method():
    p = simulate(6)
    dense = np.random.default_rng(0).normal(size=p.X.shape)
    easy = PerturbationElasticNet(10.0, 1.0).fit(dense, p.Y).n_iter_  # nothing enters
    hard = PerturbationElasticNet(1e-3, 0.5).fit(dense, p.Y).n_iter_
    assert 1 <= easy < hard
    assert PerturbationElasticNet(1e-3, 0.5).fit(p.X, p.Y).n_iter_ >= 1
