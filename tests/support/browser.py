"""A headless Chromium that opens a page as a reader does: wide, on a telephone, in the dark, on paper."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

LETTER = 816 - 2 * 45
"""Width of a Letter page between margins of 12 mm, in CSS pixels."""
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextmanager
def opened(page: Path, width: int, *, media: str = "screen", scheme: str = "light") -> "Iterator[object]":
    """The page of playwright, at a width in CSS pixels; skips the test where there is no Chromium."""
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        found = next(filter(None, map(shutil.which, _NAMES)), None)
        found = found or playwright.chromium.executable_path
        if not Path(found).is_file():
            pytest.skip("no Chromium (on Debian: apt-get install chromium; or playwright install chromium)")
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        try:
            view = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            view.goto(page.absolute().as_uri())
            view.emulate_media(media=media, color_scheme=scheme)
            yield view
        finally:
            browser.close()
