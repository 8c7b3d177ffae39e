"""bigWig files over http from a server on loopback, which may fail in every way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyBigWig
import pytest
from tuner_plugins.kernel_folder import kernel_folders
from tuner_plugins.nmf import params as nmf_params
from tuner_plugins.nmf.config import NmfConfig
from tuner_plugins.nmf.io import remote
from tuner_plugins.nmf.io.bigwig import BigWigError, chromosomes, read_runs
from tuner_plugins.nmf.io.tracks import list_tracks
from tuner_plugins.nmf.kernels.build import load_kernels
from tuner_plugins.nmf.model.reference import read_per_base
from tuner_plugins.nmf.plugin import NmfPlugin

from tests.nmf.track_server import TrackServer, serving
from tests.nmf.tracks import CHROM, LENGTH, make_annotation, make_tracks, read_values, write_bigwig
from tuner.plugin import InputError, Provenance

LONG = 40_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("served")
    make_tracks(path, seed=8)
    make_annotation(path / "genes.bw")
    rng = np.random.default_rng(1)
    with pyBigWig.open(str(path / "long.bw"), "w") as file:
        file.addHeader([("chr1", LONG)], maxZooms=0)
        file.addEntries("chr1", 0, values=rng.random(LONG // 100).tolist(), span=100, step=100)
    return path


@pytest.fixture
def server(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrackServer]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(remote, "PAUSE", 0.01)
    remote.open_remote.cache_clear()
    with serving(folder) as state:
        yield state
    remote.open_remote.cache_clear()


@pytest.fixture
def compiled(server: TrackServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the empty cache folder have the kernels: a compile takes seconds."""
    cache = os.environ["XDG_CACHE_HOME"]
    with monkeypatch.context() as usual:
        usual.delenv("XDG_CACHE_HOME")
        load_kernels()
        load_kernels(quick=True)
        (folder,) = kernel_folders()[-1:]
    inside = Path(cache) / "tuner-kernels"
    inside.mkdir(mode=0o700, parents=True)
    for path in Path(folder).glob("*.so"):
        shutil.copy2(path, inside)


def read(address: str, *region: Any) -> Any:
    runs = read_runs(address, *region)
    return runs.ends.tolist(), runs.values.tolist()


def new_process() -> None:
    """Forget what is open; what is kept on the disk stays."""
    remote.open_remote.cache_clear()


def test_a_region_is_read_alone_and_once(server: TrackServer, folder: Path) -> None:
    address, region = server.url("long.bw?key=secret"), ("chr1", 20_000_000, 20_300_000)
    expected = str(read(str(folder / "long.bw"), *region))
    assert str(read(address, *region)) == expected
    size = (folder / "long.bw").stat().st_size
    assert size > 1_000_000
    assert server.sent < size / 3
    assert chromosomes(address) == {"chr1": LONG}
    sent, asked = server.sent, len(server.asked)
    assert str(read(address, *region)) == expected
    assert (server.sent, len(server.asked)) == (sent, asked)
    new_process()
    assert str(read(address, *region)) == expected
    assert len(server.asked) == asked + 1  # which version there is
    assert server.sent == sent + 65_536
    # another version is read anew, and the one before it is let go
    server.etag, kept = '"two"', cached_files()
    new_process()
    assert str(read(address, *region)) == expected
    assert server.sent > sent * 1.8
    assert len(cached_files()) == len(kept) == 3
    assert len(set(cached_files()) & set(kept)) == 1


def cached_files() -> list[str]:
    return os.listdir(Path(os.environ["XDG_CACHE_HOME"]) / "tuner-kernels" / "tracks")


def test_what_no_version_is_told_of_is_not_trusted_the_next_time(server: TrackServer) -> None:
    server.etag = None
    address = server.url("long.bw")
    read(address, "chr1", 0, 1000)
    sent = server.sent
    new_process()
    read(address, "chr1", 0, 1000)
    assert server.sent == 2 * sent


