"""Bind the pages of the finished site into one page of HTML, which book/pdf.py prints.

The articles stand one behind the other, with a title, the contents and a page for each part before them. Links between
pages of the book become links inside the one page. The solutions of exercises stay in their places; the answers to the
questions with choices, which would give themselves away there, are moved to an appendix.
"""

import json
from html import escape
from importlib import metadata
from itertools import groupby
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from bs4 import BeautifulSoup, Tag

ANSWERS, ANSWERS_TITLE = "answers", "Answers to the questions"
NOT_PRINTED = "script, button, .headerlink, .cover-links, .toctree-wrapper, .page-foot"

PAGE = """<!DOCTYPE html>
<html lang="en" data-theme="light" data-mode="light">
<head><meta charset="utf-8"><title>{title}</title>
{sheets}
<style>@page {{ size: A4; }}
{running_titles}</style></head>
<body class="printed-book"><div class="bd-main"><div class="bd-content"><div class="bd-article-container">
<section class="title-page">
<p class="title">{title}</p>
<p class="author">{author}</p>
<p>Printed edition of version {version}. Its experiments were last run on {date}.</p>
<p>Read and run the book at <a href="{address}">{address}</a><br>Source: <a href="{source}">{source}</a></p>
<p>Text and figures: <a href="https://creativecommons.org/licenses/by/4.0/">CC BY 4.0</a>. Code: MIT licence.</p>
</section>
<section class="contents-page"><h1>Contents</h1>{contents}</section>
{chapters}
</div></div></div></body></html>
"""


class Chapter(NamedTuple):
    """A page of the site: its name and its part ("" for none) as in _toc.yml, its text, and its style sheets."""

    name: str
    part: str
    article: Tag
    title: str
    sheets: list[str]


def bind(site: Path, contents: dict, config: dict, date: str) -> str:
    """The HTML of the whole book. Its style sheets and pictures are the files of the site.

    Args:
        site: the folder of the built book.
        contents: what _toc.yml holds.
        config: what _config.yml holds.
        date: when the notebooks were last executed.
    """
    chapters = read_chapters(site, contents)
    address = site_address(site, contents["root"])
    join_links(chapters, site, address)
    chapters += answers(chapters)
    lines, sections, running_titles = [], [], []
    for part, group in groupby(chapters, key=lambda chapter: chapter.part):
        members = list(group)
        listed = "".join(f"<li>{entry(anchor(chapter.name), chapter.title)}</li>" for chapter in members)
        if part:
            target = f"part-{len(lines)}"
            lines.append(f'<p class="part">{entry(target, part)}</p>')
            sections.append(
                f'<section class="part-page" id="{target}"><h1>{escape(part)}</h1><ol>{listed}</ol></section>'
            )
        lines.append(f"<ol>{listed}</ol>")
        for chapter in members:
            for heading in chapter.article.select("h1, h2, h3, h4, h5, h6"):
                heading["aria-level"] = int(heading.name[1]) + bool(part)  # its level in the outline of the PDF
            target = anchor(chapter.name)
            title = json.dumps(chapter.title, ensure_ascii=False)  # CSS writes a text in the same way
            running_titles.append(f"@page {target} {{ @top-left {{ content: {title}; }} }}")
            sections.append(
                f'<section class="chapter" id="{target}" style="page: {target}">{chapter.article}</section>'
            )
    return PAGE.format(
        title=escape(config["title"]),
        author=escape(config["author"]),
        version=metadata.version("resnet_utils"),
        date=date,
        address=address,
        source=config["repository"]["url"],
        sheets="\n".join(f'<link rel="stylesheet" href="{site.as_uri()}/{url}">' for url in all_sheets(chapters)),
        running_titles="\n".join(running_titles),
        contents="".join(lines),
        chapters="\n".join(sections),
    )


def read_page(site: Path, name: str) -> BeautifulSoup:
    return BeautifulSoup((site / f"{name}.html").read_text(encoding="utf-8"), "html.parser")


