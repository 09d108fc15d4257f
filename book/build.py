"""Execute the notebooks that changed, then build the site from the executed copies: what `make book` runs.

Each notebook is executed once, in a copy under _executed/, and only when it, the package, the requirements, the
installed versions or the scale changed. The site is built from these copies with execution off and warnings as
errors, and takes its place in _build/html only when it is whole.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from time import perf_counter
from xml.etree import ElementTree

import yaml
from filelock import FileLock
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
EXECUTED = ROOT / "_executed"
MANIFEST = EXECUTED / "manifest.json"
SITE_HASH = EXECUTED / "site.sha256"
HTML = ROOT / "_build" / "html"
REQUIREMENTS = (ROOT / "requirements.txt", ROOT / "requirements-nodeps.txt")
SECONDS_WANTED = {  # they train many networks
    "09_plain_against_residual.ipynb": 150,
    "10_many_short_paths.ipynb": 120,
}
SECONDS_WANTED_ELSE = 60


def digest(paths: Iterable[Path], *more: str) -> str:
    """Hash of files, with their names, and of some texts."""
    total = hashlib.sha256("\0".join(more).encode())
    for path in sorted(paths):
        total.update(f"\0{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return total.hexdigest()


def installed_versions() -> dict[str, str]:
    """The version of Python and of every package named in the requirements."""
    lines = [line.split("#")[0].strip() for path in REQUIREMENTS for line in path.read_text().splitlines()]
    names = sorted(Requirement(line).name for line in lines if line)
    return {"python": sys.version.split()[0]} | {name: metadata.version(name) for name in names}


def scale() -> str:
    """The settings that the environment asks for, as `resnet_utils.experiments` reads them."""
    return " ".join([os.environ.get("RESNET_SCALE", "quick"), *filter(None, [os.environ.get("RESNET_EPOCHS")])])


def fingerprint(notebook: Path) -> str:
    """Hash of all that decides what a notebook's outputs are."""
    package = (ROOT / "resnet_utils").glob("**/*.*")
    files = [path for path in package if "__pycache__" not in path.parts]
    return digest([notebook, *files, *REQUIREMENTS], json.dumps(installed_versions()), scale())


def read_manifest() -> dict[str, dict]:
    """What was executed: by notebook its fingerprint, seconds (and those wanted), date, scale and versions."""
    return json.loads(MANIFEST.read_text()) if MANIFEST.exists() else {}


