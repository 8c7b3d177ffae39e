"""The manual in a browser, opened from its folder: nothing from outside, and search works."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.browser.pages import Browser

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slow,  # a browser and the manual take their time
    pytest.mark.skipif(find_spec("mkdocs") is None, reason="the extra `docs` is not installed"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("manual") / "site"
    build = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, timeout=600)
    return folder


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_opens(chromium: Any, site: Path, shots: Path | None, scheme: str) -> None:
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, color_scheme=scheme)
    browser = Browser(context.new_page(), site.as_uri())
    pages = sorted(path for path in site.rglob("*.html") if path.name != "404.html")
    assert len(pages) > 25
    for path in pages:
        page = browser.open(f"/{path.relative_to(site)}")
        page.locator("h1").first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 1440, path.name
        # code is read in one piece: no cell's is broken within a word
        assert page.locator("td code").evaluate_all(
            "all => all.every(code => getComputedStyle(code).wordBreak === 'normal')"
        )
        drawn = "all => all.every(image => image.complete && image.naturalWidth > 100)"
        assert page.locator("article img").evaluate_all(drawn), path.name
        name = str(path.relative_to(site).with_suffix("")).replace("/", "-")
        browser.shoot(shots, f"manual-{scheme}-{name}")
    context.close()
    assert browser.complaints == []


def test_formulas_are_drawn(chromium: Any, site: Path) -> None:
    browser = Browser(chromium.new_page(), site.as_uri())
    formulas = browser.open("/solvers.html").locator("math")
    assert formulas.count() > 20
    assert formulas.evaluate_all(
        "all => all.every(math => math.getBoundingClientRect().height > 5)"
    )
    browser.page.close()
    assert browser.complaints == []


def test_search_works_from_a_folder(chromium: Any, site: Path, shots: Path | None) -> None:
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    browser = Browser(context.new_page(), site.as_uri())
    page = browser.open("/index.html")
    page.get_by_placeholder("Search").fill("fl_lambda")
    found = page.locator(".md-search-result__link")
    found.first.wait_for(timeout=30_000)
    browser.shoot(shots, "manual-search")
    hrefs = found.evaluate_all("all => all.map(link => link.href)")
    assert any("reference/plugins.html" in href for href in hrefs)
    found.first.click()
    page.wait_for_url(lambda url: "index.html" not in url)
    assert page.get_by_text("fl_lambda").count() > 0
    context.close()
    assert browser.complaints == []
