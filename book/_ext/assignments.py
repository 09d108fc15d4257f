"""List the assignments, and lead from each chapter to its own.

The directive

    ```{assignments}
    ```

makes a table of the release versions in notebooks/assignments/release: after which chapters, how many minutes, and
where to open or download each. What it says stands in their first text cell. A chapter that an assignment follows
gets a link to it at the end of its exercises.
"""

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from collected import add_directive, in_a_row, make_table, page_link
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

RELEASED = "notebooks/assignments/release"
PAGE = "book/assignments"


@dataclass(frozen=True)
class Assignment:
    """What the first text cell of an assignment says."""

    file: str  # its path in the repository
    title: str
    chapters: tuple[str, ...]  # pages, as "notebooks/05_bottlenecks"
    minutes: str


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


def assignment_table(app: Sphinx) -> list[nodes.Node]:
    """What the directive shows."""
    rows = [table_row(app, assignment) for assignment in read_all(Path(app.srcdir))]
    return [make_table("assignments", ["Assignment", "After", "Minutes", "Open"], rows)]


def table_row(app: Sphinx, assignment: Assignment) -> list[str | nodes.Node]:
    numbers = [int(Path(page).name.partition("_")[0]) for page in assignment.chapters]
    chapters = [page_link(app, page, f"chapter {n}") for n, page in zip(numbers, assignment.chapters, strict=True)]
    after = nodes.inline("", "", *in_a_row(chapters, ", "))
    repository = app.config.html_theme_options["repository_url"]
    in_colab = repository.replace("https://github.com/", "https://colab.research.google.com/github/")
    colab = nodes.reference("", "Colab", refuri=f"{in_colab}/blob/main/{assignment.file}")
    file = nodes.reference("", "file", refuri=f"{repository}/raw/main/{assignment.file}")
    places = nodes.inline("", "", *in_a_row([colab, file], ", "))
    return [assignment.title.removeprefix("Assignment "), after, assignment.minutes, places]


class LinkAssignment(SphinxPostTransform):
    """A sentence at the end of the exercises of each chapter that an assignment follows."""

    default_priority = 2

    def run(self, **kwargs) -> None:
        own = [one for one in read_all(Path(self.env.srcdir)) if self.env.docname in one.chapters]
        exercises = [s for s in self.document.findall(nodes.section) if "exercises" in s["ids"]]
        if not own or not exercises or PAGE not in self.env.all_docs:
            return
        begin = "Assignments with checks follow" if len(own) > 1 else "An assignment with checks follows"
        links = in_a_row([page_link(self.app, PAGE, one.title) for one in own], "; ")
        parts = [nodes.Text(f"{begin} this chapter: "), *links, nodes.Text(".")]
        exercises[-1] += nodes.paragraph("", "", *parts, classes=["assignment"])


def setup(app: Sphinx) -> dict:
    add_directive(app, "assignments", assignment_table)
    app.add_post_transform(LinkAssignment)
    return {"version": "1", "env_version": 2, "parallel_read_safe": True, "parallel_write_safe": True}
