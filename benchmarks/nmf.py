"""The nmf plug-in's script against the scaffold filled in plainly, as whole processes.

    python -m benchmarks.nmf [--json FILE] [--quick] [--scale F] [--only exact frozen real memory]
                             [--tuned SEED ...] [--shown SEED ...]

exact    the baseline's own setting: same loadings to 1e-9, how many times faster, also against the
         baseline with glibc's malloc thresholds raised.
frozen   the best setting that `tuner run` finds on some simulated seeds, on others: R and speed-up,
         and wall time over the floor (interpreter, NumPy, writing the array). The plug-in's
         defaults, where a study begins, were chosen on seeds 1 to 5 and on the real tracks.
real     real tracks, tuned on one half of a region and shown on the other, beside the R at shifted
         annotations.
memory   peak memory of the script, up to a whole chromosome of 250 Mb and 10 tracks.

A full run takes hours, nearly all of it in the baseline; ``--scale 0.1`` shrinks every region.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tuner_plugins.nmf import params as nmf_params
from tuner_plugins.nmf.config import NmfConfig
from tuner_plugins.nmf.model.reference import read_per_base
from tuner_plugins.nmf.plugin import NmfPlugin
from tuner_plugins.nmf.simulate.tracks import simulate_tracks

from benchmarks.nmf_real import real, run_tuner
from benchmarks.processes import TUNED_MALLOC, median_cost, run_process, write_floor
from tuner.plugin import Provenance

LENGTHS = {"chr10": 135_374_737, "chrX": 154_913_754, "chr1": 250_000_000}
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
REPEATS = 5
Row = dict[str, Any]


class Size(NamedTuple):
    """A region to factorise."""

    name: str
    chrom: str
    start: int
    end: int
    k: int


def graded_sizes(scale: float) -> list[Size]:
    """Return the three regions of the assignment, shrunk."""
    sizes = (("chr10", 500_000, 15), ("chr10", 10_000_000, 10), ("chrX", 10_000_000, 5))
    found = []
    for chrom, bases, k in sizes:
        length = max(100_000, int(bases * scale))
        name = f"{bases / 1e6 * scale:g} Mb, k {k}"
        found.append(Size(name, chrom, 1_000_000, 1_000_000 + length, k))
    return found


def simulate(folder: Path, seed: int, sizes: Sequence[Size], tracks: int, kind: Any) -> Path:
    """Simulate the longest region of each chromosome once; return the folder."""
    layout = {}
    for size in sorted(sizes, key=lambda size: size.end - size.start):
        layout[size.chrom] = (LENGTHS[size.chrom], size.start, size.end)
    if not folder.exists():
        simulate_tracks(folder, seed=seed, tracks=tracks, layout=layout, kind=kind)
    return folder


def script_command(script: Path, folder: Path, size: Size, out: Path) -> list[str]:
    """Return the command line of a frozen script; `script` may be a module after ``-m``."""
    program = [str(script)] if script.suffix == ".py" else ["-m", str(script)]
    region = ["-c", size.chrom, "-s", str(size.start), "-e", str(size.end), "-k", str(size.k)]
    return [sys.executable, *program, "-b", str(folder / "tracks"), *region, "-o", str(out)]


BASELINE = Path("benchmarks.baseline")


def freeze(
    folder: Path, size: Size, params: Mapping[str, Any], path: Path, kernels: str = "both"
) -> Path:
    """Write the script of a setting; `kernels` as in ``export.kernels``."""
    section = {
        "bigwigs": [folder / "tracks"],
        "annotation": folder / "Annotation.Gene.bw",
        "cases": [{"region": f"{size.chrom}:{size.start}-{size.end}", "k": size.k}],
    }
    sections = {"data": section, "export": {"kernels": kernels}}
    plugin = NmfPlugin(NmfConfig.model_validate(sections))
    plugin.freeze(params, path, Provenance("benchmark"))
    return path


def best_r(array: Path, folder: Path, size: Size) -> float:
    """Return the largest correlation of a column of a saved array with the genes."""
    loadings = np.load(array, mmap_mode="r")
    annotation = [folder / "Annotation.Gene.bw"]
    genes = read_per_base(annotation, size.chrom, size.start, size.end)[:, 0]
    genes -= genes.mean()
    found = [0.0]
    for column in range(loadings.shape[1]):
        loading = loadings[:, column] - np.mean(loadings[:, column])
        norm = np.sqrt((loading @ loading) * (genes @ genes))
        if norm > 1e-9 * len(loading):
            found.append(float(loading @ genes / norm))
    return max(found)


def exact(work: Path, scale: float) -> list[Row]:
    """Run the baseline's setting as the baseline and as the script, on two kinds of tracks."""
    rows = []
    length = max(100_000, int(10_000_000 * scale))
    for kind, tracks in (("pileup", 13), ("smooth", 30)):
        size = Size(f"{tracks} {kind} tracks", "chr10", 1_000_000, 1_000_000 + length, 10)
        folder = simulate(work / f"exact-{kind}", 0, [size], tracks, kind)
        script = freeze(folder, size, nmf_params.BASELINE, work / "exact.py")
        ours, theirs = work / "ours.npy", work / "theirs.npy"
        fast = script_command(script, folder, size, ours)
        slow = script_command(BASELINE, folder, size, theirs)
        run_process(fast)
        plain = run_process(slow, output=theirs)
        cost = median_cost([run_process(fast, output=ours) for _ in range(3)])
        tuned = run_process(slow, TUNED_MALLOC, theirs)
        single = run_process(fast, ONE_THREAD, ours)
        apart = np.load(ours, mmap_mode="r") - np.load(theirs, mmap_mode="r")
        rows.append(
            {
                "what": size.name,
                "positions": length,
                "baseline_s": plain.wall,
                "tuned_malloc_s": tuned.wall,
                "script_s": cost.wall,
                "ratio": plain.wall / cost.wall,
                "ratio_tuned_malloc": tuned.wall / cost.wall,
                "ratio_one_thread": plain.wall / single.wall,
                "largest_difference": float(np.abs(apart).max()),
                "memory_mb": cost.memory / 1e6,
            }
        )
        print_table(f"exact, {size.name}", rows[-1:])  # the next one may be far off
    return rows


