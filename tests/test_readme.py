"""What README and CONTRIBUTING point to is there, and the commands they name exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXTS = ["README.md", "CONTRIBUTING.md", "book/how_to_use.md", "book/hosting.md"]


@pytest.mark.parametrize("name", TEXTS)
def test_every_link_to_a_file_leads_to_one(name):
    text = (ROOT / name).read_text()
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if not target.startswith("http")]
    assert [target for target in targets if not ((ROOT / name).parent / target).exists()] == []
    assert targets or name != "README.md"


@pytest.mark.parametrize("name", TEXTS)
def test_every_make_target_that_is_named_exists(name):
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", (ROOT / name).read_text(), re.MULTILINE))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named
    assert named <= targets


def test_every_make_target_is_phony_and_says_what_it_does():
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    assert sorted(phony) == sorted(targets)
    assert sorted(re.findall(r"^([a-z-]+):.*## \w", makefile, re.MULTILINE)) == sorted(targets)


def test_the_readme_shows_a_picture_made_by_the_book_with_a_text_in_its_place():
    (alt, path), *more = re.findall(r"!\[(.*?)\]\((.*?)\)", (ROOT / "README.md").read_text())
    assert not more
    assert len(alt) > 40
    assert "<svg" in (ROOT / path).read_text()[:1000]
