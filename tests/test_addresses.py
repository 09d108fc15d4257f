"""The repository's address stands in one place, and `make fork` puts another one everywhere: tried on a copy."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
ADDRESS = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
NEW = "https://github.com/somebody-else/another.name"
ORIGINAL = "https://github.com/them/their-repository"


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def tracked(folder: Path) -> list[str]:
    """The files that git would keep, also where a folder was downloaded without its history."""
    with tempfile.TemporaryDirectory() as empty:
        git(folder, "init", "--quiet", "--bare", empty)
        of_folder = [f"--git-dir={empty}", f"--work-tree={folder}"]
        return git(folder, *of_folder, "ls-files", "-z", "--others", "--exclude-standard").split("\0")[:-1]


def fork(folder: Path, url: str) -> None:
    subprocess.run([sys.executable, "book/fork.py", url], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def copy(tmp_path) -> Path:
    """The files of this checkout, committed or not, in a repository of their own."""
    for name in tracked(ROOT):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    return tmp_path


def holding(folder: Path, address: str) -> list[str]:
    pattern = re.compile(re.escape(address.encode()) + rb"(?![\w-])")
    return [name for name in tracked(folder) if pattern.search((folder / name).read_bytes())]


def test_the_address_is_written_where_a_machine_reads_it_alone_and_nowhere_else():
    notebooks = {str(path.relative_to(ROOT)) for path in (ROOT / "notebooks").rglob("*.ipynb")}
    told_to_people = {"README.md", "CONTRIBUTING.md", "CHANGELOG.md"}
    assert set(holding(ROOT, ADDRESS)) - told_to_people == {"_config.yml", "CITATION.cff", *notebooks}


def test_after_make_fork_no_file_holds_the_old_address_and_every_notebook_has_the_right_form(copy):
    before = holding(copy, ADDRESS)
    fork(copy, NEW)
    assert holding(copy, ADDRESS) == []
    assert set(holding(copy, NEW)) == {*before, "tests/test_addresses.py"}
    tests = ["tests/notebooks/test_form.py", "-k", "first_cell or clean_notebook"]
    command = [sys.executable, "-m", "pytest", "-q", *tests]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    checked = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_a_notebook_merged_from_the_original_of_a_fork_gets_the_address_of_the_fork(copy):
    fork(copy, NEW)
    merged = copy / "notebooks" / "05_bottlenecks.ipynb"
    merged.write_text(merged.read_text().replace(NEW, ORIGINAL))
    (copy / "book" / "intro.md").write_text(f"Made from [the original]({ORIGINAL}).\n")
    fork(copy, NEW)
    assert NEW in merged.read_text()
    assert ORIGINAL not in merged.read_text()
    assert ORIGINAL in (copy / "book" / "intro.md").read_text(), "the source must stay named"


def test_a_file_that_was_deleted_does_not_stop_it(copy):
    (copy / "CITATION.cff").unlink()
    fork(copy, NEW)
    assert holding(copy, ADDRESS) == []
