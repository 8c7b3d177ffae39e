"""Tune a method by its score and its clock, and freeze the best setting into a script."""