@pytest.mark.parametrize(
    ("fault", "after", "said"),
    [
        ("404", 0, "no such file (404); check the address"),
        ("403", 0, "the server refuses access (403)"),
        ("418", 0, "the server answers 418"),
        ("503", 0, "the server fails (503) (3 attempts)"),
        ("whole", 0, "sends no parts of files (byte ranges)"),
        ("shifted", 0, "the server sent bytes 1-65535 where 0-65535 were asked for"),
        ("truncated", 0, "the server broke off after 32,768 of 65,536 bytes (3 attempts)"),
        ("slow", 1, "the server is too slow"),
        ("silent", 1, "the server sent nothing for 0.6 s (3 attempts)"),
        ("whole", 1, "sends no parts of files"),
        ("416", 1, "shorter than it was"),
        ("truncated", 1, "the server broke off after"),
    ],
)
def test_a_fault_is_one_line_that_says_what_to_do(
    server: TrackServer, monkeypatch: pytest.MonkeyPatch, fault: str, after: int, said: str
) -> None:
    monkeypatch.setattr(remote, "SILENCE", 0.6 if fault == "silent" else 2.0)
    monkeypatch.setattr(remote, "LEAST_RATE", 1 << 20)
    server.fault, server.after = fault, after
    with pytest.raises(BigWigError) as caught:
        read_runs(server.url("long.bw?key=secret"), "chr1", 20_000_000, 20_300_000)
    message = str(caught.value)
    assert said in message
    assert message.startswith(server.url("long.bw: "))
    assert "secret" not in message
    assert "\n" not in message


def test_a_server_that_is_busy_for_a_moment_is_asked_again(server: TrackServer) -> None:
    server.fault, server.after = "busy", 1
    read(server.url("long.bw"), "chr1", 20_000_000, 20_300_000)
    assert len(server.asked) >= 4


def test_a_file_that_changes_in_the_midst_is_never_mixed(server: TrackServer) -> None:
    address = server.url("long.bw")
    read(address, "chr1", 0, 1000)
    server.etag = '"two"'
    with pytest.raises(BigWigError, match="changed on the server while it was read"):
        read(address, "chr1", 30_000_000, 30_300_000)
    new_process()
    read(address, "chr1", 30_000_000, 30_300_000)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://127.0.0.1:1/a.bw", "cannot be reached ([Errno 111] Connection refused)"),
        ("http://me:pass@127.0.0.1/a.bw", "an address with a user's name is not read"),
    ],
)
def test_an_address_that_leads_nowhere_is_one_line(
    server: TrackServer, address: str, said: str
) -> None:
    with pytest.raises(BigWigError) as caught:
        list_tracks([address])
    assert said in str(caught.value)
    assert "pass@" not in str(caught.value)


def test_damaged_bytes_are_refused_as_those_of_a_local_file(
    server: TrackServer, folder: Path, tmp_path: Path
) -> None:
    data = bytearray((folder / "track0.bw").read_bytes())
    server.folder = tmp_path
    rng = np.random.default_rng(2)
    said = set()
    for number in range(30):
        wrong = data.copy()
        for place in rng.integers(0, 600, 3):
            wrong[place] = rng.integers(256)
        for name, content in ((f"{number}.bw", wrong), (f"{number}.html", b"<html>" * 50)):
            (tmp_path / name).write_bytes(content)
            try:
                read_runs(server.url(name), CHROM, 0, LENGTH)
            except BigWigError as error:
                said.add(str(error).partition(": ")[2][:30])
    assert not any("\n" in text for text in said)
    assert any(text.startswith("not a bigWig file") for text in said)
    assert len(said) > 2


