"""Of a folder of tracks: regions to tune on, and one to hold out that is far from them."""

from __future__ import annotations

from pathlib import Path

import pyBigWig
import pytest
from tuner_plugins.nmf.draft import draft_for
from tuner_plugins.nmf.simulate.tracks import simulate_tracks

LAYOUT = {"chr1": (90_000, 0, 90_000), "chr2": (90_000, 0, 60_000), "chr3": (90_000, 0, 60_000)}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tracks")
    simulate_tracks(folder, seed=7, tracks=3, layout=LAYOUT)
    return folder


def regions(home: Path) -> tuple[list[str], list[str], str]:
    """Return the chromosomes of cases, of what is held out, and what was noted."""
    draft = draft_for(home)
    assert draft is not None
    data = draft.sections["data"]
    chroms = [[case["region"].split(":")[0] for case in data[key]] for key in ("cases", "held_out")]
    return chroms[0], chroms[1], " ".join(draft.notes)


def test_a_region_of_another_chromosome_is_held_out(home: Path) -> None:
    tuned, held_out, notes = regions(home)
    assert (set(tuned), held_out) == ({"chr1"}, ["chr2"])
    assert "held out: a region of chr2, where nothing was tuned" in notes


def test_the_other_chromosome_has_genes(home: Path, tmp_path: Path) -> None:
    (tmp_path / "tracks").symlink_to(home / "tracks")
    lines = (home / "genes.bed").read_text().splitlines(keepends=True)
    for without, expected in ((("chr2",), "chr3"), (("chr2", "chr3"), "chr1")):
        kept = [line for line in lines if line.split("\t")[0] not in without]
        (tmp_path / "genes.bed").write_text("".join(kept))
        tuned, held_out, _ = regions(tmp_path)
        assert (set(tuned), held_out) == ({"chr1"}, [expected])


def test_the_other_chromosome_has_data_of_all_tracks(home: Path, tmp_path: Path) -> None:
    """One track knows nothing of chr2: k loadings of fewer tracks would be another problem."""
    (tmp_path / "genes.bed").write_text((home / "genes.bed").read_text())
    (tmp_path / "tracks").mkdir()
    first, *others = sorted((home / "tracks").iterdir())
    for path in others:
        (tmp_path / "tracks" / path.name).symlink_to(path)
    with (
        pyBigWig.open(str(first)) as source,
        pyBigWig.open(str(tmp_path / "tracks" / first.name), "w") as made,
    ):
        made.addHeader(
            [(name, length) for name, (length, _, _) in LAYOUT.items() if name != "chr2"]
        )
        for name in ("chr1", "chr3"):
            starts, ends, values = zip(*source.intervals(name), strict=True)
            made.addEntries(
                [name] * len(starts), list(starts), ends=list(ends), values=list(values)
            )
    tuned, held_out, _ = regions(tmp_path)
    assert (set(tuned), held_out) == ({"chr1"}, ["chr3"])
