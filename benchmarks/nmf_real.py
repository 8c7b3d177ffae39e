"""Real tracks: tuned on the two quarters of one half of a region, shown on the other half.

Part of `benchmarks.nmf`; needs the folder of real data beside the project, or TUNER_SHARED_DATA.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tuner_plugins.nmf.config import NmfConfig
from tuner_plugins.nmf.model.null import shifted_correlations
from tuner_plugins.nmf.plugin import NmfPlugin

from benchmarks.processes import median_cost, run_process

REGIONS = {
    "roadmap_hg19_ENm005_chr21": ("chr21", 33_746_350, 35_442_400, 10),
    "K562_hg19_chr1_22.5-25M": ("chr1", 22_500_000, 25_000_000, 3),
    "mixed_hg19_chr21_40-48.1M": ("chr21", 40_005_600, 48_119_800, 10),
}
SHIFTS = 200
REPEATS = 5


def data_folder() -> Path | None:
    """Return the folder of real bigWig sets, or None."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("TUNER_SHARED_DATA", beside)) / "bigwig"
    return folder if folder.is_dir() else None


def run_tuner(config: Mapping[str, Any], work: Path) -> dict[str, Any]:
    """Run `tuner run` on a configuration in `work`; return what it prints as JSON."""
    path = work / f"{config['study']['name']}.yaml"
    path.write_text(json.dumps(config))
    tuner = str(Path(sys.executable).with_name("tuner"))
    command = [tuner, "run", str(path), "--json"]
    done = subprocess.run(command, check=True, cwd=work, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def real(work: Path, trials: int) -> list[dict[str, Any]]:
    """Tune on each half of each region; run script and baseline on the other half."""
    folder = data_folder()
    if folder is None:
        print("real tracks: skipped, no folder of real data (TUNER_SHARED_DATA)")
        return []
    rows = []
    for name, (chrom, start, end, k) in REGIONS.items():
        middle = (start + end) // 2
        halves = ((start, middle), (middle, end))
        for number, (seen, unseen) in enumerate((halves, halves[::-1])):
            # Two cases: what is good in one stretch of a few genes by luck is not in the other.
            half = sum(seen) // 2
            regions = [f"{chrom}:{seen[0]}-{half}", f"{chrom}:{half}-{seen[1]}"]
            data = {
                "bigwigs": [str(folder / name / "tracks")],
                "annotation": str(folder / name / "Annotation.Gene.bw"),
                "cases": [{"region": region, "k": k} for region in regions],
                "held_out": [{"region": f"{chrom}:{unseen[0]}-{unseen[1]}", "k": k}],
            }
            found = _half(work, f"{name.split('_')[0]}-{number}", data, trials)
            rows.append({"what": f"{name} half {2 - number}", **found})
    return rows


def _half(work: Path, study: str, data: Mapping[str, Any], trials: int) -> dict[str, Any]:
    """Tune on the cases; run script and baseline on the held-out one."""
    config = {
        "study": {"name": study, "trials": trials, "storage": f"sqlite:///{work}/{study}.db"},
        "plugin": "nmf",
        "data": data,
        "tracking": {"enabled": False},
        "export": {"path": str(work / f"{study}.py")},
    }
    result = run_tuner(config, work)
    plugin = NmfPlugin(NmfConfig.model_validate({"data": data}))
    (case,) = plugin.load().held_out
    loadings = plugin.run(case, result["best"]["params"], 0)
    (theirs,) = result["held_out_baseline"]
    out = work / "ours.npy"
    chrom, start, end = case.data.region
    region = ["-c", chrom, "-s", str(start), "-e", str(end), "-k", str(case.data.k)]
    tail = ["-b", *data["bigwigs"], *region, "-o", str(out)]
    script = [sys.executable, str(work / f"{study}.py"), *tail]
    run_process(script)
    ours = median_cost([run_process(script, output=out) for _ in range(REPEATS)])
    slow = run_process([sys.executable, "-m", "benchmarks.baseline", *tail], output=out)
    r, r_baseline = plugin.score(case, loadings)["r"], theirs["metrics"]["r"]
    shifts = np.linspace(0, end - start, SHIFTS + 2)[1:-1].astype(np.int64)
    null = shifted_correlations(loadings, case.data.genes, shifts).max(axis=1)
    return {
        "r_baseline": r_baseline,
        "r": r,
        "null_mean": float(np.mean(null)),
        "null_95": float(np.quantile(null, 0.95)),
        "baseline_s": slow.wall,
        "script_s": ours.wall,
        "ratio": slow.wall / ours.wall,
        "score": (r - r_baseline) * float(np.sqrt(slow.wall / ours.wall)),
    }