def execute() -> bool:
    """Execute the notebooks whose outputs are missing or stale; whether all went well."""
    manifest = read_manifest()
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    fingerprints = {path: fingerprint(path) for path in notebooks}
    stale = [
        path
        for path in notebooks
        if manifest.get(path.name, {}).get("fingerprint") != fingerprints[path]
        or not (EXECUTED / "notebooks" / path.name).exists()
    ]
    if not stale:
        print("Notebooks: nothing changed, nothing to execute.")
        return True
    print(f"Notebooks: executing {len(stale)} of {len(notebooks)} at the scale {scale()!r}.", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in stale:
            shutil.copy2(path, folder)
        # The longest first; as long as that is not known, the last, since the training stands at the end of the book.
        stale.sort(key=lambda path: (manifest.get(path.name, {}).get("seconds", 0), path.name), reverse=True)
        report = run_nbmake(folder, [path.name for path in stale])
        for path in stale:
            seconds, passed = report.get(path.name, (0.0, False))
            manifest.pop(path.name, None)
            if passed:
                target = EXECUTED / "notebooks" / path.name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(folder / path.name, target)
                written = datetime.fromtimestamp(target.stat().st_mtime, UTC)
                manifest[path.name] = {
                    "fingerprint": fingerprints[path],
                    "seconds": round(seconds, 1),
                    "wanted": SECONDS_WANTED.get(path.name, SECONDS_WANTED_ELSE),
                    "date": written.isoformat(timespec="seconds"),
                    "scale": scale(),
                    "versions": installed_versions(),
                }
    current = {path.name: manifest[path.name] for path in notebooks if path.name in manifest}
    EXECUTED.mkdir(exist_ok=True)
    MANIFEST.write_text(json.dumps(current, indent=1) + "\n")
    print_times(current)
    return len(current) == len(notebooks)


def run_nbmake(folder: Path, names: list[str]) -> dict[str, tuple[float, bool]]:
    """Run the notebooks in `folder` under nbmake, in parallel; by notebook its seconds and whether it passed."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(cores, len(names))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbmake", "--overwrite"]
    dealt = [name for worker in range(workers) for name in names[worker::workers]]  # each begins with a long one
    command += ["--nbmake-timeout=3600", "-n", str(workers), "--dist=worksteal", "--junitxml=report.xml", *dealt]
    environment = os.environ | {"OMP_NUM_THREADS": str(max(1, cores // workers)), "PYTHONHASHSEED": "0"}
    subprocess.run(command, cwd=folder, env=environment, check=False)  # the report says which failed
    report = {}
    if (folder / "report.xml").exists():
        for case in ElementTree.parse(folder / "report.xml").iter("testcase"):
            where = f"{case.get('classname')}.{case.get('name')}"
            name = next((name for name in names if Path(name).stem in where), None)
            report[name] = (float(case.get("time", 0)), not len(case.findall("failure") + case.findall("error")))
    return report


def print_times(manifest: dict[str, dict]) -> None:
    """A table of how long each notebook took when it was last executed."""
    for name, entry in manifest.items():
        late = "  <- more than wanted" if entry["seconds"] > entry["wanted"] and entry["scale"] == "quick" else ""
        print(f"  {name:38} {entry['seconds']:6.1f} s of {entry['wanted']} s{late}")


def book_config() -> dict:
    """_config.yml for building from executed copies; in a GitHub workflow, with the repository's own address."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    config["execute"]["execute_notebooks"] = "off"
    if repository := os.environ.get("GITHUB_REPOSITORY"):
        config["repository"]["url"] = f"{os.environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{repository}"
    return config


def build_site() -> bool:
    """Build _build/html unless it is up to date; whether it is there, whole and without a warning."""
    pages = [path for path in (ROOT / "book").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    executed = (EXECUTED / "notebooks").glob("*.ipynb")
    released = Path("notebooks", "assignments", "release")  # the site lists these notebooks, and does not show them
    config = yaml.safe_dump(book_config(), sort_keys=False, allow_unicode=True)
    parts = [config, json.dumps(read_manifest()), json.dumps(installed_versions())]
    now = digest([ROOT / "_toc.yml", *pages, *executed, *(ROOT / released).glob("*.ipynb")], *parts)
    if SITE_HASH.exists() and SITE_HASH.read_text() == now and (HTML / "index.html").exists():
        print("Site: nothing changed.")
        return True
    print("Site: building.", flush=True)
    start = perf_counter()
    SITE_HASH.unlink(missing_ok=True)
    for name in ("book", "_build"):
        shutil.rmtree(EXECUTED / name, ignore_errors=True)
    shutil.copytree(ROOT / "book", EXECUTED / "book", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.rmtree(EXECUTED / released, ignore_errors=True)
    if (ROOT / released).is_dir():
        shutil.copytree(ROOT / released, EXECUTED / released)
    shutil.copy2(ROOT / "_toc.yml", EXECUTED)
    (EXECUTED / "_config.yml").write_text(config)
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    command = [str(jupyter_book), "build", "-q", "-W", "-n", "--keep-going", str(EXECUTED)]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        return False
    shutil.rmtree(HTML, ignore_errors=True)
    HTML.parent.mkdir(exist_ok=True)
    shutil.move(EXECUTED / "_build" / "html", HTML)
    SITE_HASH.write_text(now)
    print(f"Site: built in {perf_counter() - start:.0f} s.")
    return True


def main() -> int:
    """Execute and build; 0 if the book is there and whole."""
    EXECUTED.mkdir(exist_ok=True)
    with FileLock(EXECUTED / ".lock"):
        if not execute():
            print("A notebook failed: see above. The site was not built.", file=sys.stderr)
            return 1
        if not build_site():
            print("The site has warnings or errors: see above. It was not replaced.", file=sys.stderr)
            return 1
    print(f"The book: open {HTML / 'index.html'} in a browser, or run `make serve`.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
