"""Measure the built site with Lighthouse, as a desk and as a phone see it: what `make lighthouse` runs.

Lighthouse and a server that compresses, as GitHub Pages does, come from npm into _build/lighthouse. The score of a
page is the median of RUNS runs; the machine should do nothing else meanwhile.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from urllib.error import URLError
from urllib.request import urlopen

import browser

ROOT = Path(__file__).resolve().parent.parent
HTML = ROOT / "_build" / "html"
TOOLS = ROOT / "_build" / "lighthouse"
PACKAGES = ("lighthouse@12.8.2", "serve@14.2.5")  # Lighthouse 13 needs Node.js 22
PAGES = ("book/intro", "book/summary", "notebooks/05_bottlenecks", "notebooks/09_plain_against_residual")
WANTED = {"desk": {"performance": 95, "accessibility": 100}, "phone": {"performance": 85, "accessibility": 100}}
CATEGORIES = ("performance", "accessibility", "best-practices", "seo")


def install() -> None:
    """Put the tools in their folder, unless they are there."""
    if not (TOOLS / "node_modules" / ".bin" / "lighthouse").exists():
        TOOLS.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", str(TOOLS)]
        subprocess.run([*command, *PACKAGES], check=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def serve(port: int) -> subprocess.Popen:
    """A server of the site; returns when it answers."""
    settings = TOOLS / "serve.json"
    settings.write_text(json.dumps({"public": str(HTML), "cleanUrls": False}))
    command = [TOOLS / "node_modules" / ".bin" / "serve", "--listen", f"tcp://127.0.0.1:{port}", "--config", settings]
    server = subprocess.Popen([*command, "--no-clipboard", "--no-request-logging"], stdout=subprocess.DEVNULL)
    for _ in range(100):
        try:
            urlopen(f"http://127.0.0.1:{port}/index.html", timeout=5).close()
            return server
        except (URLError, OSError):
            time.sleep(0.1)
    server.kill()
    raise RuntimeError("the server did not answer within ten seconds")


def measure(url: str, device: str) -> dict[str, float]:
    """The scores of one run, from 0 to 100."""
    command = [TOOLS / "node_modules" / ".bin" / "lighthouse", url, "--quiet", "--output=json", "--output-path=stdout"]
    command += [f"--chrome-flags=--headless=new {' '.join(browser.FLAGS)}"]
    command += [f"--only-categories={','.join(CATEGORIES)}", *(["--preset=desktop"] if device == "desk" else [])]
    environment = os.environ | {"CHROME_PATH": browser.find()}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    report = json.loads(done.stdout)
    return {name: 100 * report["categories"][name]["score"] for name in CATEGORIES}


def main(pages: list[str], runs: int) -> int:
    """Print the table; 0 if every page reaches what is wanted."""
    if shutil.which("npm") is None:
        print("Lighthouse needs Node.js with npm, which is not found here: see nodejs.org.", file=sys.stderr)
        return 2
    if browser.find() is None:
        print(browser.ADVICE, file=sys.stderr)
        return 2
    if missing := [page for page in pages if not (HTML / f"{page}.html").exists()]:
        print(f'No such page: {", ".join(missing)}. Say, for example: PAGES="{PAGES[0]}"', file=sys.stderr)
        return 2
    install()
    server = serve(port := free_port())
    print(f"{'page':38} {'on a':6}" + "".join(f"{name:>16}" for name in CATEGORIES), flush=True)
    low = 0
    try:
        for page in pages:
            for device, wanted in WANTED.items():
                found = [measure(f"http://127.0.0.1:{port}/{page}.html", device) for _ in range(runs)]
                scores = {name: median(run[name] for run in found) for name in CATEGORIES}
                marks = {name: " <" if scores[name] < wanted.get(name, 0) else "  " for name in CATEGORIES}
                low += " <" in marks.values()
                cells = "".join(f"{scores[name]:>14.0f}{marks[name]}" for name in CATEGORIES)
                print(f"{page:38} {device:6}{cells}", flush=True)
    finally:
        server.terminate()
    print(f"Median of {runs} runs. Wanted: {WANTED}." + (" A score marked with < is lower." if low else ""))
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main(os.environ.get("PAGES", "").split() or list(PAGES), int(os.environ.get("RUNS", "3"))))
