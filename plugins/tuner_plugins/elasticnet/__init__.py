"""Elastic net over shared sufficient statistics: the mathematics, X and Y, no biology."""
