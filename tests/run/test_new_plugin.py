"""`tuner new-plugin` writes a package that holds the contract, runs and verifies."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tuner.plugin import InputError
from tuner.run.new_plugin import write_package

PAGE = Path(__file__).parents[2] / "docs" / "writing-a-plugin.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(), re.M | re.S)


class Package:
    """The package of the page, installed where only its own commands see it."""

    def __init__(self, home: Path, store: Path) -> None:
        self.folder, site = home / "smoother", home / "site"
        write_package("smoother", home)
        shutil.copy(store, self.folder / "mlflow.db")
        options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target", site]
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", *options]
        subprocess.run([*pip, self.folder], check=True, timeout=120)
        self._environment = {**os.environ, "PYTHONPATH": str(site), "MLFLOW_TRACKING_URI": ""}

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        module, *words = shlex.split(line, comments=True)
        words += ["-p", "no:cacheprovider"] if module == "pytest" else []
        command = [sys.executable, "-m", module, *words]
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=240,
        )


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, made_store: tuple[Path, str]) -> Package:
    return Package(tmp_path_factory.mktemp("home"), made_store[0])


def test_every_command_of_the_page_runs(package: Package) -> None:
    ((_, script),) = [block for block in BLOCKS if block[0] == "sh"]
    made, entered, installed, *lines = script.splitlines()
    assert (made, entered) == ("tuner new-plugin smoother", "cd smoother")  # done by the fixture
    assert installed == "pip install -e ."
    said = {}
    for line in lines:
        done = package.run(line)
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
        said[line.split()[0], line.split()[-1]] = done.stdout
    assert re.search(r"\b11 passed", next(iter(said.values())))
    assert "DOES NOT HOLD" not in said["tuner", "smoother_best.py"]
    assert "holds: error is" in said["tuner", "smoother_best.py"]

    # a number that is not the one that was tuned
    text = (package.folder / "smoother_best.py").read_text()
    changed, count = re.subn(r"\{'width': \d+", "{'width': 99", text)
    assert count == 1
    (package.folder / "changed.py").write_text(changed)
    found = package.run("tuner verify changed.py")
    assert found.returncode == 1, found.stdout + found.stderr
    assert "DOES NOT HOLD: error is" in found.stdout

    # data that the script was not tuned on, of the same kind
    config = (package.folder / "smoother.yaml").read_text().replace("seed: 1", "seed: 2")
    (package.folder / "other.yaml").write_text(re.sub(r"\bdata\b(?=[/,])", "new", config))
    other = package.run("tuner verify smoother_best.py other.yaml")
    assert other.returncode == 0, other.stdout + other.stderr
    assert "note: other data than the script was tuned on" in other.stdout
    assert "claimed" not in other.stdout


@pytest.mark.parametrize("text", [text for kind, text in BLOCKS if kind in ("python", "toml")])
def test_every_excerpt_of_the_page_is_in_the_package(tmp_path: Path, text: str) -> None:
    write_package("smoother", tmp_path)
    files = [path.read_text() for path in (tmp_path / "smoother").iterdir()]
    assert any(text in file for file in files)


def test_a_name_is_put_everywhere_and_may_be_none_that_is_taken(tmp_path: Path) -> None:
    write_package("my_method", tmp_path)
    files = {path.name: path.read_text() for path in (tmp_path / "my_method").iterdir()}
    assert {"my_method.py", "test_my_method.py", "my_method.yaml"} <= set(files)
    assert "class MyMethod(Plugin[Config]):" in files["my_method.py"]
    for left in ("NAME", "CLASS"):
        assert not any(re.search(rf"\b{left}", text) for text in files.values())
    for name, said in (
        ("My-Method", "expected lower-case letters"),
        ("class", "no word of Python's"),
        ("json", "'json' is a module of Python's own library"),
        ("nmf", "a plug-in 'nmf' is installed already"),
        ("my_method", "is there already"),
    ):
        with pytest.raises(InputError, match=said):
            write_package(name, tmp_path)
