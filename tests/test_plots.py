"""resnet_utils.plots: every figure shows the data it was given, under the right names, and changes none of it."""

import matplotlib as mpl

mpl.use("Agg")  # before pyplot: no window

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from resnet_utils import plots

pytestmark = pytest.mark.filterwarnings("error")

BLUE, ORANGE = "#0072b2", "#d55e00"  # residual, plain


@pytest.fixture(autouse=True)
def no_figure_before_or_after():
    plt.close("all")
    yield
    plt.close("all")


@pytest.fixture
def axes():
    return plt.subplots()[1]


@pytest.fixture
def history():
    """Two kinds at two depths, three seeds, two epochs: the median over the seeds is not the mean."""
    rows = [
        {"kind": kind, "depth": depth, "seed": seed, "epoch": epoch, **values(kind, depth, seed, epoch)}
        for kind in ("plain", "residual")
        for depth in (8, 20)
        for seed in (0, 1, 2)
        for epoch in (1, 2)
    ]
    return pd.DataFrame(rows)


def values(kind, depth, seed, epoch):
    error = {"plain": 40, "residual": 10}[kind] + depth / epoch + (0, 1, 9)[seed]
    return {"train_error": error, "test_error": error + 2, "train_loss": error / 10, "test_loss": error / 9}


def colours(lines):
    return {to_hex(line.get_color()) for line in lines if len(line.get_xdata())}


def drawn(ax, colour):
    """The points of all lines of a colour, each line as a list of (x, y)."""
    return [
        list(zip(line.get_xdata(), line.get_ydata(), strict=True))
        for line in ax.get_lines()
        if len(line.get_xdata()) and to_hex(line.get_color()) == colour
    ]


def ranges(ax):
    """The lowest and the highest point of each band."""
    bands = [band.get_paths()[0].vertices[:, 1] for band in ax.collections]
    return sorted((band.min(), band.max()) for band in bands)


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_plain_is_orange_and_residual_blue_and_no_other_colour_is_like_them():
    assert {kind: colour.lower() for kind, colour in plots.COLOURS.items()} == {"residual": BLUE, "plain": ORANGE}
    every = [*plots.COLOURS.values(), *plots.OTHER_COLOURS]
    assert len({colour.lower() for colour in every}) == len(every)


# Learning curves


@pytest.mark.parametrize(
    ("y", "label"),
    [
        ("train_error", "training error (%)"),
        ("test_error", "test error (%)"),
        ("train_loss", "training loss (nats)"),
        ("test_loss", "test loss (nats)"),
    ],
)
def test_learning_curves_are_the_medians_over_the_seeds_with_the_range_as_a_band(history, axes, y, label):
    before = history.copy()
    assert plots.learning_curves(history, y, ax=axes) is axes
    pd.testing.assert_frame_equal(history, before)
    for kind, colour in (("plain", ORANGE), ("residual", BLUE)):
        expected = [[(e, pytest.approx(values(kind, depth, 1, e)[y])) for e in (1, 2)] for depth in (8, 20)]
        assert drawn(axes, colour) == expected
    bands = [
        (values(kind, depth, 0, 2)[y], values(kind, depth, 2, 1)[y]) for kind in plots.COLOURS for depth in (8, 20)
    ]
    np.testing.assert_allclose(ranges(axes), sorted(bands))
    assert axes.get_xlabel() == "epoch"
    assert axes.get_ylabel() == label
    assert legend(axes) == ["kind", "residual", "plain", "depth", "8", "20"]
    if "error" in y:
        assert axes.get_ylim()[0] == 0


def test_learning_curves_have_ticks_at_whole_epochs(history, axes):
    plots.learning_curves(history, ax=axes)
    axes.figure.canvas.draw()
    assert all(tick == round(tick) for tick in axes.get_xticks())


