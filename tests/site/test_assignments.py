"""The assignments on the site: each can be opened, its chapters lead to it, and no solution is given away."""

import json
from pathlib import Path

import assignments
import pytest
from bs4 import BeautifulSoup
from helpers import hidden_lines
from test_pages import CHAPTERS, repository

ROOT = Path(__file__).resolve().parents[2]
MASTERS = sorted((ROOT / "notebooks" / "assignments").glob("[0-9]_*.ipynb"))
RELEASED = [assignments.read(ROOT / assignments.RELEASED / path.name) for path in MASTERS]


@pytest.fixture(scope="session")
def page(site) -> BeautifulSoup:
    return BeautifulSoup((site / "book" / "assignments.html").read_text(), "html.parser")


def secrets() -> set[str]:
    """The longer lines of the solutions and hidden tests, without those that a chapter or the package shows too."""
    taught = [path.read_text() for path in (ROOT / "resnet_utils").glob("*.py")]
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        taught += ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"]]
    shown = {line.strip() for text in taught for line in text.splitlines()}
    return hidden_lines([json.loads(path.read_text()) for path in MASTERS], min_length=40) - shown


def test_every_assignment_is_listed_with_its_chapters_its_time_and_where_to_open_it(page) -> None:
    rows = [row.select("td") for row in page.select("table.assignments tbody tr")]
    assert [row[0].get_text() for row in rows] == [one.title.removeprefix("Assignment ") for one in RELEASED]
    for row, one in zip(rows, RELEASED, strict=True):
        assert tuple(f"notebooks/{Path(a['href']).stem}" for a in row[1].select("a")) == one.chapters
        assert 60 <= int(row[2].get_text()) <= 120
        colab, file = (a["href"] for a in row[3].select("a"))
        place = repository().removeprefix("https://github.com/")
        assert colab == f"https://colab.research.google.com/github/{place}/blob/main/{one.file}"
        assert file == f"{repository()}/raw/main/{one.file}"
        assert (ROOT / one.file).is_file()


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_leads_to_its_assignments_and_to_no_other(site, chapter) -> None:
    soup = BeautifulSoup((site / f"{chapter}.html").read_text(), "html.parser")
    said = [p.get_text().replace("\N{NO-BREAK SPACE}", " ") for p in soup.select("article p.assignment")]
    own = [one.title for one in RELEASED if chapter in one.chapters]
    begin = "Assignments with checks follow" if len(own) > 1 else "An assignment with checks follows"
    assert said == ([f"{begin} this chapter: {'; '.join(own)}."] if own else [])
    linked = [link.get_text() for link in soup.select("article p.assignment a")]
    assert [text.replace("\N{NO-BREAK SPACE}", " ") for text in linked] == own


def test_no_solution_and_no_hidden_test_is_on_the_site_or_in_a_release(site) -> None:
    hidden = secrets()
    assert len(hidden) > 100
    files = [path for path in site.rglob("*") if path.suffix in {".html", ".ipynb", ".js", ".txt", ".md"}]
    released = [ROOT / one.file for one in RELEASED]
    given_away = []
    for path in [*files, *released]:
        text = path.read_text(encoding="utf-8", errors="replace")
        if path.suffix == ".html":
            text = BeautifulSoup(text, "html.parser").get_text()
        elif path.suffix == ".ipynb":
            text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
        given_away += [f"{path.name}: {line}" for line in hidden & {line.strip() for line in text.splitlines()}]
    assert given_away == []


def test_a_release_without_its_chapter_or_its_time_is_refused(tmp_path) -> None:
    path = tmp_path / "7_new.ipynb"
    cells = [{"cell_type": "markdown", "source": "# Assignment 7. New\n\nIt follows [chapter 1](../01_a.ipynb)."}]
    path.write_text(json.dumps({"cells": cells}))
    with pytest.raises(ValueError, match=r"7_new\.ipynb: its first text must hold .* the time"):
        assignments.read(path)
