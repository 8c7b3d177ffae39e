"""Perturb-seq: from counts to designs, programs, significance and a report.

In a notebook: ``import tuner_plugins.perturbseq as ps``, then `ps.pp` prepares an AnnData, `ps.tl`
fits it and goes on to programs and gene sets, `ps.pl` draws (docs/perturbseq.md).

`data` reads a screen: matrix, labels, covariates, responses, folds, statistics. `model` fits it and
its resamples, and makes good for what counts of genes owe to each other (`composition`).
`inference` tests coefficients, programs and the best held-out gain, and learns which cells were
perturbed (`efficacy`). `programs` clusters genes and perturbations, scores programs in cells and
looks them up in gene sets. `report.command.analyse_file` joins them; `report.html.write` writes
the files. `simulate` draws a screen with a known answer.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuner_plugins.perturbseq import pl as pl
    from tuner_plugins.perturbseq import pp as pp
    from tuner_plugins.perturbseq import tl as tl


def __getattr__(name: str) -> Any:
    """Import `pl`, `pp` and `tl` where they are asked for: the plug-in needs none of them."""
    if name not in ("pl", "pp", "tl"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
