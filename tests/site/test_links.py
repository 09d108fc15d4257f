"""Every link of the site into its repository leads to a file that exists, also where a copy is published."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup, SoupStrainer
from test_pages import PAGES, repository

ROOT = Path(__file__).resolve().parents[2]
WRITTEN = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
REPOSITORY = repository().removeprefix("https://github.com/")
FORK = "somebody/a-copy"
CONFIG_OF_A_WORKFLOW = "import json, build; print(json.dumps(build.book_config()))"


def links(page: Path) -> list[str]:
    soup = BeautifulSoup(page.read_text(), "html.parser", parse_only=SoupStrainer("a", href=True))
    return [a["href"] for a in soup.find_all("a")]


def leads_nowhere(url: str, repository: str) -> bool:
    """Whether a link to Colab or into the repository has a form that we do not know, or names a missing file."""
    if url.startswith("https://colab.research.google.com/"):
        found = re.fullmatch(rf"/github/{re.escape(repository)}/blob/main/(.+\.ipynb)", urlsplit(url).path)
        return not found or not (ROOT / found[1]).is_file()
    path = urlsplit(url).path.removeprefix(f"/{repository}")
    if path in ("", "/issues/new"):
        return False
    found = re.fullmatch(r"/(?:blob|edit|raw|tree)/main/(.+)", path)
    return not found or not (ROOT / unquote(found[1])).exists()


def into(repository: str, urls: list[str]) -> list[str]:
    """Those links that lead to Colab or into a repository."""
    own = re.compile(rf"https://github\.com/{re.escape(repository)}(?![\w.-])")
    return [url for url in urls if own.match(url) or urlsplit(url).netloc == "colab.research.google.com"]


@pytest.mark.parametrize("name", [*PAGES, "search", "genindex"])
def test_every_link_to_colab_and_into_the_repository_leads_to_a_file_that_exists(site, name) -> None:
    found = into(REPOSITORY, links(site / f"{name}.html"))
    assert [url for url in found if leads_nowhere(url, REPOSITORY)] == []
    assert f"https://github.com/{REPOSITORY}" in found, "the button to the repository"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CITATION.cff"])
def test_every_address_that_a_text_of_the_repository_names_in_it_leads_to_a_file_that_exists(name) -> None:
    repository = WRITTEN.removeprefix("https://github.com/")
    found = into(repository, re.findall(r"https://[^\s)`>]+", (ROOT / name).read_text()))
    assert [url for url in found if leads_nowhere(url, repository)] == []


@pytest.mark.parametrize("name", PAGES)
def test_what_the_menu_offers_to_download_is_there(site, name) -> None:
    page = site / f"{name}.html"
    offered = [urlsplit(url).path for url in links(page) if "/_sources/" in url]
    assert [url for url in offered if not (page.parent / url).is_file()] == []
    assert len(offered) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        f"https://colab.research.google.com/github/{REPOSITORY}/blob/main/notebooks/13_no_such_chapter.ipynb",
        f"https://colab.research.google.com/github/{REPOSITORY}/blob/other/notebooks/05_bottlenecks.ipynb",
        "https://colab.research.google.com/github/another/book/blob/main/notebooks/05_bottlenecks.ipynb",
        f"https://github.com/{REPOSITORY}/blob/main/notebooks/13_no_such_chapter.ipynb",
        f"https://github.com/{REPOSITORY}/wiki",
    ],
)
def test_a_wrong_link_would_be_found(wrong) -> None:
    assert into(REPOSITORY, [wrong]) == [wrong]
    assert leads_nowhere(wrong, REPOSITORY)


@pytest.fixture(scope="module")
def copy(site, tmp_path_factory) -> Path:
    """The introduction and one chapter as a workflow of a copy on GitHub builds them."""
    folder = tmp_path_factory.mktemp("copy")
    environment = os.environ | {"GITHUB_REPOSITORY": FORK, "GITHUB_SERVER_URL": "https://github.com"}
    command = [sys.executable, "-c", CONFIG_OF_A_WORKFLOW]
    said = subprocess.run(command, cwd=ROOT / "book", env=environment, check=True, capture_output=True, text=True)
    (folder / "_config.yml").write_text(yaml.safe_dump(json.loads(said.stdout), allow_unicode=True))
    (folder / "_toc.yml").write_text(
        "format: jb-book\nroot: book/intro\nchapters:\n- file: notebooks/05_bottlenecks\n- file: book/hosting\n"
    )
    shutil.copytree(ROOT / "book", folder / "book", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "notebooks").mkdir()
    shutil.copy(ROOT / "_executed" / "notebooks" / "05_bottlenecks.ipynb", folder / "notebooks")
    command = [Path(sys.executable).with_name("jupyter-book"), "build", "-q", str(folder)]  # the other pages are missed
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder / "_build" / "html"


@pytest.mark.parametrize("name", ["book/intro", "notebooks/05_bottlenecks", "book/hosting"])
def test_where_a_workflow_builds_a_copy_no_link_needs_rewriting(copy, name) -> None:
    found = into(FORK, links(copy / f"{name}.html"))
    assert f"https://github.com/{FORK}" in found
    assert [url for url in found if leads_nowhere(url, FORK)] == []
    assert WRITTEN not in (copy / f"{name}.html").read_text()
