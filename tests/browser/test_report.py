"""The report in a browser: light and dark, narrow and wide, without requests or scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.browser.pages import Browser
from tuner.report.page import WIDTH

pytestmark = pytest.mark.slow  # a browser takes seconds to come up


@pytest.mark.parametrize(
    ("width", "scheme"), [(1440, "light"), (1920, "dark"), (400, "light"), (400, "dark")]
)
def test_a_report_opens_offline(
    chromium: Any, ran: Path, shots: Path | None, width: int, scheme: str
) -> None:
    context = chromium.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=True
    )
    browser = Browser(context.new_page(), (ran / "out/s/report.html").as_uri())
    page = browser.open("")
    browser.shoot(shots, f"report-{scheme}-{width}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ink, paper = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    assert ink != paper
    images = page.locator("img")
    assert images.count() >= 5
    drawn = "every => every.every(image => image.complete && image.naturalWidth > 100)"
    assert images.evaluate_all(drawn)
    first = images.first
    before = first.bounding_box()["width"]
    assert before <= min(width, WIDTH)
    first.click()
    assert first.bounding_box()["width"] == first.evaluate("image => image.naturalWidth") > before
    assert page.get_by_text("<script>alert(1)</script>").count() > 0
    context.close()
    assert browser.complaints == []
