"""The quizzes are whole and fair, what they refer to exists, and their display is in order."""

import json
import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from resnet_utils import quizzes

ROOT = Path(__file__).parent.parent
NOTEBOOKS = {int(path.name[:2]): path for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))}
QUESTIONS = [(chapter, n, q) for chapter, asked in quizzes.read(quizzes.SOURCE).items() for n, q in enumerate(asked, 1)]
IDS = [f"chapter {chapter}, question {n}" for chapter, n, _ in QUESTIONS]


@pytest.fixture(params=QUESTIONS, ids=IDS)
def question(request) -> quizzes.Question:
    return request.param[2]


def words(question: quizzes.Question) -> str:
    return "\n".join([question.asks, *(f"{choice.says}\n{choice.explains}" for choice in question.choices)])


def text_of(chapter: int) -> str:
    return "\n".join("".join(cell["source"]) for cell in json.loads(NOTEBOOKS[chapter].read_text())["cells"])


# The questions as a whole


def test_every_chapter_has_three_questions() -> None:
    assert {chapter: len(quizzes.questions(chapter)) for chapter in NOTEBOOKS} == dict.fromkeys(range(1, 13), 3)
    assert len(QUESTIONS) == 36


def test_a_question_asks_has_three_or_four_choices_and_one_of_them_is_right(question) -> None:
    assert question.asks.endswith("?")
    assert 3 <= len(question.choices) <= 4
    assert [choice.is_right for choice in question.choices].count(True) == 1
    assert len({choice.says for choice in question.choices}) == len(question.choices)


def test_every_choice_has_an_explanation_of_its_own_in_whole_sentences(question) -> None:
    explanations = [choice.explains for choice in question.choices]
    assert len(set(explanations)) == len(explanations)
    for text in explanations:
        assert len(text) > 40
        assert text.endswith(".")


def test_the_right_choice_stands_in_every_place_about_equally_often() -> None:
    places = [[choice.is_right for choice in question.choices].index(True) for _, _, question in QUESTIONS]
    assert all(6 <= places.count(place) <= 12 for place in range(4))
    for first in range(0, 36, 3):
        assert len(set(places[first : first + 3])) > 1, IDS[first]


def test_the_longest_choice_is_seldom_the_right_one_and_none_is_much_longer_than_the_others() -> None:
    longest = 0
    for (_, _, question), name in zip(QUESTIONS, IDS, strict=True):
        lengths = {choice.says: len(choice.says) for choice in question.choices}
        assert max(lengths.values()) <= 2 * min(lengths.values()), name
        longest += lengths[next(c.says for c in question.choices if c.is_right)] == max(lengths.values())
    assert longest <= len(QUESTIONS) / 3  # with four choices chance gives a quarter


@pytest.mark.parametrize(("chapter", "question"), [(chapter, q) for chapter, _, q in QUESTIONS], ids=IDS)
def test_the_figures_tables_exercises_and_equations_that_it_names_exist(chapter, question) -> None:
    for kind, of, n in re.findall(r"(Figure|Table|Exercise) (\d+)\.(\d+)", words(question)):
        assert f"**{kind} {of}.{n}.**" in text_of(int(of)), f"{kind} {of}.{n}"
    for of, n in re.findall(r"\((\d+)\.(\d+)\)", words(question)):
        assert rf"\tag{{{of}.{n}}}" in text_of(chapter), f"equation ({of}.{n})"
    assert all(1 <= int(n) <= 12 for n in re.findall(r"[Cc]hapter (\d+)", words(question)))


def test_every_paper_that_a_question_links_to_is_in_the_bibliography(question) -> None:
    known = re.findall(r"url\s*=\s*\{(.+?)\}", (ROOT / "book" / "references.bib").read_text())
    assert set(re.findall(r"\]\(([^)]+)\)", words(question))) <= set(known)


# The file and what is made of it

