"""The package as it is published: sdist, wheel, what they say of themselves, and the first line."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest
import tomllib
import yaml

import tuner
from tuner.config.load import load_config
from tuner.plugin import InputError

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def run(*command: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = run(*build)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return {"wheel": wheel, "sdist": sdist}


@pytest.mark.slow
def test_wheel_and_sdist_hold_what_they_should(built: dict[str, Path]) -> None:
    with zipfile.ZipFile(built["wheel"]) as wheel:
        names = set(wheel.namelist())
        (place,) = (name for name in names if name.endswith("/METADATA"))
        told = HeaderParser().parsestr(wheel.read(place).decode())
    assert {"tuner/py.typed", "tuner_plugins/py.typed", "tuner/__main__.py"} <= names
    assert "tuner/run/plugin_template/NAME.py.txt" in names
    assert not {name for name in names if name.startswith(("tests/", "benchmarks/"))}
    assert any(
        name.startswith("tuner_plugins/nmf/kernels/") and name.endswith(".c") for name in names
    )
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert (told["Name"], told["License-Expression"]) == ("tunefreeze", "BSD-3-Clause")
    with tarfile.open(built["sdist"]) as sdist:
        inside = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"LICENSE", "CITATION.cff", "CHANGELOG.md", "tests/test_package.py"} <= inside
    assert {"mkdocs.yml", "docs/hooks.py", "docs/index.md", "docs/assets/manual.css"} <= inside
    assert not [name for name in inside if name.startswith(("site/", "out/", "data/", ".venv"))]


@pytest.mark.slow
def test_twine_and_pyroma_find_nothing_but_what_there_is_none_of(built: dict[str, Path]) -> None:
    done = run(sys.executable, "-m", "twine", "check", "--strict", *map(str, built.values()))
    assert done.returncode == 0, done.stdout + done.stderr
    rated = run(sys.executable, "-m", "pyroma", "--min", "1", str(built["sdist"]))
    missing = [line for line in rated.stdout.splitlines() if line.startswith("Your package")]
    # There is no address yet to write to or to look at; all else is as it should be.
    assert ["author-email" in line or "'url'" in line for line in missing] == [True] * 2, (
        rated.stdout
    )


def test_version_citation_and_changes_agree() -> None:
    assert tuner.__version__ == PROJECT["version"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (cited["version"], cited["license"]) == (PROJECT["version"], PROJECT["license"])
    assert f"\n## {PROJECT['version']} " in (ROOT / "CHANGELOG.md").read_text()


def test_no_hint_sends_anybody_to_another_package() -> None:
    files = [path for top in ("tuner", "plugins", "docs") for path in (ROOT / top).rglob("*.*")]
    texts = {path: path.read_text() for path in files if path.suffix in (".py", ".md", ".txt")}
    texts[ROOT / "README.md"] = (ROOT / "README.md").read_text()
    wrong = re.compile(r"pip install ['\"]?tuner\b|(?<![\w.])tuner\[\w+\]")
    assert [str(path) for path, text in texts.items() if wrong.search(text)] == []


def test_nothing_under_the_gpl_is_needed() -> None:
    """igraph and leidenalg are; without them clusters are Louvain's."""
    extras = PROJECT["optional-dependencies"]
    needed = [
        *PROJECT["dependencies"],
        *(t for e in extras if e not in ("dev", "leiden") for t in extras[e]),
    ]
    assert not [text for text in needed if text.startswith(("igraph", "leidenalg"))]


def test_the_module_is_the_command() -> None:
    done = run(sys.executable, "-m", "tuner", "--version")
    assert done.stdout == f"tuner {tuner.__version__} (package tunefreeze)\n"
    helped = [run(sys.executable, "-m", "tuner", *words, "-h") for words in ([], ["run"])]
    assert [done.returncode for done in helped] == [0, 0]
    assert "Usage" in helped[1].stdout


ABSENT = ("fcntl", "resource", "termios", "pwd", "grp")
WINDOWS = f"""
import sys
sys.modules.update(dict.fromkeys({ABSENT}))  # as on Windows, where there are none
from tuner.cli import main
sys.platform = "win32"
sys.argv = ["tuner", "plugins"]
main()
"""


def test_windows_is_told_in_one_line() -> None:
    done = run(sys.executable, "-c", WINDOWS)
    assert done.returncode == 2
    assert done.stderr == f"tuner: {tuner.POSIX_ONLY}\n"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("papalexi", "data package sceptredata"),
        ("assignment", "assignment-simulated.yaml needs no"),
    ],
)
def test_a_configuration_without_its_files_says_what_to_fetch(
    tmp_path: Path, name: str, said: str
) -> None:
    (tmp_path / "configs").mkdir()
    copy = shutil.copy(ROOT / "configs" / f"{name}.yaml", tmp_path / "configs")
    with pytest.raises(InputError, match=said) as caught:
        load_config(copy)
    for line in str(caught.value).splitlines():
        assert line.startswith(f"{copy}, line ")
        assert "no such file or folder" in line
