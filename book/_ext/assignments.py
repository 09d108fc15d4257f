"""List the assignments, and lead from each chapter to its own.

The directive

    ```{assignments}
    ```

makes a table of the release versions in notebooks/assignments/release: after which chapters, how many minutes, and
where to open or download each. What it says stands in their first text cell. A chapter that an assignment follows
gets a link to it before its sources.
"""

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from docutils import nodes
from measured import title_link
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective
from versions import make_table

RELEASED = "notebooks/assignments/release"
PAGE = "book/assignments"


@dataclass(frozen=True)
class Assignment:
    """What the first text cell of an assignment says."""

    file: str  # its path in the repository
    title: str
    chapters: tuple[str, ...]  # pages, as "notebooks/05_bottlenecks"
    minutes: str


class AssignmentTable(nodes.General, nodes.Element):
    """Stands where the table will be, until the titles of the chapters are known."""


def read(path: Path) -> Assignment:
    """An assignment from its release version.

    Raises:
        ValueError: the first text cell does not say what it must; the message names what is missing.
    """
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = "".join(next(cell["source"] for cell in cells if cell["cell_type"] == "markdown"))
    title = re.match(r"# (Assignment \d+\. .+)", text)
    chapters = tuple(dict.fromkeys(re.findall(r"\]\(\.\./(\d\d_\w+)\.ipynb\)", text)))
    minutes = re.search(r"\*\*Time\.\*\* (?:About )?(\d+) minutes", text)
    if not (title and chapters and minutes):
        raise ValueError(f"{path.name}: its first text must hold a title, a link to its chapter and the time")
    pages = tuple(f"notebooks/{chapter}" for chapter in chapters)
    return Assignment(f"{RELEASED}/{path.name}", title[1], pages, minutes[1])


@cache
def read_all(srcdir: Path) -> list[Assignment]:
    return [read(path) for path in sorted((srcdir / RELEASED).glob("*.ipynb"))]


class Assignments(SphinxDirective):
    """The directive has neither arguments nor content."""

    def run(self) -> list[nodes.Node]:
        return [AssignmentTable()]


class FillAssignmentTable(SphinxPostTransform):
    """Runs when every page was read, so that the titles of the chapters are known, and before files are collected."""

    default_priority = 1

    def run(self, **kwargs) -> None:
        for place in list(self.document.findall(AssignmentTable)):
            rows = [self.row(assignment) for assignment in read_all(Path(self.env.srcdir))]
            place.replace_self(make_table("assignments", ["Assignment", "After", "Minutes", "Open"], rows))

    def row(self, assignment: Assignment) -> list[str | nodes.Node]:
        after = nodes.inline()
        for number, page in enumerate(assignment.chapters):
            after += [nodes.Text("; ")] * bool(number) + [title_link(self.app, page)]
        repository = self.app.config.html_theme_options["repository_url"].removeprefix("https://github.com/")
        colab = f"https://colab.research.google.com/github/{repository}/blob/main/{assignment.file}"
        source = self.app.config.html_theme_options["repository_url"] + f"/raw/main/{assignment.file}"
        places = nodes.inline()
        places += [nodes.reference("", "Colab", refuri=colab), nodes.Text(", ")]
        places += nodes.reference("", "file", refuri=source)
        return [assignment.title.removeprefix("Assignment "), after, assignment.minutes, places]


class LinkAssignment(SphinxPostTransform):
    """A sentence before the sources of each chapter that an assignment follows."""

    default_priority = 2

    def run(self, **kwargs) -> None:
        own = [one for one in read_all(Path(self.env.srcdir)) if self.env.docname in one.chapters]
        exercises = [s for s in self.document.findall(nodes.section) if "exercises" in s["ids"]]
        if not own or not exercises or PAGE not in self.env.all_docs:
            return
        sentence = nodes.paragraph("", "", classes=["assignment"])
        names = "; ".join(one.title for one in own)
        address = self.app.builder.get_relative_uri(self.env.docname, PAGE)
        sentence += [nodes.Text("An assignment with checks follows this chapter: ")]
        sentence += [nodes.reference("", names, refuri=address, internal=True), nodes.Text(".")]
        exercises[-1] += sentence


def setup(app: Sphinx) -> dict:
    app.add_node(AssignmentTable)
    app.add_directive("assignments", Assignments)
    app.add_post_transform(FillAssignmentTable)
    app.add_post_transform(LinkAssignment)
    return {"version": "1", "env_version": 1, "parallel_read_safe": True, "parallel_write_safe": True}
