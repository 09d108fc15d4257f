"""The interactive figures in a real browser: what their controls do, by mouse and by keyboard, and without a script."""

import itertools
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import Locator
from tabs import DESK, PHONE

from resnet_utils import counting, drawings, interactive, records

PAGES = {
    "gradients": "notebooks/01_vanishing_gradients",
    "bottleneck": "notebooks/05_bottlenecks",
    "degradation": "notebooks/09_plain_against_residual",
    "lesions": "notebooks/10_many_short_paths",
}
LINES = ".chart path:not(.grid):not(.band)"
FLAT = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
# Everything that a reader sees of a figure: its texts, and the places of what is drawn.
SEEN = """figure => [...figure.querySelectorAll(".chart, .layers, .says")].map((part) => [
    part.innerText,
    ...[...part.querySelectorAll("path, text, rect, polygon")].filter((drawn) => !drawn.closest("[hidden]"))
        .map((drawn) => drawn.outerHTML.replace(' hidden=""', "")),
])"""
# The colours of the page, of the text and of the lines and bars of a figure, as red, green and blue.
COLOURS = """figure => {
    const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgb = (element, property) => {
        paint.fillStyle = getComputedStyle(element)[property];
        paint.fillRect(0, 0, 1, 1);
        return [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const lines = [...figure.querySelectorAll("path:not(.grid):not(.band)")].map((line) => rgb(line, "stroke"));
    const bars = [...figure.querySelectorAll(".layers svg")].map((bar) => rgb(bar, "fill"));
    return { page: rgb(document.body, "backgroundColor"), text: rgb(figure, "color"), drawn: [...lines, ...bars] };
}"""


@pytest.fixture
def open_figure(site: Path, tab) -> Iterator:
    """Opens the page of a figure, and gives the figure; no page may complain of anything."""

    def open_page(name: str) -> Locator:
        tab.page.goto((site / f"{PAGES[name]}.html").as_uri())
        return tab.page.locator(".rnm-figure")

    yield open_page
    assert tab.errors + tab.failed + tab.foreign == []


@pytest.fixture(params=PAGES)
def figure(request, open_figure) -> Locator:
    return open_figure(request.param)


def choose(figure: Locator, *labels: str) -> None:
    """Clicks on these choices: "Layers 30"."""
    for label in labels:
        legend, _, text = label.partition(" ")
        group = figure.locator("fieldset:visible", has=figure.page.locator("legend", has_text=legend))
        group.get_by_label(text, exact=True).click()


def lines(figure: Locator) -> list[str]:
    """The curves that are seen, as SVG writes them."""
    seen = "all => all.filter((line) => !line.closest('[hidden]')).map((line) => line.getAttribute('d'))"
    return figure.locator(LINES).evaluate_all(seen)


def said(figure: Locator) -> dict[str, str]:
    """The numbers below the figure, by what they are of; under "what" the sentence before them."""
    what, *items = figure.locator(".says :is(p, li)").all_inner_texts()
    return {"what": what, **dict(item.split(": ") for item in items)}


# All figures


@pytest.mark.parametrize("name", PAGES)
def test_without_a_script_the_same_is_seen_and_no_control(name, browser, site, open_figure) -> None:
    profile = browser.new_context(java_script_enabled=False, viewport=DESK, offline=True)
    page = profile.new_page()
    page.goto((site / f"{PAGES[name]}.html").as_uri())
    still = page.locator(".rnm-figure")
    live = open_figure(name)
    seen, drawn = (json.dumps(one.evaluate(SEEN)).replace("\\u00a0", " ") for one in (still, live))
    assert seen == drawn  # but for spaces at which a line may not end
    assert not [control for control in still.locator(".controls").all() if control.is_visible()]
    assert [control for control in live.locator(".controls").all() if control.is_visible()]
    assert page.locator(".rnm-figure :is(input, select):enabled").count() == 0
    profile.close()


def test_what_is_seen_is_said_and_the_pictures_say_what_was_chosen(figure) -> None:
    assert figure.locator("[aria-live=polite]").inner_text().strip()
    for picture in figure.locator("svg[role=img]:visible").all():
        assert "Shown: " in picture.get_attribute("aria-label")
    assert len(figure.get_attribute("aria-label")) > 40


