"""Measurements inside a network. Nothing here changes the network it measures."""

import copy

import pandas as pd
import torch.nn.functional as F
from torch import Tensor, nn

from resnet_utils.blocks import Block, PreActivationBlock
from resnet_utils.models import ResNet


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


def removable_blocks(model: ResNet) -> list[str]:
    """The names of the blocks that `without_block` can leave out: all but the plain ones that change the shape."""
    return [name for name, block in model.blocks() if block.residual or _keeps_shape(block)]


def without_block(model: ResNet, name: str) -> ResNet:
    """A copy of the network in which the layers of one block are left out, as in Veit et al. 2016 (arXiv:1605.06431).

    Of a residual block the shortcut stays, and the ReLU behind the addition if there is one. A plain block is replaced
    by the identity.

    Raises:
        ValueError: if there is no such block, or it is a plain one that changes the shape.
    """
    blocks = dict(model.blocks())
    if name not in removable_blocks(model):
        reason = "is plain and changes the shape" if name in blocks else "does not exist"
        raise ValueError(f"block {name!r} {reason}; choose one of {', '.join(removable_blocks(model))}")
    block = blocks[name]
    left = nn.Sequential()
    if block.residual and block.downsample is not None:
        left.append(block.downsample)
    if not isinstance(block, PreActivationBlock):
        left.append(block.relu)  # does nothing to the output of a ReLU
    twin = copy.deepcopy(model)
    twin.set_submodule(name, copy.deepcopy(left))
    return twin


def _keeps_shape(block: Block) -> bool:
    """Whether the layers of a block give an output of their input's shape."""
    convolutions = [module for module in block.children() if isinstance(module, nn.Conv2d)]
    strides = {convolution.stride for convolution in convolutions}
    return strides == {(1, 1)} and convolutions[0].in_channels == convolutions[-1].out_channels
