"""The C kernels as sources, and what is done without them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tuner_plugins.enet import kernels, sweep
from tuner_plugins.native.machine import find_compiler

from tests.enet.designs import needs_compiler, simulate

FOLDER = Path(kernels.__file__).parent


@pytest.mark.parametrize("multiplicity", [1, 3])
@pytest.mark.parametrize("sparse", [False, True])
def test_without_a_compiler_numpy_gives_the_same(monkeypatch, multiplicity, sparse):
    import scipy.sparse as sp

    p = simulate(7, multiplicity=multiplicity)
    Y = sp.csr_array(np.where(p.Y > 0.5, p.Y, 0.0)) if sparse else p.Y
    grid = ([0.3, 0.02], [0.0, 0.5, 1.0], p.folds)
    compiled = sweep(p.X, Y, *grid)
    monkeypatch.setattr(kernels, "load", lambda: None)
    plain = sweep(p.X, Y, *grid, threads=2)
    assert plain.kkt <= 1e-9
    np.testing.assert_allclose(plain.r2_genes, compiled.r2_genes, atol=1e-10)
    np.testing.assert_array_equal(plain.nonzeros, compiled.nonzeros)
    np.testing.assert_allclose(plain.coef(0.02, 0.5), compiled.coef(0.02, 0.5), atol=1e-10)


def test_a_process_without_a_compiler_sweeps(tmp_path):
    code = (
        "from tests.enet.test_processors import figures; print(figures()['onehot']['kkt'] < 1e-9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TUNER_NATIVE": "0", "XDG_CACHE_HOME": str(tmp_path)},
        cwd=FOLDER.parents[3],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    assert not list(tmp_path.rglob("*.so"))


@needs_compiler
def test_memory_that_is_not_there_is_an_error():
    problem = kernels.words(*[0] * 10, *[None] * 34)  # of no genes
    counts = np.zeros(2, dtype=np.int64)
    kernels.call("tuner_enet_newton", problem, 0, 0, counts)
    huge = kernels.words(0, 2**56, *[0] * 8, *[None] * 34)
    with pytest.raises(MemoryError, match="tuner_enet_newton"):
        kernels.call("tuner_enet_newton", huge, 0, 1, counts)


def test_every_source_is_compiled():
    compiled = [name for part in kernels.PARTS for name in part]
    assert sorted(compiled) == sorted(name for name in kernels.FILES if name.endswith(".c"))


@needs_compiler
@pytest.mark.parametrize("name", sorted(kernels.FILES))
def test_each_file_compiles_alone_without_a_warning(name, tmp_path):
    """Headers may come twice; for any processor and for wide ones."""
    source = tmp_path / "source.c"
    source.write_text(f'#include "{FOLDER / name}"\n' * (2 if name.endswith(".h") else 1))
    variants = [[], ["-march=native"]]
    if os.uname().machine == "x86_64":
        variants += [["-march=sandybridge"], ["-march=haswell"], ["-march=skylake-avx512"]]
    for extra in variants:
        words = [*find_compiler(), "-fsyntax-only", *kernels.FLAGS, *extra, "-Wall", "-Wextra"]
        words.append("-Wno-unused-function")
        done = subprocess.run([*words, source], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
