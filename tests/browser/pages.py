"""A page in a real browser, and what went wrong or outside in it."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)


@dataclass
class Browser:
    """A page, and what went wrong or outside in it; `missing` are addresses that may be absent."""

    page: Any
    base: str
    missing: Collection[str] = ()
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"page error: {error}"))
        self.page.on("request", self._request)
        self.page.on("response", self._response)

    def _console(self, message: Any) -> None:
        known = "status of 404" in message.text and self._may_miss(message.location["url"])
        if message.type == "error" and not known:
            self.complaints.append(f"console: {message.text}")

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.base, "data:", "blob:")):
            self.complaints.append(f"outside: {request.url}")

    def _response(self, response: Any) -> None:
        if response.status >= 400 and not self._may_miss(response.url):
            self.complaints.append(f"{response.status}: {response.url}")

    def _may_miss(self, url: str) -> bool:
        return any(part in url for part in self.missing)

    def open(self, fragment: str) -> Any:
        self.page.goto(self.base + fragment)
        return self.page

    def column(self, name: str) -> list[str]:
        cells = self.page.locator(f'[role=gridcell][col-id="{name}"]')
        cells.first.wait_for(timeout=30_000)
        return cells.all_inner_texts()

    def shoot(self, folder: Path | None, name: str) -> None:
        """Keep a picture of the page, where one is asked for, to be looked at."""
        if folder is not None:
            self.page.screenshot(path=folder / f"{name}.png")


@contextmanager
def running_chromium() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no chromium on PATH (apt-get install chromium): no page can be shown")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        outside = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", outside]
        )
        yield browser
        browser.close()
