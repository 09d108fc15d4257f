"""One function for each kind of figure: data in, matplotlib Axes out. Plain and residual have the same colours in
the whole book (Okabe and Ito's palette, which colour-blind readers can tell apart)."""

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter
from matplotlib_inline.backend_inline import set_matplotlib_formats
from torch import Tensor

COLOURS = {"residual": "#0072B2", "plain": "#D55E00"}
DASHES = {20: "", 56: (4, 2), 8: (1, 1.5), 32: (6, 2, 1, 2), 44: (3, 1, 1, 1), 110: (8, 2)}  # by depth, in every figure
_LABELS = {
    "train_loss": "training loss (nats)",
    "train_error": "training error (%)",
    "test_loss": "test loss (nats)",
    "test_error": "test error (%)",
    "weight": r"gradient norm  $\|\partial L / \partial w\|$",
    "output": r"gradient norm  $\|\partial L / \partial x\|$",
    "size": "size of the output (root mean square)",
}
OTHER_COLOURS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def set_style() -> None:
    """The book's look: sharp vector figures, a quiet grid, text of the size of the page."""
    set_matplotlib_formats("svg")
    sns.set_theme(
        style="whitegrid",
        palette=OTHER_COLOURS,
        rc={
            "figure.figsize": (7, 3.6),
            "figure.constrained_layout.use": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "grid.color": "#e3e6ea",
            "legend.frameon": False,
            "svg.hashsalt": "residual networks, measured",
        },
    )


def learning_curves(history: pd.DataFrame, y: str = "train_error", *, ax: Axes | None = None) -> Axes:
    """Median over the seeds against the epoch, with the range as a band: one line for each kind and depth.

    Args:
        history: the table of `experiments.run`.
        y: the column to draw.
    """
    ax = ax or plt.gca()
    kinds = [kind for kind in COLOURS if kind in set(history["kind"])]
    others = sorted(set(history["depth"]) - set(DASHES))
    spare = [dashes for depth, dashes in DASHES.items() if depth not in set(history["depth"])]
    dashes = DASHES | dict(zip(others, spare, strict=False))
    sns.lineplot(
        history,
        x="epoch",
        y=y,
        hue="kind",
        hue_order=kinds,
        palette=COLOURS,
        style="depth",
        dashes=dashes,
        estimator="median",
        errorbar=("pi", 100),
        ax=ax,
    )
    ax.set(xlabel="epoch", ylabel=_LABELS[y])
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.yaxis.label.set_visible(True)  # seaborn hides it on the second of two shared axes
    if y.endswith("error"):
        ax.set_ylim(bottom=0)
    sns.move_legend(ax, "upper left", bbox_to_anchor=(1, 1))  # beside the curves, not on them
    return ax


def error_by_depth(final: pd.DataFrame, y: str = "test_error", *, ax: Axes | None = None) -> Axes:
    """The last epoch's error against depth: one point a seed, a line through the medians, plain and residual.

    Args:
        final: the table of `experiments.last_epochs`.
        y: the column to draw.
    """
    ax = ax or plt.gca()
    for kind in [kind for kind in COLOURS if kind in set(final["kind"])]:
        part, colour = final[final["kind"] == kind], COLOURS[kind]
        medians = part.groupby("depth")[y].median()
        ax.plot(medians.index, medians, color=colour, label=kind)
        ax.scatter(part["depth"], part[y], color=colour, s=22, alpha=0.7, linewidths=0)
    depths = sorted(final["depth"].unique())
    ax.set(
        xlabel="depth (layers)",
        ylabel=_LABELS[y],
        xticks=depths,
        ylim=(0, None),
    )
    ax.legend()
    return ax


def gradient_profile(
    norms: pd.DataFrame,
    y: str = "weight",
    *,
    hue: str = "kind",
    palette: dict[str, str] | Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Gradient norm against the layer on a log axis: median over the seeds, with the range as a band.

    Args:
        norms: rows of `probes.gradient_norms`, with a column `hue` that tells the nets apart and one row a seed.
        y: "weight" (d loss / d weight), "output" (d loss / d output) or "size" (of the output itself).
        hue: the column that gives a line its colour.
        palette: colours by its values; None takes the book's.
    """
    ax = ax or plt.gca()
    if palette is None:
        known = set(norms[hue]) <= set(COLOURS)
        palette = COLOURS if known else OTHER_COLOURS[: norms[hue].nunique()]
    sns.lineplot(
        norms,
        x="index",
        y=y,
        hue=hue,
        palette=palette,
        estimator="median",
        errorbar=("pi", 100),
        ax=ax,
    )
    ax.set(yscale="log", xlabel="layer, from the input", ylabel=_LABELS[y])
    ax.legend(title=None)
    return ax


def image_grid(images: Tensor, titles: Sequence[str], *, columns: int = 8, size: float = 1.1) -> np.ndarray:
    """Images (N, C, H, W) uint8 in rows of `columns`, each with its title; returns the grid of Axes."""
    rows = math.ceil(len(images) / columns)
    _, axes = plt.subplots(rows, columns, figsize=(columns * size, rows * (size + 0.25)), squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for ax, image, title in zip(axes.flat, images, titles, strict=False):
        ax.imshow(image.permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        ax.set_title(title, fontsize=8)
    return axes


def confusion(labels: Tensor, predicted: Tensor, classes: Sequence[str], *, ax: Axes | None = None) -> Axes:
    """How often each class (row) was taken for each class (column), in % of the row."""
    ax = ax or plt.gca()
    table = pd.crosstab(
        pd.Categorical(labels.tolist(), categories=range(len(classes))),
        pd.Categorical(predicted.tolist(), categories=range(len(classes))),
        normalize="index",
        dropna=False,
    )
    sns.heatmap(
        100 * table.to_numpy(),
        annot=True,
        fmt=".0f",
        cmap="Blues",
        cbar=False,
        square=True,
        xticklabels=classes,
        yticklabels=classes,
        annot_kws={"size": 8},
        ax=ax,
    )
    ax.set(xlabel="predicted", ylabel="true")
    return ax


def reliability(confidence: Tensor, correct: Tensor, *, bins: int = 10, ax: Axes | None = None) -> Axes:
    """Accuracy against confidence in equal bins (Guo et al. 2017, arXiv:1706.04599); dots are as large as their bin.

    Args:
        confidence: (N,) the largest softmax probability of each image.
        correct: (N,) bool, whether the prediction was right.
        bins: number of equal intervals of confidence.
    """
    ax = ax or plt.gca()
    table = pd.DataFrame({"confidence": confidence.numpy(), "accuracy": correct.float().numpy()})
    grouped = table.groupby(pd.cut(table["confidence"], np.linspace(0, 1, bins + 1)), observed=True)
    means, counts = grouped.mean(), grouped.size()
    ax.plot([0, 1], [0, 1], color="#8a929b", linestyle="--", label="perfectly calibrated")
    ax.plot(means["confidence"], means["accuracy"], color=COLOURS["residual"])
    ax.scatter(means["confidence"], means["accuracy"], s=15 + 300 * counts / counts.sum(), color=COLOURS["residual"])
    ax.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.03), ylim=(0, 1.03))
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.legend()
    return ax
