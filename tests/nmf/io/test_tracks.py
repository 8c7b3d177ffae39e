"""Which files are tracks is told by content, and nothing else is opened."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tuner_plugins.nmf.io.bigwig import BigWigError
from tuner_plugins.nmf.io.folder import describe_taken, file_digest, list_folder
from tuner_plugins.nmf.io.tracks import list_tracks, with_chromosome

from tests.nmf.bigwig_files import Section, write_bigwig


def make_bigwig(path: Path, chrom: str = "chr10", value: float = 1.0, order: str = "<") -> Path:
    data = [Section(0, 1, [(0, 50, value), (50, 90, value + 1)])]
    return write_bigwig(path, {chrom: 1000}, data, order=order)


def mixed(folder: Path) -> Path:
    """Return a folder with five bigWig files of all endings, and with everything else there is."""
    folder.mkdir()
    for number, name in enumerate(["e.BW", "a.bw", "b.bigWig", "c.bigwig", "d"]):
        make_bigwig(folder / name, value=number, order="<>"[number % 2])
    make_bigwig(folder / ".hidden.bw")
    (folder / "cut.bw").write_bytes(b"")
    (folder / "page.bw").write_text("<html>not found</html>" * 9)
    (folder / "peaks.bigBed").write_bytes((0x8789F2EB).to_bytes(4, "little") + bytes(99))
    (folder / "notes.txt").write_text("notes")
    (folder / "gone.bw").symlink_to(folder / "absent.bw")
    os.mkfifo(folder / "pipe.bw")
    (folder / "sub.bw").mkdir()
    make_bigwig(folder / "sub.bw" / "z.bw")
    return folder


def names(paths: list[str]) -> list[str]:
    return [os.path.basename(path) for path in paths]


def test_a_folder_is_searched_by_content(tmp_path: Path) -> None:
    folder = mixed(tmp_path / "data")
    tracks, answers, others, dead = found = list_tracks(folder)
    assert names(tracks) == ["a.bw", "b.bigWig", "c.bigwig", "d", "e.BW"]
    assert answers == []
    assert others == ["cut.bw", "notes.txt", "page.bw", "peaks.bigBed", "pipe.bw"]
    assert dead == ["gone.bw"]
    said = describe_taken(found, {}, "chr10")
    assert said == (
        "5 tracks of 11 files; left out: 5 no bigWig (cut.bw, notes.txt, page.bw, ...), "
        "1 link to a file that is not there (gone.bw)"
    )


def test_a_clean_folder_is_listed_by_name(tmp_path: Path) -> None:
    for name in ("b.bw", "a.bw", "B.bw"):
        make_bigwig(tmp_path / name)
    found = list_tracks([tmp_path])
    assert names(found[0]) == ["B.bw", "a.bw", "b.bw"]
    assert describe_taken(found, {}, "chr10") == "3 tracks"
    with pytest.raises(BigWigError, match="named twice"):
        list_tracks([tmp_path / "b.bw", tmp_path])


def test_the_answer_is_left_out_by_name_and_by_content(tmp_path: Path) -> None:
    genes = make_bigwig(tmp_path / "genes.bw", value=7)
    folder = mixed(tmp_path / "data")
    (folder / "copy.bw").write_bytes(genes.read_bytes())
    (folder / "link").symlink_to(genes)
    known = {"a.bw": (1, "another"), "/any/genes.bw": file_digest(str(genes))}
    found = list_folder(str(folder), known)
    assert found[1] == ["a.bw", "copy.bw", "link"]
    assert names(found[0]) == ["b.bigWig", "c.bigwig", "d", "e.BW"]
    assert "; left out: 3 annotation (a.bw, copy.bw, link), 5 no bigWig (" in describe_taken(
        found, {}, "x"
    )
    assert list_tracks([genes, folder / "d"], known)[1] == ["genes.bw"]
    with pytest.raises(BigWigError, match=r"no bigWig files .* left out: 1 annotation .genes.bw.$"):
        list_tracks(genes, known)


def test_tracks_without_the_chromosome_are_told_apart(tmp_path: Path) -> None:
    have = [str(make_bigwig(tmp_path / f"{i}.chr10.bw")) for i in range(2)]
    lack = [str(make_bigwig(tmp_path / f"{i}.chrX.bw", "chrX")) for i in range(3)]
    none = dict.fromkeys(lack, "")
    assert with_chromosome([lack[0], *have, *lack[1:]], "chr10") == (have, none)
    found = list_tracks(tmp_path)
    assert describe_taken(found, none, "chr10", ", here") == (
        "2 tracks of 5 files, here; left out: 3 without chr10 (0.chrX.bw, 1.chrX.bw, 2.chrX.bw)"
    )
    plain = str(make_bigwig(tmp_path / "z.bw", "10"))
    _, absent = with_chromosome([*lack, *have, plain], "chr10")
    assert absent == {**none, plain: "10"}
    told = describe_taken(list_tracks(tmp_path), absent, "chr10")
    assert "left out: 4 without chr10 (z.bw: it has '10', 0.chrX.bw, 1.chrX.bw, ...)" in told
    with pytest.raises(BigWigError, match="none of 5 bigWig files has a chromosome called '10'"):
        with_chromosome(have + lack, "10")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("peaks.bigBed", "a bigBed file"),
        ("notes.txt", "not a bigWig file"),
        ("page.bw", "not a bigWig file"),
        ("cut.bw", "not a bigWig file"),
        ("pipe.bw", "neither a file nor a folder"),
        ("gone.bw", "no such file or folder at .*absent.bw, which it links to"),
        ("missing", "no such file or folder"),
    ],
)
def test_what_is_named_and_no_bigwig_is_an_error(tmp_path: Path, name: str, said: str) -> None:
    folder = mixed(tmp_path / "data")
    with pytest.raises(BigWigError, match=said) as caught:
        list_tracks([folder / "a.bw", folder / name])
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_to_take_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BigWigError, match=f"{tmp_path}: no bigWig files to take as tracks$"):
        list_tracks(tmp_path)
    (tmp_path / "a.txt").touch()
    with pytest.raises(BigWigError, match=r"left out: 1 no bigWig .a.txt."):
        list_tracks(tmp_path)
    with pytest.raises(BigWigError, match="no tracks given"):
        list_tracks([])


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_track_that_cannot_be_read_is_no_track_less(tmp_path: Path) -> None:
    make_bigwig(tmp_path / "a.bw")
    (tmp_path / "notes").touch(0)
    assert names(list_tracks(tmp_path)[0]) == ["a.bw"]
    make_bigwig(tmp_path / "b.BW").chmod(0)
    with pytest.raises(BigWigError, match="b.BW: cannot be read"):
        list_tracks(tmp_path)
