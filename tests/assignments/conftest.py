"""All submissions that the tests look at, graded once, by the command that instructors use."""

import csv
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from submissions import BROKEN, FOLDER, MASTERS, ROOT, WRONG, broken_submissions, with_cells, with_minutes


@pytest.fixture(scope="session")
def grading_python() -> Path:
    if "GRADING_PYTHON" not in os.environ:
        pytest.skip("the assignments are graded by: make test-assignments")
    return (ROOT / os.environ["GRADING_PYTHON"]).absolute()


@pytest.fixture(scope="session")
def run(grading_python) -> Callable[..., subprocess.CompletedProcess]:
    """Run one of the scripts beside the assignments."""

    def run(folder: Path, script: str, *arguments: str) -> subprocess.CompletedProcess:
        command = [str(grading_python), str(FOLDER / script), *arguments]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="session")
def released(run, tmp_path_factory) -> dict[str, str]:
    """The release versions, made anew, by name of the assignment."""
    folder = tmp_path_factory.mktemp("release")
    done = run(folder, "release.py", str(folder))
    assert done.returncode == 0, done.stderr
    return {path.stem: path.read_text() for path in folder.glob("*.ipynb")}


class Graded:
    """What `make grade` said, and its tables, by student and assignment."""

    def __init__(self, folder: Path, run: Callable) -> None:
        self.folder = folder
        self.done = run(folder, "grade.py", "submissions")
        self.rows = {(row["student"], row["assignment"]): row for row in self.table("marks.csv")}
        self.marks, self.most = {}, {}
        for row in self.table("questions.csv"):
            key = row["student"], row["assignment"]
            self.marks.setdefault(key, {})[row["question"]] = float(row["marks"]) if row["marks"] else None
            self.most.setdefault(key, {})[row["question"]] = float(row["of"])

    def table(self, name: str) -> list[dict[str, str]]:
        with (self.folder / "_grades" / name).open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def lost(self, student: str, name: str) -> dict[str, float]:
        """The marks that a submission did not get, by question; those given by hand are left out."""
        marks, most = self.marks[student, name], self.most[student, name]
        return {q: most[q] - given for q, given in marks.items() if given is not None and given != most[q]}


@pytest.fixture(scope="session")
def graded(run, released, tmp_path_factory) -> Graded:
    folder = tmp_path_factory.mktemp("grading")
    texts = {("right", name): json.dumps(with_minutes(master, 75)) for name, master in MASTERS.items()}
    texts |= {("untouched", name): text for name, text in released.items()}
    for name, submissions in WRONG.items():
        for wrong in submissions:
            texts[wrong["name"], name] = json.dumps(with_cells(MASTERS[name], wrong["cells"]))
    texts |= {(student, BROKEN): text for student, text in broken_submissions().items()}
    for (student, name), text in texts.items():
        (folder / "submissions" / student).mkdir(parents=True, exist_ok=True)
        (folder / "submissions" / student / f"{name}.ipynb").write_text(text)
    return Graded(folder, run)
