"""Every page of the built book: there, whole, self-contained, its links and pictures in place."""

import json
import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
NOTEBOOKS = [page for page in PAGES if page.startswith("notebooks/")]
CHAPTERS = [page for page in NOTEBOOKS if Path(page).name[0].isdigit()]  # the others are appendices
MOST_BYTES = 700_000  # a page without its pictures, not compressed
MOST_BYTES_WITH_CODE = 900_000  # a chapter, whose code alone may be 0.1 MB
FORMULA_FONTS = "Main-Regular|Math-Italic|Size|Caligraphic-Regular"  # all that a page of this book was seen to load


@pytest.fixture(scope="session")
def soups(site: Path) -> dict[str, BeautifulSoup]:
    return {page: BeautifulSoup((site / f"{page}.html").read_text(), "html.parser") for page in PAGES}


@pytest.fixture(params=PAGES)
def page(request, soups) -> tuple[str, BeautifulSoup]:
    return request.param, soups[request.param]


@pytest.fixture(params=NOTEBOOKS)
def notebook(request, soups) -> tuple[str, BeautifulSoup]:
    return request.param, soups[request.param]


@pytest.fixture(params=CHAPTERS)
def chapter(request, soups) -> tuple[str, BeautifulSoup]:
    return request.param, soups[request.param]


def repository() -> str:
    """The address of the repository: in a GitHub workflow its own, else that of the configuration."""
    if name := os.environ.get("GITHUB_REPOSITORY"):
        return f"https://github.com/{name}"
    return yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]


def test_every_page_of_the_contents_is_there_and_no_other(site) -> None:
    built = {str(p.relative_to(site).with_suffix("")) for p in site.rglob("*.html") if "_static" not in p.parts}
    assert built == {*PAGES, "index", "search", "genindex"}


def test_the_entrance_leads_to_the_introduction(site) -> None:
    assert f"{TOC['root']}.html" in (site / "index.html").read_text()


def test_a_page_asks_no_other_host_for_anything_on_load(page) -> None:
    _, soup = page
    loaded = [tag.get("src") for tag in soup.find_all(["script", "img", "iframe", "source", "video", "audio"])]
    loaded += [
        tag.get("href")
        for tag in soup.find_all("link")
        if set(tag.get("rel", [])) & {"stylesheet", "icon", "preload", "modulepreload"}
    ]
    assert [url for url in loaded if url and urlsplit(url).netloc] == []
    inline = "\n".join(tag.string or "" for tag in soup.find_all("script") if not tag.get("src"))
    assert not re.search(r"""(fetch|import|src\s*=)\s*\(?["']https?:""", inline)


def test_style_sheets_ask_no_other_host_and_only_for_files_that_exist(site) -> None:
    for sheet in site.rglob("*.css"):
        for url in re.findall(r"""(?:url\(|@import\s+)["']?([^"')\s]+)""", sheet.read_text()):
            if not url.startswith(("data:", "#")):
                assert not urlsplit(url).netloc, f"{sheet.name}: {url}"
                if "katex" in sheet.name:
                    assert (sheet.parent / urlsplit(url).path).is_file(), f"{sheet.name}: {url}"


def test_every_link_inside_the_book_leads_to_a_place_that_exists(site, soups) -> None:
    broken = []
    for name, soup in soups.items():
        here = site / f"{name}.html"
        for tag in soup.select("article a[href], nav a[href], article img[src], link[href], script[src]"):
            url = urlsplit(tag.get("href") or tag.get("src"))
            if url.scheme or url.netloc:
                continue
            target = here if not url.path else Path(os.path.normpath(here.parent / unquote(url.path)))
            if not target.is_file():
                broken.append(f"{name}: {url.geturl()}")
            elif url.fragment and target.suffix == ".html":
                other = soups.get(str(target.relative_to(site).with_suffix("")))
                if other and not other.find(id=unquote(url.fragment)):
                    broken.append(f"{name}: {url.geturl()}")
    assert broken == []


def test_a_page_ends_with_how_to_cite_it_and_where_to_report_an_error(page) -> None:
    name, soup = page
    end = soup.select_one("article footer.page-foot")
    assert end.select_one("details.cite a")["href"].endswith(f"/{name}.html")
    assert soup.h1.find(string=True).split(". ")[-1] in end.pre.get_text()
    assert end.select_one("a.report")["href"].startswith(f"{repository()}/issues/new?title=")


def test_a_link_to_a_page_shows_its_title_what_it_says_and_a_picture(site, page) -> None:
    name, soup = page
    said = {tag["property"]: tag["content"] for tag in soup.select("meta[property^=og]")}
    base = soup.select_one("link[rel=canonical]")["href"].removesuffix(f"{name}.html")
    assert said["og:url"] == f"{base}{name}.html"
    assert said["og:title"] == soup.h1.find(string=True)
    assert len(said["og:description"]) > 60
    assert soup.select_one("meta[name=description]")["content"] == said["og:description"]
    assert (site / said["og:image"].removeprefix(base)).stat().st_size > 5_000


