"""C under the sanitizers: skipped where there are none, never where our own does not compile."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from tuner_plugins.native.machine import find_compiler

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def sanitizing_compiler(folder: Path) -> list[str]:
    """Return the compiler's command; skip where a program that does nothing cannot be watched."""
    compiler = find_compiler()
    if compiler is None:
        pytest.skip("no C compiler here")
    (folder / "nothing.c").write_text("int main(void) { return 0; }\n")
    program = str(folder / "nothing")
    words = [*compiler, *SANITIZERS, str(folder / "nothing.c"), "-o", program]
    if (
        subprocess.run(words, capture_output=True).returncode
        or subprocess.run([program]).returncode
    ):
        pytest.skip("the compiler has no sanitizers")
    return compiler


def compile_watched(words: Sequence[str], targets: Sequence[str]) -> None:
    """Run a compiler's command with the first of `targets` that it knows; fail on an error."""
    for target in targets:
        done = subprocess.run([*words, *filter(None, [target])], capture_output=True, text=True)
        if not done.returncode:
            return
    raise AssertionError(done.stderr[:3000])
