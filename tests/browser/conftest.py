"""One browser for all pages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.pages import running_chromium


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    with running_chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def shots() -> Path | None:
    """Return where screenshots are kept, to be looked at; None where nobody asks for them."""
    folder = os.environ.get("TUNER_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder) if folder else None