def test_every_picture_in_the_text_has_alternative_text(page) -> None:
    name, soup = page
    for image in soup.select("article img"):
        assert len(image.get("alt", "")) > 20, f"{name}: {image.get('src')}"


def test_the_callouts_of_a_chapter_became_admonitions(chapter) -> None:
    name, soup = chapter
    for kind in ("objectives", "prerequisites", "time", "exercise"):
        assert soup.select(f"article div.admonition.{kind}"), f"{name} shows no {kind}"


def test_the_page_of_all_that_was_measured_lists_its_sections_in_the_contents(soups) -> None:
    page = soups["book/measured"]
    listed = [link["href"] for link in page.select(".bd-sidebar-secondary a[href^='#']")]
    assert listed == [f"#{section['id']}" for section in page.select("article section section")]


def test_what_each_chapter_measured_stands_on_one_page_word_for_word(soups) -> None:
    sections = soups["book/measured"].select("article section section")
    assert [f"notebooks/{Path(section.h2.a['href']).stem}" for section in sections] == CHAPTERS
    for section, chapter in zip(sections, CHAPTERS, strict=True):
        callouts = soups[chapter].select("article .admonition.what-we-measured")
        points = [point.get_text() for callout in callouts for point in callout.select("li")]
        assert points
        assert [point.get_text() for point in section.select("li")] == points


def test_the_page_of_versions_says_when_and_with_what_each_notebook_was_executed(soups) -> None:
    manifest = json.loads((ROOT / "_executed" / "manifest.json").read_text())
    page = soups["book/versions"]
    rows = [row.select("td") for row in page.select("table.executed tbody tr")]
    assert [f"notebooks/{Path(row[0].a['href']).stem}" for row in rows] == NOTEBOOKS
    for row, notebook in zip(rows, NOTEBOOKS, strict=True):
        entry = manifest[f"{Path(notebook).name}.ipynb"]
        assert row[0].get_text() == soups[notebook].h1.find(string=True)
        assert row[1].get_text() == entry["date"][:16].replace("T", " ")  # build.py writes it in UTC
        assert [float(row[2].get_text()), row[3].get_text()] == [entry["seconds"], entry["scale"]]
    shown = {tr.td.get_text(): tr.select("td")[1].get_text() for tr in page.select("table.installed tbody tr")}
    for entry in manifest.values():
        assert set(entry["versions"]) <= set(shown)
        assert all(version in shown[package] for package, version in entry["versions"].items())


def test_the_captions_of_a_notebook_became_captions_with_numbers_in_order(notebook) -> None:
    name, soup = notebook
    number = int(Path(name).name.split("_")[0]) if name in CHAPTERS else "a"
    ids = [caption["id"] for caption in soup.select("article p.figure-caption")]
    figures, tables = ([name for name in ids if name.startswith(kind)] for kind in ("figure", "table"))
    assert figures == [f"figure-{number}-{k}" for k in range(1, len(figures) + 1)]
    assert tables == [f"table-{number}-{k}" for k in range(1, len(tables) + 1)]
    drawn = soup.select("article .cell:not(.tag_solution) .cell_output :is(img, .rnm-figure)")
    assert len(figures) == len(drawn) > 0
    assert not [quote for quote in soup.select("article blockquote") if quote.find("strong")]


