"""Fixtures that the whole suite shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Give the folder of real data beside the project; skip where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("TUNER_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"real data is not here ({folder}); the simulated twin of this test runs")
    return folder
