"""Grade one submission: in a course of its own, so that what goes wrong there harms no other."""

import json
import re
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from course import CELL_SECONDS, MASTERS, MOST_LINES, TookTooLongError, nbgrader
from nbgrader.api import Gradebook

SUBMISSION_SECONDS = 120  # all cells together
STUDENT = "student"  # in each course there is one
CUT = "... Output truncated ..."  # what nbgrader writes in the place of what it cuts
# A function of the checks or hidden tests of a master, and any name that a cell defines.
CHECK = re.compile(r"^def ((?:check|hidden)_\w+)", re.MULTILINE)
DEFINED = re.compile(r"^\s*(?:def (?=\w+ *\()|(?=\w+ *=[^=]))(\w+)", re.MULTILINE)


class NotGradedError(Exception):
    """A submission gets no marks. Its two arguments are the state and the message of the row that says so."""


@dataclass
class Result:
    """What came of one submission; marks by question, None where a person has to give them."""

    student: str
    assignment: str
    status: str = "graded"  # or "unreadable", "damaged", "hung", "stopped", "failed"
    message: str = ""
    minutes: int | None = None  # that the student needed, if the last cell says it
    marks: dict[str, float | None] = field(default_factory=dict)
    most: dict[str, float] = field(default_factory=dict)

    def row(self) -> dict[str, object]:
        """The row of marks.csv; what is marked by hand is counted apart."""
        given = [name for name, marks in self.marks.items() if marks is not None]
        by_hand = [name for name, marks in self.marks.items() if marks is None]
        return {
            "student": self.student,
            "assignment": self.assignment,
            "status": self.status,
            "marks": sum(self.marks[name] for name in given) if given else "",
            "of": sum(self.most[name] for name in given) if given else "",
            "to_mark_by_hand": sum(self.most[name] for name in by_hand) if given else "",
            "minutes": "" if self.minutes is None else self.minutes,
            "message": self.message,
        }


def nbgrader_data(cell: dict) -> dict:
    """What nbgrader has written into the metadata of a cell; nothing, if the student added it."""
    return cell.get("metadata", {}).get("nbgrader", {})


def sources(cells: list[dict]) -> str:
    """The sources of cells, one below the other."""
    return "\n".join("".join(cell.get("source", "")) for cell in cells)


def given_cells(notebook: dict) -> dict[str, str]:
    """The kind of each cell that nbgrader knows, by its name: what is given, answered, checked and graded."""
    cells = {}
    for cell in notebook["cells"]:
        if about := nbgrader_data(cell):
            cells[about.get("grade_id", "")] = cell["cell_type"]
    return cells


def redefined(notebook: dict, master: dict) -> list[str]:
    """The functions of checks and hidden tests that a cell of the student defines anew."""
    theirs = set(CHECK.findall(sources(master["cells"])))
    # nbgrader restores the locked ones
    own = [cell for cell in notebook["cells"] if not nbgrader_data(cell).get("locked")]
    return [name for name in dict.fromkeys(DEFINED.findall(sources(own))) if name in theirs]


def minutes(notebook: dict) -> int | None:
    """What a student wrote behind "Minutes:", in the last cell of every assignment."""
    said = re.findall(r"^Minutes: *(\d{1,4})\b", sources(notebook["cells"]), re.MULTILINE)
    return int(said[-1]) if said else None


def check(path: Path, master: Path) -> int | None:
    """Refuse a submission that is not as it was handed out; the minutes that another says it took.

    Raises:
        NotGradedError: it is no notebook, cells of the assignment are missing or changed, or it defines a check anew.
    """
    original = json.loads(master.read_text(encoding="utf-8"))
    wanted = given_cells(original)
    try:
        submission = json.loads(path.read_text(encoding="utf-8"))
        found, anew = given_cells(submission), redefined(submission, original)
        said = minutes(submission)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotGradedError("unreadable", f"this is not a notebook: {error}") from None
    if missing := [name for name in wanted if name not in found]:
        some = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        which = f"{len(missing)} of {len(wanted)} cells"
        raise NotGradedError(
            "damaged", f"{which} are missing, deleted or without their metadata: {some}"
        )
    if changed := [name for name, kind in wanted.items() if found[name] != kind]:
        names = ", ".join(changed)
        raise NotGradedError("damaged", f"cells changed between code and text: {names}")
    if anew:
        raise NotGradedError(
            "damaged", f"a cell defines {', '.join(anew)} in the place of the given"
        )
    return said


def grade(student: str, name: str, path: Path, template: Path, feedback: Path) -> Result:
    """Grade one submission in a copy of the course, in which nothing else can go wrong."""
    result = Result(student, name)
    feedback.unlink(missing_ok=True)  # of an earlier version
    try:
        result.minutes = check(path, MASTERS[name])
        with tempfile.TemporaryDirectory() as made:
            course = Path(made) / "course"
            shutil.copytree(template, course)
            place = course / "submitted" / STUDENT / name
            place.mkdir(parents=True)
            shutil.copy2(path, place / f"{name}.ipynb")
            ask(course, "autograde", name, "--create")
            read_marks(result, course)
            look_at_outputs(result, course / "autograded" / STUDENT / name / f"{name}.ipynb")
            ask(course, "generate_feedback", name)
            feedback.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(course / "feedback" / STUDENT / name / f"{name}.html", feedback)
    except NotGradedError as error:
        result.status, result.message = error.args
    return result


def ask(course: Path, *command: str) -> None:
    """Have nbgrader do something with the one submission of a course.

    Raises:
        NotGradedError: it could not, or not in time.
    """
    try:
        done = nbgrader(course, *command, "--student", STUDENT, seconds=SUBMISSION_SECONDS)
    except TookTooLongError:
        raise NotGradedError("hung", f"it ran for more than {SUBMISSION_SECONDS} seconds") from None
    if not done.returncode:
        return
    if "DeadKernel" in done.stderr or re.search("[Kk]ernel died", done.stderr):
        raise NotGradedError("stopped", "a cell ended Python, say by exit() or for want of memory")
    if "CellTimeoutError" in done.stderr:
        late = f"a cell ran for more than {CELL_SECONDS} seconds and would not be interrupted"
        raise NotGradedError("hung", late)
    raise NotGradedError("failed", done.stderr.strip()[-500:])


def read_marks(result: Result, course: Path) -> None:
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        submission = book.find_submission(result.assignment, STUDENT)
        for one in submission.notebooks[0].grades:
            result.most[one.name] = one.max_score
            result.marks[one.name] = None if one.needs_manual_grade else one.score


def look_at_outputs(result: Result, path: Path) -> None:
    """Say what was interrupted or cut, which the marks alone would not tell."""
    late, long = {}, {}  # names of cells, each once
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        name = nbgrader_data(cell).get("grade_id", "a cell without a name")
        for output in cell.get("outputs", []):
            if output.get("ename") in ("CellTimeoutError", "KeyboardInterrupt"):
                late[name] = True
            if CUT in "".join(output.get("text", "")):
                long[name] = True
    said = []
    if late:
        result.status = "hung"
        said.append(f"interrupted after {CELL_SECONDS} seconds: {', '.join(late)}")
    if long:
        said.append(f"output cut after {MOST_LINES} lines: {', '.join(long)}")
    result.message = "; ".join(said)
