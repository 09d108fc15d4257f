"""Figures that answer to controls: a table in, HTML out, for the site, JupyterLab and Colab alike.

Python draws every state of a figure and marks each part with the choices that it belongs to, `data-when="a0 d2"`. The
script, one for all figures, shows the parts whose choices are made, and reads their numbers from a table
(interactive.js); only the calculator computes there. Without a script the first choices are seen, and the table. No
element has an id, so a figure may stand twice on a page; nothing is random, so the same data give the same HTML.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from html import escape
from itertools import product
from math import ceil, floor, log10
from pathlib import Path

import pandas as pd
from IPython.display import HTML

from resnet_utils import drawings
from resnet_utils.counting import basic_weights, bottleneck_weights
from resnet_utils.plots import COLOURS, OTHER_COLOURS
from resnet_utils.wording import power_of_ten, rounded


def gradients(norms: pd.DataFrame) -> HTML:
    """Gradient norm of the layers' outputs on a log axis, by activation, depth and gain.

    Args:
        norms: rows of `probes.gradient_norms` with the columns activation, depth (layers), gain (a name) and seed.

    Raises:
        ValueError: if a column is missing, or a layer of a network has two rows.
    """
    _check(norms, ["activation", "depth", "gain", "seed", "index"], ["output"])
    norms = norms[norms["index"] < norms["depth"]]  # the last layer has another width than the others
    activations, depths, gains = (_codes(norms, key) for key in ("activation", "depth", "gain"))
    colours, longest = dict(zip(gains, OTHER_COLOURS, strict=False)), norms["index"].max()
    curves, rows = "", {}
    for a, activation in activations.items():
        nets = norms[norms["activation"] == activation].assign(power=lambda table: table["output"].map(log10))
        low, high = floor(nets["power"].min()), ceil(nets["power"].max())
        powers = range(high, low - 1, -ceil((high - low) / 6))
        levels = {power_of_ten(power): (high - power) / (high - low) for power in powers}
        lines = ""
        for g, gain in gains.items():
            paths = ""
            for d, depth in depths.items():
                runs = nets[(nets["depth"] == depth) & (nets["gain"] == gain)]
                runs = runs.pivot(index="index", columns="seed", values="power")
                paths += drawings.path((high - runs.median(axis=1)) / (high - low), d)
                spread = _spread(10 ** (runs.iloc[0] - runs.iloc[-1]), partial(rounded, digits=2, formula=False))
                rows.setdefault(f"{a} {d}", [f"{activation}, {depth} layers"]).append(spread)
            lines += drawings.part("g", paths, g, f' style="--c:{colours[g]}"')
        curves += drawings.part("g", drawings.field(levels, longest - 1, lines), a)
    form = (
        _choice("Activation", activations, list(activations)[-1])
        + _choice("Layers", depths, list(depths)[len(depths) // 2])
        + _choice("Gain", {g: drawings.key(colours[g]) + escape(gain) for g, gain in gains.items()})
    )
    layers = {layer: (layer - 1) / (longest - 1) for layer in (1, *range(5, longest + 1, 5))}
    form += drawings.chart(
        "Gradient norm against the layer, a line for each gain.", "gradient norm", "layer", layers, curves
    )
    what = f"Gradient norm at layer 1 over that at the last hidden layer, {_note(norms)}"
    return _figure("Gradient norms by activation, depth and gain", form, _numbers(form, what, gains, rows, "column"))


def degradation(history: pd.DataFrame) -> HTML:
    """Learning curves of plain and residual networks, by depth and seed.

    Args:
        history: the table of `experiments.run`, of one learning rate.

    Raises:
        ValueError: if a column is missing, or an epoch of a network has two rows.
    """
    _check(history, ["kind", "depth", "seed", "epoch"], ["train_error", "test_error"])
    kinds, depths, seeds = (_codes(history, key) for key in ("kind", "depth", "seed"))
    errors, last = {"e0": "training", "e1": "test"}, history["epoch"].max()
    curves, columns, rows = "", {}, {}
    for (k, kind), (d, depth) in product(kinds.items(), depths.items()):
        runs = history[(history["kind"] == kind) & (history["depth"] == depth)]
        cells = rows.setdefault(f"{k} {d}", [f"{kind.replace('residual', 'ResNet')}-{depth}"])
        paths = ""
        for e, error in errors.items():
            percent = runs.pivot(index="epoch", columns="seed", values=f"{error.removesuffix('ing')}_error")
            if len(seeds) > 1:
                paths += drawings.band(1 - percent / 100, f"{e} s")
            for s, seed in {"s": None, **seeds}.items():
                some = percent if seed is None else percent[[seed]]
                paths += drawings.path(1 - some.median(axis=1) / 100, f"{e} {s}")
                cells.append(_spread(some.loc[last]))
                columns[f"{e} {s}"] = f"{error}, {_note(history) if seed is None else f'seed {seed}'}"
        curves += drawings.part("g", paths, f"{k} {d}", f' style="--c:{COLOURS[kind]}"{drawings.dashes(depth)}')
    form = (
        _choice("Error", errors, "e0")
        + _choice("Kind", {k: drawings.key(COLOURS[kind]) + kind for k, kind in kinds.items()})
        + _choice(
            "Layers", {d: drawings.key(attributes=drawings.dashes(depth)) + str(depth) for d, depth in depths.items()}
        )
        + _choice("Seed", {"s": "all", **seeds}, "s")
    )
    steps = max(last - 1, 1)
    epochs = {epoch: (epoch - 1) / steps for epoch in range(1, last + 1) if last < 13 or epoch % 5 == 0}
    curves = drawings.field({percent: 1 - percent / 100 for percent in (0, 25, 50, 75, 100)}, steps, curves)
    form += drawings.chart("Error by epoch, a line for each network.", "error (%)", "epoch", epochs, curves)
    what = f"Error (%) after epoch {last}"
    return _figure(
        "Learning curves of networks by kind, depth and seed", form, _numbers(form, what, columns, rows, "row")
    )


def lesions(tables: Mapping[str, pd.DataFrame]) -> HTML:
    """The test error of trained networks without one of their blocks, to be chosen in a drawing of the network.

    Args:
        tables: by the name of a run, the table of `measurements.lesion`, of the same networks in the CIFAR layout.

    Raises:
        ValueError: if a column is missing, or a block of a network has two rows.
    """
    for table in tables.values():
        _check(table, ["model", "kind", "depth", "seed", "block"], ["test_error", "whole_error"])
    runs = {f"r{i}": f"{run}, {_note(table)}" for i, (run, table) in enumerate(tables.items())}
    models = _codes(next(iter(tables.values())), "model")
    networks, rows = "", {}
    for m, model in models.items():
        parts = [table[table["model"] == model] for table in tables.values()]
        kind, depth = parts[0]["kind"].iloc[0], parts[0]["depth"].iloc[0]
        blocks = [f"layer{stage}.{i}" for stage in (1, 2, 3) for i in range((depth - 2) // 6)]
        errors = [part.pivot(index="block", columns="seed", values="test_error").reindex(blocks) for part in parts]
        wholes = [part.groupby("seed")["whole_error"].first() for part in parts]
        for number, block in enumerate(blocks, start=1):
            if errors[0].loc[block].notna().all():
                cells = [_spread(error.loc[block]) for error in errors]
                rows[f"{m} {m}-{number}"] = [f"{model}, block {number}", *cells]
        rows[m] = [f"{model}, none", *(_spread(whole) for whole in wholes)]
        size, stages = len(blocks) // 3, ""
        for start in (0, size, 2 * size):
            stages += drawings.stage(m, start, [error.iloc[start : start + size] for error in errors], wholes)
        row = f'<legend>Block left out</legend><div class="stages {kind}" style="--c:{COLOURS[kind]}">{stages}</div>'
        networks += drawings.part("fieldset", row, m, " disabled")
    form = _choice("Run", {r: escape(run) for r, run in runs.items()}, "r0")
    form += _choice("Network", models, list(models)[-1]) + networks
    return _figure(
        "Test error of a network without one of its blocks",
        form,
        _numbers(form, "Test error (%) by the block left out", runs, rows, "row"),
    )


def bottleneck() -> HTML:
    """A calculator of the convolution weights and the multiply-adds of a basic block and of a bottleneck."""
    sums = basic_weights(256), bottleneck_weights(256)
    blocks = {"basic block": ["k C C", "k C C"], "bottleneck": ["1 C M", "k M M", "1 M C"]}
    bodies = ""
    for (name, layers), total, colour in zip(blocks.items(), sums, OTHER_COLOURS, strict=False):
        head = f'<tr><th colspan="2">{name}</th><td class="sum">{total:,}</td></tr>'
        bodies += f'<tbody style="--c:{colour}">{head}{"".join(map(drawings.layer, layers))}</tbody>'
    head = "<thead><tr><th>layer</th><th>channels</th><th>weights</th></tr></thead>"
    sentence = (
        "At {channels} channels the basic block has {ratio} times the weights of a bottleneck with squeeze {squeeze}: "
        "{basic} and {bottleneck}. For one image, on a map of {side} x {side}, they need {basic_work} and "
        "{bottleneck_work} billion multiply-adds."
    )
    values = {"channels": 256, "squeeze": 4, "side": 56, "ratio": f"{sums[0] / sums[1]:.2f}"}
    for name, total in zip(("basic", "bottleneck"), sums, strict=True):
        values |= {name: f"{total:,}", f"{name}_work": f"{total * 56**2 / 1e9:.3f}"}
    number = '<input type="number" name="channels" value="256" step="16" min="16" max="4096">'
    form = (
        f"<label>Channels C {number}</label>"
        + _select("Squeeze r", "squeeze", (1, 2, 4, 8, 16, 32), 4)
        + _select("Kernel k", "kernel", (1, 3, 5, 7), 3)
        + _select("Side of the map", "side", (7, 14, 28, 56, 112, 224), 56)
    )
    table = f'<table class="dataframe layers">{head}{bodies}</table>'
    says = f'<div class="says" aria-live="polite" data-sentence="{sentence}">{sentence.format(**values)}</div>'
    return _figure(
        "Calculator of the weights of a basic block and a bottleneck", _controls(form) + table, says, "calculator.js"
    )


def _check(table: pd.DataFrame, keys: list[str], values: list[str]) -> None:
    if missing := {*keys, *values} - set(table.columns):
        raise ValueError(f"the table has no column {', '.join(sorted(missing))}; its columns are {', '.join(table)}")
    if len(twice := table[table.duplicated(keys)]):
        row = ", ".join(f"{key} {twice.iloc[0][key]}" for key in keys)
        raise ValueError(
            f"the table has several rows for {row}; pass the rows of one setting, say of one learning rate"
        )


def _codes(table: pd.DataFrame, key: str) -> dict[str, object]:
    """A short code for each value of a column: {"a0": "sigmoid", "a1": "tanh"}."""
    return {f"{key[0]}{i}": value for i, value in enumerate(table[key].unique())}


def _note(table: pd.DataFrame) -> str:
    seeds = table["seed"].unique()
    return f"median [range] of {len(seeds)} seeds" if len(seeds) > 1 else f"seed {seeds[0]}"


def _spread(values: pd.Series, text: Callable[[float], str] = "{:.1f}".format) -> str:
    """The median, and in brackets the range where there are several values."""
    low, middle, high = map(text, values.quantile([0, 0.5, 1]))
    return f"{middle} [{low}, {high}]" if len(values) > 1 else middle


# Pieces of HTML


def _figure(what: str, form: str, rest: str, *scripts: str) -> HTML:
    """All of a figure. In the form, what does not belong to the first choices is hidden."""
    chosen = _chosen(form)
    form = re.sub(r'data-when="([^"]+)"', lambda mark: mark[0] + " hidden" * (not chosen(mark[1])), form)
    style, *scripts = (
        re.sub(r"\n\s+|// .*|/\*.*\*/", "\n", Path(__file__).with_name(name).read_text())
        for name in ("interactive.css", "interactive.js", *scripts)
    )
    style = re.sub("([;:,{]) ", r"\1", style)
    attributes = f'class="rnm-figure" role="group" aria-label="{what}" data-lm-suppress-shortcuts="true"'
    body = f'<div {attributes}><form autocomplete="off">{form}</form>{rest}</div>'
    return HTML(f"<style>{style}</style>{body}<script>{''.join(scripts)}</script>")


def _chosen(form: str) -> Callable[[str], bool]:
    """Whether all these choices are made at first."""
    return lambda when: set(when.split()) <= set(re.findall(r"value=(\S+) checked", form))


def _numbers(form: str, what: str, columns: Mapping[str, str], rows: Mapping[str, list[str]], item: str) -> str:
    """All numbers in a table, and above it those of the first choices, each named by its row or its column."""
    chosen = _chosen(form)
    items, others = "", {}
    for when, (name, *cells) in rows.items():
        for (column, title), cell in zip(columns.items(), cells, strict=True):
            if chosen(f"{when} {column}"):
                label, other = (name, title) if item == "row" else (title, name)
                items += f"<li>{escape(label)}: {cell}</li>"
                others[other] = None
    says = f"<p>{what}: {escape(', '.join(others))}</p><ul>{items}</ul>"
    head = "".join(f'<th data-when="{column}">{escape(title)}' for column, title in columns.items())
    table = f"<thead><tr><th>network{head}<tbody>"  # HTML needs no end tags in a table, and this one is long
    for when, (name, *cells) in rows.items():
        table += f'<tr data-when="{when}"><th>{name}<td>{"<td>".join(cells)}'
    return (
        f'<div class="says" aria-live="polite" data-what="{what}" data-item="{item}">{says}</div>'
        f'<details><summary>All numbers</summary><table class="dataframe">{table}</table></details>'
    )


def _controls(content: str) -> str:
    """Controls are not shown before the script enables them."""
    return f'<fieldset class="controls" disabled>{content}</fieldset>'


def _choice(legend: str, labels: Mapping[str, object], chosen: str | None = None) -> str:
    """One of several, or, without a first choice, any of them; the labels are HTML."""
    kind, inputs = "radio" if chosen else "checkbox", ""
    for code, label in labels.items():
        state = " checked" if chosen in (None, code) else ""
        inputs += f'<label><input type="{kind}" name="{legend}" value={code}{state}>{label}</label>'
    return _controls(f"<legend>{legend}</legend>{inputs}")


def _select(label: str, name: str, options: Iterable[int], chosen: int) -> str:
    listed = "".join(f"<option{' selected' * (option == chosen)}>{option}</option>" for option in options)
    return f'<label>{label} <select name="{name}">{listed}</select></label>'
