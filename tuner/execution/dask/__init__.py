"""Trials on Dask workers, on this machine or on many."""
