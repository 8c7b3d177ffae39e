"""Genes near elements, against the truth: ``python -m benchmarks.perturbseq_cis``.

Simulated screens of enhancers (2,400 cells, 90 genes on three chromosomes, 24 elements) in which
half of the elements lower one gene within 1 Mb, by 0.6 in log2. ``--seeds N``; at q of 0.1,
corrected over the pairs within 1 Mb and over all genes and elements:

found      share of the planted pairs
false      share of false ones among those found: 0.1 is nominal
p05        share of p-values below 0.05 of pairs without effect
controls   the same of mock perturbations of control cells
covered    share of 95 % intervals that hold the truth
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import tuner_plugins.perturbseq as ps
from scipy import sparse

CONTROL, LEVEL, EFFECT = "non-targeting", 0.1, -0.6


@dataclass(frozen=True)
class Enhancers:
    """A screen and its truth."""

    adata: ad.AnnData
    genes: pd.DataFrame  # chrom, start, end, strand by name
    elements: pd.DataFrame  # chrom, start, end by name
    truth: set[tuple[str, str]]  # element and gene

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write genes.gtf, with chromosomes called 1, 2, ..., and elements.bed."""
        gtf, bed = folder / "genes.gtf", folder / "elements.bed"
        lines = [
            f"{row.chrom.removeprefix('chr')}\tx\tgene\t{row.start + 1}\t{row.end}\t.\t"
            f'{row.strand}\t.\tgene_id "ENSG{i:05d}.3"; gene_name "{name}";\n'
            for i, (name, row) in enumerate(self.genes.iterrows())
        ]
        gtf.write_text("#!genome-build x\n" + "".join(lines))
        rows = self.elements.reset_index()[["chrom", "start", "end", "index"]]
        rows.to_csv(bed, sep="\t", header=False, index=False)
        return gtf, bed


def enhancer_screen(
    seed: int, cells: int = 2400, genes: int = 90, elements: int = 24, effect: float = -1.2
) -> Enhancers:
    """Draw a screen in which half of the elements lower one gene within 1 Mb."""
    rng = np.random.default_rng(seed)
    chrom = np.array(["chr1", "chr2", "chrX"])
    start = rng.integers(0, 6_000_000, genes)
    table = pd.DataFrame(
        {
            "chrom": chrom[rng.integers(0, 3, genes)],
            "start": start,
            "end": start + rng.integers(1_000, 80_000, genes),
            "strand": np.array(["+", "-"])[rng.integers(0, 2, genes)],
        },
        index=[f"GENE{i:03d}" for i in range(genes)],
    )
    middle = rng.integers(500, 6_000_000, elements)
    places = pd.DataFrame(
        {
            "chrom": chrom[rng.integers(0, 3, elements)],
            "start": middle - 250,
            "end": middle + 250,
        },
        index=[f"enh{i:02d}" for i in range(elements)],
    )
    tss = np.where(table["strand"] == "+", table["start"], table["end"] - 1)
    change = np.zeros((elements, genes))
    for at in range(0, elements, 2):
        same = (table["chrom"] == places["chrom"].iloc[at]).to_numpy()
        close = np.flatnonzero(same & (np.abs(tss - middle[at]) < 900_000))
        if len(close):
            change[at, rng.choice(close)] = effect
    label = rng.choice(elements + 6, cells)  # the last six are controls
    rate = np.exp(rng.normal(0.8, 0.6, genes)) * rng.lognormal(0, 0.25, (cells, 1))
    rate = rate * np.exp2(np.vstack([change, np.zeros((6, genes))])[label])
    counts = rng.poisson(rng.gamma(8.0, rate / 8.0)).astype(np.float32)
    names = [*places.index, *[CONTROL] * 6]
    obs = pd.DataFrame(
        {"perturbation": [names[i] for i in label], "guide": [f"g{i}" for i in label]},
        index=[f"cell{i}" for i in range(cells)],
    )
    adata = ad.AnnData(sparse.csr_matrix(counts), obs, pd.DataFrame(index=table.index))
    truth = {(places.index[i], table.index[j]) for i, j in zip(*change.nonzero(), strict=True)}
    return Enhancers(adata, table, places, truth)


def measure(seed: int) -> dict[str, float]:
    """Simulate a screen, test the genes near its elements, and compare with what was planted."""
    screen = enhancer_screen(seed, effect=EFFECT)
    adata = screen.adata
    ps.tl.elasticnet(adata, control=CONTROL, n_permutations=0, alphas=[0.01], l1_ratios=[0.5])
    ps.tl.fold_changes(adata)
    with tempfile.TemporaryDirectory() as folder:
        ps.tl.cis_pairs(adata, *screen.write(Path(folder)), distance="1Mb", seed=seed)
    table, controls = adata.uns["cis_pairs"], adata.uns["cis_controls"]
    pairs = table[["element", "gene"]].itertuples(index=False, name=None)
    true = np.array([pair in screen.truth for pair in pairs])
    truth = np.where(true, EFFECT, 0.0)
    row = {"pairs": float(len(table)), "planted": float(len(screen.truth))}
    for name, key in (("", "q"), ("_over_all", "q_all")):
        hit = (table[key] <= LEVEL).to_numpy()
        row[f"found{name}"] = hit[true].mean()
        row[f"false{name}"] = (hit & ~true).sum() / max(hit.sum(), 1)
    row["p05"] = (table["p"] < 0.05)[~true].mean()
    row["controls"] = (controls["p"] < 0.05).mean()
    row["covered"] = ((table["log2fc_low"] <= truth) & (truth <= table["log2fc_high"])).mean()
    return row


def main() -> None:
    """Print means over seeds and their standard errors."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=40)
    rows = pd.DataFrame([measure(seed) for seed in range(parser.parse_args().seeds)])
    error = rows.std() / np.sqrt(len(rows))
    print(pd.DataFrame({"mean": rows.mean(), "error": error}).round(4).to_string())


if __name__ == "__main__":
    main()
