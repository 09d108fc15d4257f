"""Say when and with what the notebooks were last executed.

`book/build.py` keeps a manifest beside the executed copies that it builds the site from: by notebook the date, the
seconds, the scale and the versions. The directive

    ```{versions}
    ```

shows it in two tables, one of the notebooks in the order of the contents, one of the versions. A book built by
`jupyter-book build .` has no manifest, and then says so.
"""

import json
from datetime import UTC, datetime
from pathlib import Path

from collected import add_directive, make_table, page_link, pages_in_order
from docutils import nodes
from sphinx.application import Sphinx

MANIFEST = "manifest.json"
NO_MANIFEST = (
    "This copy of the book was not built by make book, which keeps this record: when its notebooks were executed, "
    "and with which versions, is not known."
)


def version_tables(app: Sphinx) -> list[nodes.Node]:
    """What the directive shows."""
    manifest = Path(app.srcdir, MANIFEST)
    if not manifest.exists():
        return [nodes.paragraph("", NO_MANIFEST)]
    said = json.loads(manifest.read_text())
    executed = {}  # what the manifest says, by page, in the order of the contents
    for name in pages_in_order(app.env):
        if (entry := said.get(f"{Path(name).name}.ipynb")) and Path(name).parent.name == "notebooks":
            executed[name] = entry
    notebooks = [
        [page_link(app, name), show_date(entry["date"]), f"{entry['seconds']:.1f}", entry["scale"]]
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


def setup(app: Sphinx) -> dict:
    add_directive(app, "versions", version_tables)
    return {"version": "1", "env_version": 2, "parallel_read_safe": True, "parallel_write_safe": True}
