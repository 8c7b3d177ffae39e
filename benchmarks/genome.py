"""One factorisation of a whole genome by ``assign2.py --genome``: time, peak memory, plain NumPy.

    python -m benchmarks.genome [--bases 3.1e9] [--tracks 10] [-k 10] [--json FILE] [--folder DIR]

Tracks are simulated over chromosomes of human lengths, the smallest first, until `--bases` are
reached; that takes as long again. The default setting is run over one, over half and over all of
them, with bigWig output, and what that comes to over 3.1e9 positions is extrapolated: the time by
the line through the two larger runs, the memory by the formula of docs/genome.md, which is held
against each run. Plain NumPy does the same factorisation of the first chromosome, from values per
base that pyBigWig reads; its loadings are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyBigWig
from tuner_plugins.nmf import params as nmf_params
from tuner_plugins.nmf.model import reference
from tuner_plugins.nmf.model.start import start_weights
from tuner_plugins.nmf.script import write
from tuner_plugins.nmf.simulate.tracks import simulate_tracks
from tuner_plugins.nmf.streaming import KEPT_BYTES

from benchmarks.nmf import print_table
from benchmarks.processes import run_process
from tuner.plugin import Provenance

MEGABASES = {
    **{"chr21": 46.7, "chr22": 50.8, "chrY": 57.2, "chr19": 58.6, "chr20": 64.4, "chr18": 80.4},
    **{"chr17": 83.3, "chr16": 90.3, "chr15": 102.0, "chr14": 107.0, "chr13": 114.4},
    **{"chr12": 133.3, "chr10": 133.8, "chr11": 135.1, "chr9": 138.4, "chr8": 145.1},
    **{"chrX": 156.0, "chr7": 159.3, "chr6": 170.8, "chr5": 181.5, "chr4": 190.2},
    **{"chr3": 198.3, "chr2": 242.2, "chr1": 249.0},
}
GENOME = 3.1e9
SETTING = {**nmf_params.DEFAULTS, "nan": "zero"}


def chosen(bases: float) -> dict[str, int]:
    """Return chromosomes and lengths, the smallest first, of `bases` in all or a little more."""
    layout: dict[str, int] = {}
    for chrom, megabases in MEGABASES.items():
        if sum(layout.values()) < bases:
            layout[chrom] = int(megabases * 1e6)
    return layout


def predicted_bytes(bases: float, largest: float, tracks: int, k: int) -> float:
    """Return the peak memory of the default setting, by the formula of docs/genome.md."""
    width, threads = SETTING["resolution"], len(os.sched_getaffinity(0))
    bins, longest = bases / width, largest / width
    kept = 8 * tracks * bins
    held = (kept if kept <= KEPT_BYTES else 0) + (12 * tracks + 40 * threads) * bins
    return 30e6 + held + (8 * tracks + 16 * k) * longest


def run_script(script: Path, folder: Path, lengths: dict[str, int], k: int) -> dict[str, Any]:
    """Run the script over chromosomes; return what it took beside what the formula says."""
    words = ["-b", str(folder / "tracks"), "--chroms", ",".join(lengths), "-k", str(k)]
    cost = run_process([sys.executable, str(script), *words, "-o", str(folder / "out.bw")])
    bases, tracks = sum(lengths.values()), len(list((folder / "tracks").glob("*.bw")))
    return {
        "chromosomes": len(lengths),
        "positions": bases,
        "wall_s": cost.wall,
        "cpu_s": cost.cpu,
        "positions_a_second": bases / cost.wall,
        "memory_mb": cost.memory / 1e6,
        "formula_mb": predicted_bytes(bases, max(lengths.values()), tracks, k) / 1e6,
    }


def plain(folder: Path, chrom: str, length: int, k: int) -> tuple[float, np.ndarray]:
    """Factorise a chromosome in plain NumPy with the default setting; return seconds, loadings."""
    reference.warm_up()
    prox, width = reference._compiled_prox(), SETTING["resolution"]
    begin = time.perf_counter()
    edges = np.arange(0, length, width)
    lengths = np.diff(edges, append=length).astype(float)
    rows = []
    for path in sorted((folder / "tracks").glob("*.bw")):
        with pyBigWig.open(str(path)) as file:
            values = np.nan_to_num(file.values(chrom, 0, length, numpy=True))
        means = (np.add.reduceat(values, edges, dtype=float) / lengths).astype(np.float32)
        order = np.argsort(means)
        below = np.concatenate([[0.0], np.cumsum(lengths[order])])
        rows.append(below[np.searchsorted(means[order], means)] / below[-1])
    signal = np.array(rows)
    wide = 5000 // width
    starts = np.arange(0, signal.shape[1], wide)
    sizes = np.add.reduceat(lengths, starts)
    coarse = np.add.reduceat(signal * lengths, starts, axis=1) / sizes
    coarse -= (coarse @ sizes / sizes.sum())[:, None]
    weights = start_weights((coarse * sizes) @ coarse.T, k, "contrast")
    gram = weights @ weights.T + SETTING["l2penalty"] * np.eye(k)
    loadings = np.maximum(np.linalg.pinv(gram, hermitian=True) @ weights @ signal, 0)
    # bins weigh what they have bases: one penalty over the usual width, exact but for the last bin
    loadings = np.array([prox(row, SETTING["fl_lambda"] / width) for row in loadings])
    return time.perf_counter() - begin, loadings


def compare(script: Path, folder: Path, chrom: str, length: int, k: int) -> dict[str, Any]:
    """Return the script on one chromosome beside plain NumPy."""
    row = run_script(script, folder, {chrom: length}, k)
    seconds, loadings = plain(folder, chrom, length, k)
    width, apart = SETTING["resolution"], 0.0
    for number, expected in enumerate(loadings):
        with pyBigWig.open(str(folder / f"out.loading{number}.bw")) as file:
            found = file.values(chrom, 0, length, numpy=True)[::width]
        apart = max(apart, float(np.abs(found[:-1] - expected[:-1]).max()))
    ratio = seconds / row["wall_s"]
    return {"chrom": chrom, "script_s": row["wall_s"], "numpy_s": seconds, "ratio": ratio} | {
        "largest_difference": apart
    }


def main() -> None:
    """Simulate, run, extrapolate, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bases", type=float, default=GENOME)
    parser.add_argument("--tracks", type=int, default=10)
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--folder", type=Path, help="keep the simulated tracks here, and use them")
    given = parser.parse_args()
    lengths = chosen(given.bases)
    with tempfile.TemporaryDirectory() as name:
        folder = given.folder or Path(name)
        begin = time.perf_counter()
        if not (folder / "truth.json").exists():
            layout = {chrom: (size, 0, size) for chrom, size in lengths.items()}
            simulate_tracks(folder, seed=1, tracks=given.tracks, layout=layout)
        print(f"simulated in {time.perf_counter() - begin:.0f} s", flush=True)
        script = folder / "assign2.py"
        write.write_script(write.Script(SETTING, SETTING, {}), script, Provenance("benchmark"))
        counts = sorted({1, max(1, len(lengths) // 2), len(lengths)})
        parts = [dict(list(lengths.items())[:count]) for count in counts]
        rows = [run_script(script, folder, part, given.k) for part in parts]
        print_table("the default setting, bigWig output", rows)
        first = next(iter(lengths.items()))
        rows_plain = [compare(script, folder, *first, given.k)]
        print_table("one chromosome, against plain NumPy", rows_plain)
    found = {"runs": rows, "plain": rows_plain}
    if len(rows) > 1:
        last, before = rows[-1], rows[-2]
        rate = (last["wall_s"] - before["wall_s"]) / (last["positions"] - before["positions"])
        whole = last["wall_s"] + rate * max(0, GENOME - last["positions"])
        memory = predicted_bytes(GENOME, MEGABASES["chr1"] * 1e6, given.tracks, given.k)
        found["genome"] = [{"positions": GENOME, "wall_s": whole, "formula_mb": memory / 1e6}]
        print_table("extrapolated to the genome", found["genome"])
    if given.json:
        given.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
