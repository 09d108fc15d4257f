"""The interactive figures as Python makes them: what is there before, or without, the script."""

import functools
import itertools
import re

import pandas as pd
import pytest
from bs4 import BeautifulSoup, Tag

from resnet_utils import drawings, interactive

MOST_BYTES = 20_000


def norms() -> pd.DataFrame:
    """As large as chapter 1's; the gradient changes by a factor a layer: 1/4 and 2, and twice that in seed 1."""
    factors = {"sigmoid": 0.25, "ReLU": 2.0}
    return pd.DataFrame(
        {"activation": name, "gain": gain, "depth": depth, "seed": seed, "index": i, "output": (q * 2**seed) ** -i}
        for (name, q), gain, depth, seed in itertools.product(
            factors.items(), ("nn.Linear's", "1 (Glorot)", "√2 (He)", "2"), (5, 10, 20, 30), range(2)
        )
        for i in range(1, depth + 1)
    )


def history(seeds: int = 3, epochs: int = 9) -> pd.DataFrame:
    """Training error 80, 60, 40 … in the plain networks, a tenth of it in the residual ones; a point more a seed."""
    return pd.DataFrame(
        {"kind": kind, "depth": depth, "seed": seed, "epoch": epoch}
        | {"train_error": share * 100 / epoch + seed, "test_error": share * 90 / epoch + seed}
        for (kind, share), depth, seed, epoch in itertools.product(
            {"plain": 1.0, "residual": 0.1}.items(), (8, 20, 56), range(seeds), range(1, epochs + 1)
        )
    )


