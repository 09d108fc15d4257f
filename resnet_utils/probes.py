"""Measurements inside a network. Nothing here changes the network it measures."""

import copy
from collections.abc import Callable

import pandas as pd
import torch
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


def without_block(model: ResNet, *names: str) -> ResNet:
    """A copy of the network in which the layers of these blocks are left out (Veit et al. 2016, arXiv:1605.06431, §4).

    Of a residual block the shortcut stays, and the ReLU behind the addition if there is one. A plain block is replaced
    by the identity.

    Raises:
        ValueError: if there is no such block, or it is a plain one that changes the shape.
    """
    blocks = dict(model.blocks())
    twin = copy.deepcopy(model)
    for name in names:
        if name not in removable_blocks(model):
            reason = "is plain and changes the shape" if name in blocks else "does not exist"
            raise ValueError(f"block {name!r} {reason}; choose one of {', '.join(removable_blocks(model))}")
        block = blocks[name]
        left = nn.Sequential()
        if block.residual and block.downsample is not None:
            left.append(block.downsample)
        if not isinstance(block, PreActivationBlock):
            left.append(block.relu)  # does nothing to the output of a ReLU
        twin.set_submodule(name, copy.deepcopy(left))
    return twin


@torch.no_grad()
def response_std(model: ResNet, x: Tensor) -> pd.DataFrame:
    """The standard deviation of each layer's response: behind the BN, before ReLU or addition (He et al. 2015, fig. 7).

    Args:
        model: with batch normalisation behind its convolutions. A copy is measured in evaluation mode.
        x: a normalised batch of images (N, C, H, W).

    Returns:
        One row a convolution, in order, projections on shortcuts left out: index (from 1), layer (name of its BN) and
        std (over all images, channels and positions).

    Raises:
        ValueError: if the model is of the pre-activation kind, whose BN stands before the convolution.
    """
    if model.pre_activation:
        raise ValueError("a pre-activation network has no BN behind its convolutions; measure a 'resnet' or a 'plain'")
    twin = copy.deepcopy(model).eval()
    rows = []

    def note(name: str) -> Callable:
        return lambda _norm, _inputs, output: rows.append((name, output.std(correction=0).item()))

    for name, norm in twin.named_modules():
        if isinstance(norm, nn.BatchNorm2d) and "downsample" not in name:
            norm.register_forward_hook(note(name))
    twin(x)
    return pd.DataFrame(rows, columns=["layer", "std"]).reset_index(names="index").eval("index = index + 1")


def grad_cam(model: nn.Module, x: Tensor, class_index: int | Tensor, layer: str) -> Tensor:
    """Where a network looks for a class: Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391, §3).

    With A the output of `layer`, (N, K, H, W), and y the logit of the class, channel k has the weight
    alpha_k = mean over the positions of dy/dA_k, and the map is ReLU(sum over k of alpha_k A_k).

    Args:
        model: maps `x` to logits (N, classes). A copy in evaluation mode is measured; `model` stays as it is.
        x: normalised images (N, C, H, W).
        class_index: the class to explain, one for all images or one for each, (N,).
        layer: name of the module whose output is read, say "layer4".

    Returns:
        (N, H, W), not negative, with the H and W of that output. It is neither scaled nor enlarged.

    Raises:
        ValueError: for an unknown layer or class, and if the output of the layer is no stack of maps.
    """
    twin = copy.deepcopy(model).eval().requires_grad_(False)
    names = [name for name, _ in twin.named_modules() if name]
    if layer not in names:
        raise ValueError(f"the model has no layer {layer!r}; choose one of {', '.join(names)}")
    maps: list[Tensor] = []

    def start_here(_layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        maps.append(output.detach().requires_grad_())
        return maps[-1].clone()  # a ReLU behind it may work in place

    twin.get_submodule(layer).register_forward_hook(start_here)
    logits = twin(x)
    classes = class_index if isinstance(class_index, Tensor) else logits.new_full((len(x),), class_index).long()
    if classes.shape != (len(x),) or classes.min() < 0 or classes.max() >= logits.shape[1]:
        raise ValueError(
            f"class_index must be one class, or {len(x)} of them, from 0 to {logits.shape[1] - 1}, not {class_index}"
        )
    if maps[0].ndim != 4:
        raise ValueError(
            f"the output of {layer!r} has the shape {tuple(maps[0].shape)}; choose a layer with (N, K, H, W)"
        )
    logits.gather(1, classes[:, None]).sum().backward()  # each image's logit depends on its own maps only
    alpha = maps[0].grad.mean((2, 3), keepdim=True)  # (N, K, 1, 1)
    return (alpha * maps[0].detach()).sum(1).relu()


def _keeps_shape(block: Block) -> bool:
    """Whether the layers of a block give an output of their input's shape."""
    convolutions = [module for module in block.children() if isinstance(module, nn.Conv2d)]
    strides = {convolution.stride for convolution in convolutions}
    return strides == {(1, 1)} and convolutions[0].in_channels == convolutions[-1].out_channels
