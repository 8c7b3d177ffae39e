"""A scikit-learn estimator around the statistics and the exact solver."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from tuner_plugins.enet.blocks import summarise, summarise_weighted
from tuner_plugins.enet.path import fit
from tuner_plugins.enet.validation import DataError


class PerturbationElasticNet(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Elastic net of many genes on one shared design, exact, with an unpenalised intercept.

    Every column of Y is a model of its own: ``ElasticNet`` of scikit-learn for each gene, not
    ``MultiTaskElasticNet``. Minimised is
    ``|y - b - X w|^2 / (2 n) + alpha * l1_ratio * |f w|_1 + alpha * (1 - l1_ratio) / 2 * f'w^2``.

    Parameters
    ----------
    alpha : float
        Strength of the penalty, >= 0.
    l1_ratio : float
        Share of the l1 penalty, 0 to 1.
    penalty_factor : array of (columns,), optional
        What the penalty of a column is multiplied by; 0 leaves a column (a covariate) free.
    threads : int
        Threads over genes; the result does not depend on it.

    Attributes
    ----------
    coef_ : (genes, columns), or (columns,) if Y has one dimension
    intercept_ : (genes,), or float
    kkt_ : float
        Largest optimality residual over all genes, a correlation.
    n_iter_ : int
        Newton steps or sweeps of coordinate descent, the mean over genes rounded up; 0 where there
        is no compiler and NumPy fits.
    n_features_in_ : int

    Examples
    --------
    >>> import numpy as np
    >>> from tuner_plugins.enet import PerturbationElasticNet
    >>> X = np.repeat([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], 4, axis=0)
    >>> Y = X @ [[1.0], [-2.0]]
    >>> model = PerturbationElasticNet(alpha=0.0).fit(X, Y)
    >>> model.predict([[1.0, 1.0]]).round(6)
    array([[-1.]])
    """

    def __init__(
        self,
        alpha: float = 1e-3,
        l1_ratio: float = 0.5,
        *,
        penalty_factor: Any = None,
        threads: int = 1,
    ) -> None:
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.penalty_factor = penalty_factor
        self.threads = threads

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> PerturbationElasticNet:
        """Fit y (cells,) or (cells, genes), dense or sparse, on X (cells, columns).

        With `sample_weight` (cells,) each cell counts so many times, in n as well.
        """
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            dtype=[np.float64, np.float32],
            multi_output=True,
            y_numeric=True,
            ensure_min_samples=2,
        )
        responses = y.reshape(-1, 1) if y.ndim == 1 else y
        if sample_weight is None:
            summed = summarise(X, responses, threads=self.threads)
        else:
            weights = _check_sample_weight(
                sample_weight, X, dtype=np.float64, ensure_non_negative=True
            )
            if not weights.any():
                raise DataError("sample_weight must be above 0 in some cell; all are 0")
            summed = summarise_weighted(X, responses, weights, threads=self.threads)
        fitted = fit(
            summed,
            self.alpha,
            self.l1_ratio,
            self.penalty_factor,
            threads=self.threads,
        )
        single = y.ndim == 1
        self.coef_ = fitted.coef[0] if single else fitted.coef
        self.intercept_ = float(fitted.intercept[0]) if single else fitted.intercept
        self.kkt_ = fitted.kkt
        self.n_iter_ = -(-fitted.steps // responses.shape[1])
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predict the responses of X (cells, columns): (cells, genes), or (cells,)."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=False)
        product = X @ self.coef_.T
        product = product.toarray() if sp.issparse(product) else product
        return np.asarray(product + self.intercept_)

    def __sklearn_tags__(self) -> Any:
        """Declare to scikit-learn that sparse X is accepted."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
