"""Minimise the objective of `path`: by Newton, by coordinate descent, and in plain NumPy."""
