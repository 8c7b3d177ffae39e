"""Where genes begin and where the elements of a screen lie: GTF, GFF3 and BED files, and labels."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from tuner_plugins.genome_tables.lines import (
    AnnotationError,
    Row,
    bed_positions,
    gtf_positions,
    require_gtf,
    rows_of,
)
from tuner_plugins.perturbseq.data.stored import comparable, has_dots
from tuner_plugins.perturbseq.errors import AnalysisError

DISTANCE = 1_000_000
"""Bases between the middle of an element and the start of a gene, at most."""

Levels = list[dict[tuple[str, str, str], tuple[int, int, str]]]
"""By level: identifier, chromosome and strand of a gene to its start, end and name."""

LEVELS = {"gene": 0, "ncRNA_gene": 0, "pseudogene": 0, "transcript": 1, "mRNA": 1, "exon": 2}
"""Types of lines that say where a gene begins: the first level that a file has is taken."""

GTF = (".gtf", ".gff", ".gff2", ".gff3")
_ID = r'\bgene_id[ =]"?([^";]+)'
_OWN, _PARENT = r"\bID=(?:gene[:-])?([^;]+)", r"\bParent=(?:gene[:-])?([^;]+)"
_NAME = (r'\bgene_name[ =]"?([^";]+)', r"\bName=([^;]+)", r'\bgene[ =]"?([^";]+)')
_VERSION = re.compile(r"\.\d+$")
_LABEL = re.compile(r"(chr[^\s:]*?|[^\s:]+(?=:))[:_.-]([\d,]+)(?:-|_|\.\.|\.|:)([\d,]+)")
_BASES = {"": 1, "b": 1, "bp": 1, "k": 1_000, "kb": 1_000, "m": 1_000_000, "mb": 1_000_000}


def bases(value: float | str) -> int:
    """Return a distance such as ``1Mb`` or ``500kb`` in bases.

    Examples
    --------
    >>> bases("1Mb"), bases("2.5 kb"), bases(100)
    (1000000, 2500, 100)
    """
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([a-z]*)\s*", str(value).lower())
    if match is None or match[2] not in _BASES:
        raise AnalysisError(f"expected a distance such as 1Mb, 500kb or 20000, got {value!r}")
    return round(float(match[1]) * _BASES[match[2]])


def read_genes(path: Path) -> pd.DataFrame:
    r"""Read where genes begin, each at the end that its strand says.

    Parameters
    ----------
    path : Path
        GTF or GFF3, gzipped or not: lines of type ``gene``, or transcripts or exons where there are
        none, whose outermost base counts. Or BED with names and strands.

    Returns
    -------
    DataFrame
        ``id``, ``name``, ``chrom``, ``tss`` (counted from 0) and ``strand`` (1 or -1).

    Raises
    ------
    AnalysisError
        A file that cannot be read, or in which no gene has a strand.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "genes.gtf"
    ...     line = 'chr1\tx\tgene\t101\t200\t.\t-\t.\tgene_id "G1.2"; gene_name "MYC";\n'
    ...     _ = path.write_text(line)
    ...     read_genes(path)
         id name chrom  tss  strand
    0  G1.2  MYC  chr1  199      -1
    """
    name = path.name.removesuffix(".gz")
    read: Callable[[Path, Row, Levels], None] = _from_bed if name.endswith(".bed") else _from_gtf
    if not name.endswith((".bed", *GTF)):
        raise AnalysisError(f"{path}: expected genes as .gtf, .gff3 or .bed, gzipped or not")
    found: Levels = [{}, {}, {}]
    with _told(path):
        for row in _rows(path):
            read(path, row, found)
    genes = next(filter(None, found), {})
    if not genes:
        raise AnalysisError(
            f"{path} holds no gene with a strand; expected lines of type gene, transcript or exon "
            "(GTF, GFF3), or BED with six columns"
        )
    table = pd.DataFrame(
        [(*key, *value) for key, value in genes.items()],
        columns=["id", "chrom", "strand", "start", "end", "name"],
    )
    forward = (table["strand"] == "+").to_numpy()
    table["tss"] = np.where(forward, table["start"], table["end"] - 1)
    table["strand"] = np.where(forward, 1, -1)
    return table[["id", "name", "chrom", "tss", "strand"]]


def _from_gtf(path: Path, row: Row, found: Levels) -> None:
    require_gtf(str(path), row)
    level = LEVELS.get(row.columns[2], 3)
    if level > 2 or (level and found[0]) or row.columns[6] not in ("+", "-"):
        return
    start, end = gtf_positions(str(path), row)
    about = row.columns[8] if len(row.columns) > 8 else ""
    gene = _first((_ID, _PARENT if level else _OWN, *_NAME), about) or f"line {row.line}"
    key = gene, row.chrom, row.columns[6]
    known = found[level].get(key, (start, end, ""))
    name = known[2] or _first(_NAME, about) or gene
    found[level][key] = min(start, known[0]), max(end, known[1]), name


def _from_bed(path: Path, row: Row, found: Levels) -> None:
    start, end = bed_positions(str(path), row)
    if len(row.columns) > 5 and row.columns[5] in ("+", "-"):
        found[0][row.columns[3], row.chrom, row.columns[5]] = start, end, row.columns[3]


def _first(patterns: Sequence[str], text: str) -> str:
    """Return what the first pattern that matches finds, or ""."""
    return next((match[1].strip() for one in patterns if (match := re.search(one, text))), "")


def _rows(path: Path) -> Iterator[Row]:
    """Yield the lines of a table."""
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise AnalysisError(f"{path} is no file; expected a table such as .gtf or .bed")
    with path.open("rb") as file:
        yield from rows_of(str(path), file)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Raise what reading a table raises as `AnalysisError`, in one line."""
    try:
        yield
    except AnnotationError as error:
        raise AnalysisError(str(error)) from error
    except OSError as error:
        raise AnalysisError(f"{path} cannot be read ({error.strerror or error})") from error
    except (EOFError, zlib.error, UnicodeDecodeError) as error:
        raise AnalysisError(f"{path} is not a whole text file ({error}); copy it again") from error


