"""Print the whole book into one PDF: what `make pdf` runs.

A Chromium or Chrome prints the page that book/bind.py makes of the finished site, so no TeX is needed. The browser
cannot say in the text on which page a link's target lies: it prints once, the numbers are filled into the contents,
and it prints again.
"""

import logging
import sys
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from time import perf_counter

import yaml
from bind import bind
from browser import ADVICE, PATIENCE, launch
from build import EXECUTED, HTML, ROOT, book_config, read_manifest
from filelock import FileLock
from playwright.sync_api import Browser, Page, sync_playwright
from pypdf import PdfReader, PdfWriter
from pypdf.generic import DictionaryObject, NameObject, TextStringObject

PDF = ROOT / "_build" / "residual-networks-measured.pdf"
KEYWORDS = "residual networks, ResNet, deep learning, PyTorch"
PRINT_AREA = {"width": 627, "height": 980}  # CSS pixels of an A4 page without the margins that print.css gives it

# Wait for fonts and pictures. Then make small what is wider than the page: paper does not scroll.
SETTLE = """async () => {
    await Promise.all([document.fonts.ready, ...[...document.images].map((image) => image.decode())]);
    for (const box of document.querySelectorAll("table, div.math")) {
        const indent = box.getBoundingClientRect().left - box.parentElement.getBoundingClientRect().left;
        const room = box.parentElement.clientWidth - Math.max(0, indent);
        const width = Math.max(box.scrollWidth, box.getBoundingClientRect().width);
        if (width > room) box.style.zoom = Math.floor((99 * room) / width) / 100;
    }
}"""
FILL = """(numbers) => document.querySelectorAll("a.numbered").forEach((link) => {
    link.lastElementChild.textContent = numbers[link.hash.slice(1)];
})"""
TITLES = """() => [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")]
    .filter((heading) => heading.checkVisibility())
    .map((heading) => {
        const copy = heading.cloneNode(true);
        copy.querySelectorAll(".katex-mathml").forEach((twice) => twice.remove());
        return copy.textContent.trim();
    })"""


def open_laid_out(browser: Browser, document: Path) -> Page:
    """The document as it will be printed, in a tab as wide as the paper's print area, with everything drawn."""
    page = browser.new_page(viewport=PRINT_AREA, color_scheme="light", offline=True)
    page.set_default_timeout(PATIENCE)
    page.emulate_media(media="print", color_scheme="light")
    page.goto(document.as_uri())
    page.evaluate(SETTLE)
    return page


def print_numbered(page: Page) -> bytes:
    """The PDF, with the numbers of pages filled into the contents."""
    options = {"prefer_css_page_size": True, "print_background": True, "tagged": True, "outline": True}
    numbers = page_numbers(page.pdf(**options))
    page.evaluate(FILL, numbers)
    printed = page.pdf(**options)
    if page_numbers(printed) != numbers:
        raise RuntimeError("the pages moved when the contents were filled in: give .number in print.css more room")
    return printed


def page_numbers(printed: bytes) -> dict[str, int]:
    """By the id of each place that a link leads to, the number of its page, from 1."""
    reader = PdfReader(BytesIO(printed))
    return {
        name.removeprefix("/"): reader.get_destination_page_number(place) + 1
        for name, place in reader.named_destinations.items()
    }


def describe(printed: bytes, titles: list[str], config: dict, date: str) -> bytes:
    """The PDF with what a reader's program wants to know of it, dated by the last run of a notebook."""
    logging.getLogger("pypdf").setLevel(logging.ERROR)  # it warns of its own copies of objects
    writer = PdfWriter(clone_from=BytesIO(printed))
    # The browser writes some titles twice into the outline.
    for item, title in zip(outline_items(writer.root_object["/Outlines"]), titles, strict=True):
        item[NameObject("/Title")] = TextStringObject(title)
    day = f"D:{date.replace('-', '')}000000Z"
    writer.metadata = {
        "/Title": config["title"],
        "/Author": config["author"],
        "/Keywords": KEYWORDS,
        "/CreationDate": day,
        "/ModDate": day,
    }
    writer.page_mode = "/UseOutlines"  # it opens with the outline beside the page
    writer.create_viewer_preferences().display_doctitle = True
    described = BytesIO()
    writer.write(described)
    return described.getvalue()


def outline_items(parent: DictionaryObject) -> Iterator[DictionaryObject]:
    """The items of a PDF's outline below one, in their order."""
    item = parent.get("/First")
    while item:
        yield item.get_object()
        yield from outline_items(item.get_object())
        item = item.get_object().get("/Next")


def main() -> int:
    """Write the PDF; 0 if it is there and whole. Until then an older one stays as it is."""
    start = perf_counter()
    config, contents = book_config(), yaml.safe_load((ROOT / "_toc.yml").read_text())
    beside = tempfile.TemporaryDirectory(dir=PDF.parent)  # on the same disk, so that the PDF takes its place at once
    with FileLock(EXECUTED / ".lock"), sync_playwright() as playwright, beside as folder:
        if not (browser := launch(playwright)):
            print(f"The printed edition needs a browser: {ADVICE}", file=sys.stderr)
            return 1
        date = max(entry["date"] for entry in read_manifest().values())[:10]
        document = Path(folder, "book.html")
        document.write_text(bind(HTML, contents, config, date), encoding="utf-8")
        page = open_laid_out(browser, document)
        printed = describe(print_numbered(page), page.evaluate(TITLES), config, date)
        browser.close()
        document.with_suffix(".pdf").write_bytes(printed)
        document.with_suffix(".pdf").replace(PDF)
    pages, megabytes, seconds = len(PdfReader(PDF).pages), len(printed) / 1e6, perf_counter() - start
    print(f"The printed edition: {PDF}, {pages} pages, {megabytes:.1f} MB, made in {seconds:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
