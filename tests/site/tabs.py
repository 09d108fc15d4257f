"""A Chromium or Chrome of this machine, and a tab in it that keeps what a page asks for and complains of."""

import shutil
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, Playwright

NAMES = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--in-process-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
PATIENCE = 120_000  # milliseconds: the machine may be busy


def launch(playwright: Playwright) -> Browser | None:
    """The browser that is installed; None if there is none."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    return path and playwright.chromium.launch(executable_path=path, args=FLAGS, timeout=PATIENCE)


class Tab:
    """A tab of a fresh profile without a network, and what it asked for and complained of since it was opened."""

    def __init__(self, browser: Browser, theme: str):
        self.foreign, self.failed, self.errors = [], [], []
        profile = browser.new_context(color_scheme=theme, viewport=DESK, offline=True)
        profile.set_default_timeout(PATIENCE)
        self.page: Page = profile.new_page()
        self.page.on("request", self.note_request)
        self.page.on("requestfailed", lambda request: self.failed.append(f"{request.url}: {request.failure}"))
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def note_request(self, request) -> None:
        if urlsplit(request.url).scheme not in {"file", "data", "blob"}:
            self.foreign.append(request.url)
