"""The printed edition: bound and printed once for all tests here, then looked at in the browser and as a PDF."""

import re
from collections.abc import Iterator
from contextlib import nullcontext
from functools import cached_property
from html import unescape
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from unicodedata import normalize

import bind
import pdf
import pytest
import yaml
from bs4 import BeautifulSoup
from pypdf import PdfReader
from test_pages import PAGES, ROOT, TOC

CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())
DATE = "2026-01-02"

# What ends to the right of the print area, or is cut by a box.
WIDER = """() => [...document.querySelectorAll("body *:not(.katex-mathml *, svg *)")].filter((element) => {
    const box = element.getBoundingClientRect();
    return box.right > document.documentElement.clientWidth + 1 || box.left < -1;
}).map((element) => `${element.localName}.${element.className}: ${element.textContent.trim().slice(0, 60)}`)"""
# All that is shown, without code and formulas, and the code alone.
TEXT = """() => {
    const code = [...document.querySelectorAll("pre")].map((block) => block.innerText).join("\\n");
    const hidden = document.createElement("style");
    hidden.textContent = "pre, code, .katex { display: none !important; }";
    document.head.append(hidden);
    const prose = document.body.innerText;
    hidden.remove();
    return { prose, code };
}"""
SHOWN = """(what) => [...document.querySelectorAll(what)].filter((element) => element.checkVisibility())
    .map((element) => element.textContent.trim().slice(0, 60))"""


class Printed(SimpleNamespace):
    """The bound page, what the browser saw of it, and the PDF."""

    @cached_property
    def reader(self) -> PdfReader:
        return PdfReader(BytesIO(self.data))

    def text_of_page(self, number: int) -> str:
        """What a search in the PDF finds on a page; to read all pages would take a minute."""
        return normalize("NFKC", self.reader.pages[number - 1].extract_text())  # ligatures become letters

    @cached_property
    def places(self) -> dict[str, int]:
        return pdf.page_numbers(self.data)

    @cached_property
    def outline(self) -> list[tuple[int, str, int]]:
        """Level, title and number of the page of each bookmark."""

        def walk(items: list, level: int) -> Iterator[tuple[int, str, int]]:
            for item in items:
                if isinstance(item, list):
                    yield from walk(item, level + 1)
                else:
                    yield level, item.title, self.reader.get_destination_page_number(item) + 1

        return list(walk(self.reader.outline, 1))

    def links(self) -> Iterator[dict]:
        for page in self.reader.pages:
            for note in page.get("/Annots", []):
                if note.get_object()["/Subtype"] == "/Link":
                    yield note.get_object()


@pytest.fixture(scope="module")
def printed(site, browser, tmp_path_factory) -> Printed:
    document = tmp_path_factory.mktemp("printed") / "book.html"
    document.write_text(bind.bind(site, TOC, CONFIG, DATE))
    page = pdf.open_laid_out(browser, document)
    seen = {"wider": page.evaluate(WIDER), "controls": page.evaluate(SHOWN, "button, input, select, summary:empty")}
    seen["pictures"] = page.evaluate("[...document.images].map((image) => [image.src, image.naturalWidth])")
    seen["explanations"] = page.evaluate(SHOWN, ".quiz .explains")
    seen["text"] = page.evaluate(TEXT)
    seen["background"] = page.evaluate("getComputedStyle(document.body).backgroundColor")
    data = pdf.describe(pdf.print_numbered(page), page.evaluate(pdf.TITLES), CONFIG, DATE)
    page.close()
    return Printed(data=data, html=BeautifulSoup(document.read_text(), "html.parser"), **seen)


@pytest.fixture(scope="module")
def sources(site) -> list[str]:
    """The HTML of the pages, as the site has them."""
    return [(site / f"{page}.html").read_text() for page in PAGES]


@pytest.fixture(scope="module")
def titles(sources) -> list[str]:
    """The titles of the chapters; the introduction, whose title is that of the book, has another one in print."""
    headings = [re.search(r"<h1>(.+?)<a", source)[1] for source in sources[1:]]
    return ["About this book", *(unescape(re.sub("<[^>]*>", "", heading)) for heading in headings)]


