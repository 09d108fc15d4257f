"""Measurements inside a network. Nothing here changes the network it measures."""

import copy

import pandas as pd
import torch.nn.functional as F
from torch import Tensor, nn


def gradient_norms(model: nn.Module, x: Tensor, y: Tensor) -> pd.DataFrame:
    """Norms of the loss's gradient at every convolution and linear layer, for one batch in training mode.

    Args:
        model: maps `x` to logits (N, classes). A copy is measured; BN statistics and gradients of `model` stay.
        x: a normalised batch, for images (N, C, H, W).
        y: labels (N,).

    Returns:
        One row a layer, in the order in which the layers run, projections on shortcuts left out: index (from 1), layer
        (name), weight (L2 norm of d loss / d weight), output (L2 norm of d loss / d output of the layer, all images
        together), and size (L2 norm of the layer's output divided by the root of its length).

    The hooks sit on tensors: hooks on modules break where a ReLU works in place (pytorch issue 61519).
    """
    twin = copy.deepcopy(model).train().requires_grad_()  # frozen layers have gradients to measure too
    names, outputs, gradients = [], {}, {}

    def note(name: str):
        def hook(_layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            names.append(name)
            outputs[name] = output.detach().square().mean().sqrt().item()
            output.register_hook(lambda gradient: gradients.update({name: gradient.norm().item()}))

        return hook

    layers = {
        name: layer
        for name, layer in twin.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and "downsample" not in name
    }
    if not layers:
        raise ValueError("the model has no convolution and no linear layer to measure")
    for name, layer in layers.items():
        layer.register_forward_hook(note(name))
    F.cross_entropy(twin(x).float(), y).backward()
    return pd.DataFrame(
        {
            "index": range(1, len(names) + 1),
            "layer": names,
            "weight": [layers[name].weight.grad.norm().item() for name in names],
            "output": [gradients[name] for name in names],
            "size": [outputs[name] for name in names],
        }
    )
