"""Where the output of a script goes: files, links, devices and pipes."""

from __future__ import annotations

import io
import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
from tuner_plugins.nmf.model.factorize import Loadings
from tuner_plugins.nmf.script import npy, placing
from tuner_plugins.nmf.script.npy import output_problem, save_loadings

from tests.devices import identity, null_device, pipe_content
from tests.nmf.script.test_main import (  # noqa: F401 - fixtures
    flat,
    folder,
    make_script,
    plugin,
    run_script,
    usual,
)

LOADINGS = Loadings(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([70_000, 90_000]), np.ones((2, 1)))


def save(path: Path) -> None:
    save_loadings(str(path), LOADINGS)


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("there", [False, True])
def test_a_link_of_the_scripts_output_stays(
    plugin,  # noqa: F811
    folder,  # noqa: F811
    tmp_path: Path,
    quick: bool,
    there: bool,
) -> None:
    disk, here = tmp_path / "disk", tmp_path / "here"
    for made in (disk, here):
        made.mkdir()
    target, link = disk / "out.npy", here / "link.npy"
    link.symlink_to(Path("..") / "disk" / "out.npy")
    if there:
        target.write_bytes(b"of before")
    script = make_script(plugin, tmp_path / "assign2.py")
    words = flat(usual(folder, link))
    words[0] = "-b" if quick else "--bw"  # an abbreviation is left to the careful path
    done = run_script(script, *words)
    assert (done.returncode, done.stderr.count("\n")) == (0, 1), done.stderr
    assert link.is_symlink()
    assert np.load(target).shape[1] == 3
    assert os.listdir(disk) == ["out.npy"]
    assert os.listdir(here) == ["link.npy"]


@pytest.mark.parametrize("linked", [False, True])
def test_a_device_is_written_to_and_stays(
    plugin,  # noqa: F811
    folder,  # noqa: F811
    tmp_path: Path,
    linked: bool,
) -> None:
    node = null_device(tmp_path / "null.npy")
    before = identity(node)
    out = tmp_path / "link.npy"
    out.symlink_to(node) if linked else node.rename(out)
    script = make_script(plugin, tmp_path / "assign2.py")
    done = run_script(script, *flat(usual(folder, out)))
    assert (done.returncode, done.stderr.count("\n")) == (0, 1), done.stderr
    assert identity(node if linked else out) == before
    assert out.is_symlink() == linked
    assert {path.suffix for path in tmp_path.iterdir()} == {".py", ".npy"}


def test_a_pipe_takes_the_whole_array_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "out.npy"
    os.mkfifo(pipe)
    content = pipe_content(pipe, lambda: save(pipe))
    np.testing.assert_array_equal(np.load(io.BytesIO(content)), LOADINGS.expand())
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert os.listdir(tmp_path) == ["out.npy"]


def test_a_pipe_that_nobody_reads_is_one_line(plugin, folder, tmp_path: Path) -> None:  # noqa: F811
    pipe = tmp_path / "out.npy"
    os.mkfifo(pipe)
    script = make_script(plugin, tmp_path / "assign2.py")
    done = run_script(script, *flat(usual(folder, pipe)))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"{pipe}: cannot be written (nobody reads the pipe)" in done.stderr
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full here")
    link = tmp_path / "out.npy"
    link.symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"out.npy: cannot be written \(No space left on device\)"):
        save(link)
    assert link.is_symlink()


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/stdout leads to /proc on Linux alone")
def test_standard_output_that_is_a_pipe_is_written_to(plugin, folder, tmp_path: Path) -> None:  # noqa: F811
    script = make_script(plugin, tmp_path / "assign2.py")
    words = flat(usual(folder, Path("/dev/stdout")))
    code = "import subprocess, sys; done = subprocess.run([sys.executable, *sys.argv[1:]], "
    code += "stdout=subprocess.PIPE); print(done.returncode, len(done.stdout))"
    (tmp_path / "outer.py").write_text(code)
    done = run_script(tmp_path / "outer.py", str(script), *words)
    plain = run_script(script, *flat(usual(folder, tmp_path / "out.npy")))
    assert plain.returncode == 0
    assert done.stdout.split() == ["0", str((tmp_path / "out.npy").stat().st_size)]


def test_where_a_link_leads_is_looked_at_before_the_work(tmp_path: Path) -> None:
    loop, far, home = (tmp_path / name for name in ("loop", "far", "home"))
    loop.symlink_to("loop")
    far.symlink_to(Path("absent") / "out.npy")
    home.symlink_to(tmp_path)
    assert output_problem(str(loop)) == f"{loop} is a circle of links; name a file"
    assert output_problem(str(far)) == f"no such folder: {tmp_path / 'absent'}; make it first"
    assert output_problem(str(home)) == f"{home} is a folder; give the name of a file"
    for path in (loop, home):
        with pytest.raises(OSError, match="cannot be written"):
            save(path)
    assert loop.is_symlink()
    assert home.is_symlink()


def test_what_cannot_be_made_whole_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, link = tmp_path / "out.npy", tmp_path / "link.npy"
    target.write_bytes(b"of before")
    link.symlink_to(target)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(npy, "_write", fail)
    with pytest.raises(OSError, match=r"link.npy: cannot be written \(No space"):
        save(link)
    assert target.read_bytes() == b"of before"
    assert sorted(os.listdir(tmp_path)) == ["link.npy", "out.npy"]
    assert not placing.is_special(str(link))
