"""The correlation with genes that settings reach on data they were not chosen on, and its cost.

    python -m benchmarks.held_out_r [--data FOLDER] [--seeds SEED ...] [--signed] [--json FILE]

A set is a region of real tracks in parts (halves; quarters of a long one), or simulated seeds of
one size. Each row is a grid of settings. For each part, the setting with the largest mean R
elsewhere is taken: on the other parts of the set (``same set``), or on the other sets of its kind
(``other sets``, each counted once). R is the largest absolute correlation of the k loadings, or
the largest one (``--signed``); sets are averaged after their parts. ``best``: chosen on the part
itself, which no one can.

FOLDER holds real sets: ``NAME/tracks/*.bw`` and ``NAME/Annotation.Gene.bw`` for each name of
`REGIONS`. The time is that of `compute_loadings`, reading included; old and new defaults in turn.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from tuner_plugins.nmf.io.annotation import read_annotation
from tuner_plugins.nmf.io.step_functions import Runs
from tuner_plugins.nmf.model.binning import read_bins
from tuner_plugins.nmf.model.correlation import annotation_correlations, best_correlation
from tuner_plugins.nmf.model.signal import bin_signal
from tuner_plugins.nmf.params import DEFAULTS
from tuner_plugins.nmf.pipeline import compute_loadings, factorize_signals
from tuner_plugins.nmf.simulate.tracks import simulate_tracks

from benchmarks.nmf_real import REGIONS as HALVED
from benchmarks.nmf_real import data_folder

Setting = Mapping[str, Any]
Array = np.ndarray[Any, Any]

REGIONS = {**HALVED, "roadmap_hg19_ENm007_chr19": ("chr19", 54_331_750, 55_332_675, 10)}
LONG = 5_000_000
"""Bases from which on a region is cut into four parts, not two."""
SIZES = ((500_000, 15), (4_000_000, 10), (4_000_000, 5))
"""Simulated: bases, loadings. The defaults were chosen on seeds 21 to 45 and on the real tracks."""
TURNS = 7

OLD: Setting = {
    **DEFAULTS,
    **{"num_iter": 3, "fl_lambda": 400.0, "transform": "log1p", "start": "eigh"},
}
OLD_GRID = {
    "fl_lambda": (100.0, 300.0, 600.0, 1000.0, 2000.0),
    "num_iter": (1, 2, 3),
    "transform": ("log1p", "sqrt"),
    "start": ("eigh",),
}
NEW_GRID = {**OLD_GRID, "transform": ("log1p", "sqrt", "rank"), "start": ("eigh", "contrast")}
LADDER = {"lambda_ladder": (1.0, 3.0, 10.0)}
GRIDS: Mapping[str, Mapping[str, Sequence[Any]]] = {
    "old defaults": {name: (OLD[name],) for name in OLD_GRID},
    "new defaults": {},
    "old space": OLD_GRID,
    "old space, ladder": {**OLD_GRID, **LADDER},
    "new space": NEW_GRID,
    "new space, ladder": {**NEW_GRID, **LADDER},
}


class Part(NamedTuple):
    """Some tracks over a region, averaged over bins of the defaults' resolution."""

    name: str
    tracks: Sequence[str]
    region: tuple[str, int, int]
    k: int
    means: Array
    genes: Runs


def read_part(name: str, folder: Path, region: tuple[str, int, int], k: int) -> Part:
    """Read the tracks and the annotation of a folder over a region."""
    tracks = sorted(map(str, (folder / "tracks").glob("*.bw")))
    width = int(DEFAULTS["resolution"] or 1)
    means = np.stack([read_bins(track, *region, [width])[0] for track in tracks])
    genes = read_annotation(folder / "Annotation.Gene.bw", *region, "gene_body", 1000)
    return Part(name, tracks, region, k, means, Runs(genes.ends - region[1], genes.values))


def real_sets(folder: Path) -> Iterator[list[Part]]:
    """Yield the parts of each real set that the folder has."""
    for name, (chrom, start, end, k) in REGIONS.items():
        if (folder / name).is_dir():
            cuts = np.linspace(start, end, (4 if end - start > LONG else 2) + 1).astype(int)
            regions = [(chrom, int(a), int(b)) for a, b in itertools.pairwise(cuts)]
            yield [read_part(name, folder / name, region, k) for region in regions]


def simulated_sets(work: Path, seeds: Sequence[int]) -> Iterator[list[Part]]:
    """Yield the seeds of each size; 13 tracks."""
    for bases, k in SIZES:
        region = "chr10", 1_000_000, 1_000_000 + bases
        layout = {"chr10": (135_374_737, *region[1:])}
        folders = [work / f"{bases}-{seed}" for seed in seeds]
        for folder, seed in zip(folders, seeds, strict=True):
            if not folder.exists():
                simulate_tracks(folder, seed=seed, tracks=13, layout=layout)
        yield [read_part(f"{bases / 1e6:g} Mb, k {k}", f, region, k) for f in folders]


