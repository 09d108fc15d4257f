"""Say when and with what the notebooks were last executed.

`book/build.py` keeps a manifest beside the executed copies that it builds the site from: by notebook the date, the
seconds, the scale and the versions. The directive

    ```{versions}
    ```

shows it in two tables, one of the notebooks in the order of the contents, one of the versions. A book built by
`jupyter-book build .` has no manifest, and then says so.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from docutils import nodes
from measured import pages_in_order, title_link
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective

MANIFEST = "manifest.json"
NO_MANIFEST = (
    "This copy of the book was not built by make book, which keeps this record: when its notebooks were executed, "
    "and with which versions, is not known."
)


class VersionTables(nodes.General, nodes.Element):
    """Stands where the tables will be."""


class Versions(SphinxDirective):
    """The directive has neither arguments nor content."""

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(MANIFEST)
        return [VersionTables()]


class FillVersionTables(SphinxPostTransform):
    """Runs when every page was read, so that the titles of the notebooks are known."""

    default_priority = 1

    def run(self, **kwargs) -> None:
        for place in list(self.document.findall(VersionTables)):
            manifest = Path(self.env.srcdir, MANIFEST)
            if manifest.exists():
                place.replace_self(self.tables(json.loads(manifest.read_text())))
            else:
                place.replace_self(nodes.paragraph("", NO_MANIFEST))

    def tables(self, manifest: dict[str, dict]) -> list[nodes.Node]:
        executed = {}  # what the manifest says, by page, in the order of the contents
        for name in pages_in_order(self.env):
            if (entry := manifest.get(f"{Path(name).name}.ipynb")) and Path(name).parent.name == "notebooks":
                executed[name] = entry
        notebooks = [
            [title_link(self.app, name), show_date(entry["date"]), f"{entry['seconds']:.1f}", entry["scale"]]
            for name, entry in executed.items()
        ]
        return [
            make_table("executed", ["Notebook", "Executed (UTC)", "Seconds", "Scale"], notebooks),
            make_table("installed", ["Package", "Version"], version_rows(executed)),
        ]


def show_date(date: str) -> str:
    """A date in ISO 8601 with its offset, to the minute in UTC: "2026-11-25 17:57"."""
    return f"{datetime.fromisoformat(date).astimezone(UTC):%Y-%m-%d %H:%M}"


def version_rows(executed: dict[str, dict]) -> list[list[str]]:
    """By package its version; where the notebooks differ, each version with the notebooks that had it."""
    found: dict[str, dict[str, list[str]]] = {}
    for name, entry in executed.items():
        for package, version in entry["versions"].items():
            found.setdefault(package, {}).setdefault(version, []).append(Path(name).name)
    rows = []
    for package, notebooks in found.items():
        alike = len(notebooks) == 1 and len(*notebooks.values()) == len(executed)
        parts = [version if alike else f"{version} in {', '.join(names)}" for version, names in notebooks.items()]
        rows.append([package, "; ".join(parts)])
    return rows


def make_table(kind: str, head: list[str], rows: Iterable[list[str | nodes.Node]]) -> nodes.table:
    """A table of class `kind`, of texts and inline nodes."""
    group = nodes.tgroup("", *[nodes.colspec(colwidth=1) for _ in head], cols=len(head))
    group += nodes.thead("", make_row(head))
    group += nodes.tbody("", *map(make_row, rows))
    return nodes.table("", group, classes=["versions", kind])


def make_row(cells: list[str | nodes.Node]) -> nodes.row:
    texts = [nodes.Text(cell) if isinstance(cell, str) else cell for cell in cells]
    return nodes.row("", *[nodes.entry("", nodes.paragraph("", "", text)) for text in texts])


def setup(app: Sphinx) -> dict:
    app.add_node(VersionTables)
    app.add_directive("versions", Versions)
    app.add_post_transform(FillVersionTables)
    return {"version": "1", "env_version": 1, "parallel_read_safe": True, "parallel_write_safe": True}
