"""What a frozen script did, measured again: for `tuner verify`."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import anndata
import numpy as np

from tuner.plugin import Clocked, Params, RunError
from tuner.plugin.words import how_ended
from tuner_plugins.elasticnet.config import setting_of
from tuner_plugins.elasticnet.reading import available_threads
from tuner_plugins.enet.cross_validation import Problem, cross_validate, refit

APART = 1e-6
"""How far coefficients may be apart: script and plug-in solve to 1e-9, on other processors too."""


def remeasure(command: Sequence[str], problem: Problem, params: Params, table: Path) -> Clocked:
    """Run a script that writes `table`, and cross-validate the penalties that it has used.

    Raises
    ------
    RunError
        Where it fails, these are not those of `params`, or its coefficients are not theirs.
    """
    table.unlink(missing_ok=True)
    command = [sys.executable, *command, str(table)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word on standard error"])[-1]
        raise RunError(f"it ended with {how_ended(done.returncode)}: {last}")
    found = anndata.read_h5ad(table)
    alpha, ratio = (float(found.uns["elasticnet"][name]) for name in ("alpha", "l1_ratio"))
    if (alpha, ratio) != setting_of(params):
        claimed = "alpha {:g}, l1_ratio {:g}".format(*setting_of(params))
        raise RunError(f"it fits alpha {alpha:g}, l1_ratio {ratio:g}; its head says {claimed}")
    expected = refit(problem, alpha, ratio, threads=available_threads()).coef[:, : problem.tested]
    coef = np.asarray(found.X)
    same = coef.shape == expected.shape
    if not same or not np.allclose(coef, expected, rtol=0, atol=APART):
        apart = f"by {np.abs(coef - expected).max():.2g}" if same else "in number"
        raise RunError(
            f"its coefficients differ {apart} from those of alpha {alpha:g}, l1_ratio {ratio:g}"
        )
    wall, cpu = time.perf_counter(), time.process_time()
    sweep = cross_validate(problem, [alpha], [ratio], threads=available_threads())
    return Clocked(sweep, time.perf_counter() - wall, time.process_time() - cpu)
