"""The extension book/_ext/light.py: which rules of a style sheet and which parts of a page it takes out."""

import light
import pytest

WORDS = {"card", "title", "bs-", "menu"}


@pytest.mark.parametrize(
    ("sheet", "left"),
    [
        (".card{color:red}.tab{color:blue}", ".card{color:red}"),
        (".card, .tab, h1{margin:0}", ".card,h1{margin:0}"),
        (".card .tab{margin:0}#menu>.card{top:0}#other .card{top:1}", "#menu>.card{top:0}"),
        ("html{top:0}[data-x='.tab']{top:1}", 'html{top:0}[data-x=".tab"]{top:1}'),
        (".card:not(.tab),.menu:is(.tab,a){top:0}", ".card:not(.tab),.menu:is(.tab,a){top:0}"),
        (".bs-auto{top:0}.b-auto{top:1}", ".bs-auto{top:0}"),
        (r".card\:hover{top:0}", ""),
        ("@media print{.tab{top:0}.card{top:1}}@media (x){.tab{top:0}}", "@media print{.card{top:1}}"),
        ("@keyframes turn{from{top:0}to{top:1px}}", "@keyframes turn{from{top:0}to{top:1px}}"),
        ('@charset "UTF-8";/* .a{} */a{content:"}.tab{"}', '@charset "UTF-8";a{content:"}.tab{"}'),
        ("@font-face{font-family:Font Awesome\\ 6 Free}@font-face{font-family:Mine}", "@font-face{font-family:Mine}"),
        ("a:before{top:0;content:var(--pst-icon-x)}html{--y:var(--pst-icon-x)}", "html{--y:var(--pst-icon-x)}"),
    ],
)
def test_a_rule_is_kept_if_all_that_its_selector_asks_for_may_be_there(sheet, left):
    assert light.used_rules(sheet, WORDS) == left
    assert light.used_rules(left, WORDS) == left


def test_the_rules_of_the_icons_are_dropped_and_those_of_the_theme_for_its_icons_kept():
    sheet = ".fa-bars:before{content:'x'}.fas,.far{top:0}.menu .fa-bars{top:1}.fast{top:2}"
    assert light.used_rules(sheet, {"fa-bars", "fas", "far", "fast", "menu"}) == ".menu .fa-bars{top:1}.fast{top:2}"


def test_scripts_are_dropped_by_the_name_of_their_file():
    page = (
        '<script defer src="../_static/scripts/fontawesome.js?digest=5"></script>\n'
        '<script src="searchindex.js"></script>\n<script src="../_static/mysearchindex.js"></script>\n'
        '<script>"searchindex.js"</script>\n'
    )
    left = '<script src="../_static/mysearchindex.js"></script>\n<script>"searchindex.js"</script>\n'
    assert light.without_scripts(page, ("fontawesome.js", "searchindex.js")) == left


def test_a_figure_says_its_size_all_but_the_first_wait_and_a_wide_one_has_a_box(tmp_path):
    for name, box in {"a": "0 0 300 150.75", "b": "0 0 656.39952 267.59952"}.items():
        (tmp_path / "_images").mkdir(exist_ok=True)
        (tmp_path / "_images" / f"{name}.svg").write_text(f'<svg width="9pt" viewBox="{box}"></svg>')
    page = '<img alt="one" src="_images/a.svg" /><img src="logo.png"><img alt="two &gt;" src="_images/b.svg" />'
    assert light.with_waiting_figures(page, tmp_path) == (
        '<img alt="one" src="_images/a.svg" width="400" height="201"><img src="logo.png">'
        '<span class="wide-figure"><img alt="two &gt;" src="_images/b.svg" width="875" height="357" loading="lazy">'
        "</span>"
    )
