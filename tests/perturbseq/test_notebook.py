"""The notebook of the documentation runs from top to bottom and shows what it says."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.filterwarnings("ignore")  # of what the kernel's client is made of
NOTEBOOK = Path(__file__).parents[2] / "docs" / "perturbseq.ipynb"
PLOTS = ("umap", "surface", "volcano", "coefficients", "clustermap", "dotplot", "enrichment")


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Return source and outputs of each cell of code."""
    patch = pytest.MonkeyPatch()
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):  # not the user's
        patch.setenv(name, str(tmp_path_factory.mktemp("jupyter")))
    book = nbformat.read(NOTEBOOK, as_version=4)
    folder = {"metadata": {"path": str(tmp_path_factory.mktemp("folder"))}}
    NotebookClient(book, timeout=250, resources=folder).execute()
    patch.undo()
    return [(cell.source, cell.outputs) for cell in book.cells if cell.cell_type == "code"]


def test_every_plot_is_shown(executed):
    drawing = [(source, outputs) for source, outputs in executed if "ps.pl." in source]
    sources = "".join(source for source, _ in drawing)
    assert all(f"ps.pl.{name}(" in sources for name in PLOTS)
    for source, outputs in drawing:
        images = [o for o in outputs if "image/png" in o.get("data", {})]
        assert len(images) == source.count("ps.pl."), source


def test_it_finds_what_was_planted(executed):
    (text,) = (
        output["data"]["text/plain"]
        for source, outputs in executed
        if 'found[found["set"]' in source
        for output in outputs
    )
    rows = [line.split()[1:3] for line in text.splitlines()]
    programs = {row[0]: row[1] for row in rows if row[0] in ("P0", "P1", "P2")}
    assert sorted(programs.values()) == ["PLANTED_P0", "PLANTED_P1", "PLANTED_P2"]


def test_it_is_kept_without_outputs():
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        assert not cell.get("outputs"), "run it elsewhere: outputs name paths of a machine"
