"""The launcher, written and checked: run on a tuned case it gives the metrics of the trial."""

from __future__ import annotations

import math
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tuner.export.bundle import bundle
from tuner.export.provenance import provenance_head
from tuner.plugin import Clocked, InputError, Params, Provenance
from tuner_plugins.command import launcher, template
from tuner_plugins.command.config import CommandConfig
from tuner_plugins.command.runs import Output, Runs, require_output
from tuner_plugins.command.shell_launcher import shell_launcher
from tuner_plugins.command.template import names

SUMMARY = "Run {program} with its best flags: {usage}"


def write_launcher(runs: Runs, params: Params, path: Path, provenance: Provenance) -> None:
    """Write the launcher to `path`; one for a POSIX shell where that ends in ``.sh``.

    It is run on the first tuned case whose metrics `provenance` has, and says in its head what
    came out.

    Raises
    ------
    ProgramError
        Where it fails, or gives other metrics than the command does.
    """
    config = runs.config
    constants = _constants(config, params, provenance)
    usage = " ".join(
        [path.name.removeprefix(".").partition(".")[0] + path.suffix, *_usage(constants)]
    )
    head = provenance_head(
        SUMMARY.format(program=config.data.program, usage=usage),
        params,
        provenance,
    )

    def write(head: str) -> None:
        if path.suffix == ".sh":
            text = shell_launcher(constants, head)
        else:
            text = bundle([template, launcher], constants, head, ())
        path.write_text(text, encoding="utf-8")

    write(head)
    for line in _checked(runs, params, path, provenance):
        write(f"{head}\n{line}")


def example(config: CommandConfig) -> list[str]:
    """Return the options of a launcher for the first case."""
    case = config.data.cases[0]
    return [
        word
        for name in _option_names(config)
        if name not in ("seed", "threads")
        for word in (("-o", "OUTPUT") if name == "output" else (f"--{name}", str(case[name])))
    ]


def _constants(config: CommandConfig, params: Params, provenance: Provenance) -> dict[str, Any]:
    data = config.data
    options: dict[str, dict[str, object]] = {}
    for name in _option_names(config):
        is_file = name == "output" or any(
            data.is_file(name, case[name]) for case in data.cases if name in case
        )
        options[name] = {"is_file": is_file}
    for name in ("seed", "threads"):
        if name in options:
            options[name]["default"] = str(getattr(provenance, name))
    files = [f"{{{name}}}" for name in options if name != "output" and options[name]["is_file"]]
    texts = [text for _, text in config.launch]
    files += [text for text in texts if os.path.isabs(text) and os.path.isfile(text)]
    made = [name for text in texts for name in re.findall(r"\{output\}[\w.]*", text)]
    return {
        "COMMAND": list(data.command),
        "IS_SHELL": data.shell,
        "FLAGS": {name: list(words) for name, words in data.flags.items()},
        "PARAMS": dict(params),
        "OPTIONS": options,
        "INPUTS": list(dict.fromkeys(files)),
        "OUTPUTS": list(dict.fromkeys(made if "output" in options else ())),
        "ENVIRONMENT": dict(data.env),
        "STDOUT": data.stdout,
        "SUCCESS_FILE": data.success_file,
        "OK_EXIT_CODES": list(data.ok_exit_codes),
        "WORKING_FOLDER": None if data.workdir is None else str(data.workdir),
    }


def _option_names(config: CommandConfig) -> list[str]:
    """Return what a launcher must be told: what the command line takes of the cases, then ours."""
    used = dict.fromkeys(name for _, text in config.launch for name in names(text))
    keys = [name for name in used if name in config.data.cases[0]]
    return [*keys, *(name for name in ("seed", "threads", "output") if name in used)]


def _usage(constants: Mapping[str, Any]) -> Iterator[str]:
    for name, option in constants["OPTIONS"].items():
        flag = "-o OUTPUT" if name == "output" else f"--{name} {name.upper()}"
        yield f"[{flag}]" if "default" in option else flag


def _checked(runs: Runs, params: Params, path: Path, provenance: Provenance) -> Iterator[str]:
    """Run the script at `path` as its user will; yield what came out, for its head."""
    case = next((c for c in runs.config.data.cases if c["name"] in provenance.cases), None)
    if case is None:
        return
    known = provenance.cases[str(case["name"])]
    expected = _own(runs, known)
    found = _own(runs, runs.score(launched(runs, case, params, path, provenance)))
    if _same(found, expected):
        yield f"Checked:  on case '{case['name']}' it gives these metrics: {_shown(found)}"
        return
    again = _own(runs, runs.score(runs.run(case, params, provenance.seed)))
    if _same(again, expected):
        raise InputError(
            f"the script gives other metrics on case '{case['name']}' ({_shown(found)}) than the "
            f"command ({_shown(expected)}): does it depend on where it runs? set data.workdir"
        )
    yield (
        f"Checked:  on case '{case['name']}' it gives {_shown(found)}, the trial "
        f"{_shown(expected)}: the command differs from run to run ({_shown(again)} once more)"
    )


def launched(
    runs: Runs,
    case: Mapping[str, Any],
    params: Params,
    path: Path,
    provenance: Provenance | None = None,
) -> Output:
    """Run a copy of a launcher on a case, from an empty folder.

    With seed and threads of `provenance`, or else with the launcher's own.

    Raises
    ------
    ProgramError
        Where it fails.
    """
    names = _option_names(runs.config)
    if provenance is None:
        values, place = runs.fresh(case, params, 0)
        names = [name for name in names if name not in ("seed", "threads")]
    else:
        values, place = runs.fresh(case, params, provenance.seed)
        values["threads"] = provenance.threads
    options = [word for name in names for word in (f"--{name}", str(values[name]))]
    script = place.folder / f"launcher{path.suffix}"
    shutil.copyfile(path, script)
    finished = runs.call([*_interpreter(path), str(script), *options], place.folder, None)
    output = Output(values, place, finished)
    require_output(runs.config.data, output, "the script", codes=(0,))
    return output


def relaunched(runs: Runs, case: Mapping[str, Any], params: Params, path: Path) -> Clocked:
    """Run a launcher on a case; its seconds are without its own start.

    Those of a program that takes less than the launcher's start are not a number: what is left of
    the difference is noise.
    """
    output = launched(runs, case, params, path)
    finished = output.finished
    start = runs.call([*_interpreter(path), str(path), "--help"], output.place.folder, None)
    own, around = (one.seconds - one.waited for one in (finished, start))
    seconds = own - around if own > 2 * around else math.nan
    return Clocked(output, seconds, finished.cpu_seconds - start.cpu_seconds)


def _interpreter(path: Path) -> list[str]:
    return ["/bin/sh"] if path.suffix == ".sh" else [sys.executable, "-I"]


def _own(runs: Runs, metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics that the configuration has: memory differs from run to run."""
    return {name: metrics[name] for name in runs.config.data.metrics}


def _same(found: Mapping[str, float], expected: Mapping[str, float]) -> bool:
    return all(math.isclose(found[name], expected[name], rel_tol=1e-12) for name in expected)


def _shown(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} = {value:.6g}" for name, value in metrics.items()) or "none"
