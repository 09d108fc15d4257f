"""Every chapter and assignment, run from top to bottom in a stand-in for a fresh Colab runtime: `make colab`.

Its first cell fetches the package from this checkout as from the published repository, and changes nothing of Colab's.
"""

import json
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "notebooks"
# The masters of the assignments, with solutions and tests; what students open begins with the same cell.
FILES = [*FOLDER.glob("*.ipynb"), *FOLDER.glob("assignments/*.ipynb")]
NOTEBOOKS = sorted(str(path.relative_to(FOLDER)) for path in FILES)
ADDED = {"resnet_utils": "0.1.0", "d2l": "1.0.3"}  # by a first cell; d2l where the notebook compares with it
LISTED = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
# What PyPI's torch brings on Linux for its CUDA. Colab's torch is built for another.
OF_TORCH = ("nvidia-", "cuda-", "triton")

each_notebook = pytest.mark.parametrize("ran", NOTEBOOKS, ids=lambda name: name.split(".")[0], indirect=True)


def test_the_environment_holds_colabs_versions_and_no_other_package(colab_python) -> None:
    listed = subprocess.run([colab_python, "-c", LISTED], cwd="/", check=True, capture_output=True, text=True).stdout
    held = {canonicalize_name(name): version for name, version in json.loads(listed).items()}
    lines = [line for line in (ROOT / "tests" / "colab_versions.txt").read_text().splitlines() if "==" in line]
    wanted = {canonicalize_name(r.name): str(r.specifier).removeprefix("==") for r in map(Requirement, lines)}
    ours = {name: version for name, version in held.items() if not name.startswith(OF_TORCH)}
    assert {name: version.split("+")[0] for name, version in ours.items()} == wanted


@each_notebook
def test_the_first_cell_adds_the_package_and_changes_nothing_that_was_there(ran) -> None:
    assert ran.before - ran.after == set()
    needs_d2l = any("d2l" in cell.source for cell in ran.notebook.cells[1:] if cell.cell_type == "code")
    added = {name: version for name, version in ADDED.items() if name != "d2l" or needs_d2l}
    assert ran.after - ran.before == set(added.items()), ran.notebook.cells[0].outputs


@each_notebook
def test_the_first_cell_makes_no_conflict_but_those_of_d2l_with_versions_older_than_colabs(ran) -> None:
    assert [line for line in ran.new_conflicts if not line.startswith("d2l 1.0.3 ")] == []


@each_notebook
def test_every_cell_runs_with_colabs_versions(ran) -> None:
    if ran.error:
        pytest.fail(ran.error, pytrace=False)  # the traceback of the cell
    cells = [cell for cell in ran.notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))


@each_notebook
def test_a_reader_on_colab_sees_no_warning(ran) -> None:
    cells = [cell for cell in ran.notebook.cells if cell.cell_type == "code"]
    assert [(cell.source[:80], o.text) for cell in cells for o in cell.outputs if o.get("name") == "stderr"] == []


@each_notebook
def test_the_package_that_was_used_is_the_fetched_one_and_not_that_of_the_checkout(ran) -> None:
    assert ran.package_file is not None
    assert "site-packages" in ran.package_file.parts
    assert not ran.package_file.is_relative_to(ROOT)
