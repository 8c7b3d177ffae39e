"""Simulated genome tracks with genes and hidden factors."""