def settings_of(grid: Mapping[str, Sequence[Any]]) -> list[Setting]:
    """Return every setting of a grid; what it does not name is as in the defaults."""
    names = list(grid)
    combinations = itertools.product(*(grid[name] for name in names))
    return [{**DEFAULTS, **dict(zip(names, values, strict=True))} for values in combinations]


def correlation(part: Part, setting: Setting, signed: bool = False) -> float:
    """Return the largest (absolute) correlation of a setting's loadings with the genes."""
    _, start, end = part.region
    width = int(setting["resolution"])
    signal = bin_signal(part.means, end - start, width, setting["transform"])
    loadings = factorize_signals([signal], part.k, setting)
    return best_correlation(annotation_correlations(loadings, part.genes), absolute=not signed)


def held_out(scores: Sequence[Array]) -> dict[str, Array]:
    """Return the mean score of each set when settings are chosen elsewhere.

    Parameters
    ----------
    scores : sequence of ndarray of shape (settings, parts)
        One for each set.

    Returns
    -------
    dict of str to ndarray of shape (sets,)
        ``same set``: chosen on the other parts; ``other sets``: on the other sets, where there are
        any; ``best``: on the part itself.
    """
    found: dict[str, list[float]] = {"same set": [], "other sets": [], "best": []}
    for at, table in enumerate(scores):
        rest = [table.sum(axis=1) - table[:, part] for part in range(table.shape[1])]
        found["same set"].append(np.mean([table[r.argmax(), i] for i, r in enumerate(rest)]))
        others = [other.mean(axis=1) for number, other in enumerate(scores) if number != at]
        if others:
            found["other sets"].append(table[np.mean(others, axis=0).argmax()].mean())
        found["best"].append(table.max(axis=0).mean())
    return {name: np.array(values) for name, values in found.items() if values}


def time_ratio(parts: Sequence[Part]) -> float:
    """Return the median ratio, over parts, of the new defaults' time to that of the old ones."""
    ratios = []
    for part in parts:
        seconds: list[list[float]] = [[], []]
        for _ in range(TURNS):
            for taken, setting in zip(seconds, (OLD, DEFAULTS), strict=True):
                begin = time.perf_counter()
                compute_loadings(part.tracks, *part.region, part.k, {**setting, "nan": "zero"})
                taken.append(time.perf_counter() - begin)
        ratios.append(min(seconds[1]) / min(seconds[0]))
    return median(ratios)


def measure(kind: str, sets: Sequence[list[Part]], signed: bool) -> dict[str, Any]:
    """Score every grid on the sets of a kind; print the table."""
    known: dict[tuple[Any, ...], list[Array]] = {}

    def scores_of(setting: Setting) -> list[Array]:
        key = tuple(setting.values())
        if key not in known:
            known[key] = [
                np.array([correlation(p, setting, signed) for p in parts]) for parts in sets
            ]
        return known[key]

    names = [f"{parts[0].name} ({len(parts)})" for parts in sets]
    print(f"\n{kind}: {'; '.join(names)}")
    rows: dict[str, Any] = {}
    for label, grid in GRIDS.items():
        by_setting = [scores_of(setting) for setting in settings_of(grid)]
        scores = [np.stack(columns) for columns in zip(*by_setting, strict=True)]
        row = {name: values.tolist() for name, values in held_out(scores).items()}
        rows[label] = {"settings": len(by_setting), **row}
        means = "  ".join(f"{name} {np.mean(values):.3f}" for name, values in row.items())
        each = " ".join(f"{value:.3f}" for value in row["same set"])
        print(f"  {label:22}{len(by_setting):5} settings  {means}  | same set, each: {each}")
    ratio = time_ratio([part for parts in sets for part in parts])
    print(f"  new defaults: {ratio:.2f} of the old ones' time")
    return {"sets": names, "rows": rows, "time_ratio": ratio}


def main() -> None:
    """Parse the command line, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=data_folder(), help="folder of real sets")
    parser.add_argument("--seeds", type=int, nargs="*", default=[51, 52, 53, 54, 55])
    parser.add_argument("--signed", action="store_true", help="largest R, not largest |R|")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    options = parser.parse_args()
    report = {}
    if options.data:
        report["real"] = measure("real tracks", list(real_sets(options.data)), options.signed)
    else:
        print("real tracks: skipped, no folder of real data (--data)")
    if options.seeds:
        with tempfile.TemporaryDirectory() as work:
            sets = list(simulated_sets(Path(work), options.seeds))
            report["simulated"] = measure("simulated tracks", sets, options.signed)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
