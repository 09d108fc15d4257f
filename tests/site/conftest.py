"""The built book, for the tests that look at it, made first if it is not up to date; and a browser to look with.

Without a Chromium or a Chrome the tests in a browser are skipped; RESNET_BROWSER=required, which CI says, makes them
fail then.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

# What is tested here is no package: the scripts behind `make`, and the extensions of Sphinx.
sys.path.insert(0, str(Path(__file__).parents[2] / "book" / "_ext"))
sys.path.insert(0, str(Path(__file__).parents[2] / "book"))
from browser import ADVICE, launch
from tabs import Tab

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def site() -> Path:
    """The folder of the built book. `book/build.py` returns at once where nothing changed."""
    built = subprocess.run([sys.executable, ROOT / "book" / "build.py"], capture_output=True, text=True, check=False)
    assert built.returncode == 0, f"the book could not be built:\n{built.stdout}\n{built.stderr}"
    return ROOT / "_build" / "html"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch(playwright)
        if browser is None:
            (pytest.fail if os.environ.get("RESNET_BROWSER") == "required" else pytest.skip)(ADVICE)
        yield browser
        browser.close()


@pytest.fixture
def tab(request, browser) -> Iterator[Tab]:
    tab = Tab(browser, theme=getattr(request, "param", "light"))
    yield tab
    tab.page.context.close()
