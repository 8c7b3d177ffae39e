"""Perturb-seq: from counts to designs, programs, significance and a report.

`data` reads a screen: matrix, labels, covariates, responses, folds, statistics. `model` fits it and
its resamples, and makes good for what counts of genes owe to each other (`composition`).
`inference` tests coefficients, programs and the best held-out gain, and learns which cells were
perturbed (`efficacy`). `programs` clusters genes and perturbations, scores programs in cells and
looks them up in gene sets. `report.command.analyse_file` joins them; `report.html.write` writes
the files. `simulate` draws a screen with a known answer.
"""
