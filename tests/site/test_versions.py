"""The directive in book/_ext/versions.py, seen in the HTML of a small book with and without a manifest."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

EXTENSIONS = Path(__file__).parents[2] / "book" / "_ext"
FIRST = {"date": "2026-11-25T23:59:30+02:00", "seconds": 60.04, "scale": "quick", "fingerprint": "f", "wanted": 60}
SECOND = {"date": "2026-11-26T01:02:03+00:00", "seconds": 7.0, "scale": "full 20", "fingerprint": "f", "wanted": 60}
SAME = {"python": "3.11.7", "torch": "2.14.1"}


def build(folder: Path, manifest: dict[str, dict] | None) -> BeautifulSoup:
    """The page of versions in a book of two notebooks, of which the second stands first in the contents."""
    folder.joinpath("conf.py").write_text(
        f"import sys\nsys.path.insert(0, {str(EXTENSIONS)!r})\n"
        "extensions = ['myst_parser', 'versions']\nhtml_theme = 'basic'\nexclude_patterns = ['out']\n"
    )
    folder.joinpath("index.md").write_text("# Book\n\n```{toctree}\nversions\nnotebooks/02_b\nnotebooks/01_a\n```\n")
    folder.joinpath("versions.md").write_text("# Versions\n\n```{versions}\n```\n")
    folder.joinpath("notebooks").mkdir()
    folder.joinpath("notebooks/01_a.md").write_text("# 1. The first\n")
    folder.joinpath("notebooks/02_b.md").write_text("# 2. The second\n")
    if manifest is not None:
        folder.joinpath("manifest.json").write_text(json.dumps(manifest))
    # In a process of its own: Sphinx keeps what the extensions of an earlier book in the same process registered.
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-n", "-b", "html", folder, folder / "out"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return BeautifulSoup((folder / "out" / "versions.html").read_text(), "html.parser")


def rows(page: BeautifulSoup, kind: str) -> list[list[str]]:
    return [[td.get_text() for td in tr.find_all("td")] for tr in page.select(f"table.{kind} tbody tr")]


def test_notebooks_are_listed_in_the_order_of_the_contents_with_links_and_the_date_in_utc(tmp_path):
    page = build(tmp_path, {"01_a.ipynb": FIRST | {"versions": SAME}, "02_b.ipynb": SECOND | {"versions": SAME}})
    assert rows(page, "executed") == [
        ["2. The second", "2026-11-26 01:02", "7.0", "full 20"],
        ["1. The first", "2026-11-25 21:59", "60.0", "quick"],
    ]
    assert [a["href"] for a in page.select("table.executed a")] == ["notebooks/02_b.html", "notebooks/01_a.html"]


def test_a_version_that_all_notebooks_had_stands_alone(tmp_path):
    page = build(tmp_path, {"01_a.ipynb": FIRST | {"versions": SAME}, "02_b.ipynb": SECOND | {"versions": SAME}})
    assert rows(page, "installed") == [["python", "3.11.7"], ["torch", "2.14.1"]]


@pytest.mark.parametrize(
    ("other", "shown"),
    [
        ({"python": "3.11.7", "torch": "2.13.0"}, "2.13.0 in 02_b; 2.14.1 in 01_a"),
        ({"python": "3.11.7"}, "2.14.1 in 01_a"),
    ],
)
def test_where_notebooks_had_different_versions_it_says_which_had_which(tmp_path, other, shown):
    page = build(tmp_path, {"01_a.ipynb": FIRST | {"versions": SAME}, "02_b.ipynb": SECOND | {"versions": other}})
    assert rows(page, "installed") == [["python", "3.11.7"], ["torch", shown]]


def test_a_book_without_a_manifest_says_so_and_shows_no_table(tmp_path):
    page = build(tmp_path, None)
    assert "was not built by make book" in page.get_text()
    assert not page.select("table")
