"""Where an output's path leads: files, links, devices, pipes."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from tuner.export.bundle import write_script
from tuner.export.outputs import write_output
from tuner.plugin import InputError


def words(path: Path) -> None:
    path.write_text("words")


def test_a_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    target, link = tmp_path / "disk" / "file", tmp_path / "link"
    for before in (None, "old"):
        if before:
            target.write_text(before)
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        write_script(link, words)
        assert link.is_symlink()
        assert target.read_text() == "words"
        assert target.stat().st_mode & 0o111
        target.unlink()


def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="nobody reads the pipe"):
        write_output(pipe, words)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    while not read and reader.is_alive():
        try:
            write_output(pipe, words, mode=0o755)
            break
        except InputError:
            continue
    reader.join(10)
    assert read == ["words"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_is_written_to_and_stays(tmp_path: Path) -> None:
    link = tmp_path / "null"
    link.symlink_to("/dev/null")
    before = os.stat("/dev/null")
    write_script(link, words)
    write_script(Path("/dev/null"), words)
    after = os.stat("/dev/null")
    assert stat.S_ISCHR(after.st_mode)
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["null"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("folder", "it is a folder; name a file"),
        ("loop", "Symlink loop|Too many levels"),
        ("dangling", "no folder .*absent; make it first"),
        ("/proc/x", "cannot write /proc/x: "),
    ],
)
def test_what_cannot_be_written_is_one_line(tmp_path: Path, name: str, expected: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("absent/file")
    with pytest.raises(InputError, match=expected) as caught:
        write_output(tmp_path / name, words)
    assert "\n" not in str(caught.value)


def test_what_fails_half_way_leaves_what_was_there(tmp_path: Path) -> None:
    def half(path: Path) -> None:
        path.write_text("half")
        raise RuntimeError("broken")

    (tmp_path / "file").write_text("old")
    with pytest.raises(RuntimeError, match="broken"):
        write_output(tmp_path / "file", half)
    assert (tmp_path / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
