from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tuner_plugins.enet import sweep

from tests.enet.designs import needs_compiler, simulate

ROOT = Path(__file__).resolve().parents[2]
ALPHAS, RATIOS = [0.1, 0.01, 0.001], [0.0, 0.5, 1.0]
CODE = """
import json
from tuner_plugins.enet import kernels
from tuner_plugins.native import build, machine
build.processor = machine.processor = lambda: ""  # no -march=native
kernels.FLAGS += tuple({flags})
from tests.enet.test_processors import figures
assert kernels.load() is not None
print(json.dumps(figures()))
"""


def figures() -> dict[str, object]:
    """Sweep a one-hot and a multi-hot design; return what is found as plain data."""
    found: dict[str, object] = {}
    for name, multiplicity in (("onehot", 1), ("multihot", 3)):
        p = simulate(31, genes=40, multiplicity=multiplicity)
        result = sweep(p.X, p.Y, ALPHAS, RATIOS, p.folds)
        found[name] = {
            "r2": result.r2_genes.tolist(),
            "coef": result.coef(0.01, 0.5).tolist(),
            "kkt": result.kkt,
        }
    return found


@needs_compiler
@pytest.mark.parametrize("flags", ["", "-march=native -mno-fma", "-march=native -mno-avx512f"])
def test_any_processor_gives_the_same(tmp_path, flags):
    """Registers of two, four or eight numbers, with fused products and without."""
    code = CODE.format(flags=flags.split())
    settings = {"XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **settings},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if "-m" in flags and done.returncode:
        pytest.skip("the compiler knows no such flags for this processor")
    assert done.returncode == 0, done.stderr
    theirs, ours = json.loads(done.stdout), figures()
    for name, mine in ours.items():
        other = theirs[name]
        assert other["kkt"] <= 1e-9
        np.testing.assert_allclose(other["r2"], mine["r2"], atol=1e-9)
        np.testing.assert_allclose(other["coef"], mine["coef"], atol=1e-9)
