"""Where the book is published, and what each page says of it: how to cite the page, and where to report an error.

The address of the site is `html: baseurl:` in _config.yml. Where none is set it is that of GitHub Pages for the
repository, whose address stands in _config.yml alone.
"""

import html
import re
from datetime import date
from urllib.parse import urlencode, urljoin

from sphinx.application import Sphinx
from sphinx.config import Config

QUESTIONS = "Page: {address}\n\nWhat is wrong, and where on the page?\n\n\nWhat should it say, and how do you know?\n"
FOOT = """
<footer class="page-foot" aria-label="About this page">
<details class="cite">
<summary>Cite this {kind}</summary>
<p>{author} ({year}). {cited}. <a href="{address}">{address}</a></p>
<pre tabindex="0" aria-label="BibTeX entry">{bibtex}</pre>
</details>
<a class="report" href="{issue}">Report an error on this page</a>
</footer>
"""


def pages_address(repository: str) -> str:
    """Where GitHub Pages publishes a repository: https://github.com/you/book becomes https://you.github.io/book/."""
    account, name = re.fullmatch(r"https?://[^/]+/([^/]+)/([^/]+?)/?", repository).groups()
    home = f"https://{account.lower()}.github.io/"
    return home if f"https://{name.lower()}/" == home else f"{home}{name}/"


def settle_address(app: Sphinx, config: Config) -> None:
    """Runs before anything is read; the extension for previews of links has its own option for the same address."""
    if not config.html_baseurl:
        config.html_baseurl = pages_address(config.html_theme_options["repository_url"])
    config.ogp_site_url = config.html_baseurl
    config.ogp_site_name = config.html_title


def add_foot(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    if doctree is not None:
        title = app.env.titles[pagename].astext()
        context["body"] += foot(app.config, pagename, title, is_root=pagename == app.config.root_doc)


def foot(config: Config, pagename: str, title: str, *, is_root: bool) -> str:
    """The end of a page, in HTML."""
    address = urljoin(config.html_baseurl, f"{pagename}.html")
    number = re.match(r"(\d+)\. ", title)
    name = title.removeprefix(number[0]) if number else title
    year = config.copyright or str(date.today().year)
    key = "residual-networks-measured" if is_root else f"residual-networks-measured-{pagename.rsplit('/')[-1]}"
    where = f"chapter {number[1]} of " if number else "" if is_root else "a page of "
    fields = {
        "author": f"{{{config.author}}}",
        "title": f"{{{name}}}",
        "year": year,
        "url": address,
        "note": "" if is_root else f"{where[0].upper()}{where[1:]}{config.html_title}",
    }
    entry = ",\n".join(f"  {field} = {{{value}}}" for field, value in fields.items() if value)
    report = {"title": f"Error in “{title}”", "body": QUESTIONS.format(address=address)}
    texts = {
        "kind": "book" if is_root else "chapter" if number else "page",
        "author": config.author,
        "year": year,
        "cited": name if is_root else f"“{name}”, {where}{config.html_title}",
        "address": address,
        "bibtex": f"@misc{{{key},\n{entry}\n}}",
        "issue": f"{config.html_theme_options['repository_url']}/issues/new?{urlencode(report)}",
    }
    return FOOT.format_map({key: html.escape(text) for key, text in texts.items()})


def setup(app: Sphinx) -> dict:
    app.connect("config-inited", settle_address, priority=100)
    app.connect("html-page-context", add_foot)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
