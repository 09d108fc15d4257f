"""Keep what no page needs out of every page's head.

Jupyter Book always loads sphinx-thebe, which this book does not use. It declares the same JavaScript constant
twice, an error in the browser's console on every page. Here its scripts and styles are left out, and of
several equal scripts only the first is kept. What serves formulas, code, folded parts or tabs stays on the pages
that have such a thing.
"""

import re

from sphinx.application import Sphinx

UNWANTED = ("thebe", "THEBE_JS_URL")
ONLY_FOR = {  # by what a page's text holds, what in the names or the texts of scripts and style sheets serves it
    r'class="[^"]*\bmath\b': ("katex",),
    r'class="[^"]*\bmath\b|_images/[^"]*\.svg': ("wide_boxes",),
    r'class="[^"]*\bhighlight\b': ("clipboard", "copybutton"),
    r'<details|class="[^"]*\b(?:toggle|dropdown)\b': ("togglebutton", "toggleHint", "toggleOpenOnPrint"),
    r'class="[^"]*\bsd-': ("sphinx-design", "design-tabs"),
}


def describe(asset) -> tuple[str, str]:
    """The file name of a script or style sheet, and its text if it is inline."""
    body = (getattr(asset, "attributes", None) or {}).get("body") or ""
    return str(getattr(asset, "filename", asset) or ""), body


def without_unwanted(assets: list, unwanted: tuple[str, ...]) -> list:
    """The assets in their order, without those that hold an unwanted word and without repetitions."""
    kept = {}
    for asset in assets:
        filename, body = describe(asset)
        if not any(word in filename or word in body for word in unwanted):
            kept.setdefault((filename, body), asset)
    return list(kept.values())


def clean_head(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    body = context.get("body") or ""
    unneeded = (word for what, words in ONLY_FOR.items() if not re.search(what, body) for word in words)
    unwanted = (*UNWANTED, *unneeded)
    for key in ("script_files", "css_files"):
        if key in context:
            context[key] = without_unwanted(context[key], unwanted)


def setup(app: Sphinx) -> dict:
    app.connect("html-page-context", clean_head, priority=900)  # after the theme and the extensions
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
