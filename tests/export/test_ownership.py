"""Whose a folder of results is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuner.export.ownership import PART, Owner, check_folder, claim, read_mark
from tuner.plugin import InputError


def test_a_mark_that_was_never_whole_bars_no_study(workplace: Path) -> None:
    owner = Owner("", "study", "study", "sqlite:///tuner.db")
    owner.folder.mkdir(parents=True)
    (owner.folder / PART).write_text('{"id": "')  # the disk was full, or it was killed
    check_folder(owner)
    (owner.folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds files that are not this study's"):
        check_folder(owner)
    (owner.folder / "notes.txt").unlink()
    claim(owner)
    assert read_mark(owner.folder) == owner
    assert not (owner.folder / PART).exists()
