"""Put another repository's address in the place of the present one, everywhere: what `make fork URL=…` runs.

The address stands in _config.yml. The notebooks' first cells and the citation file repeat it, since Colab and GitHub
read them alone; a test holds them to it. A first cell may also name a third address, when the notebook was merged from
the original of a fork.
"""

import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
FIRST_CELL = re.compile(rb"(resnet_utils @ git\+)https://github\.com/[\w.-]+/[\w.-]+(?=@main)")


def main(new: str) -> int:
    """Rewrite every tracked file that holds the present address, and every first cell; 0 if `new` is an address."""
    if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+(?<!\.git)", new):
        print(
            f"Not an address: {new!r}. Say: make fork URL=https://github.com/you/repository",
            file=sys.stderr,
        )
        return 2
    old = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    present = re.compile(re.escape(old.encode()) + rb"(?![\w-])")  # not the beginning of a longer name
    for path in (ROOT / name for name in listed.split("\0") if name):
        if not path.is_file():  # deleted, and git has not been told
            continue
        content = path.read_bytes()
        changed = present.sub(new.encode(), content)
        if path.suffix == ".ipynb":
            changed = FIRST_CELL.sub(rb"\g<1>" + new.encode(), changed)
        if changed != content:
            path.write_bytes(changed)
            print(f"rewrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) == 2 else ""))
