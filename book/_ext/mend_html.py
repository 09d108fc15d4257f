"""Mend the HTML that other packages write into the text of a page.

- pandas and Markdown write tables that need it in many ways: tables.py says which.
- myst-nb names every folded cell "Toggle hidden content", whatever its summary says.
- A line may not end between a number and its per cent sign or unit, nor inside "3 x 3".
- Sphinx gives the bibliography and its entries roles that are not allowed on elements of their kind.

What the theme writes around the text is mended in book/_templates/.
"""

import re

from sphinx.application import Sphinx
from tables import mend_tables

CODE = re.compile(r"(<pre\b.*?</pre>)", re.DOTALL)
NO_BREAK = re.compile(r"(?<=\d) (?=(?:%|[kMG]B\b|ms\b|marks?\b)(?![^<>]*>))|(?<=\d) x (?=\d)(?![^<>]*>)")
ROLE_OF_BIBLIOGRAPHY = re.compile(r' role="doc-biblioentry"| role="list"(?= class="citation-list")')


def mend(body: str) -> str:
    """The text of a page, in HTML, mended."""
    body = body.replace('<summary aria-label="Toggle hidden content">', "<summary>")
    body = mend_tables(ROLE_OF_BIBLIOGRAPHY.sub("", body))
    return "".join(part if part.startswith("<pre") else keep_together(part) for part in CODE.split(body))


def keep_together(text: str) -> str:
    """HTML without code, with spaces that do not break where a number and what belongs to it stand apart."""
    return NO_BREAK.sub(lambda space: space[0].replace(" ", "\N{NO-BREAK SPACE}"), text)


def mend_page(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    if body := context.get("body"):
        context["body"] = mend(body)


def setup(app: Sphinx) -> dict:
    app.connect("html-page-context", mend_page)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