def test_on_a_phone_nothing_is_wider_than_the_figure_and_all_can_be_read_and_hit(figure, tab) -> None:
    tab.page.set_viewport_size(PHONE)
    figure.locator("details").evaluate_all("all => all.forEach((details) => { details.open = true; })")
    width = figure.bounding_box()["width"]
    assert width < PHONE["width"]
    assert figure.evaluate("figure => figure.scrollWidth") <= width + 1
    for label in figure.locator("label:visible").all():
        box = label.bounding_box()
        assert min(box["width"], box["height"]) >= 24
        assert 0 <= box["x"] <= box["x"] + box["width"] <= PHONE["width"]
    for text in figure.locator("text:visible").all():
        box = text.bounding_box()
        assert 0 <= box["x"] <= box["x"] + box["width"] <= PHONE["width"], text.text_content()
        assert float(text.evaluate("text => getComputedStyle(text).fontSize").removesuffix("px")) >= 12


@pytest.mark.parametrize("tab", ["light", "dark"], indirect=True)
@pytest.mark.parametrize("name", PAGES)
def test_lines_and_texts_stand_out_from_the_page_light_and_dark(name, open_figure, tab) -> None:
    colours = open_figure(name).evaluate(COLOURS)
    assert contrast(colours["text"], colours["page"]) >= 4.5
    assert min(contrast(colour, colours["page"]) for colour in colours["drawn"]) >= 3


def contrast(*colours: list[int]) -> float:
    """The contrast ratio of WCAG 2.2."""

    def luminance(colour: list[int]) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (p / 255 for p in colour[:3])]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted(map(luminance, colours))
    return (light + 0.05) / (dark + 0.05)


def test_of_two_equal_figures_on_a_page_each_answers_to_its_own_controls(tab) -> None:
    data = interactive.lesions({"recorded": records.load("lesion")}).data
    tab.page.set_content(f"<!doctype html><html lang=en><body>{data}{data}{interactive.bottleneck().data}")
    first, second, calculator = tab.page.locator(".rnm-figure").all()
    before = said(first)
    choose(second, "Network plain20", "Block 2")
    assert said(first) == before
    assert "plain20, block 2" in said(second)
    calculator.get_by_label("Channels").fill("64")
    assert "At 64 channels" in calculator.locator(".says").inner_text()
    assert said(first) == before
    assert tab.errors == []


# Chapter 1


def test_the_curves_of_each_choice_fall_by_the_ratios_below_them(open_figure) -> None:
    figure = open_figure("gradients")
    for activation, depth in itertools.product(("sigmoid", "tanh", "ReLU"), (5, 10, 20, 30)):
        choose(figure, f"Activation {activation}", f"Layers {depth}")
        ratios = said(figure)
        assert ratios.pop("what").endswith(f": {activation}, {depth} layers")
        assert list(ratios) == ["nn.Linear's", "1 (Glorot)", "√2 (He)", "2"]
        row = figure.locator("tr", has=figure.page.locator(f"th:text-is('{activation}, {depth} layers')"))
        assert list(ratios.values()) == row.locator("td").all_text_contents()
        assert len(lines(figure)) == 4
        for line, ratio in zip(lines(figure), ratios.values(), strict=True):
            steps = [int(step) for step in re.findall(r"l1 ?(-?\d+)", line)]
            assert len(steps) == depth - 2  # from layer 1 to the last hidden layer
            drawn = sum(steps) / per_power(figure)
            assert drawn == pytest.approx(math.log10(number(ratio.split()[0])), abs=1.5 / per_power(figure) + 0.15)


def number(text: str) -> float:
    """What a figure writes as 0.004, 4,300 or 8.9·10⁻⁸."""
    return float(text.translate(FLAT).replace("·10", "e").replace(",", ""))


def per_power(figure: Locator) -> float:
    """The distance of two powers of ten on the axis, in units of the picture."""
    first, second = [text for text in figure.locator(".levels text").all() if text.is_visible()][:2]
    powers = [int(text.text_content()[2:].translate(FLAT)) for text in (first, second)]
    places = [float(text.get_attribute("y").rstrip("%")) for text in (first, second)]
    return drawings.HEIGHT / 100 * (places[1] - places[0]) / (powers[0] - powers[1])


def test_gains_can_be_left_out_and_if_none_is_left_the_figure_says_so(open_figure) -> None:
    figure = open_figure("gradients")
    choose(figure, "Gain 2", "Gain nn.Linear's")
    assert list(said(figure)) == ["what", "1 (Glorot)", "√2 (He)"]
    assert len(lines(figure)) == 2
    choose(figure, "Gain 1 (Glorot)", "Gain √2 (He)")
    assert said(figure) == {"what": "Nothing is chosen."}
    assert lines(figure) == []


