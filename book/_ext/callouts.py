"""Turn the book's plain-Markdown callouts into admonitions, and its captions into captions.

A notebook must read the same on the site, on GitHub, in JupyterLab and on Colab, so it uses no directives. It
writes a callout as a block quote whose first paragraph begins with a bold word, and a caption as a paragraph
that begins with a bold number:

    > **Exercise 3.2.** (medium) Count the weights.

    **Figure 9.2.** The deeper net has the higher training error.

The first becomes an admonition of class `exercise` with the title "Exercise 3.2" and the id `exercise-3-2`,
the second gets the class `figure-caption` and the id `figure-9-2`. A block quote that begins with other bold
words stays a block quote.
"""

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

KINDS = "Objectives|Prerequisites|Time|Exercise|Warning|Note|Myth|Definition|What we measured"
CALLOUT = re.compile(rf"({KINDS})( \d+(?:\.\d+)*)?( \([^)]*\))?\.?")
CAPTION = re.compile(r"(Figure|Table) ((?:\d+|[A-Z])(?:\.\d+)*)\.")


def match_opening(paragraph: nodes.Node | None, pattern: re.Pattern) -> re.Match | None:
    """Match the pattern with the whole of the bold text that the paragraph begins with."""
    if not isinstance(paragraph, nodes.paragraph):
        return None
    while paragraph.children and not paragraph[0].astext():  # the parser puts an empty text before bold words
        paragraph.pop(0)
    if paragraph.children and isinstance(paragraph[0], nodes.strong):
        return pattern.fullmatch(paragraph[0].astext())
    return None


class Callouts(SphinxTransform):
    """Runs right after parsing, so that links such as `#exercise-3-2` find their targets later."""

    default_priority = 210

    def apply(self, **kwargs) -> None:
        for quote in list(self.document.findall(nodes.block_quote)):
            if match := match_opening(next(iter(quote.children), None), CALLOUT):
                self.replace_quote(quote, match)
        for paragraph in list(self.document.findall(nodes.paragraph)):
            if match := match_opening(paragraph, CAPTION):
                paragraph["classes"].append("figure-caption")
                self.add_anchor(paragraph, f"{match[1]} {match[2]}")

    def replace_quote(self, quote: nodes.block_quote, match: re.Match) -> None:
        first = quote[0]
        title = nodes.title("", match[0].removesuffix("."))
        first.pop(0)
        if first.children and isinstance(first[0], nodes.Text):
            first[0] = nodes.Text(first[0].lstrip())
        body = quote.children if first.astext().strip() else quote.children[1:]
        callout = nodes.admonition("", title, *body, classes=["callout", nodes.make_id(match[1])])
        callout.source, callout.line = first.source, first.line
        quote.replace_self(callout)
        if match[2]:
            self.add_anchor(callout, match[1] + match[2])

    def add_anchor(self, node: nodes.Element, label: str) -> None:
        """An explicit target: the same number given twice on one page is a warning."""
        node["names"].append(nodes.make_id(label.replace(".", "-")))
        self.document.note_explicit_target(node, node)


def setup(app: Sphinx) -> dict:
    app.add_transform(Callouts)
    return {"version": "1", "env_version": 1, "parallel_read_safe": True, "parallel_write_safe": True}
