"""Elastic-net fits of a screen and of its resamples."""
