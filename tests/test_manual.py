"""The manual: its tutorials run, and what there is to know of the program is in it."""

from __future__ import annotations

import ast
import fnmatch
import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import anndata as ad
import pandas as pd
import pytest
import yaml
from tuner_plugins.perturbseq.simulate import simulate
from typer.testing import CliRunner

from tests.driver import Driver
from tuner.cli.app import app
from tuner.plugin.registry import plugin_class

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PLUGINS = ("nmf", "elasticnet", "command", "function")


@pytest.fixture(scope="session")
def hooks() -> ModuleType:
    """Return what makes pages: it needs no MkDocs."""
    spec = spec_from_file_location("manual_hooks", DOCS / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def made(hooks: ModuleType) -> dict[str, str]:
    return hooks.pages()


def page(name: str) -> str:
    return (DOCS / name).read_text()


def cells(text: str, heading: str = "") -> list[str]:
    """Return what stands in backticks in the first column of the tables below a heading."""
    text = text.partition(heading)[2] if heading else text
    rows = re.findall(r"^\| (.*?) \|", text, re.M)
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


# tutorials


@dataclass
class Tutorial:
    """The folder in which the commands of a page ran, and what they printed."""

    folder: Path
    said: dict[str, str] = field(default_factory=dict)

    def output(self, command: str) -> str:
        (found,) = (text for line, text in self.said.items() if line.startswith(command))
        return found


QUICK = {
    "run": ("timing.fixed_cost_repeats=1", "timing.finalists=2", "timing.nulls=50"),
    "analyse": ("analysis.permutations=20", "analysis.bootstraps=2", "analysis.calibration=none"),
}
"""By command: keys beside what a page says, for the suite has little time. They decide no trial."""


FALSE = r"DOES NOT HOLD: (?!speed-up)"
"""What no machine may say: on a busy one half of a speed-up may not be found again."""


def follow(name: str, folder: Path, driver: Driver, store: Path) -> Tutorial:
    """Do what a tutorial says: write its files, run its commands."""
    text = page(f"tutorial-{name}.md")
    shutil.copy(store, folder / "mlflow.db")  # to make one takes seconds
    for title, content in re.findall(r'^```\w+ title="(.+?)"\n(.*?)^```$', text, re.M | re.S):
        (folder / title).write_text(content)
    done = Tutorial(folder)
    environment = {**os.environ, "MLFLOW_TRACKING_URI": ""}
    for line in "".join(re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)).splitlines():
        first, *words = shlex.split(line)
        if first == "tuner":
            words += [w for setting in QUICK.get(words[0], ()) for w in ("--set", setting)]
            ended: Any = driver.run(*words, folder=folder, environment=environment)
        else:
            called = [sys.executable, *words] if first == "python" else ["sh", "-c", line]
            ended = subprocess.run(called, cwd=folder, capture_output=True, text=True, timeout=120)
        busy = "tuner verify" in line and not re.search(FALSE, ended.stdout) and not ended.stderr
        assert ended.returncode == 0 or busy, f"{line}: {ended.stdout}{ended.stderr}"
        done.said[line] = ended.stdout
    return done


@pytest.fixture(scope="module")
def followed(
    tmp_path_factory: Any, driver: Driver, made_store: tuple[Path, str]
) -> Callable[[str], Tutorial]:
    """Return what follows a tutorial, once."""
    done = {}

    def get(name: str) -> Tutorial:
        if name not in done:
            done[name] = follow(name, tmp_path_factory.mktemp(name), driver, made_store[0])
        return done[name]

    return get


@pytest.fixture
def tracks(followed: Callable[[str], Tutorial]) -> Tutorial:
    return followed("tracks")


@pytest.fixture
def screen(followed: Callable[[str], Tutorial]) -> Tutorial:
    return followed("screen")


@pytest.fixture
def program(followed: Callable[[str], Tutorial]) -> Tutorial:
    return followed("program")


@pytest.fixture(
    params=[
        pytest.param("tracks", marks=pytest.mark.slow),
        "program",
        pytest.param("screen", marks=pytest.mark.slow),
    ]
)
def tutorial(request: pytest.FixtureRequest, followed: Callable[[str], Tutorial]) -> Tutorial:
    return followed(request.param)


@pytest.mark.slow  # two studies of tracks take a minute
def test_the_tutorial_of_tracks(tracks: Tutorial) -> None:
    assert "4 of 4 bigWig tracks have chr1; annotation: genes.bed" in tracks.output("tuner init")
    assert "holds: r is" in tracks.output("tuner verify")
    assert (tracks.folder / "loadings.npy").stat().st_size > 100_000 * 4 * 8
    assert (tracks.folder / "out/mine/report.html").is_file()


