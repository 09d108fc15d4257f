"""The assignments: the model solution gets all marks, nothing gets none, each mistake costs exactly what it should."""

import ast
import json
import re
import subprocess

import pytest
from helpers import hidden_lines, secret_parts
from submissions import BROKEN, FOLDER, MASTERS, WRONG, nbgrader_data, solution

WRONG_ONES = [(name, wrong) for name, submissions in WRONG.items() for wrong in submissions]
NAMES = [f"{name}-{wrong['name']}" for name, wrong in WRONG_ONES]


@pytest.fixture(params=MASTERS)
def name(request) -> str:
    return request.param


def cells(notebook: dict, **wanted: object) -> list[dict]:
    """The cells whose nbgrader metadata have these values."""
    return [c for c in notebook["cells"] if all(nbgrader_data(c).get(key) == value for key, value in wanted.items())]


def test_an_assignment_has_four_to_seven_questions_marked_by_code_and_one_marked_by_hand(name) -> None:
    master = MASTERS[name]
    by_hand = cells(master, grade=True, solution=True)
    assert 4 <= len(cells(master, grade=False, solution=True)) <= 7
    assert [cell["cell_type"] for cell in by_hand] == ["markdown"]
    assert sum(nbgrader_data(cell)["points"] for cell in cells(master, grade=True)) == 20
    assert 3 <= nbgrader_data(by_hand[0])["points"] <= 5
    assert "### BEGIN SOLUTION" in "".join(by_hand[0]["source"])


def statements(source: str, kind: type[ast.stmt]) -> list[str]:
    """The functions that a cell defines, or those that it calls, by name; it must hold nothing else."""
    body = ast.parse(source).body
    assert all(isinstance(node, ast.FunctionDef) or isinstance(node.value, ast.Call) for node in body)
    assert not any(isinstance(node, ast.Global) for part in body for node in ast.walk(part))
    return [node.name if kind is ast.FunctionDef else node.value.func.id for node in body if isinstance(node, kind)]


def test_each_question_has_checks_that_a_student_sees_and_tests_that_are_hidden(name, released) -> None:
    checks = {}  # by the name of the cell that defines them
    for cell in json.loads(released[name])["cells"]:
        source, grade_id = "".join(cell["source"]), nbgrader_data(cell).get("grade_id", "")
        if grade_id.startswith("check-"):
            assert "assert" in source, grade_id
            checks[grade_id] = statements(source, ast.FunctionDef)
        elif grade_id.startswith("test-"):
            called = set(statements(source, ast.Expr))
            assert called, grade_id
            assert called <= set(checks[grade_id.replace("test-", "check-")]), grade_id
    graded = cells(MASTERS[name], grade=True, solution=False)
    assert [nbgrader_data(cell)["grade_id"].replace("test-", "check-") for cell in graded] == list(checks)
    for cell in graded:
        assert "".join(secret_parts({"cells": [cell]})).strip(), nbgrader_data(cell)["grade_id"]


def test_checks_and_tests_leave_only_functions_so_that_no_name_of_a_student_is_overwritten(name) -> None:
    for cell in MASTERS[name]["cells"]:
        kind = nbgrader_data(cell).get("grade_id", "").partition("-")[0]
        if kind in ("check", "test"):
            defined = statements("".join(cell["source"]), ast.FunctionDef)
            assert all(function.startswith("check_" if kind == "check" else "hidden_") for function in defined)


def test_no_code_cell_is_longer_than_25_lines(name, released) -> None:
    for cell in MASTERS[name]["cells"] + json.loads(released[name])["cells"]:
        if cell["cell_type"] == "code":
            assert "".join(cell["source"]).count("\n") < 25, nbgrader_data(cell).get("grade_id")


def test_at_least_three_plausible_mistakes_are_tried(name) -> None:
    assert len(WRONG[name]) >= 3
    assert all(len(wrong["mistake"]) > 40 and wrong["loses"] for wrong in WRONG[name])


def test_the_release_version_in_the_repository_is_that_of_the_master(name, released) -> None:
    assert (FOLDER / "release" / f"{name}.ipynb").read_text() == released[name], "run: make assignments"


def test_the_release_version_holds_no_solution_and_no_hidden_test(name, released) -> None:
    text = "\n".join("".join(cell["source"]) for cell in json.loads(released[name])["cells"])
    assert not re.search("BEGIN SOLUTION|END SOLUTION|HIDDEN TESTS", text)
    hidden = hidden_lines([MASTERS[name]])
    assert len(hidden) > 20
    assert hidden & {line.strip() for line in text.splitlines()} == set()


def test_the_model_solution_gets_all_marks(name, graded) -> None:
    assert graded.rows["right", name]["status"] == "graded"
    assert graded.lost("right", name) == {}
    by_hand = [nbgrader_data(cell)["grade_id"] for cell in cells(MASTERS[name], grade=True, solution=True)]
    assert [question for question, marks in graded.marks["right", name].items() if marks is None] == by_hand


