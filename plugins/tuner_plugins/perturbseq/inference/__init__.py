"""Permutation tests of coefficients, programs and held-out effects."""