@pytest.mark.slow  # the analysis takes half a minute
def test_the_tutorial_of_a_screen(screen: Tutorial) -> None:
    assert "perturbations add to the held-out R2" in screen.output("tuner run")
    assert "holds: r2 is" in screen.output("tuner verify")
    assert ad.read_h5ad(screen.folder / "coef.h5ad").shape == (180, 6)


def test_the_tutorial_of_a_program(program: Tutorial) -> None:
    assert "digits gains" in program.output("tuner run")
    assert float((program.folder / "integral.txt").read_text()) == pytest.approx(0.1394, abs=1e-4)


# tuner verify, of what the tutorials froze


def changed(tutorial: Tutorial, script: str, pattern: str, by: str) -> str:
    text, count = re.subn(pattern, by, (tutorial.folder / script).read_text())
    assert count == 1
    (tutorial.folder / "changed.py").write_text(text)
    return "changed.py"


@pytest.mark.slow
def test_penalties_that_are_not_those_of_the_claim(screen: Tutorial, driver: Driver) -> None:
    script = changed(screen, "screen.py", r"'alpha': [\d.e-]+", "'alpha': 0.0123")
    done = driver.run("verify", script, folder=screen.folder)
    assert done.returncode == 1
    assert "DOES NOT HOLD: " in done.stdout
    assert "it fits alpha 0.0123" in done.stdout


@pytest.mark.slow
def test_coefficients_that_are_not_those_of_the_penalties(screen: Tutorial, driver: Driver) -> None:
    script = changed(screen, "screen.py", r"shift = totals.x_shift", "coef[1] += 1e-3; \\g<0>")
    done = driver.run("verify", script, folder=screen.folder)
    assert done.returncode == 1
    assert "its coefficients differ by 0.001 from those of alpha" in done.stdout


@pytest.mark.slow
def test_a_screen_that_was_not_tuned_on(screen: Tutorial, driver: Driver) -> None:
    sizes = {"cells": 600, "genes": 180, "perturbations": 6, "programs": 2, "modules": 2}
    simulate(screen.folder / "other", seed=5, **sizes)
    text = (screen.folder / "screen.yaml").read_text().replace("data/screen", "other/screen")
    (screen.folder / "other.yaml").write_text(text)
    done = driver.run("verify", "screen.py", "other.yaml", "--json", folder=screen.folder)
    found = json.loads(done.stdout)
    note, gain = found["lines"]
    assert note["text"].startswith("other data than the script was tuned on")
    (case,) = found["cases"]
    assert gain["holds"] == found["holds"] == (case["metric"] > case["baseline"])
    assert case["seconds"] is None  # no time was tuned
    assert done.returncode == int(not found["holds"])


def test_flags_that_are_not_those_of_the_claim(program: Tutorial, driver: Driver) -> None:
    script = changed(program, "best_integral.py", r"'steps': \d+", "'steps': 11")
    done = driver.run("verify", script, folder=program.folder)
    assert done.returncode == 1
    assert "DOES NOT HOLD: digits is" in done.stdout


