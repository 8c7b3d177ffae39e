"""What the stand-alone script is made of, and what it needs."""

from __future__ import annotations

from tuner.export import outputs
from tuner_plugins.elasticnet import script as elasticnet_script
from tuner_plugins.elasticnet import script_arguments
from tuner_plugins.enet import dependence, penalty
from tuner_plugins.enet.solvers import numpy_solver
from tuner_plugins.perturbseq import errors
from tuner_plugins.perturbseq.data import (
    cell_cycle,
    cell_matrix,
    covariates,
    files,
    forms,
    guide_calls,
    guide_counts,
    guide_mixtures,
    guides,
    label_notes,
    labels,
    layouts,
    matrix,
    probing,
    response,
    screen,
    sense,
    stored,
    texts,
    transform,
    values,
)

SCRIPT_MODULES = (
    *(errors, stored, probing, layouts, forms, texts, cell_matrix, matrix, files),
    *(values, labels, cell_cycle, covariates, response),
    *(guide_counts, guide_mixtures, guide_calls),
    *(screen, transform, dependence, guides, label_notes, sense, penalty, numpy_solver, outputs),
    *(script_arguments, elasticnet_script),
)
"""What the frozen script is made of: each after what it needs."""

SCRIPT_DEPENDENCIES = ("anndata>=0.11", "h5py>=3.8", "numpy>=1.24", "pandas>=1.5", "scipy>=1.11")
