"""The launcher as a script for any POSIX shell."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from typing import Any

from tuner_plugins.command.template import as_text, is_given, only_name, pieces, shell_text

_HELPERS = """\
usage() { printf 'usage: %s @USAGE@\\n' "${0##*/}"; }
refuse() { printf '%s: %s\\n' "$0" "$1" >&2; usage >&2; exit 2; }
absolute() { case "$1" in -|/*) printf '%s.' "$1";; *) printf '%s/%s.' "$PWD" "$1";; esac; }
apart() {
  { [ -f "$1" ] || [ -d "$1" ]; } && [ "$1" -ef "$2" ] || return 0
  printf "%s: '%s' is an input; give -o another name\\n" "$0" "$1" >&2
  exit 2
}
"""

_INTO = """\
[ "${value_output-}" != - ] || value_output=/dev/stdout
target=@TARGET@ part=
if [ -L "$target" ] || { [ -e "$target" ] && [ ! -f "$target" ]; }; then part=$target; fi
if [ -z "$part" ]; then  # the file of before stays where the program fails
  part=$target.$$.part
  trap 'rm -f -- "$part"' EXIT
fi"""


def shell_launcher(constants: Mapping[str, Any], head: str) -> str:
    """Return the script.

    Parameters
    ----------
    constants : mapping
        Those of `tuner_plugins.command.launcher`.
    head : str
        Comment at its top.
    """
    options, params = constants["OPTIONS"], constants["PARAMS"]
    values = {**params, **dict.fromkeys(options), "python": None}
    known = set(options) | {"python"}

    def quoted(name: str) -> str | None:
        return f'"${{value_{name}}}"' if name in known else None

    lines = ["#!/bin/sh", *(f"# {line}".rstrip() for line in head.splitlines()), "set -eu", ""]
    usage = " ".join(map(_option_usage, options, options.values()))
    lines += [_HELPERS.replace("@USAGE@", usage), "value_python=python3"]
    lines += [
        f"value_{name}={shlex.quote(as_text(option['default']))}"
        for name, option in options.items()
        if "default" in option
    ]
    lines += _parser(options)
    lines += [
        f'[ -n "${{value_{name}+x}}" ] || refuse "option \'--{name}\' is missing"'
        for name in options
    ]
    lines += [
        f"apart {_word(output, values, quoted)} {_word(source, values, quoted)}"
        for output in constants["OUTPUTS"]
        for source in constants["INPUTS"]
    ]
    for name, text in constants["ENVIRONMENT"].items():
        if all(values[part] is not None or part in known for part, _ in pieces(text) if part):
            lines.append(f"{name}={_word(text, values, quoted)}; export {name}")
    if constants["WORKING_FOLDER"]:
        lines.append(f"cd {shlex.quote(constants['WORKING_FOLDER'])}")
    lines += _call(constants, values, quoted)
    return "\n".join(lines) + "\n"


def _option_usage(name: str, option: Mapping[str, object]) -> str:
    flag = "-o OUTPUT" if name == "output" else f"--{name} {name.upper()}"
    return f"[{flag}]" if "default" in option else flag


def _parser(options: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Return the loop over the options: what follows one is its value."""
    lines = ["while [ $# -gt 0 ]; do", '  case "$1" in', "    -h|--help) usage; exit 0;;"]
    for name in options:
        flags = "--output=*|-o=*" if name == "output" else f"--{name}=*"
        lines.append(f"    {flags}) option=--{name} value=${{1#*=}}; shift;;")
    lines += [
        "    *) [ $# -gt 1 ] || refuse \"unknown option, or one without a value: '$1'\"",
        "       option=$1 value=$2; shift 2;;",
        "  esac",
        '  case "$option" in',
    ]
    for name, option in options.items():
        flags = f"--{name}|-o" if name == "output" else f"--{name}"
        taken = '"$value"'
        if option["is_file"]:  # the dot keeps line ends at the end of a name
            taken = f'$(absolute "$value"); value_{name}=${{value_{name}%.}}'
        lines.append(f"    {flags}) value_{name}={taken};;")
    return [*lines, "    *) refuse \"unknown option '$option'\";;", "  esac", "done"]


def _word(template: str, values: Mapping[str, object], quoted: Callable[[str], str | None]) -> str:
    """Return a word for a shell; empty where a value of it is None."""
    parts = list(pieces(template))
    if any(name and values[name] is None and not quoted(name) for name, _ in parts):
        return ""
    texts = (
        quoted(name) or shlex.quote(as_text(values[name])) if name else shlex.quote(text)
        for name, text in parts
    )
    return "".join(texts) or "''"


def _call(
    constants: Mapping[str, Any], values: Mapping[str, object], quoted: Callable[[str], str | None]
) -> list[str]:
    """Return the command and what becomes of its exit code."""
    flags = constants["FLAGS"]
    if constants["IS_SHELL"]:
        text = shell_text(constants["COMMAND"][0], flags, values, quoted)
        command = f"(\nset +eu\n{text}\n)"
    else:
        found = []
        for template in constants["COMMAND"]:
            name = only_name(template) or ""
            wanted = name not in flags or is_given(values[name])
            found += [
                _word(word, values, quoted)
                for word in (flags.get(name, [template]) if wanted else ())
            ]
        command = " ".join(filter(None, found))
    target = constants["STDOUT"]
    lines = [_INTO.replace("@TARGET@", _word(target, values, quoted))] if target else []
    into = ' >"$part"' if target else ""
    lines += ["code=0", f"{command}{into} || code=$?"]
    accepted = "|".join(map(str, constants["OK_EXIT_CODES"]))
    lines.append(f'case "$code" in {accepted}) ;; *) exit "$code";; esac')
    lines += ['[ "$part" = "$target" ] || mv -f -- "$part" "$target"'] if target else []
    if made := constants["SUCCESS_FILE"]:
        word = _word(made, values, quoted)
        lines.append(
            f"[ -e {word} ] || {{ printf '%s: no output %s\\n' \"$0\" {word} >&2; exit 1; }}"
        )
    return lines
