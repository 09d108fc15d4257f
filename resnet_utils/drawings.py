"""What the figures of `interactive` are drawn with: charts, networks and layers, as texts of HTML with inline SVG.

Heights are counted from 0, the top of a chart, to 1. A curve has its index, which begins at 1, on the horizontal axis.
Curves are stretched with the page, texts and the widths of lines are not, so a chart can be read at any width.
"""

from collections.abc import Mapping
from itertools import pairwise

import pandas as pd

from resnet_utils.counting import conv_weights
from resnet_utils.plots import DASHES

HEIGHT = 250  # of a chart, in units of its own


def part(tag: str, content: str, when: str, attributes: str = "") -> str:
    """An element that is shown only while all the choices in `when` are made."""
    return f'<{tag} data-when="{when}"{attributes}>{content}</{tag}>'


def key(colour: str = "currentColor", attributes: str = "") -> str:
    """A short line, to stand beside the name of what it stands for."""
    line = f'<line x2="100%" y1="50%" y2="50%"{attributes}/>'
    return f'<svg class="key" aria-hidden="true" style="--c:{colour}">{line}</svg>'


def dashes(depth: int) -> str:
    """The attribute that gives a line the dashes of a depth, as in all figures of the book."""
    widths = DASHES.get(depth)
    return f' stroke-dasharray="{" ".join(f"{2 * width:g}" for width in widths)}"' if widths else ""


def chart(what: str, y: str, x: str, ticks: Mapping[int, float], field: str) -> str:
    """A picture with the titles of its axes and the ticks of the horizontal one, each at a share of the width."""
    texts = f'<text x="-2.5em" y="-.9em">{y}</text>'
    if x:
        texts += f'<text class="end" x="100%" y="100%" dy="2.8em">{x}</text>'
    for tick, place in ticks.items():
        texts += f'<text class="middle" x="{100 * place:.3g}%" y="100%" dy="1.4em">{tick}</text>'
    return f'<svg class="chart" role="img" aria-label="{what}">{field}{texts}</svg>'


def field(levels: Mapping[object, float], width: int, curves: str) -> str:
    """Curves, stretched over the whole chart, on lines at some levels."""
    texts = "".join(f'<text y="{100 * height:.3g}%">{level}</text>' for level, height in levels.items())
    lines = "".join(f"M0 {HEIGHT * height:.0f}h{width}" for height in levels.values())
    curves = f'<path class="grid" d="{lines}"/>{curves}'
    return f'<g class="levels">{texts}</g><svg viewBox="0 0 {width} {HEIGHT}" preserveAspectRatio="none">{curves}</svg>'


def _points(heights: pd.Series) -> str:
    """A curve through these heights: its first point, then the steps from each to the next, which are short texts."""
    points = [(x - 1, round(HEIGHT * height)) for x, height in heights.items()]
    steps = "".join(f"l{x - left} {y - above}" for (left, above), (x, y) in pairwise(points))
    return f"M{points[0][0]} {points[0][1]}{steps}".replace(" -", "-")


def path(heights: pd.Series, when: str) -> str:
    """A curve."""
    return f'<path data-when="{when}" d="{_points(heights)}"/>'


def band(heights: pd.DataFrame, when: str) -> str:
    """The range of several curves, one a column."""
    border = pd.concat([heights.min(axis=1), heights.max(axis=1)[::-1]])
    return f'<path class="band" data-when="{when}" d="{_points(border)}z"/>'


def stage(m: str, start: int, errors: list[pd.DataFrame], wholes: list[pd.Series]) -> str:
    """The blocks of a stage, each a choice, below bars for the errors without it, with the range over the seeds."""
    size, bars, boxes = len(errors[0]), "", ""
    for r, (error, whole) in enumerate(zip(errors, wholes, strict=True)):
        heights = (HEIGHT * (1 - error / 100)).set_axis([i + 0.5 for i in range(size)]).dropna()
        tops = "".join(f"M{x} {HEIGHT}V{height:.0f}" for x, height in heights.median(axis=1).items())
        ends = zip(heights.index, heights.min(axis=1), heights.max(axis=1), strict=True)
        lines = "".join(f"M{x} {high:.0f}V{low:.0f}" for x, high, low in ends if error.shape[1] > 1)
        lines += f"M0 {HEIGHT * (1 - whole.median() / 100):.0f}h{size}"
        bars += part("g", f'<path class="bars" d="{tops}"/><path class="lines" d="{lines}"/>', f"r{r}")
    for number, missing in enumerate(errors[0].isna().any(axis=1), start=start + 1):
        state = " disabled" if missing else " checked" if number == 1 else ""
        boxes += f"<label><input type=radio name={m} value={m}-{number}{state}><span>{number}</span></label>"
    bars = field({percent: 1 - percent / 100 for percent in (0, 50, 90)}, size, bars)
    bars = chart("Test error without each block.", f"stage {start // size + 1}, error (%)", "", {}, bars)
    return f'<div class="stage" style="--n:{size}">{bars}<div class="blocks">{boxes}</div></div>'


def layer(formula: str) -> str:
    """A row of the calculator for 256 channels, squeeze 4 and kernel 3, with the channels and the weights to scale."""
    kernel, before, after = ({"C": 256, "M": 64, "k": 3, "1": 1}[word] for word in formula.split())
    weights = conv_weights(kernel, before, after)
    left, right = 50 * before / 256, 50 * after / 256
    points = f"{50 - left:g} 0 {50 + left:g} 0 {50 + right:g} 9 {50 - right:g} 9"
    shape = f'<svg viewBox="0 0 100 9" preserveAspectRatio="none" aria-hidden="true"><polygon points="{points}"/></svg>'
    bar = f'<svg aria-hidden="true"><rect width="{100 * weights / conv_weights(3, 256, 256):g}%" height="100%"/></svg>'
    cells = f"<td>{kernel} x {kernel}, {before} → {after}</td><td>{shape}</td><td><span>{weights:,}</span>{bar}</td>"
    return f'<tr data-layer="{formula}">{cells}</tr>'
