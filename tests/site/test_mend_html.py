"""The extension book/_ext/mend_html.py: tables and the bibliography as screen readers and the theme want them."""

import mend_html
import pytest

NO_BREAK = "\N{NO-BREAK SPACE}"
NOT_TEXT = [
    '<img alt="3 x 3 in ResNet-18, 4 %" />',
    "<pre>7 % 2, 3 x 3, ResNet-18</pre>",
    "<svg><text>ResNet-18, 4 %</text></svg>",
    "<script>if (a < 3) draw('ResNet-18', '4 %')</script>",
    "<option>ResNet-18</option>",
    "<label>ResNet-18</label>",
    "<math><annotation>3 x 3</annotation></math>",
]


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
        ("<p>3.4 % of 3 x 3 x 3, 2 marks</p>", "<p>3.4_% of 3_x_3_x_3, 2_marks</p>".replace("_", NO_BREAK)),
        ("<p>Figure 9.1, chapter 3, [0.5, 12]</p>", "<p>Figure_9.1, chapter_3, [0.5,_12]</p>".replace("_", NO_BREAK)),
        ("<h1>ResNet-18</h1>", '<h1><span class="nobreak">ResNet-18</span></h1>'),
        ("<p>7 of 3 x n, x 3</p>", "<p>7 of 3 x n, x 3</p>"),
        *[(same, same) for same in NOT_TEXT],
    ],
)
def test_only_what_is_broken_is_mended(written, mended) -> None:
    assert mend_html.mend(written) == mended
    assert mend_html.mend(mended) == mended
