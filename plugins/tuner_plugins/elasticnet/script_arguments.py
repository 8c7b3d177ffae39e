"""The command line of ``fit_elasticnet.py``: its options, and what their paths must be."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuner.export.outputs import resolved
from tuner_plugins.perturbseq.data.forms import is_zarr
from tuner_plugins.perturbseq.data.stored import CellsError
from tuner_plugins.perturbseq.data.texts import is_mtx

ANALYSED = "analysis.h5ad"
"""What the analysis writes into its folder, beside tables, figures and a report."""


class _ArgumentParser(argparse.ArgumentParser):
    """Answers a wrong command line in one line."""

    def error(self, message: str) -> Any:
        raise CellsError(f"{message}; see --help")


def arguments_of(given: Sequence[str] | None, setting: Mapping[str, Any]) -> argparse.Namespace:
    """Return the command line's arguments; `setting` is named in the help.

    Raises
    ------
    CellsError
        A wrong command line, or files that cannot be read or written.
    """
    parser = _ArgumentParser(
        description="Fit an elastic net of each gene on perturbations and covariates, "
        f"alpha {setting.get('alpha')}, l1_ratio {setting.get('l1_ratio')}.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "-i",
        "--input",
        required=True,
        type=Path,
        nargs="+",
        metavar="DATA.h5ad",
        help="counts: .h5ad, .zarr, .h5mu, .loom, 10x .h5, or .mtx; several files are joined",
    )
    parser.add_argument(
        "--cells",
        type=Path,
        nargs="+",
        default=[],
        metavar="TABLE",
        help="tables with further columns of obs: one, or one for each file of counts",
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        type=Path,
        metavar="COEF",
        help="coefficients, one row a gene: .h5ad, .parquet or .csv",
    )
    parser.add_argument(
        "--analyse",
        type=Path,
        metavar="FOLDER",
        help="go on to programs, modules, significance, enrichment and a report in this folder; "
        "needs tunefreeze[perturbseq] to be installed",
    )
    parser.add_argument(
        "--gene-sets", type=Path, metavar="GMT", help="for --analyse, in place of the frozen one"
    )
    arguments = parser.parse_args(given)
    _require_paths(arguments)
    return arguments


def _require_paths(arguments: argparse.Namespace) -> None:
    """Raise `CellsError` for files that cannot be read or written, or would overwrite another."""
    for path in arguments.input:
        if not is_zarr(path) and not (path.is_dir() and is_mtx(path)):
            _require_file("-i", path, "an .h5ad file, a .zarr store or a folder with matrix.mtx")
    for path in arguments.cells:
        _require_file("--cells", path, "a table of cells")
    if arguments.gene_sets is not None:
        if arguments.analyse is None:
            raise CellsError("--gene-sets is for --analyse FOLDER, which is not given; give both")
        _require_file("--gene-sets", arguments.gene_sets, "a file in the GMT format")
    _require_output(arguments.output)
    folder: Path | None = arguments.analyse
    if folder is not None and folder.exists() and not folder.is_dir():
        raise CellsError(f"--analyse: {folder} is a file; expected a folder, which may be new")
    taken: list[tuple[str, Path | None]] = [("--gene-sets", arguments.gene_sets)]
    taken += [("-i", path) for path in arguments.input]
    taken += [("--cells", path) for path in arguments.cells]
    for name, path in (("-o", arguments.output), ("--analyse", folder and folder / ANALYSED)):
        for other, used in taken:
            if path is not None and used is not None and _same(path, used):
                raise CellsError(
                    f"{name}: {path} is the file that {other} names, and would overwrite it; "
                    "name another"
                )
        taken.append((name, path))


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