def test_the_arrow_keys_change_the_depth(open_figure) -> None:
    figure = open_figure("gradients")
    figure.get_by_label("20", exact=True).focus()
    figure.page.keyboard.press("ArrowRight")
    assert said(figure)["what"].endswith("ReLU, 30 layers")
    assert figure.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") == "solid"


# Chapter 5


def test_the_calculator_says_what_counting_says(open_figure) -> None:
    figure = open_figure("bottleneck")
    says, rows = figure.locator(".says"), figure.locator("[data-layer]")
    for channels, squeeze in itertools.product((1, 64, 100, 256, 2048, 4096), (1, 2, 4, 16, 32)):
        figure.get_by_label("Channels C").fill(str(channels))
        figure.get_by_label("Squeeze r").select_option(str(squeeze))
        kernel, side = ((1, 7), (3, 56), (7, 224))[(channels + squeeze) % 3]
        figure.get_by_label("Kernel k").select_option(str(kernel))
        figure.get_by_label("Side of the map").select_option(str(side))
        sums = figure.locator(".sum").all_text_contents()
        if channels % squeeze:
            assert f"A squeeze of {squeeze} does not divide {channels:,} channels." in says.inner_text()
            assert sums == ["–", "–"]
            assert figure.get_by_label("Channels C").get_attribute("aria-invalid") == "true"
            continue
        narrow = channels // squeeze
        convolutions = [(kernel, channels, channels)] * 2
        convolutions += [(1, channels, narrow), (kernel, narrow, narrow), (1, narrow, channels)]
        weights = [counting.conv_weights(*convolution) for convolution in convolutions]
        names = [f"{k} x {k}, {before:,} → {after:,}" for k, before, after in convolutions]
        assert rows.locator("td:first-child").all_text_contents() == names
        assert rows.locator("span").all_text_contents() == [f"{n:,}" for n in weights]
        bars = rows.locator("rect").evaluate_all("bars => bars.map((bar) => parseFloat(bar.getAttribute('width')))")
        assert bars == pytest.approx([100 * n / max(weights) for n in weights], rel=1e-5)
        blocks = counting.basic_weights(channels, kernel=kernel), sum(weights[2:])
        assert blocks[1] == counting.bottleneck_weights(channels, squeeze=squeeze, kernel=kernel)
        assert sums == [f"{n:,}" for n in blocks]
        found = re.search(r"has ([\d.]+) times .* need ([\d.]+) and ([\d.]+) billion", says.inner_text())
        ratio, *work = map(float, found.groups())
        assert ratio == pytest.approx(blocks[0] / blocks[1], abs=0.00501)
        assert work == pytest.approx([n * side**2 / 1e9 for n in blocks], abs=0.000501)


def test_channels_that_are_no_whole_number_in_range_are_refused_plainly(open_figure) -> None:
    figure = open_figure("bottleneck")
    for typed in ("", "0", "-16", "2.5", "4097"):
        figure.get_by_label("Channels C").fill(typed)
        assert figure.locator(".says").inner_text() == "The channels must be a whole number from 1 to 4,096."
    figure.get_by_label("Channels C").fill("256")
    assert "16.94 times" in figure.locator(".says").inner_text()


def test_a_squeeze_that_does_not_divide_names_those_that_do(open_figure) -> None:
    figure = open_figure("bottleneck")
    figure.get_by_label("Channels C").fill("36")
    figure.get_by_label("Squeeze r").select_option("8")
    assert figure.locator(".says").inner_text().endswith("Of the values to choose from, these do: 1, 2, 4.")


# Chapter 9


