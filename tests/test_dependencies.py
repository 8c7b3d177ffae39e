"""What is imported is declared, by the extra that needs it; what is declared is imported."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomllib

ROOT = Path(__file__).parents[1]
SOURCES = {"tuner": ROOT / "tuner", "tuner_plugins": ROOT / "plugins" / "tuner_plugins"}
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]

DISTRIBUTIONS = {
    "dask_jobqueue": "dask-jobqueue",
    "optuna_dashboard": "optuna-dashboard",
    "sklearn": "scikit-learn",
    "umap": "umap-learn",
    "yaml": "pyyaml",
}
"""Modules that are called otherwise than what is installed; case aside."""

NOT_IMPORTED = {
    "cmaes": "Optuna's sampler of that name imports it",
    "pyarrow": "pandas writes .parquet with it",
}
NOT_DECLARED = {
    ("tuner", "pytest"): "tuner.testing is for the tests of plug-ins",
    ("tuner", "ipython"): "tuner.report.notebook is for the kernel of a notebook, which has it",
}

EXTRAS = {
    "tuner": ("dashboard", "dask"),
    "tuner_plugins.native": (),
    "tuner_plugins.genome_tables": (),
    "tuner_plugins.function": (),
    "tuner_plugins.command": (),
    "tuner_plugins.nmf": ("nmf",),
    "tuner_plugins.elasticnet": ("elasticnet",),
    "tuner_plugins.enet": ("elasticnet",),
    "tuner_plugins.perturbseq": ("elasticnet", "perturbseq", "leiden"),
}


def declared(*extras: str) -> set[str]:
    optional = PROJECT["optional-dependencies"]
    texts = PROJECT["dependencies"] + [text for extra in extras for text in optional[extra]]
    names = (re.match(r"[\w.-]+", text)[0].lower() for text in texts)
    return {name for name in names if name != PROJECT["name"]}


def imported(path: Path, *, at_load: bool = False) -> Iterator[str]:
    """Yield the modules that a file imports, or what it imports as soon as it is loaded."""
    tree = ast.parse(path.read_text())
    for node in tree.body if at_load else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def distributions(modules: Iterator[str]) -> set[str]:
    tops = {module.partition(".")[0] for module in modules}
    own = {*SOURCES, "tests", "benchmarks", *sys.stdlib_module_names}
    return {DISTRIBUTIONS.get(top, top).lower() for top in tops - own}


def file_of(module: str) -> Path | None:
    top, *rest = module.split(".")
    if top not in SOURCES:
        return None
    path = SOURCES[top].joinpath(*rest)
    found = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return found if found.is_file() else None


def files_loaded_with(module: str) -> set[Path]:
    files: set[Path] = set()
    rest = [module]
    while rest:
        path = file_of(rest.pop())
        if path is not None and path not in files:
            files.add(path)
            rest += imported(path, at_load=True)
    return files


def test_every_package_is_looked_at() -> None:
    folders = {path.parent.name for path in SOURCES["tuner_plugins"].glob("*/__init__.py")}
    assert {f"tuner_plugins.{name}" for name in folders} | {"tuner"} == set(EXTRAS)


@pytest.mark.parametrize("package", EXTRAS)
def test_every_import_is_declared_where_it_is_needed(package: str) -> None:
    known = declared(*EXTRAS[package])
    for path in sorted(file_of(package).parent.rglob("*.py")):
        rest = distributions(imported(path)) - known
        assert {name for name in rest if (package, name) not in NOT_DECLARED} == set(), path


@pytest.mark.parametrize("group", ["tuner.plugins", "tuner.simulators", "tuner.executors"])
def test_an_entry_names_the_extra_that_it_loads_with(group: str) -> None:
    for value in PROJECT["entry-points"][group].values():
        module, extra = re.fullmatch(r"([\w.]+):\w+(?: \[(\w+)\])?", value).groups()
        files = files_loaded_with(module)
        assert files
        loaded = set().union(*(distributions(imported(path, at_load=True)) for path in files))
        assert loaded <= declared(*filter(None, [extra])), value


def test_the_plugin_contract_imports_nothing_heavy() -> None:
    """Import-linter sees its imports for types as well, and is told to pass over them."""
    contracts = PYPROJECT["tool"]["importlinter"]["contracts"]
    (contract,) = (c for c in contracts if c.get("source_modules") == ["tuner.plugin"])
    files = sorted(file_of("tuner.plugin").parent.glob("*.py"))
    names = set().union(*(imported(path, at_load=True) for path in files))
    loaded = {name.partition(".")[0] for name in names}
    assert loaded & set(contract["forbidden_modules"]) == set()
    ignored = {tuple(text.split(" -> ")) for text in contract["ignore_imports"]}
    assert {source for source, _ in ignored} == {"tuner.plugin"}


def test_every_dependency_is_imported() -> None:
    used = set().union(
        *(distributions(imported(p)) for root in SOURCES.values() for p in root.rglob("*.py"))
    )
    assert declared("nmf", "elasticnet", "perturbseq", "leiden", "dask") - used == set(NOT_IMPORTED)


def test_every_import_of_a_test_is_declared() -> None:
    known = declared(*PROJECT["optional-dependencies"]) | {"tuner_toy", "parabola"}
    for path in sorted((ROOT / "tests").rglob("*.py")):
        assert distributions(imported(path)) <= known, path
