"""Mend the tables in the HTML of a page: those of pandas, and those that Markdown makes.

- pandas gives the class `dataframe` to a table that is shown as it is, and none to one that was styled, say with the
  number of digits. The theme knows tables by that class: without it one has no lines, and stands on a light card in
  the dark.
- pandas writes the names of an index into a row of their own. Where the corner above them is free they go there.
- Both make a heading of the empty corner of a table. A screen reader would read a heading of nothing, so it becomes an
  ordinary cell.
- Markdown has no cell over several columns: a row of one bold cell and empty ones is a heading of the rows below it,
  and its cell becomes as wide as the table.
- Both set numbers to the left: a column of numbers gets the class `number`, with its heading.
"""

import re

TABLE = re.compile(r"<table\b.*?</table>", re.DOTALL)
ROW = re.compile(r"<tr\b.*?</tr>", re.DOTALL)
CELL = re.compile(r"<(t[hd])\b([^>]*)>(.*?)</\1>", re.DOTALL)
EMPTY_HEADING = re.compile(r"<th((?: [^>]*)?)>((?:\s|&nbsp;|&#160;|<p></p>)*)</th>")
LAST_HEADINGS = re.compile(r"(<tr\b(?:(?!</tr>).)*</tr>)\s*(<tr\b(?:(?!</tr>).)*</tr>)(?=\s*</thead>)", re.DOTALL)
HEADING_OF_ROWS = re.compile(r"<td>(<p><strong>[^<]*</strong></p>)</td>((?:\s*<td><p></p></td>)+)(?=\s*</tr>)")
NUMBER = re.compile(r"[-−+±]?\d[\d,.]*(e[-+]?\d+)?( ?[%GM])?|nan|NaN")


def text(inner: str) -> str:
    """What a reader sees of the inside of a cell."""
    return re.sub(r"<[^>]*>|&nbsp;|&#160;", "", inner).strip()


def join_headings(rows: re.Match) -> str:
    """The last two rows of headings as one, where neither has something to say above or below what the other says."""
    upper, lower = (list(CELL.finditer(row)) for row in rows.groups())
    said = [(bool(text(above[3])), bool(text(below[3]))) for above, below in zip(upper, lower, strict=False)]
    if "colspan" in rows[0] or len(upper) != len(lower) or (True, True) in said:
        return rows[0]
    cells = "".join(below[0] if says else above[0] for above, below, (_, says) in zip(upper, lower, said, strict=True))
    return f"<tr>{cells}</tr>"


def mark_numbers(table: str) -> str:
    """The table with the class `number` in each column of which all cells that say something are numbers.

    Columns are counted from the right: a cell over several rows stands at the left. A link is not a number.
    """
    said: dict[int, list[str]] = {}
    for row in ROW.findall(table.partition("<tbody>")[2]):
        for place, (kind, attributes, inner) in enumerate(reversed(CELL.findall(row))):
            if kind == "td" and "colspan" not in attributes and text(inner):
                said.setdefault(place, []).append("" if "<a " in inner else text(inner))
    numbers = {place for place, texts in said.items() if all(map(NUMBER.fullmatch, texts))}

    def mark_row(row: re.Match) -> str:
        places = iter(reversed(range(len(CELL.findall(row[0])))))
        return CELL.sub(lambda cell: mark(cell) if next(places) in numbers else cell[0], row[0])

    return ROW.sub(lambda row: row[0] if "colspan" in row[0] else mark_row(row), table)


def mark(cell: re.Match) -> str:
    """The cell with the class `number`."""
    tag, attributes, inner = cell.groups()
    classes = re.search(r'class="([^"]*)"', attributes)
    if not classes:
        attributes += ' class="number"'
    elif "number" not in classes[1].split():
        attributes = attributes.replace(classes[0], f'class="{classes[1]} number"')
    return f"<{tag}{attributes}>{inner}</{tag}>"


def mend_table(table: str) -> str:
    """One table, in HTML, mended."""
    table = table.replace('<table id="T_', '<table class="dataframe" id="T_')
    table = LAST_HEADINGS.sub(join_headings, table)
    table = EMPTY_HEADING.sub(r"<td\1>\2</td>", table)
    table = HEADING_OF_ROWS.sub(lambda row: f'<td colspan="{1 + row[2].count("<td>")}">{row[1]}</td>', table)
    return mark_numbers(table)


def mend_tables(body: str) -> str:
    """The text of a page with its tables mended."""
    return TABLE.sub(lambda table: mend_table(table[0]), body)
