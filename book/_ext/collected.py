"""What the directives have in common that show something collected from other pages or files of the book.

Such a directive has neither arguments nor content. When its page is read, the titles of the others are not known. So it
leaves a place, which is filled when every page was read and before links are resolved.
"""

from collections.abc import Callable, Iterable

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective

FILL: dict[str, Callable[[Sphinx], list[nodes.Node]]] = {}  # by the name of a directive what makes its content


class Place(nodes.General, nodes.Element):
    """Stands where what a directive shows will be."""


class LeavePlace(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        return [Place(directive=self.name)]


class FillPlaces(SphinxPostTransform):
    default_priority = 1

    def run(self, **kwargs) -> None:
        for place in list(self.document.findall(Place)):
            place.replace_self(FILL[place["directive"]](self.app))


def add_directive(app: Sphinx, name: str, fill: Callable[[Sphinx], list[nodes.Node]]) -> None:
    """Add a directive. `fill` makes what it shows, with links from the page that is being written."""
    app.setup_extension("collected")
    FILL[name] = fill
    app.add_directive(name, LeavePlace)


def page_link(app: Sphinx, name: str, text: str = "") -> nodes.reference:
    """A link to a page, with a text or else its title, from the page that is being written."""
    address = app.builder.get_relative_uri(app.env.docname, name)
    return nodes.reference("", text or app.env.titles[name].astext(), refuri=address, internal=True)


def in_a_row(links: Iterable[nodes.Node], mark: str) -> list[nodes.Node]:
    """The links with a mark between each and the next."""
    return [node for link in links for node in (nodes.Text(mark), link)][1:]


def list_in_contents(env: BuildEnvironment, sections: list[nodes.section]) -> None:
    """Put sections that a directive made into the contents of the page that is being written."""
    page = env.tocs[env.docname][0]
    del page[1:]  # the sections of an earlier run
    entries = nodes.bullet_list()
    for section in sections:
        anchor, title = f"#{section['ids'][0]}", section[0].astext()
        link = nodes.reference("", title, internal=True, refuri=env.docname, anchorname=anchor)
        entries += nodes.list_item("", addnodes.compact_paragraph("", "", link))
    page += entries
    env.toc_num_entries[env.docname] = 1 + len(sections)


def pages_in_order(env: BuildEnvironment) -> list[str]:
    """The names of all pages as the contents give them."""
    order, waiting = [], [env.config.root_doc]
    while waiting:
        name = waiting.pop(0)
        order.append(name)
        waiting = env.toctree_includes.get(name, []) + waiting
    return order


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
    app.add_node(Place)
    app.add_post_transform(FillPlaces)
    return {"version": "1", "env_version": 1, "parallel_read_safe": True, "parallel_write_safe": True}
