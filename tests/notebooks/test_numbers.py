"""No measured result stands in prose as a literal: every number there is registered in literals.py with its origin.

Prose is the Markdown of the notebooks, the strings in their code (a cell prints sentences), the alternative texts of
their figures, the questions of their quizzes, and the pages in book/. A number there must be registered if it

- has a decimal point, thousands separators (also `{,}` in formulas), or five digits or more;
- is a whole number before %, "per cent", "points", "times", "-fold", "seconds", "s" or "ms".

Other whole numbers (56 layers, 256 images, ten seeds) are sizes and settings and pass. Left out are code, addresses,
dates, versions, and the numbers of figures, tables, equations, exercises, chapters and sections.
"""

import ast
import functools
import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from literals import EVERYWHERE, PAGES, Literal

from resnet_utils import quizzes

ROOT = Path(__file__).resolve().parents[2]
FILES = {path.stem: path for path in sorted([*ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("book/*.md")])}
WORDS = (
    "figures?|figs?[.]|tables?|eqs?[.]|equations?|formulas?|exercises?|chapters?|sections?|versions?|issue|pull request"
    "|python|pytorch|torch|torchvision|d2l|keras|cc by"
)
LEFT_OUT = [
    r"```.*?```",
    r"`[^`\n]*`",  # code spans and roles
    r"\]\([^)]*\)|https?://[^\s)>]+|<[^>]+>",  # addresses and tags
    r"\\tag\{[^}]*\}",
    r"\b(?:arXiv:)?\d{4}\.\d{4,5}\b|\b\d{4}-\d{2}-\d{2}\b|\b\d+\.\d+\.\d+\b|\bv\d+(?:\.\d+)*|#[0-9a-f]{6}\b",
    rf"(?i)(?:§|\b(?:{WORDS}))\s*§?(?:[A-Z]\.)?\d+(?:\.\d+)*(?:(?:,| and| to|–) §?\d+\.\d+)*",
]
UNITS = r"\s?(?:%|per cent|(?:percentage )?points?\b|times\b|seconds?\b|m?s\b|-?fold\b)"
NUMBER = re.compile(
    rf"(?<![\w.^])(?:\d{{1,3}}(?:,\d{{3}})+(?:\.\d+)?|\d+\.\d+|[1-9]\d{{4,}}|(?<!,)\d+(?={UNITS}))(?![\d,]*\d)"
)


def numbers(text: str, chapter: str = "") -> Iterator[tuple[str, str]]:
    """The numbers in a text that must be registered, each with the words around it."""
    text = re.sub(r"```\{list-table\}(.*?)```", r"\1", text, flags=re.DOTALL)  # a table of MyST is no code
    text = text.replace("{,}", ",").replace("\\%", "%").replace("\\,", " ")
    for pattern in LEFT_OUT:
        text = re.sub(pattern, " ", text, flags=re.DOTALL)
    text = re.sub(rf"\(({chapter or 'none'}|[A-Z])\.\d+\)", " ", text)  # the number of an equation of this chapter
    for match in NUMBER.finditer(text):
        around = text[max(0, match.start() - 50) : match.end() + 30]
        yield match[0], " ".join(around.split())


def is_program(text: str) -> bool:
    """Whether a string is code itself: lines that a cell writes into a file."""
    try:
        return "\n" in text.strip() and bool(ast.parse(textwrap.dedent(text)).body)
    except SyntaxError:
        return False


def strings(code: str) -> Iterator[str]:
    """The strings in a cell that are no program; in an f-string the computed parts are left out."""
    tree = ast.parse(re.sub(r"^(\s*)[%!].*$", r"\1pass", code, flags=re.MULTILINE))
    inside: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FormattedValue) and node.format_spec:
            inside |= {id(part) for part in ast.walk(node.format_spec)}
        if isinstance(node, ast.JoinedStr) and id(node) not in inside:
            inside |= {id(part) for part in node.values}
            yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in inside
            and not is_program(node.value)
        ):
            yield node.value


@functools.cache
def prose(page: str) -> list[tuple[str, str]]:
    """The texts of a page, each with its place."""
    path = FILES[page]
    if path.suffix == ".md":
        return [(path.name, path.read_text())]
    texts = []
    for i, cell in enumerate(json.loads(path.read_text())["cells"]):
        source = "".join(cell["source"])
        alternative = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
        for text in [source] if cell["cell_type"] == "markdown" else [*strings(source), alternative]:
            texts.append((f"{path.name}, cell {i}", text))
    if chapter := re.match(r"0*(\d+)_", page):
        for i, question in enumerate(quizzes.questions(int(chapter[1])), start=1):
            parts = [question.asks, *(text for choice in question.choices for text in (choice.says, choice.explains))]
            texts += [(f"quizzes.toml, chapter {chapter[1]}, question {i}", text) for text in parts]
    return texts


def registered(page: str) -> dict[str, Literal]:
    return EVERYWHERE | PAGES.get(page, {})


