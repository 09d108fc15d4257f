"""Published ImageNet weights in our classes, and the same network in Keras.

`load` goes through torchvision's list of published weights and the cache of `torch.hub`, so a file that torchvision
has fetched before is used again. `to_keras` and `from_keras` carry weights between our ResNet-50 "v1" and Keras's.
"""

import hashlib
import http.client
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from resnet_utils.models import ResNet, build

NAMES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
TIMEOUT_SECONDS = 5  # without a connection, or without one byte arriving


@dataclass(frozen=True)
class Pretrained:
    """A network with published weights, and what belongs to them.

    `preprocess` makes uint8 images (N, 3, H, W) or a PIL image what the weights were trained on: (N, 3, 224, 224)
    float32, resized, cropped and normalised. `classes` names the 1,000 outputs. `top1_error` is the published error
    in % on ImageNet's validation images. `file` holds the weights on this computer.
    """

    model: ResNet
    preprocess: Callable[..., Tensor]
    classes: tuple[str, ...]
    top1_error: float
    file: Path


def published(name: str, version: str = "IMAGENET1K_V1") -> torchvision.models.WeightsEnum:
    """torchvision's entry for published weights: `url`, `transforms()` and `meta`. It needs no network.

    Args:
        name: one of `NAMES`.
        version: torchvision's name of the weights: "IMAGENET1K_V1", or from 50 layers on "IMAGENET1K_V2".

    Raises:
        ValueError: for an unknown name or version, with the valid choices.
    """
    if name not in NAMES:
        raise ValueError(f"no published weights for {name!r}; choose one of {', '.join(map(repr, NAMES))}")
    versions = torchvision.models.get_model_weights(name)
    if version not in versions.__members__:
        raise ValueError(f"{name} has no weights {version!r}; choose one of {', '.join(versions.__members__)}")
    return versions[version]


def load(name: str, version: str = "IMAGENET1K_V1") -> Pretrained:
    """Our network of this name with torchvision's published weights, in evaluation mode on the CPU.

    The file is looked for in the cache of `torch.hub` (`$TORCH_HOME/hub/checkpoints`), and downloaded to there once
    if it is not in it. Its hash is checked every time, and every name and shape in it must fit (`strict=True`).

    Args:
        name, version: see `published`.

    Raises:
        ValueError: for an unknown name or version, and for a file that is not the published one.
        OSError: if the weights are not there and cannot be downloaded; the message says what to do.
    """
    entry = published(name, version)
    file = Path(torch.hub.get_dir()) / "checkpoints" / entry.url.rsplit("/", 1)[1]
    if not file.exists():
        _download(entry.url, file)
    with open(file, "rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    if not sha256.startswith(_hash_in(file.name)):
        raise ValueError(
            f"{file} is not the file that was published: its sha256 begins with {sha256[:8]}, not with "
            f"{_hash_in(file.name)}. Remove it and load again."
        )
    model = build(name)
    model.load_state_dict(torch.load(file, map_location="cpu", weights_only=True), strict=True)
    return Pretrained(
        model=model.eval(),
        preprocess=entry.transforms(),
        classes=tuple(entry.meta["categories"]),
        top1_error=round(100 - entry.meta["_metrics"]["ImageNet-1K"]["acc@1"], 3),
        file=file,
    )


@torch.no_grad()
def features(model: ResNet, x: Tensor, *, batch_size: int = 250) -> Tensor:
    """What the last linear layer sees: the pooled output of the last stage, in evaluation mode.

    Args:
        model: a network whose blocks end in a ReLU (not a pre-activation one); its mode is restored.
        x: normalised images (N, C, H, W).
        batch_size: images at a time.

    Returns:
        (N, D) with D the inputs of `model.fc`: 2,048 in ResNet-50, 64 in the CIFAR layout.
    """
    seen: list[Tensor] = []
    hook = model.fc.register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0]))
    was_training = model.training
    model.eval()
    try:
        for part in x.split(batch_size):
            model(part)
    finally:
        hook.remove()
        model.train(was_training)
    return torch.cat(seen)


def fit_head(x: Tensor, labels: Tensor) -> nn.Linear:
    """The linear layer that separates features best: multinomial logistic regression with scikit-learn's L2 penalty.

    The penalty sees each feature scaled by its mean and deviation in `x`; the layer that is returned takes `x` itself.

    Args:
        x: features (N, D).
        labels: classes (N,) from 0 to classes - 1, of three or more classes, each there at least once.
    """
    classes = labels.unique().tolist()
    if classes != list(range(max(3, len(classes)))):
        raise ValueError(f"labels must be 0, 1, 2, … with none left out, at least three; got the classes {classes}")
    mean, std = x.mean(0), x.std(0).clamp_min(1e-6)
    found = LogisticRegression(max_iter=1000).fit(((x - mean) / std).numpy(), labels.numpy())
    weight = torch.tensor(found.coef_, dtype=torch.float32) / std  # undoes the scaling
    head = nn.Linear(x.shape[1], len(classes))
    head.load_state_dict(
        {"weight": weight, "bias": torch.tensor(found.intercept_, dtype=torch.float32) - weight @ mean}
    )
    return head


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
    """The name in keras.applications.ResNet50 of our layer: "layer2.0.conv1" is "conv3_block1_1_conv"."""
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
    return tuple(layer.get_weights()[0].shape), getattr(layer, "strides", None)


def _hash_in(file_name: str) -> str:
    """The first hexadecimal digits of the sha256, which stand in the name of a published file."""
    return re.search(r"-([a-f0-9]{8,})\.", file_name)[1]


def _download(url: str, file: Path) -> None:
    """Fetch a file into the cache of `torch.hub`; it appears there whole or not at all."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with _timeout(TIMEOUT_SECONDS):
            torch.hub.download_url_to_file(url, str(file), _hash_in(file.name), progress=False)
    except (OSError, RuntimeError, http.client.HTTPException) as error:  # RuntimeError: a wrong hash
        raise OSError(
            f"the weights {file.name} are not in {file.parent}, and the download from {url} failed ({error}). "
            f"Go online, or get the file in another way, put it there and run again."
        ) from error


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    """A limit for all new connections: `torch.hub` has no option for it and would wait for minutes."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