def test_the_outline_holds_every_part_chapter_and_section_in_the_order_of_the_book(printed, titles, sources) -> None:
    parts = [part["caption"] for part in TOC["parts"] if "caption" in part]
    assert [title for level, title, _ in printed.outline if level == 1 and title in parts] == parts
    numbered = [title for level, title, _ in printed.outline if level == 2 and re.match(r"\d+\. ", title)]
    assert numbered == [title for title in titles if re.match(r"\d+\. ", title)]
    names = iter(title for _, title, _ in printed.outline)
    assert [title for title in titles if title not in names] == []  # each is looked for behind the one before
    sections = sum(len(re.findall("<h[2-6]", source.split("<article")[1])) for source in sources)
    others = 2 + len(parts) + len(titles)  # the contents and the answers have a title too
    answered = len(printed.html.select(".answers h2"))
    assert len(printed.outline) == sections + others + answered
    pages = [page for _, _, page in printed.outline]
    assert pages == sorted(pages)


def test_the_contents_say_on_which_page_each_chapter_begins(printed, titles) -> None:
    listed = dict(re.findall(r"^(.+?)\s*(\d+)$", printed.text_of_page(2), re.MULTILINE))
    begins = {title: printed.places[bind.anchor(page)] for page, title in zip(PAGES, titles, strict=True)}
    assert {title: int(listed.get(title, 0)) for title in titles} == begins
    for title, page in begins.items():
        assert {title.split()[-1], str(page)} <= set(printed.text_of_page(page).split())


def test_every_link_inside_the_document_has_a_place_in_it(printed) -> None:
    targets = {str(link["/Dest"]).removeprefix("/") for link in printed.links() if "/Dest" in link}
    assert len(targets) > len(PAGES)
    assert targets <= set(printed.places)
    asked = {link["href"][1:] for link in printed.html.select("a[href^='#']")}
    assert asked == targets


def test_links_out_of_the_document_lead_into_the_web_and_no_page_of_the_book_is_among_them(printed) -> None:
    addresses = {str(link["/A"]["/URI"]) for link in printed.links() if "/A" in link}
    assert any("arxiv.org" in address for address in addresses)
    assert {address.split(":")[0] for address in addresses} <= {"http", "https", "mailto"}
    site = printed.html.select_one(".title-page a")["href"]
    assert not [address for address in addresses if address in {f"{site}{page}.html" for page in PAGES}]


def test_formulas_are_drawn_and_no_tex_is_left_in_the_text(printed) -> None:
    assert len(printed.html.select(".math")) > 100
    assert [line for line in printed.text["prose"].splitlines() if re.search(r"\\[a-zA-Z([]|\$\$", line)] == []


def test_every_figure_and_every_caption_of_the_site_is_printed(printed, sources) -> None:
    articles = [source.split("<article")[1] for source in sources]
    figures = [name for article in articles for name in re.findall(r'<img [^>]*src="[^"]*/([^"/]+)"', article)]
    assert [Path(source).name for source, width in printed.pictures if width] == figures
    assert len(figures) > 50
    captions = [c for article in articles for c in re.findall(r'class="figure-caption"[^>]*><strong>([^<]+)', article)]
    assert len(captions) > 100
    assert [caption for caption in captions if caption not in printed.text["prose"]] == []


def test_nothing_is_wider_than_the_print_area(printed) -> None:
    assert printed.wider == []


def test_the_print_area_of_the_layout_is_that_of_the_style_sheet() -> None:
    sides = re.search(r"@page \{\s*margin: \S+ (\d+)mm", (ROOT / "book" / "_static" / "print.css").read_text())[1]
    assert pdf.PRINT_AREA["width"] == int((210 - 2 * int(sides)) * 96 / 25.4)


def test_solutions_are_printed_and_the_controls_of_the_site_are_not(printed) -> None:
    solutions = [block.get_text().strip() for block in printed.html.select(".tag_solution .cell_input pre")]
    assert len(solutions) > 50
    assert [solution for solution in solutions if solution not in printed.text["code"]] == []
    assert printed.controls == []
    assert not re.search("Open in Colab|Report an error", printed.text["prose"])


