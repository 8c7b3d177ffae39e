"""Over-representation of gene sets, offline from a GMT file.

The test is the one-sided hypergeometric one (Fisher's exact test). Its universe is the genes that
were tested, not the genome: a screen that measured 2,000 genes can only have found those.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import hypergeom

from tuner_plugins.perturbseq.data.stored import comparable, has_dots
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.inference.program_tests import adjust

COLUMNS = (
    *("set", "term", "overlap", "set_size", "term_size", "background", "odds_ratio"),
    *("p", "q", "genes"),
)

GZIP = b"\x1f\x8b"
"""What a gzipped file begins with."""

MOST = 256 << 20
"""Bytes of text that are read: all of MSigDB is a tenth of it, and a gzipped bomb has no end."""


def read_gmt(path: Path) -> dict[str, list[str]]:
    r"""Read gene sets, gzipped or not: a line holds name, description and genes between tabs.

    Returns
    -------
    dict
        Term to gene names, each once, in the order of the file.

    Raises
    ------
    AnalysisError
        For a file that is absent, is not text or more than `MOST` of it, or has a line without a
        name or genes or a term twice. A file without a checksum that was cut within a gene's name
        cannot be told from a whole one; a gzipped one can.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "sets.gmt"
    ...     _ = path.write_text("INTERFERON\tHallmark\tIRF1\tSTAT1\n")
    ...     read_gmt(path)
    {'INTERFERON': ['IRF1', 'STAT1']}
    """
    terms: dict[str, list[str]] = {}
    # Lines of text end here and nowhere else: `splitlines` splits a description at U+2028, too.
    for number, line in enumerate(re.split("\r\n|\n|\r", _text_of(Path(path))), start=1):
        if not line.strip():
            continue
        name, *rest = (part.strip() for part in line.split("\t"))
        # A comma after a gene starts a weight in Enrichr's dialect.
        genes = list(dict.fromkeys(filter(None, (g.split(",")[0] for g in rest[1:]))))
        if not name or not genes or name in terms:
            problem = f"term '{name}' comes twice" if name in terms else "no genes"
            raise AnalysisError(
                f"{path}, line {number}: {problem if name else 'no name'}; expected name, "
                "description and genes between tabs, every name once (the GMT format)"
            )
        terms[name] = genes
    if not terms:
        raise AnalysisError(f"{path} holds no gene sets; expected a file in the GMT format")
    return terms


def _text_of(path: Path) -> str:
    """Return the text of a file, gzipped or not; `AnalysisError` where it has none or too much."""
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise AnalysisError(f"{path} is no file; expected gene sets in the GMT format")
        with path.open("rb") as file:
            zipped = file.read(len(GZIP)) == GZIP
            file.seek(0)
            stored = (gzip.GzipFile(fileobj=file) if zipped else file).read(MOST + 1)
        if len(stored) > MOST:
            raise AnalysisError(f"{path} holds more than {MOST >> 20} MiB; expected gene sets")
        text = stored.decode("utf-8-sig")
    except (EOFError, OSError, UnicodeDecodeError, zlib.error) as error:
        raise AnalysisError(
            f"cannot read gene sets from {path}: {error}; expected a text file in the GMT format"
        ) from error
    if "\0" in text:
        raise AnalysisError(f"{path} holds NUL characters; expected text in the GMT format")
    return text


def _matched(genes: Iterable[str], *, dots: bool) -> list[str]:
    """Return gene names as they are compared, each once."""
    return list(dict.fromkeys(comparable(genes, dots=dots)))


def enrich(
    sets: Mapping[str, Sequence[str]],
    background: Sequence[str],
    terms: Mapping[str, Sequence[str]],
    *,
    min_size: int = 5,
    max_size: int = 500,
) -> pd.DataFrame:
    """Test every gene set against every term.

    Parameters
    ----------
    sets : mapping
        Name, such as a program or ``"STAT1 up"``, to genes. Sets may be empty.
    background : sequence of str
        All genes that were tested.
    terms : mapping
        Term to genes, such as from `read_gmt`.
    min_size, max_size : int
        Terms with fewer or more genes of the background are not tested.

    Returns
    -------
    pandas.DataFrame
        One row for each set and term tested, with an overlap or without, sorted by set and ``p``:
        ``set``, ``term``, ``overlap``, ``set_size``, ``term_size``, ``background``,
        ``odds_ratio``, ``p``, ``q``, ``genes``. ``q`` is Benjamini-Hochberg over all rows:
        leaving out the terms without an overlap would make it too small.

    Raises
    ------
    AnalysisError
        If a set has a gene outside the background, or no term is left.

    Examples
    --------
    >>> genes = [f"G{i}" for i in range(20)]
    >>> terms = {"PATHWAY": genes[:6], "OTHER": genes[10:16]}
    >>> table = enrich({"P0": genes[:5]}, genes, terms)
    >>> table[["set", "term", "overlap", "p"]].round(4)
      set     term  overlap       p
    0  P0  PATHWAY        5  0.0004
    1  P0    OTHER        0  1.0000
    """
    dots = has_dots(background)
    names = _matched(background, dots=dots)
    place = {gene: i for i, gene in enumerate(names)}
    members = {}
    for name, genes in sets.items():
        matched = _matched(genes, dots=dots)
        outside = [gene for gene in matched if gene not in place]
        if outside:
            raise AnalysisError(
                f"set '{name}' has gene '{outside[0]}' that is not in the background of "
                f"{len(names)} tested genes: give all genes that were tested"
            )
        members[name] = [place[gene] for gene in matched]
    tested = {
        term: [place[gene] for gene in _matched(genes, dots=dots) if gene in place]
        for term, genes in terms.items()
    }
    tested = {t: genes for t, genes in tested.items() if min_size <= len(genes) <= max_size}
    if not tested:
        raise AnalysisError(
            f"none of {len(terms)} terms has {min_size} to {max_size} of the {len(names)} tested "
            "genes: are gene names symbols, as in the GMT file?"
        )
    if not members:
        return pd.DataFrame(columns=list(COLUMNS))
    return _tabulate(members, tested, names)


def _membership(groups: Mapping[str, Sequence[int]], n: int) -> sparse.csr_array:
    rows = np.repeat(np.arange(len(groups)), [len(g) for g in groups.values()])
    columns = np.array([i for g in groups.values() for i in g], dtype=np.int64)
    return sparse.csr_array((np.ones(len(rows), dtype=np.int64), (rows, columns)), (len(groups), n))


def _tabulate(
    members: Mapping[str, Sequence[int]], tested: Mapping[str, Sequence[int]], names: list[str]
) -> pd.DataFrame:
    n = len(names)
    overlap = (_membership(members, n) @ _membership(tested, n).T).toarray()
    set_size = np.array([len(g) for g in members.values()])[:, None]
    term_size = np.array([len(g) for g in tested.values()])[None, :]
    p = hypergeom.sf(overlap - 1, n, term_size, set_size)
    p = np.clip(p, np.finfo(float).tiny, 1.0)
    neither = n - set_size - term_size + overlap
    off_diagonal = (set_size - overlap) * (term_size - overlap)
    with np.errstate(divide="ignore", invalid="ignore"):
        odds = np.where(overlap == 0, 0.0, overlap * neither / off_diagonal)
    shape = overlap.shape
    term_genes = [set(genes) for genes in tested.values()]
    shared = [
        ";".join(names[i] for i in genes if i in term_genes[t]) if overlap[s, t] else ""
        for s, genes in enumerate(members.values())
        for t in range(shape[1])
    ]
    table = pd.DataFrame(
        {
            "set": np.repeat(list(members), shape[1]),
            "term": np.tile(list(tested), shape[0]),
            "overlap": overlap.ravel(),
            "set_size": np.broadcast_to(set_size, shape).ravel(),
            "term_size": np.broadcast_to(term_size, shape).ravel(),
            "background": n,
            "odds_ratio": odds.ravel(),
            "p": p.ravel(),
            "q": adjust(p).ravel(),
            "genes": shared,
        }
    )
    given = pd.factorize(table["set"])[0]  # P10 stands after P9
    order = np.lexsort((np.tile(np.arange(shape[1]), shape[0]), table["p"], given))
    return table.iloc[order].reset_index(drop=True)


def direction_sets(coef: pd.DataFrame, significant: pd.DataFrame) -> dict[str, list[str]]:
    """Return the genes that each perturbation moves up and, apart from them, down.

    Parameters
    ----------
    coef : pandas.DataFrame, (genes, perturbations)
    significant : pandas.DataFrame of bool, (genes, perturbations)

    Returns
    -------
    dict
        ``"STAT1 up"``, ``"STAT1 down"``, ...; only sets that hold a gene.

    Examples
    --------
    >>> coef = pd.DataFrame({"STAT1": [0.8, -0.5, 0.1]}, index=["CD4", "IRF1", "ACTB"])
    >>> direction_sets(coef, coef.abs() > 0.2)
    {'STAT1 up': ['CD4'], 'STAT1 down': ['IRF1']}
    """
    sets: dict[str, list[str]] = {}
    for name in coef.columns:
        chosen = significant[name].to_numpy(dtype=bool)
        for direction, sign in (("up", 1), ("down", -1)):
            genes = coef.index[chosen & (np.sign(coef[name].to_numpy()) == sign)]
            if len(genes):
                sets[f"{name} {direction}"] = list(genes.astype(str))
    return sets
