"""Compile C sources into a shared library. Standard library only: a script carries it as text.

`subprocess` and `tempfile` are imported where something is compiled: a script that opens a library
of before takes less time than they do.
"""

from __future__ import annotations

import ctypes
import os

TYPE_CHECKING = False  # as in machine.py
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Targets = Sequence[Sequence[str]]
    """Flags to try, in turn, until the compiler takes them."""

    Parts = Sequence[Sequence[str]]
    """Names of files that go through one compiler; the parts are compiled side by side."""

COMPILE_SECONDS = 120


def compile_library(
    files: Mapping[str, str], parts: Parts, compiler: Sequence[str], targets: Targets, path: str
) -> ctypes.CDLL | None:
    """Compile to a temporary name, open, then rename to `path`: two first runs cannot clash."""
    import subprocess
    import tempfile

    try:
        with tempfile.TemporaryDirectory(suffix=".partial", dir=os.path.dirname(path)) as partial:
            library = os.path.join(partial, "kernels.so")
            _write_files(files, partial)
            for target in targets:
                command = [*compiler, *target]
                objects = _compile_parts(parts, command, partial)
                if objects and not subprocess.call(
                    [*command, "-shared", *objects, "-o", library, "-lm"],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    timeout=COMPILE_SECONDS,
                ):
                    os.chmod(library, 0o700)
                    opened = ctypes.CDLL(library)
                    os.replace(library, path)
                    return opened
    except (OSError, subprocess.TimeoutExpired):  # no program, no library, or no end
        return None
    return None


def compile_private(
    files: Mapping[str, str], parts: Parts, compiler: Sequence[str], targets: Targets, name: str
) -> ctypes.CDLL | None:
    """Compile for this process alone: the cache folder is absent, read-only, full or not ours."""
    import tempfile

    try:
        with tempfile.TemporaryDirectory(prefix="tuner-kernels-") as folder:
            return compile_library(files, parts, compiler, targets, os.path.join(folder, name))
    except OSError:
        return None


def _write_files(files: Mapping[str, str], folder: str) -> None:
    for name, text in files.items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


def _compile_parts(parts: Parts, command: Sequence[str], folder: str) -> list[str]:
    """Compile each into an object file, all at once; return their paths, or none if one failed."""
    import subprocess

    objects, running = [], []
    try:
        for number, names in enumerate(parts):
            stem = os.path.join(folder, f"part{number}")
            with open(f"{stem}.c", "w", encoding="utf-8") as file:
                file.writelines(f'#include "{name}"\n' for name in names)
            words = [*command, "-c", f"{stem}.c", "-o", f"{stem}.o"]
            nothing = subprocess.DEVNULL
            running.append(subprocess.Popen(words, stdin=nothing, stdout=nothing, stderr=nothing))
            objects.append(f"{stem}.o")
        codes = [process.wait(COMPILE_SECONDS) for process in running]
        return [] if any(codes) else objects
    finally:
        for process in running:
            process.kill()
            process.wait()