GOOD = """
[[chapter.1]]
asks = "How many?"
choices = [{says = "One.", right = "So it is."}, {says = "Two.", wrong = "No."}, {says = "Three.", wrong = "No."}]
"""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("asks =", "ask ="), "chapter 1, question 1: expected `asks` and `choices`"),
        ((', {says = "Three.", wrong = "No."}', ""), "chapter 1, question 1: expected 3 to 4 choices, found 2"),
        (
            ('right = "So it is."', 'wrong = "No."'),
            "chapter 1, question 1: expected one choice that is `right`, found 0",
        ),
        (('wrong = "No."', 'right = "Yes."'), "chapter 1, question 1: expected one choice that is `right`, found 3"),
        ((', wrong = "No."}, {says = "Three."', '}, {says = "Three."'), "question 1, B: expected `says`, and either"),
        (('"So it is."', '" "'), "chapter 1, question 1: expected texts that are not empty, found ' '"),
        (('"One."', "1"), "chapter 1, question 1: expected texts that are not empty, found 1"),
        (("[[chapter.1]]", "[[chapter.one]]"), r"must hold TOML with tables \[\[chapter.NUMBER\]\]"),
        (("[[chapter.1]]", "[[part.1]]"), r"must hold TOML with tables \[\[chapter.NUMBER\]\]: 'chapter'"),
        (('"How many?"', '"How many?'), r"must hold TOML with tables \[\[chapter.NUMBER\]\]: .*line"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_place(tmp_path, change, message) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text((GOOD * 3).replace(*change))
    with pytest.raises(ValueError, match=f"broken.toml.*{message}"):
        quizzes.read(broken)


def test_a_chapter_with_two_questions_is_refused(tmp_path) -> None:
    (tmp_path / "few.toml").write_text(GOOD * 2)
    with pytest.raises(ValueError, match=r"few.toml, chapter 1: expected 3 questions, found 2"):
        quizzes.read(tmp_path / "few.toml")


@pytest.mark.parametrize("chapter", [0, 13, "5"])
def test_a_chapter_that_has_no_quiz_is_named_with_those_that_have_one(chapter) -> None:
    with pytest.raises(ValueError, match=f"no quiz for chapter {chapter!r}; give a number from 1 to 12"):
        quizzes.show_quiz(chapter)


@pytest.mark.parametrize("chapter", NOTEBOOKS)
def test_the_display_has_a_disclosure_for_each_choice_and_those_of_a_question_share_a_name(chapter) -> None:
    soup = BeautifulSoup(quizzes.show_quiz(chapter).data, "html.parser")
    groups = soup.select("[role=group]")
    assert len(groups) == 3
    for group, question in zip(groups, quizzes.questions(chapter), strict=True):
        asked = soup.find(id=group["aria-labelledby"])
        assert asked.name == "p"
        assert {each["name"] for each in group.select("details")} == {asked["id"]}
        assert not group.select("details[open]")
        signs = [each.strong.get_text() for each in group.select("details > p")]
        assert signs == ["Right." if choice.is_right else "Not quite." for choice in question.choices]
        assert [each.b.get_text() for each in group.select("summary")] == list("ABCD")[: len(signs)]
    assert not re.search(r"[`$]|\*\w|\]\(", soup.get_text())  # every mark has become an element
    assert not soup.find("script")


def test_marks_become_elements_and_signs_of_html_do_not() -> None:
    marked = quizzes._marked("`a < b*c*d` and *x* & [He](https://arxiv.org/abs/1512.03385)")
    link = '<a href="https://arxiv.org/abs/1512.03385" target="_blank" rel="noopener">He</a>'
    assert marked == f"<code>a &lt; b*c*d</code> and <em>x</em> &amp; {link}"


def test_the_package_ships_the_file() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"][
        "resnet_utils"
    ]
    assert any(fnmatch(quizzes.SOURCE.name, pattern) for pattern in patterns)