def read_elements(path: Path) -> pd.DataFrame:
    """Read the elements of a BED file: by name in its fourth column, else by their position.

    Returns
    -------
    DataFrame
        Index: names; ``chrom``, ``start``, ``end`` (0-based, end not included). Lines of one name,
        such as the guides of an element, are joined to the span of all.

    Raises
    ------
    AnalysisError
        A file that cannot be read or is empty, or a name on two chromosomes.
    """
    found: dict[str, tuple[str, int, int]] = {}
    with _told(path):
        for row in _rows(path):
            start, end = bed_positions(str(path), row)
            name = row.columns[3] if len(row.columns) > 3 else f"{row.chrom}:{start}-{end}"
            chrom, first, last = found.get(name, (row.chrom, start, end))
            if chrom != row.chrom:
                raise AnalysisError(
                    f"{path}, line {row.line}: element '{name}' lies on {chrom} and on "
                    f"{row.chrom}; give each element one place"
                )
            found[name] = chrom, min(first, start), max(last, end)
    if not found:
        raise AnalysisError(f"{path} holds no elements; expected a BED file named by perturbation")
    return pd.DataFrame.from_dict(found, "index", columns=["chrom", "start", "end"])


def places_of(perturbations: Sequence[str], elements: pd.DataFrame | None) -> pd.DataFrame:
    """Return where perturbations lie: by a table of elements, else by labels such as chr1:100-200.

    Parameters
    ----------
    perturbations : sequence of str
    elements : DataFrame, optional
        As `read_elements` gives it.

    Returns
    -------
    DataFrame
        ``chrom``, ``start``, ``end`` of those perturbations that have a place, by name.

    Examples
    --------
    >>> places_of(["chr1:100-200", "chrX_5_7", "NT-1"], None)
                 chrom  start  end
    chr1:100-200  chr1    100  200
    chrX_5_7      chrX      5    7
    """
    if elements is not None:
        missing = [name for name in ("chrom", "start", "end") if name not in elements]
        if missing or elements.index.has_duplicates:
            raise AnalysisError(
                "elements are a table with chrom, start and end, and a row for each perturbation; "
                + (f"it has no {missing[0]}" if missing else "a name comes twice")
            )
        return elements[["chrom", "start", "end"]].reindex(
            [name for name in perturbations if name in elements.index]
        )
    found = {}
    for name in perturbations:
        if match := _LABEL.fullmatch(name):
            start, end = (int(text.replace(",", "") or 0) for text in match.groups()[1:])
            if start < end:
                found[name] = match[1], start, end
    return pd.DataFrame.from_dict(found, "index", columns=["chrom", "start", "end"])


def starts_of(
    genes: pd.DataFrame, names: Sequence[str], ids: Sequence[str] | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """Return where genes of a screen begin, matched by identifier, else by name.

    Parameters
    ----------
    genes : DataFrame
        As `read_genes` gives them.
    names : sequence of str
        Of the screen: symbols, or identifiers, with a version or without. Symbols are compared as
        everywhere: in upper case, and with dots where R has written them.
    ids : sequence of str, optional
        Identifiers of the same genes, where names are symbols.

    Returns
    -------
    starts : DataFrame
        ``chrom``, ``tss``, ``strand`` by name; of genes that begin in one place.
    ambiguous : list of str
        Genes whose name several places have.
    """
    dots = has_dots(names)
    screen = pd.Index([_VERSION.sub("", name) for name in (names if ids is None else ids)])
    keys = (
        (genes["id"].map(lambda one: _VERSION.sub("", one)), screen),
        (genes["id"], pd.Index(names)),
        (pd.Series(comparable(genes["name"], dots=dots)), pd.Index(comparable(names, dots=dots))),
    )
    at, several = np.full(len(names), -1), np.zeros(len(names), dtype=bool)
    for known, wanted in keys:
        own = genes.assign(key=known.to_numpy()).drop_duplicates(["key", "chrom", "tss", "strand"])
        again = own["key"].duplicated(keep=False)
        left = at < 0
        unique = own[~again]
        position = pd.Index(unique["key"]).get_indexer(wanted)
        here = left & (position >= 0)
        at[here] = unique.index.to_numpy()[position[here]]
        several |= left & wanted.isin(own["key"][again])
    found = at >= 0
    starts = genes.loc[at[found], ["chrom", "tss", "strand"]].set_axis(np.asarray(names)[found])
    return starts, [str(name) for name in np.asarray(names)[several & ~found]]
