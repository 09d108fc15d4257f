"""The extension book/_ext/published.py: the address of the site, and what the end of each page says."""

from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import published
import pytest
from bs4 import BeautifulSoup

CONFIG = SimpleNamespace(
    html_baseurl="https://me.github.io/book/",
    html_theme_options={"repository_url": "https://github.com/me/book"},
    html_title="Networks & Measures",
    author="A. Author",
    copyright="2026",
)


def foot(pagename: str, title: str, is_root: bool = False) -> BeautifulSoup:
    return BeautifulSoup(published.foot(CONFIG, pagename, title, is_root=is_root), "html.parser")


@pytest.mark.parametrize(
    ("repository", "site"),
    [
        ("https://github.com/me/book", "https://me.github.io/book/"),
        ("https://github.com/Me/Book/", "https://me.github.io/Book/"),
        ("https://github.com/Me/me.github.io", "https://me.github.io/"),
    ],
)
def test_the_site_of_a_repository_is_that_of_github_pages(repository, site) -> None:
    assert published.pages_address(repository) == site


@pytest.mark.parametrize(("given", "used"), [("https://book.org/", "https://book.org/"), ("", CONFIG.html_baseurl)])
def test_an_address_that_was_set_is_kept(given, used) -> None:
    config = SimpleNamespace(**{**vars(CONFIG), "html_baseurl": given})
    published.settle_address(None, config)
    assert config.html_baseurl == config.ogp_site_url == used


def test_a_chapter_is_cited_with_its_number_its_title_and_its_address() -> None:
    end = foot("notebooks/05_bottlenecks", "5. What does a bottleneck save?")
    assert end.summary.get_text() == "Cite this chapter"
    address = "https://me.github.io/book/notebooks/05_bottlenecks.html"
    said = "A. Author (2026). “What does a bottleneck save?”, chapter 5 of Networks & Measures. " + address
    assert end.p.get_text() == said
    assert end.p.a["href"] == address
    assert end.pre.get_text() == (
        "@misc{residual-networks-measured-05_bottlenecks,\n"
        "  author = {{A. Author}},\n"
        "  title = {{What does a bottleneck save?}},\n"
        "  year = {2026},\n"
        f"  url = {{{address}}},\n"
        "  note = {Chapter 5 of Networks & Measures}\n}"
    )


def test_the_first_page_cites_the_book() -> None:
    end = foot("book/intro", "Networks & Measures", is_root=True)
    assert end.summary.get_text() == "Cite this book"
    assert end.p.get_text().startswith("A. Author (2026). Networks & Measures. https://")
    assert "note" not in end.pre.get_text()


def test_an_error_is_reported_with_the_page_it_stands_on() -> None:
    link = urlsplit(foot("book/claims", "Claims, checked").select_one("a.report")["href"])
    assert link.netloc + link.path == "github.com/me/book/issues/new"
    asked = parse_qs(link.query)
    assert asked["title"] == ["Error in “Claims, checked”"]
    assert "https://me.github.io/book/book/claims.html" in asked["body"][0]