def unregistered(page: str, texts: list[tuple[str, str]]) -> list[str]:
    """Place, number and words of every number in the texts that the registry does not know for this page."""
    chapter = re.match(r"0*(\d+)_", page)
    return [
        f"{place}: {number} in «{around}»"
        for place, text in texts
        for number, around in numbers(text, chapter[1] if chapter else "")
        if number not in registered(page)
    ]


@pytest.mark.parametrize("page", FILES)
def test_every_number_in_prose_is_registered(page: str) -> None:
    found = unregistered(page, prose(page))
    assert not found, "print a measured result from a cell, or register the number in literals.py:\n" + "\n".join(found)


@pytest.mark.parametrize("page", ["", *PAGES])
def test_the_registry_holds_no_number_that_its_page_does_not_show(page: str) -> None:
    chapter = re.match(r"0*(\d+)_", page)
    pages = [page] if page else FILES
    shown = {n for p in pages for _, text in prose(p) for n, _ in numbers(text, chapter[1] if chapter else "")}
    own = {number for number, literal in PAGES[page].items() if not literal.source} if page else set(EVERYWHERE)
    assert own <= shown, own - shown


LITERALS = [(page, number, literal) for page in ("", *PAGES) for number, literal in registered(page).items()]
COMPUTED = {(number, literal.value) for _, number, literal in LITERALS if literal.value}


@pytest.mark.parametrize(("number", "value"), sorted(COMPUTED, key=lambda pair: pair[0]))
def test_a_computed_number_is_what_the_expression_gives(number: str, value) -> None:
    plain = number.replace(",", "")
    digits = len(plain.partition(".")[2])
    if "," in number:
        assert value() == int(plain)
    else:
        assert f"{value():.{digits}f}" == plain


def test_a_published_number_names_a_source_that_its_page_links_to() -> None:
    bibliography = (ROOT / "book" / "references.bib").read_text()
    for page, number, literal in LITERALS:
        if literal.source and page:
            address = literal.source
            if not address.startswith("http"):
                entry = re.search(rf"\{{{address},.*?url\s*=\s*\{{(.+?)\}}", bibliography, re.DOTALL)
                assert entry, f"{address} is not in references.bib"
                address = entry[1]
            text = "\n".join(text for _, text in prose(page))
            assert f"]({address})" in text or f"`{literal.source}`" in text, (page, number, address)
            assert literal.place


def test_a_number_is_known_in_one_way() -> None:
    for page, number, literal in LITERALS:
        ways = bool(literal.value) + bool(literal.source) + bool(literal.meaning)
        assert ways == 1, (page, number)


# The rules themselves


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The error is 12.7 %.", ["12.7"]),
        (
            "It takes 31 seconds, 4 times as long (a 5-fold rise), and errs by 8 % or 3 points.",
            ["31", "4", "5", "8", "3"],
        ),
        ("```{list-table}\n* - 1.25\n```\nand 2.5\n```{list-table}\n* - 3.5\n```", ["1.25", "2.5", "3.5"]),
        ("$C^2 = 1{,}179{,}648$, 69,632 and 11689512", ["1,179,648", "69,632", "11689512"]),
        ("6.61 ± 0.16, (0.2470, 0.2435)", ["6.61", "0.16", "0.2470", "0.2435"]),
        ("| ResNet | 8.75 | 7.51 |", ["8.75", "7.51"]),
        ("from 0.3 to 1.5, not $10^{-5}$ nor $2^{24}$", ["0.3", "1.5"]),
        ("56 layers, 256 images, 3 x 3, ten seeds, about a minute", []),
        ("`0.5` and ```\n0.25\n```", []),
        ("§4.1, figure 9.2, Table 5.7, exercise 9.6, eq. 3.4, (9.1), version 1.0.3, v1.5, PyTorch 2.11", []),
        ("[He et al. 2015](https://arxiv.org/abs/1512.03385), arXiv:1603.05027, 2026-11-25", []),
    ],
)
def test_what_counts_as_a_number_that_must_be_registered(text: str, expected: list[str]) -> None:
    assert [number for number, _ in numbers(text, chapter="9")] == expected


def test_a_string_in_code_counts_without_what_is_computed_in_it() -> None:
    code = 'display(Markdown(f"Plain ends at {error:.2f} %, ResNet at 1.8 %."))\n%pip install x==1.25'
    assert [n for text in strings(code) for n, _ in numbers(text)] == ["1.8"]
    assert not list(strings('Path("train.py").write_text("rate = 0.1\\nprint(rate)")'.replace('"train.py"', "name")))


def test_a_measured_number_that_someone_adds_is_found() -> None:
    page = "09_plain_against_residual"
    assert unregistered(page, [("cell 3", "In our run plain-56 ended at 53.1 % error.")]) == [
        "cell 3: 53.1 in «In our run plain-56 ended at 53.1 % error.»"
    ]
