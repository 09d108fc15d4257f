"""Keep what no page needs out of every page's head.

Jupyter Book always loads sphinx-thebe, which this book does not use. It declares the same JavaScript constant
twice, an error in the browser's console on every page. Here its scripts and styles are left out, and of
several equal scripts only the first is kept.
"""

from sphinx.application import Sphinx

UNWANTED = ("thebe", "THEBE_JS_URL")


def describe(asset) -> tuple[str, str]:
    """The file name of a script or style sheet, and its text if it is inline."""
    body = (getattr(asset, "attributes", None) or {}).get("body") or ""
    return str(getattr(asset, "filename", asset) or ""), body


def without_unwanted(assets: list) -> list:
    """The assets in their order, without sphinx-thebe and without repetitions."""
    kept = {}
    for asset in assets:
        filename, body = describe(asset)
        if not any(word in filename or word in body for word in UNWANTED):
            kept.setdefault((filename, body), asset)
    return list(kept.values())


def clean_head(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    for key in ("script_files", "css_files"):
        if key in context:
            context[key] = without_unwanted(context[key])


def setup(app: Sphinx) -> dict:
    app.connect("html-page-context", clean_head, priority=900)  # after the theme and the extensions
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
