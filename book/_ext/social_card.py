"""The picture that a link to a page shows where it is shared: the title of the page beside a measured curve.

The extension `sphinxext.opengraph` draws the card. The curve is drawn here, from the recorded run on CIFAR-10: the
training error of a plain and of a residual network of 56 layers, epoch by epoch.
"""

from importlib.resources import files
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from sphinx.application import Sphinx
from sphinx.config import Config

COLOURS = {"plain": "#D55E00", "residual": "#0072B2"}  # as in resnet_utils/plots.py, which would import PyTorch


def curves(depth: int = 56) -> Figure:
    """A small figure without axes, the name of the network below the end of its curve."""
    with (files("resnet_utils") / "recorded" / "degradation.csv").open() as file:
        history = pd.read_csv(file)
    figure = Figure(figsize=(3.6, 3.6), layout="constrained")
    ax = figure.subplots()
    for kind, colour in COLOURS.items():
        run = history[(history["kind"] == kind) & (history["depth"] == depth)].sort_values("epoch")
        ax.plot(run["epoch"], run["train_error"], color=colour, linewidth=5, solid_capstyle="round")
        end = (run["epoch"].iloc[-1], run["train_error"].iloc[-1])
        style = {"ha": "right", "va": "top", "color": colour, "fontsize": 19}
        ax.annotate(f"{kind}, {depth} layers", end, (0, -10), textcoords="offset points", **style)
    ax.set_ylim(0, None)
    ax.set_axis_off()
    return figure


def plus() -> Figure:
    """The one sign that makes a plain network residual."""
    figure = Figure(figsize=(1, 1))
    figure.text(0.5, 0.5, "+", ha="center", va="center", color=COLOURS["plain"], fontsize=90, fontweight="bold")
    return figure


def draw(app: Sphinx, config: Config) -> None:
    """Draw the pictures beside the pages to be, and tell the extension where they lie."""
    config.ogp_social_cards = {"line_color": COLOURS["residual"]}
    for place, figure in {"image": curves(), "image_mini": plus()}.items():
        path = Path(app.outdir, "_static", f"card-{place}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=100)
        config.ogp_social_cards[place] = str(path)


def setup(app: Sphinx) -> dict:
    app.connect("config-inited", draw)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