def test_learning_curves_tell_depths_apart_by_their_dashes(history, axes):
    plots.learning_curves(history, ax=axes)
    dashes = [line.get_linestyle() for line in axes.get_lines() if to_hex(line.get_color()) == BLUE]
    assert dashes[0] != "-"
    assert dashes[1] == "-"


def test_a_depth_has_the_same_dashes_whichever_others_are_drawn(history):
    kept = {}
    for depths in ((8, 20), (20, 56), (20, 32, 44, 56, 110), (8, 14, 18, 20)):
        figure, ax = plt.subplots()
        some = pd.concat(history[history["depth"] == 20].assign(depth=depth) for depth in depths)
        plots.learning_curves(some[some["kind"] == "plain"], ax=ax)
        found = [line._unscaled_dash_pattern for line in ax.get_lines()[: len(depths)]]
        assert len({str(pattern) for pattern in found}) == len(depths)
        for depth, pattern in zip(depths, found, strict=True):
            assert kept.setdefault(depth, pattern) == pattern
        plt.close(figure)


def test_learning_curves_of_one_kind_name_only_that_kind(history, axes):
    plots.learning_curves(history[history["kind"] == "residual"], ax=axes)
    assert legend(axes) == ["kind", "residual", "depth", "8", "20"]
    assert drawn(axes, ORANGE) == []


def test_learning_curves_show_five_depths(axes):
    frame = pd.DataFrame(
        [{"kind": "plain", "depth": d, "epoch": e, "train_error": d / e} for d in (20, 32, 44, 56, 110) for e in (1, 2)]
    )
    plots.learning_curves(frame, ax=axes)
    assert drawn(axes, ORANGE) == [[(1, d), (2, d / 2)] for d in (20, 32, 44, 56, 110)]


# Error against depth


def test_error_by_depth_shows_every_seed_and_a_line_through_the_medians(history, axes):
    final = history[history["epoch"] == 2]
    before = final.copy()
    assert plots.error_by_depth(final, ax=axes) is axes
    pd.testing.assert_frame_equal(final, before)
    assert drawn(axes, BLUE) == [[(8, 17.0), (20, 23.0)]]  # 10 + depth / 2 + 1 + 2
    assert drawn(axes, ORANGE) == [[(8, 47.0), (20, 53.0)]]
    points = {to_hex(dots.get_facecolor()[0]): dots.get_offsets().tolist() for dots in axes.collections}
    assert sorted(points[BLUE]) == [[8, 16.0], [8, 17.0], [8, 25.0], [20, 22.0], [20, 23.0], [20, 31.0]]
    assert sorted(points[ORANGE]) == [[8, 46.0], [8, 47.0], [8, 55.0], [20, 52.0], [20, 53.0], [20, 61.0]]
    assert axes.get_xlabel() == "depth (layers)"
    assert axes.get_ylabel() == "test error (%)"
    assert axes.get_xticks().tolist() == [8, 20]
    assert axes.get_ylim()[0] == 0
    assert legend(axes) == ["residual", "plain"]


def test_error_by_depth_draws_the_column_asked_for_and_only_the_kinds_that_are_there(history, axes):
    final = history[(history["epoch"] == 2) & (history["kind"] == "plain")]
    plots.error_by_depth(final, "train_error", ax=axes)
    assert drawn(axes, ORANGE) == [[(8, 45.0), (20, 51.0)]]
    assert drawn(axes, BLUE) == []
    assert axes.get_ylabel() == "training error (%)"
    assert legend(axes) == ["plain"]


# Gradient norms


