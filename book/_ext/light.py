"""Make the pages light: what the theme loads and this book does not use is taken out of the finished HTML, and the
rest comes when it is needed.

- The icons of the theme are a script of 1.5 MB. The few in use are drawn by book/_static/icons.css instead.
- The index for searching is loaded by every page. It is needed on the page of search results only.
- The style sheets of the theme hold rules for hundreds of things that no page has. A rule is kept if all the
  classes and ids that its selector asks for are words of any page or script. So nothing need be listed here:
  what a page begins to use comes back with the next build.
- In code every word and bracket is an element of its own, for its colour. Names, punctuation and space need none:
  they have the colour of the text.
- Scripts wait until the page is read, and figures until the reader comes near them. Each figure says how large it
  will be, so that the text does not move when it comes. A wide one gets a box, in which it may scroll on a phone.
"""

import re
import shutil
from itertools import groupby, pairwise
from pathlib import Path

import tinycss2
from sphinx.application import Sphinx
from tinycss2.ast import Node

ICON_SCRIPT = "fontawesome.js"
SEARCH_SCRIPTS = ("searchtools.js", "language_data.js", "searchindex.js")
PLAIN_CODE = re.compile(r'<span class="(?:n|p|w)">([^<]*)</span>')  # names, punctuation, space: as other text
SHEETS = ("styles/pydata-sphinx-theme.css", "sphinx-design.min.css", "mystnb.*.css")

# bootstrap.js holds the names of all that it could draw. This is what it gives to the dropdowns and the tooltips
# of the theme, the only parts of it in use.
BOOTSTRAP = "bootstrap.js"
WORDS_OF_BOOTSTRAP = {"bs-", "show", "fade", "tooltip", "tooltip-inner", "tooltip-arrow"}

SCRIPT = r' *<script[^>]* src="[^"]*\b(?:{})(?:\?[^"]*)?"></script>\n?'
MAY_WAIT = re.compile(r'<script src=(?!"[^"]*documentation_options)')  # a script in the page adds to these options
WORD = re.compile(r"[A-Za-z_][\w-]*")
FIGURE = re.compile(r'<img (alt="[^"]*") src="([^"]*_images/[^"/]+\.svg)" />')
WIDE = 640  # pixels: a narrower figure can be read on a phone as it is
VIEW_BOX = re.compile(r'viewBox="0 0 ([\d.]+) ([\d.]+)"')
ICON_RULE = re.compile(r"\.fa[bsr]?(?:[-.:]|$)|@font-face.*Font Awesome", re.DOTALL)
ICON_USED = re.compile(r"[{;\s](?:content|font):\s*var\(--(?:fa-font|pst-icon)-")


def lighten(app: Sphinx, exception: Exception | None) -> None:
    """Runs when all files are written."""
    if exception or app.builder.format != "html":
        return
    static = Path(app.outdir, "_static")
    pages = [path for path in Path(app.outdir).rglob("*.html") if static not in path.parents]
    for path in pages:
        text = with_waiting_figures(PLAIN_CODE.sub(r"\1", path.read_text(encoding="utf-8")), path.parent)
        if path.name == "search.html":
            text = without_scripts(text, (ICON_SCRIPT,))
        else:
            text = MAY_WAIT.sub("<script defer src=", without_scripts(text, (ICON_SCRIPT, *SEARCH_SCRIPTS)))
        path.write_text(text, encoding="utf-8")
    for path in static.glob(f"scripts/{ICON_SCRIPT}*"):
        path.unlink()
    shutil.rmtree(static / "vendor" / "fontawesome", ignore_errors=True)

    words = set(WORDS_OF_BOOTSTRAP)
    for path in [*pages, *(path for path in static.rglob("*.js") if path.name != BOOTSTRAP)]:
        words.update(WORD.findall(path.read_text(encoding="utf-8")))
    for pattern in SHEETS:
        for path in static.glob(pattern):
            path.write_text(used_rules(path.read_text(encoding="utf-8"), words), encoding="utf-8")


def without_scripts(page: str, names: tuple[str, ...]) -> str:
    """The HTML without the script elements that load files of these names."""
    return re.sub(SCRIPT.format("|".join(map(re.escape, names))), "", page)


def with_waiting_figures(page: str, folder: Path) -> str:
    """The HTML in which each figure has its size in pixels, and each but the first is loaded when it comes near."""
    seen = 0

    def mend(figure: re.Match) -> str:
        nonlocal seen
        seen += 1
        start = (folder / figure[2]).read_text(encoding="utf-8")[:2000]
        width, height = (round(float(points) * 4 / 3) for points in VIEW_BOX.search(start).groups())
        waiting = ' loading="lazy"' if seen > 1 else ""
        drawn = f'<img {figure[1]} src="{figure[2]}" width="{width}" height="{height}"{waiting}>'
        return f'<span class="wide-figure">{drawn}</span>' if width > WIDE else drawn

    return FIGURE.sub(mend, page)


def used_rules(sheet: str, words: set[str]) -> str:
    """The style sheet without the rules that apply to nothing described by these words."""
    prefixes = tuple(word for word in words if word.endswith("-") and len(word) > 2)  # a script adds to "bs-"
    rules = tinycss2.parse_stylesheet(sheet, skip_comments=True, skip_whitespace=True)
    return "".join(used(rule, words, prefixes) for rule in rules)


def used(rule: Node, words: set[str], prefixes: tuple[str, ...]) -> str:
    """What of a rule is kept, as text; those inside @media and @supports are looked at one by one."""
    if rule.type == "at-rule" and rule.lower_at_keyword in ("media", "supports"):
        rules = tinycss2.parse_rule_list(rule.content, skip_comments=True, skip_whitespace=True)
        inner = "".join(used(one, words, prefixes) for one in rules)
        return f"@{rule.at_keyword}{tinycss2.serialize(rule.prelude)}{{{inner}}}" if inner else ""
    if rule.type == "at-rule":
        text = rule.serialize()
        return "" if ICON_RULE.match(text) or ICON_USED.search(text) else text
    selectors = [list(part) for comma, part in groupby(rule.prelude, lambda token: token == ",") if not comma]
    kept = [tinycss2.serialize(one).strip() for one in selectors if may_apply(one, words, prefixes)]
    if not kept or ICON_RULE.match(tinycss2.serialize(rule.prelude)):
        return ""
    text = f"{','.join(kept)}{{{tinycss2.serialize(rule.content)}}}"
    return "" if ICON_USED.search(text) else text


def may_apply(selector: list[Node], words: set[str], prefixes: tuple[str, ...]) -> bool:
    """Whether all classes and ids of a selector are among the words; what stands in brackets is not looked at."""
    names = [
        token.value
        for before, token in pairwise([None, *selector])
        if token.type == "hash" or (token.type == "ident" and before == ".")
    ]
    used = all(name in words or name.startswith(prefixes) for name in names)
    return used and not ICON_RULE.match(tinycss2.serialize(selector).strip())


def setup(app: Sphinx) -> dict:
    app.connect("build-finished", lighten)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
