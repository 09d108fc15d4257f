"""Every page of the built book, opened from the disk in a real browser: wide and on a phone, light and dark."""

from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, TimeoutError
from tabs import PHONE, Tab
from test_pages import PAGES

# Unfolds what is folded and loads what waits to be scrolled to. Then: what is broken, as texts to read in a failure.
LOOK = r"""async () => {
    document.querySelectorAll("details").forEach((details) => { details.open = true; });
    const images = [...document.images];
    images.forEach((image) => { image.loading = "eager"; });
    const loaded = (image) => image.complete || new Promise((done) => { image.onload = image.onerror = done; });
    await Promise.all([document.fonts.ready, ...images.map(loaded)]);
    await Promise.all(document.getAnimations().map((animation) => animation.finished));  // of what was unfolded

    const undrawn = [...document.querySelectorAll(".math")].filter((formula) =>
        !formula.querySelector(".katex") || formula.querySelector(".katex-error, [style*='color:#cc0000']"));
    const texts = document.createTreeWalker(document.querySelector("article") ?? document.body, NodeFilter.SHOW_TEXT);
    const tex = [];
    for (let text = texts.nextNode(); text; text = texts.nextNode())
        if (/\\[a-zA-Z([]|\$\$/.test(text.data) && !text.parentElement.closest(".katex, pre, code, script, style"))
            tex.push(text.data.trim());
    const connections = document.querySelectorAll("link[rel~=preconnect], link[rel~=dns-prefetch]");
    return {
        connections: [...connections].map((link) => link.href),
        pictures: images.filter((image) => !image.naturalWidth).map((image) => image.src),
        formulas: [...undrawn.map((formula) => formula.textContent), ...tex],
    };
}"""

# What makes the page wider than the window, or sticks out of the text without a box of its own to scroll in.
WIDER = r"""() => {
    const width = document.documentElement.clientWidth;
    const name = (element) => `${element.localName}.${element.className}: ${element.textContent.trim().slice(0, 60)}`;
    const article = document.querySelector("article");
    const scrolls = (element) => {
        for (let box = element.parentElement; box && box !== article; box = box.parentElement)
            if (["auto", "scroll"].includes(getComputedStyle(box).overflowX)) return true;
        return false;
    };
    const wide = [...(article?.querySelectorAll("*:not(.katex-mathml *, svg *)") ?? [])].filter((element) =>
        element.getBoundingClientRect().right > width + 1 && !scrolls(element)).map(name);
    const page = Math.max(document.documentElement.scrollWidth, document.body.scrollWidth);
    return page > width ? [`the page: ${page} px in a window of ${width} px`, ...wide] : wide;
}"""

THEME = "document.documentElement.dataset.theme"
COLOURS = """() => ["backgroundColor", "color"].map(
    (part) => getComputedStyle(document.body)[part].match(/[0-9]+/g).slice(0, 3).map(Number))"""


AXE = {
    "resultTypes": ["violations"],
    "rules": {"label-content-name-mismatch": {"enabled": True}},  # off by default
    "preload": False,  # would fetch the style sheets once more, which a browser forbids to a page from the disk
}


def violations(page: Page, **options) -> list[str]:
    """What axe-core finds on a page that a reader with a disability could not use: the rule, the element, the fault."""
    found = Axe().run(page, options=AXE | options).response["violations"]
    return [
        f"{rule['id']}: {node['html'][:150]}: {' '.join(node['failureSummary'].split())}"
        for rule in found
        for node in rule["nodes"]
    ]


@pytest.fixture(scope="module", params=[*PAGES, "search", "genindex"])
def seen(request, browser, site) -> dict:
    """What was seen on one visit to a page: loaded once, which is what takes long, then made narrow, then dark."""
    tab = Tab(browser, theme="light")
    tab.page.goto((site / f"{request.param}.html").as_uri())
    found = tab.page.evaluate(LOOK)
    themes = [tab.page.evaluate(THEME)]
    found["on a desk"] = tab.page.evaluate(WIDER)
    found["violations in the light"] = violations(tab.page)
    tab.page.set_viewport_size(PHONE)
    found["on a phone"] = tab.page.evaluate(WIDER)
    tab.page.emulate_media(color_scheme="dark")
    with suppress(TimeoutError):  # a page that stays light fails the test of its theme below
        tab.page.wait_for_function(f"{THEME} === 'dark'", timeout=10_000)
    found["on a phone in the dark"] = tab.page.evaluate(WIDER)
    tab.page.wait_for_timeout(500)  # the theme waits 0.3 s after a resize, then lets the keyboard reach what scrolls
    found["violations in the dark"] = violations(tab.page)
    found["themes"] = [*themes, tab.page.evaluate(THEME)]
    tab.page.context.close()
    return found | {"foreign": tab.foreign, "failed": tab.failed, "errors": tab.errors}


def test_a_page_asks_no_other_host_for_anything(seen) -> None:
    assert seen["foreign"] + seen["connections"] == []


def test_a_page_finds_every_file_that_it_asks_for(seen) -> None:
    assert seen["failed"] == []


def test_a_page_writes_no_error_to_the_console(seen) -> None:
    assert seen["errors"] == []


def test_every_formula_of_a_page_is_drawn(seen) -> None:
    assert seen["formulas"] == []


def test_every_picture_of_a_page_is_shown(seen) -> None:
    assert seen["pictures"] == []


@pytest.mark.parametrize("window", ["on a desk", "on a phone", "on a phone in the dark"])
def test_a_page_does_not_scroll_sideways_and_nothing_sticks_out(seen, window) -> None:
    assert seen[window] == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_page_violates_no_rule_of_accessibility(seen, theme) -> None:
    assert seen[f"violations in the {theme}"] == []


def test_a_page_is_light_and_becomes_dark_when_the_system_does(seen) -> None:
    assert seen["themes"] == ["light", "dark"]


@pytest.mark.parametrize("tab", ["dark"], indirect=True)
def test_a_page_opened_in_the_dark_is_dark(site, tab) -> None:
    tab.page.goto((site / f"{PAGES[0]}.html").as_uri())
    assert tab.page.evaluate(THEME) == "dark"
    background, text = tab.page.evaluate(COLOURS)
    assert max(background) < 80
    assert min(text) > 150
    assert tab.errors + tab.failed + tab.foreign == []


def test_the_entrance_opens_the_introduction(site, tab) -> None:
    tab.page.goto((site / "index.html").as_uri())
    tab.page.wait_for_url(f"**/{PAGES[0]}.html")
    assert tab.errors + tab.failed + tab.foreign == []


def test_the_search_finds_pages_without_a_server(site, tab) -> None:
    tab.page.goto((site / f"{PAGES[0]}.html").as_uri())
    tab.page.keyboard.press("Control+k")
    tab.page.keyboard.type("degradation")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_url("**/search.html?*")
    tab.page.wait_for_selector("#search-results :text('Search finished')")
    results = [link.evaluate("link => link.href") for link in tab.page.locator("#search-results li a").all()]
    assert any("02_degradation" in url for url in results)
    assert [url for url in results if not Path(unquote(urlsplit(url).path)).is_file()] == []
    assert tab.errors + tab.failed + tab.foreign == []
