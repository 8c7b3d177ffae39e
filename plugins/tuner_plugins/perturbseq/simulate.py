"""Simulate a Perturb-seq screen with a known answer."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from tuner_plugins.perturbseq.data.cell_cycle import G2M_GENES, S_GENES
from tuner_plugins.perturbseq.data.stored import CellsError

CONTROL = "non-targeting"
MITOCHONDRIAL = tuple(
    f"MT-{name}" for name in "ND1 ND2 ND3 ND4 ND4L ND5 ND6 CO1 CO2 CO3 ATP6 ATP8 CYB".split()
)
CYCLE_FOLD = 1.2
BATCH_SPREAD = 0.15
DECOY_SETS = 20
BLOCK = 4096


@dataclass(frozen=True)
class Truth:
    """What was planted.

    Attributes
    ----------
    genes : DataFrame
        One row a gene: ``program`` (P0.. or ""), ``log_share`` at rest.
    perturbations : DataFrame
        One row a perturbation: ``module`` (M0.., or "" where it has no effect).
    effects : array, shape (perturbations, genes)
        Change of the log rate in a cell in which the perturbation works.
    cells : DataFrame
        One row a cell: ``angle`` of the cell cycle, ``works``, ``depth``.
    """

    genes: pd.DataFrame
    perturbations: pd.DataFrame
    effects: np.ndarray
    cells: pd.DataFrame


def simulate(  # noqa: PLR0913  keys of the section `simulate` of a configuration
    folder: Path,
    *,
    seed: int,
    cells: int = 4000,
    genes: int = 600,
    perturbations: int = 24,
    guides: int = 3,
    batches: int = 3,
    programs: int = 4,
    modules: int = 4,
    null_fraction: float = 0.25,
    effect: float = 0.8,
    penetrance: float = 0.85,
    depth: int = 6000,
    dispersion: float = 0.15,
    guide_spread: float = 0.0,
) -> Mapping[str, Path]:
    """Write ``screen.h5ad``, the truth beside it, and gene sets that hold the planted programs.

    Parameters
    ----------
    folder : Path
        Made if absent.
    seed : int
        Same seed, same files.
    cells, genes, perturbations, guides, batches : int
        Sizes; `guides` for each perturbation and for the controls, which get a tenth of the cells.
        The genes include 13 mitochondrial and 97 of the cell cycle.
    programs, modules : int
        Groups of genes that move together, and of perturbations that act alike.
    null_fraction : float
        Share of perturbations without effect.
    effect : float
        Size of the effects, as a change of the natural logarithm. 0: a null screen.
    penetrance : float
        Share of cells in which a perturbation works.
    depth : int
        Median counts of a cell.
    dispersion : float
        Of the negative binomial: variance = mean + dispersion * mean^2.
    guide_spread : float
        Standard deviation of what is a guide's own and not its perturbation's (of a clone, a well,
        off-target cuts), as a change of the natural logarithm of each gene.

    Returns
    -------
    mapping of str to Path
        ``screen``, ``truth``, ``cells`` and ``gene_sets``.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     paths = simulate(Path(folder), seed=1, cells=50, genes=150, perturbations=3)
    ...     screen = anndata.read_h5ad(paths["screen"])
    >>> screen.shape, sorted(set(screen.obs["perturbation"]))
    ((50, 150), ['PERT1', 'PERT2', 'PERT3', 'non-targeting'])
    """
    fixed = len(MITOCHONDRIAL) + len(S_GENES) + len(G2M_GENES)
    if genes < fixed + 10 * programs:
        raise CellsError(f"genes is {genes}; expected {fixed + 10 * programs} or more")
    if min(cells, perturbations, guides, batches, programs, modules) < 1 or depth < 1:
        raise CellsError("sizes of a simulated screen must be 1 or more")
    rng = np.random.default_rng(seed)
    gene_table = _genes(rng, genes, programs)
    pert_table, effects = _effects(rng, gene_table, perturbations, modules, null_fraction, effect)
    obs = _labels(rng, cells, pert_table.index, guides, batches)
    truth_cells = pd.DataFrame(
        {
            "angle": rng.uniform(0.0, 2 * np.pi, cells),
            "works": (obs["perturbation"] != CONTROL) & (rng.random(cells) < penetrance),
            "depth": np.exp(rng.normal(np.log(depth), 0.4, cells)),
        }
    )
    truth = Truth(gene_table, pert_table, effects, truth_cells)
    counts = _counts(rng, obs, truth, dispersion, guide_spread)
    return _write(Path(folder), obs, counts, truth, rng)


def _genes(rng: np.random.Generator, genes: int, programs: int) -> pd.DataFrame:
    free = genes - len(MITOCHONDRIAL) - len(S_GENES) - len(G2M_GENES)
    names = [*MITOCHONDRIAL, *S_GENES, *G2M_GENES, *(f"GENE{i:05d}" for i in range(1, free + 1))]
    program = np.full(genes, "", dtype=object)
    members = rng.permutation(np.arange(genes - free, genes))[: max(10 * programs, int(0.6 * free))]
    for number, part in enumerate(np.array_split(members, programs)):
        program[part] = f"P{number}"
    log_share = rng.normal(0.0, 1.3, genes)
    log_share[: len(MITOCHONDRIAL)] = np.log(0.005 * np.exp(log_share).sum())
    return pd.DataFrame({"program": program, "log_share": log_share}, index=names)


def _effects(
    rng: np.random.Generator,
    genes: pd.DataFrame,
    perturbations: int,
    modules: int,
    null_fraction: float,
    effect: float,
) -> tuple[pd.DataFrame, np.ndarray]:
    """Plant effects: a module moves programs up or down, its perturbations more or less so."""
    width = len(str(perturbations))
    names = [f"PERT{i:0{width}d}" for i in range(1, perturbations + 1)]
    nulls = min(int(round(null_fraction * perturbations)), perturbations - 1)
    module = np.array([f"M{i % modules}" for i in range(perturbations)], dtype=object)
    module[rng.permutation(perturbations)[:nulls]] = ""
    programs = sorted(set(genes["program"]) - {""})
    direction = rng.choice([-1.0, 1.0], (modules, len(programs)))
    moved = np.arange(modules)[:, None] % len(programs) == np.arange(len(programs))
    strength = direction * np.where(moved, 1.0, 0.5 * rng.random((modules, len(programs))))
    loading = rng.uniform(0.6, 1.4, len(genes))
    effects = np.zeros((perturbations, len(genes)))
    for row, name in enumerate(module):
        if name:
            moves = dict(zip(programs, strength[int(name[1:])], strict=True))
            change = genes["program"].map({**moves, "": 0.0}).to_numpy(dtype=float)
            effects[row] = effect * rng.uniform(0.7, 1.3) * change * loading
    return pd.DataFrame({"module": module}, index=names), effects


def _labels(
    rng: np.random.Generator, cells: int, perturbations: pd.Index, guides: int, batches: int
) -> pd.DataFrame:
    """Draw the perturbation, guide and batch of each cell."""
    labels = np.array([CONTROL, *perturbations], dtype=object)
    share = rng.gamma(4.0, size=len(labels))
    share[1:] *= 0.9 / share[1:].sum()
    share[0] = 0.1
    # every label gets a cell, so that none is lost in a small screen
    chosen = np.concatenate(
        [
            np.arange(min(cells, len(labels))),
            rng.choice(len(labels), max(cells - len(labels), 0), p=share),
        ]
    )
    chosen = rng.permutation(chosen)
    guide = rng.integers(1, guides + 1, cells)
    return pd.DataFrame(
        {
            "perturbation": labels[chosen].astype(str),
            "guide": [f"{labels[p]}_g{g}" for p, g in zip(chosen, guide, strict=True)],
            "batch": [f"batch{b}" for b in rng.integers(1, batches + 1, cells)],
        },
        index=[f"cell{i:06d}" for i in range(1, cells + 1)],
    )


def _counts(
    rng: np.random.Generator,
    obs: pd.DataFrame,
    truth: Truth,
    dispersion: float,
    guide_spread: float,
) -> sparse.csr_matrix:
    """Draw counts in blocks of cells: a gamma mixture of Poissons around the planted rates."""
    genes = truth.genes.index
    position = truth.perturbations.index.get_indexer(obs["perturbation"])
    codes, levels = pd.factorize(obs["batch"], sort=True)
    batch_shift = rng.normal(0.0, BATCH_SPREAD, (len(levels), len(genes)))
    guides = pd.factorize(obs["guide"], sort=True)[0]
    own = np.zeros((guides.max() + 1, len(genes)))
    if guide_spread > 0:  # drawn only where it is asked for: other screens keep their numbers
        own += rng.normal(0.0, guide_spread, own.shape)
    in_s, in_g2m = genes.isin(S_GENES), genes.isin(G2M_GENES)
    works = truth.cells["works"].to_numpy() & (position >= 0)
    angle, depth = truth.cells["angle"].to_numpy(), truth.cells["depth"].to_numpy()
    blocks = []
    for start in range(0, len(obs), BLOCK):
        part = slice(start, start + BLOCK)
        rate = truth.genes["log_share"].to_numpy() + batch_shift[codes[part]]
        rate += own[guides[part]]
        rate += np.where(works[part, None], truth.effects[position[part]], 0.0)
        rate += CYCLE_FOLD * np.maximum(np.sin(angle[part, None]), 0.0) * in_s
        rate += CYCLE_FOLD * np.maximum(-np.sin(angle[part, None]), 0.0) * in_g2m
        share = np.exp(rate)
        mean = depth[part, None] * share / share.sum(axis=1, keepdims=True)
        if dispersion > 0:
            mean = rng.gamma(1.0 / dispersion, dispersion * mean)
        blocks.append(sparse.csr_matrix(rng.poisson(mean).astype(np.float32)))
    return sparse.csr_matrix(sparse.vstack(blocks, format="csr"))


def _write(
    folder: Path,
    obs: pd.DataFrame,
    counts: sparse.csr_matrix,
    truth: Truth,
    rng: np.random.Generator,
) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    totals = np.asarray(counts.sum(axis=1)).reshape(-1)
    mitochondrial = np.asarray(counts[:, : len(MITOCHONDRIAL)].sum(axis=1)).reshape(-1)
    obs = obs.assign(
        total_counts=totals.astype(np.int64),
        pct_counts_mt=100.0 * mitochondrial / np.maximum(totals, 1),
    )
    screen = anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=truth.genes.index))
    screen.uns["control_label"] = CONTROL
    planted = anndata.AnnData(truth.effects, obs=truth.perturbations, var=truth.genes)
    paths = {
        "screen": folder / "screen.h5ad",
        "truth": folder / "truth.h5ad",
        "cells": folder / "truth_cells.csv",
        "gene_sets": folder / "gene_sets.gmt",
    }
    part = {name: path.with_name(f".{path.name}.part") for name, path in paths.items()}
    screen.write_h5ad(part["screen"], compression="gzip")
    planted.write_h5ad(part["truth"], compression="gzip")
    truth.cells.to_csv(part["cells"])
    part["gene_sets"].write_text(_gene_sets(truth.genes, rng), encoding="utf-8")
    for name, path in paths.items():
        os.replace(part[name], path)
    return paths


def _gene_sets(genes: pd.DataFrame, rng: np.random.Generator) -> str:
    """Write a GMT: most of each program with a few strangers, and sets that mean nothing."""
    names = genes.index.to_numpy()
    lines = []
    for program in sorted(set(genes["program"]) - {""}):
        members = names[(genes["program"] == program).to_numpy()]
        inside = rng.choice(members, max(1, int(0.8 * len(members))), replace=False)
        strangers = rng.choice(names, max(1, len(members) // 10), replace=False)
        lines.append("\t".join([f"PLANTED_{program}", "planted", *sorted({*inside, *strangers})]))
    for number in range(1, DECOY_SETS + 1):
        drawn = rng.choice(names, rng.integers(10, 40), replace=False)
        lines.append("\t".join([f"DECOY_{number:02d}", "random", *sorted(drawn)]))
    return "\n".join(lines) + "\n"