def test_the_answers_to_the_questions_stand_in_an_appendix_and_not_beside_them(printed) -> None:
    questions = printed.html.select(".quiz .asks")
    assert printed.explanations == []
    answers = printed.html.select(".answers dl")
    assert len(answers) == len(questions)
    assert [answer for answer in answers if str(answer).count("<strong>Right.") != 1] == []
    assert bool(questions) == ("answers" in printed.places)


def test_the_document_says_what_it_is(printed) -> None:
    told = printed.reader.metadata
    assert (told.title, told.author) == (CONFIG["title"], CONFIG["author"])
    assert "ResNet" in told["/Keywords"]
    assert f"{told.creation_date:%Y-%m-%d}" == DATE
    root = printed.reader.trailer["/Root"]
    assert str(root["/Lang"]).startswith("en")
    assert root["/MarkInfo"]["/Marked"]
    assert root["/ViewerPreferences"]["/DisplayDocTitle"]
    front = printed.text_of_page(1)
    assert all(text in front for text in (CONFIG["title"], CONFIG["author"], DATE, "CC BY 4.0", "https://"))


def test_the_paper_is_white_a4_and_the_document_is_small_enough_to_send(printed) -> None:
    assert printed.background == "rgb(255, 255, 255)"
    boxes = {tuple(round(float(side)) for side in page.mediabox[2:]) for page in printed.reader.pages}
    assert boxes == {(595, 842)}
    assert 150 < len(printed.reader.pages) < 450
    assert len(printed.data) < 15_000_000
    fonts = [
        font.get_object() for page in printed.reader.pages for font in page["/Resources"].get("/Font", {}).values()
    ]
    described = [font["/DescendantFonts"][0]["/FontDescriptor"] for font in fonts if "/DescendantFonts" in font]
    assert described
    assert all({"/FontFile", "/FontFile2", "/FontFile3"} & set(descriptor) for descriptor in described)


@pytest.mark.parametrize("tab", ["dark"], indirect=True)
def test_a_dark_page_of_the_site_is_printed_light_and_dark_again_after(site, tab) -> None:
    tab.page.goto((site / f"{PAGES[0]}.html").as_uri())
    theme = "document.documentElement.dataset.theme"
    tab.page.evaluate(f"addEventListener('beforeprint', () => (window.printed = {theme}))")
    tab.page.pdf()
    assert tab.page.evaluate("window.printed") == "light"
    assert tab.page.evaluate(theme) == "dark"


@pytest.fixture
def old(monkeypatch, tmp_path) -> Path:
    """An older printed edition, in a folder of its own; the browser is not asked for."""
    monkeypatch.setattr(pdf, "PDF", tmp_path / "book.pdf")
    monkeypatch.setattr(pdf, "EXECUTED", tmp_path)
    monkeypatch.setattr(pdf, "sync_playwright", nullcontext)
    pdf.PDF.write_text("old")
    return pdf.PDF


def test_without_a_browser_it_says_what_to_install_and_leaves_an_older_edition_alone(monkeypatch, capsys, old) -> None:
    monkeypatch.setattr(pdf, "launch", lambda playwright: None)
    assert pdf.main() == 1
    assert "apt-get install chromium" in capsys.readouterr().err
    assert old.read_text() == "old"


def test_an_edition_that_fails_leaves_nothing_half_written(monkeypatch, old) -> None:
    def fail(*args) -> bytes:
        raise RuntimeError("the pages moved")

    monkeypatch.setattr(pdf, "launch", lambda playwright: "a browser")
    monkeypatch.setattr(pdf, "read_manifest", lambda: {"01.ipynb": {"date": DATE}})
    monkeypatch.setattr(pdf, "bind", lambda *args: "<p>A book</p>")
    monkeypatch.setattr(pdf, "open_laid_out", fail)
    with pytest.raises(RuntimeError, match="moved"):
        pdf.main()
    assert {path.name for path in old.parent.iterdir()} <= {old.name, ".lock"}
    assert old.read_text() == "old"
