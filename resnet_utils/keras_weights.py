"""The same network in another framework: weights carried between our ResNet-50 "v1" and Keras's ResNet50, both ways.

Keras itself is not imported here: a network comes in with its layers.
"""

import re

import torch
from torch import nn

from resnet_utils.models import ResNet, build


@torch.no_grad()
def to_keras(model: ResNet, network: object) -> None:
    """Copy the weights of `model` into a Keras network of the same architecture, so that its logits are equal.

    Keras's convolutions have biases, which become zero. Its batch normalisation adds 1.001e-5 to the variance where
    ours adds 1e-5, so the difference is taken from the variance: the sum under the root stays what it was.

    Args:
        model: our "resnet50-v1", or a deeper net with the stride on the first 1x1.
        network: `keras.applications.ResNet50(weights=None, classifier_activation=None)`, or with `classes=`.

    Raises:
        ValueError: if a layer is missing there, is there in excess, or has another shape or stride.
    """
    pairs = _pairs(model, network)
    for layer, other in pairs:
        if isinstance(layer, nn.Conv2d):
            kernel = layer.weight.permute(2, 3, 1, 0)  # (out, in, k, k) to (k, k, in, out)
            values = [kernel, torch.zeros(layer.out_channels)]
        elif isinstance(layer, nn.BatchNorm2d):
            variance = layer.running_var.double() + (layer.eps - other.epsilon)
            values = [layer.weight, layer.bias, layer.running_mean, variance.float()]
        else:
            values = [layer.weight.T, layer.bias]
        other.set_weights([value.cpu().numpy() for value in values])


@torch.no_grad()
def from_keras(network: object) -> ResNet:
    """Our "resnet50-v1" with the weights of a Keras ResNet50, in evaluation mode on the CPU.

    The bias of a convolution is taken from the running mean of the batch normalisation behind it, which subtracts
    what it no longer gets. The variances are moved as in `to_keras`, the other way.

    Args:
        network: `keras.applications.ResNet50(…)` with its head.

    Raises:
        ValueError: if it has other layers than ours.
    """
    weights = {layer.name: [torch.tensor(value) for value in layer.get_weights()] for layer in network.layers}
    if "predictions" not in weights:
        raise ValueError("the Keras network has no layer 'predictions'; build it with include_top=True")
    model = build("resnet50-v1", num_classes=len(weights["predictions"][1])).eval()
    bias = torch.zeros(0)
    for layer, other in _pairs(model, network):  # each convolution stands right before its batch normalisation
        values = weights[other.name]
        if isinstance(layer, nn.Conv2d):
            layer.weight.copy_(values[0].permute(3, 2, 0, 1))
            bias = values[1]
        elif isinstance(layer, nn.BatchNorm2d):
            layer.weight.copy_(values[0])
            layer.bias.copy_(values[1])
            layer.running_mean.copy_(values[2] - bias)
            layer.running_var.copy_(values[3].double() + (other.epsilon - layer.eps))
        else:
            layer.weight.copy_(values[0].T)
            layer.bias.copy_(values[1])
    return model


def keras_name(name: str) -> str:
    """The name in keras.applications.ResNet50 of our layer: "layer2.0.conv1" is "conv3_block1_1_conv".

    Raises:
        ValueError: if a bottleneck network has no layer with weights of this name.
    """
    if name == "fc":
        return "predictions"
    if match := re.fullmatch(r"(conv|bn)1", name):
        return f"conv1_{match[1]}"
    if match := re.fullmatch(r"layer(\d)\.(\d+)\.(?:(conv|bn)(\d)|downsample\.([01]))", name):
        stage, block = int(match[1]) + 1, int(match[2]) + 1
        kind, number = (match[3], match[4]) if match[3] else (("conv", "bn")[int(match[5])], 0)
        return f"conv{stage}_block{block}_{number}_{kind}"
    raise ValueError(f"{name!r} is no layer with weights of a bottleneck network, such as 'layer2.0.conv1' or 'fc'")


def _pairs(model: ResNet, network: object) -> list[tuple[nn.Module, object]]:
    """Our layers with weights, each with its partner in the Keras network; ValueError unless all fit."""
    partners = {layer.name: layer for layer in network.layers}
    pairs = []
    for name, layer in model.named_modules():
        if not isinstance(layer, nn.Conv2d | nn.BatchNorm2d | nn.Linear):
            continue
        other = partners.pop(keras_name(name), None)
        if other is None:
            raise ValueError(f"the Keras network has no layer {keras_name(name)!r} for our {name}")
        ours, theirs = _facts(layer), _keras_facts(other)
        if ours != theirs:
            raise ValueError(
                f"{name} and Keras's {other.name} differ: {ours} and {theirs}. The stride of Keras's ResNet50 stands "
                "on the first 1x1: use models.build('resnet50-v1'), and as many classes"
            )
        pairs.append((layer, other))
    left = [name for name, other in partners.items() if other.weights]
    if left:
        raise ValueError(f"the Keras network has layers that ours has not: {', '.join(left)}")
    return pairs


def _facts(layer: nn.Module) -> tuple:
    """What must agree: the shape of the weight in Keras's order, and the stride of a convolution."""
    if isinstance(layer, nn.Conv2d):
        out_channels, in_channels, *kernel = layer.weight.shape
        return (*kernel, in_channels, out_channels), layer.stride
    return tuple(reversed(layer.weight.shape)), None


def _keras_facts(layer: object) -> tuple:
    """The same of a Keras layer."""
    return tuple(layer.get_weights()[0].shape), getattr(layer, "strides", None)