def lesion(seeds: int = 3) -> pd.DataFrame:
    """Without block i of a residual network the error is 60 / i and a point more a seed; of a plain one it is 90."""
    rows = []
    for (model, kind, depth), seed in itertools.product(
        (("plain20", "plain", 20), ("resnet20", "residual", 20), ("resnet56", "residual", 56)), range(seeds)
    ):
        blocks = [f"layer{stage}.{i}" for stage in (1, 2, 3) for i in range((depth - 2) // 6)]
        for number, block in enumerate(blocks, start=1):
            if kind == "residual" or block not in ("layer2.0", "layer3.0"):
                error = 60 / number + seed if kind == "residual" else 90.0
                rows.append((model, kind, depth, seed, block, error, 2.5 + seed))
    return pd.DataFrame(rows, columns=["model", "kind", "depth", "seed", "block", "test_error", "whole_error"])


FIGURES = {
    "gradients": lambda: interactive.gradients(norms()),
    "bottleneck": interactive.bottleneck,
    "degradation": lambda: interactive.degradation(history()),
    "lesions": lambda: interactive.lesions({"live, digits": lesion(), "recorded, CIFAR-10": lesion(1)}),
}


@functools.cache
def made(name: str) -> str:
    return FIGURES[name]()._repr_html_()


@pytest.fixture(params=FIGURES)
def html(request) -> str:
    return made(request.param)


def soup(figure) -> BeautifulSoup:
    return BeautifulSoup(figure._repr_html_(), "html.parser")


def shown(tag: Tag) -> bool:
    return not any(parent.has_attr("hidden") for parent in (tag, *tag.parents))


def said(figure) -> str:
    """The sentence below the figure, with its spaces made equal."""
    return " ".join(soup(figure).select_one(".says").get_text(" ").split())


def table(figure) -> dict[str, list[str]]:
    """The cells of each row by its heading; the end tags are left out, so a parser of tags alone must be helped."""
    rows = re.findall(r"<tr[^>]*><th>([^<]*)((?:<td>[^<]*)+)", figure._repr_html_())
    return {name: cells.removeprefix("<td>").split("<td>") for name, cells in rows}


# What holds for all of them


def test_a_figure_is_smaller_than_20_kb_with_its_script_and_its_style(html):
    assert len(html.encode()) < MOST_BYTES


def test_a_figure_asks_no_other_host_for_anything(html):
    assert not re.search(r"https?:|url\(|@import|src=", html)


@pytest.mark.parametrize("name", FIGURES)
def test_the_same_data_give_the_same_html(name):
    assert FIGURES[name]()._repr_html_() == made(name)


def test_no_element_has_an_id_so_that_a_figure_may_stand_on_a_page_twice(html):
    assert not BeautifulSoup(html, "html.parser").select("[id], [for], [aria-labelledby]")


def test_a_screen_reader_is_told_what_the_figure_is_and_every_picture_is_named_or_left_out(html):
    page = BeautifulSoup(html, "html.parser")
    assert len(page.select_one(".rnm-figure[role=group]")["aria-label"]) > 40
    for picture in page.select("svg"):
        inside = picture.find_parent("svg") is not None
        assert inside or picture.get("aria-hidden") == "true" or len(picture.get("aria-label", "")) > 20
    assert page.select_one(".says")["aria-live"] == "polite"


def test_every_control_has_a_label_and_waits_for_the_script(html):
    for control in BeautifulSoup(html, "html.parser").select("input, select"):
        assert control.find_parent("label").get_text().strip()
        assert control.find_parent("fieldset").has_attr("disabled")


def test_text_has_the_colour_of_the_page_around_it(html):
    rules = re.search("<style>(.*?)</style>", html, re.DOTALL)[1]
    assert set(re.findall(r"(?<![-\w])color:([^;}]+)", rules)) <= {"inherit", "CanvasText"}


# Gradient norms


def test_of_the_gradients_the_last_activation_and_a_middle_depth_are_shown_first_with_all_gains():
    chart = soup(interactive.gradients(norms())).select_one(".chart")
    lines = [path for path in chart.select("path[data-when]") if shown(path)]
    assert len(lines) == 4
    assert {path["data-when"] for path in lines} == {"d2"}
    assert next(text.get_text() for text in chart.select("text") if shown(text)) == "10⁰"


def test_the_ratio_of_the_first_hidden_layer_to_the_last_is_written_with_its_range():
    figure = interactive.gradients(norms())
    ratios = table(figure)
    assert ratios["ReLU, 5 layers"] == ["36 [8.0, 64]"] * 4  # 3 steps by 2, and by 4 in seed 1
    assert ratios["sigmoid, 10 layers"][0].endswith("[1.5·10⁻⁵, 0.0039]")  # 8 steps by 1/4, and by 1/2
    assert said(figure).startswith(
        "Gradient norm at layer 1 over that at the last hidden layer, median [range] of 2 seeds: ReLU, 20 layers "
        "nn.Linear's: "
    )


def test_a_curve_of_constant_factor_is_a_straight_line_on_the_log_axis():
    one = norms().query("seed == 0 and activation == 'ReLU' and depth == 30 and gain == '2'")
    path = soup(interactive.gradients(one)).select_one("path[data-when=d0]")["d"]
    steps = [int(step) for step in re.findall(r"l1 ?(-?\d+)", path)]
    assert len(steps) == 28
    assert max(steps) - min(steps) <= 1  # rounding
    assert min(steps) > 0  # downwards: the factor makes the gradient smaller towards the output


# Learning curves


def test_of_the_learning_curves_the_training_error_of_all_networks_is_shown_first():
    figure = interactive.degradation(history())
    groups = [path for path in soup(figure).select(".chart path[data-when]") if shown(path)]
    assert {path["data-when"] for path in groups if "band" not in path.get("class", [])} == {"e0 s"}
    assert len(groups) == 12  # six medians and their ranges
    assert "training, median [range] of 3 seeds plain-8: 12.1 [11.1, 13.1] plain-20" in said(figure)


def test_the_table_has_the_last_errors_of_every_network_and_seed():
    errors = table(interactive.degradation(history()))
    assert list(errors) == ["plain-8", "plain-20", "plain-56", "ResNet-8", "ResNet-20", "ResNet-56"]
    assert errors["ResNet-56"] == ["2.1 [1.1, 3.1]", "1.1", "2.1", "3.1", "2.0 [1.0, 3.0]", "1.0", "2.0", "3.0"]


def test_lines_have_the_colours_and_the_dashes_of_the_book():
    lines = soup(interactive.degradation(history())).select(".chart g[style]")
    found = {(line["style"], line.get("stroke-dasharray")) for line in lines}
    assert {style for style, _ in found} == {"--c:#D55E00", "--c:#0072B2"}
    assert {dashes for _, dashes in found} == {"2 3", None, "8 4"}


@pytest.mark.parametrize(("seeds", "epochs"), [(1, 9), (3, 1), (1, 30)])
def test_one_seed_or_one_epoch_is_drawn_too(seeds, epochs):
    figure = interactive.degradation(history(seeds, epochs))
    assert "seed 0" in said(figure) or "3 seeds" in said(figure)
    assert not re.search(r"nan|\bl[z\"]", soup(figure).select_one(".chart").decode())


# One block less


def test_the_network_is_drawn_with_a_choice_for_each_block_in_three_stages():
    page = soup(interactive.lesions({"live": lesion()}))
    net = next(net for net in page.select("form > fieldset:not(.controls)") if shown(net))
    assert [len(stage.select("input")) for stage in net.select(".stage")] == [9, 9, 9]
    assert [box.get_text() for box in net.select(".blocks label")] == [str(i) for i in range(1, 28)]


def test_a_plain_block_that_changes_the_shape_cannot_be_chosen():
    page = soup(interactive.lesions({"live": lesion()}))
    assert [box["value"] for box in page.select(".blocks input[disabled]")] == ["m0-4", "m0-7"]


def test_the_error_without_a_block_is_said_beside_that_of_the_whole_network():
    figure = interactive.lesions({"live": lesion(), "kept": lesion(1)})
    assert said(figure) == (
        "Test error (%) by the block left out: live, median [range] of 3 seeds "
        "resnet56, block 1: 61.0 [60.0, 62.0] resnet56, none: 3.5 [2.5, 4.5]"
    )
    assert table(figure)["resnet56, block 3"] == ["21.0 [20.0, 22.0]", "20.0"]
    assert table(figure)["plain20, block 9"] == ["90.0 [90.0, 90.0]", "90.0"]


def test_a_bar_is_as_high_as_the_error():
    page = soup(interactive.lesions({"kept": lesion(1)}))
    bars = page.select_one("fieldset[data-when=m2] .bars")["d"]
    tops = [int(top) for top in re.findall(r"V(\d+)", bars)]
    assert tops[:3] == [round(drawings.HEIGHT * share) for share in (0.4, 0.7, 0.8)]


# The calculator


def test_a_bottleneck_at_256_channels_has_69632_weights_and_the_basic_block_1179648():
    page = soup(interactive.bottleneck())
    assert [cell.get_text() for cell in page.select(".sum")] == ["1,179,648", "69,632"]
    weights = [row.select("td")[2].get_text() for row in page.select("[data-layer]")]
    assert weights == ["589,824", "589,824", "16,384", "36,864", "16,384"]
    assert "16.94 times" in said(interactive.bottleneck())
    assert "3.699 and 0.218 billion" in said(interactive.bottleneck())


def test_channels_and_weights_are_drawn_to_scale():
    rows = soup(interactive.bottleneck()).select("[data-layer]")
    widths = [float(row.rect["width"].rstrip("%")) for row in rows]
    assert widths == pytest.approx([100, 100, 100 / 36, 100 / 16, 100 / 36], rel=1e-4)
    ends = [[float(n) for n in row.polygon["points"].split()[::2]] for row in rows]
    assert [(right - left, low_right - low_left) for left, right, low_right, low_left in ends] == [
        (100, 100), (100, 100), (100, 25), (25, 25), (25, 100)
    ]  # fmt: skip


# Errors


def test_a_table_without_a_column_is_refused_with_the_name_of_the_column():
    with pytest.raises(ValueError, match="no column gain; its columns are activation, depth"):
        interactive.gradients(norms().drop(columns="gain"))
    with pytest.raises(ValueError, match="no column whole_error"):
        interactive.lesions({"live": lesion().drop(columns="whole_error")})


def test_two_learning_rates_in_one_table_are_refused():
    with pytest.raises(ValueError, match=r"several rows for kind plain, depth 8, seed 0, epoch 1; .*learning rate"):
        interactive.degradation(pd.concat([history(), history()]))
