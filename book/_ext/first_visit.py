"""Settle before the theme's scripts run what they would complain of in the browser's console.

- The theme takes a reader who has not chosen light or dark for an error, and colours the page only when it is loaded.
  The choice of the system is set at once instead.
- The search fetches each page that it found, to show some of its text. A browser forbids this to pages opened from
  the disk, so there the results are shown without it.
"""

from sphinx.application import Sphinx

SETTLE_THEME = """{
  const root = document.documentElement.dataset;
  root.mode ||= "auto";
  root.theme ||= matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}"""
SETTLE_SEARCH = """if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;"""


def add_scripts(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    app.add_js_file(None, body=SETTLE_THEME, priority=0)
    if pagename == "search":
        app.add_js_file(None, body=SETTLE_SEARCH)  # after the script that makes the options, which has priority 200


def setup(app: Sphinx) -> dict:
    app.connect("html-page-context", add_scripts)  # before clean_head, which replaces the list of scripts
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
