"""Mend the HTML that other packages write into the text of a page.

- pandas and Markdown write tables that need it in many ways: tables.py says which.
- myst-nb names every folded cell "Toggle hidden content", whatever its summary says.
- A line may not end between a number and its per cent sign or unit, nor inside "3 x 3", "figure 3" or "ResNet-18".
- Sphinx gives the bibliography and its entries roles that are not allowed on elements of their kind.

What the theme writes around the text is mended in book/_templates/.
"""

import re

from sphinx.application import Sphinx
from tables import mend_tables

# What is no text of a line, and what was mended before.
NOT_TEXT = re.compile(
    r"<(pre|svg|math|script|style|option|label)\b.*?</\1>|<span class=.nobreak.>[^<]*|<[^<>]*>", re.DOTALL
)
TOGETHER = re.compile(
    r"(?<=\d) (?:%|[kMG]B\b|ms\b|marks?\b)|(?<=\d) x (?=\d)"
    r"|\b(?:figure|table|exercise|chapter|assignment) (?=\d)|\[[\d.,]+, [\d.,]+\]",
    re.IGNORECASE,
)
NAME = re.compile(r"\b(?:ResNet|VGG|plain|CIFAR)-\d+\b", re.IGNORECASE)
ROLE_OF_BIBLIOGRAPHY = re.compile(r' role="doc-biblioentry"| role="list"(?= class="citation-list")')


def mend(body: str) -> str:
    """The text of a page, in HTML, mended."""
    body = body.replace('<summary aria-label="Toggle hidden content">', "<summary>")
    return keep_together(mend_tables(ROLE_OF_BIBLIOGRAPHY.sub("", body)))


def keep_together(body: str) -> str:
    """The HTML with no place for a line to end where a number and what belongs to it stand apart."""
    parts, start = [], 0
    for part in NOT_TEXT.finditer(body):
        parts += [mend_text(body[start : part.start()]), part[0]]
        start = part.end()
    return "".join(parts) + mend_text(body[start:])


def mend_text(text: str) -> str:
    text = TOGETHER.sub(lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), text)
    return NAME.sub(r'<span class="nobreak">\g<0></span>', text)


def mend_page(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    if body := context.get("body"):
        context["body"] = mend(body)


def setup(app: Sphinx) -> dict:
    app.connect("html-page-context", mend_page)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
