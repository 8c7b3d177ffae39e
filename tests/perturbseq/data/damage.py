"""Damaged .h5ad files and what reading them must answer; runs as a process of its own.

``python -m tests.perturbseq.data.damage FOLDER SEED COUNT`` reads COUNT files with random bits
flipped and prints one line a file: ``refused``, ``same`` or ``other``. It dies of what kills it.
"""

from __future__ import annotations

import random
import sys
import warnings
from pathlib import Path

import anndata
import h5py
import numpy as np
from scipy import sparse
from tuner_plugins.perturbseq.data.labels import Labels
from tuner_plugins.perturbseq.data.screen import Recipe, count_blocks, open_screen
from tuner_plugins.perturbseq.data.stored import CellsError

from tests.perturbseq.screens import small_screen

RECIPE = Recipe(Labels(control=("ctrl",)), batch="batch", covariates=("total_counts",))
KINDS = {"plain": {}, "gzip": {"compression": "gzip"}, "lzf": {"compression": "lzf"}}


def write_base(path: Path, kind: str = "plain") -> None:
    """Write a small screen, with categories as anndata makes them."""
    adata = small_screen()
    adata.obs["perturbation"] = adata.obs["perturbation"].astype("category")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata.write_h5ad(path, **KINDS[kind])


def counts_of(path: Path) -> tuple[np.ndarray, list[str]]:
    """Read counts and perturbations as a study does."""
    screen = open_screen(path, RECIPE)
    blocks = [block for _, block in count_blocks(screen, checked=True)]
    return sparse.vstack(blocks).toarray(), list(screen.design.groups)


def oracle_of(path: Path) -> tuple[np.ndarray, list[str]] | None:
    """Read the same by anndata; None where it cannot."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            adata = anndata.read_h5ad(path)
    except Exception:  # noqa: BLE001  what we do not read may be what it stumbles over
        return None
    labels = adata.obs["perturbation"].astype(str)
    counts = adata.X.toarray() if sparse.issparse(adata.X) else adata.X
    return np.asarray(counts, dtype=float), ["" if x == "ctrl" else x for x in labels]


def flipped(whole: bytes, seed: int) -> bytes:
    """Return a file with some of its bits, bytes or words changed."""
    rng, damaged = random.Random(seed), bytearray(whole)
    for _ in range(rng.choice([1, 1, 3, 10, 40])):
        at, kind = rng.randrange(len(damaged) - 8), rng.random()
        if kind < 0.5:
            damaged[at] ^= 1 << rng.randrange(8)
        elif kind < 0.8:
            damaged[at] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
        else:
            words = [b"\xff" * 8, bytes(8), rng.randrange(len(whole)).to_bytes(8, "little")]
            damaged[at : at + 8] = rng.choice(words)
    return bytes(damaged)


def answer(path: Path) -> str:
    """Return ``refused``, or raise unless what is read is what the file holds."""
    refusal = ""
    try:
        counts, groups = counts_of(path)
    except CellsError as error:
        refusal = str(error)
    assert refusal.isprintable(), repr(refusal)
    if refusal:
        return "refused"
    expected = oracle_of(path)
    if expected is None:
        return "other"
    np.testing.assert_array_equal(counts, expected[0])
    assert groups == expected[1]
    return "same"


def put(file: h5py.File, name: str, values: object, **options: object) -> None:
    """Put other values where a dataset stands, with its attributes."""
    attributes = dict(file[name].attrs)
    del file[name]
    file.create_dataset(name, data=values, **options)
    file[name].attrs.update(attributes)


def main(folder: str, seed: str, count: str) -> None:
    warnings.simplefilter("ignore")
    path = Path(folder) / "damaged.h5ad"
    bases = []
    for kind in KINDS:
        write_base(path, kind)
        bases.append(path.read_bytes())
    for number in range(int(seed), int(seed) + int(count)):
        path.write_bytes(flipped(bases[number % len(bases)], number))
        print(number, answer(path), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
