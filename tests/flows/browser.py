"""A real browser for the pages: Debian's Chromium, driven by Playwright."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

SCREENSHOTS = "TWINBAND_SCREENSHOTS"
"""The environment's name for a folder in which pictures of all pages are kept."""

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

LAPTOP = (1366, 768)
DESK = (1920, 1080)


@contextmanager
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        pytest.fail("there is no chromium; make browser installs it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield browser
        browser.close()


class Visit:
    """A page with what went wrong on it, and where it asked for what."""

    def __init__(self, browser: Browser, size: tuple[int, int]) -> None:
        self.context = browser.new_context(viewport={"width": size[0], "height": size[1]})
        self.page: Page = self.context.new_page()
        self.errors: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._note)
        self.page.set_default_timeout(20_000)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def _note(self, request: Request) -> None:
        self.asked.append(request.url)

    def overflow_px(self) -> int:
        """By how much the page is wider than its window."""
        wide: int = self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return wide

    def picture(self, name: str) -> None:
        """Keep what is to be seen, where the environment names a folder for it."""
        if folder := os.environ.get(SCREENSHOTS):
            size = self.page.viewport_size or {"width": 0}
            self.page.screenshot(path=Path(folder) / f"{name}-{size['width']}.png", full_page=True)


@contextmanager
def visiting(browser: Browser, size: tuple[int, int] = LAPTOP) -> Iterator[Visit]:
    visit = Visit(browser, size)
    yield visit
    visit.context.close()
