"""Bundling joins sources without changing what they say."""

from __future__ import annotations

import importlib
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tuner.export.bundle import Quick, bundle, write_script
from tuner.export.provenance import provenance_head
from tuner.plugin import InputError, Provenance


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], ModuleType]:
    monkeypatch.syspath_prepend(str(tmp_path))

    def _module(name: str, source: str) -> ModuleType:
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        importlib.invalidate_caches()
        return importlib.import_module(name)

    return _module


@pytest.mark.parametrize("content", [None, ""])
def test_a_freeze_that_writes_nothing_is_no_script(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "script.py"
    path.write_text("the script before")
    with pytest.raises(ValueError, match="freeze wrote nothing"):
        write_script(path, lambda part: content is None or part.write_text(content))
    assert path.read_text() == "the script before"
    assert list(tmp_path.iterdir()) == [path]


LOWER = '''
    """The lower module."""

    from __future__ import annotations

    import math
    from typing import TYPE_CHECKING

    if TYPE_CHECKING:
        from collections.abc import Sequence

    TABLE: str | None = None


    # Why this is doubled: a reason that must survive.
    def double(x: float) -> float:
        return 2 * x + math.floor(0.5)
'''
UPPER = '''
    """The upper module."""

    from __future__ import annotations

    import math

    from bundled_lower import TABLE, double

    __all__ = ["main"]


    def main() -> int:
        print(double(math.pi), repr(TABLE), SETTING["x"])
        return 3


    if __name__ == "__main__":
        main()
'''
SETTING: dict = {}


def test_a_bundle_runs_alone(module: Callable[..., ModuleType], tmp_path: Path) -> None:
    modules = [module("bundled_lower", LOWER), module("bundled_upper", UPPER)]
    constants = {"TABLE": "first \\ line\nsecond 'line'\n", "SETTING": {"x": [1, None]}}
    head = 'What it does: "quotes" and \\ slashes.'
    text = bundle(modules, constants, head, ["numpy>=1.24"])
    assert text.count("import math") == 1
    assert "a reason that must survive" in text
    assert "The lower module" not in text
    assert '# requires-python = ">=3.10"' in text
    script = tmp_path / "alone" / "script.py"
    script.parent.mkdir()
    script.write_text(text)
    done = subprocess.run([sys.executable, "-I", script], capture_output=True, text=True)
    expected = f"{2 * 3.141592653589793} {constants['TABLE']!r} [1, None]\n"
    assert (done.returncode, done.stdout, done.stderr) == (3, expected, "")


QUICK = '''
    """What does the usual case."""

    import sys

    TYPE_CHECKING = False
    if TYPE_CHECKING:
        import unheard_of

    def quickly(words: list[str]) -> bool:
        if words == ["usual"]:
            print("done quickly", "math" in globals())
        return words == ["usual"]
'''


@pytest.mark.parametrize(
    ("word", "code", "said"), [("usual", 0, "done quickly False\n"), ("odd", 3, "6.28")]
)
def test_what_is_tried_first_does_without_the_rest(
    module: Callable[..., ModuleType], tmp_path: Path, word: str, code: int, said: str
) -> None:
    modules = [module("bundled_lower", LOWER), module("bundled_upper", UPPER)]
    text = bundle(
        modules,
        {"TABLE": None, "SETTING": {"x": 1}},
        "head",
        [],
        quick=Quick([module("bundled_quick", QUICK)], "quickly(sys.argv[1:])", "assert sys"),
    )
    script = tmp_path / "script.py"
    script.write_text(text)
    done = subprocess.run([sys.executable, "-I", script, word], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, "")
    assert done.stdout.startswith(said)
    clash = module("bundled_clash", "def quickly():\n    return 2\n")
    with pytest.raises(ValueError, match="both define 'quickly'"):
        bundle([clash], {}, "head", [], quick=Quick([module("bundled_quick", QUICK)], "1"))


LOADER = '''
    """Compiles each time, and says so."""

    def load_code(text, name):
        print("loading", name)
        return compile(text, name, "exec")
'''
FAULTY = '''
    """Fails where it is asked to."""

    import sys

    def quickly(words):
        if words == ["fail"]:
            raise KeyError("this one")
        return words == ["usual"]
'''


@pytest.mark.parametrize(
    ("word", "code", "said"),
    [("usual", 0, "loading script.py\n"), ("odd", 3, "loading script.py\n6.28"), ("fail", 1, "")],
)
def test_what_is_tried_first_may_be_kept_by_a_loader(
    module: Callable[..., ModuleType], tmp_path: Path, word: str, code: int, said: str
) -> None:
    modules = [module("bundled_lower", LOWER), module("bundled_upper", UPPER)]
    first, loader = module("bundled_faulty_quick", FAULTY), module("bundled_loader", LOADER)
    quick = Quick([first], "quickly(sys.argv[1:])", "assert sys", [loader])
    text = bundle(modules, {"TABLE": None, "SETTING": {"x": 1}}, "head", [], quick=quick)
    script = tmp_path / "script.py"
    script.write_text(text)
    done = subprocess.run([sys.executable, "-I", script, word], capture_output=True, text=True)
    assert done.returncode == code
    assert done.stdout.startswith(said)
    number = next(i for i, line in enumerate(text.splitlines(), 1) if "this one" in line)
    failed = f'File "script.py", line {number}, in quickly' in done.stderr
    assert failed == (word == "fail")


@pytest.mark.parametrize("quote", ["", "'''"])
def test_a_traceback_quotes_the_line_that_failed(
    module: Callable[..., ModuleType], tmp_path: Path, quote: str
) -> None:
    """Also where the rest cannot be one raw string."""
    name = f"bundled_faulty{len(quote)}"
    source = f"""
        def main():
            told = "{quote}"
            raise KeyError("this one")
    """
    quick = module("bundled_quick", QUICK)
    text = bundle(
        [module(name, source)],
        {"TABLE": None},
        "head",
        [],
        quick=Quick([quick], "quickly(sys.argv[1:])", "first = 1"),
    )
    script = tmp_path / "script.py"
    script.write_text(text)
    done = subprocess.run([sys.executable, "-I", script], capture_output=True, text=True)
    lines = text.splitlines()
    number = next(i for i, line in enumerate(lines, 1) if "this one" in line)
    assert (
        f'File "{script}", line {number}, in main\n    {lines[number - 1].strip()}' in done.stderr
    )


@pytest.mark.parametrize(
    "value",
    [
        {"a.c": "int a;\n", "b.c": "it's '''tricky'''\n"},
        "plain",
        "two\nlines\n",
        "it's '''tricky'''\n",
        "ends in a slash\n\\",
        "a\r\nb\n",
        "q\n'",
    ],
)
def test_literals_keep_every_character(
    module: Callable[..., ModuleType], value: object, tmp_path: Path
) -> None:
    text = bundle([], {"VALUE": value}, "head", [], call="0")
    scope: dict = {"__name__": "checked"}
    exec(compile(text, "script", "exec"), scope)
    assert scope["VALUE"] == value


def test_two_owners_of_a_name_are_refused(module: Callable[..., ModuleType]) -> None:
    first = module("bundled_one", "def f():\n    return 1\n")
    second = module("bundled_two", "def f():\n    return 2\n")
    with pytest.raises(ValueError, match="bundled_two and bundled_one both define 'f'"):
        bundle([first, second], {}, "head", [])


def test_a_renaming_import_is_refused(module: Callable[..., ModuleType]) -> None:
    lower = module("bundled_lower2", "def f():\n    return 1\n")
    upper = module("bundled_upper2", "from bundled_lower2 import f as g\n")
    with pytest.raises(ValueError, match="by plain names"):
        bundle([lower, upper], {}, "head", [])


def test_a_script_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text("the old one")

    def broken(temporary: Path) -> None:
        temporary.write_text("half")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        write_script(path, broken)
    assert path.read_text() == "the old one"
    assert [p.name for p in tmp_path.iterdir()] == ["script.py"]
    write_script(path, lambda temporary: temporary.write_text("the new one"))
    assert path.read_text() == "the new one"
    assert path.stat().st_mode & 0o111
    with pytest.raises(InputError, match="no folder"):
        write_script(tmp_path / "absent" / "script.py", broken)


def test_the_head_says_where_the_setting_comes_from() -> None:
    provenance = Provenance("chr21", 12, {"r": 0.5}, {"numpy": "2.0"}, "abc", "2026-01-01")
    head = provenance_head("Does it.", {"lam": 1.0}, provenance)
    for expected in ("chr21, trial 12", "r = 0.5", '{"lam": 1.0}', "numpy 2.0", "sha256 abc"):
        assert expected in head


def test_a_missing_package_and_an_old_python_are_one_line_and_2(module, tmp_path):
    body = '"""Needs what nobody has."""\n\nimport tuner_absent\n\n\ndef main():\n    return 0\n'
    path = tmp_path / "needy.py"
    (tmp_path / "needy_source.py").write_text(body)
    (tmp_path / "tuner_absent.py").touch()
    script = bundle([module("needy_source", body)], {}, "needy", [])
    path.write_text(script)
    (tmp_path / "tuner_absent.py").unlink()
    done = subprocess.run([sys.executable, path], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "pip install tuner_absent" in done.stderr
    path.write_text(script.replace("(3, 10)", "(4, 10)"))
    done = subprocess.run([sys.executable, path], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "needs Python 3.10 or newer" in done.stderr
