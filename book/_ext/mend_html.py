"""Mend the HTML that other packages write into the text of a page.

- pandas gives the class `dataframe` to a table that is shown as it is, and none to one that was styled, say with the
  number of digits. The theme knows tables by that class: without it one has no lines, and stands on a light card in
  the dark.
- pandas and Markdown make a heading of the empty corner of a table. A screen reader would read a heading of nothing,
  so it becomes an ordinary cell.
- myst-nb names every folded cell "Toggle hidden content", whatever its summary says.
- Sphinx gives the bibliography and its entries roles that are not allowed on elements of their kind.

What the theme writes around the text is mended in book/_templates/.
"""

import re

from sphinx.application import Sphinx

EMPTY_HEADING = re.compile(r"<th((?: [^>]*)?)>((?:\s|&nbsp;|&#160;|<p></p>)*)</th>")
ROLE_OF_BIBLIOGRAPHY = re.compile(r' role="doc-biblioentry"| role="list"(?= class="citation-list")')


def mend(body: str) -> str:
    """The text of a page, in HTML, mended."""
    body = body.replace('<table id="T_', '<table class="dataframe" id="T_')
    body = body.replace('<summary aria-label="Toggle hidden content">', "<summary>")
    body = EMPTY_HEADING.sub(r"<td\1>\2</td>", body)
    return ROLE_OF_BIBLIOGRAPHY.sub("", body)


def mend_page(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    if body := context.get("body"):
        context["body"] = mend(body)


def setup(app: Sphinx) -> dict:
    app.connect("html-page-context", mend_page)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
