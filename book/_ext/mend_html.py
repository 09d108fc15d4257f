"""Mend the HTML that other packages write into the text of a page.

- pandas gives the class `dataframe` to a table that is shown as it is, and none to one that was styled, say with the
  number of digits. The theme knows tables by that class: without it one has no lines, and stands on a light card in
  the dark.
- pandas and Markdown make a heading of the empty corner of a table. A screen reader would read a heading of nothing,
  so it becomes an ordinary cell.
- Markdown has no cell over several columns: a row of one bold cell and empty ones is a heading of the rows below it,
  and its cell gets the width of the table.
- Neither package sets numbers to the right: a column of numbers gets the class `number`, with its heading.
- myst-nb names every folded cell "Toggle hidden content", whatever its summary says.
- Sphinx gives the bibliography and its entries roles that are not allowed on elements of their kind.

What the theme writes around the text is mended in book/_templates/.
"""

import re

from sphinx.application import Sphinx

EMPTY_HEADING = re.compile(r"<th((?: [^>]*)?)>((?:\s|&nbsp;|&#160;|<p></p>)*)</th>")
HEADING_OF_ROWS = re.compile(r"<td>(<p><strong>[^<]*</strong></p>)</td>((?:\s*<td><p></p></td>)+)(?=\s*</tr>)")
TABLE = re.compile(r"<table\b.*?</table>", re.DOTALL)
ROW = re.compile(r"<tr\b.*?</tr>", re.DOTALL)
CELL = re.compile(r"<(t[hd])\b([^>]*)>(.*?)</\1>", re.DOTALL)
NUMBER = re.compile(r"[-−+±]?\d[\d,.]*(e[-+]?\d+)?( ?[%GM])?|nan|NaN")
ROLE_OF_BIBLIOGRAPHY = re.compile(r' role="doc-biblioentry"| role="list"(?= class="citation-list")')


def mark_numbers(table: str) -> str:
    """A table in HTML with the class `number` in each column whose cells, those without text aside, are numbers.

    Columns are counted from the right: a heading of several rows stands at the left, and only in the first of them.
    """
    columns = {}
    for row in ROW.findall(table.partition("<tbody>")[2]):
        for place, (kind, attributes, inner) in enumerate(reversed(CELL.findall(row))):
            if kind == "td" and "colspan" not in attributes:
                columns.setdefault(place, []).append(re.sub("<[^>]*>", "", inner).strip())
    texts = {place: [text for text in column if text] for place, column in columns.items()}
    numbers = {place for place, column in texts.items() if column and all(map(NUMBER.fullmatch, column))}

    def mark_row(row: re.Match) -> str:
        if "colspan" in row[0]:
            return row[0]
        places = iter(reversed(range(len(CELL.findall(row[0])))))
        return CELL.sub(lambda cell: mark(cell) if next(places) in numbers else cell[0], row[0])

    def mark(cell: re.Match) -> str:
        tag, attributes, inner = cell.groups()
        if 'class="' in attributes:
            attributes = attributes.replace('class="', 'class="number ') if "number" not in attributes else attributes
        else:
            attributes += ' class="number"'
        return f"<{tag}{attributes}>{inner}</{tag}>"

    return ROW.sub(mark_row, table)


def mend(body: str) -> str:
    """The text of a page, in HTML, mended."""
    body = body.replace('<table id="T_', '<table class="dataframe" id="T_')
    body = body.replace('<summary aria-label="Toggle hidden content">', "<summary>")
    body = EMPTY_HEADING.sub(r"<td\1>\2</td>", body)
    body = HEADING_OF_ROWS.sub(lambda row: f'<td colspan="{1 + row[2].count("<td>")}">{row[1]}</td>', body)
    body = TABLE.sub(lambda table: mark_numbers(table[0]), body)
    return ROLE_OF_BIBLIOGRAPHY.sub("", body)


def mend_page(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    if body := context.get("body"):
        context["body"] = mend(body)


def setup(app: Sphinx) -> dict:
    app.connect("html-page-context", mend_page)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
