"""Show every table of pandas alike.

pandas gives the class `dataframe` to a table that is shown as it is, and none to one that was styled, say with the
number of digits. The theme knows tables by that class: without it one has no lines, and stands on a light card in
the dark.
"""

from sphinx.application import Sphinx


def add_class(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    if body := context.get("body"):
        context["body"] = body.replace('<table id="T_', '<table class="dataframe" id="T_')


def setup(app: Sphinx) -> dict:
    app.connect("html-page-context", add_class)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
