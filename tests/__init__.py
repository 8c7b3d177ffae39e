"""The suite."""

import os

# Matrices are small here: more threads of BLAS wait for each other, most of all on a busy machine.
# Set before anything imports NumPy, and for the commands that tests start.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
