"""A tab of the browser that keeps what a page asks for and complains of."""

from urllib.parse import urlsplit

from browser import PATIENCE
from playwright.sync_api import Browser, Page

DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


class Tab:
    """A tab of a fresh profile without a network, and what it asked for and complained of since it was opened."""

    def __init__(self, browser: Browser, theme: str):
        self.foreign, self.failed, self.errors = [], [], []
        profile = browser.new_context(color_scheme=theme, viewport=DESK, offline=True)
        profile.set_default_timeout(PATIENCE)
        self.page: Page = profile.new_page()
        self.page.on("request", self.note_request)
        self.page.on("requestfailed", self.note_failure)
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def note_failure(self, request) -> None:
        if request.failure != "net::ERR_ABORTED":  # the page was left before the file came
            self.failed.append(f"{request.url}: {request.failure}")

    def note_request(self, request) -> None:
        if urlsplit(request.url).scheme not in {"file", "data", "blob"}:
            self.foreign.append(request.url)