def test_a_launcher_for_a_shell_and_another_case(program: Tutorial, driver: Driver) -> None:
    driver.run("export", "integral.yaml", "-o", "best.sh", folder=program.folder)
    (program.folder / "wide.txt").write_text("-2 2")
    other = (program.folder / "integral.yaml").read_text().replace("bell.txt", "wide.txt")
    (program.folder / "other.yaml").write_text(other)
    done = driver.run("verify", "best.sh", "other.yaml", folder=program.folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "note: other data than the script was tuned on" in done.stdout
    assert "better than the reference" in done.stdout


# what there is, and what the manual says


def test_every_command_and_option_is_there(made: dict[str, str]) -> None:
    said = made["reference/commands.md"]
    runner, wide = CliRunner(), {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    names = [info.name or info.callback.__name__ for info in app.registered_commands]
    assert len(names) >= 20
    for name in ["", *names]:
        helped = runner.invoke(app, [*filter(None, [name]), "--help"], env=wide).output
        section = said.partition(f"## tuner {name}\n" if name else "# Commands\n")[2]
        section = section.partition("\n## ")[0]
        flags = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", helped))
        missing = [flag for flag in flags if flag not in (section if name else said)]
        assert (name, missing) == (name, [])
        (words,) = re.findall(r"Usage:.*?\n\W*(\w.*?)\W*\n", helped, re.S)
        assert " ".join(words.split())[:60] in " ".join(section.split())


def keys_of(node: Any, schema: Any, before: str = "") -> Iterator[str]:
    """Yield the dotted keys of a schema: `[]` for what a list holds, NAME for any name."""
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    for name, inner in node.get("properties", {}).items():
        if not before.startswith(("study.sampler", "study.pruner", "search_space")):
            yield before + name
            yield from keys_of(inner, schema, f"{before}{name}.")
    for option in (*node.get("anyOf", ()), *node.get("allOf", ())):
        yield from keys_of(option, schema, before)
    if isinstance(node.get("items"), dict):
        yield from keys_of(node["items"], schema, f"{before[:-1]}[].")
    if isinstance(node.get("additionalProperties"), dict):
        yield from keys_of(node["additionalProperties"], schema, f"{before}NAME.")


@pytest.mark.parametrize("plugin", PLUGINS)
def test_every_key_is_there_with_its_meaning(made: dict[str, str], plugin: str) -> None:
    schema = json.loads((ROOT / f"configs/schema/{plugin}.json").read_text())
    expected = set(keys_of(schema, schema))
    assert {"study.trials", "timing.nulls", "data" if plugin != "nmf" else "data.cases[].k"} < (
        expected
    )
    rows = re.findall(r"^\| `(.+?)` \|(.*?)(?<!\\)\|", made["reference/keys.md"], re.M)
    meanings = dict(rows)
    assert sorted(expected - set(meanings)) == []
    assert [key for key in expected if not meanings[key].strip()] == []
    assert f"schema/{plugin}.json" in made["reference/keys.md"]


def test_every_key_of_the_engine_that_a_user_sets_is_explained() -> None:
    explained = set(cells(page("configuration.md")))
    schema = json.loads((ROOT / "configs/schema/function.json").read_text())
    keys = set(keys_of(schema, schema)) - {"plugin"}
    sections = ("study", "limits", "tracking", "export")
    assert {key for key in keys if key.startswith(tuple(f"{s}." for s in sections))} <= explained


@pytest.mark.parametrize("plugin", PLUGINS)
def test_every_parameter_and_metric_is_there(
    made: dict[str, str], driver: Driver, plugin: str, tmp_path: Path
) -> None:
    section = made["reference/plugins.md"].partition(f"## {plugin}\n")[2].partition("\n## ")[0]
    listed = json.loads(driver.run("params", plugin, "--json", folder=tmp_path).stdout)
    for row in listed:
        assert f"| `{row['parameter']}` | {row['meaning']} |" in section
    if listed:
        metrics = plugin_class(plugin).metrics
        assert [name for name in metrics if f"| `{name}` | " not in section] == []


LOGGED = """
    SELECT DISTINCT key FROM latest_metrics JOIN runs USING (run_uuid)
    JOIN experiments USING (experiment_id)
    WHERE experiments.name IN ('nmf', 'elasticnet', 'command')
"""
"""The store that a tutorial begins with has an experiment already."""


def test_every_metric_of_a_trial_is_there(made: dict[str, str], tutorial: Tutorial) -> None:
    known = {*cells(made["reference/plugins.md"]), *cells(page("report.md"), "## Metrics")}
    known |= {"digits", "rule", "steps"}  # the program's own
    known |= {"trial", "state", "baseline", "started", "finished", "reason", "host", "machine"}
    (table,) = tutorial.folder.glob("out/*/trials.csv")
    columns = {re.sub(r"fold\d+", "foldN", name) for name in pd.read_csv(table).columns}
    assert columns - known == set()
    with sqlite3.connect(tutorial.folder / "mlflow.db") as store:
        logged = {name for (name,) in store.execute(LOGGED)}
    assert "best_so_far" in logged
    for name in logged:
        first, _, rest = re.sub(r"fold\d+", "foldN", name).partition("/")
        of = first in ("baseline", "held_out", "held_out_baseline")
        assert not rest or of or f"{first}/CASE" in known or "METRIC/CASE" in known
        name = rest if of else first
        assert name in known or f"{name}/CASE" in known, name


def test_every_file_of_a_study_is_there(tutorial: Tutorial) -> None:
    text = page("report.md").partition("## Metrics")[0]
    top, plots, analysis = re.split(r"^In `\w+/`.*$", text, flags=re.M)
    patterns = [
        *(name + "*" * name.endswith("/") for name in cells(top)),
        *(f"plots/{name}" for name in cells(plots)),
        *(f"analysis/{name}" for name in cells(analysis)),
    ]
    patterns = [re.sub(r"CASE|N\b", "*", name) for name in patterns]
    for whole in ("plots/*", "analysis/*"):
        patterns.remove(whole)
    (study,) = (tutorial.folder / "out").iterdir()
    names = [str(path.relative_to(study)) for path in study.rglob("*") if path.is_file()]
    assert len(names) > 10
    assert [n for n in names if not any(fnmatch.fnmatchcase(n, p) for p in patterns)] == []


SLOTS = ("obs", "obsm", "var", "varm", "uns", "layers")


def written_keys() -> Iterator[tuple[str, str]]:
    """Yield slot and key of what `tuner_plugins.perturbseq` writes into an AnnData by name."""
    for path in sorted((ROOT / "plugins/tuner_plugins/perturbseq").rglob("*.py")):
        if path.name == "simulate.py" or "data" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
                slot, key = getattr(node.value, "attr", ""), node.slice
            elif isinstance(node, ast.Call) and "keep_in_" in ast.unparse(node.func):
                slot, key = ast.unparse(node.func).rpartition("keep_in_")[2], node.args[0]
            else:
                continue
            if slot in SLOTS and isinstance(key, ast.Constant):
                yield slot, key.value


def documented_keys() -> set[str]:
    text = page("perturbseq.md").partition("## Keys")[2].partition("\n## ")[0]
    found = re.findall(r'`(?:\w+)?\["(\w+)"\]|`(\w+)`', text)
    return {name for pair in found for name in pair if name}


def test_every_key_that_is_written_into_an_anndata_is_there() -> None:
    keys = set(written_keys())
    assert {("uns", "program_tests"), ("obsm", "X_umap"), ("var", "program")} <= keys
    assert sorted({key for _, key in keys} - documented_keys()) == []


@pytest.mark.slow
def test_every_key_of_an_analysed_screen_is_there(screen: Tutorial) -> None:
    known = documented_keys() | set(OTHERS)
    stored = ad.read_h5ad(screen.folder / "out/screen/analysis/analysis.h5ad")
    given = ad.read_h5ad(screen.folder / "data/screen.h5ad")
    for slot in SLOTS:
        assert sorted(set(getattr(stored, slot)) - set(getattr(given, slot)) - known) == []

    coef = ad.read_h5ad(screen.folder / "coef.h5ad")
    section = page("report.md").partition("The script of elasticnet")[2].partition("\n## ")[0]
    for slot in SLOTS:
        for name in getattr(coef, slot):
            assert f'`{slot}["{name}"]`' in section


OTHERS = ("pca", "neighbors", "umap", "hvg", "log1p")
"""scanpy's own."""


def test_every_class_of_error_is_there(made: dict[str, str]) -> None:
    listed = cells(made["reference/errors.md"])
    found = [
        name
        for top in (ROOT / "tuner", ROOT / "plugins/tuner_plugins")
        for path in top.rglob("*.py")
        for name in re.findall(
            r"^class ([A-Z]\w*)\((?:\w*(?:Error|Exception|Warning)|NotOurs)\)",
            path.read_text(),
            re.M,
        )
    ]
    assert len(found) > 20
    assert sorted(set(found) - set(listed)) == []


def test_messages_of_the_page_of_errors_are_raised(hooks: ModuleType) -> None:
    texts = "\n".join(
        " ".join(hooks.literal(node).split())
        for _, tree in hooks.trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp)
    )
    shown = cells(page("errors.md"))
    assert len(shown) > 20
    for message in shown:
        parts = [part for part in message.split("…") if len(part.split()) > 1]
        assert parts
        assert [part for part in parts if part not in texts] == []


def test_names_of_the_python_api_are_there(made: dict[str, str]) -> None:
    import tuner_plugins.enet
    import tuner_plugins.perturbseq as ps

    assert '"optimize", "run"' in made["reference/python.md"]
    assert [
        name for name in tuner_plugins.enet.__all__ if name not in made["reference/enet.md"]
    ] == []
    for part in (ps.pp, ps.tl, ps.pl):
        source = Path(part.__file__).read_text()
        names = re.findall(r"^def ([a-z]\w*)|^from .* as ([a-z]\w*)$", source, re.M)
        public = {name for pair in names for name in pair if name} - {"coefficient_table"}
        assert public
        assert [name for name in public if f'"{name}"' not in made["reference/perturbseq.md"]] == []


class Loader(yaml.SafeLoader):
    """Reads tags as texts."""


def test_every_page_is_in_the_navigation(made: dict[str, str]) -> None:
    config = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)  # noqa: S506 - a SafeLoader
    listed = set(re.findall(r"\b[\w/-]+\.md", json.dumps(config["nav"])))
    assert listed == {path.name for path in DOCS.glob("*.md")} | set(made)
    readme = (ROOT / "README.md").read_text()
    linked = set(re.findall(r"\]\((docs/[\w.-]+)\)", readme))
    assert [name for name in linked if not (ROOT / name).is_file()] == []


@pytest.mark.slow
@pytest.mark.skipif(find_spec("mkdocs") is None, reason="the extra `docs` is not installed")
def test_the_manual_is_built_without_a_warning(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    index = json.loads((tmp_path / "site/search/search_index.json").read_text())
    assert len(index["docs"]) > 200
    solvers = (tmp_path / "site/solvers.html").read_text()
    assert solvers.count("<math") > 20
    assert "arithmatex" not in solvers