def test_every_cell_of_a_notebook_was_executed_without_an_error(notebook) -> None:
    name, soup = notebook
    executed = json.loads((ROOT / "_executed" / f"{name}.ipynb").read_text())
    cells = [cell for cell in executed["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [o for o in outputs if o["output_type"] == "error"]
    assert not [o for o in outputs if o.get("name") == "stderr"], "a reader would see warnings"
    assert not soup.select("article .stderr, article .traceback")


def test_every_table_that_a_cell_shows_has_the_class_by_which_the_theme_draws_it(notebook) -> None:
    _, soup = notebook
    tables = soup.select("article .cell_output .text_html table")
    assert not [table for table in tables if "dataframe" not in table.get("class", [])]


def test_solutions_are_folded_and_the_installation_is_hidden(chapter) -> None:
    _, soup = chapter
    solutions = soup.select("article .cell.tag_solution")
    assert solutions
    assert all(
        cell.find_parent("details") or cell.select("details") or "tag_hide-cell" in cell["class"] for cell in solutions
    )
    assert 'if "google.colab" in sys.modules' not in soup.get_text()


def test_the_colab_button_opens_a_file_that_exists(notebook) -> None:
    name, soup = notebook
    links = [a["href"] for a in soup.find_all("a", href=True) if a["href"].startswith("https://colab.")]
    assert links
    place = repository().removeprefix("https://github.com/")
    assert set(links) == {f"https://colab.research.google.com/github/{place}/blob/main/{name}.ipynb"}
    assert (ROOT / f"{name}.ipynb").is_file()


def test_formulas_are_drawn_in_the_page_for_eyes_and_for_screen_readers(soups) -> None:
    formulas = soups["notebooks/03_residual_blocks"].select("article .math")
    assert len(formulas) > 5
    for formula in formulas:
        assert formula.select_one(".katex-html[aria-hidden=true]"), formula.get_text()
        assert formula.select_one("math semantics"), formula.get_text()


def test_every_entry_of_the_bibliography_is_shown_once_with_a_link(soups) -> None:
    entries = re.findall(r"^@\w+\{([^,]+),", (ROOT / "book" / "references.bib").read_text(), re.MULTILINE)
    shown = soups["book/bibliography"].select("article div.citation")
    assert len(shown) == len(entries) == len(set(entries))
    assert all(entry.find("a", href=re.compile("^https?://")) for entry in shown)


def test_the_scripts_that_the_book_does_not_use_are_gone(page) -> None:
    _, soup = page
    text = " ".join(f"{tag.get('src') or ''} {tag.string or ''}" for tag in soup.find_all("script"))
    assert "thebe" not in text.lower()


def loaded_files(page: Path, soup: BeautifulSoup) -> set[Path]:
    """The page and all that it loads apart from pictures, with the fonts that a page with formulas may need."""
    scripts = [tag["src"] for tag in soup.find_all("script", src=True)]
    sheets = [tag["href"] for tag in soup.find_all("link", rel="stylesheet")]
    paths = [page.parent / urlsplit(url).path for url in [*scripts, *sheets]]
    for sheet in [path for path in paths if path.suffix == ".css"]:
        text = sheet.read_text()
        paths += [sheet.parent / url for url in re.findall(r"""@import\s+(?:url\()?["']([^"']+)""", text)]
        fonts = {sheet.parent / url for url in re.findall(r"""url\(["']?([^"')]+\.woff2)""", text)}
        paths += [font for font in fonts if "KaTeX" not in font.name or re.search(FORMULA_FONTS, font.name)]
    return {page, *(path.resolve() for path in paths)}


def test_a_page_loads_little_before_its_pictures(site, page) -> None:
    name, soup = page
    sizes = {path.name: path.stat().st_size for path in loaded_files(site / f"{name}.html", soup)}
    limit = MOST_BYTES_WITH_CODE if name in CHAPTERS else MOST_BYTES
    assert sum(sizes.values()) <= limit, sorted(sizes.items(), key=lambda item: -item[1])


@pytest.mark.parametrize("name", ["search", "genindex"])
def test_the_other_pages_load_little_too(site, name) -> None:
    page = site / f"{name}.html"
    files = loaded_files(page, BeautifulSoup(page.read_text(), "html.parser"))
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES


def test_figures_below_the_first_wait_and_none_moves_the_text_when_it_comes(page) -> None:
    _, soup = page
    figures = soup.select("article img[src$='.svg']")
    assert [figure for figure in figures if not (figure.get("width") and figure.get("height"))] == []
    assert [figure.get("loading") for figure in figures] == [None, *["lazy"] * (len(figures) - 1)][: len(figures)]


def test_no_script_holds_up_the_page(page) -> None:
    _, soup = page
    at_once = [tag["src"] for tag in soup.find_all("script", src=True) if not tag.has_attr("defer")]
    assert [Path(urlsplit(url).path).name for url in at_once] == ["documentation_options.js"]  # 300 bytes


def test_a_page_loads_the_style_of_formulas_if_and_only_if_it_has_one(page) -> None:
    _, soup = page
    loads = any("katex" in tag["href"] for tag in soup.select("link[rel=stylesheet]"))
    assert loads == bool(soup.select(".math"))
    assert loads or "\\(" not in soup.find(class_="bd-sidebar-primary").get_text()


def test_every_icon_is_drawn_by_the_style_sheet_of_the_book(site, soups) -> None:
    sheet = (ROOT / "book" / "_static" / "icons.css").read_text()
    drawn = {*re.findall(r"\.fa-([a-z-]+) \{ --icon: url", sheet), "solid", "lg"}
    used = {kind for soup in soups.values() for icon in soup.select("i[class*=fa-]") for kind in icon["class"]}
    assert {kind.removeprefix("fa-") for kind in used if kind.startswith("fa-")} <= drawn
    glyphs = re.compile(r"(?:content|font):\s*var\(--(?:pst-icon|fa-font)")  # of a font that is not there
    assert not [path for path in site.rglob("*.css") if glyphs.search(path.read_text())]


def test_names_punctuation_and_space_in_code_have_no_element_of_their_own(page) -> None:
    _, soup = page
    assert not soup.select("pre span.n, pre span.p, pre span.w")


def test_notebooks_were_executed_in_the_time_that_was_wanted_give_or_take_a_busy_machine(site) -> None:
    manifest = json.loads((ROOT / "_executed" / "manifest.json").read_text())
    assert {f"notebooks/{Path(name).stem}" for name in manifest} == set(NOTEBOOKS)
    for name, entry in manifest.items():
        assert entry["scale"] != "quick" or entry["seconds"] < 3 * entry["wanted"], f"{name} took {entry['seconds']} s"
