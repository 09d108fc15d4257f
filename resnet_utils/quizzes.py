"""Questions with which readers check themselves: read from quizzes.toml, checked, shown on the site or in a notebook.

A choice is an HTML disclosure: opened by a click or a key it shows its explanation, and the other choices of the
question close, all without a script. It is HTML and not Markdown because Colab takes the styles out of Markdown
(googlecolab/colabtools issue 5280). It has no TeX formulas because Colab does not draw them in HTML (issue 3941).
"""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

from IPython.display import HTML

SOURCE = Path(__file__).with_name("quizzes.toml")
PER_CHAPTER = 3
CHOICES = (3, 4)  # the fewest and the most that a question may have
LETTERS = "ABCD"
SIGNS = {True: "Right.", False: "Not quite."}
MARKS = re.compile(r"`([^`]+)`|\*([^*]+)\*|\[([^\]]+)\]\((https?://[^)\s]+)\)")  # code, emphasis, link

# The grey of the lines and the colours of the edges stand out from light and from dark; the text is that of the page.
STYLE = """<style>
.quiz { max-width: 46rem; line-height: 1.5; }
.quiz .asks { margin: 1.4rem 0 .6rem; }
.quiz .choice { margin: 0 0 .5rem; padding: 0; border: 1px solid #808080; border-radius: .3rem; }
.quiz summary { display: flex; gap: .8rem; align-items: center; box-sizing: border-box; min-height: 44px;
  padding: .4rem .9rem; border-radius: .3rem; cursor: pointer; list-style: none; font-weight: normal; }
.quiz summary::-webkit-details-marker { display: none; }
.quiz summary:hover, .quiz [open] > summary { background: rgb(128 128 128 / .14); }
.quiz summary:focus-visible { outline: 2px solid #3d8fd1; outline-offset: -2px; }
.quiz .right[open] { border-left: 5px solid #2e9e6b; }
.quiz .wrong[open] { border-left: 5px solid #cf7a1c; }
.quiz .explains { margin: 0; padding: .6rem .9rem .7rem; }
</style>"""


@dataclass(frozen=True)
class Choice:
    """One answer to a question, and why it is right or what is wrong with it."""

    says: str
    explains: str
    is_right: bool


@dataclass(frozen=True)
class Question:
    """A question with its choices, of which one is right."""

    asks: str
    choices: tuple[Choice, ...]


def show_quiz(chapter: int) -> HTML:
    """The questions of a chapter, as the last value of a cell shows them."""
    parts = [_question(f"quiz-{chapter}-{n}", n, asked) for n, asked in enumerate(questions(chapter), start=1)]
    return HTML("\n".join([STYLE, '<div class="quiz">', *parts, "</div>"]))


def questions(chapter: int) -> tuple[Question, ...]:
    """The questions of a chapter.

    Raises:
        ValueError: if there is no such chapter, or quizzes.toml is not in order.
    """
    known = read(SOURCE)
    if chapter not in known:
        raise ValueError(f"there is no quiz for chapter {chapter!r}; give a number from {min(known)} to {max(known)}")
    return known[chapter]


@cache
def read(source: Path) -> dict[int, tuple[Question, ...]]:
    """The questions in a file, by chapter.

    Raises:
        ValueError: if the file is no TOML, or a question is not as quizzes.toml describes it at its beginning.
    """
    try:
        chapters = tomllib.loads(source.read_text(encoding="utf-8"))["chapter"]
        numbered = {int(number): asked for number, asked in chapters.items()}
    except (tomllib.TOMLDecodeError, KeyError, ValueError) as error:
        raise ValueError(f"{source.name} must hold TOML with tables [[chapter.NUMBER]]: {error}") from error
    found = {}
    for number, asked in numbered.items():
        place = f"{source.name}, chapter {number}"
        _expect(len(asked) == PER_CHAPTER, place, f"{PER_CHAPTER} questions", len(asked))
        found[number] = tuple(_checked(table, f"{place}, question {n}") for n, table in enumerate(asked, start=1))
    return found


def _checked(table: dict, place: str) -> Question:
    """A question from its table in the file."""
    _expect(set(table) == {"asks", "choices"}, place, "`asks` and `choices`", sorted(table))
    fewest, most = CHOICES
    _expect(fewest <= len(table["choices"]) <= most, place, f"{fewest} to {most} choices", len(table["choices"]))
    for letter, choice in zip(LETTERS, table["choices"], strict=False):
        wanted = ({"says", "right"}, {"says", "wrong"})
        _expect(set(choice) in wanted, f"{place}, {letter}", "`says`, and either `right` or `wrong`", sorted(choice))
    for text in (table["asks"], *(text for choice in table["choices"] for text in choice.values())):
        _expect(isinstance(text, str) and text.strip(), place, "texts that are not empty", text)
    choices = tuple(
        Choice(_joined(c["says"]), _joined(c["right"] if "right" in c else c["wrong"]), "right" in c)
        for c in table["choices"]
    )
    rights = sum(choice.is_right for choice in choices)
    _expect(rights == 1, place, "one choice that is `right`", rights)
    return Question(_joined(table["asks"]), choices)


def _expect(holds: object, place: str, wanted: str, found: object) -> None:
    if not holds:
        raise ValueError(f"{place}: expected {wanted}, found {found!r}; correct it there")


def _joined(text: str) -> str:
    """The text in one line."""
    return " ".join(text.split())


def _question(name: str, number: int, question: Question) -> str:
    """A question in HTML; choices of one name close each other."""
    choices = [_choice(name, *each) for each in zip(LETTERS, question.choices, strict=False)]
    asks = f'<p class="asks" id="{name}"><strong>Question {number}.</strong> {_marked(question.asks)}</p>'
    return "\n".join([asks, f'<div role="group" aria-labelledby="{name}">', *choices, "</div>"])


def _choice(name: str, letter: str, choice: Choice) -> str:
    sort = "right" if choice.is_right else "wrong"
    return (
        f'<details class="choice {sort}" name="{name}"><summary><b>{letter}</b> '
        f"<span>{_marked(choice.says)}</span></summary>"
        f'<p class="explains"><strong>{SIGNS[choice.is_right]}</strong> {_marked(choice.explains)}</p></details>'
    )


def _marked(text: str) -> str:
    """The text in HTML, with its marks for code, emphasis and links."""

    def element(mark: re.Match) -> str:
        code, emphasis, words, address = mark.groups()
        if code:
            return f"<code>{code}</code>"
        return f"<em>{emphasis}</em>" if emphasis else f'<a href="{address}" target="_blank" rel="noopener">{words}</a>'

    return MARKS.sub(element, escape(text, quote=False))
