"""What a result came from: versions, data fingerprint, commit, time; the head of a script."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tuner.plugin import Provenance

DISTRIBUTION = "tunefreeze"
"""What is installed: `tuner` is another program's name on PyPI."""

PACKAGES = (
    *(DISTRIBUTION, "optuna", "mlflow", "numpy", "scipy", "pandas"),
    *("numba", "scikit-learn", "pyBigWig", "anndata", "scanpy", "statsmodels"),
)


def versions() -> dict[str, str]:
    """Return Python's version and those of the packages that matter to a result, if installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found["tuner" if package == DISTRIBUTION else package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def file_digests(paths: Iterable[Path]) -> list[tuple[Path, bytes]]:
    """Return input files and the SHA-256 of each one's content; a folder counts as its files."""
    found = []
    for path in _files(paths):
        with path.open("rb") as stream:
            found.append((path, hashlib.file_digest(stream, "sha256").digest()))
    return found


def fingerprint(files: Sequence[tuple[Path, bytes]]) -> str:
    """Return the SHA-256 over the names and contents of files, from `file_digests`."""
    digest = hashlib.sha256()
    for path, content in files:
        digest.update(os.fsencode(path.name) + b"\0")
        digest.update(content)
    return digest.hexdigest()


def named_digests(files: Sequence[tuple[Path, bytes]]) -> dict[str, str]:
    """Return name to the head of its digest; the whole path where a name comes twice."""
    names = Counter(path.name for path, _ in files)
    return {
        (path.name if names[path.name] == 1 else str(path)): content.hex()[:12]
        for path, content in files
    }


def git_commit(folder: Path) -> str | None:
    """Return the git commit of `folder`, with "-dirty" behind it; None outside a checkout."""
    head = _git(folder, ["rev-parse", "HEAD"])
    if head is None:
        return None
    return head + ("-dirty" if _git(folder, ["status", "--porcelain"]) else "")


def stamp() -> str:
    """Return the time in UTC as ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def provenance_head(summary: str, params: Mapping[str, object], provenance: Provenance) -> str:
    """Return a docstring that says what a script does and where its setting comes from."""
    lines = [
        summary,
        "",
        f"Study:    {provenance.study}"
        + (f", trial {provenance.trial}" if provenance.trial is not None else "")
        + (f" ({provenance.choice})" if provenance.choice else ""),
        "Metrics:  " + ", ".join(f"{k} = {v:.6g}" for k, v in provenance.metrics.items()),
        "Setting:  " + json.dumps(dict(params)),
        "Versions: " + ", ".join(f"{k} {v}" for k, v in provenance.versions.items()),
        f"Data:     sha256 {provenance.fingerprint}",
        f"Created:  {provenance.created}",
    ]
    return "\n".join(lines)


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
