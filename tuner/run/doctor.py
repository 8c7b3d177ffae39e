"""What this machine has of what studies and scripts need, and how to get what is missing."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import psutil

from tuner.config.addresses import masked
from tuner.config.reach import why_unreachable, why_unwritable
from tuner.export.provenance import DISTRIBUTION, versions
from tuner.measure.stopwatch import machine, tells_waiting
from tuner.plugin.registry import extras_lacking
from tuner.run.check import DEFAULT_URI
from tuner.tracking.mlflow_uri import sqlite_path

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
COMPILERS = ("cc", "gcc", "clang")
SCRATCH = 2 * 10**9
"""Bytes of disk below which a study may run out of room."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    topic, text : str
        What it is, and what was found.
    remedy : str
        What to do; empty where nothing is missing.
    """

    topic: str
    text: str
    remedy: str = ""


def look() -> Iterator[Finding]:
    """Yield what was found, a line each; nothing is written, no plug-in is imported."""
    found = versions()
    where = Path(str(distribution(DISTRIBUTION).locate_file("")))
    yield Finding("tuner", f"{found.pop('tuner')} (package {DISTRIBUTION}), in {where}")
    yield Finding("python", f"{found.pop('python')}, {sys.executable}, on {platform.platform()}")
    yield Finding("packages", ", ".join(f"{name} {version}" for name, version in found.items()))
    for extra, missing in extras_lacking(DISTRIBUTION).items():
        remedy = f'pip install "{DISTRIBUTION}[{extra}]"' if missing else ""
        text = f"lacks {', '.join(missing)}" if missing else "all packages are here"
        yield Finding(f"extra {extra}", text, remedy)
    yield from _machine()
    yield from _compiler()
    yield from _stores()


def _machine() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = psutil.virtual_memory()
    yield Finding(
        "machine",
        f"{machine()}, {cores} for this process; {memory.available / 1e9:.1f} of "
        f"{memory.total / 1e9:.1f} GB of memory free",
    )
    threads = ", ".join(f"{name}={os.environ[name]}" for name in THREADS if name in os.environ)
    yield Finding("threads", f"{threads or 'no variable is set'}; a worker has limits.threads (1)")
    told = tells_waiting()
    yield Finding(
        "clock",
        "the kernel says what others take of a time" if told else "what others take is estimated",
        "" if told else "keep the machine quiet while a study runs",
    )
    free = shutil.disk_usage(".").free
    trouble = why_unwritable(Path("out"))
    text = f"{free / 1e9:.1f} GB free here" + (f"; {trouble}" if trouble else "")
    lacking = trouble or (free < SCRATCH and "free some room, or run in another folder")
    yield Finding("disk", text, "run in another folder" if trouble else str(lacking or ""))


def _compiler() -> Iterator[Finding]:
    named = os.environ.get("CC", "").split()[:1]
    path = next(filter(None, map(shutil.which, [*named, *COMPILERS])), None)
    if path is None:
        yield Finding(
            "compiler",
            "none: kernels run in Python and NumPy, many times slower",
            "install one: apt install gcc, conda install c-compiler, or xcode-select --install",
        )
        return
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20)
        told = (done.stdout.splitlines() or ["says no version"])[0]
    except (OSError, subprocess.TimeoutExpired) as error:
        told = f"does not run: {error}"
    yield Finding("compiler", f"{path}: {told}")


def _stores() -> Iterator[Finding]:
    storage = Path("tuner.db")
    yield Finding(
        "storage",
        f"{storage} with studies: tuner studies" if storage.exists() else f"no {storage} here yet",
    )
    variable = os.environ.get("MLFLOW_TRACKING_URI")
    uri = variable or DEFAULT_URI
    path = sqlite_path(uri)
    trouble = why_unwritable(path.parent) if path is not None else why_unreachable(uri)
    text = masked(uri) + (" (MLFLOW_TRACKING_URI)" if variable else "")
    if trouble:
        remedy = (
            "until it answers trials are kept in out/unsent; tracking.enabled: false needs none"
        )
        yield Finding("tracking", f"{text}: {trouble}", remedy)
    else:
        state = "is here" if path is None or path.exists() else "will be made by the first run"
        yield Finding("tracking", f"{text} {state}")
