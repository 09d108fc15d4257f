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
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from functools import cache
from pathlib import Path
from statistics import median

from course import HERE, MASTERS, make_course
from submission import Result, grade

GRADES = Path("_grades")
QUESTION = ["student", "assignment", "question", "marks", "of"]  # the columns of questions.csv


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


@cache
def ours() -> bytes:
    """All that decides, beside the submission and the master, what is given for it."""
    package = (HERE.parents[1] / "resnet_utils").glob("*.py")  # hidden tests use it
    parts = [*HERE.glob("*.py"), HERE / "requirements.txt", *package]
    return b"\0".join(part.read_bytes() for part in sorted(parts))


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
    for name in MASTERS:
        said = [r.minutes for r in results if r.assignment == name and r.minutes is not None]
        if said:
            answers = f"{len(said)} answer{'s' if len(said) > 1 else ''}"
            print(f"{name} took {median(said):g} minutes, the median of {answers}.")
    if missing:
        print(f"{missing} submissions have no marks: marks.csv says why.")
    return 1 if missing else 0


if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1]:
        sys.exit("Say where the submissions lie: make grade SUBMISSIONS=folder")
    sys.exit(main(Path(sys.argv[1])))
