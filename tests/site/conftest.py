"""The built book, for the tests that look at it: made first if it is not up to date."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def site() -> Path:
    """The folder of the built book. `book/build.py` returns at once where nothing changed."""
    built = subprocess.run([sys.executable, ROOT / "book" / "build.py"], capture_output=True, text=True, check=False)
    assert built.returncode == 0, f"the book could not be built:\n{built.stdout}\n{built.stderr}"
    return ROOT / "_build" / "html"
