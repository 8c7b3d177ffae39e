"""The plug-in that tunes a Python function: ``module:name``, or one handed over in Python."""
