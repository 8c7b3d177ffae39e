"""The stand-alone launcher: runs a program with frozen flags on what its options name.

Standard library only. The constants are filled in where the script is written; an option has
``is_file``, and ``default`` where there is one.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

from tuner_plugins.command.template import fill, shell_text, words

COMMAND: Sequence[str] = ()
IS_SHELL = False
FLAGS: Mapping[str, Sequence[str]] = {}
PARAMS: Mapping[str, object] = {}
OPTIONS: Mapping[str, Mapping[str, object]] = {}
INPUTS: Sequence[str] = ()
OUTPUTS: Sequence[str] = ()
ENVIRONMENT: Mapping[str, str] = {}
STDOUT: str | None = None
SUCCESS_FILE: str | None = None
OK_EXIT_CODES: Sequence[int] = (0,)
WORKING_FOLDER: str | None = None


def usage() -> str:
    """Return how the script is called."""
    parts = [os.path.basename(sys.argv[0])]
    for name, option in OPTIONS.items():
        flag = "-o OUTPUT" if name == "output" else f"--{name} {name.upper()}"
        parts.append(f"[{flag}]" if "default" in option else flag)
    return f"usage: {' '.join(parts)}\n"


def read_options(arguments: Sequence[str]) -> dict[str, object]:
    """Return the value of every option: what follows one is its value, whatever it begins with."""
    found = {name: option["default"] for name, option in OPTIONS.items() if "default" in option}
    rest = list(arguments)
    while rest:
        flag = rest.pop(0)
        if flag in ("-h", "--help"):
            sys.stdout.write(f"{usage()}\n{__doc__ or ''}")
            raise SystemExit(0)
        name, equals, value = flag.partition("=")
        name = "output" if name == "-o" else name[2:] if name.startswith("--") else ""
        if name not in OPTIONS:
            raise SystemExit(refuse(f"unknown option '{flag}'"))
        if not equals and not rest:
            raise SystemExit(refuse(f"option '{flag}' needs a value"))
        value = value if equals else rest.pop(0)
        is_path = OPTIONS[name]["is_file"] and value != "-"
        found[name] = os.path.abspath(value) if is_path else value
    lacking = [name for name in OPTIONS if name not in found]
    if lacking:
        raise SystemExit(refuse(f"option '--{lacking[0]}' is missing"))
    return found


def refuse(trouble: str) -> int:
    """Report what is wrong; return the exit code."""
    sys.stderr.write(f"{sys.argv[0]}: {trouble}\n{usage()}")
    return 2


def overwritten(values: Mapping[str, object]) -> str | None:
    """Return the file or folder that is written and read at once; None where there is none."""
    for output, source in itertools.product(OUTPUTS, INPUTS):
        made, read = fill(output, values) or "", fill(source, values) or ""
        lies = os.path.isfile(made) or os.path.isdir(made)  # a device may be both
        if lies and os.path.exists(read) and os.path.samefile(made, read):
            return made
    return None


def call(command: Sequence[str], target: str | None) -> int:
    """Run a command, its standard output into a file; that of before stays where it fails.

    Raises
    ------
    OSError
        The command cannot be started, or the file not be written.
    """
    if target is None:
        return subprocess.call(command, cwd=WORKING_FOLDER)
    place = os.path.realpath(target)
    regular = os.path.isfile(place) or not os.path.exists(place)  # else a device or a pipe
    part = f"{place}.{os.getpid()}.part" if regular else place
    try:
        with open(part, "wb") as stream:
            code = subprocess.call(command, stdout=stream, cwd=WORKING_FOLDER)
        if regular and code in OK_EXIT_CODES:
            os.replace(part, place)
        return code
    finally:
        if regular and os.path.exists(part):
            os.unlink(part)


def main() -> int:
    """Run the program; return its exit code."""
    values = {**PARAMS, "python": sys.executable, **read_options(sys.argv[1:])}
    if same := overwritten(values):
        sys.stderr.write(f"{sys.argv[0]}: '{same}' is an input; give -o another name\n")
        return 2
    if IS_SHELL:
        command = ["/bin/sh", "-c", shell_text(COMMAND[0], FLAGS, values)]
    else:
        command = words(COMMAND, FLAGS, values)
    added = {name: fill(text, values) for name, text in ENVIRONMENT.items()}
    os.environ.update({name: text for name, text in added.items() if text is not None})
    target = fill(STDOUT, values) if STDOUT else None
    try:
        code = call(command, None if target == "-" else target)
    except OSError as error:
        sys.stderr.write(f"{sys.argv[0]}: {error.filename or command[0]}: {error.strerror}\n")
        return 2
    made = fill(SUCCESS_FILE, values) if SUCCESS_FILE else None
    if code in OK_EXIT_CODES and made and not os.path.exists(made):
        sys.stderr.write(f"{sys.argv[0]}: {command[0]} wrote no {made}\n")
        return 1
    return 0 if code in OK_EXIT_CODES else code if code > 0 else 128 - code
