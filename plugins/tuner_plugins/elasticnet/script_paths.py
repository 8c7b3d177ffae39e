"""What the paths on the command line of ``fit_elasticnet.py`` must be."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

from tuner.export.outputs import resolved
from tuner_plugins.perturbseq.data.stored import CellsError

ANALYSED = "analysis.h5ad"
"""What the analysis writes into its folder, beside tables, figures and a report."""


def require_paths(arguments: argparse.Namespace) -> None:
    """Raise `CellsError` for files that cannot be read or written, or would overwrite another."""
    _require_file("-i", arguments.input, "an .h5ad file")
    if arguments.gene_sets is not None:
        if arguments.analyse is None:
            raise CellsError("--gene-sets is for --analyse FOLDER, which is not given; give both")
        _require_file("--gene-sets", arguments.gene_sets, "a file in the GMT format")
    _require_output(arguments.output)
    folder: Path | None = arguments.analyse
    if folder is not None and folder.exists() and not folder.is_dir():
        raise CellsError(f"--analyse: {folder} is a file; expected a folder, which may be new")
    taken = {"-i": arguments.input, "--gene-sets": arguments.gene_sets}
    for name, path in (("-o", arguments.output), ("--analyse", folder and folder / ANALYSED)):
        for other, used in taken.items():
            if path is not None and used is not None and _same(path, used):
                raise CellsError(
                    f"{name}: {path} is the file that {other} names, and would overwrite it; "
                    "name another"
                )
        taken[name] = path


def _require_file(option: str, path: Path, expected: str) -> None:
    if path.is_dir():
        raise CellsError(f"{option}: {path} is a folder; expected {expected}")
    if not path.is_file():
        raise CellsError(f"{option}: no such file: {path}")


def _require_output(path: Path) -> None:
    if path.suffix not in (".h5ad", ".parquet", ".csv"):
        raise CellsError(f"-o: {path} must end in .h5ad, .parquet or .csv")
    if path.is_dir():
        raise CellsError(f"-o: {path} is a folder; expected a file")
    if path.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise CellsError(
            "-o: .parquet needs the package pyarrow; install it, or write .h5ad or .csv"
        )
    try:
        folder = resolved(path).parent
    except OSError:
        raise CellsError(f"-o: {path} is a circle of links; name a file") from None
    if not path.exists() and not folder.is_dir():
        raise CellsError(f"-o: no such folder: {folder}; make it first")


def _same(one: Path, other: Path) -> bool:
    """Return whether two paths lead to one file, by links of either kind as well."""
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()
