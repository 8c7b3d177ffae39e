"""Compile the quick library that exported scripts carry: for any x86-64 Linux with glibc."""

from __future__ import annotations

import binascii
import contextlib
import functools
import json
import os
import subprocess
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from tuner_plugins.kernel_folder import digest_of, is_ours, keep_file, kernel_folders
from tuner_plugins.native import machine
from tuner_plugins.native.compile import compile_library
from tuner_plugins.nmf.kernels import build
from tuner_plugins.nmf.kernels.carried import machine_name, unpack
from tuner_plugins.nmf.kernels.sources import KERNEL_FILES

TARGET = "Linux x86_64 glibc"

PORTABLE = ("-march=x86-64", "-mtune=generic", "-DANY_GLIBC", "-s")
"""No -march=native: the library goes to other machines. One code for each kind of processor
(``target_clones``) gained less than 3 % of a run. -s: without names that only a debugger reads."""

_COLUMNS = 96


def why_not() -> str:
    """Return why no library can be carried by scripts that are made here; empty where one can."""
    if os.environ.get("TUNER_NATIVE", "1") == "0":
        return "TUNER_NATIVE=0 forbids compiled kernels"
    if machine_name() != TARGET:
        return f"this is no {TARGET}"
    return "there is no C compiler here" if machine.find_compiler() is None else ""


@functools.lru_cache(maxsize=1)
def make_carried() -> Mapping[str, str]:
    """Return what `carried.CARRIED` is in a script made here; empty where it cannot be made."""
    compiler = machine.find_compiler()
    if compiler is None or why_not():
        return {}
    parts, flags = build.kernel_parts(quick=True)
    command = [*compiler, *flags, *PORTABLE]
    name = f"carried-{machine.compiled_digest(KERNEL_FILES, parts, command)}.json"
    for folder in kernel_folders():
        if found := _read_kept(Path(folder, name)):
            return found
    content = _compile(parts, command)
    if not content:
        return {}
    packed = binascii.b2a_base64(zlib.compress(content, 9), newline=False).decode()
    lines = [packed[at : at + _COLUMNS] for at in range(0, len(packed), _COLUMNS)]
    made = {
        "machine": machine_name(),
        "compiler": _version(compiler),
        "flags": " ".join((*flags, *PORTABLE)),
        "source": build.source_digest(),
        "digest": digest_of(content),
        "library": "\n".join(["", *lines, ""]),
    }
    for folder in kernel_folders()[-1:]:
        with contextlib.suppress(OSError):  # it is made anew where it cannot be kept
            keep_file(os.path.join(folder, name), json.dumps(made).encode())
    return made


def _read_kept(path: Path) -> Mapping[str, str]:
    """Return what was made before; empty where there is none, or it is damaged or not ours."""
    try:
        if not is_ours(path.stat()):
            return {}
        made: Mapping[str, str] = json.loads(path.read_bytes())
        return made if digest_of(unpack(made["library"])) == made["digest"] else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _compile(parts: build.Parts, command: Sequence[str]) -> bytes:
    """Return the library; empty where it cannot be compiled."""
    with tempfile.TemporaryDirectory(prefix="tuner-kernels-") as folder:
        path = os.path.join(folder, "kernels.so")
        made = compile_library(KERNEL_FILES, parts, command, [[]], path)
        return Path(path).read_bytes() if made is not None else b""


def _version(compiler: Sequence[str]) -> str:
    done = subprocess.run([*compiler, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0].strip() or os.path.basename(compiler[0])
