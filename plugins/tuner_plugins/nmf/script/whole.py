"""The stand-alone script over several chromosomes: which ones, and where their loadings go."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner_plugins.nmf.genome import (
    Chosen,
    Receive,
    factorize_genome,
)
from tuner_plugins.nmf.model.factorize import Loadings
from tuner_plugins.nmf.script.browser import browser_files
from tuner_plugins.nmf.script.npy import output_problem, save_loadings
from tuner_plugins.nmf.script.placing import BROWSER_ENDINGS


def array_names(path: str, chroms: Sequence[str]) -> dict[str, str]:
    """Return the file of each chromosome: ``x.npy`` is ``x.chr1.npy`` and so on.

    Raises
    ------
    OSError
        Where one of them cannot be written, or the chromosome's name is no part of a file's name.
    """
    stem, ending = os.path.splitext(path)
    names = {chrom: f"{stem}.{chrom}{ending}" for chrom in chroms}
    for chrom, name in names.items():
        if os.path.basename(name) != os.path.basename(stem) + f".{chrom}{ending}" or "\0" in chrom:
            raise OSError(
                f"-o: {chrom!r} is no part of a file's name; leave it out (--chroms), or write "
                "bigWig files (-o x.bw)"
            )
        if problem := output_problem(name):
            raise OSError(f"-o: {problem}")
    return names


def write_genome(
    chosen: Chosen, k: int, setting: Mapping[str, Any], out: str
) -> tuple[NDArray[np.float64], bool]:
    """Factorise several chromosomes at once, and write the loadings of each as they come.

    Returns
    -------
    weights : ndarray of shape (k, tracks)
    constant : bool
        Whether no loading changes anywhere.
    """
    lengths = {chrom: end for chrom, _, end in chosen.places}
    bounds = []
    files: AbstractContextManager[Receive]
    if out.lower().endswith(BROWSER_ENDINGS):
        files = browser_files(out, k, lengths)
    else:
        names = array_names(out, list(lengths))
        files = nullcontext(
            lambda chrom, _, part: save_loadings(names[chrom], part, setting["dtype"])
        )

    with files as write:

        def receive(chrom: str, start: int, loadings: Loadings) -> None:
            bounds.append((loadings.values.min(axis=1), loadings.values.max(axis=1)))
            write(chrom, start, loadings)

        weights = factorize_genome(chosen.tracks, chosen.places, k, setting, receive)
    low, high = (np.array(each) for each in zip(*bounds, strict=True))
    return weights, bool((low.min(axis=0) == high.max(axis=0)).all())
