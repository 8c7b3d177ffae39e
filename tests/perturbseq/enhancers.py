"""A screen of enhancers with a planted truth: effects in cis alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

CONTROL = "non-targeting"


@dataclass(frozen=True)
class Enhancers:
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
