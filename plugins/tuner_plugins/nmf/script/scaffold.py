"""The scaffold, filled in plainly, as a script: what whole-script speed-ups are measured against.

python -m tuner_plugins.nmf.script.scaffold -b DIR -c chr10 -s START -e END -k K -o OUT.npy
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tuner_plugins.nmf.io.tracks import list_tracks
from tuner_plugins.nmf.model.reference import (
    ROUNDS,
    START,
    factorize_per_base,
    read_per_base,
    start_weights,
)


def main() -> None:
    """Read per base, factorise, save."""
    parser = argparse.ArgumentParser()
    add = parser.add_argument
    add("-b", "--bw_dir", required=True, help="folder of *.bw files, or addresses")
    add("-c", "--chromosome_number", required=True, help="chromosome")
    add("-s", "--start_pos", required=True, type=int, help="first position, 0-based")
    add("-e", "--end_pos", required=True, type=int, help="position after the last one")
    add("-k", default=10, type=int, help="number of loadings")
    add("-o", "--output_file", required=True, help="where to save")
    given = parser.parse_args()
    region = given.chromosome_number, given.start_pos, given.end_pos
    paths: Sequence[str | Path] = sorted(Path(given.bw_dir).glob("*.bw"))
    if "://" in given.bw_dir:
        paths = list_tracks(given.bw_dir.split(","))[0]
    signal = read_per_base(paths, *region)
    weights = start_weights(signal, given.k, START, seed=0)
    loadings, _ = factorize_per_base(signal, weights, **ROUNDS)
    with open(given.output_file, "wb") as file:
        np.save(file, loadings)


if __name__ == "__main__":
    main()
