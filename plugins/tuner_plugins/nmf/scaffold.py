"""The scaffold, filled in plainly, as a script: what whole-script speed-ups are measured against.

python -m tuner_plugins.nmf.scaffold -b DIR -c chr10 -s START -e END -k K -o OUT.npy
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from tuner_plugins.nmf.reference import SETTING, factorize_per_base, read_per_base, start_weights


def main() -> None:
    """Read per base, factorise, save."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-b", required=True, type=Path, help="folder of *.bw files")
    parser.add_argument("-c", required=True, help="chromosome")
    parser.add_argument("-s", required=True, type=int, help="first position, 0-based")
    parser.add_argument("-e", required=True, type=int, help="position after the last one")
    parser.add_argument("-k", required=True, type=int, help="number of loadings")
    parser.add_argument("-o", required=True, help="where to save")
    given = parser.parse_args()
    signal = read_per_base(sorted(given.b.glob("*.bw")), given.c, given.s, given.e)
    weights = start_weights(signal, given.k, str(SETTING["start"]), seed=0)
    loadings, _ = factorize_per_base(
        signal,
        weights,
        int(SETTING["num_iter"]),
        float(SETTING["l2penalty"]),
        float(SETTING["fl_lambda"]),
    )
    with open(given.o, "wb") as file:
        np.save(file, loadings)


if __name__ == "__main__":
    main()
