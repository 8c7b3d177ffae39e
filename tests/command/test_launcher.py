"""The launcher runs the frozen command on anything, from anywhere, and was checked when written."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tuner_plugins.command.plugin import CommandPlugin

from tuner.export.bundle import write_script
from tuner.plugin import InputError, Provenance

ODD = ["with space.txt", 'it\'s "quoted".txt', "-dash.txt", "$HOME `id` *.txt", "line\nend.txt\n"]

PROGRAM = """
import os, sys
flags, (text, size, output) = sys.argv[1:-3], sys.argv[-3:]
with open(text) as file, open(output, "w") as out:
    out.write(file.read() * int(size) + "|".join([*flags, os.environ.get("GREETING", "")]))
"""

PROVENANCE = Provenance("study", 3, {"size": 1.0}, {}, "0" * 64, "now", seed=7, threads=2)


@pytest.fixture
def plugin(workplace: Path) -> Callable[..., CommandPlugin]:
    (workplace / "text.txt").write_text("text")
    (workplace / "program.py").write_text(PROGRAM)

    def _plugin(**data: Any) -> CommandPlugin:
        words = ["{python}", "program.py", "{fast}", "it's {word}", "--seed={seed}", "{mode}"]
        sections = {
            "data": {
                "command": [*words, "-t{threads}", "{text}", "{size}", "{output}"],
                "flags": {"fast": "--fast", "mode": ["-x", "{mode}"]},
                "env": {"GREETING": "hello {word}"},
                "cases": [{"name": "one", "text": "text.txt", "size": 2}],
                "metrics": {"size": {"command": ["wc", "-c", "{output}"], "regex": r"(\d+)"}},
                **data,
            },
            "search_space": {"fast": [True], "word": ["$a 'b' \"c\""], "mode": [None, "m n"]},
        }
        context = {"folder": workplace}
        return CommandPlugin(CommandPlugin.Config.model_validate(sections, context=context))

    return _plugin


def frozen(plugin: CommandPlugin, path: Path, mode: str | None = "m n") -> Path:
    params = {"fast": True, "word": "$a 'b' \"c\"", "mode": mode}
    case = plugin.load().tuned[0]
    metrics = plugin.score(case, plugin.run(case, params, 7).output)
    provenance = replace(PROVENANCE, cases={"one": metrics})
    write_script(path, lambda part: plugin.freeze(params, part, provenance))
    return path


def launch(script: Path, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    by = ["/bin/sh"] if script.suffix == ".sh" else [sys.executable, "-I"]
    environment = {"PATH": os.environ["PATH"]}
    if by == ["/bin/sh"]:  # it says {python} by this name
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    return subprocess.run(
        [*by, script, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("suffix", [".py", ".sh"])
def test_it_works_elsewhere_with_any_path(
    plugin: Callable[..., CommandPlugin], workplace: Path, suffix: str
) -> None:
    script = frozen(plugin(), workplace / f"launcher{suffix}")
    elsewhere = workplace / "else where"
    elsewhere.mkdir()
    ending = "--fast|it's $a 'b' \"c\"|--seed=7|-x|m n|-t2|hello $a 'b' \"c\""
    for number, name in enumerate(ODD):
        (elsewhere / name).write_text(f"{number}")
        options = ["--text", name, "--size", "3", "-o", f"-out {name}"]
        done = launch(script, *options, folder=elsewhere)
        assert (done.returncode, done.stderr) == (0, "")
        assert (elsewhere / f"-out {name}").read_text() == f"{number}" * 3 + ending
    options = [f"--text={ODD[0]}", "--size=1", "--seed=9", "--threads", "4", "--output=out"]
    assert launch(script, *options, folder=elsewhere).returncode == 0
    assert "--seed=9|-x|m n|-t4" in (elsewhere / "out").read_text()


@pytest.mark.parametrize("suffix", [".py", ".sh"])
def test_a_null_leaves_the_option_away(
    plugin: Callable[..., CommandPlugin], workplace: Path, suffix: str
) -> None:
    script = frozen(plugin(), workplace / f"launcher{suffix}", mode=None)
    options = ["--text", "text.txt", "--size", "0", "-o", "out"]
    assert launch(script, *options, folder=workplace).returncode == 0
    assert "|--seed=7|-t2|" in (workplace / "out").read_text()


@pytest.mark.parametrize("suffix", [".py", ".sh"])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--text", "a", "-o", "b"], "option '--size' is missing"),
        (["--tex", "a"], "unknown option '--tex'"),
        (["--text"], "without a value|needs a value"),
    ],
)
def test_wrong_options_are_told(
    plugin: Callable[..., CommandPlugin],
    workplace: Path,
    suffix: str,
    arguments: list[str],
    said: str,
) -> None:
    script = frozen(plugin(), workplace / f"launcher{suffix}")
    done = launch(script, *arguments, folder=workplace)
    assert done.returncode == 2
    assert any(part in done.stderr for part in said.split("|"))
    assert "usage: launcher" in done.stdout + done.stderr


@pytest.mark.parametrize("suffix", [".py", ".sh"])
def test_an_output_that_is_an_input_is_refused(
    plugin: Callable[..., CommandPlugin], workplace: Path, suffix: str
) -> None:
    made = plugin(
        command="echo {size} {word} {fast} {mode} >{output}.log; cat {text}",
        shell=True,
        stdout="{output}",
        env={},
    )
    scripts = frozen(made, workplace / f"shell{suffix}"), frozen(plugin(), workplace / f"a{suffix}")
    text, log = workplace / "an input.txt", workplace / "other.log"
    text.write_text("mine")
    log.write_text("mine")
    (workplace / "link").symlink_to(text)
    (workplace / "hard").hardlink_to(text)
    for script in scripts:
        for output in (text.name, f"./{text.name}", "link", "hard"):
            options = ["--text", text.name, "--size", "1", "-o", output]
            done = launch(script, *options, folder=workplace)
            assert (done.returncode, done.stdout) == (2, "")
            assert done.stderr.endswith(f"{output[-4:]}' is an input; give -o another name\n")
            assert done.stderr.count("\n") == 1
            assert text.read_text() == "mine"
    done = launch(scripts[0], "--text", log.name, "--size", "1", "-o", "other", folder=workplace)
    assert (done.returncode, log.read_text()) == (2, "mine")
    program = workplace / "program.py"
    options = ["--text", text.name, "--size", "1", "-o", "/dev/null"]
    assert launch(scripts[1], *options[:-1], program.name, folder=workplace).returncode == 2
    assert program.read_text() == PROGRAM
    options[1] = "/dev/null"
    assert launch(scripts[1], *options, folder=workplace).returncode == 0


@pytest.mark.parametrize("suffix", [".py", ".sh"])
def test_a_shells_text_and_exit_codes(
    plugin: Callable[..., CommandPlugin], workplace: Path, suffix: str
) -> None:
    made = plugin(
        command="cat {text} | tr a-z A-Z; echo {word} {fast} {mode}; exit {size}",
        shell=True,
        stdout="{output}",
        env={},
        ok_exit_codes=[0, 2],
        success_file="{output}",
    )
    script = frozen(made, workplace / f"launcher{suffix}")
    (workplace / "-it's").write_text("odd\n")
    options = ["--text", "-it's", "-o", "-out", "--size"]
    assert launch(script, *options, "2", folder=workplace).returncode == 0
    assert (workplace / "-out").read_text() == "ODD\n$a 'b' \"c\" --fast -x m n\n"
    assert launch(script, *options, "5", folder=workplace).returncode == 5
    # a program that fails leaves the output of before, and none where there was none
    assert (workplace / "-out").read_text() == "ODD\n$a 'b' \"c\" --fast -x m n\n"
    failing = ["--text", "-it's", "-o=other", "--size", "5"]
    assert launch(script, *failing, folder=workplace).returncode == 5
    assert not [path for path in workplace.iterdir() if "other" in path.name or "part" in path.name]
    (workplace / "link").symlink_to("linked")
    linked = ["--text=-it's", "-o=link", "--size=2"]
    assert launch(script, *linked, folder=workplace).returncode == 0
    assert (workplace / "link").is_symlink()
    assert (workplace / "linked").read_text() == (workplace / "-out").read_text()
    done = launch(script, "--text", "-it's", "--size", "0", "-o", "-", folder=workplace)
    assert done.stdout.startswith("ODD\n")


def test_its_head_says_that_it_was_checked(
    plugin: Callable[..., CommandPlugin], workplace: Path
) -> None:
    for suffix in (".py", ".sh"):
        text = frozen(plugin(), workplace / f"launcher{suffix}").read_text()
        assert text.startswith("#!/bin/sh\n") == (suffix == ".sh")
        assert "Checked:  on case 'one' it gives these metrics: size = " in text


def test_one_that_depends_on_where_it_runs_is_refused(
    plugin: Callable[..., CommandPlugin], workplace: Path
) -> None:
    made = plugin(
        command="{python} -c 'import sys; print(len(sys.argv))' {word} {fast} {mode} {text} {size} "
        "$(ls | wc -l)",
        shell=True,
        stdout="{output}",
        env={},
        metrics={"files": {"command": ["tail", "-n", "1", "{output}"]}},
    )
    made.config.data.metrics["files"].command[:] = ["sh", "-c", "ls {output} >/dev/null; echo 1"]
    frozen(made, workplace / "launcher.py")
    count = made.config.data.metrics["files"]
    count.command[:] = ["sh", "-c", 'ls "$(dirname {output})/here" | wc -l']
    with pytest.raises(InputError, match=r"the script gives other metrics on case 'one' \(files"):
        frozen(made, workplace / "other.py")


def test_a_command_that_differs_from_run_to_run_is_noted(
    plugin: Callable[..., CommandPlugin], workplace: Path
) -> None:
    metric = {"command": ["sh", "-c", "date +%s%N"]}
    text = frozen(plugin(metrics={"now": metric}), workplace / "launcher.py").read_text()
    assert "the command differs from run to run" in text


def test_what_it_is_said_to_need_can_be_pasted(
    plugin: Callable[..., CommandPlugin], workplace: Path
) -> None:
    odd = workplace / "it's one.txt"
    odd.write_text("text")
    made = plugin(cases=[{"name": "one", "text": odd.name, "size": 2}])
    script = workplace / "a launcher.sh"
    needs, line = made.usage(script)[1].split("; to use it: ")
    assert needs == "a POSIX shell and python"
    assert shlex.split(line) == [
        "sh",
        f"{script}",
        "--text",
        f"{odd}",
        "--size",
        "2",
        "-o",
        "OUTPUT",
    ]
    assert made.usage(workplace / "launcher.py")[1] == "Python 3.10 or newer"
    text = "sleep 0; cat {text} {size} {word} {fast} {mode} >{output}"
    for path in (script, workplace / "launcher.py"):
        said = plugin(command=text, shell=True, env={}).usage(path)[1]
        assert said.partition(";")[0].endswith(" and the programs of the command")