@pytest.fixture
def norms():
    rows = [
        {"kind": kind, "index": index, "seed": seed, "weight": norm, "output": 2 * norm, "size": 3 * norm}
        for kind, base in (("plain", 1e-6), ("residual", 1.0))
        for index in (1, 2, 3)
        for seed, norm in enumerate((base * index, 2 * base * index, 50 * base * index))
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("y", "factor", "label"), [("weight", 1, "gradient"), ("output", 2, "gradient"), ("size", 3, "size")]
)
def test_a_gradient_profile_shows_medians_on_a_log_axis_with_the_range_as_a_band(norms, axes, y, factor, label):
    before = norms.copy()
    assert plots.gradient_profile(norms, y, ax=axes) is axes
    pd.testing.assert_frame_equal(norms, before)
    assert axes.get_yscale() == "log"
    assert drawn(axes, ORANGE) == [[(i, pytest.approx(2e-6 * i * factor)) for i in (1, 2, 3)]]
    assert drawn(axes, BLUE) == [[(i, pytest.approx(2.0 * i * factor)) for i in (1, 2, 3)]]
    np.testing.assert_allclose(ranges(axes), [(1e-6 * factor, 150e-6 * factor), (1.0 * factor, 150.0 * factor)])
    assert axes.get_xlabel() == "layer, from the input"
    assert axes.get_ylabel().startswith(label)
    assert sorted(legend(axes)) == ["plain", "residual"]


def test_a_gradient_profile_of_other_nets_takes_the_books_other_colours_or_those_given(norms):
    norms = norms.rename(columns={"kind": "net"}).replace({"plain": "sigmoid", "residual": "tanh"})
    first, second = plt.subplots(1, 2)[1]
    plots.gradient_profile(norms, hue="net", ax=first)
    assert colours(first.get_lines()) == {"#009e73", "#cc79a7"}
    assert legend(first) == ["sigmoid", "tanh"]
    plots.gradient_profile(norms, hue="net", palette={"sigmoid": "#111111", "tanh": "#222222"}, ax=second)
    assert colours(second.get_lines()) == {"#111111", "#222222"}


# Images


def test_an_image_grid_shows_every_image_with_its_title_and_leaves_the_rest_empty():
    images = torch.arange(5 * 3 * 4 * 4, dtype=torch.uint8).view(5, 3, 4, 4)
    before = images.clone()
    grid = plots.image_grid(images, ["a", "b", "c", "d", "e"], columns=3)
    assert torch.equal(images, before)
    assert grid.shape == (2, 3)
    assert [ax.get_title() for ax in grid.flat] == ["a", "b", "c", "d", "e", ""]
    for i, ax in enumerate(grid.flat):
        assert not ax.axison
        assert len(ax.get_images()) == (i < 5)
        if i < 5:
            shown = ax.get_images()[0].get_array()
            assert np.array_equal(shown, images[i].numpy().transpose(1, 2, 0))


def test_an_image_grid_shows_grey_images_from_black_to_white():
    images = torch.tensor([[[[100, 120], [140, 160]]]], dtype=torch.uint8)
    (ax,) = plots.image_grid(images, ["grey"], columns=1).flat
    shown = ax.get_images()[0]
    assert np.array_equal(shown.get_array(), [[100, 120], [140, 160]])
    assert shown.get_clim() == (0, 255)
    assert shown.get_cmap().name == "gray"


# Confusion and calibration


