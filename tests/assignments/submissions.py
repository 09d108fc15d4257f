"""The assignments, and submissions of them: right, with a plausible mistake, or such that cannot be graded."""

import copy
import json
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "notebooks" / "assignments"
MASTERS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("[0-9]_*.ipynb"))}
WRONG = {
    name: tomllib.loads((ROOT / "tests" / "assignments" / "wrong" / f"{name}.toml").read_text())["wrong"]
    for name in MASTERS
}
BROKEN = "2_residual_block"  # the assignment of the submissions that cannot be graded as they are


def nbgrader_data(cell: dict) -> dict:
    return cell["metadata"].get("nbgrader", {})


def with_cells(notebook: dict, sources: dict[str, str]) -> dict:
    """The notebook with other sources in the cells of these names."""
    changed = copy.deepcopy(notebook)
    cells = {nbgrader_data(cell).get("grade_id"): cell for cell in changed["cells"]}
    for name, source in sources.items():
        cells[name]["source"] = source
    return changed


def with_minutes(notebook: dict, minutes: int) -> dict:
    """The notebook with the minutes that it took in its last cell."""
    changed = copy.deepcopy(notebook)
    source = "".join(changed["cells"][-1]["source"])
    assert source.count("Minutes: …") == 1
    changed["cells"][-1]["source"] = source.replace("Minutes: …", f"Minutes: {minutes} or a little more")
    return changed


def solution(notebook: dict) -> str:
    """The name of the first cell in which the student writes code."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code" and nbgrader_data(cell).get("solution")]
    return nbgrader_data(cells[0])["grade_id"]


def without_metadata(notebook: dict) -> dict:
    changed = copy.deepcopy(notebook)
    for cell in changed["cells"]:
        cell["metadata"] = {}
    return changed


def without_the_first_check(notebook: dict) -> dict:
    """The cell that defines it is deleted; that which runs it is there."""
    names = [nbgrader_data(cell).get("grade_id", "") for cell in notebook["cells"]]
    first = next(i for i, name in enumerate(names) if name.startswith("check-"))
    return {**notebook, "cells": notebook["cells"][:first] + notebook["cells"][first + 1 :]}


def broken_submissions() -> dict[str, str]:
    """By student, the text of a submission that hangs, prints without end, ends Python or is damaged."""
    master = MASTERS[BROKEN]
    cell = solution(master)
    codes = {
        "hangs": "while True:\n    pass",
        "hangs-and-will-not-be-interrupted": (
            "while True:\n    try:\n        while True:\n            pass\n    except KeyboardInterrupt:\n        pass"
        ),
        "prints-a-million-lines": "for i in range(1_000_000):\n    print(i)",
        "calls-exit": "exit()",
        "kills-python": "import os\n\nos._exit(1)",
    }
    texts = {student: json.dumps(with_cells(master, {cell: code})) for student, code in codes.items()}
    texts["lost-its-metadata"] = json.dumps(without_metadata(master))
    texts["lost-a-check"] = json.dumps(without_the_first_check(master))
    own = master["cells"][-1] | {"source": "def check_outputs(*arguments, seed):\n    pass", "cell_type": "code"}
    texts["replaces-a-check"] = json.dumps(master | {"cells": [*master["cells"], own]})
    texts["has-a-cell-without-text"] = json.dumps(master | {"cells": [*master["cells"], own | {"source": None}]})
    return texts | {"is-no-notebook": "%PDF-1.7"}