@pytest.fixture(scope="session")
def last_errors(site) -> dict[tuple[str, str], list[str]]:
    """The chapter's own table of the last epoch, (error, network) to median, lowest and highest."""
    page = BeautifulSoup((site / f"{PAGES['degradation']}.html").read_text(), "html.parser")
    table = next(table for table in page.select("article table") if "train_error" in table.get_text())
    found, depth = {}, ""
    for row in table.select("tbody tr"):
        *outer, kind = [cell.get_text() for cell in row.select("th")]
        depth = outer[0] if outer else depth
        cells = [cell.get_text() for cell in row.select("td")]
        name = f"{kind.replace('residual', 'ResNet')}-{depth}"
        found["training", name], found["test", name] = cells[: len(cells) // 2], cells[len(cells) // 2 :]
    return found


def test_the_last_errors_are_those_of_the_table_of_the_chapter(open_figure, last_errors) -> None:
    figure = open_figure("degradation")
    for error in ("training", "test"):
        choose(figure, f"Error {error}")
        found = said(figure)
        assert found.pop("what").endswith(f": {error}, median [range] of 3 seeds")
        expected = {name: cells for (which, name), cells in last_errors.items() if which == error}
        assert {name: re.findall(r"[\d.]+", text) for name, text in found.items()} == expected
        assert len(lines(figure)) == len(expected)


def test_the_seeds_one_by_one_make_the_median_and_the_range(open_figure, last_errors) -> None:
    figure = open_figure("degradation")
    for error in ("training", "test"):
        choose(figure, f"Error {error}")
        seeds = []
        for seed in range(3):
            choose(figure, f"Seed {seed}")
            seeds.append(said(figure))
            assert seeds[-1].pop("what").endswith(f": {error}, seed {seed}")
            places = [[int(y) for y in re.findall(r"(?:M0|l1) ?(-?\d+)", line)] for line in lines(figure)]
            expected = [drawings.HEIGHT * (1 - float(text) / 100) for text in seeds[-1].values()]
            assert [sum(steps) for steps in places] == pytest.approx(expected, abs=0.7)
        for (which, name), (median, low, high) in last_errors.items():
            if which == error:
                assert sorted(float(seed[name]) for seed in seeds) == [float(low), float(median), float(high)]


def test_networks_are_chosen_by_kind_and_by_depth(open_figure) -> None:
    figure = open_figure("degradation")
    choose(figure, "Kind residual", "Layers 20")
    assert list(said(figure)) == ["what", "plain-8", "plain-56"]
    assert len(lines(figure)) == 2
    choose(figure, "Kind plain")
    assert said(figure) == {"what": "Nothing is chosen."}


# Chapter 10


def test_every_block_that_can_be_left_out_shows_its_recorded_error(open_figure) -> None:
    figure = open_figure("lesions")
    figure.get_by_label(re.compile("^recorded, CIFAR-10")).check()
    for network, recorded in records.load("lesion").groupby("model"):
        choose(figure, f"Network {network}")
        per_stage = (recorded["depth"].iloc[0] - 2) // 6
        assert figure.locator(".blocks input:visible").count() == 3 * per_stage
        assert figure.locator(".blocks input:visible:disabled").count() == 3 * per_stage - len(recorded)
        for row in recorded.itertuples():
            stage, place = map(int, re.match(r"layer(\d)\.(\d+)", row.block).groups())
            number = (stage - 1) * per_stage + place + 1
            choose(figure, f"Block {number}")
            errors = said(figure)
            assert errors.pop("what").startswith("Test error (%) by the block left out: recorded, CIFAR-10")
            assert errors == {
                f"{network}, block {number}": f"{row.test_error:.1f}",
                f"{network}, none": f"{row.whole_error:.1f}",
            }


def test_the_live_costs_are_those_that_the_chapter_prints(open_figure) -> None:
    figure = open_figure("lesions")
    text = figure.page.locator("article p", has_text="Cost of one block (live, digits)").inner_text()
    highest = re.search(r"resnet56: .*? to ([\d.]+) points, .*?, highest for block (\d+)", text)
    choose(figure, f"Block {highest[2]}")
    errors = [float(value.split()[0]) for name, value in said(figure).items() if name != "what"]
    assert errors[0] - errors[1] == pytest.approx(
        float(highest[1]), abs=1.5
    )  # a median of differences, and one of medians


def test_blocks_are_reached_by_the_arrow_keys_across_the_stages(open_figure) -> None:
    figure = open_figure("lesions")
    choose(figure, "Block 9")
    figure.page.keyboard.press("ArrowRight")
    assert "resnet56, block 10" in said(figure)
    figure.page.keyboard.press("ArrowLeft")
    figure.page.keyboard.press("ArrowLeft")
    assert "resnet56, block 8" in said(figure)


def test_a_click_on_the_bar_chooses_its_block(open_figure) -> None:
    figure = open_figure("lesions")
    figure.locator(".blocks label:visible").nth(4).click(position={"x": 10, "y": 10})  # the upper end of its column
    assert "resnet56, block 5" in said(figure)
