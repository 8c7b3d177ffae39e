"""S and G2/M scores of cells, from the genes of Tirosh et al. (2016, 10.1126/science.aad0501)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tuner_plugins.perturbseq.data.stored import CellsError

S_GENES = tuple(
    """MCM5 PCNA TYMS FEN1 MCM2 MCM4 RRM1 UNG GINS2 MCM6 CDCA7 DTL PRIM1 UHRF1 MLF1IP HELLS RFC2
    RPA2 NASP RAD51AP1 GMNN WDR76 SLBP CCNE2 UBR7 POLD3 MSH2 ATAD2 RAD51 RRM2 CDC45 CDC6 EXO1 TIPIN
    DSCC1 BLM CASP8AP2 USP1 CLSPN POLA1 CHAF1B BRIP1 E2F8""".split()
)
G2M_GENES = tuple(
    """HMGB2 CDK1 NUSAP1 UBE2C BIRC5 TPX2 TOP2A NDC80 CKS2 NUF2 CKS1B MKI67 TMPO CENPF TACC3 FAM64A
    SMC4 CCNB2 CKAP2L CKAP2 AURKB BUB1 KIF11 ANP32E TUBB4B GTSE1 KIF20B HJURP CDCA3 HN1 CDC20 TTK
    CDC25C KIF2C RANGAP1 NCAPD2 DLGAP5 CDCA2 CDCA8 ECT2 KIF23 HMMR AURKA PSRC1 ANLN LBR CKAP5 CENPE
    CTCF NEK2 G2E3 GAS2L3 CBX5 CENPA""".split()
)
RENAMED = {"MLF1IP": "CENPU", "FAM64A": "PIMREG", "HN1": "JPT1"}
PHASES = {"S_score": S_GENES, "G2M_score": G2M_GENES}
FEWEST_GENES = 10
CONTROLS_PER_GENE = 50


def symbols_hint(genes: pd.Index) -> str:
    """Return what to do where genes are named by Ensembl's identifiers, for a message."""
    like_ids = pd.Index(genes.astype(str)).str.match(r"ENS[A-Z]*G\d{6,}")
    if not len(genes) or like_ids.mean() < 0.5:
        return ""
    return f" (genes are named like {genes[0]}: name var's column of symbols, data.gene_symbols)"


def phase_positions(genes: pd.Index, score: str) -> np.ndarray:
    """Find the genes of a score among those measured, human or mouse, under old or new symbols.

    Parameters
    ----------
    genes : Index
        Gene symbols.
    score : {"S_score", "G2M_score"}
        Which one.

    Returns
    -------
    array of int
        Ascending positions in `genes`.

    Raises
    ------
    CellsError
        Fewer than ten of them are measured.

    Examples
    --------
    >>> phase_positions(pd.Index(["ACTB", *S_GENES[:10]]), "S_score").tolist()
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    """
    wanted = set(PHASES[score])
    wanted |= {RENAMED[name] for name in wanted & RENAMED.keys()}
    positions = np.flatnonzero(pd.Index(genes.astype(str)).str.upper().isin(wanted))
    if len(positions) < FEWEST_GENES:
        raise CellsError(
            f"{score} cannot be computed: {len(positions)} of its {len(PHASES[score])} genes are "
            f"measured, {FEWEST_GENES} are needed{symbols_hint(genes)}; "
            f"leave it out or give an obs column '{score}'"
        )
    return positions


def score_weights(
    mean_expression: np.ndarray,
    positions: Sequence[int] | np.ndarray,
    moved: np.ndarray | None = None,
) -> np.ndarray:
    """Return the weights of a score: the mean of its genes minus that of genes expressed alike.

    Each gene of the list is matched by the other genes that are nearest to it in rank of mean
    expression. In difference to bins, no pool of control genes can be exhausted and nothing is
    drawn at random.

    Parameters
    ----------
    mean_expression : array, shape (genes,)
        Mean over the training cells.
    positions : array of int
        Genes of the score.
    moved : array of bool, shape (genes,), optional
        Genes that perturbations move; they are not compared with while enough others are there.

    Returns
    -------
    array, shape (genes,)
        A cell's score is the product of its expression with these; they sum to zero.

    Examples
    --------
    >>> score_weights(np.array([0.1, 2.0, 0.2, 2.1]), [1]).round(3).tolist()
    [-0.333, 1.0, -0.333, -0.333]
    """
    positions = np.asarray(positions, dtype=np.int64)
    listed = np.zeros(len(mean_expression), dtype=bool)
    listed[positions] = True
    others = np.flatnonzero(~listed)
    if moved is not None and (~listed & ~moved).sum() >= CONTROLS_PER_GENE:
        others = np.flatnonzero(~listed & ~moved)
    if not len(others):
        raise CellsError("a score needs measured genes outside its own list, there are none")
    others = others[np.argsort(mean_expression[others], kind="stable")]
    count = min(CONTROLS_PER_GENE, len(others))
    near = np.searchsorted(mean_expression[others], mean_expression[positions])
    first = np.clip(near - count // 2, 0, len(others) - count)
    controls = np.unique(others[(first[:, None] + np.arange(count)).reshape(-1)])
    weights = np.zeros(len(mean_expression))
    weights[positions] = 1.0 / len(positions)
    weights[controls] = -1.0 / len(controls)
    return weights
