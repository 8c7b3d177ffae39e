"""Log counts explained by perturbations and batches: elastic net of scikit-learn."""

import anndata as ad
import numpy as np
import pandas as pd
from sklearn.linear_model import ElasticNet
from sklearn.model_selection import StratifiedKFold, train_test_split

adata = ad.read_h5ad("screen.h5ad")
counts = adata.X.toarray() if hasattr(adata.X, "toarray") else adata.X
Y = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)
labels = adata.obs["perturbation"].astype(str)
design = pd.get_dummies(labels).drop(columns="non-targeting")
X = np.hstack([design, pd.get_dummies(adata.obs["batch"]).iloc[:, 1:]]).astype(float)
TUNED, HELD_OUT = train_test_split(
    np.arange(len(X)), test_size=0.2, stratify=labels, random_state=0
)


def r2(fitted_on, scored_on, alpha, l1_ratio):
    model = ElasticNet(alpha=alpha, l1_ratio=l1_ratio).fit(X[fitted_on], Y[fitted_on])
    residual = ((Y[scored_on] - model.predict(X[scored_on])) ** 2).sum()
    return 1 - residual / ((Y[scored_on] - Y[fitted_on].mean(axis=0)) ** 2).sum()


def measure(alpha, l1_ratio):
    folds = StratifiedKFold(5, shuffle=True, random_state=0).split(TUNED, labels.iloc[TUNED])
    return np.mean([r2(TUNED[fit], TUNED[score], alpha, l1_ratio) for fit, score in folds])
