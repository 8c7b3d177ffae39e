"""Chromosomes and reads whose origin is known: what read mappers and compressors are tuned on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Bases = NDArray[np.uint8]

_LETTERS = np.frombuffer(b"ACGT", np.uint8)
_COMPLEMENT = np.array([3, 2, 1, 0], np.uint8)


def simulate_reads(  # noqa: PLR0913 - keys of the section `simulate` of a configuration
    folder: Path,
    *,
    seed: int,
    chromosomes: int = 3,
    length: int = 400_000,
    reads: int = 1500,
    read_length: int = 1200,
    error_rate: float = 0.12,
    repeats: float = 0.3,
) -> None:
    """Write ``chrN.fa``, and ``readsN.fq`` from chrN, into `folder`.

    A read's name is its origin, ``read7:chr1:1200-2400:-``, 0-based and half-open. Errors are
    substitutions, insertions and deletions in equal parts.

    Parameters
    ----------
    folder : Path
        Is there.
    length : int
        Bases of a chromosome.
    reads, read_length : int
        Of each chromosome; the mean length of a read.
    error_rate : float
        Errors a base.
    repeats : float
        Share of a chromosome that lies in copies, of which a tenth of the bases differs.

    Raises
    ------
    ValueError
        In one line, for an option that makes no sense.
    """
    if min(chromosomes, length, reads, read_length) < 1:
        raise ValueError("expected at least one chromosome, base and read")
    if not (0 <= error_rate < 1 and 0 <= repeats < 1):
        raise ValueError("expected error_rate and repeats from 0 to less than 1")
    if length < 4 * read_length:
        raise ValueError(f"expected a length of at least four reads, got {length}")
    for number in range(1, chromosomes + 1):
        rng = np.random.default_rng([seed, number])
        name, bases = f"chr{number}", _chromosome(rng, length, repeats)
        rows = [bases[at : at + 80] for at in range(0, length, 80)]
        text = b"".join(_LETTERS[row].tobytes() + b"\n" for row in rows)
        (folder / f"{name}.fa").write_bytes(f">{name}\n".encode() + text)
        with (folder / f"reads{number}.fq").open("wb") as file:
            for place in range(reads):
                size = int(np.clip(rng.gamma(4, read_length / 4), 100, length // 2))
                start = int(rng.integers(length - size))
                strand = "+-"[int(rng.integers(2))]
                read = bases[start : start + size]
                read = read if strand == "+" else _COMPLEMENT[read[::-1]]
                title = f"@read{place}:{name}:{start}-{start + size}:{strand}\n"
                file.write(title.encode() + _fastq(rng, _with_errors(rng, read, error_rate)))


def _chromosome(rng: np.random.Generator, length: int, repeats: float) -> Bases:
    """Return random bases, partly copies of each other."""
    bases = rng.integers(4, size=length, dtype=np.uint8)
    copied = 0
    while copied < repeats * length:
        size = int(rng.integers(500, 5000)) % (length // 2) + 1
        origin, target = (int(at) for at in rng.integers(length - size, size=2))
        copy = bases[origin : origin + size].copy()
        differs = rng.random(size) < 0.1
        copy[differs] = rng.integers(4, size=int(differs.sum()), dtype=np.uint8)
        bases[target : target + size] = copy
        copied += size
    return bases


def _with_errors(rng: np.random.Generator, read: Bases, rate: float) -> Bases:
    kinds = rng.random(read.size) / max(rate, 1e-12)  # below 1/3, 2/3, 1: what goes wrong
    changed = np.where(kinds < 1 / 3, (read + rng.integers(1, 4, read.size)) % 4, read)
    kept = (kinds < 1 / 3) | (kinds >= 2 / 3)
    changed, inserts = changed[kept].astype(np.uint8), np.flatnonzero(kinds[kept] < 1)
    inserts = inserts[kinds[kept][inserts] >= 2 / 3]
    return np.insert(changed, inserts, rng.integers(4, size=inserts.size, dtype=np.uint8))


def _fastq(rng: np.random.Generator, read: Bases) -> bytes:
    quality = np.clip(rng.normal(12, 4, read.size), 1, 40).astype(np.uint8) + 33
    return _LETTERS[read].tobytes() + b"\n+\n" + quality.tobytes() + b"\n"
