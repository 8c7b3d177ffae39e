"""SIMD lanes as values of Numba code."""
