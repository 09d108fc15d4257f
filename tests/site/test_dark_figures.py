"""The extension book/_ext/dark_figures.py: a figure of curves is dark on a dark page, a colour map is left alone."""

import io
import re
from pathlib import Path

import dark_figures
import pytest
import social_card
from PIL import Image

from resnet_utils import plots

ROOT = Path(__file__).resolve().parents[2]
PALETTE = [*plots.COLOURS.values(), *plots.OTHER_COLOURS]


def figure(*colours: str) -> str:
    paths = "".join(f'<path style="fill: none; stroke: {colour}; stroke-width: 2"/>' for colour in colours)
    return f'<?xml version="1.0"?><svg width="7">{paths}</svg>'


def test_contrast_is_that_of_wcag() -> None:
    assert dark_figures.contrast("#ffffff", "#000000") == pytest.approx(21)
    assert dark_figures.contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


def test_white_becomes_the_page_and_black_the_text() -> None:
    assert dark_figures.for_dark_page("#ffffff") == dark_figures.PAPER
    assert dark_figures.for_dark_page("#000000") == dark_figures.INK
    grid, text = dark_figures.for_dark_page("#e3e6ea"), dark_figures.for_dark_page("#262626")
    assert dark_figures.contrast(grid, dark_figures.PAPER) < 2
    assert dark_figures.contrast(text, dark_figures.PAPER) > 9


@pytest.mark.parametrize("colour", [colour.lower() for colour in PALETTE])
def test_a_colour_of_the_figures_stands_out_from_a_dark_page_and_keeps_its_hue(colour) -> None:
    dark = dark_figures.for_dark_page(colour)
    assert dark_figures.contrast(dark, dark_figures.PAPER) >= 4.5
    strongest = [max(range(3), key=dark_figures.channels(one).__getitem__) for one in (colour, dark)]
    assert colour == "#000000" or strongest[0] == strongest[1]


def test_the_pages_of_the_style_sheet_have_the_same_colours() -> None:
    sheet = (ROOT / "book" / "_static" / "custom.css").read_text()
    dark = re.search(r'html\[data-theme="dark"\] \{(.*?)\}', sheet, re.DOTALL)[1]
    assert f"--pst-color-background: {dark_figures.PAPER};" in dark
    for kind, colour in plots.COLOURS.items():
        assert f"--rnm-{kind}: {colour.lower()};" in sheet


def test_the_card_has_the_colours_of_the_figures() -> None:
    assert social_card.COLOURS == plots.COLOURS


def test_the_style_names_each_colour_once_and_applies_in_the_dark_alone() -> None:
    changed = dark_figures.with_dark_style(figure("#0072b2", "#0072b2", "#262626"))
    style = re.search(r"<svg[^>]*><style>@media\(prefers-color-scheme:dark\)\{(.*)\}</style>", changed)[1]
    assert re.findall(r'\[style\*="([^"]+)"\]', style) == ["stroke: #0072b2", "stroke: #262626"]
    assert changed.replace(re.search("<style>.*</style>", changed)[0], "") == figure("#0072b2", "#0072b2", "#262626")


def test_a_figure_with_a_colour_map_is_left_as_it_is() -> None:
    colour_map = figure(*(f"#0000{level:02x}" for level in range(20)))
    assert dark_figures.with_dark_style(colour_map) == colour_map


@pytest.mark.parametrize(("tab", "darkest", "lightest"), [("light", 230, 255), ("dark", 0, 60)], indirect=["tab"])
def test_the_picture_of_the_cover_is_as_light_or_dark_as_its_page(site, tab, darkest, lightest) -> None:
    tab.page.goto((site / "book" / "intro.html").as_uri())
    shot = tab.page.locator("article img").first.screenshot()
    pixels = sorted(Image.open(io.BytesIO(shot)).convert("L").tobytes())
    assert darkest <= pixels[len(pixels) // 2] <= lightest


@pytest.mark.parametrize("tab", ["dark"], indirect=True)
def test_a_reader_who_chooses_light_on_a_dark_system_gets_light_figures(site, tab) -> None:
    tab.page.goto((site / "book" / "intro.html").as_uri())
    tab.page.evaluate("document.documentElement.dataset.theme = 'light'")
    shot = tab.page.locator("article img").first.screenshot()
    pixels = sorted(Image.open(io.BytesIO(shot)).convert("L").tobytes())
    assert pixels[len(pixels) // 2] > 230
