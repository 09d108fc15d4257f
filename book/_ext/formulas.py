r"""Draw formulas with KaTeX when the book is built, so that a page needs no script for them.

In the browser KaTeX would be 0.3 MB of script on each page, and would move the text when it replaces the TeX. Here its
script, vendored as book/_ext/katex/katex.min.js, runs in the JavaScript engine that the package mini-racer carries.
The style sheet and the fonts in book/_static/katex are of the same version. What KaTeX writes holds MathML too, which
screen readers read. A formula that it cannot read is a warning, which names the page and the line.
"""

from functools import cache
from pathlib import Path

from docutils import nodes
from py_mini_racer import JSEvalException, MiniRacer
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

SCRIPT = Path(__file__).parent / "katex" / "katex.min.js"
logger = logging.getLogger(__name__)


@cache
def engine() -> MiniRacer:
    """A JavaScript engine that has read KaTeX."""
    engine = MiniRacer()
    engine.eval(SCRIPT.read_text(encoding="utf-8"))
    engine.eval("const draw = (tex, displayMode) => katex.renderToString(tex, {displayMode, throwOnError: true})")
    return engine


@cache
def draw(tex: str, display: bool) -> str:
    """The formula in HTML and MathML.

    Args:
        tex: the TeX between the dollar signs.
        display: whether the formula stands alone, as between two dollar signs.

    Raises:
        ValueError: KaTeX cannot read the formula; its message tells where.
    """
    try:
        return engine().call("draw", tex, display)
    except JSEvalException as error:
        reason = next((line for line in str(error).splitlines() if "KaTeX parse error" in line), str(error))
        raise ValueError(f"{reason.strip()} in the formula {tex!r}") from None


def draw_node(node: nodes.Element, display: bool) -> str:
    try:
        return draw(node.astext(), display)
    except ValueError as error:
        logger.warning(str(error), location=node)
        return ""


def visit_inline(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(f'<span class="math">{draw_node(node, display=False)}</span>')
    raise nodes.SkipNode


def visit_display(translator: HTML5Translator, node: nodes.math_block) -> None:
    identifiers = "".join(f' id="{identifier}"' for identifier in node["ids"][:1])
    translator.body.append(f'<div class="math"{identifiers}>{draw_node(node, display=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict:
    app.add_html_math_renderer("formulas", (visit_inline, None), (visit_display, None))
    app.add_css_file("katex/katex.min.css")
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
