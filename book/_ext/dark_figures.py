"""Let the figures be dark on a dark page.

Matplotlib writes a figure as SVG with dark text on white. Here each figure of few colours gets a style of its own
for dark pages: white becomes the colour of the page, grey is turned round, and the colours of the curves are made
lighter until they stand out. A browser asks a picture for this style by the `color-scheme` of the page that shows it.

A figure of many colours has a colour map, in which a colour is a value; it stays as it is.
"""

import colorsys
import re
from pathlib import Path

from sphinx.application import Sphinx

PAPER, INK = "#14181e", "#e6eaee"  # of a dark page; book/_static/custom.css has the same
MOST_COLOURS = 14  # more are a colour map
CONTRAST = 4.5  # of a colour to the paper (WCAG 2.2 asks 3 of graphics, 4.5 of text)
COLOUR = re.compile(r"\b(fill|stroke): (#[0-9a-f]{6})\b")
OPENING = re.compile(r"<svg\b[^>]*>")


def channels(colour: str) -> tuple[float, ...]:
    """Red, green and blue of "#rrggbb", from 0 to 1."""
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, from 1 to 21, as WCAG defines it."""

    def luminance(colour: str) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels(colour)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def for_dark_page(colour: str) -> str:
    """What takes the place of a colour on a dark page."""
    red, green, blue = channels(colour)
    if max(red, green, blue) - min(red, green, blue) < 0.05:  # white, grey or black
        parts = [ink + (paper - ink) * red for ink, paper in zip(channels(INK), channels(PAPER), strict=True)]
        return to_hex(parts)
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    while contrast(to_hex(colorsys.hls_to_rgb(hue, lightness, saturation)), PAPER) < CONTRAST:
        lightness += 0.01
    return to_hex(colorsys.hls_to_rgb(hue, lightness, saturation))


def to_hex(parts) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in parts)


def with_dark_style(svg: str) -> str:
    """The figure with a style for dark pages; the same figure if it has many colours."""
    found = sorted(set(COLOUR.findall(svg)))
    if len({colour for _, colour in found}) > MOST_COLOURS:
        return svg
    rules = [f"svg{{fill:{INK}}}"]  # text without a colour is black
    rules += [f'[style*="{what}: {colour}"]{{{what}:{for_dark_page(colour)}!important}}' for what, colour in found]
    style = f"<style>@media(prefers-color-scheme:dark){{{''.join(rules)}}}</style>"
    return OPENING.sub(lambda opening: opening[0] + style, svg, count=1)


def darken(app: Sphinx, exception: Exception | None) -> None:
    """Runs when all files are written."""
    if exception or app.builder.format != "html":
        return
    for path in Path(app.outdir, "_images").glob("*.svg"):
        svg = path.read_text(encoding="utf-8")
        if "@media(prefers-color-scheme" not in svg:  # a second build finds the first one's files
            path.write_text(with_dark_style(svg), encoding="utf-8")


def setup(app: Sphinx) -> dict:
    app.connect("build-finished", darken)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
