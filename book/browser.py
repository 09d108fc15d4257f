"""The Chromium or Chrome of this machine, for the printed edition and for the tests of the site."""

import shutil

from playwright.sync_api import Browser, Playwright

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
PATIENCE = 120_000  # milliseconds: the machine may be busy
ADVICE = "no Chromium or Chrome was found: apt-get install chromium fonts-dejavu-core"


def find() -> str | None:
    """Where the browser lies; None if there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def launch(playwright: Playwright) -> Browser | None:
    """The browser that is installed; None if there is none."""
    path = find()
    return path and playwright.chromium.launch(executable_path=path, args=FLAGS, timeout=PATIENCE)
