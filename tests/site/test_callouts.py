"""The transform in book/_ext/callouts.py, seen in the HTML of a small book of one page and one notebook."""

from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from sphinx.cmd.build import build_main

EXTENSIONS = Path(__file__).parents[2] / "book" / "_ext"
KINDS = {
    "Objectives": "objectives",
    "Prerequisites": "prerequisites",
    "Exercise 3.2": "exercise",
    "Warning": "warning",
    "Note": "note",
    "Myth": "myth",
    "Definition": "definition",
    "What we measured": "what-we-measured",
}

PAGE = """# Page

{callouts}

> **Exercise 3.3 (hard).**
>
> - Only a list, see [the figure](#figure-9-2) and [the first exercise](#exercise-3-2).

> **Nobody** said this: a quotation that begins in bold.

> **Note that this** is a quotation, too.

> A quotation without bold, which names **Warning.** later.

![An image](image.svg)

**Figure 9.2.** The deeper net has the *higher* error.

**Table 5.1.** Weights.

**Figure 9.2** shows it, says a paragraph that is no caption.
"""


def write_project(folder: Path, page: str) -> None:
    folder.joinpath("conf.py").write_text(
        f"import sys\nsys.path.insert(0, {str(EXTENSIONS)!r})\n"
        "extensions = ['myst_nb', 'callouts']\nhtml_theme = 'basic'\nnb_execution_mode = 'off'\n"
        "myst_enable_extensions = ['dollarmath']\nexclude_patterns = ['out']\n"
    )
    folder.joinpath("index.md").write_text("# Book\n\n```{toctree}\npage\nnotebook\n```\n")
    folder.joinpath("page.md").write_text(page)
    folder.joinpath("image.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    printed = nbformat.v4.new_output(
        "display_data", {"text/markdown": "> **What we measured.** 3.2 %", "text/plain": "<Markdown>"}
    )
    cells = [
        nbformat.v4.new_markdown_cell("# Notebook\n\n> **Objectives.** Count."),
        nbformat.v4.new_markdown_cell("> **Exercise 3.2.** (easy) Do it."),
        nbformat.v4.new_code_cell("display()", outputs=[printed], execution_count=1),
        nbformat.v4.new_markdown_cell("**Figure 3.1.** A caption."),
    ]
    metadata = {"language_info": {"name": "python", "pygments_lexer": "ipython3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), folder / "notebook.ipynb")


def build(folder: Path) -> int:
    """Build with warnings as errors; the exit status."""
    return build_main(["-q", "-W", "--keep-going", "-n", "-b", "html", str(folder), str(folder / "out")])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("book")
    callouts = "\n\n".join(f"> **{title}.** Text of {title} with *emphasis*." for title in KINDS)
    write_project(folder, PAGE.format(callouts=callouts))
    assert build(folder) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def page(site) -> BeautifulSoup:
    return BeautifulSoup((site / "page.html").read_text(), "html.parser")


@pytest.fixture(scope="module")
def notebook(site) -> BeautifulSoup:
    return BeautifulSoup((site / "notebook.html").read_text(), "html.parser")


def titles(soup: BeautifulSoup) -> list[str]:
    return [title.get_text() for title in soup.select(".callout > .admonition-title")]


@pytest.mark.parametrize(("title", "kind"), KINDS.items())
def test_a_callout_becomes_an_admonition_of_its_kind(page, title, kind):
    callout = next(c for c in page.select("div.admonition.callout") if c.p.get_text() == title)
    assert kind in callout["class"]
    assert callout.p["class"] == ["admonition-title"]
    body = callout.find_all("p")[1:]
    assert [p.get_text() for p in body] == [f"Text of {title} with emphasis."]
    assert body[0].em.get_text() == "emphasis"


def test_a_callout_that_holds_only_a_list_has_no_empty_paragraph(page):
    callout = page.find(id="exercise-3-3")
    assert callout.p.get_text() == "Exercise 3.3 (hard)"
    assert callout.p.find_next_sibling().name == "ul"


def test_an_exercise_has_an_anchor_and_links_find_it(page):
    assert "exercise" in page.find(id="exercise-3-2")["class"]
    assert page.find("a", string="the first exercise")["href"] == "#exercise-3-2"


@pytest.mark.parametrize("opening", ["Nobody said this", "Note that this is"])
def test_a_quotation_that_begins_in_bold_stays_a_quotation(page, opening):
    quote = next(q for q in page.find_all("blockquote") if q.get_text().strip().startswith(opening))
    assert quote.strong is not None


def test_a_quotation_without_bold_at_its_beginning_stays_a_quotation(page):
    assert any("A quotation without bold" in quote.get_text() for quote in page.find_all("blockquote"))
    assert len(page.find_all("blockquote")) == 3


@pytest.mark.parametrize(("anchor", "text"), [("figure-9-2", "Figure 9.2."), ("table-5-1", "Table 5.1.")])
def test_a_caption_has_its_class_and_an_anchor(page, anchor, text):
    caption = page.find(id=anchor)
    assert caption.name == "p"
    assert "figure-caption" in caption["class"]
    assert caption.get_text().startswith(text)


def test_a_link_to_a_figure_finds_its_caption(page):
    assert page.find("a", string="the figure")["href"] == "#figure-9-2"


def test_a_sentence_that_begins_with_a_figure_number_is_no_caption(page):
    assert len(page.select(".figure-caption")) == 2


def test_callouts_and_captions_work_in_a_notebook(notebook):
    assert titles(notebook)[:2] == ["Objectives", "Exercise 3.2"]
    assert "(easy) Do it." in notebook.find(id="exercise-3-2").get_text()
    assert "figure-caption" in notebook.find(id="figure-3-1")["class"]


def test_a_callout_printed_by_a_cell_is_a_callout(notebook):
    callout = notebook.select_one(".cell_output .callout")
    assert "what-we-measured" in callout["class"]
    assert "3.2 %" in callout.get_text()


def test_the_same_number_twice_on_a_page_fails_the_build(tmp_path, capsys):
    write_project(tmp_path, "# Page\n\n> **Exercise 1.1.** One.\n\n> **Exercise 1.1.** Two.\n")
    assert build(tmp_path) != 0
    assert "exercise-1-1" in capsys.readouterr().err
