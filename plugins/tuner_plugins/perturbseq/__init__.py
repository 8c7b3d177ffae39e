"""Perturb-seq: from counts to designs, programs, significance and figures.

Reading: `screen`, `cells`, `covariates`, `response`, `transform`, `dataset`, `folds`. After the
fit: `loading` reads a screen, `composition` makes good for what its genes owe to each other, for
`analysis.analyse`, which joins `prepare`, `refits` and
`coefficients` (fits and their significance), `programs` and `stability` (clusters), `scores` and
`significance` (tests in cells), `efficacy`, `enrichment`, `figures` and `heatmaps`;
`report.write` makes the files.
"""
