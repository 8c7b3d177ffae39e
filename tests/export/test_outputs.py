"""Where an output's path leads: files, links, devices, pipes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.devices import identity, null_device
from tuner.export.bundle import write_script
from tuner.export.outputs import OutputError, write_output
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
    with pytest.raises(OutputError, match="nobody reads the pipe"):
        write_output(pipe, words)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    while not read and reader.is_alive():
        try:
            write_output(pipe, words, mode=0o755)
            break
        except OutputError:
            continue
    reader.join(10)
    assert read == ["words"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("linked", [False, True])
def test_a_device_is_written_to_and_stays(tmp_path: Path, linked: bool) -> None:
    node = null_device(tmp_path / "null")
    before = identity(node)
    out = tmp_path / "link"
    out.symlink_to(node) if linked else node.rename(out)
    write_script(out, words)
    assert identity(node if linked else out) == before
    assert {path.name for path in tmp_path.iterdir()} == ({"null", "link"} if linked else {"link"})


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full here")
    (tmp_path / "link").symlink_to("/dev/full")
    with pytest.raises(OutputError, match="cannot write .*link: No space left on device"):
        write_output(tmp_path / "link", words)
    with pytest.raises(OutputError, match="cannot write .*file: No space left on device"):
        write_output(tmp_path / "file", lambda _: Path("/dev/full").write_text("words"))
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


def test_standard_output_that_is_a_pipe_is_written_to() -> None:
    if not os.path.exists("/dev/stdout"):
        pytest.skip("there is no /dev/stdout here")
    code = "import sys; from pathlib import Path; from tuner.export.outputs import write_output; "
    code += "write_output(Path('/dev/stdout'), lambda path: path.write_text('words'))"
    assert subprocess.check_output([sys.executable, "-c", code]) == b"words"


def test_a_new_file_has_the_permissions_that_the_user_asks_for(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_output(tmp_path / "file", words)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


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
        write_script(tmp_path / name, words)
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


def test_what_a_killed_writer_left_is_removed_and_what_a_living_one_has_is_not(
    tmp_path: Path,
) -> None:
    killed = (
        "import os, sys; from pathlib import Path; from tuner.export.outputs import write_output"
    )
    killed += "; write_output(Path(sys.argv[1]), lambda part: os.kill(os.getpid(), 9))"
    subprocess.run([sys.executable, "-c", killed, str(tmp_path / "out.txt")])
    assert len(list(tmp_path.iterdir())) == 1
    (tmp_path / ".out.txt.notes.tmp").write_text("the user's")

    def write(part: Path) -> None:
        part.write_text("first")
        write_output(tmp_path / "out.txt", lambda other: other.write_text("second"))
        assert part.read_text() == "first"

    write_output(tmp_path / "out.txt", write)
    assert (tmp_path / "out.txt").read_text() == "first"
    assert {path.name for path in tmp_path.iterdir()} == {"out.txt", ".out.txt.notes.tmp"}
