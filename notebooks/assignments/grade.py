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
import json
import os
import re
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path

from course import CELL_SECONDS, HERE, MASTERS, MOST_LINES, TookTooLongError, make_course, nbgrader
from nbgrader.api import Gradebook

SUBMISSION_SECONDS = 120  # all cells together
GRADES = Path("_grades")
QUESTION = ["student", "assignment", "question", "marks", "of"]  # the columns of questions.csv
CUT = "... Output truncated ..."  # what nbgrader writes in the place of what it cuts


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
        given = {name: marks for name, marks in self.marks.items() if marks is not None}
        return {
            "student": self.student,
            "assignment": self.assignment,
            "status": self.status,
            "marks": sum(given.values()) if given else "",
            "of": sum(self.most[name] for name in given) if given else "",
            "to_mark_by_hand": sum(self.most[name] for name in self.marks if name not in given)
            if given
            else "",
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


def damage(path: Path, master: Path) -> str:
    """What of a submission is not as it was handed out; empty if nothing is."""
    wanted = graded_cells(json.loads(master.read_text(encoding="utf-8")))
    found = graded_cells(json.loads(path.read_text(encoding="utf-8")))
    if missing := [name for name in wanted if name not in found]:
        some = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        return f"{len(missing)} of {len(wanted)} cells are missing, deleted or without their metadata: {some}"
    if changed := [name for name, kind in wanted.items() if found[name] != kind]:
        return f"cells changed between code and text: {', '.join(changed)}"
    return ""


def grade(student: str, name: str, path: Path, template: Path, feedback: Path) -> Result:
    """Grade one submission in a copy of the course, in which nothing else can go wrong."""
    result = Result(student, name)
    try:
        if fault := damage(path, MASTERS[name]):
            result.status, result.message = "damaged", fault
            return result
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        result.status, result.message = "unreadable", f"this is not a notebook: {error}"
        return result
    with tempfile.TemporaryDirectory() as made:
        course = Path(made) / "course"
        shutil.copytree(template, course)
        place = course / "submitted" / "student" / name
        place.mkdir(parents=True)
        shutil.copy2(path, place / f"{name}.ipynb")
        try:
            done = nbgrader(
                course,
                "autograde",
                name,
                "--create",
                "--student",
                "student",
                seconds=SUBMISSION_SECONDS,
            )
        except TookTooLongError:
            result.status, result.message = (
                "hung",
                f"it ran for more than {SUBMISSION_SECONDS} seconds",
            )
            return result
        if done.returncode:
            result.status, result.message = why_it_failed(done.stderr)
            return result
        read_marks(result, course)
        look_at_outputs(result, course / "autograded" / "student" / name / f"{name}.ipynb")
        nbgrader(
            course, "generate_feedback", name, "--student", "student", seconds=SUBMISSION_SECONDS
        )
        page = course / "feedback" / "student" / name / f"{name}.html"
        feedback.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(page, feedback)
    return result


def why_it_failed(said: str) -> tuple[str, str]:
    """State and message of a submission that nbgrader could not grade, from what it said."""
    if "DeadKernel" in said or re.search("[Kk]ernel died", said):
        return "stopped", "a cell ended Python, say by exit() or for want of memory"
    if "CellTimeoutError" in said:
        return (
            "hung",
            f"a cell ran for more than {CELL_SECONDS} seconds and would not be interrupted",
        )
    return "failed", said.strip()[-500:]


def read_marks(result: Result, course: Path) -> None:
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        submission = book.find_submission(result.assignment, "student")
        for one in submission.notebooks[0].grades:
            result.most[one.name] = one.max_score
            result.marks[one.name] = None if one.needs_manual_grade else one.score


def look_at_outputs(result: Result, path: Path) -> None:
    """Say what was interrupted or cut, which the marks alone would not tell."""
    late, long = [], []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        name = cell["metadata"].get("nbgrader", {}).get("grade_id", "a cell without a name")
        for output in cell.get("outputs", []):
            late += (
                [name] if output.get("ename") in ("CellTimeoutError", "KeyboardInterrupt") else []
            )
            long += [name] if CUT in "".join(output.get("text", "")) else []
    if late:
        result.status = "hung"
    said = [f"interrupted after {CELL_SECONDS} seconds: {', '.join(dict.fromkeys(late))}"] * bool(
        late
    )
    said += [f"output cut after {MOST_LINES} lines: {', '.join(dict.fromkeys(long))}"] * bool(long)
    result.message = "; ".join(said)


def fingerprint(name: str, path: Path) -> str:
    """Hash of all that decides what a submission is given."""
    parts = [path, MASTERS[name], HERE / "course.py", HERE / "grade.py", HERE / "requirements.txt"]
    return hashlib.sha256(b"\0".join(part.read_bytes() for part in parts)).hexdigest()


def write_tables(results: list[Result], folder: Path) -> None:
    """marks.csv and questions.csv, each put in place when it is whole."""
    questions = [
        dict(
            zip(
                QUESTION,
                (r.student, r.assignment, name, "" if marks is None else marks, r.most[name]),
                strict=True,
            )
        )
        for r in results
        for name, marks in r.marks.items()
    ]
    tables = {"marks.csv": [result.row() for result in results], "questions.csv": questions}
    heads = {"marks.csv": list(Result("", "").row()), "questions.csv": QUESTION}
    for name, rows in tables.items():
        with (folder / f"{name}.part").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, heads[name])
            writer.writeheader()
            writer.writerows(rows)
        (folder / f"{name}.part").replace(folder / name)


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
            known = jobs[job]
            known.parent.mkdir(parents=True, exist_ok=True)
            known.write_text(json.dumps(asdict(result)), encoding="utf-8")
            results.append(result)
            row = result.row()
            marks = f"{row['marks']} of {row['of']}" if result.marks else "no marks"
            said = (
                f"{result.student}  {result.assignment}: {result.status}, {marks}  {result.message}"
            )
            print(f"  {number}/{len(jobs)}  {said}".rstrip(), flush=True)
    results.sort(key=lambda result: (result.student, result.assignment))
    grades.mkdir(exist_ok=True)
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