def test_confusion_gives_the_shares_of_each_true_class_in_percent(axes):
    labels, predicted = torch.tensor([0, 0, 0, 0, 1, 1, 2]), torch.tensor([0, 0, 0, 1, 1, 1, 0])
    before = labels.clone(), predicted.clone()
    assert plots.confusion(labels, predicted, ["cat", "dog", "ship"], ax=axes) is axes
    assert torch.equal(labels, before[0])
    assert torch.equal(predicted, before[1])
    cells = np.array(axes.collections[0].get_array()).reshape(3, 3)
    np.testing.assert_allclose(cells, [[75, 25, 0], [0, 100, 0], [100, 0, 0]])
    assert [text.get_text() for text in axes.texts] == ["75", "25", "0", "0", "100", "0", "100", "0", "0"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["cat", "dog", "ship"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["cat", "dog", "ship"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")


def test_confusion_draws_classes_that_do_not_occur(axes):
    plots.confusion(torch.tensor([0, 0]), torch.tensor([0, 2]), ["cat", "dog", "ship"], ax=axes)
    cells = np.ma.filled(axes.collections[0].get_array(), -1).reshape(3, 3)
    np.testing.assert_allclose(cells[0], [50, 0, 50])
    assert cells.shape == (3, 3)


def test_reliability_shows_accuracy_against_confidence_in_each_bin(axes):
    confidence = torch.tensor([0.55, 0.57, 0.58, 0.92, 0.94, 0.96, 0.98])
    correct = torch.tensor([True, False, False, True, True, True, False])
    before = confidence.clone(), correct.clone()
    assert plots.reliability(confidence, correct, ax=axes) is axes
    assert torch.equal(confidence, before[0])
    assert torch.equal(correct, before[1])
    assert drawn(axes, BLUE) == [[(pytest.approx(1.7 / 3), pytest.approx(1 / 3)), (pytest.approx(0.95), 0.75)]]
    (dots,) = axes.collections
    np.testing.assert_allclose(dots.get_offsets(), [[1.7 / 3, 1 / 3], [0.95, 0.75]], atol=1e-6)
    np.testing.assert_allclose(dots.get_sizes(), [15 + 300 * 3 / 7, 15 + 300 * 4 / 7])
    diagonal = next(line for line in axes.get_lines() if line.get_linestyle() == "--")
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("confidence", "accuracy")
    assert legend(axes) == ["perfectly calibrated"]
    assert axes.xaxis.get_major_formatter()(0.5) == "50%"
    assert axes.yaxis.get_major_formatter()(0.5) == "50%"


def test_reliability_bins_are_as_many_as_asked_for(axes):
    confidence = torch.tensor([0.1, 0.3, 0.6, 0.9])
    plots.reliability(confidence, torch.tensor([False, True, True, True]), bins=2, ax=axes)
    assert drawn(axes, BLUE) == [[(pytest.approx(0.2), 0.5), (pytest.approx(0.75), 1.0)]]


# All of them


def draw_all(history, norms):
    final = history[history["epoch"] == 2]
    yield plots.learning_curves, (history,)
    yield plots.error_by_depth, (final,)
    yield plots.gradient_profile, (norms,)
    yield plots.confusion, (torch.tensor([0, 1]), torch.tensor([0, 1]), ["cat", "dog"])
    yield plots.reliability, (torch.tensor([0.5, 0.9]), torch.tensor([True, True]))


def test_without_axes_a_figure_is_drawn_on_the_current_ones_and_none_is_opened_besides(history, norms):
    for function, arguments in draw_all(history, norms):
        ax = plt.subplots()[1]
        assert function(*arguments) is ax
        assert len(plt.get_fignums()) == 1
        ax.figure.canvas.draw()
        plt.close("all")


def test_with_axes_no_other_figure_is_opened(history, norms):
    for function, arguments in draw_all(history, norms):
        ax = Figure().subplots()  # of no pyplot figure
        assert function(*arguments, ax=ax) is ax
        assert plt.get_fignums() == []


def test_set_style_gives_vector_figures_with_the_books_look(axes):
    with mpl.rc_context():
        try:
            plots.set_style()
            shell = InteractiveShell.instance()
            data, _ = shell.display_formatter.format(axes.figure)
            assert "<svg" in data["image/svg+xml"]
            assert "image/png" not in data
            assert mpl.rcParams["figure.constrained_layout.use"]
            assert not mpl.rcParams["axes.spines.top"]
            assert mpl.rcParams["svg.hashsalt"]  # the same figure gives the same file
            cycle = [to_rgb(colour) for colour in mpl.rcParams["axes.prop_cycle"].by_key()["color"]]
            assert cycle == [to_rgb(colour) for colour in plots.OTHER_COLOURS]
        finally:
            InteractiveShell.clear_instance()