def test_a_study_and_its_script_leave_out_the_same_remote_tracks(
    server: TrackServer, folder: Path, tmp_path: Path, compiled: None
) -> None:
    server.folder, tracks = tmp_path, tmp_path / "tracks"
    (tmp_path / "far").mkdir()
    make_tracks(tracks, seed=8, tracks=3)
    genes, large = tmp_path / "genes.bw", tmp_path / "as large.bw"
    for name, path in (("genes.bw", genes), ("track4.bw", large)):
        path.write_bytes((folder / name).read_bytes().ljust(100_000, b"\0"))
    assert genes.stat().st_size == large.stat().st_size
    for path in (tracks / "genes.bw", tmp_path / "far" / "genes.bw", tmp_path / "far" / "a.bw"):
        shutil.copy2(genes, path)
    values = np.nan_to_num(read_values(genes, CHROM))
    write_bigwig(tmp_path / "same values.bw", np.arange(1, LENGTH + 1), values)
    far = ["far/genes.bw?key=secret", "far/a.bw?key=secret", "same%20values.bw", "as%20large.bw"]
    urls = [server.url(name) for name in far]
    data = {"bigwigs": [tracks, *urls], "annotation": genes}
    data["cases"] = [{"region": f"{CHROM}:1000-25000", "k": 2}]
    plugin = NmfPlugin(NmfConfig.model_validate({"data": data}))
    (case,) = plugin.load().tuned
    left = "left out: 4 annotation (genes.bw, genes.bw, a.bw, ...)"
    assert any(left in note for note in plugin.notes()), plugin.notes()
    assert case.data.tracks == [*(str(tracks / f"track{i}.bw") for i in range(3)), urls[3]]
    script, params = tmp_path / "assign2.py", {**nmf_params.DEFAULTS, "resolution": 50}
    plugin.freeze(params, script, Provenance("a study"))
    out = str(tmp_path / "out.npy")
    region = ["-c", CHROM, "-s", "1000", "-e", "25000", "-k", "2", "-o", out]
    # another name than those of the study, and one that it knows with other content
    shutil.copy2(genes, tmp_path / "new.bw")
    (tmp_path / "new").mkdir()
    shutil.copy2(folder / "track3.bw", tmp_path / "new" / "genes.bw")
    new = [server.url("new.bw"), server.url("new/genes.bw?key=secret")]
    write_bigwig(tmp_path / "idle.bw", np.array([LENGTH]), np.zeros(1))
    idle, lack = [server.url("idle.bw?key=secret")], [server.url("lack.bw?key=secret")]
    with pyBigWig.open(str(tmp_path / "lack.bw"), "w") as file:
        file.addHeader([("chr1", LENGTH)], maxZooms=0)
    expected = plugin.run(case, params, 0).expand()
    for given, said in (
        (urls, f"4 tracks of 8 files, {CHROM}:1000-25000, k 2; {left}"),
        (urls[3:] + new, "4 tracks of 7 files"),
        (urls[3:] + idle, "of 1 of 5 tracks (idle.bw)"),
        (urls[3:] + lack, "1 without chr7 (lack.bw)"),
    ):
        command = [sys.executable, str(script), "-b", ",".join([str(tracks), *given]), *region]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert said in done.stderr
        assert "secret" not in done.stderr
        if idle[0] not in given:
            np.testing.assert_allclose(np.load(out), expected, atol=1e-12)


def test_a_study_and_its_script_read_remote_tracks(
    server: TrackServer, folder: Path, tmp_path: Path, compiled: None
) -> None:
    names = [f"track{number}.bw" for number in range(5)]
    results = []
    near = [folder / name for name in names]
    for tracks in (near, [near[0], *map(server.url, names[1:])]):
        data = {"bigwigs": tracks, "annotation": folder / "genes.bw"}
        data["cases"] = [{"region": f"{CHROM}:1000-25000", "k": 2}]
        plugin = NmfPlugin(NmfConfig.model_validate({"data": data}))
        assert NmfPlugin(NmfConfig.model_validate(plugin.config.model_dump(mode="json")))
        (case,) = plugin.load().tuned
        params = {**nmf_params.DEFAULTS, "resolution": 50}
        dense = read_per_base(tracks, *case.data.region)
        results.append((plugin.run(case, params, 0).expand(), dense))
    for local, far in zip(*results, strict=True):
        np.testing.assert_allclose(far, local, atol=1e-12)
    stamps = [path for path in plugin.inputs() if path.suffix == ".txt"]
    assert [path.read_text().split()[:2] for path in stamps] == [
        [server.url(name), '"one"'] for name in names[1:]
    ]
    assert plugin.notes()
    script = tmp_path / "assign2.py"
    plugin.freeze(params, script, Provenance("a study"))
    command = plugin.command(case, script, tmp_path / "out.npy")
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (0, 1), done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), results[0][0], atol=1e-12)
    assert server.url(names[4]) in plugin.usage(script)[0][2]
    server.fault = "404"
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "the server has no such file (404)" in done.stderr
    new_process()
    with pytest.raises(InputError, match=r"no such file \(404\)"):
        NmfPlugin(plugin.config).inputs()
