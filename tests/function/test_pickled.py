"""Functions of a session: sent to a process that could not import them, and known again."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tuner_plugins.function.pickled import PickledFunction, digest

from tuner.plugin import InputError

SESSION = """
import pickle, sys, math
from functools import partial
from tuner_plugins.function.pickled import PickledFunction
from own import imported

factor = {factor}

def helper(x):
    return x * factor  # a comment

def closure():
    shift = [10]
    return lambda x: helper(x) + shift[0]

class Model:
    def __init__(self, slope):
        self.slope = slope
    def __call__(self, x):
        return self.slope * x
    def fit(self, x):
        return -self.slope * x

functions = [
    lambda x: x + 1, helper, closure(), partial(pow, 2), Model(5), Model(6).fit, imported, math.sin
]
sys.stdout.buffer.write(pickle.dumps([PickledFunction.of(each) for each in functions]))
"""
WORKER = """
import pickle, sys
for each in pickle.load(sys.stdin.buffer):
    function = each.load()
    print(each, function(0) if function.__class__.__name__ == "builtin_function_or_method"
          else function(3))
"""


def python(source: str, folder: Path, **more: Any) -> bytes:
    command = [sys.executable, "-c", source]
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, **more).stdout


def test_functions_that_cannot_be_imported_are_called_in_another_process(tmp_path: Path) -> None:
    session, worker = tmp_path / "session", tmp_path / "worker"
    session.mkdir()
    worker.mkdir()
    (session / "own.py").write_text("def imported(x):\n    return x * 100\n")
    sent = python(SESSION.format(factor=2), session)
    lines = python(WORKER, worker, input=sent).decode().splitlines()
    names, values = zip(*(line.rsplit(" ", 1) for line in lines), strict=True)
    assert [float(value) for value in values] == [4, 6, 16, 8, 15, -18, 300, 0]
    assert [name.partition("@")[0] for name in names] == [
        "__main__:<lambda>",
        "__main__:helper",
        "__main__:closure.<locals>.<lambda>",
        "builtins:pow",
        "__main__:Model",
        "__main__:Model.fit",
        "own:imported",
        "math:sin",
    ]

    again = python(SESSION.format(factor=2).replace("# a comment", "# another"), session)
    assert python(WORKER, worker, input=again).decode().splitlines() == lines
    others = python(WORKER, worker, input=python(SESSION.format(factor=3), session)).decode()
    changed = [i for i, line in enumerate(others.splitlines()) if line.split()[0] != names[i]]
    assert changed == [1, 2]  # the helper, and the closure that calls it


SCALE = 2


def scaled(x: float, power: int = 2) -> float:
    return SCALE * x**power


def among(x: float) -> bool:
    return x in {"one", "two", "three"}


class Line:
    """A line through the origin."""

    def __init__(self, slope: float) -> None:
        self.slope, self.itself = slope, self

    def __call__(self, x: float) -> float:
        return self.slope * x

    def back(self, x: float) -> float:
        return -self.slope * x


class Curve(Line):
    def __call__(self, x: float) -> float:
        return self.slope * x * x


@pytest.mark.parametrize(
    ("function", "other"),
    [
        (Line(1), Line(2)),
        (Line(1), Line(1).back),
        (Line(1).back, Line(2).back),
        (Line(1), Curve(1)),
        (lambda x: Line(x), lambda x: Curve(x)),
        (lambda x: x + 1, lambda x: x + 2),
        (lambda x, n=1: x + n, lambda x, n=2: x + n),
        (lambda x: abs(x), lambda x: round(x)),
        (lambda x: [x + 1 for _ in "ab"], lambda x: [x + 2 for _ in "ab"]),
        (lambda x: x.real, lambda x: x.imag),
        (lambda x: x, lambda y: y),
        (partial(pow, 2), partial(pow, 3)),
        (scaled, partial(scaled, power=3)),
        (among, scaled),
    ],
)
def test_functions_that_do_something_else_have_another_digest(
    function: Callable[..., Any], other: Callable[..., Any]
) -> None:
    assert digest(function) == digest(function)
    assert digest(function) != digest(other)


def test_a_number_that_a_function_uses_is_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest(scaled)
    monkeypatch.setattr(sys.modules[__name__], "SCALE", 3)
    assert digest(scaled) != before


def test_a_function_that_calls_itself_has_a_digest() -> None:
    def factorial(n: int) -> int:
        return n * factorial(n - 1) if n else 1

    chain: list[Any] = []
    chain.append(chain)
    assert len(digest(factorial)) == len(digest(lambda: chain)) == 12


def test_what_cannot_be_sent_is_one_line() -> None:
    lock = threading.Lock()
    with pytest.raises(ValueError, match=r"cannot be sent .* cannot pickle '_thread.lock' object"):
        PickledFunction.of(lambda x: lock.acquire())


def test_what_cannot_be_made_again_is_one_line() -> None:
    sent = PickledFunction("own:lost@3.11-0", b"cno_such_module\nlost\n.", ())
    there = pickle.loads(pickle.dumps(sent))
    with pytest.raises(InputError, match="own:lost@3.11-0 cannot be made in a worker: ModuleNotFo"):
        there.load()
