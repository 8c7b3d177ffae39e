"""No path that reads a file of the user's unpickles: a pickle runs what it was told to run."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UNPICKLERS = {"pickle", "cPickle", "_pickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"}
READERS = {"read_pickle", "read_hdf", "unsafe_load", "full_load"}

SPARED = {
    # what a test of its own has just made: whether messages can go over a wire
    "tuner/testing.py": {"pickle"},
    # what came through the pipe to a worker: tests/function/test_pickled.py
    "plugins/tuner_plugins/function/pickled.py": {"cloudpickle"},
    # what this user's Python compiled, in the private folder of kernels: test_code_cache.py
    "plugins/tuner_plugins/code_cache.py": {"marshal"},
}


def unpickling(source: str) -> set[str]:
    """Return what in a module may unpickle."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in UNPICKLERS}
        elif isinstance(node, ast.ImportFrom) and node.module in UNPICKLERS:
            found.add(node.module)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner, name = node.func.value, node.func.attr
            of_numpy = isinstance(owner, ast.Name) and owner.id in ("np", "numpy")
            barred = [
                isinstance(key.value, ast.Constant) and key.value.value is False
                for key in node.keywords
                if key.arg == "allow_pickle"
            ]
            if name in READERS or (of_numpy and name == "load" and barred != [True]):
                found.add(name)
    return found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pickle", {"pickle"}),
        ("from joblib import load", {"joblib"}),
        ("import numpy as np\nnp.load('x.npy')", {"load"}),
        ("import numpy as np\nnp.load('x.npy', allow_pickle=True)", {"load"}),
        ("import numpy as np\nnp.load('x.npy', allow_pickle=False)", set()),
        ("import pandas as pd\npd.read_pickle('x')", {"read_pickle"}),
        ("import json\njson.loads('1')", set()),
    ],
)
def test_what_may_unpickle_is_seen(source, found):
    assert unpickling(source) == found


def test_nothing_that_reads_files_unpickles():
    modules = [*ROOT.glob("tuner/**/*.py"), *ROOT.glob("plugins/**/*.py")]
    assert len(modules) > 100
    found = {
        str(path.relative_to(ROOT)): unpickling(path.read_text(encoding="utf-8"))
        for path in modules
    }
    assert {name: what for name, what in found.items() if what} == SPARED


READING = """
import pickle, sys
from pathlib import Path
import numpy as np
from tuner_plugins.perturbseq.data.matrix import open_cells
from tuner_plugins.perturbseq.programs.enrichment import read_gmt
from tests.perturbseq.data.damage import write_base

def refuse(event, arguments):
    if event == "pickle.find_class":
        raise RuntimeError(f"unpickled {arguments}")

folder = Path(sys.argv[1])
write_base(folder / "screen.h5ad")
(folder / "sets.gmt").write_bytes(pickle.dumps(Path("x")) + b"\\n")
sys.addaudithook(refuse)
try:
    pickle.loads(pickle.dumps(Path("x")))
except RuntimeError:
    print("armed")
list(open_cells(folder / "screen.h5ad").matrix.blocks(np.arange(60)))
try:
    read_gmt(folder / "sets.gmt")
except ValueError:
    print("refused")
"""


def test_reading_a_screen_and_gene_sets_unpickles_nothing(tmp_path):
    found = subprocess.run(
        [sys.executable, "-c", READING, str(tmp_path)], capture_output=True, text=True, cwd=ROOT
    )
    assert found.stdout.split() == ["armed", "refused"], found.stderr
