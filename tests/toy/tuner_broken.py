"""A module that cannot be imported."""

ONE = 1 / 0
