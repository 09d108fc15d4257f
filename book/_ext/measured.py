"""Collect what the chapters measured on one page.

A chapter ends with the callout "What we measured", printed by a cell from the numbers of its run. The directive

    ```{measured}
    ```

shows these callouts of all chapters, in the order of the contents, each under the chapter's title. They are taken
from the pages that are being built, so the collection cannot say anything else than the chapters do.
"""

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective

KIND = "what-we-measured"


class Collection(nodes.General, nodes.Element):
    """Stands where the callouts will be."""


class Measured(SphinxDirective):
    """The directive has neither arguments nor content."""

    def run(self) -> list[nodes.Node]:
        return [Collection()]


class FillCollections(SphinxPostTransform):
    """Runs before links are resolved, so that those inside the callouts are resolved for this page."""

    default_priority = 1

    def run(self, **kwargs) -> None:
        for collection in list(self.document.findall(Collection)):
            parts = [part for name in pages_in_order(self.env) for part in self.chapter(name)]
            if not parts:
                raise ValueError(f"no page has a callout {KIND!r}; the book is built from executed notebooks")
            collection.replace_self(parts)

    def chapter(self, name: str) -> list[nodes.Node]:
        """A section with a link to the page as its title and what its callouts hold; nothing if it has none."""
        doctree = self.env.get_doctree(name)
        callouts = [node.deepcopy() for node in doctree.findall(nodes.admonition) if KIND in node["classes"]]
        if not callouts:
            return []
        for reference in (node for callout in callouts for node in callout.findall(addnodes.pending_xref)):
            reference["refdoc"] = self.env.docname
        for callout in callouts:
            callout.pop(0)  # its title, which would be the same above each
        link = title_link(self.app, name)
        body = [child for callout in callouts for child in callout.children]
        return [nodes.section("", nodes.title("", "", link), *body, ids=[nodes.make_id(name)])]


def title_link(app: Sphinx, name: str) -> nodes.reference:
    """A link to a page, with its title, from the page that is being written."""
    address = app.builder.get_relative_uri(app.env.docname, name)
    return nodes.reference("", app.env.titles[name].astext(), refuri=address, internal=True)


def pages_in_order(env: BuildEnvironment) -> list[str]:
    """The names of all pages as the contents give them."""
    order, waiting = [], [env.config.root_doc]
    while waiting:
        name = waiting.pop(0)
        order.append(name)
        waiting = env.toctree_includes.get(name, []) + waiting
    return order


def setup(app: Sphinx) -> dict:
    app.add_node(Collection)
    app.add_directive("measured", Measured)
    app.add_post_transform(FillCollections)
    return {"version": "1", "env_version": 1, "parallel_read_safe": True, "parallel_write_safe": True}
