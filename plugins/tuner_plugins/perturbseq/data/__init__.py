"""From counts to designs: labels, covariates, responses, folds."""
