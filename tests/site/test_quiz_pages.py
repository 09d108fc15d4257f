"""The quiz of every chapter, used in a real browser: with the mouse, with the keyboard, on a phone and in the dark."""

from pathlib import Path

import pytest
from tabs import PHONE
from test_pages import CHAPTERS

from resnet_utils import quizzes

OPEN = "group => [...group.querySelectorAll('details')].map((choice) => choice.open)"
HEIGHTS = "choices => choices.map((choice) => choice.getBoundingClientRect().height)"
STICKS_OUT = """quiz => [...quiz.querySelectorAll("*")].filter((element) =>
    element.getBoundingClientRect().right > document.documentElement.clientWidth).map((element) => element.outerHTML)"""

# The contrast of an element's text to the first background that is not transparent, its own or one that lies below.
CONTRAST = """element => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const backgrounds = [];
    for (let box = element; box; box = box.parentElement) backgrounds.unshift(getComputedStyle(box).backgroundColor);
    const luminance = (colours) => {
        colours.forEach((colour) => { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); });
        const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((value) =>
            value <= 10 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const [low, high] = [luminance(backgrounds), luminance([getComputedStyle(element).color])].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
}"""


@pytest.fixture
def open_quiz(site, tab):
    """A function that opens the page of a chapter and gives its quiz."""

    def opened(page: str):
        tab.page.goto((site / f"{page}.html").as_uri())
        return tab.page.locator("article .quiz")

    return opened


@pytest.mark.parametrize("page", CHAPTERS)
def test_a_choice_opens_by_click_and_by_key_shows_its_explanation_and_closes_the_others(open_quiz, tab, page) -> None:
    asked = quizzes.questions(int(Path(page).name[:2]))
    quiz = open_quiz(page)
    assert quiz.count() == 1
    groups = quiz.locator("[role=group]")
    assert groups.count() == len(asked)
    for i, question in enumerate(asked):
        group = groups.nth(i)
        for k, choice in enumerate(question.choices):
            row, explanation = group.locator("summary").nth(k), group.locator("details > p").nth(k)
            assert not explanation.is_visible()
            if k % 2:
                row.click()
            else:
                row.focus()
                tab.page.keyboard.press("Enter" if i % 2 else "Space")
            assert explanation.is_visible()
            assert explanation.inner_text().startswith("Right. " if choice.is_right else "Not quite. ")
            assert group.evaluate(OPEN) == [place == k for place in range(len(question.choices))]
        row.click()
        assert group.evaluate(OPEN) == [False] * len(question.choices)
    assert tab.errors + tab.failed + tab.foreign == []


@pytest.mark.parametrize("page", CHAPTERS)
def test_a_choice_is_high_enough_for_a_finger_and_nothing_sticks_out_on_a_phone(open_quiz, tab, page) -> None:
    tab.page.set_viewport_size(PHONE)
    quiz = open_quiz(page)
    quiz.locator("details").evaluate_all("all => all.forEach((one) => { one.name = ''; one.open = true; })")
    assert min(quiz.locator("summary").evaluate_all(HEIGHTS)) >= 40
    assert quiz.evaluate(STICKS_OUT) == []


@pytest.mark.parametrize("tab", ["light", "dark"], indirect=True)
def test_questions_choices_explanations_and_code_can_be_read_in_light_and_dark(open_quiz) -> None:
    quiz = open_quiz(next(page for page in CHAPTERS if "08_" in page))  # its questions hold code
    quiz.locator("details").evaluate_all("all => all.forEach((one) => { one.name = ''; one.open = true; })")
    for kind in (".asks", "summary > span", ".explains", "code"):
        texts = quiz.locator(kind).all()
        assert texts
        assert min(text.evaluate(CONTRAST) for text in texts) >= 4.5, kind


@pytest.mark.parametrize("tab", ["light", "dark"], indirect=True)
def test_the_tab_key_walks_through_the_choices_and_shows_where_it_is(open_quiz, tab) -> None:
    quiz = open_quiz(CHAPTERS[0])
    rows = quiz.locator("summary")
    rows.first.focus()
    for k in range(1, 4):
        tab.page.keyboard.press("Tab")
        assert rows.nth(k).evaluate("row => row === document.activeElement")
        assert rows.nth(k).evaluate("row => getComputedStyle(row).outlineStyle") == "solid"
