"""Collect what the chapters measured on one page.

A chapter ends with the callout "What we measured", printed by a cell from the numbers of its run. The directive

    ```{measured}
    ```

shows these callouts of all chapters, in the order of the contents, each under the chapter's title. They are taken
from the pages that are being built, so the collection cannot say anything else than the chapters do.
"""

from collected import add_directive, list_in_contents, page_link, pages_in_order
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

KIND = "what-we-measured"


def collection(app: Sphinx) -> list[nodes.Node]:
    """What the directive shows."""
    parts = [part for name in pages_in_order(app.env) for part in chapter(app, name)]
    if not parts:
        raise ValueError(f"no page has a callout {KIND!r}; the book is built from executed notebooks")
    list_in_contents(app.env, parts)
    return parts


def chapter(app: Sphinx, name: str) -> list[nodes.Node]:
    """A section with a link to the page as its title and what its callouts hold; nothing if it has none."""
    doctree = app.env.get_doctree(name)
    callouts = [node.deepcopy() for node in doctree.findall(nodes.admonition) if KIND in node["classes"]]
    if not callouts:
        return []
    for reference in (node for callout in callouts for node in callout.findall(addnodes.pending_xref)):
        reference["refdoc"] = app.env.docname
    for callout in callouts:
        callout.pop(0)  # its title, which would be the same above each
    link = page_link(app, name)
    body = [child for callout in callouts for child in callout.children]
    return [nodes.section("", nodes.title("", "", link), *body, ids=[nodes.make_id(name)])]


def setup(app: Sphinx) -> dict:
    add_directive(app, "measured", collection)
    return {"version": "1", "env_version": 2, "parallel_read_safe": True, "parallel_write_safe": True}
