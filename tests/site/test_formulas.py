"""The extension book/_ext/formulas.py: TeX becomes HTML and MathML, and a fault in it stops the build."""

import re
from pathlib import Path

import formulas
import pytest

BOOK = Path(__file__).resolve().parents[2] / "book"


def test_a_formula_is_drawn_for_eyes_and_written_for_screen_readers() -> None:
    drawn = formulas.draw(r"\frac{1}{2} x", False)
    assert "<mfrac><mn>1</mn><mn>2</mn></mfrac><mi>x</mi>" in drawn
    assert 'class="katex-html" aria-hidden="true"' in drawn
    assert "katex-display" not in drawn


def test_a_formula_of_its_own_is_displayed_with_its_number() -> None:
    drawn = formulas.draw(r"y = F(x) + x \tag{3.1}", True)
    assert drawn.startswith('<span class="katex-display">')
    assert "3.1" in drawn[drawn.index('class="tag"') :]


@pytest.mark.parametrize(("tex", "fault"), [(r"\frac{1}", "KaTeX parse error"), (r"\nonsense x", "Undefined control")])
def test_a_formula_that_katex_cannot_read_is_an_error_that_shows_it(tex, fault) -> None:
    with pytest.raises(ValueError, match=f"{fault}.*{re.escape(repr(tex))}"):
        formulas.draw(tex, False)


def test_the_script_and_the_style_sheet_are_of_one_version() -> None:
    sheet = (BOOK / "_static" / "katex" / "katex.min.css").read_text()
    assert f'content:"{formulas.engine().eval("katex.version")}"' in sheet
