"""Perturb-seq: from counts to designs, programs, significance and figures."""
