"""Parameters, multiply-adds, memory and receptive field: by formula, and read off a model.

A multiply-add is one multiplication and one addition; many libraries call two operations what is counted as one here
(He et al. 2015 count multiply-adds and call them FLOPs). Biases, batch normalisation, additions and pooling are not
counted as multiply-adds.
"""

import copy
from collections.abc import Iterable

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from resnet_utils.models import ResNet


def conv_weights(kernel: int, in_channels: int, out_channels: int, *, groups: int = 1, bias: bool = False) -> int:
    """Weights of a kernel x kernel convolution: kernel² · in_channels / groups · out_channels, and its biases."""
    if min(kernel, in_channels, out_channels, groups) < 1 or in_channels % groups or out_channels % groups:
        raise ValueError(
            "kernel, channels and groups must be at least 1 and groups must divide both channels, "
            f"got kernel {kernel}, channels {in_channels} and {out_channels}, groups {groups}"
        )
    return kernel * kernel * (in_channels // groups) * out_channels + (out_channels if bias else 0)


def basic_weights(channels: int, *, kernel: int = 3) -> int:
    """Convolution weights of a basic block: two kernel x kernel convolutions at `channels` channels."""
    return 2 * conv_weights(kernel, channels, channels)


def bottleneck_weights(channels: int, *, squeeze: int = 4, kernel: int = 3) -> int:
    """Convolution weights of a bottleneck: 1x1 to channels / squeeze, kernel x kernel, 1x1 back to `channels`."""
    if squeeze < 1 or channels % squeeze:
        raise ValueError(f"squeeze must divide the channels, got {channels} channels and squeeze {squeeze}")
    narrow = channels // squeeze
    return conv_weights(1, channels, narrow) + conv_weights(kernel, narrow, narrow) + conv_weights(1, narrow, channels)


def conv_multiply_adds(
    kernel: int, in_channels: int, out_channels: int, height: int, width: int, *, groups: int = 1
) -> int:
    """Multiply-adds of a convolution for one image whose output is `height` x `width`: every weight at every place."""
    return conv_weights(kernel, in_channels, out_channels, groups=groups) * height * width


def parameters(model: nn.Module) -> int:
    """Trainable numbers of a model."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def parameters_by_kind(model: nn.Module) -> pd.Series:
    """Trainable numbers by the kind of layer that holds them: convolution, batch normalisation, linear, bias."""
    counts = dict.fromkeys(("convolution", "batch normalisation", "linear", "bias"), 0)
    for module in model.modules():
        for name, p in module.named_parameters(recurse=False):
            if not p.requires_grad:
                continue
            if isinstance(module, nn.BatchNorm2d):
                kind = "batch normalisation"
            elif name == "bias":
                kind = "bias"
            elif isinstance(module, nn.Conv2d):
                kind = "convolution"
            elif isinstance(module, nn.Linear):
                kind = "linear"
            else:
                raise ValueError(
                    f"cannot say which kind of layer {type(module).__name__} is; known: {', '.join(counts)}"
                )
            counts[kind] += p.numel()
    return pd.Series(counts, name="parameters")


def multiply_adds(model: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Multiply-adds of a forward pass over one input, say (3, 224, 224), as PyTorch's own counter sees them."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        _evaluated(model)(torch.zeros(1, *input_shape))
    return counter.get_total_flops() // 2  # it counts the multiplication and the addition


def layer_table(model: nn.Module, input_shape: tuple[int, ...]) -> pd.DataFrame:
    """One row for every convolution and linear layer, in the order they run.

    Columns: layer (its name), kind, kernel, stride, in_channels, out_channels, height and width (of the output),
    weights, multiply_adds (by formula, from the layer's settings and its output's size) and activations (numbers in
    the output), all for one input of `input_shape`, say (3, 224, 224).
    """
    rows: list[dict] = []

    def note(name: str):
        def hook(layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            conv = isinstance(layer, nn.Conv2d)
            kernel, stride = (layer.kernel_size[0], layer.stride[0]) if conv else (1, 1)
            channels = (layer.in_channels, layer.out_channels) if conv else (layer.in_features, layer.out_features)
            height, width = output.shape[2:] if conv else (1, 1)
            groups = layer.groups if conv else 1
            rows.append(
                {
                    "layer": name,
                    "kind": "convolution" if conv else "linear",
                    "kernel": kernel,
                    "stride": stride,
                    "in_channels": channels[0],
                    "out_channels": channels[1],
                    "height": height,
                    "width": width,
                    "weights": conv_weights(kernel, *channels, groups=groups),
                    "multiply_adds": conv_multiply_adds(kernel, *channels, height, width, groups=groups),
                    "activations": output[0].numel(),
                }
            )

        return hook

    twin = _evaluated(model)
    for name, layer in twin.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(note(name))
    with torch.no_grad():
        twin(torch.zeros(1, *input_shape))
    return pd.DataFrame(rows)


def stage_table(model: ResNet, input_shape: tuple[int, ...]) -> pd.DataFrame:
    """One row for the stem, each stage and the linear layer: output, layers, weights, multiply_adds and its share.

    `layers` counts as the papers do: convolutions on the main path and the linear layer; projections are left out.
    """
    table = layer_table(model, input_shape)
    table["stage"] = table["layer"].str.split(".").str[0]
    table["counted"] = ~table["layer"].str.contains("downsample")
    grouped = table.groupby("stage", sort=False)
    result = grouped.agg(
        layers=("counted", "sum"), weights=("weights", "sum"), multiply_adds=("multiply_adds", "sum")
    ).reset_index()
    last = table[table["counted"]].groupby("stage", sort=False).last()
    shapes = last[["out_channels", "height", "width"]].itertuples(index=False)
    result.insert(1, "output", [f"{channels} x {height} x {width}" for channels, height, width in shapes])
    result["share"] = result["multiply_adds"] / result["multiply_adds"].sum()
    return result


def depth(model: ResNet) -> int:
    """Layers as the papers count them, the number in a network's name: see `stage_table`."""
    layers = [name for name, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    return sum("downsample" not in name for name in layers)


def receptive_field(layers: Iterable[tuple[int, int]]) -> int:
    """Side in pixels of the square of the input that one output sees through (kernel, stride) layers, in order.

    Each layer adds kernel - 1 steps of the size that the strides before it have reached.
    """
    field, step = 1, 1
    for kernel, stride in layers:
        if kernel < 1 or stride < 1:
            raise ValueError(f"kernel and stride must be at least 1, got {(kernel, stride)}")
        field += (kernel - 1) * step
        step *= stride
    return field


def measured_receptive_field(model: nn.Module, input_shape: tuple[int, ...]) -> int:
    """The same, read off a model whose output is (1, C, H, W): the extent of the input that moves the middle output.

    In a copy, every filter becomes a mean of its inputs and pooling takes means, so that nothing cancels or is skipped.

    Raises:
        ValueError: if the input is too small to hold the whole field, or the output is no map.
    """
    twin = nn.Sequential(_evaluated(model).double())
    for name, module in list(twin.named_modules()):
        if isinstance(module, nn.MaxPool2d):
            twin.set_submodule(name, nn.AvgPool2d(module.kernel_size, module.stride, module.padding))
        elif isinstance(module, nn.BatchNorm2d):
            twin.set_submodule(name, nn.Identity())
        elif isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
            module.bias = None  # a negative one could switch a ReLU off
    x = torch.ones(1, *input_shape, dtype=torch.float64, requires_grad=True)
    output = twin(x)
    if output.ndim != 4:
        raise ValueError(f"expected an output of shape (1, C, H, W), got {tuple(output.shape)}; pass the layers before")
    output[0, 0, output.shape[2] // 2, output.shape[3] // 2].backward()
    seen = x.grad[0].abs().sum(0).nonzero()
    low, high = seen.min(0).values, seen.max(0).values
    if low.min() == 0 or (high == torch.tensor(input_shape[1:]) - 1).any():
        raise ValueError(f"an input of {input_shape} cuts off the receptive field; give a larger one")
    return (high - low + 1).max().item()


def _evaluated(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode on the CPU, so that counting leaves the model and its running statistics alone."""
    return copy.deepcopy(model).cpu().eval()
