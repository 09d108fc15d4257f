"""The extension's module book/_ext/tables.py: tables as readers, screen readers and the theme want them."""

import pytest
from tables import mend_tables


def table(body: str, head: str = "") -> str:
    return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"


@pytest.mark.parametrize(
    ("written", "mended"),
    [
        ("<tr><th></th><th>loss</th></tr>", "<tr><td></td><th>loss</th></tr>"),
        ('<tr><th class="blank">&nbsp;</th></tr>', '<tr><td class="blank">&nbsp;</td></tr>'),
        ('<tr><th class="head"><p></p></th></tr>', '<tr><td class="head"><p></p></td></tr>'),
        ("<tr><th>a</th></tr>", "<tr><th>a</th></tr>"),
    ],
)
def test_an_empty_heading_becomes_a_cell(written, mended) -> None:
    assert mend_tables(table("", written)) == table("", mended)
    assert mend_tables(table("", mended)) == table("", mended)


def test_a_styled_table_gets_the_class_that_the_theme_knows() -> None:
    assert mend_tables('<table id="T_1a"><tr></tr></table>') == '<table class="dataframe" id="T_1a"><tr></tr></table>'
    assert mend_tables('<table class="dataframe"></table>') == '<table class="dataframe"></table>'


def test_the_name_of_an_index_goes_to_the_free_corner() -> None:
    head = "<tr><th></th><th>loss</th></tr> <tr><th>seed</th><th></th></tr>"
    assert mend_tables(table("", head)) == table("", "<tr><th>seed</th><th>loss</th></tr>")


def test_only_the_last_two_of_three_rows_of_headings_are_joined() -> None:
    upper = '<tr><td></td><th colspan="2">error</th></tr>'
    head = f"{upper}<tr><th></th><th>low</th><th>high</th></tr><tr><th>seed</th><th></th><th></th></tr>"
    assert mend_tables(table("", head)) == table("", f"{upper}<tr><th>seed</th><th>low</th><th>high</th></tr>")


def test_headings_stay_in_two_rows_where_the_corner_is_taken() -> None:
    head = "<tr><th>gain</th><th>one</th></tr><tr><th>net</th><td></td></tr>"
    assert mend_tables(table("", head)) == table("", head)


def test_a_row_of_one_bold_cell_is_as_wide_as_the_table() -> None:
    row = "<tr><td><p><strong>Training</strong></p></td>\n<td><p></p></td>\n<td><p></p></td>\n</tr>"
    assert '<tr><td colspan="3"><p><strong>Training</strong></p></td>\n</tr>' in mend_tables(table(row))


def test_a_column_of_numbers_is_marked_with_its_heading_and_one_of_words_is_not() -> None:
    head = "<tr><td></td><th>loss</th><th>device</th></tr>"
    body = "<tr><th>1</th><td>0.5</td><td>4</td></tr><tr><th>2</th><td></td><td>cpu</td></tr>"
    assert mend_tables(table(body, head)) == table(
        '<tr><th>1</th><td class="number">0.5</td><td>4</td></tr>'
        '<tr><th>2</th><td class="number"></td><td>cpu</td></tr>',
        '<tr><td></td><th class="number">loss</th><th>device</th></tr>',
    )


@pytest.mark.parametrize("number", ["3", "-0.8", "11,689,512", "4.6e+03", "1.81 G", "97 %", "3.2%", "nan"])
def test_this_is_a_number(number) -> None:
    assert 'class="number"' in mend_tables(table(f"<tr><td><p>{number}</p></td></tr>"))


@pytest.mark.parametrize(
    "words", ["2026-11-25", "0.2 [0.1, 0.3]", "64 x 56 x 56", '<a href="x">3</a>', "(1, 1000)", ""]
)
def test_this_is_no_number(words) -> None:
    assert "number" not in mend_tables(table(f"<tr><td>{words}</td></tr>"))


def test_in_rows_that_share_a_heading_the_columns_are_counted_from_the_right() -> None:
    first = '<tr><th rowspan="2">20</th><th>plain</th><td>7.9</td><td>a</td><td>b</td></tr>'
    second = "<tr><th>net</th><td>2.0</td><td>c</td><td>d</td></tr>"
    mended = mend_tables(table(first + second))
    assert mended.count("number") == 2
    assert '<td class="number">2.0</td><td>c</td>' in mended


def test_a_class_that_is_there_is_kept_and_the_mark_is_given_once() -> None:
    once = mend_tables(table('<tr><td class="data row0" >3.1</td></tr>'))
    assert once == table('<tr><td class="data row0 number" >3.1</td></tr>')
    assert mend_tables(once) == once
