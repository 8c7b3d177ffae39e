"""Simulate what a user has: tracks/ with genes.bed, screen.h5ad, noisy.txt and noisy2.txt.

Needs NumPy, pandas, pyBigWig and anndata; ``python data.py FOLDER``.
"""

import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pyBigWig

LENGTH, STEP, TRACKS = 400_000, 20, 6
CELLS, GENES, PERTURBATIONS = 600, 150, 8


def tracks(folder: Path, rng: np.random.Generator) -> None:
    """Write six bigWigs of 400 kb, half of which follow the genes, and the genes."""
    folder.mkdir()
    starts = np.sort(rng.choice(LENGTH // 10_000 - 1, 16, replace=False)) * 10_000
    genes = [(start, start + int(rng.integers(3_000, 9_000))) for start in starts]
    with (folder / "genes.bed").open("w") as bed:
        bed.writelines(f"chr1\t{low}\t{high}\tgene{i}\n" for i, (low, high) in enumerate(genes))
    positions = np.arange(0, LENGTH, STEP)
    inside = np.zeros(len(positions))
    for low, high in genes:
        inside[(positions >= low) & (positions < high)] = 1
    for track in range(TRACKS):
        rate = 2 + 4 * inside * (track % 2) + 3 * (np.sin(positions / (20_000 + 7_000 * track)) > 0)
        with pyBigWig.open(str(folder / f"track{track}.bw"), "w") as file:
            file.addHeader([("chr1", LENGTH)])
            values = rng.poisson(rate).astype(float)
            file.addEntries("chr1", positions.tolist(), values=values, span=STEP)


def screen(path: Path, rng: np.random.Generator) -> None:
    """Write 600 cells with counts of 150 genes, eight perturbations and controls, two batches."""
    names = ["non-targeting", *(f"KO{i}" for i in range(PERTURBATIONS))]
    labels = rng.choice(names, CELLS)
    batch = rng.choice(["a", "b"], CELLS)
    effects = rng.normal(0, 1, (len(names), GENES)) * (rng.random((len(names), GENES)) < 0.2)
    effects[0] = 0
    log_rate = rng.normal(0.5, 1, GENES) + effects[[names.index(label) for label in labels]]
    log_rate += 0.3 * (batch == "b")[:, None]
    obs = pd.DataFrame({"perturbation": labels, "batch": batch}, [f"cell{i}" for i in range(CELLS)])
    var = pd.DataFrame(index=[f"gene{i}" for i in range(GENES)])
    ad.AnnData(rng.poisson(np.exp(log_rate)).astype(np.float32), obs, var).write_h5ad(path)


def noisy(path: Path, rng: np.random.Generator) -> None:
    """Write 3,000 numbers, noisy and true."""
    true = np.sin(np.arange(3000) / 150) + (np.arange(3000) > 1700)
    np.savetxt(path, np.column_stack([true + rng.normal(0, 0.5, 3000), true]))


if __name__ == "__main__":
    home, rng = Path(sys.argv[1]), np.random.default_rng(1)
    tracks(home / "tracks", rng)
    screen(home / "screen.h5ad", rng)
    noisy(home / "noisy.txt", rng)
    noisy(home / "noisy2.txt", rng)
