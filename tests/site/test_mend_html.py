"""The extension book/_ext/mend_html.py: tables and the bibliography as screen readers and the theme want them."""

import mend_html
import pytest


@pytest.mark.parametrize(
    ("written", "mended"),
    [
        ("<table><tr><th></th></tr></table>", "<table><tr><td></td></tr></table>"),
        (
            '<div role="list" class="citation-list"><div class="citation" id="a" role="doc-biblioentry">',
            '<div class="citation-list"><div class="citation" id="a">',
        ),
        ('<summary aria-label="Toggle hidden content"><p>Show', "<summary><p>Show"),
        ('<ul role="list">', '<ul role="list">'),
        ("<p>3.4 % of 3 x 3 x 3, 2 marks</p>", "<p>3.4_% of 3_x_3_x_3, 2_marks</p>".replace("_", "\xa0")),
        ('<img alt="3 x 3, 4 %" />in <pre>7 % 2, 3 x 3</pre>', '<img alt="3 x 3, 4 %" />in <pre>7 % 2, 3 x 3</pre>'),
    ],
)
def test_only_what_is_broken_is_mended(written, mended) -> None:
    assert mend_html.mend(written) == mended
    assert mend_html.mend(mended) == mended
