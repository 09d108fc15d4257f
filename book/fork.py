"""Put another repository's address in the place of the present one, everywhere: what `make fork URL=…` runs.

The address stands in _config.yml. The notebooks' first cells, the citation file and the README repeat it, since
Colab and GitHub read them alone; a test holds them to it.
"""

import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent


def main(new: str) -> int:
    """Rewrite every tracked file that holds the present address; 0 if `new` is an address."""
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
        content = path.read_bytes()
        if present.search(content):
            path.write_bytes(present.sub(new.encode(), content))
            print(f"rewrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) == 2 else ""))
