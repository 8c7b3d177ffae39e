"""What a result came from: versions, data fingerprint, commit."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("tuner", "optuna", "mlflow", "numpy", "scipy", "pandas")
OPTIONAL = ("numba", "scikit-learn", "pyBigWig", "anndata", "scanpy", "statsmodels")


def versions() -> dict[str, str]:
    """Return Python's version and those of the packages that matter to a result, if installed."""
    found = {"python": platform.python_version()}
    for package in (*PACKAGES, *OPTIONAL):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def fingerprint(paths: Iterable[Path]) -> str:
    """Return the SHA-256 over the names and contents of files; a folder counts as its files."""
    digest = hashlib.sha256()
    for path in _files(paths):
        digest.update(os.fsencode(path.name) + b"\0")
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def git_commit(folder: Path) -> str | None:
    """Return the git commit of `folder`, with "-dirty" behind it; None outside a checkout."""
    head = _git(folder, ["rev-parse", "HEAD"])
    if head is None:
        return None
    return head + ("-dirty" if _git(folder, ["status", "--porcelain"]) else "")


def _files(paths: Iterable[Path]) -> Sequence[Path]:
    files: list[Path] = []
    for path in paths:
        files += sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return files


def _git(folder: Path, arguments: list[str]) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            check=True,
            timeout=10,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
