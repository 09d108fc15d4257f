"""The page for instructors names chapters, assignments, mistakes and commands that exist, and its sums are right."""

import json
import re
import tomllib
from pathlib import Path

import pytest
import torch
from helpers import secret_parts
from torch import nn

from resnet_utils import counting

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "book" / "instructors.md").read_text(encoding="utf-8")
ASSIGNMENTS = ROOT / "notebooks" / "assignments"
MISTAKES = {
    path.stem: tomllib.loads(path.read_text(encoding="utf-8"))["wrong"]
    for path in sorted((ROOT / "tests" / "assignments" / "wrong").glob("*.toml"))
}


def opening(path: Path) -> str:
    """The first text of a notebook: title, objectives, time."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "".join(next(cell["source"] for cell in cells if cell["cell_type"] == "markdown"))


def minutes(path: Path) -> int:
    """What a notebook says that it takes."""
    return int(re.search(r"\*\*Time\.\*\* (?:About )?(\d+) minutes", opening(path))[1])


CHAPTERS = {path.stem: minutes(path) for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))}
MASTERS = {path.stem: path for path in sorted(ASSIGNMENTS.glob("[0-9]_*.ipynb"))}


def section(title: str) -> str:
    """The text below a heading, to the next one that is as high."""
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^\1 |^#{{1,2}} |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"no heading {title!r}"
    return found[2]


def table(title: str) -> list[dict[str, str]]:
    """The rows of the first table below a heading, by column; bold type is taken away."""
    lines = re.search(r"(?:^\|.*\n)+", section(title), re.MULTILINE)[0].replace("**", "").splitlines()
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert all(len(row) == len(head) for row in rows)
    return [dict(zip(head, row, strict=True)) for row in rows]


def chapters(cell: str) -> list[str]:
    """The notebooks that a cell of a table links to."""
    return re.findall(r"<\.\./notebooks/(\w+)>", cell)


def number(cell: str) -> int:
    return int(cell or 0)


def words(text: str) -> str:
    return " ".join(text.split())


def test_every_chapter_has_its_outcomes_and_its_own_minutes() -> None:
    rows = table("What students learn")
    assert [chapters(row["Chapter"]) for row in rows] == [[name] for name in CHAPTERS]
    assert [int(row["Minutes to read"]) for row in rows] == list(CHAPTERS.values())
    assert all(len(row["After it, students can"]) > 40 for row in rows)


def test_the_numbers_in_links_to_chapters_are_those_of_the_chapters() -> None:
    for text, name in re.findall(r"\{doc\}`(?:chapter )?(\d+) <\.\./notebooks/(\w+)>`", PAGE, re.IGNORECASE):
        assert name in CHAPTERS
        assert int(text) == int(name[:2])


def test_every_assignment_that_exists_is_named_and_every_one_that_is_named_exists() -> None:
    assert len(MASTERS) == 6
    assert set(re.findall(r"`(\d_\w+)`", PAGE)) == set(MASTERS)
    assert set(re.findall(r"/(\d_\w+)[ .]", section("Hand in"))) <= set(MASTERS)


def test_the_table_of_assignments_says_what_the_masters_say() -> None:
    for row, (name, path) in zip(table("The assignments"), MASTERS.items(), strict=True):
        cells = [cell["metadata"].get("nbgrader", {}) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
        marks = dict.fromkeys((False, True), 0)  # by whether they are given by hand
        for cell in cells:
            if cell.get("grade"):
                marks[cell["solution"]] += cell["points"]
        followed = re.search(r"This assignment follows (.*?)\. ", words(opening(path)))[1]
        assert row["Assignment"] == f"`{name}`"
        assert re.findall(r"\d+", row["Follows chapters"]) == re.findall(r"chapter (\d+)\]", followed)
        assert int(row["Minutes"]) == minutes(path)
        assert (int(row["Marks by tests"]), int(row["Written"])) == (marks[False], marks[True])


def span(numbers: list[int], step: int) -> str:
    """The smallest and the largest, rounded to steps."""
    return f"{step * round(min(numbers) / step):,} to {step * round(max(numbers) / step):,}"


def test_what_a_student_reads_and_writes_was_counted() -> None:
    text, given, written = [], [], []
    for name, path in MASTERS.items():
        release = json.loads((ASSIGNMENTS / "release" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
        shown = {kind: [c["source"] for c in release if c["cell_type"] == kind] for kind in ("markdown", "code")}
        text.append(sum(len(re.findall(r"\w+", "".join(source))) for source in shown["markdown"]))
        lines = [line.strip() for source in shown["code"] for line in source]
        given.append(sum(line not in ("", "# YOUR CODE HERE", "raise NotImplementedError()") for line in lines))
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        answers = [c for c in cells if c["cell_type"] == "code" and c["metadata"].get("nbgrader", {}).get("solution")]
        lines = [line.strip() for part in secret_parts({"cells": answers}) for line in part.splitlines()]
        written.append(sum(bool(line) and not line.startswith("#") for line in lines))
    said = words(section("The assignments"))
    assert f"reads {span(text, 100)} words and {span(given, 10)} lines of given code" in said
    assert f"writes {span(written, 5)} lines" in said


@pytest.mark.parametrize("title", ["One lecture", "One week", "Four weeks"])
def test_the_minutes_of_a_syllabus_are_those_of_its_parts_and_add_up(title) -> None:
    *rows, last = table(title)
    for row in rows:
        assert set(chapters(row["Chapters"])) <= set(CHAPTERS)
        if "Reading" in row:
            assert number(row["Reading"]) == sum(CHAPTERS[name] for name in chapters(row["Chapters"]))
            assigned = [path for name, path in MASTERS.items() if name[0] == row["Assignment"]]
            assert len(assigned) == bool(row["Assignment"])
            assert number(row["Minutes for it"]) == sum(map(minutes, assigned))
            parts = ("Reading", "In class", "Minutes for it")
            assert number(row["Sum"]) == sum(number(row[part]) for part in parts)
    for column in {"Reading", "In class", "Minutes for it", "Sum"} & set(last):
        assert number(last[column]) == sum(number(row[column]) for row in rows)


@pytest.mark.parametrize(
    ("title", "sessions", "length"), [("One lecture", 1, 90), ("One week", 10, 90), ("Four weeks", 8, 90)]
)
def test_a_syllabus_takes_as_many_sessions_as_it_is_called(title, sessions, length) -> None:
    assert number(table(title)[-1]["In class"]) == sessions * length


@pytest.mark.parametrize("title", ["One week", "Four weeks"])
def test_an_assignment_is_given_after_the_chapters_that_it_follows(title) -> None:
    rows = table("The assignments")
    needed = {row["Assignment"][1]: set(map(int, re.findall(r"\d+", row["Follows chapters"]))) for row in rows}
    read, given = set(), []
    for row in table(title)[:-1]:
        read |= {int(name[:2]) for name in chapters(row["Chapters"])}
        if row["Assignment"]:
            given.append(row["Assignment"])
            assert needed[row["Assignment"]] <= read, row["Assignment"]
    assert len(set(given)) == len(given)


@pytest.mark.parametrize("name", MASTERS)
def test_the_common_mistakes_of_an_assignment_stand_on_the_page_with_their_cost(name) -> None:
    title = re.match(r"# (.*)\n", opening(MASTERS[name]))[1]
    items = [words(item) for item in re.split(r"^- ", section(title), flags=re.MULTILINE)[1:]]
    costs = [sum(wrong["loses"].values()) for wrong in MISTAKES[name]]
    assert items == [
        f"{words(wrong['mistake'])} ({cost} mark{'s' if cost != 1 else ''})"
        for wrong, cost in zip(MISTAKES[name], costs, strict=True)
    ]


def test_the_states_of_the_table_are_those_that_the_grader_gives() -> None:
    source = (ASSIGNMENTS / "submission.py").read_text(encoding="utf-8")
    states = re.findall(r'"(\w+)"', re.search(r"^    status: str = .*$", source, re.MULTILINE)[0])
    assert sorted(row["State"] for row in table("What the states mean")) == sorted(states)


def test_the_limits_on_the_page_are_those_of_the_grader() -> None:
    course, submission = ((ASSIGNMENTS / name).read_text(encoding="utf-8") for name in ("course.py", "submission.py"))
    cell = re.search(r"^CELL_SECONDS = (\d+)", course, re.MULTILINE)[1]
    whole = re.search(r"^SUBMISSION_SECONDS = (\d+)", submission, re.MULTILINE)[1]
    hung = next(row for row in table("What the states mean") if row["State"] == "hung")
    assert re.findall(r"(\d+) seconds", hung["What happened"]) == [cell, whole]


def test_every_make_target_that_the_page_names_exists() -> None:
    named = set(re.findall(r"\bmake (?:-C \w+ )?([a-z][a-z-]*)(?=[` \n])", "\n".join(code())))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {"grade", "assignments", "test-assignments", "fork", "env"} <= named
    assert named <= targets
    assert "READY_GRADING = $(VENV_GRADING)/.ready-for-the-book" in (ROOT / "Makefile").read_text(encoding="utf-8")


def code() -> list[str]:
    """What stands on the page as code: blocks and spans."""
    blocks = re.findall(r"^```(?:bash|dockerfile)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return blocks + re.findall(r"`[^`\n]+`", re.sub(r"^```.*?^```", "", PAGE, flags=re.MULTILINE | re.DOTALL))


def test_the_command_that_names_a_version_finds_every_first_cell() -> None:
    pattern = re.search(r"perl -pi -e 's/(\S+?)/\\@v1/' notebooks", PAGE)[1].replace(r"\@", "@")
    for path in [*(ROOT / "notebooks").glob("*.ipynb"), *MASTERS.values()]:
        assert len(re.findall(pattern, path.read_text(encoding="utf-8"))) == 1, path.name
    assert (ROOT / "_config.yml").read_text(encoding="utf-8").count("branch: main") == 1


def test_no_line_of_a_solution_or_a_hidden_test_stands_on_the_page() -> None:
    page = words(PAGE)
    for path in MASTERS.values():
        for secret in secret_parts(json.loads(path.read_text(encoding="utf-8"))):
            sentences = re.split(r"\n|(?<=[.;:]) ", secret)
            assert [s for s in map(words, sentences) if len(s) > 30 and s in page] == [], path.name


def test_there_are_eight_to_twelve_exam_questions_each_with_a_folded_answer() -> None:
    questions = re.split(r"^\*\*(\d+)\.\*\* ", section("Exam questions"), flags=re.MULTILINE)[1:]
    numbers, texts = questions[::2], questions[1::2]
    assert 8 <= len(texts) <= 12
    assert numbers == [str(n) for n in range(1, len(texts) + 1)]
    for text in texts:
        assert re.fullmatch(r".+?\n\n<details>\n<summary>Answer</summary>\n\n.+?\n\n</details>\n+", text, re.DOTALL)


# Answers of the exam that literals.py does not hold, because they are whole numbers


def changed(before: torch.Tensor, after: torch.Tensor) -> list[list[int]]:
    """Rows and columns, from first to last, in which two maps differ in some channel."""
    rows, columns = (before - after).abs().amax(dim=(0, 1)).gt(1e-9).nonzero(as_tuple=True)
    assert len(rows) == len(rows.unique()) * len(columns.unique()), "a rectangle"
    return [[int(places.min()), int(places.max())] for places in (rows, columns)]


def test_exam_5_a_pixel_at_odd_places_reaches_four_positions_and_then_sixteen() -> None:
    torch.manual_seed(0)
    first = nn.Conv2d(32, 64, 3, stride=2, padding=1, dtype=torch.float64)
    second = nn.Conv2d(64, 64, 3, padding=1, dtype=torch.float64)
    projection = nn.Conv2d(32, 64, 1, stride=2, dtype=torch.float64)
    x = torch.zeros(1, 32, 16, 16, dtype=torch.float64)
    y = x.clone()
    y[0, 0, 5, 7] = 1
    assert torch.equal(projection(x), projection(y))
    assert changed(first(x), first(y)) == [[2, 3], [3, 4]]
    assert changed(second(first(x)), second(first(y))) == [[1, 4], [2, 5]]


@pytest.mark.parametrize(("convolutions", "field"), [(6, 13), (3, 7)])
def test_exam_6_six_convolutions_see_13_positions_and_three_see_7(convolutions, field) -> None:
    stack = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1) for _ in range(convolutions)))
    assert counting.measured_receptive_field(stack, (1, 32, 32)) == field
