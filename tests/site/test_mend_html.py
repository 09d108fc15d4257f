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
    ],
)
def test_only_what_is_broken_is_mended(written, mended) -> None:
    assert mend_html.mend(written) == mended
    assert mend_html.mend(mended) == mended
