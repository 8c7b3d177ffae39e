"""Where kernels are kept: trusted folders only, in the home or among temporary files."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest
from tuner_plugins.kernel_folder import kernel_folders


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Return the user's folder and the private one, neither of them made."""
    temporary = tmp_path / "temporary"
    temporary.mkdir(mode=0o1777)
    temporary.chmod(0o1777)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return tmp_path / "cache" / "tuner-kernels", temporary / f"tuner-kernels-{os.geteuid()}"


def test_the_home_is_enough(places: tuple[Path, Path]) -> None:
    assert kernel_folders() == [str(places[0])]
    assert not places[1].exists()


@pytest.mark.parametrize("spoil", ["a file", "open to all", "nowhere"])
def test_without_a_trusted_home_it_is_a_private_folder(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, spoil: str
) -> None:
    home, private = places
    if spoil == "nowhere":
        monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    elif spoil == "a file":
        home.parent.mkdir()
        home.touch()
    else:
        home.mkdir(parents=True)
        home.chmod(0o777)
    assert kernel_folders() == [str(private)]
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert kernel_folders() == [str(private)]


@pytest.mark.parametrize("planted", ["link", "readable", "file", "another's", "no sticky bit"])
def test_what_others_may_have_put_there_is_not_used(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, planted: str, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    private = places[1]
    if planted == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        private.symlink_to(tmp_path / "elsewhere")
    elif planted == "readable":
        private.mkdir()
        private.chmod(0o755)
    elif planted == "file":
        private.touch(mode=0o700)
    elif planted == "no sticky bit":
        private.parent.chmod(0o777)
    else:
        private.mkdir(mode=0o700)
        found = os.lstat
        monkeypatch.setattr(os, "lstat", lambda path: _of_another(found(path)))
    assert kernel_folders() == []


def _of_another(status: os.stat_result) -> os.stat_result:
    fields = list(status)
    fields[stat.ST_UID] += 1
    return os.stat_result(fields)
