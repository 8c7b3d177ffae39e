from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tuner_plugins.enet import sweep

from tests.enet.designs import simulate

ROOT = Path(__file__).resolve().parents[2]
ALPHAS, RATIOS = [0.1, 0.01, 0.001], [0.0, 0.5, 1.0]
CODE = """
import json
from tests.enet.test_processors import figures
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processor", "features"),
    # nothing but SSE2; AVX2 with half as long registers; AVX-512 without fused products
    [("generic", ""), ("haswell", "+avx2,+fma"), ("skylake-avx512", "-fma")],
)
def test_any_processor_gives_the_same(tmp_path, processor, features):
    """The kernels are written for AVX-512; elsewhere LLVM has to split their vectors."""
    settings = {
        "NUMBA_CPU_NAME": processor,
        "NUMBA_CPU_FEATURES": features,
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(
        command, env={**os.environ, **settings}, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    theirs, ours = json.loads(done.stdout), figures()
    for name, mine in ours.items():
        other = theirs[name]
        assert other["kkt"] <= 1e-9
        np.testing.assert_allclose(other["r2"], mine["r2"], atol=1e-9)
        np.testing.assert_allclose(other["coef"], mine["coef"], atol=1e-9)
