"""Every notebook reads the same on the site, on GitHub, in JupyterLab and on Colab, and holds what a chapter must."""

import re
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CHAPTERS = [path for path in NOTEBOOKS if path.name[0].isdigit()]  # the others are appendices
ADDRESS = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
CALLOUTS = "Objectives|Prerequisites|Time|Note|Warning|Definition|Myth|What we measured|Exercise [0-9]+[.][0-9]+"
FIRST_CELL = f"""\
# On Colab: fetch this book's helper package, changing none of Colab's own. Elsewhere it is installed already.
import sys

if "google.colab" in sys.modules:
    %pip install -q --no-deps "resnet_utils @ git+{ADDRESS}@main\""""
D2L_LINE = '\n    %pip install -q --no-deps "d2l==1.0.3"'


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request) -> Path:
    return request.param


@pytest.fixture
def notebook(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


@pytest.fixture
def number(path: Path) -> str:
    """What the figures of a notebook are numbered by: the chapter, or the letter of the appendix."""
    return str(int(path.stem.split("_")[0])) if path in CHAPTERS else "A"


@pytest.fixture(params=CHAPTERS, ids=lambda path: path.stem)
def chapter(request) -> tuple[int, nbformat.NotebookNode]:
    """The number and the notebook of a chapter."""
    return int(request.param.stem.split("_")[0]), nbformat.read(request.param, as_version=4)


def markdown(notebook: nbformat.NotebookNode) -> list[str]:
    """The Markdown cells, without code spans and formulas, in which anything may stand."""
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    return [re.sub(r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]+\$", "", text, flags=re.DOTALL) for text in cells]


def is_solution(cell: nbformat.NotebookNode) -> bool:
    return "solution" in cell.metadata.get("tags", [])


def test_there_are_chapters_and_the_contents_name_each_of_them_once() -> None:
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"]
    files = [chapter["file"] for part in parts for chapter in part["chapters"]]
    assert [f"notebooks/{path.stem}" for path in NOTEBOOKS] == [f for f in files if f.startswith("notebooks/")]
    assert len(CHAPTERS) >= 5


def test_it_is_a_valid_clean_notebook_without_outputs(notebook) -> None:
    nbformat.validate(notebook)
    assert notebook.nbformat == 4
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata.language_info.name == "python"  # without it ruff passes over the notebook in silence
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


def test_its_first_cell_is_the_installation_for_colab_with_the_address_of_the_configuration(notebook) -> None:
    first = notebook.cells[0]
    assert first.metadata.tags == ["remove-cell"]
    needs_d2l = any("d2l" in cell.source for cell in notebook.cells[1:] if cell.cell_type == "code")
    assert first.source == FIRST_CELL + (D2L_LINE if needs_d2l else "")


def test_the_title_of_a_chapter_carries_its_number(chapter) -> None:
    number, notebook = chapter
    assert notebook.cells[1].source.startswith(f"# {number}. ")


def test_it_has_one_title(notebook) -> None:
    headings = [line for text in markdown(notebook) for line in text.splitlines() if line.startswith("# ")]
    assert len(headings) == 1


def test_it_uses_no_markdown_that_only_the_site_understands(notebook) -> None:
    for text in markdown(notebook):
        assert not re.search(r"^\s*(:{3,}|`{3,}\{|~{3,}\{)", text, re.MULTILINE), "a directive"
        assert not re.search(r"\{[a-z:]+\}`", text), "a role"
        assert not re.search(r"\[\^", text), "a footnote"
        assert not re.search(r"^\(.+\)=$", text, re.MULTILINE), "a label"
        tags = set(re.findall(r"</?([a-zA-Z][\w-]*)[^>]*>", text))
        assert tags <= {"details", "summary"}


def test_its_callouts_are_of_the_kinds_that_the_site_knows(notebook) -> None:
    for text in markdown(notebook):
        for quote in re.findall(r"(?:^>.*\n?)+", text, re.MULTILINE):
            assert re.match(rf"> \*\*({CALLOUTS})\.\*\*", quote), quote[:60]


def test_details_have_blank_lines_inside_so_that_markdown_in_them_is_read(notebook) -> None:
    for text in markdown(notebook):
        assert text.count("<details>") == text.count("</details>")
        for body in re.findall(r"</summary>(.*?)</details>", text, re.DOTALL):
            assert body.startswith("\n\n"), body[:60]
            assert body.endswith("\n\n"), body[-60:]


def test_no_code_cell_is_longer_than_25_lines(notebook) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.source.count("\n") < 25, cell.source[:80]


def test_text_stands_between_any_two_code_cells(notebook) -> None:
    for before, after in zip(notebook.cells, notebook.cells[1:], strict=False):
        assert "markdown" in (before.cell_type, after.cell_type), after.source[:80]


def test_every_figure_has_alt_text_and_a_numbered_caption(notebook, number) -> None:
    figures = 0
    for cell, after in zip(notebook.cells, [*notebook.cells[1:], None], strict=True):
        interactive = cell.cell_type == "code" and "interactive." in cell.source  # says itself what it shows
        if interactive or (cell.cell_type == "code" and "plt.show()" in cell.source and not is_solution(cell)):
            figures += 1
            alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            assert interactive or len(alt) > 40, f"figure {number}.{figures} has no alternative text"
            assert after.source.startswith(f"**Figure {number}.{figures}.** "), after.source[:60]
    assert figures >= 1


def test_every_figure_ends_with_show_so_that_it_is_counted_above(notebook) -> None:
    for cell in notebook.cells:
        draws = cell.cell_type == "code" and re.search(
            r"plots\.(?!set_style|[A-Z])\w+\(|plt\.subplots|plt\.figure", cell.source
        )
        assert not draws or "plt.show()" in cell.source, cell.source[:80]


def test_an_interactive_figure_is_a_cell_of_its_own_so_that_it_is_shown(notebook) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "code" and "interactive." in cell.source:
            assert re.fullmatch(r"interactive\.\w+\(.*\)", cell.source), cell.source[:80]


def test_a_chapter_states_objectives_prerequisites_and_time_and_ends_as_a_chapter_does(chapter) -> None:
    _, notebook = chapter
    text = "\n".join(markdown(notebook))
    for kind in ("Objectives", "Prerequisites", "Time"):
        assert f"> **{kind}.**" in text
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings[-3:] == ["What we measured", "Exercises", "Sources"]
    objectives = re.search(r"> \*\*Objectives\.\*\*.*\n((?:>.*\n?)+)", text)[1]
    assert 3 <= len(re.findall(r"^> [-*\d]", objectives, re.MULTILINE)) <= 5
    assert len(re.findall(r"^- .*\]\(http", text.split("## Sources")[1], re.MULTILINE)) >= 2


def test_what_was_measured_is_a_callout_that_a_cell_prints(chapter) -> None:
    """book/_ext/measured.py collects these callouts of all chapters on one page."""
    _, notebook = chapter
    sources = [cell.source for cell in notebook.cells]
    heading = next(i for i, source in enumerate(sources) if "## What we measured" in source)
    printed = next(cell for cell in notebook.cells[heading:] if cell.cell_type == "code")
    assert "> **What we measured.**" in printed.source
    assert "hide-input" in printed.metadata.get("tags", [])


def test_a_chapter_shows_its_own_quiz_before_it_says_what_was_measured(chapter) -> None:
    number, notebook = chapter
    sources = [cell.source for cell in notebook.cells]
    at = sources.index(f"show_quiz({number})")
    assert sum("show_quiz(" in source for source in sources) == 1
    assert "## Check yourself" in sources[at - 1]
    assert sources[at + 1].startswith("## What we measured")
    assert notebook.cells[at].metadata.tags == ["hide-input"]


def test_every_exercise_has_a_number_a_difficulty_and_a_folded_solution(chapter) -> None:
    number, notebook = chapter
    cells = notebook.cells
    exercises = []
    for i, cell in enumerate(cells):
        for part in re.split(
            r"(?=^> \*\*Exercise )", cell.source if cell.cell_type == "markdown" else "", flags=re.MULTILINE
        )[1:]:
            head = re.match(r"> \*\*Exercise (\d+)\.(\d+)\.\*\* \((easy|medium|hard)\)", part)
            assert head, part[:60]
            exercises.append((int(head[1]), int(head[2])))
            coming = next((later for later in cells[i + 1 :] if later.cell_type == "code"), None)
            solved_in_words = re.search(r"<details>\s*<summary>Solution</summary>", part)
            solved_in_code = coming is not None and is_solution(coming) and "hide-cell" in coming.metadata.tags
            assert solved_in_words or solved_in_code, part[:60]
    assert exercises == [(number, k) for k in range(1, len(exercises) + 1)]
    assert len(exercises) >= 5


def test_its_links_to_other_pages_lead_somewhere(notebook, path) -> None:
    for text in markdown(notebook):
        for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", text):
            if not target.startswith(("http://", "https://")):
                assert (path.parent / target).resolve().is_file(), target


def test_every_paper_that_it_links_to_is_in_the_bibliography(notebook) -> None:
    known = set(re.findall(r"url\s*=\s*\{(.+?)\}", (ROOT / "book" / "references.bib").read_text()))
    papers = {
        url
        for text in markdown(notebook)
        for url in re.findall(r"\]\((https?://[^)\s]+)\)", text)
        if re.search(r"arxiv|doi\.org|proceedings|\.pdf$|openreview|jmlr", url)
    }
    assert papers <= known, papers - known
    assert papers
