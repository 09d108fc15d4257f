"""Grade a folder of submissions: what `make grade SUBMISSIONS=folder` runs.

The folder holds one folder a student, named as the student is to be named, with notebooks whose names begin with that
of an assignment: ada/2_residual_block.ipynb. Under _grades/ come `marks.csv`, a row for each submission,
`questions.csv`, a row for each question, and `feedback/`, an HTML page for each submission. What was graded before and
has not changed is not graded again.

A submission that cannot be graded has no marks, and its row says why: it is never given zero in silence. It runs with
the rights of whoever calls this: the guide for instructors says how to do that safely.
"""

import csv
import hashlib
import io
import json
import os
import re
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

from course import CELL_SECONDS, HERE, MASTERS, MOST_LINES, TookTooLongError, make_course, nbgrader
from nbgrader.api import Gradebook

SUBMISSION_SECONDS = 120  # all cells together
GRADES = Path("_grades")
STUDENT = "student"  # in each course there is one
QUESTION = ["student", "assignment", "question", "marks", "of"]  # the columns of questions.csv
CUT = "... Output truncated ..."  # what nbgrader writes in the place of what it cuts


class NotGradedError(Exception):
    """A submission gets no marks. Its two arguments are the state and the message of the row that says so."""


@dataclass
class Result:
    """What came of one submission; marks by question, None where a person has to give them."""

    student: str
    assignment: str
    status: str = "graded"  # or "unreadable", "damaged", "hung", "stopped", "failed"
    message: str = ""
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
            "message": self.message,
        }


def find(folder: Path) -> list[tuple[str, str, Path]]:
    """Student, assignment and file of each submission.

    Raises:
        ValueError: there is none, or one is no submission of exactly one assignment.
    """
    found = {}
    for path in sorted(folder.glob("*/*.ipynb")):
        names = [name for name in MASTERS if path.stem.startswith(name)]
        if not names:
            raise ValueError(f"{path}: its name must begin with one of {', '.join(MASTERS)}")
        key = (path.parent.name, names[0])
        if key in found:
            raise ValueError(
                f"{path} and {found[key].name} are the same assignment: keep the one that counts"
            )
        found[key] = path
    if not found:
        raise ValueError(
            f"{folder} holds no submissions; they lie in it as STUDENT/{next(iter(MASTERS))}.ipynb"
        )
    return [(student, name, path) for (student, name), path in found.items()]


def graded_cells(notebook: dict) -> dict[str, str]:
    """The kind of each cell that nbgrader knows, by its name."""
    cells = {}
    for cell in notebook["cells"]:
        about = cell.get("metadata", {}).get("nbgrader", {})
        if about.get("grade") or about.get("solution"):
            cells[about.get("grade_id", "")] = cell["cell_type"]
    return cells


def check(path: Path, master: Path) -> None:
    """Refuse a submission that is not as it was handed out.

    Raises:
        NotGradedError: it is no notebook, or cells that are graded are missing or changed.
    """
    wanted = graded_cells(json.loads(master.read_text(encoding="utf-8")))
    try:
        found = graded_cells(json.loads(path.read_text(encoding="utf-8")))
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


def grade(student: str, name: str, path: Path, template: Path, feedback: Path) -> Result:
    """Grade one submission in a copy of the course, in which nothing else can go wrong."""
    result = Result(student, name)
    feedback.unlink(missing_ok=True)  # of an earlier version
    try:
        check(path, MASTERS[name])
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
        name = cell["metadata"].get("nbgrader", {}).get("grade_id", "a cell without a name")
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


@cache
def ours() -> bytes:
    """All that decides, beside the submission and the master, what is given for it."""
    package = sorted((HERE.parents[1] / "resnet_utils").glob("*.py"))  # hidden tests use it
    parts = [HERE / "course.py", HERE / "grade.py", HERE / "requirements.txt", *package]
    return b"\0".join(part.read_bytes() for part in parts)


def fingerprint(name: str, path: Path) -> str:
    """Hash of all that decides what a submission is given."""
    parts = (path.read_bytes(), MASTERS[name].read_bytes(), ours())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def write_whole(path: Path, text: str) -> None:
    """Write a file that is either there and whole or not there; one before it stays until then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8", newline="")
    part.replace(path)


def table(head: list[str], rows: list[dict[str, object]]) -> str:
    """Rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, head)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_tables(results: list[Result], folder: Path) -> None:
    """marks.csv and questions.csv."""
    rows = [result.row() for result in results]
    write_whole(folder / "marks.csv", table(list(Result("", "").row()), rows))
    questions = []
    for result in results:
        for name, marks in result.marks.items():
            given = "" if marks is None else marks
            values = (result.student, result.assignment, name, given, result.most[name])
            questions.append(dict(zip(QUESTION, values, strict=True)))
    write_whole(folder / "questions.csv", table(QUESTION, questions))


def cores() -> int:
    """How many submissions are graded at once: one a core, which needs up to 2 GB of memory each."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main(folder: Path, grades: Path = GRADES) -> int:
    """Grade what is new or changed, and write the tables; 0 if every submission was graded."""
    try:
        submissions = find(folder)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    kept = grades / "results"
    results, waiting = [], []
    for student, name, path in submissions:
        known = kept / student / f"{name}-{fingerprint(name, path)[:16]}.json"
        if known.exists():
            results.append(Result(**json.loads(known.read_text(encoding="utf-8"))))
        else:
            waiting.append((student, name, path, known))
    print(f"{len(submissions)} submissions, {len(results)} of them graded before.", flush=True)
    with tempfile.TemporaryDirectory() as made, ThreadPoolExecutor(cores()) as pool:
        if waiting:
            make_course(template := Path(made), sorted({name for _, name, _, _ in waiting}))
        jobs = {}
        for student, name, path, known in waiting:
            page = grades / "feedback" / student / f"{name}.html"
            jobs[pool.submit(grade, student, name, path, template, page)] = known
        for number, job in enumerate(as_completed(jobs), start=1):
            result = job.result()
            write_whole(jobs[job], json.dumps(asdict(result)))
            results.append(result)
            row = result.row()
            marks = f"{row['marks']} of {row['of']}" if result.marks else "no marks"
            said = f"{result.student}  {result.assignment}: {result.status}, {marks}"
            print(f"  {number}/{len(jobs)}  {said}  {result.message}".rstrip(), flush=True)
    results.sort(key=lambda result: (result.student, result.assignment))
    write_tables(results, grades)
    missing = sum(not result.marks for result in results)
    print(f"Wrote {grades}/marks.csv, questions.csv and feedback/.")
    if missing:
        print(f"{missing} submissions have no marks: marks.csv says why.")
    return 1 if missing else 0


if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1]:
        sys.exit("Say where the submissions lie: make grade SUBMISSIONS=folder")
    sys.exit(main(Path(sys.argv[1])))
