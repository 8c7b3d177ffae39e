"""How many simulated reads were mapped where they come from: a scoring command, as users write one.

``python -m tuner_plugins.command.score_reads FOUND.paf READS.fq`` prints JSON: ``recall`` (reads
mapped right, of all), ``precision`` (of those mapped) and ``mapped``. A read is right where its
first primary mapping and its origin share a tenth of what they cover together, on one strand, as in
paftools mapeval (H. Li, 2018, doi:10.1093/bioinformatics/bty191).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

SHARED = 0.1
"""Least overlap of mapping and origin, as a share of their union."""


def score_reads(mappings: Path, reads: Path) -> dict[str, float]:
    """Return recall, precision and the number of mapped reads.

    Parameters
    ----------
    mappings : Path
        PAF, as minimap2 writes it.
    reads : Path
        FASTQ of the simulator ``reads``: four lines a read.

    Raises
    ------
    ValueError
        For a line that is not of such a file.
    """
    with reads.open() as file:
        count = sum(1 for number, _ in enumerate(file) if number % 4 == 0)
    right: dict[str, bool] = {}
    with mappings.open() as file:
        for line in file:
            fields = line.split("\t")
            if fields[0] not in right and "tp:A:S" not in line:
                right[fields[0]] = _is_right(fields)
    hits = sum(right.values())
    precision = hits / len(right) if right else 0.0
    return {"recall": hits / count, "precision": precision, "mapped": len(right)}


def _is_right(fields: list[str]) -> bool:
    """Return whether a line of a PAF file says where its read comes from."""
    _, name, span, strand = fields[0].rsplit(":", 3)
    start, end = map(int, span.split("-"))
    at, to = int(fields[7]), int(fields[8])
    shared = min(end, to) - max(start, at)
    together = max(end, to) - min(start, at)
    return (fields[5], fields[4]) == (name, strand.strip()) and shared >= SHARED * together


if __name__ == "__main__":
    print(json.dumps(score_reads(Path(sys.argv[1]), Path(sys.argv[2]))))