def tune(work: Path, seeds: Sequence[int], scale: float, trials: int) -> Path:
    """Tune on simulated seeds by `tuner run`; return the frozen script."""
    cases = []
    for seed in seeds:
        folder = simulate(work / f"seed{seed}", seed, graded_sizes(scale), 13, "pileup")
        for size in graded_sizes(scale):
            cases.append(
                {
                    "region": f"{size.chrom}:{size.start}-{size.end}",
                    "k": size.k,
                    "bigwigs": [str(folder / "tracks")],
                    "annotation": str(folder / "Annotation.Gene.bw"),
                    "name": f"seed{seed}-k{size.k}",
                }
            )
    config = {
        "study": {"name": "graded", "trials": trials, "storage": f"sqlite:///{work}/study.db"},
        "plugin": "nmf",
        "data": {"cases": cases},
        "limits": {"case_time": 36_000},
        "timing": {"baseline_repeats": 0},  # it takes minutes, and is timed anew below
        "tracking": {"enabled": False},
        "export": {"path": str(work / "assign2.py")},
    }
    run_tuner(config, work)
    return work / "assign2.py"


def frozen(work: Path, scale: float, tuned: Sequence[int], shown: Sequence[int]) -> list[Row]:
    """Run the tuned script, the baseline and the floor on seeds that were not tuned on."""
    script = tune(work, tuned, scale, trials=60)
    rows: list[Row] = []
    for seed in shown:
        folder = simulate(work / f"seed{seed}", seed, graded_sizes(scale), 13, "pileup")
        for size in graded_sizes(scale):
            ours, theirs = work / "ours.npy", work / "theirs.npy"
            fast = script_command(script, folder, size, ours)
            least_work = work / "floor.npy"
            floor = write_floor(str(least_work), size.end - size.start, size.k)
            run_process(fast)
            slow = run_process(script_command(BASELINE, folder, size, theirs), output=theirs)
            pairs = [
                (run_process(fast, output=ours), run_process(floor, output=least_work))
                for _ in range(REPEATS)
            ]
            cost, least = (median_cost(costs) for costs in zip(*pairs, strict=True))
            r, r_baseline = best_r(ours, folder, size), best_r(theirs, folder, size)
            rows.append(
                {
                    "what": size.name,
                    "seed": seed,
                    "r_baseline": r_baseline,
                    "r": r,
                    "baseline_s": slow.wall,
                    "script_s": cost.wall,
                    "ratio": slow.wall / cost.wall,
                    "floor_s": least.wall,
                    "over_floor": cost.wall / least.wall,
                }
            )
            print_table(f"seed {seed}, {size.name}", rows[-1:])  # the next one may be far off
    return rows


def memory(work: Path, scale: float) -> list[Row]:
    """Measure the script's peak memory; the whole chromosome with k 2, to spare the disk."""
    whole = Size(
        "whole chromosome, 10 tracks", "chr1", 0, max(100_000, int(LENGTHS["chr1"] * scale)), 2
    )
    rows = []
    for size, tracks in [*((size, 13) for size in graded_sizes(scale)), (whole, 10)]:
        folder = simulate(work / f"memory-{size.chrom}-{size.end}", 0, [size], tracks, "pileup")
        for name, params in (("default", nmf_params.DEFAULTS), ("exact", nmf_params.BASELINE)):
            if name == "exact" and size is whole:
                params = {**params, "num_iter": 2}
            script = freeze(folder, size, params, work / "memory.py")
            cost = run_process(script_command(script, folder, size, work / "memory.npy"))
            rows.append(
                {
                    "what": f"{size.name}, {name}",
                    "script_s": cost.wall,
                    "memory_mb": cost.memory / 1e6,
                }
            )
    return rows


def print_table(title: str, rows: Sequence[Row]) -> None:
    """Print rows under their keys."""
    if not rows:
        return
    print(f"\n{title}")
    cells = [list(rows[0]), *([_show(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def _show(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Run the chosen parts and print their tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--quick", action="store_true", help="the same as --scale 0.02")
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of each region's length")
    parts = ("exact", "frozen", "real", "memory")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--tuned", nargs="+", type=int, default=[11, 12], help="simulator seeds")
    parser.add_argument("--shown", nargs="+", type=int, default=[13, 14, 15], help="other seeds")
    given = parser.parse_args()
    scale = 0.02 if given.quick else given.scale
    results: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        if "exact" in given.only:
            results["exact"] = exact(work, scale)
            print_table("exact mode, 50 rounds, per base, float64", results["exact"])
        if "frozen" in given.only:
            results["frozen"] = frozen(work, scale, given.tuned, given.shown)
            print_table("best frozen setting on seeds never tuned on", results["frozen"])
        if "real" in given.only:
            results["real"] = real(work, trials=20 if given.quick else 60)
            print_table("real tracks, on the half that was not tuned on", results["real"])
        if "memory" in given.only:
            results["memory"] = memory(work, scale)
            print_table("peak memory of the script", results["memory"])
    if given.json:
        given.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
