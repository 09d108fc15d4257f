"""Take the README's picture from chapter 9 as it was executed: what `make picture` runs."""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHAPTER = ROOT / "_executed" / "notebooks" / "09_plain_against_residual.ipynb"
PICTURE = ROOT / "book" / "_static" / "degradation.svg"


def main() -> int:
    """Write the figure of error against depth; 0 if the chapter was executed and has it."""
    if not CHAPTER.exists():
        print("Chapter 9 has not been executed yet: run `make book` first.", file=sys.stderr)
        return 1
    cells = json.loads(CHAPTER.read_text())["cells"]
    cell = next(cell for cell in cells if "plots.error_by_depth(" in "".join(cell["source"]))
    svg = next(o["data"]["image/svg+xml"] for o in cell["outputs"] if "image/svg+xml" in o.get("data", {}))
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", "".join(svg), flags=re.DOTALL)  # it holds the date
    PICTURE.write_text(text)
    print(f"wrote {PICTURE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
