"""Make the notebooks that students get, without solutions and hidden tests: what `make assignments` runs."""

import sys
import tempfile
from pathlib import Path

from course import MASTERS, RELEASED, make_course


def main(folder: Path) -> int:
    """Write the notebooks into a folder, and take away others that lie there; 0 if all went well."""
    with tempfile.TemporaryDirectory() as name:
        course = Path(name)
        try:
            make_course(course, list(MASTERS))
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 1
        folder.mkdir(exist_ok=True)
        for old in folder.glob("*.ipynb"):
            old.unlink()
        for assignment in MASTERS:
            made = course / "release" / assignment / f"{assignment}.ipynb"
            (folder / made.name).write_bytes(made.read_bytes())
            print(f"wrote {folder / made.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else RELEASED))
