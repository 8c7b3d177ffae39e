"""Compiled code that is kept: used where it is whole and this user's, else made anew."""

from __future__ import annotations

import marshal
import sys
from pathlib import Path

import pytest
from tuner_plugins import code_cache
from tuner_plugins.kernel_folder import digest_of

TEXT = "answer = 6 * 7\n"


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Return the texts that are compiled, on an empty cache."""
    texts: list[str] = []

    def count(text: str, *rest: object, **more: object) -> object:
        texts.append(text)
        return compile(text, *rest, **more)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(code_cache, "compile", count, raising=False)
    return texts


def answer(text: str = TEXT, name: str = "a.py") -> object:
    scope: dict[str, object] = {}
    exec(code_cache.load_code(text, name), scope)
    return scope["answer"]


def kept(folder: Path) -> list[Path]:
    return sorted(folder.glob("tuner-kernels/*"))


def test_compiled_once(compiled: list[str], tmp_path: Path) -> None:
    assert [answer(), answer(), answer()] == [42] * 3
    assert len(compiled) == 1
    (file,) = kept(tmp_path)
    assert file.stat().st_mode & 0o777 == 0o600


def test_another_text_name_python_or_optimisation_is_another_code(
    compiled: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answer()
    assert answer("answer = 43\n") == 43
    answer(name="b.py")
    monkeypatch.setattr(sys, "version", "3.99")
    answer()
    assert len(compiled) == len(kept(tmp_path)) == 4


def forged(path: Path) -> None:
    """Write sound code with the digest that belongs to another key."""
    content = marshal.dumps(compile("answer = 'forged'", "a.py", "exec"))
    path.write_bytes(digest_of(b"another key" + content).encode() + content)


SPOILT = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "flipped": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?"),
    "empty": lambda path: path.write_bytes(b""),
    "of another text": forged,
    "anybody's": lambda path: path.chmod(0o666),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a link into nothing": lambda path: (path.unlink(), path.symlink_to("nowhere")),
}


@pytest.mark.parametrize("how", SPOILT)
def test_what_is_damaged_or_foreign_is_never_executed(
    compiled: list[str], tmp_path: Path, how: str
) -> None:
    answer()
    (path,) = kept(tmp_path)
    SPOILT[how](path)
    assert answer() == 42
    assert len(compiled) == 2
    if not path.is_dir():
        assert answer() == 42  # what was spoilt is replaced
        assert len(compiled) == 2
    assert len(kept(tmp_path)) == 1


def test_another_users_is_not_read(compiled: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    answer()
    monkeypatch.setattr(code_cache, "is_ours", lambda status: False)
    assert (answer(), len(compiled)) == (42, 2)


@pytest.mark.parametrize("folders", [[], ["/proc/nowhere"]])
def test_nowhere_to_keep_it(
    compiled: list[str], monkeypatch: pytest.MonkeyPatch, folders: list[str]
) -> None:
    monkeypatch.setattr(code_cache, "kernel_folders", lambda: folders)
    assert [answer(), answer()] == [42, 42]
    assert len(compiled) == 2