def test_the_untouched_release_gets_no_mark(name, graded) -> None:
    row = graded.rows["untouched", name]
    assert (row["status"], float(row["marks"])) == ("graded", 0)


@pytest.mark.parametrize(("assignment", "wrong"), WRONG_ONES, ids=NAMES)
def test_a_mistake_loses_exactly_the_marks_that_it_should(assignment, wrong, graded) -> None:
    assert graded.rows[wrong["name"], assignment]["status"] == "graded"
    assert graded.lost(wrong["name"], assignment) == wrong["loses"]


@pytest.mark.parametrize(
    ("student", "status", "message"),
    [
        ("hangs", "hung", "interrupted after 20 seconds: "),
        ("hangs-and-will-not-be-interrupted", "hung", "20 seconds"),
        ("calls-exit", "stopped", "a cell ended Python"),
        ("kills-python", "stopped", "a cell ended Python"),
        ("lost-its-metadata", "damaged", "cells are missing, deleted or without their metadata"),
        ("lost-a-check", "damaged", "cells are missing, deleted or without their metadata: check-identity-block"),
        ("replaces-a-check", "damaged", "a cell defines check_outputs in the place of the given"),
        ("has-a-cell-without-text", "unreadable", "this is not a notebook"),
        ("is-no-notebook", "unreadable", "this is not a notebook"),
        ("prints-a-million-lines", "graded", "output cut after 1000 lines: "),
    ],
)
def test_a_submission_that_cannot_be_graded_as_it_is_is_reported_as_such(student, status, message, graded) -> None:
    row = graded.rows[student, BROKEN]
    assert row["status"] == status
    assert message in row["message"]
    if status in ("stopped", "damaged", "unreadable"):
        assert row["marks"] == ""
        assert (student, BROKEN) not in graded.marks


def test_the_minutes_that_students_report_are_collected(name, graded) -> None:
    assert graded.rows["right", name]["minutes"] == "75"
    assert graded.rows["untouched", name]["minutes"] == ""
    assert f"\n{name} took 75 minutes, the median of 1 answer.\n" in graded.done.stdout


def test_a_cell_that_hangs_costs_its_own_question_and_not_the_others(graded) -> None:
    marks = graded.marks["hangs", BROKEN]
    assert any(given == graded.most["hangs", BROKEN][question] for question, given in marks.items() if given)
    assert solution(MASTERS[BROKEN]) in graded.rows["hangs", BROKEN]["message"]


def test_submissions_without_marks_are_counted_and_end_the_command_with_an_error(graded) -> None:
    without = sum(not row["marks"] for row in graded.rows.values())
    assert graded.done.returncode == 1
    assert f"{without} submissions have no marks" in graded.done.stdout


def test_every_graded_submission_has_a_page_of_feedback(graded) -> None:
    pages = (graded.folder / "_grades" / "feedback").glob("*/*.html")
    assert {(page.parent.name, page.stem) for page in pages} == set(graded.marks)


FEEDBACK_HANGS = """
import sys
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, {folder!r})
import submission


def nbgrader(course, command, *arguments, seconds):
    if command == "generate_feedback":
        raise submission.TookTooLongError
    return SimpleNamespace(returncode=0, stderr="")


submission.nbgrader, submission.check, submission.look_at_outputs = nbgrader, lambda *_: None, lambda *_: None
submission.read_marks = lambda result, course: result.marks.update(question=2.0)
Path("course").mkdir()
Path("a.ipynb").touch()
result = submission.grade("ada", {name!r}, Path("a.ipynb"), Path("course"), Path("feedback.html"))
print(result.status, result.marks, result.message)
"""


def test_a_page_of_feedback_that_cannot_be_made_costs_no_marks_and_stops_nothing(grading_python, tmp_path) -> None:
    code = FEEDBACK_HANGS.format(folder=str(FOLDER), name=BROKEN)
    done = subprocess.run([grading_python, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "hung {'question': 2.0} it ran for more than 120 seconds\n", done.stderr


def test_what_was_graded_before_is_not_graded_again(graded, run) -> None:
    before = graded.table("marks.csv")
    again = run(graded.folder, "grade.py", "submissions")
    assert f"{len(before)} submissions, {len(before)} of them graded before" in again.stdout
    assert graded.table("marks.csv") == before


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ([], "holds no submissions"),
        (["ada/homework.ipynb"], "its name must begin with one of 1_gradients"),
        (["ada/2_residual_block.ipynb", "ada/2_residual_block (1).ipynb"], "keep the one that counts"),
    ],
)
def test_a_folder_that_cannot_be_graded_is_refused_with_what_is_wrong(files, says, run, tmp_path) -> None:
    (tmp_path / "submissions").mkdir()
    for file in files:
        (tmp_path / "submissions" / file).parent.mkdir(exist_ok=True)
        (tmp_path / "submissions" / file).write_text("{}")
    done = run(tmp_path, "grade.py", "submissions")
    assert done.returncode == 2
    assert says in done.stderr
    assert not (tmp_path / "_grades").exists()