def site_address(site: Path, root: str) -> str:
    """Where the site is published, as its own pages say."""
    return read_page(site, root).select_one("link[rel=canonical]")["href"].removesuffix(f"{root}.html")


def read_chapters(site: Path, contents: dict) -> list[Chapter]:
    """The pages of the book in the order of the contents."""
    places = [(contents["root"], "")]
    places += [(page["file"], part.get("caption", "")) for part in contents["parts"] for page in part["chapters"]]
    chapters = []
    for name, part in places:
        page = read_page(site, name)
        article = page.select_one("article")
        sheets = [urljoin(name, link["href"]) for link in page.select("link[rel=stylesheet]")]
        for unwanted in article.select(NOT_PRINTED):
            unwanted.decompose()
        for sign in article.select(".highlight .o"):
            sign.unwrap()  # each is an element in the PDF too, and a third of all of them
        if name == contents["root"]:
            article.h1.string = "About this book"  # its title stands on a page of its own
        chapters.append(Chapter(name, part, article, article.h1.get_text(), sheets))
    return chapters


def answers(chapters: list[Chapter]) -> list[Chapter]:
    """An appendix with the explanation of every choice; none if no chapter has a question with choices."""
    parts = []
    for chapter in chapters:
        if not (quiz := chapter.article.select_one(".quiz")):
            continue
        parts.append(f'<h2><a href="#{anchor(chapter.name)}">{escape(chapter.title)}</a></h2>')
        for asks in quiz.select(".asks"):
            parts.append(f"<p>{asks.strong}</p><dl>")
            for choice in asks.find_next_sibling().select(".choice"):
                parts.append(f"<dt>{choice.summary.b}</dt><dd>{choice.select_one('.explains').decode_contents()}</dd>")
            parts.append("</dl>")
        pointer = f'<p>Which are right, and why, is said under <a href="#{ANSWERS}">{ANSWERS_TITLE}</a>.</p>'
        quiz.append(BeautifulSoup(pointer, "html.parser"))
    if not parts:
        return []
    html = f'<article class="bd-article answers"><h1>{ANSWERS_TITLE}</h1>{"".join(parts)}</article>'
    return [Chapter(ANSWERS, chapters[-1].part, BeautifulSoup(html, "html.parser").article, ANSWERS_TITLE, [])]


def join_links(chapters: list[Chapter], site: Path, address: str) -> None:
    """Make a link lead to its place in the one page, or else into the published site, and a picture to its file."""
    articles = {chapter.name: chapter.article for chapter in chapters}
    for name, article in articles.items():
        for image in article.select("img[src]"):
            image["src"] = urljoin(f"{site.as_uri()}/{name}", image["src"])
            image["loading"] = "eager"
        for link in article.select("a[href]"):
            url = urlsplit(urljoin(f"{name}.html", link["href"]))
            page = url.path.removesuffix(".html")
            if page in articles and not url.scheme:
                target = anchor(page, url.fragment)
                if url.fragment and (place := articles[page].find(id=url.fragment)):
                    place["id"] = target
                link["href"] = f"#{target}"
            else:
                link["href"] = urljoin(address, url.geturl())


def anchor(page: str, fragment: str = "") -> str:
    """The id that a page, or a place in it, has in the one page: two pages may use the same."""
    return "-".join(filter(None, [page.replace("/", "-"), fragment]))


def entry(target: str, title: str) -> str:
    """A line of the contents, with room for the number of a page, which is filled in when it is known."""
    return f'<a class="numbered" href="#{target}"><span>{escape(title)}</span><i></i><span class="number">0</span></a>'


def all_sheets(chapters: list[Chapter]) -> list[str]:
    """The style sheets that any page loads, in the order of the page that loads most."""
    by_length = sorted(chapters, key=lambda chapter: len(chapter.sheets), reverse=True)
    return list(dict.fromkeys(url for chapter in by_length for url in chapter.sheets))
